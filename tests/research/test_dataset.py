"""The training set: made by the same features as live trading, with answers that no example could have known."""

from pathlib import Path

import numpy as np
import pytest

from engine.clock import Sessions
from engine.errors import ConfigError, ModelError, TapeError
from engine.events import HOUR_NS, Bar
from engine.model.card import FeatureSpec
from engine.model.features import FeatureSet
from engine.model.normalization import Normalization
from engine.plugins import FEED, load
from research import dataset, experiment
from research.reader import Reader
from tests.research.markets import START_NS, SYMBOLS, random_walk, training, write_tape


def test_windows_of_the_training_set_are_those_of_the_run_bit_for_bit(tmp_path: Path) -> None:
    """Training-serving skew is zero: the lane's instant-by-instant windows, normalized, and no other."""
    config = training(tmp_path, None, 'data.missing="mask"')
    closes = random_walk()
    closes[100:103, 2] = np.nan  # a symbol that stops for three hours
    write_with_gap(tmp_path, closes)
    examples = dataset.build(config)
    scaling = Normalization("z_score", (0.001, 0.01), (0.01, 0.02), (-3.0, 3.0))
    view, seen = examples.windows(scaling).numpy(), 0
    at = {
        (int(s), int(ts)): int(place)
        for s, ts, place in zip(examples.symbol, examples.ts_ns, examples.places, strict=True)
    }
    features = FeatureSet(
        config.data.specs, SYMBOLS, interval_ns=HOUR_NS, lookback=4, missing="mask", sessions=Sessions("24/7")
    )
    feed = load(FEED, "replay")(config.feed.settings)
    events = [event for batch in feed.batches() for event in batch]
    for event, following in zip(events, [*events[1:], None], strict=True):
        features.take(event)
        if following is not None and following.ts_recv_ns == event.ts_recv_ns:
            continue
        rows = features.close(event.ts_recv_ns)
        for row, window in zip(rows.tolist(), scaling.apply(features.windows(rows)), strict=True):
            if (row, event.ts_recv_ns) in at:
                seen += 1
                assert view[at[row, event.ts_recv_ns]].tobytes() == window.tobytes()
    assert seen == len(examples.row) > 2000


@pytest.mark.parametrize("target", ["direction", "above_median"])
def test_bars_of_one_close_are_of_one_instant_whenever_they_were_received(tmp_path: Path, target: str) -> None:
    """A recording has each symbol some milliseconds apart: the same examples, cut and compared alike."""
    given = f'target.use="{target}"'
    exact = dataset.build(training(tmp_path / "exact", None, given))
    config, draw = training(tmp_path / "recorded", None, given), np.random.default_rng(1)
    path = tmp_path / "recorded" / "tape" / "bars.csv"
    head, *bars = (line.split(",") for line in path.read_text().splitlines())
    for bar in bars:
        bar[2] = str(int(bar[2]) + int(draw.integers(1_000_000, 300_000_000)))
    path.write_text("\n".join(",".join(bar) for bar in [head, *sorted(bars, key=lambda bar: int(bar[2]))]) + "\n")
    recorded = dataset.build(config)
    for name in ("ts_ns", "symbol", "label", "gain"):
        assert getattr(recorded, name).tobytes() == getattr(exact, name).tobytes(), name
    late_ns = recorded.end_ns - exact.end_ns  # an answer is known when it was received, and not before
    assert 1_000_000 <= late_ns.min() <= late_ns.max() < 300_000_000
    for one, other in zip(experiment.cut(config, recorded)[0], experiment.cut(config, exact)[0], strict=True):
        assert one.tolist() == other.tolist()


def write_with_gap(folder: Path, closes: np.ndarray) -> None:
    write_tape(folder / "tape" / "bars.csv", closes)
    path = folder / "tape" / "bars.csv"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "nan" not in line) + "\n")


def test_an_example_of_a_shorter_tape_is_the_same_example(tmp_path: Path) -> None:
    """What comes later changes nothing: no feature and no label looks beyond its end."""
    closes = random_walk()
    whole = dataset.build(training(tmp_path / "whole", closes, "target.horizon_bars=3"))
    cut = dataset.build(training(tmp_path / "cut", closes[:300], "target.horizon_bars=3"))
    kept = whole.end_ns <= START_NS + 300 * HOUR_NS
    for name in ("ts_ns", "end_ns", "symbol", "label", "moved", "volatility"):
        assert getattr(whole, name)[kept].tobytes() == getattr(cut, name).tobytes(), name
    plain = Normalization()
    assert (whole.windows(plain)[whole.places[kept]] == cut.windows(plain)[cut.places]).all()


def test_a_gain_is_from_the_next_open_as_an_order_would_get_it(tmp_path: Path) -> None:
    """Opens are the closes before them, so the gain of a bar is that of the bar after the next close."""
    closes = random_walk(bars=60)
    examples = dataset.build(training(tmp_path, closes))
    row = np.flatnonzero((examples.symbol == 1) & (examples.ts_ns == START_NS + 20 * HOUR_NS))[0]
    assert examples.gain[row] == pytest.approx(closes[20, 1] / closes[19, 1] - 1)
    taken = dataset.build(training(tmp_path, closes, 'book.entry="close"'))
    assert taken.gain[row] == pytest.approx(closes[20, 1] / closes[19, 1] - 1)


def test_a_split_and_a_dividend_are_no_moves(tmp_path: Path) -> None:
    """Prices halve at a 2-for-1 split, and fall by what is paid out: neither is a loss."""
    closes = random_walk(bars=80)
    closes[:, 0] = 100.0
    closes[40:, 0] = 50.0
    closes[:, 1] = 100.0
    closes[40:, 1] = 98.0
    config = training(tmp_path, closes)
    at_ns = START_NS + 40 * HOUR_NS + 1
    (tmp_path / "tape" / "actions.csv").write_text(
        "symbol,ts_event_ns,ts_recv_ns,action,new_shares,old_shares,amount_usd\n"
        f"AA,{at_ns},{at_ns},split,2,1,0\nBB,{at_ns},{at_ns},cash_dividend,1,1,2\n"
    )
    path = tmp_path / "tape" / "bars.csv"  # the bar of the day opens after the event
    lines = [line.replace(",100.0,100.0,50.0,50.0,", ",50.0,50.0,50.0,50.0,") for line in path.read_text().splitlines()]
    lines = [line.replace(",100.0,100.0,98.0,98.0,", ",98.0,98.0,98.0,98.0,") for line in lines]
    path.write_text("\n".join(lines) + "\n")
    examples = dataset.build(config)
    quiet = examples.symbol < 2
    assert np.abs(np.nan_to_num(examples.gain[quiet])).max() < 1e-12
    assert np.abs(np.nan_to_num(examples.moved[quiet])).max() < 1e-12


def test_bars_of_another_length_are_named(tmp_path: Path) -> None:
    """One clear line: which the tape has and which were wanted."""
    with pytest.raises(ConfigError, match=r"data.bar = '5min', but the tape's bars are of 1h"):
        dataset.build(training(tmp_path, None, 'data.bar="5min"'))


def test_a_renamed_symbol_goes_on_as_one_whether_its_new_name_is_asked_for_or_not(tmp_path: Path) -> None:
    """Its windows and its answers alike, with the symbols named or all of the tape."""
    named = 'data.symbols=["AA", "BB", "CC", "DD", "EE"]'
    for given in ((named,), ()):
        config, cut_ns = training(tmp_path, random_walk(symbols=5), *given), START_NS + 300 * HOUR_NS
        path = tmp_path / "tape" / "bars.csv"
        head, *bars = path.read_text().splitlines()
        late = [bar.replace("AA,", "FF,") if int(bar.split(",")[1]) > cut_ns else bar for bar in bars]
        path.write_text("\n".join([head, *late]) + "\n")
        (tmp_path / "tape" / "actions.csv").write_text(
            f"symbol,ts_event_ns,ts_recv_ns,action,new_symbol\nAA,{cut_ns + 1},{cut_ns + 1},symbol_change,FF\n"
        )
        examples = dataset.build(config)
        whole, renamed = (examples.ts_ns[examples.symbol == number] for number in (1, 0))
        assert renamed.tolist() == whole.tolist()


def test_bars_of_a_session_are_of_any_length_that_a_session_has(tmp_path: Path) -> None:
    """What the features take has a price too: one rule, on a calendar with short sessions."""
    features = FeatureSet(
        (FeatureSpec("returns"),), ("AA",), interval_ns=4 * HOUR_NS, lookback=2, sessions=Sessions("XNYS"), block=8
    )
    read = Reader(features)
    for bar_ns in (4 * HOUR_NS, HOUR_NS):
        read.take(Bar("AA", START_NS + 18 * HOUR_NS, START_NS + 18 * HOUR_NS, 1.0, 1.0, 1.0, 1.0, 1.0, bar_ns))
    assert len(read.prices[0].close) == 1
    assert read.others == {HOUR_NS}


def test_a_tape_without_the_fields_of_a_feature_is_refused(tmp_path: Path) -> None:
    """A spread wants quotes; a column of nothing would train, and trade, nonsense."""
    with pytest.raises(ConfigError, match="the tape lacks what the features need: quote"):
        dataset.build(training(tmp_path, None, 'data.features=[{name="spread"}]'))


def test_an_unknown_feature_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    """One clear line."""
    with pytest.raises(ModelError, match="did you mean 'returns'"):
        dataset.build(training(tmp_path, None, 'data.features=[{name="retuns"}]'))


def test_a_symbol_that_is_on_no_tape_is_named(tmp_path: Path) -> None:
    """One clear line."""
    with pytest.raises(ConfigError, match="data.symbols: 'ZZ' is on no tape"):
        dataset.build(training(tmp_path, None, 'data.symbols=["AA", "ZZ"]', 'book.use="long_only"'))


def test_a_book_of_more_symbols_than_there_are_is_refused(tmp_path: Path) -> None:
    """Before an hour of training, not after it."""
    with pytest.raises(ConfigError, match=r"book.k = 4 wants 8 symbols, and there are 6"):
        dataset.build(training(tmp_path, None, "book.k=4"))


def test_too_little_data_is_told_with_what_is_wanted(tmp_path: Path) -> None:
    """A tape shorter than one window has no example."""
    with pytest.raises(TapeError, match="too little data: a first example wants 11 bars"):
        dataset.build(training(tmp_path, random_walk(bars=8), "data.lookback=8"))
