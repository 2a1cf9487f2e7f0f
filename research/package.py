"""From a trained fold to a bundle: the file that trades, with a card that says what it is and how to prove it."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from engine.bars import interval_ns
from engine.clock import to_datetime
from engine.events import DAY_NS, NEVER_NS
from engine.model.backends import save_bundle
from engine.model.card import Card, Golden, Output, Reference
from research.config import TrainConfig
from research.dataset import Examples
from research.experiment import Fold, span
from research.fit import outputs as say
from research.targets import Floats

GOLDEN_WINDOWS, POINTS_MAX, QUANTILES = 8, 500, 21
CLASS_NAMES = {2: ("down", "up"), 3: ("down", "flat", "up")}
MEDIAN_NAMES = ("below", "above")
MEANINGS = {"forward_return": "return", "volatility": "volatility", "reconstruction": "reconstruction"}


def pack(
    path: Path, config: TrainConfig, examples: Examples, fold: Fold, *, trials: int, metrics: dict[str, float],
    now_ns: int, parent_sha256: str = "",
) -> str:  # fmt: skip
    """Write a fold's model as a bundle and return its SHA-256."""
    card = _card(config, examples, fold, trials, metrics, now_ns, parent_sha256)
    return save_bundle(path, fold.module, card)


def _card(
    config: TrainConfig, examples: Examples, fold: Fold, trials: int, metrics: dict[str, float], now_ns: int,
    parent_sha256: str,
) -> Card:  # fmt: skip
    split, data = fold.split, config.data
    spans = [span(examples.ts_ns[rows]) for rows in split]
    recurrent = hasattr(fold.module, "state_size")
    days = config.expires_after_days
    return Card(
        name=config.name, version=config.version, created_utc=f"{to_datetime(now_ns):%Y-%m-%dT%H:%M:%SZ}",
        torch_version=str(torch.__version__), engine_version=version("onetape"), git_revision=_git_revision(),
        notes=f"trained by onetape train on tape {examples.tape_sha256[:16]}, seed {config.seed}",
        features=data.specs, feature_code_sha256=examples.feature_code_sha256, interval_ns=interval_ns(data.bar),
        lookback=data.lookback, missing=data.missing, calendar=config.calendar, hours=data.hours,
        normalization=fold.normalization, outputs=_outputs(config), score=config.target.values or (1.0,),
        state_mode="window" if recurrent else "stateless", universe=examples.symbols,
        train_span_ns=fold.train_span_ns, valid_span_ns=spans[1], test_span_ns=spans[2],
        embargo_ns=config.split.embargo_bars * interval_ns(data.bar), trials=trials, metrics=metrics,
        parent_sha256=parent_sha256, expires_ns=NEVER_NS if days is None else spans[2][1] + days * DAY_NS,
        golden=_golden(examples, fold), reference=_reference(config, examples, fold),
    )  # fmt: skip


def _outputs(config: TrainConfig) -> tuple[Output, ...]:
    horizon_ns = config.target.horizon_bars * interval_ns(config.data.bar)
    classes = len(config.target.values)
    if classes:
        names = MEDIAN_NAMES if config.target.use == "above_median" else CLASS_NAMES[classes]
        return tuple(Output(name, "probability", horizon_ns) for name in names)
    meaning = MEANINGS[config.target.use]
    return (Output(meaning, meaning, horizon_ns),)  # type: ignore[arg-type]  # its values are the card's own words


def _golden(examples: Examples, fold: Fold) -> Golden:
    """Take windows spread over the test, as the model was given them."""
    rows = fold.split.test[np.linspace(0, len(fold.split.test) - 1, GOLDEN_WINDOWS).astype(int)]
    view = examples.windows(fold.normalization)
    inputs = view[torch.from_numpy(examples.places[rows])].contiguous()
    found = say(fold.module, view, examples.places[rows]).astype(np.float32)
    return Golden.of(inputs.numpy(), found)


def _reference(config: TrainConfig, examples: Examples, fold: Fold) -> Reference:
    at = np.linspace(0, 1, QUANTILES)
    raw = examples.columns[examples.row[fold.split.train]]
    scaled = fold.normalization.apply(raw[:, :, None])[:, :, 0].astype(np.float64)
    picked = np.unique(np.linspace(0, len(scaled) - 1, min(POINTS_MAX, len(scaled))).astype(int))
    points = scaled[picked].round(4)
    apart = _distances(points, points)
    mean = float(apart[np.triu_indices(len(points), 1)].mean()) if len(points) > 1 else 0.0
    held = examples.columns[examples.row[fold.split.validation]]
    held = fold.normalization.apply(held[:: max(1, len(held) // 1000), :, None])[:, :, 0]
    nearest = _distances(held.astype(np.float64), points).min(axis=1)
    errors = fold.validation_outputs[:, 0] if config.target.use == "reconstruction" else np.empty(0)
    return Reference(
        feature_quantiles=_rows(np.nanquantile(raw.astype(np.float64), at, axis=0).T),
        output_quantiles=_rows(np.quantile(fold.validation_outputs, at, axis=0).T),
        points=_rows(points),
        distance=(mean, float(np.quantile(nearest, 0.995)) / mean) if mean else (0.0, 0.0),
        reconstruction=tuple(np.quantile(errors, (0.5, 0.95, 0.99)).tolist()) if len(errors) else (),
    )


def _distances(some: Floats, others: Floats) -> Floats:
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    found: Floats = np.sqrt(np.maximum(squares, 0))
    return found


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _git_revision() -> str:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return found.stdout.strip()
