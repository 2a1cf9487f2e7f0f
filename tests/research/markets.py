"""Small made-up markets as tapes, and trainings on them that take a second."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.events import HOUR_NS
from research.config import TrainConfig, load

START_NS = 1_700_006_400_000_000_000
SYMBOLS = ("AA", "BB", "CC", "DD", "EE", "FF")

Floats = NDArray[np.float64]


def random_walk(bars: int = 400, symbols: int = 6, seed: int = 1) -> Floats:
    """Closes `[bar, symbol]` that nobody can foretell."""
    moves = np.random.default_rng(seed).normal(0, 0.01, (bars, symbols))
    return 100 * np.exp(np.cumsum(moves, axis=0))


def reversal(bars: int = 400, symbols: int = 6, seed: int = 1) -> Floats:
    """Closes whose every move is half undone by the next one: there is something to learn."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (bars, symbols))
    moves = noise.copy()
    for bar in range(1, bars):
        moves[bar] -= 0.6 * moves[bar - 1]
    return 100 * np.exp(np.cumsum(moves, axis=0))


def write_tape(path: Path, closes: Floats, *, interval_ns: int = HOUR_NS) -> Path:
    """Write hourly bars; each opens where the one before it closed."""
    rows = ["symbol,ts_event_ns,ts_recv_ns,open,high,low,close,volume,interval_ns"]
    for bar, prices in enumerate(closes.tolist()):
        ts_ns = START_NS + (bar + 1) * interval_ns
        for symbol, close, opened in zip(SYMBOLS, prices, closes[max(0, bar - 1)].tolist(), strict=False):
            low, high = min(close, opened), max(close, opened)
            rows.append(f"{symbol},{ts_ns},{ts_ns},{opened!r},{high!r},{low!r},{close!r},1000.0,{interval_ns}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


CONFIG = """
name = "tiny"
seed = 7
calendar = "24/7"
out_dir = "out"

[feed]
use = "replay"
paths = ["tape"]

[data]
bar = "1h"
lookback = 4
features = [{ name = "returns" }, { name = "range", params = { window = 2 } }]

[target]
use = "above_median"

[network]
use = "mlp"
hidden = 8

[fit]
epochs_max = 6
patience = 3
batch_size = 128
learning_rate = 0.01
threads = 1

[book]
k = 2
"""


def training(folder: Path, closes: Floats | None = None, *overrides: str, text: str = CONFIG) -> TrainConfig:
    """Return a small training on a market, by default a random walk, in a folder."""
    write_tape(folder / "tape" / "bars.csv", random_walk() if closes is None else closes)
    path = folder / "train.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, overrides)


def changed(config: TrainConfig, **tables: dict[str, Any]) -> TrainConfig:
    """Return a training with some keys of some tables changed."""
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=keys) for name, keys in tables.items()}
    )
