"""How well a model still fits the market it is shown, measured while it runs.

    drift        features against their distribution in training: PSI and Kolmogorov-Smirnov, the worst feature
    prediction   the same of its outputs
    calibration  predicted probabilities against how often they came true, once their horizon has passed
    age          time since the end of what it has seen in training
    stranger     share of inputs farther from the training's than the card's threshold
    guard        share of windows with a larger error of an autoencoder than one in a hundred had in its validation

Each has a limit and an action in `[models.health]`; the worst action of those beyond their limits is the verdict, and
risk control C34 carries it out.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import numpy as np

from engine.config.models import HealthConfig
from engine.errors import ModelError
from engine.events import DAY_NS
from engine.model.backends import Floats
from engine.model.card import Card
from engine.model.catalog import choose
from engine.model.horizon import Horizon, Numbers
from engine.model.outlet import SEVERITY, Action, Verdict
from engine.model.scorer import Scorer
from engine.model.shipped import SHIPPED
from engine.model.states import Due

BINS: Final = 10
DECILES: Final = np.linspace(0.0, 1.0, BINS + 1)[1:-1]
SHARE_MIN: Final = 1e-4
"""An empty bin counts as this much, or one value in it would make the index infinite."""
STRANGERS_SAMPLE: Final = 200
CALIBRATION_MIN: Final = 200
CAME_TRUE_BY_RETURN: Final = frozenset({("up",), ("down", "up")})
"""Names of outputs of which the last came true when the return over their horizon is above zero."""


def psi(quantiles: Numbers, values: Numbers) -> float:
    """Return the population stability index of values against equally spaced quantiles of their reference.

    The bins are the reference's deciles; a value that several quantiles share is a bin of its own. Source: Siddiqi,
    Credit Risk Scorecards: below 0.1 is no shift, above 0.25 a large one.
    """
    edges, ordered, steps = np.unique(np.quantile(quantiles, DECILES)), np.sort(values), len(quantiles) - 1
    first, last = np.searchsorted(quantiles, edges, "left"), np.searchsorted(quantiles, edges, "right") - 1
    shared = last > first
    found_below, found_to = (np.searchsorted(ordered, edges, side) / len(values) for side in ("left", "right"))
    # Where the share below such a value lies between two quantiles nobody knows, so it is taken to be that of today.
    share_below = np.clip(found_below, np.maximum(first - 1, 0) / steps, first / steps)[shared]
    share_to = np.where(shared, np.clip(found_to, last / steps, np.minimum(last + 1, steps) / steps), last / steps)
    expected = np.diff(np.sort(np.concatenate([[0.0], share_below, share_to, [1.0]])))
    actual = np.diff(np.sort(np.concatenate([[0.0], found_below[shared], found_to, [1.0]])))
    wanted, found = np.maximum(expected, SHARE_MIN), np.maximum(actual, SHARE_MIN)
    return float(((found - wanted) * np.log(found / wanted)).sum())


def ks(quantiles: Numbers, values: Numbers) -> float:
    """Return the Kolmogorov-Smirnov distance of values from equally spaced quantiles of their reference."""
    at, ordered, steps = np.unique(quantiles), np.sort(values), max(1, len(quantiles) - 1)
    first, last = np.searchsorted(quantiles, at, "left"), np.searchsorted(quantiles, at, "right") - 1
    found_below, found_to = (np.searchsorted(ordered, at, side) / len(values) for side in ("left", "right"))
    # No more than the first of the quantiles that are this value lies below it, and no less than the last up to it.
    return float(np.maximum(found_below - first / steps, last / steps - found_to).max(initial=0.0))


def calibration_error(predicted: Numbers, came_true: Numbers) -> float:
    """Return the mean distance of predicted probabilities from frequencies, weighted, in ten bins of equal width."""
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    gaps = np.abs(np.bincount(bins, predicted, BINS) - np.bincount(bins, came_true, BINS))
    return float(gaps[counts > 0].sum() / len(predicted))


class Health:
    """Watches one model.

    Attributes:
        measures: the newest figures, by name, for metrics and status.
        counts: looks that were taken, and passes of the guard that failed.
    """

    def __init__(self, config: HealthConfig, card: Card, symbols: tuple[str, ...], guard: Scorer | None = None) -> None:
        self.config, self.card, self.guard = config, card, guard
        self.measures: dict[str, float] = {}
        self.counts = {"looks": 0, "guard_failed": 0}
        kept = 4 * config.look_every_count
        self._newest: deque[Floats] = deque(maxlen=kept)
        self._outputs: deque[Floats] = deque(maxlen=kept)
        self._errors: deque[float] = deque(maxlen=kept)
        self._settled: deque[tuple[float, float]] = deque(maxlen=kept)
        self._points = np.asarray(card.reference.points if card.reference else (), np.float32)
        self._since = 0
        up = card.outputs[-1]
        self._horizon: Horizon | None = None
        if config.calibration_max is not None:
            is_known = tuple(one.name for one in card.outputs) in CAME_TRUE_BY_RETURN
            if not is_known or up.meaning != "probability" or not up.horizon_ns:
                raise ModelError(
                    f"models.health.calibration_max: returns do not tell how often {card.name!r} was right; that takes "
                    "a probability 'up', alone or after 'down', at a horizon"
                )
            self._horizon = Horizon(card, symbols)
        self._refuse_what_cannot_be_measured()
        # An hour's features of the clock are those of that hour and never of the whole day's.
        self._drifts = [spec.name not in SHIPPED or not choose(spec).tells_time for spec in card.features]

    def _refuse_what_cannot_be_measured(self) -> None:
        config, reference, told = self.config, self.card.reference, f"the card of {self.card.name!r} holds no reference"
        wanted = {
            "drift_psi_max": bool(reference and reference.feature_quantiles),
            "drift_ks_max": bool(reference and reference.feature_quantiles),
            "prediction_psi_max": bool(reference and reference.output_quantiles),
            "ood_share_max": bool(reference and len(reference.points) and reference.distance[0] > 0),
        }
        for key, there in wanted.items():
            if getattr(config, key) is not None and not there:
                raise ModelError(f"models.health.{key}: {told} to measure it against")
        if self.guard is not None and not (self.guard.card.reference and self.guard.card.reference.reconstruction):
            raise ModelError(f"models.health.guard: the card of {self.guard.card.name!r} says no reconstruction errors")

    def take(self, event: Any) -> None:
        """Take in an event of the market."""
        if self.guard is not None:
            self.guard.take(event)
        if self._horizon is not None:
            self._horizon.take(event)

    def observe(self, due: Due, outputs: Floats) -> Verdict | None:
        """Take note of a pass; return a verdict when it is time to look."""
        self._newest.extend(due.newest)
        self._outputs.extend(outputs)
        if self._horizon is not None:
            self._settled.extend((predicted, came > 0) for came, predicted in self._horizon.passed())
            self._horizon.wait(due, outputs[:, -1:].astype(np.float64))
        if self.guard is not None:
            self._ask_guard(due.ts_ns)
        self._since += len(due.rows)
        if self._since < self.config.look_every_count:
            return None
        self._since = 0
        return self.look(due.ts_ns)

    def _ask_guard(self, ts_ns: int) -> None:
        assert self.guard is not None
        due = self.guard.due(ts_ns)
        if due is None:
            return
        try:
            errors = self.guard.outputs(due)[:, 0]
        except ModelError:
            self.counts["guard_failed"] += 1
            return
        self._errors.extend(errors[np.isfinite(errors)].tolist())

    def look(self, ts_ns: int) -> Verdict:
        """Measure everything that has a limit, and return what that comes to."""
        self.counts["looks"] += 1
        found = []
        for measure, value, limit, action in self._measured(ts_ns):
            self.measures[measure] = value
            if limit is not None and value > limit:
                found.append((action, f"{measure} {value:.3g} > {limit:.3g}"))
        if not found:
            return Verdict()
        worst: Action = max((action for action, _ in found), key=SEVERITY.__getitem__)
        return Verdict("degraded", worst, "; ".join(reason for _, reason in found))

    def _measured(self, ts_ns: int) -> list[tuple[str, float, float | None, Action]]:
        config, reference = self.config, self.card.reference
        found: list[tuple[str, float, float | None, Action]] = []
        if reference is not None and reference.feature_quantiles:
            newest = np.asarray(self._newest, np.float64)
            pairs = [
                (np.asarray(q), column[np.isfinite(column)])
                for q, column, drifts in zip(reference.feature_quantiles, newest.T, self._drifts, strict=True)
                if drifts
            ]
            pairs = [(q, column) for q, column in pairs if len(column)]
            if config.drift_psi_max is not None:
                worst = max((psi(q, column) for q, column in pairs), default=0.0)
                found.append(("drift_psi", worst, config.drift_psi_max, config.drift_action))
            if config.drift_ks_max is not None:
                worst = max((ks(q, column) for q, column in pairs), default=0.0)
                found.append(("drift_ks", worst, config.drift_ks_max, config.drift_action))
        if config.prediction_psi_max is not None and reference is not None:
            outputs = np.asarray(self._outputs, np.float64)
            worst = max(
                (psi(np.asarray(q), column[np.isfinite(column)])
                 for q, column in zip(reference.output_quantiles, outputs.T, strict=True) if np.isfinite(column).any()),
                default=0.0,
            )  # fmt: skip
            found.append(("prediction_psi", worst, config.prediction_psi_max, config.prediction_action))
        if config.calibration_max is not None and len(self._settled) >= CALIBRATION_MIN:
            predicted, came = np.asarray(self._settled, np.float64).T
            error = calibration_error(predicted, came)
            found.append(("calibration", error, config.calibration_max, config.calibration_action))
        if config.age_days_max is not None:
            seen_ns = max(self.card.train_span_ns[1], self.card.valid_span_ns[1])
            found.append(("age_days", (ts_ns - seen_ns) / DAY_NS, config.age_days_max, config.age_action))
        if ts_ns >= self.card.expires_ns:
            found.append(("expired_days", (ts_ns - self.card.expires_ns) / DAY_NS, -1.0, config.age_action))
        if config.ood_share_max is not None:
            found.append(("ood_share", self._strangers(), config.ood_share_max, config.ood_action))
        if self.guard is not None and self._errors:
            limit = self.guard.card.reference.reconstruction[-1]  # type: ignore[union-attr]  # checked at the start
            share = float((np.array(self._errors) > limit).mean())
            found.append(("guard_share", share, config.guard_share_max, config.guard_action))
        return found

    def _strangers(self) -> float:
        """Return the share of the newest inputs whose nearest training point is too far away."""
        assert self.card.reference is not None
        mean, multiple = self.card.reference.distance
        newest = np.asarray([*self._newest][-STRANGERS_SAMPLE:], np.float32)
        inputs = self.card.normalization.apply(newest[:, :, None])[:, :, 0]
        squares = (inputs**2).sum(1)[:, None] + (self._points**2).sum(1)[None] - 2 * inputs @ self._points.T
        nearest = np.sqrt(np.maximum(squares.min(axis=1), 0.0))
        return float((nearest > multiple * mean).mean())
