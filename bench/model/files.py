"""The model files that are measured, with fresh weights: speed does not ask what a network has learned."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from bench.bars import MINUTE_NS, SEED
from engine.clock import Sessions
from engine.model.backends import save_bundle
from engine.model.bundle import Bundle
from engine.model.card import Card, FeatureSpec, Output, StateMode
from engine.model.features import FeatureSet
from engine.model.normalization import Normalization
from research.networks import Shape, build
from research.stac_ml import STAC_ML

LSTM: Final = Shape(features=8, lookback=60, hidden=32, layers=2)
FEATURES: Final = (
    (FeatureSpec("returns"), 0.0, 1e-3), (FeatureSpec("returns", {"horizon": 5}), 0.0, 2e-3),
    (FeatureSpec("intraday"), 0.0, 1e-3), (FeatureSpec("range"), 1e-3, 1e-3),
    (FeatureSpec("ma_distance", {"window": 20}), 0.0, 3e-3), (FeatureSpec("rsi"), 0.5, 0.15),
    (FeatureSpec("volume_z"), 0.0, 1.0), (FeatureSpec("time_of_day"), 0.5, 0.3),
)  # fmt: skip
"""What the LSTM sees, with the centers and scales of a market as calm as `bench.bars`."""


def lstm_file(folder: Path, state_mode: StateMode = "window") -> Path:
    """Write the LSTM of every row that does not name another: 2 x 32 over 60 bars of 8 features."""
    specs, centers, scales = zip(*FEATURES, strict=True)
    return _written(folder, "lstm", LSTM, specs, Normalization("z_score", centers, scales), state_mode)


def stac_file(folder: Path, letter: str, state_mode: StateMode = "window") -> Path:
    """Write the benchmark network A, B or C; its features are returns over as many horizons."""
    shape = STAC_ML[letter]
    specs = [FeatureSpec("returns", {"horizon": horizon}) for horizon in range(1, shape.features + 1)]
    return _written(folder, f"stac_{letter.lower()}", shape, specs, Normalization(), state_mode)


def _written(
    folder: Path, name: str, shape: Shape, specs: Sequence[FeatureSpec], scaling: Normalization, state_mode: StateMode
) -> Path:
    torch.manual_seed(SEED)
    features = FeatureSet(specs, ("S",), interval_ns=MINUTE_NS, lookback=shape.lookback, sessions=Sessions("24/7"))
    card = Card(
        name=name, version="1", features=tuple(specs), feature_code_sha256=features.code_hash, interval_ns=MINUTE_NS,
        lookback=shape.lookback, calendar="24/7", normalization=scaling, state_mode=state_mode,
        outputs=(Output("next", "return", MINUTE_NS),),
    )  # fmt: skip
    path = folder / f"{name}.pt"
    save_bundle(path, build("lstm", shape, outputs=1), card)
    return path


def plain_network(bundle: Bundle) -> Any:
    """Return a file's network as a script without an engine would load it, frozen as the engine freezes it."""
    jit: Any = torch.jit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return jit.freeze(jit.load(io.BytesIO(bundle.content)).eval(), preserved_attrs=["advance", "readout"])
