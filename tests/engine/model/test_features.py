"""Every shipped feature against its formula, the policy for missing bars, and features that cannot be computed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from math import nan
from pathlib import Path

import numpy as np
import pytest

from engine.bars import SESSION_NS
from engine.clock import Sessions
from engine.errors import ModelError
from engine.events import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Bar,
    CorporateAction,
    Datum,
    MarketEvent,
    News,
    Quote,
    Signal,
)  # fmt: skip
from engine.model.card import Card, FeatureSpec, Output
from engine.model.features import FeatureSet
from engine.model.history import Floats
from engine.model.shipped import SHIPPED

ROUND_THE_CLOCK, NEW_YORK = Sessions("24/7"), Sessions("XNYS")
MIDNIGHT_NS = 19_000 * DAY_NS
rng = np.random.default_rng(1)
CLOSES = 100 * np.cumprod(1 + rng.normal(0, 0.01, 40))
HIGHS, LOWS = CLOSES * 1.004, CLOSES * 0.997
OPENS = CLOSES * (1 + rng.normal(0, 0.001, 40))
VOLUMES = rng.integers(1, 1_000, 40).astype(float)


def bar(number: int, symbol: str = "A", *, scale: float = 1.0) -> Bar:
    """The bar that closes `number` + 1 minutes after midnight."""
    ts_ns = MIDNIGHT_NS + (number + 1) * MINUTE_NS
    prices = (float(each[number]) * scale for each in (OPENS, HIGHS, LOWS, CLOSES))
    return Bar(symbol, ts_ns, ts_ns, *prices, float(VOLUMES[number]), MINUTE_NS, vwap=float(CLOSES[number]) * 0.999)


def features(
    *specs: FeatureSpec, lookback: int = 1, symbols: tuple[str, ...] = ("A",), **options: object
) -> FeatureSet:
    options = {"interval_ns": MINUTE_NS, "sessions": ROUND_THE_CLOCK} | options
    return FeatureSet(specs, symbols, lookback=lookback, **options)  # type: ignore[arg-type]  # options of any type


def last(made: FeatureSet, *events: MarketEvent | Signal) -> Floats:
    """The newest values of the only symbol after these events."""
    for event in events:
        made.take(event)
    (row,) = made.close()
    return made.windows(np.array([row]))[0, :, -1]


CHANGES = CLOSES[1:] / CLOSES[:-1] - 1
UPS, DOWNS = np.maximum(CHANGES[-14:], 0).sum(), np.maximum(-CHANGES[-14:], 0).sum()
FORMULAS: dict[str, tuple[dict[str, int | float | str], float]] = {
    "returns": ({"horizon": 3}, CLOSES[-1] / CLOSES[-4] - 1),
    "intraday": ({}, CLOSES[-1] / OPENS[-1] - 1),
    "gap": ({}, OPENS[-1] / CLOSES[-2] - 1),
    "volatility": ({"window": 10}, CHANGES[-10:].std()),
    "range": ({"window": 5}, (HIGHS[-5:].max() - LOWS[-5:].min()) / CLOSES[-1]),
    "range_position": ({"window": 5}, (CLOSES[-1] - LOWS[-5:].min()) / (HIGHS[-5:].max() - LOWS[-5:].min())),
    "ma_distance": ({"window": 7}, CLOSES[-1] / CLOSES[-7:].mean() - 1),
    "rsi": ({}, UPS / (UPS + DOWNS)),
    "vwap_distance": ({}, 1 / 0.999 - 1),
    "volume_z": ({"window": 9}, (VOLUMES[-1] - VOLUMES[-9:].mean()) / VOLUMES[-9:].std()),
    "time_of_day": ({}, 40 / (24 * 60)),
    "age": ({}, 0.0),
    "spread": ({}, 0.02 / 100.01),
    "imbalance": ({}, (3 - 1) / 4),
    "news_count": ({"window_s": 900}, 2.0),
    "news_score": ({"of": "scorer", "window_s": 1_200.0}, (0.75 * 1.0 + 0.5 * -0.5) / 1.25),
    "filings_count": ({"form": "8-K"}, 1.0),
    "filing_age": ({"window_s": 3_600.0}, 0.25),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_feature_is_what_its_formula_says(name: str) -> None:
    """Worked out a second time by hand from forty bars, two headlines, scores, filings and a quote."""
    params, wanted = FORMULAS[name]
    made, end_ns = features(FeatureSpec(name, params)), MIDNIGHT_NS + 40 * MINUTE_NS
    events: list[MarketEvent | Signal] = [bar(number) for number in range(39)]
    for ago_s, score in ((1_300, 9.0), (600, -0.5), (300, 1.0)):
        at_ns = end_ns - ago_s * SECOND_NS
        events += [News(at_ns, at_ns, "b", ("A", "Z")), Signal("A", at_ns, at_ns, "scorer", score)]
    for ago_s, form in ((1_800, "8-K 2.02"), (900, "10-Q")):
        events.append(Datum("filing", end_ns - ago_s * SECOND_NS, end_ns, "A", text=form))
    events += [Quote("A", end_ns, end_ns, 100.0, 3.0, 100.02, 1.0), bar(39)]
    assert last(made, *events)[0] == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_flat_prices_and_volumes_give_numbers_and_not_holes() -> None:
    """A fund that does not move has no volatility and a neutral strength, not NaN."""
    specs = [FeatureSpec(name) for name in ("volatility", "rsi", "volume_z", "range_position", "range")]
    flat = [Bar("A", MIDNIGHT_NS + n * MINUTE_NS, 0, 9.0, 9.0, 9.0, 9.0, 0.0, MINUTE_NS) for n in range(1, 30)]
    assert last(features(*specs), *flat).tolist() == [0.0, 0.5, 0.0, 0.5, 0.0]


def test_a_symbol_has_its_first_window_after_the_warm_up_and_not_a_bar_earlier() -> None:
    """What a feature looks back at is not there yet before."""
    made = features(FeatureSpec("returns", {"horizon": 5}), FeatureSpec("volatility", {"window": 9}), lookback=4)
    assert made.warm_up_bars == 10 + 4 - 1
    assert made.names == ("returns(horizon=5)", "volatility(window=9)")
    for number in range(12):
        made.take(bar(number))
        assert made.close().size == 0
    made.take(bar(12))
    rows = made.close()
    assert made.windows(rows).shape == (1, 2, 4)
    assert made.ts_event_ns(rows).tolist() == [bar(12).ts_event_ns]
    assert made.close().size == 0


def test_windows_are_written_where_they_are_wanted() -> None:
    """The lane's buffer is filled in place."""
    made = features(FeatureSpec("returns"), lookback=3)
    for number in range(10):
        made.take(bar(number))
    rows, out = made.close(), np.zeros((1, 1, 3), np.float32)
    assert made.windows(rows, out) is out
    assert out[0, 0].tolist() == np.float32(CHANGES[6:9]).tolist()


# --- missing bars ----------------------------------------------------------------------------------------------------

HOLED = [bar(number) for number in range(12) if number not in (6, 7)]
SPECS = (FeatureSpec("returns"), FeatureSpec("age"))


def test_carried_bars_repeat_the_close_and_say_how_old_it_is() -> None:
    """Two missing minutes: no return, ages 1 and 2, and the next bar's return is over the gap."""
    made = features(*SPECS, lookback=6)
    for event in HOLED:
        made.take(event)
    returns, age = made.windows(made.close())[0]
    assert age.tolist() == [1, 2, 0, 0, 0, 0]
    assert returns[:2].tolist() == [0.0, 0.0]
    assert returns[2] == np.float32(CLOSES[8] / CLOSES[5] - 1)


def test_masked_bars_are_empty_but_for_the_feature_that_speaks_of_them() -> None:
    """Policy mask: NaN where nothing traded, the age where asked for."""
    made = features(*SPECS, lookback=6, missing="mask")
    for event in HOLED:
        made.take(event)
    returns, age = made.windows(made.close())[0]
    assert np.isnan(returns).tolist() == (age > 0).tolist()
    assert age.max() == 2


def test_refused_bars_leave_no_window_that_they_had_a_part_in() -> None:
    """Policy refuse: a window comes again once everything it is made of was there."""
    made, due = features(*SPECS, lookback=3, missing="refuse"), []
    for number in [n for n in range(16) if n not in (6, 7)]:
        made.take(bar(number))
        due += [number] * made.close().size
    assert due == [3, 4, 5, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("start", [0, 5])
def test_a_value_that_was_missing_keeps_only_those_windows_back_that_show_it(start: int) -> None:
    """Policy refuse: a spread that was not known before the first quote, wherever the run began."""
    made, due = features(*SPECS, FeatureSpec("spread"), lookback=3, missing="refuse"), []
    for number in range(start, 16):
        if number == 6:
            ts_ns = bar(number).ts_event_ns - 1
            made.take(Quote("A", ts_ns, ts_ns, 9.0, 1.0, 9.1, 1.0))
        made.take(bar(number))
        due += [number] * made.close().size
    assert due == [*range(8, 16)]


def test_stamps_a_little_beside_the_grid_are_no_missing_bars() -> None:
    """A feed that stamps its bars some seconds late or early misses none."""
    made = features(*SPECS, lookback=5, missing="refuse")
    for number, off_s in enumerate((0, 3, -12, 10, 0, 20, -4)):
        ts_ns = bar(number).ts_event_ns + off_s * SECOND_NS
        made.take(Bar("A", ts_ns, ts_ns, 9.0, 9.0, 9.0, 9.0, 1.0, MINUTE_NS))
    assert made.close().size == 1


def test_a_long_silence_starts_the_symbol_afresh() -> None:
    """When everything remembered would be made up, nothing of before is left."""
    made = features(*SPECS, lookback=3)
    for number in (0, 1, 2, 3):
        made.take(bar(number))
    assert made.close().size == 1
    before, due = made.numbers(np.array([0])).item(), []
    for number in (30, 31, 32, 33, 34):
        made.take(bar(number))
        due += [number] * made.close().size
        if number == 30:
            assert made.numbers(np.array([0])).item() > before + 1
    assert due == [33, 34]


@pytest.mark.parametrize("interval_ns", [MINUTE_NS, SESSION_NS], ids=["minutes", "days"])
def test_nights_weekends_and_holidays_are_no_missing_bars(interval_ns: int) -> None:
    """From Friday's close to Tuesday's first bar, over a holiday, nothing is carried."""
    made = features(*SPECS, lookback=4, sessions=NEW_YORK, interval_ns=interval_ns, missing="refuse")
    days = [NEW_YORK.on_date(day) for day in ("2019-02-14", "2019-02-15", "2019-02-19", "2019-02-20", "2019-02-21")]
    for session in days:
        assert session is not None
        opened_ns, closed_ns = session.open_ns, session.close_ns
        stamps = [closed_ns] if interval_ns == SESSION_NS else range(opened_ns + MINUTE_NS, closed_ns + 1, MINUTE_NS)
        for ts_ns in stamps:
            length_ns = closed_ns - opened_ns if interval_ns == SESSION_NS else MINUTE_NS
            made.take(Bar("A", ts_ns, ts_ns, 9.0, 9.0, 9.0, 9.0, 1.0, length_ns))
    assert made.close().size == 1
    assert made.left_out == 0


def test_a_bar_out_of_hours_is_left_out_unless_the_hours_are_extended() -> None:
    """A model trained on the regular session never sees the thin trade around it."""
    session = NEW_YORK.on_date("2019-02-14")
    assert session is not None
    for hours, left_out in (("regular", 3), ("extended", 1)):
        made = features(*SPECS, sessions=NEW_YORK, hours=hours)
        for ts_ns in (
            session.open_ns - 6 * HOUR_NS,
            session.open_ns,
            session.open_ns + MINUTE_NS,
            session.close_ns + HOUR_NS,
        ):
            made.take(Bar("A", ts_ns, ts_ns, 9.0, 9.0, 9.0, 9.0, 1.0, MINUTE_NS))
        assert made.left_out == left_out


def test_revised_repeated_worthless_and_foreign_bars_are_left_out() -> None:
    """None of them may move a window that was already scored."""
    made, plain = features(*SPECS, lookback=3), bar(10)
    for number in range(10):
        made.take(bar(number))
    made.close()
    wrong = [
        bar(9), bar(3), Bar("A", plain.ts_event_ns, 0, 9.0, 9.0, 9.0, nan, 1.0, MINUTE_NS),
        Bar("A", plain.ts_event_ns, 0, 9.0, 9.0, 9.0, 9.0, 1.0, MINUTE_NS, revised=True),
        Bar("A", plain.ts_event_ns, 0, 9.0, 9.0, 9.0, 0.0, 1.0, MINUTE_NS),
    ]  # fmt: skip
    for event in [*wrong, bar(10, "B"), Bar("A", plain.ts_event_ns, 0, 9.0, 9.0, 9.0, 9.0, 1.0, 5 * MINUTE_NS)]:
        made.take(event)
    assert made.close().size == 0
    assert made.left_out == len(wrong)


PLUGIN = '''
from engine.model import feature

@feature(bars=lambda window: window + 1)
def momentum(seen, window=10):
    """Return of `window` bars."""
    return seen.close[:, -1] / seen.close[:, -1 - window] - 1

@feature()
def off_quote(seen):
    return seen.close[:, -1] / seen.bid[:, -1] - 1

@feature()
def greedy(seen):
    return seen.close[:, -2]

@feature()
def misspelt(seen):
    return seen.closes[:, -1]

@feature()
def whole(seen):
    return seen.close

@feature(bars=0)
def blind(seen):
    return 1.0
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], str]:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return lambda name: f"{path}:{name}"


# --- splits, names, facts --------------------------------------------------------------------------------------------


def test_a_split_is_no_return() -> None:
    """Seven new shares for one: what is remembered is restated, and so is the volume."""
    specs = [FeatureSpec(name) for name in ("returns", "ma_distance", "volume_z", "volatility", "spread")]
    quotes = [Quote("A", 0, 0, price, size, price * 1.001, size) for price, size in ((70.0, 1.0), (10.0, 7.0))]
    whole, halves = features(*specs), features(*specs)
    wanted = last(whole, quotes[0], *(bar(number) for number in range(40)))
    ts_ns = bar(25).ts_event_ns
    split = CorporateAction("A", ts_ns, ts_ns, "split", 7, 1)
    after = [
        Bar("A", one.ts_event_ns, 0, one.open / 7, one.high / 7, one.low / 7, one.close / 7, one.volume * 7, MINUTE_NS)
        for one in map(bar, range(26, 40))
    ]
    found = last(halves, quotes[0], *(bar(number) for number in range(26)), split, *after)
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_bars_and_quotes_carried_over_a_split_are_restated(plugin: Callable[[str], str]) -> None:
    """Two silent minutes after the split: no return, and the old quote lies where the new close does."""
    made = features(FeatureSpec("returns"), FeatureSpec(plugin("off_quote")), lookback=3)
    made.take(Quote("A", 0, 0, 70.0, 1.0, 70.0, 1.0))
    for number in range(4):
        ts_ns = bar(number).ts_event_ns
        made.take(Bar("A", ts_ns, ts_ns, 70.0, 70.0, 70.0, 70.0, 1.0, MINUTE_NS))
    made.take(CorporateAction("A", 0, 0, "split", 7, 1))
    ts_ns = bar(6).ts_event_ns
    made.take(Bar("A", ts_ns, ts_ns, 10.0, 10.0, 10.0, 10.0, 1.0, MINUTE_NS))
    assert made.windows(made.close())[0].tolist() == [[0.0] * 3, [0.0] * 3]


def test_a_symbol_that_is_renamed_keeps_its_history() -> None:
    """FB became META one morning, and its window did not end."""
    made = features(FeatureSpec("returns"), lookback=5)
    for number in range(6):
        made.take(bar(number))
    made.take(CorporateAction("A", 0, 0, "symbol_change", new_symbol="M"))
    made.take(bar(6, "M"))
    assert made.close().tolist() == [0]


def test_a_new_name_is_taken_from_whoever_had_it_before() -> None:
    """The window goes on with the renamed symbol's bars; the other security's are forgotten, and so is the old name."""
    made, plain = (features(FeatureSpec("returns"), lookback=5, symbols=("A", "M")) for _ in range(2))
    for number in range(6):
        for one in (made, plain):
            one.take(bar(number))
        made.take(bar(number, "M", scale=3.0))
    made.take(CorporateAction("A", 0, 0, "symbol_change", new_symbol="M"))
    made.take(CorporateAction("X", 0, 0, "symbol_change", new_symbol="A"))
    assert made.close().tolist() == plain.close().tolist() == [0]
    made.take(bar(6, "M"))
    made.take(bar(7, "A", scale=9.0))
    plain.take(bar(6))
    assert made.close().tolist() == plain.close().tolist() == [0]
    assert made.windows(np.array([0])).tolist() == plain.windows(np.array([0])).tolist()
    assert not made.has_room_for(bar(8, "A"))


def test_a_headline_without_symbols_concerns_all_and_one_of_the_future_nobody() -> None:
    """A fact counts from its own time on, for a bar that was staged before it came it does not exist."""
    made = features(FeatureSpec("news_count"), symbols=("A", "B"))
    at_ns = bar(5).ts_event_ns
    made.take(bar(5))
    made.take(News(at_ns - 1, at_ns, "all"))
    made.take(News(at_ns + 1, at_ns, "ahead"))
    made.take(bar(5, "B"))
    rows = made.close()
    assert made.windows(rows)[:, 0, -1].tolist() == [0.0, 1.0]
    made.take(bar(6))
    assert made.windows(made.close())[:, 0, -1].tolist() == [2.0]


def test_a_quote_that_makes_no_sense_is_no_quote() -> None:
    """Empty, crossed and NaN sides leave the last good one."""
    made = features(FeatureSpec("spread"))
    sides = [(100.0, 100.02), (0.0, 101.0), (102.0, 101.0), (nan, 101.0), (100.0, nan)]
    quotes = [Quote("A", 0, 0, bid, 1.0, ask, 1.0) for bid, ask in sides]
    assert last(made, *quotes, bar(0))[0] == pytest.approx(0.02 / 100.01)


def test_no_window_comes_before_the_first_quote_and_the_lack_has_a_name() -> None:
    """A tape without quotes gives a spread no value, and whoever asks is told what is missing."""
    made = features(FeatureSpec("spread"), FeatureSpec("vwap_distance"), FeatureSpec("news_score"))
    made.take(Bar("A", bar(0).ts_event_ns, 0, 9.0, 9.0, 9.0, 9.0, 1.0, MINUTE_NS))
    assert made.close().size == 0
    assert made.unmet() == ("quote", "sentiment", "vwap")
    made.take(Quote("A", 0, 0, 8.0, 1.0, 9.0, 1.0))
    made.take(bar(1))
    assert made.close().size == 1
    assert made.unmet() == ("sentiment",)


# --- other people's features, and mistakes ---------------------------------------------------------------------------


def test_a_plugin_adds_a_feature_by_one_function(plugin: Callable[[str], str]) -> None:
    """Named by its file, with a parameter from the card."""
    made = features(FeatureSpec(plugin("momentum"), {"window": 3}))
    assert last(made, *(bar(number) for number in range(40)))[0] == np.float32(CLOSES[-1] / CLOSES[-4] - 1)


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("greedy", {}, "does not compute: IndexError"),
        ("misspelt", {}, "a feature sees no 'closes'; did you mean 'close'?"),
        ("whole", {}, "returns shape (2, 1) for 2 symbols; one number a symbol is right"),
        ("blind", {}, "looks at 0 bars"),
        ("absent", {}, "has no 'absent'"),
        ("momentum", {"windw": 3}, "has no parameter 'windw'; did you mean 'window'?"),
        ("momentum", {"window": 0}, "window is 0; more than 0 is right"),
        ("momentum", {"window": "3"}, "window is '3'; int is right"),
        ("momentum", {"window": 10**9}, "looks at 1000000001 bars; 1 to 100,000 are right"),
    ],
)
def test_a_feature_that_cannot_be_computed_is_refused_before_the_first_bar(
    plugin: Callable[[str], str], name: str, params: dict[str, int | float | str], told: str
) -> None:
    """It is tried on invented bars, so one clear line comes at the start and not at the open."""
    with pytest.raises(ModelError) as error:
        features(FeatureSpec(plugin(name), params))
    assert told in str(error.value)


def test_an_unknown_feature_is_named_with_the_nearest_known() -> None:
    """A card of a later version, or a typing error."""
    with pytest.raises(ModelError, match="'retuns'.*did you mean 'returns'"):
        features(FeatureSpec("retuns"))
    with pytest.raises(ModelError, match="0 features over 3 bars"):
        features(lookback=3)


def card(made: FeatureSet, sha256: str) -> Card:
    specs = tuple(one.spec for one in made.chosen)
    return Card(
        name="m", version="1", features=specs, feature_code_sha256=sha256, interval_ns=MINUTE_NS, lookback=3,
        calendar="24/7", outputs=(Output("y"),),
    )  # fmt: skip


def test_a_model_trained_with_other_feature_code_is_refused(tmp_path: Path) -> None:
    """Comments and documentation may change; a number may not."""
    hashes = []
    for index, body in enumerate(
        ("return seen.close[:, -1]", "# the same\n    return seen.close[:, -1]", "return seen.open[:, -1]")
    ):
        path = tmp_path / str(index) / "mine.py"
        path.parent.mkdir()
        path.write_text(f"from engine.model import feature\n\n@feature()\ndef level(seen):\n    {body}\n")
        made = FeatureSet(
            [FeatureSpec("mine.py:level")], "A", interval_ns=MINUTE_NS, lookback=3, sessions=ROUND_THE_CLOCK,
            folder=path.parent,
        )  # fmt: skip
        hashes.append(made.code_hash)
        if index < 2:
            again = FeatureSet.for_card(card(made, hashes[0]), "A", folder=path.parent, trusted=True)
            assert again.code_hash == hashes[0]
    assert hashes[0] == hashes[1] != hashes[2]
    with pytest.raises(ModelError, match="was trained with other code of .*level .*: train it again"):
        FeatureSet.for_card(card(made, hashes[0]), "A", folder=path.parent, trusted=True)
    with pytest.raises(ModelError, match="wants code run for its feature 'mine.py:level'"):
        FeatureSet.for_card(card(made, hashes[2]), "A", folder=path.parent)


def test_parameters_are_part_of_the_hash_also_when_they_are_defaults() -> None:
    """`returns` and `returns(horizon=1)` are the same feature, `returns(horizon=2)` is another."""
    hashes = [features(FeatureSpec("returns", params)).code_hash for params in ({}, {"horizon": 1}, {"horizon": 2})]
    assert hashes[0] == hashes[1] != hashes[2]


def test_features_need_neither_torch_nor_pandas() -> None:
    """They run where no model does; importing torch costs seconds."""
    code = (
        "import engine.model.features, engine.model.bundle, sys; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
