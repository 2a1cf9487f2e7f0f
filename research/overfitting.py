"""How much of a good result is luck: Sharpe ratios judged by their length, their shape and the number of tries.

Ratios are per return, not annualized; `kurtosis` is 3 for a normal distribution, not the excess over it.

Sources: Bailey, D. H. and Lopez de Prado, M. (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2), 3-44;
(2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5), 94-107; Bailey, D. H., Borwein, J., Lopez de
Prado, M. and Zhu, Q. J. (2017), The Probability of Backtest Overfitting, Journal of Computational Finance 20(4), 39-69.
"""

from __future__ import annotations

from itertools import combinations
from math import e, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EULER = 0.5772156649015329
NORMAL = NormalDist()
NO_VARIATION = 1e-12


class Moments(NamedTuple):
    """The Sharpe ratio of some returns, with what its error depends on; `length` is their number."""

    sharpe: float
    length: int
    skew: float = 0.0
    kurtosis: float = 3.0

    @property
    def variance(self) -> float:
        """Variance of the ratio, times its number of returns less one."""
        return 1 - self.skew * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2


def moments(returns: Floats) -> Moments:
    """Return the Sharpe ratio, number, skewness and kurtosis of returns; a ratio of 0 where they do not vary."""
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    if spread < NO_VARIATION:
        return Moments(0.0, len(returns))
    standard = (returns - returns.mean()) / returns.std()
    return Moments(
        float(returns.mean()) / spread, len(returns), float((standard**3).mean()), float((standard**4).mean())
    )


def probabilistic_sharpe(found: Moments, benchmark: float = 0.0) -> float:
    """Return the probability that the true ratio is above the benchmark."""
    return NORMAL.cdf((found.sharpe - benchmark) * sqrt(found.length - 1) / sqrt(found.variance))


def minimum_track_record(found: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return how many returns it takes to be this confident that the true ratio is above the benchmark."""
    if found.sharpe <= benchmark:
        return float("inf")
    return 1 + found.variance * (NORMAL.inv_cdf(confidence) / (found.sharpe - benchmark)) ** 2


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Return the ratio that the best of so many worthless trials is expected to show; `variance` is that of theirs."""
    if trials < 2:
        return 0.0
    rare, rarer = NORMAL.inv_cdf(1 - 1 / trials), NORMAL.inv_cdf(1 - 1 / (trials * e))
    return sqrt(variance) * ((1 - EULER) * rare + EULER * rarer)


def deflated_sharpe(found: Moments, trials: int, variance: float) -> float:
    """Return the probability that the true ratio is above zero, given that it is the best of `trials`."""
    return probabilistic_sharpe(found, expected_maximum_sharpe(trials, variance))


def overfitting_probability(returns: Floats, blocks: int = 16) -> float:
    """Return the probability that the best trial in one half of time is below the median in the other half (CSCV).

    Args:
        returns: `[time, trial]`, at least two trials and as many rows as blocks.
        blocks: even number of spans that time is cut into; every choice of half of them is tried, 12,870 for 16.
    """
    rows = len(returns) // blocks
    cut = returns[: rows * blocks].reshape(blocks, rows, -1)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    chosen = np.zeros((len(list(combinations(range(blocks), blocks // 2))), blocks))
    for row, picked in enumerate(combinations(range(blocks), blocks // 2)):
        chosen[row, list(picked)] = 1.0
    inside, outside = (_sharpes(half @ sums, half @ squares, rows * blocks // 2) for half in (chosen, 1 - chosen))
    best = inside.argmax(axis=1)
    told = outside[np.arange(len(best)), best][:, None]
    rank = (outside < told).sum(axis=1) + ((outside == told).sum(axis=1) + 1) / 2  # ties share their middle
    return float((rank / (outside.shape[1] + 1) <= 0.5).mean())


def _sharpes(sums: Floats, squares: Floats, count: int) -> Floats:
    mean = sums / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, NO_VARIATION**2))
    ratios: Floats = mean / spread
    return ratios
