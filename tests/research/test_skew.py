"""No skew between training and serving: what a live model is shown is its training set, on the real tapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.bars import interval_ns
from engine.clock import ManualClock, Sessions
from engine.config import from_dict
from engine.errors import ModelError
from engine.events import MINUTE_NS, Bar, MarketEvent
from engine.model.deploy import Deployer
from engine.model.fit import fit_normalization
from engine.model.live_lane import LiveLane
from engine.model.normalization import Normalization
from engine.model.scorer import Scorer
from engine.model.states import Due
from engine.strategy import Strategy
from research import dataset
from research.config import TrainConfig, load
from research.dataset import Examples
from research.experiment import span
from tests.engine.model import nets, texts
from tests.engine.model.tapes import daily, minutes, symbols_of
from tests.research.markets import training
from tests.runs import OPEN_NS, HeldFeed, configuration, replayed, strategy, write_tapes

DAYS = ("AAPL", "AGFS", "AMZN", "BA", "C", "GMRE", "GOOG", "XOM")
SPECS = """data.features=[
{name="returns"}, {name="returns", params={horizon=20}}, {name="gap"}, {name="volatility"}, {name="range"},
{name="volume_z"}, {name="rsi"}, {name="ma_distance", params={window=30}}, {name="time_of_day"}, {name="age"},
{name="filings_count", params={form="8-K"}}, {name="filing_age", params={window_s=2592000}}]"""

Seen = dict[tuple[str, int], bytes]


class Listener(Strategy):
    def on_signal(self, signal: Any) -> None: ...


def examples_of(folder: Path, events: Sequence[MarketEvent], bar: str, missing: str) -> tuple[TrainConfig, Examples]:
    """Return the training set that `onetape train` would make of a tape."""
    write_tapes(folder / "tape", events)
    tape = [str(path) for path in (folder / "tape").iterdir()]
    over = (f'data.bar="{bar}"', "data.lookback=30", f'data.missing="{missing}"', 'calendar="XNYS"', SPECS)
    config = training(folder, None, f"feed.paths={tape}".replace("'", '"'), "book.k=2", *over)
    return config, dataset.build(config)


@pytest.mark.parametrize("missing", ["carry", "mask"])
@pytest.mark.parametrize("bar", ["1min", "1d"])
async def test_what_a_live_model_is_shown_is_its_training_set_bit_for_bit(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bar: str, missing: str
) -> None:
    """Five days of 24 stocks in minutes, sparse funds among them; five years of eight in days; with their filings."""
    whole = minutes(shared_data) if bar == "1min" else daily(shared_data, DAYS)
    events = [event for event in whole if isinstance(event, Bar) or getattr(event, "name", "") == "filing"]
    config, examples = examples_of(tmp_path, events, bar, missing)
    first = examples.ts_ns < np.quantile(examples.ts_ns, 0.6)
    newest, ts_ns = examples.columns[examples.row[first]][:, :, None], examples.ts_ns[first]
    scales = fit_normalization("z_score", newest, ts_ns, span(ts_ns), clip=(-5.0, 5.0))
    windows = examples.windows(scales).numpy()[examples.places]
    trained: Seen = {
        (examples.symbols[symbol], at_ns): window.tobytes()
        for symbol, at_ns, window in zip(examples.symbol.tolist(), examples.ts_ns.tolist(), windows, strict=True)
    }
    shown: Seen = {}

    def recording(scorer: Scorer, due: Due) -> Any:
        outputs = scored(scorer, due)
        names = [scorer.symbols[row] for row in due.rows.tolist()]
        for name, ts_ns, window in zip(names, due.ts_event_ns.tolist(), due.windows, strict=True):
            shown[name, ts_ns] = window.tobytes()
        return outputs

    scored = Scorer.outputs
    monkeypatch.setattr(Scorer, "outputs", recording)
    network = nets.Linear(examples.columns.shape[1], examples.lookback)
    card = {"missing": missing, "interval_ns": interval_ns(bar), "lookback": 30, "normalization": scales}
    file = nets.bundle(tmp_path, network, specs=config.data.specs, **card)
    await serve(file, events, tmp_path)
    assert len(trained) > {"1min": 35_000, "1d": 7_000}[bar]
    assert [key for key, window in trained.items() if shown.get(key) != window] == []
    assert len(shown.keys() - trained.keys()) < 0.05 * len(trained)  # the newest, whose answer is not known yet


async def serve(file: Path, events: Sequence[MarketEvent], folder: Path) -> None:
    """Show a live model the tape, event by event, in the time of the tape."""
    table = {"name": "tiny", "file": str(file), "device": "cpu"}
    feed = HeldFeed.hold(events[:1])
    config = from_dict(configuration(feed, models=[table], strategies=[strategy(Listener)]))
    clock = ManualClock(events[0].ts_recv_ns)
    deployer = Deployer(config, symbols_of(events), Sessions("XNYS"), span_ns=(0, 0), now_ns=clock.ts_ns)
    lane = LiveLane(deployer.lane(config.models[0]), lambda event: None, clock, folder)
    lane.inline = True
    for event in events:
        clock.ts_ns = event.ts_recv_ns
        lane.take(event)
    lane.close()


SCORED = """
name = "tiny"
seed = 7
calendar = "XNYS"
out_dir = "out"
[feed]
use = "replay"
paths = ["tape"]
[[models]]
name = "mood"
file = "mood.pt"
[data]
bar = "1min"
lookback = 5
features = [{ name = "returns" }, { name = "news_score", params = { of = "mood", window_s = 1800.0 } }]
normalization = "none"
[target]
use = "forward_return"
[network]
use = "mlp"
[book]
use = "long_only"
"""


def test_scores_of_a_model_of_texts_are_the_features_that_a_run_has(tmp_path: Path) -> None:
    """A training plays the tape to the models before it: an inference later than the text, and no earlier."""
    texts.save(tmp_path, calendar="XNYS")
    (tmp_path / "tape").mkdir()
    events = texts.tape(90)
    write_tapes(tmp_path / "tape", events)
    (tmp_path / "train.toml").write_text(SCORED)
    config = load(tmp_path / "train.toml")
    examples = dataset.build(config)
    windows = examples.windows(Normalization()).numpy()[examples.places]
    assert len(np.unique(windows[:, 1])) > 50
    network = nets.Linear(2, 5)
    file = nets.bundle(tmp_path, network, specs=config.data.specs, normalization=Normalization())
    models = [{"name": "mood", "file": str(tmp_path / "mood.pt")}, {"name": "tiny", "file": str(file)}]
    records, _ = replayed(
        configuration(HeldFeed.hold(events), models=models, strategies=[strategy(Listener)], calendar="XNYS")
    )
    said = {(one.symbol, one.ts_event_ns): one.score for one in records if getattr(one, "model", "") == "tiny"}
    with torch.inference_mode():
        scores = network(torch.from_numpy(np.ascontiguousarray(windows)))[:, 0].tolist()
    pairs = zip(examples.symbol.tolist(), examples.ts_ns.tolist(), strict=True)
    keys = [(examples.symbols[number], ts_ns) for number, ts_ns in pairs]
    assert scores == pytest.approx([said[key] for key in keys], abs=1e-6)


def test_a_model_that_was_trained_on_the_tape_is_no_feature_of_it(tmp_path: Path) -> None:
    """Its scores would know what came after: refused, unless it is told to speak of unseen days only."""
    half_ns, path = OPEN_NS + 45 * MINUTE_NS, tmp_path / "train.toml"
    texts.save(tmp_path, calendar="XNYS", train_span_ns=(OPEN_NS, half_ns - 1), test_span_ns=(half_ns, 2 * half_ns))
    (tmp_path / "tape").mkdir()
    write_tapes(tmp_path / "tape", texts.tape(90))
    path.write_text(SCORED)
    with pytest.raises(ModelError, match="it has seen these days"):
        dataset.build(load(path))
    path.write_text(SCORED.replace('"mood.pt"', '"mood.pt"\nunseen_days_only = true'))
    examples = dataset.build(load(path))
    is_scored = examples.columns[examples.row, 1] != 0
    assert is_scored.tolist() == (examples.ts_ns > half_ns).tolist()
