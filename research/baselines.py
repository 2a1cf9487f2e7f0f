"""What a network has to beat: doing nothing clever, and a straight line.

**Shapes**: forecasts are `[example, output]`, as a bundle's: a value, or a probability for each class.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from research.fit import SCORE_ROWS
from research.targets import Floats, Ints

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Baseline(NamedTuple):
    """A forecast of the test set; `outputs` is None where it only orders, as a rule of thumb does."""

    name: str
    note: str
    score: Floats
    outputs: Floats | None = None


def constant(labels: Floats, classes: int, count: int) -> Baseline:
    """Forecast for ever what was usual on the training span."""
    if classes:
        usual = np.bincount(labels.astype(int), minlength=classes) / len(labels)
        return Baseline("Usual", "the training span's share of each class", np.full(count, np.nan), _rows(usual, count))
    return Baseline("Usual", "the training span's mean", np.full(count, np.nan), np.full((count, 1), labels.mean()))


def last_move(moved: Floats, volatility: Floats, use: str) -> list[Baseline]:
    """Forecast that what just happened happens again, or that it is undone; for a volatility, that it stays."""
    if use == "volatility":
        known = np.nan_to_num(volatility, nan=float(np.nanmean(volatility)))
        return [Baseline("Last month", "the volatility of the last 20 bars", known, known[:, None])]
    return [
        Baseline("Momentum", "the last bar's return again", moved),
        Baseline("Reversal", "the last bar's return undone", -moved),
    ]


def linear(
    view: torch.Tensor, places: tuple[Ints, Ints, Ints], labels: tuple[Floats, Floats], values: tuple[float, ...]
) -> Baseline:
    """Ridge regression on the whole window, in closed form; its penalty is chosen on the validation set.

    Args:
        view: windows, as `Examples.windows` returns them.
        places: of the train, the validation and the test.
        labels: of the train and the validation.
        values: what the classes are worth; empty for a value.
    """
    answers = [_targets(each, len(values)) for each in labels]
    normal, moments = _normal_equations(view, places[0], answers[0])
    ridge = np.eye(len(normal)) * len(places[0])
    ridge[-1, -1] = 0.0  # the constant is not penalized
    found = [np.linalg.solve(normal + penalty * ridge, moments) for penalty in PENALTIES]
    errors = [float(((_predict(view, places[1], weights) - answers[1]) ** 2).mean()) for weights in found]
    said = _predict(view, places[2], found[int(np.argmin(errors))])
    if not values:
        return Baseline("Linear", "ridge regression on the same window", said[:, 0], said)
    shares = np.clip(said, 1e-3, None)
    shares /= shares.sum(axis=1, keepdims=True)
    return Baseline("Linear", "ridge regression on the same window", said @ np.array(values), shares)


def _targets(labels: Floats, classes: int) -> Floats:
    return np.eye(classes)[labels.astype(int)] if classes else labels[:, None]


def _normal_equations(view: torch.Tensor, places: Ints, answers: Floats) -> tuple[Floats, Floats]:
    width = view.shape[1] * view.shape[2] + 1
    normal, moments = np.zeros((width, width)), np.zeros((width, answers.shape[1]))
    for first in range(0, len(places), SCORE_ROWS):
        part = _flat(view, places[first : first + SCORE_ROWS])
        normal += part.T @ part
        moments += part.T @ answers[first : first + SCORE_ROWS]
    return normal, moments


def _predict(view: torch.Tensor, places: Ints, weights: npt.NDArray[np.floating[Any]]) -> Floats:
    parts = [_flat(view, places[first : first + SCORE_ROWS]) @ weights for first in range(0, len(places), SCORE_ROWS)]
    return np.concatenate(parts) if parts else np.empty((0, weights.shape[1]))


def _flat(view: torch.Tensor, places: Ints) -> Floats:
    windows = view[torch.from_numpy(places)].flatten(1).numpy().astype(np.float64)
    return np.c_[windows, np.ones(len(windows))]


def _rows(one: Floats, count: int) -> Floats:
    return np.repeat(one[None], count, axis=0)
