"""What forecasts are worth: against the answers, and in money after costs.

The book here is as plain as it can be (equal money in each place, held over the horizon, changed at each decision), so
that models, baselines and papers can be compared. What a strategy earns, `onetape backtest` tells.

**Units**: returns are fractions for one holding period; a turnover of 2 is everything sold and bought anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.events import DAY_NS
from research.config import BookConfig
from research.targets import Floats, Ints

NO_VARIATION = 1e-12
CROSS_SECTION_MIN = 5
YEAR_NS = 365.25 * DAY_NS


class History(NamedTuple):
    """What a book earned: one row a decision.

    Attributes: `before` and `after` costs, and the `turnover` that they are charged on.
    """

    ts_ns: Ints
    before: Floats
    after: Floats
    turnover: Floats


class Money(NamedTuple):
    """A history in figures. `mean_*` are for one period; ratios and the return are annual; None means nothing."""

    mean_before: float
    mean_after: float
    sharpe: float | None
    annual_return: float | None
    drawdown: float
    turnover: float


def grid(rows: Ints, symbol: Ints, ts_ns: Ints, values: Floats, symbols: int) -> tuple[Ints, Floats]:
    """Return the instants and the values of some examples as `[instant, symbol]`, NaN where there is none."""
    instants, place = np.unique(ts_ns[rows], return_inverse=True)
    found = np.full((len(instants), symbols), np.nan)
    found[place, symbol[rows]] = values[rows]
    return instants, found


def hold(score: Floats, gain: Floats, instants: Ints, book: BookConfig, horizon: int) -> History:
    """Trade scores `[instant, symbol]` every `horizon` instants and earn `gain`, of the same shape.

    A symbol without a score is not held; one whose gain is unknown is not held either, since nobody could have.
    """
    steps = slice(0, len(instants), horizon)
    wanted, earned = np.where(np.isnan(gain), np.nan, score)[steps], np.nan_to_num(gain[steps])
    weights = _weights(wanted, book)
    before = (weights * earned).sum(axis=1)
    drifted = np.zeros_like(weights)  # what was bought has grown or shrunk by the time it is changed
    drifted[1:] = (weights * (1 + earned))[:-1] / np.maximum(1 + before[:-1], 0.01)[:, None]
    turnover = np.abs(weights - drifted).sum(axis=1)
    return History(instants[steps], before, before - turnover * book.cost_bps / 1e4, turnover)


def buy_and_hold(gain: Floats, instants: Ints, book: BookConfig, horizon: int) -> History:
    """Put equal money in each symbol that is there at the first instant, and leave it."""
    steps = slice(0, len(instants), horizon)
    there = ~np.isnan(gain[0]) if len(gain) else np.zeros(gain.shape[1], bool)
    value = np.cumprod(1 + np.nan_to_num(gain[steps][:, there]), axis=0).mean(axis=1) if there.any() else np.ones(0)
    before = value / np.r_[1.0, value[:-1]] - 1
    turnover = np.zeros(len(before))
    turnover[:1] = 1.0
    return History(instants[steps][: len(before)], before, before - turnover * book.cost_bps / 1e4, turnover)


def _weights(score: Floats, book: BookConfig) -> Floats:
    known = ~np.isnan(score)
    if book.use == "top_bottom":
        filled = np.where(known, score, -np.inf)
        rank = filled.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        count, absent = score.shape[1], (~known).sum(axis=1, keepdims=True)
        top, bottom = rank >= count - book.k, (rank >= absent) & (rank < absent + book.k)
        enough = known.sum(axis=1, keepdims=True) >= 2 * book.k
        return np.where(enough, (top.astype(float) - bottom) / book.k, 0.0)
    side = np.sign(np.nan_to_num(score))
    if book.use == "long_only":
        held = side > 0
        return held / np.maximum(held.sum(axis=1, keepdims=True), 1)
    return side / np.maximum(known.sum(axis=1, keepdims=True), 1)


def money(history: History) -> Money:
    """Return a history in figures; less than five periods have no ratio, and less than a year no annual return."""
    after, count = history.after, len(history.after)
    if not count:
        return Money(0.0, 0.0, None, None, 0.0, 0.0)
    per_year = periods_per_year(history.ts_ns)
    spread = float(after.std(ddof=1)) if count > 4 else 0.0
    value = np.cumprod(1 + after)
    total, years = float(value[-1]), count / per_year if per_year else 0.0
    return Money(
        float(history.before.mean()),
        float(after.mean()),
        float(after.mean() / spread * per_year**0.5) if spread > NO_VARIATION and per_year else None,
        (total ** (1 / years) - 1 if total > 0 else -1.0) if years > 0.95 else None,
        float((value / np.maximum.accumulate(np.r_[1.0, value])[1:] - 1).min()),
        float(history.turnover.mean()),
    )


def periods_per_year(ts_ns: Ints) -> float:
    """Return how many decisions a year there were."""
    span_ns = int(ts_ns[-1] - ts_ns[0]) if len(ts_ns) > 1 else 0
    return (len(ts_ns) - 1) / span_ns * YEAR_NS if span_ns else 0.0


# --- against the answers ---------------------------------------------------------------------------------------------


def information_coefficients(score: Floats, answer: Floats) -> Floats:
    """Return the rank correlation of scores and answers `[instant, symbol]` at each instant.

    Where fewer than five symbols have both, an instant says nothing and is NaN.
    """
    both = ~np.isnan(score) & ~np.isnan(answer)
    found = np.full(len(score), np.nan)
    for at in np.flatnonzero(both.sum(axis=1) >= CROSS_SECTION_MIN):
        found[at] = rank_correlation(score[at, both[at]], answer[at, both[at]])
    return found


def rank_correlation(one: npt.NDArray[np.float64], other: Floats) -> float:
    """Return Spearman's correlation; NaN where one of them does not vary."""
    x, y = ranks(one), ranks(other)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > NO_VARIATION else float("nan")


def ranks(values: Floats) -> Floats:
    """Return ranks from 0; equal values share the middle of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[place]


def confusion(truth: Ints, predicted: Ints, classes: int) -> Ints:
    """Return counts `[true class, predicted class]`."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


class Reliability(NamedTuple):
    """Forecast and outcome in bins of equal number, and the mean gap between them (ECE)."""

    forecast: Floats
    outcome: Floats
    size: Ints
    error: float


def reliability(forecast: Floats, outcome: Floats, bins: int = 10) -> Reliability:
    """Compare forecasts with what came, from the lowest to the highest."""
    order = np.argsort(forecast, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    means = np.array([(forecast[part].mean(), outcome[part].mean(), len(part)) for part in parts]).reshape(-1, 3)
    gap = float(np.abs(means[:, 0] - means[:, 1]) @ means[:, 2] / max(1, len(order)))
    return Reliability(means[:, 0], means[:, 1], means[:, 2].astype(np.int64), gap)


def log_loss(probabilities: Floats, truth: Ints) -> float:
    """Return the mean cross entropy in nats."""
    return float(-np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, None)).mean())


def bootstrap_superiority(one: Floats, other: Floats, seed: int, draws: int = 2000) -> float:
    """Return the probability that the mean of `one` is above that of `other`, paired, by the stationary bootstrap.

    Blocks have the mean length n^(1/3). Resampling around a mean that is itself estimated makes means vary too little,
    by (2b - 1) / n of the variance for blocks of b; and that variance is itself estimated, on as few degrees of freedom
    as its weights leave. Both are made up for, so that one of two equals is called better with 95 % in 5 % of cases
    where periods do not depend on each other; tried from 20 of them on.

    Sources: Politis, D. N. and Romano, J. P. (1994), The Stationary Bootstrap, Journal of the American Statistical
    Association 89(428), 1303-1313. Politis, D. N. and White, H. (2004), Automatic Block-Length Selection for the
    Dependent Bootstrap, Econometric Reviews 23(1), 53-70: the order of the length, and the weights (1 - 1/b)^k of the
    autocovariances. Lazarus, E., Lewis, D. J., Stock, J. H. and Watson, M. W. (2018), HAR Inference: Recommendations
    for Practice, Journal of Business & Economic Statistics 36(4), 541-559: Student's t with these degrees of freedom.
    """
    gap = one - other
    count = len(gap)
    if count < 2:
        return 0.5
    draw = np.random.default_rng(seed)
    block = count ** (1 / 3)
    starts = draw.integers(0, count, (draws, count))
    fresh = draw.random((draws, count)) < 1 / block
    fresh[:, 0] = True
    since = np.maximum.accumulate(np.where(fresh, np.arange(count), 0), axis=1)
    rows = (np.take_along_axis(starts, since, axis=1) + np.arange(count) - since) % count
    square = (1 - 1 / block) ** 2
    freedom = count * (1 - square) / (1 + square)
    wider = np.sqrt(count / (count - 2 * block + 1) * freedom / draw.chisquare(freedom, draws))
    means = gap.mean() + (gap[rows].mean(axis=1) - gap.mean()) * wider
    return float((means > 0).mean() + 0.5 * (means == 0).mean())


def quarters(months: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the names of the quarters that months `datetime64[M]` lie in."""
    number = months.astype(np.int64)
    return np.array([f"{1970 + each // 12} Q{each % 12 // 3 + 1}" for each in number.tolist()])


def trailing_mean(values: Floats, count: int) -> Floats:
    """Return the mean of the last `count` values at each place, of fewer at the beginning."""
    sums = np.cumsum(np.r_[0.0, values])
    first = np.maximum(np.arange(len(values)) + 1 - count, 0)
    return (sums[1:] - sums[first]) / (np.arange(len(values)) + 1 - first)
