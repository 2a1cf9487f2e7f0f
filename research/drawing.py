"""The numbers that the page of a model draws, as plain lists."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from research.evaluate import History
from research.importance import shuffled_losses
from research.outcome import Outcome

POINTS_MAX = 2_000


def data(outcome: Outcome) -> dict[str, Any]:
    """Return everything that `page.js` draws."""
    made: dict[str, Any] = {
        "times": [], "intraday": False, "breaks": [], "losses": _loss_lines(outcome),
        "periods": {"names": [], "ic": [], "mean_after": []},
    }  # fmt: skip
    if outcome.is_guard:
        return made | _errors(outcome)
    history = outcome.model.history
    if history is not None:
        picked = np.unique(np.linspace(0, len(history.ts_ns) - 1, min(POINTS_MAX, len(history.ts_ns))).astype(int))
        made["times"] = (history.ts_ns[picked] // 1_000_000).tolist()
        drawn = [rival for rival in outcome.rivals if rival.history is not None]
        made["equity"] = [
            [escape(rival.name), _value(rival.history, picked), rival is outcome.benchmark] for rival in drawn
        ]
        made["intraday"] = outcome.config.data.bar != "1d"
        made["deciles"] = np.round(outcome.deciles.outcome, 8).tolist()
    parts = outcome.periods
    made["periods"] = {
        "names": [part.name for part in parts], "ic": [_finite(part.ic) for part in parts],
        "mean_after": [_finite(part.mean_after) for part in parts],
    }  # fmt: skip
    bins, classes = outcome.reliability, len(outcome.config.target.values)
    names = ("Forecast probability", "How often it came") if classes else ("Forecast", "What came, on average")
    made["reliability"] = {
        "forecast": bins.forecast.tolist(), "outcome": bins.outcome.tolist(), "x": names[0], "y": names[1],
        "style": ".1%" if classes else ".3~%",
    }  # fmt: skip
    worse = shuffled_losses(outcome.examples, outcome.folds[-1], classes, outcome.config.seed)
    order = np.argsort(-worse, kind="stable")
    names_ = outcome.examples.feature_names
    made["importance"] = {"names": [names_[at] for at in order.tolist()], "worse": worse[order].tolist()}
    return made


def _loss_lines(outcome: Outcome) -> list[dict[str, Any]]:
    several = len(outcome.folds) * len(outcome.config.members) > 1
    return [
        {
            "name": f" {number} {one.use}" if several else "", "best": one.best.number,
            "train": [epoch.train for epoch in one.epochs], "validation": [epoch.validation for epoch in one.epochs],
        }
        for number, fold in enumerate(outcome.folds, 1)
        for one in fold.trained
    ]  # fmt: skip


def _errors(outcome: Outcome) -> dict[str, Any]:
    instants, place = np.unique(outcome.examples.ts_ns[outcome.rows], return_inverse=True)
    by_instant = [outcome.score[place == at] for at in range(len(instants))]
    limit = float(np.quantile(outcome.folds[-1].validation_outputs[:, 0], 0.99))
    errors = {
        "median": [float(np.median(each)) for each in by_instant],
        "high": [float(np.quantile(each, 0.99)) for each in by_instant], "limit": limit,
    }  # fmt: skip
    return {"times": (instants // 1_000_000).tolist(), "errors": errors}


def _value(history: History | None, picked: Any) -> list[float]:
    assert history is not None  # only those that have one are drawn
    return np.round(np.cumprod(1 + history.after)[picked], 6).tolist()


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 8)
