"""The trainings in `config/` on real daily bars: none of them knows what comes later, and what would is caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs

from engine.events import Bar, MarketEvent
from engine.model.fit import fit_normalization
from engine.model.normalization import Normalization
from research import dataset, experiment
from research.config import TrainConfig, load
from research.dataset import Examples
from research.experiment import Fold, span
from tests.engine.model.tapes import daily, denoised, in_order, symbols_of
from tests.runs import write_tapes

CONFIG = Path(__file__).parents[2] / "config"
TRAININGS = sorted(path.stem for path in CONFIG.glob("train_*.toml") if "[data]" in path.read_text("utf-8"))
SYMBOLS = ("AAPL", "AMZN", "BA", "C", "GE", "GMRE", "KO", "XOM")
EXAMPLE = ("ts_ns", "end_ns", "label", "moved", "volatility")

Change = Callable[[list[MarketEvent]], list[MarketEvent]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def days(shared_data: Path) -> list[MarketEvent]:
    """Five years of eight stocks, one of which lists late."""
    return [event for event in daily(shared_data, SYMBOLS) if isinstance(event, Bar)]


def training(name: str, folder: Path, events: Sequence[MarketEvent]) -> TrainConfig:
    """Return a shipped training on a tape of our own, cut short where that takes long and changes nothing."""
    folder.mkdir()
    paths = [str(path) for path in write_tapes(folder, events)]
    given = {"feed.paths": paths, "out_dir": str(folder / "out"), "fit.epochs_max": 1, "book.k": 2}
    return load(CONFIG / f"{name}.toml", [f"{key}={value!r}".replace("'", '"') for key, value in given.items()])


def first_fold(config: TrainConfig) -> tuple[Examples, Fold]:
    """Train what is trained first."""
    examples = dataset.build(config)
    return examples, next(experiment.run(config, examples, experiment.cut(config, examples)[:1]))


def what_changes(name: str, folder: Path, events: list[MarketEvent], change: Change = list) -> list[str]:
    """Return what would be other in the first fold if the tape ended with its test: examples, scales, forecasts."""
    whole, fold = first_fold(training(name, folder / "whole", change(events)))
    end_ns = int(whole.end_ns[fold.split.test].max())
    known = [event for event in events if event.ts_recv_ns <= end_ns]
    assert len(known) < 0.9 * len(events)
    cut, again = first_fold(training(name, folder / "cut", change(known)))
    kept = whole.end_ns <= end_ns
    pairs: dict[str, tuple[Any, Any]] = {key: (getattr(whole, key)[kept], getattr(cut, key)) for key in EXAMPLE}
    pairs["symbols"] = np.array(whole.symbols)[whole.symbol[kept]], np.array(cut.symbols)[cut.symbol]
    plain = Normalization()
    pairs["windows"] = whole.windows(plain)[whole.places[kept]].numpy(), cut.windows(plain)[cut.places].numpy()
    pairs["scales"] = np.array(fold.normalization.scale), np.array(again.normalization.scale)
    pairs["forecasts"] = fold.outputs, again.outputs
    return [key for key, (one, other) in pairs.items() if one.tolist() != other.tolist()]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_shipped_training_is_the_same_when_the_future_is_cut_off(
    days: list[MarketEvent], tmp_path: Path, name: str
) -> None:
    """Examples, answers, scales, weights and so the forecasts of the test, all to the last bit."""
    assert what_changes(name, tmp_path, days) == []


def test_a_scale_of_the_whole_series_is_caught(
    days: list[MarketEvent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: fitted on all examples, those of the test and later ones among them."""

    def leaking(workshop: Any) -> Normalization:
        examples = workshop.examples
        newest = examples.columns[examples.row][:, :, None]
        return fit_normalization("z_score", newest, examples.ts_ns, span(examples.ts_ns))

    monkeypatch.setattr(experiment._Workshop, "_normalization", leaking)
    assert what_changes("train_lstm", tmp_path, days) == ["scales", "forecasts"]


def test_a_wavelet_denoise_of_the_whole_series_is_caught(days: list[MarketEvent], tmp_path: Path) -> None:
    """Planted: each close smoothed with those that follow it, before anything else is done."""

    def smoothed(events: list[MarketEvent]) -> list[MarketEvent]:
        found: list[MarketEvent] = []
        for symbol in symbols_of(events):
            bars = [event for event in events if isinstance(event, Bar) and event.symbol == symbol]
            closes = denoised(np.array([bar.close for bar in bars])).tolist()
            found += [structs.replace(bar, close=close) for bar, close in zip(bars, closes, strict=True)]
        return in_order(found)

    changed = what_changes("train_lstm", tmp_path, days, smoothed)
    assert {"windows", "forecasts"} <= set(changed)
