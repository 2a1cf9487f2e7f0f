"""What a network is to foretell, and until when each answer looks into the future.

Everything here is for training: a label at row `t` is made of prices after `t`, and carries the row at which the last
of them was known. Splits purge by that row.

**Shapes**: one symbol's bars in order, float64 `[bar]`; a label that lacks its future is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Labels(NamedTuple):
    """`value` of each bar and the row `end` at which it was decided; -1 where there is none."""

    value: Floats
    end: Ints


def forward_return(close: Floats, horizon: int) -> Labels:
    """Return the simple return from each close to the one `horizon` bars later."""
    value = np.full(len(close), np.nan)
    value[:-horizon] = close[horizon:] / close[:-horizon] - 1
    return _ending(value, horizon)


def direction(returns: Labels, threshold: float = 0.0) -> Labels:
    """Class up (1) or down (0) of a return; with a threshold down, flat, up (0, 1, 2)."""
    value = returns.value
    found = (value > threshold).astype(np.float64) + (value >= -threshold if threshold else 0.0)
    return Labels(np.where(np.isnan(value), np.nan, found), returns.end)


def above_median(value: Floats, end_ns: Ints, instant: Ints) -> tuple[Floats, Ints]:
    """Class 1 where a return is above the median of all symbols of the same instant, else 0; and when that was known.

    The classes are balanced by construction. Only symbols that have a return at that instant are counted, so none that
    did not trade yet; and as the last of these returns may move the median, no class is known before it is. Source:
    Fischer, T. and Krauss, C. (2018), Deep learning with long short-term memory networks for financial market
    predictions, European Journal of Operational Research 270(2), 654-669.
    """
    found, known_ns = np.full(len(value), np.nan), end_ns.copy()
    known = np.flatnonzero(~np.isnan(value))
    order = known[np.lexsort((value[known], instant[known]))]
    starts = np.flatnonzero(np.r_[True, np.diff(instant[order]) != 0]) if len(order) else np.array([], np.int64)
    for rows in np.split(order, starts[1:]):
        if len(rows):
            found[rows], known_ns[rows] = value[rows] > np.median(value[rows]), end_ns[rows].max()
    return found, known_ns


def triple_barrier(close: Floats, horizon: int, width: float, volatility_bars: int) -> Labels:
    """Class 2 when the upper barrier is touched first, 0 the lower, 1 neither within `horizon` bars.

    Barriers lie `width` times the volatility of the last `volatility_bars` returns, for one bar, away from the close.
    Source: Lopez de Prado, M. (2018), Advances in Financial Machine Learning, section 3.4.
    """
    barrier = width * trailing_volatility(close, volatility_bars)
    count = len(close)
    value, end = np.ones(count), np.arange(count, dtype=np.int64) + horizon
    open_still = np.ones(count, dtype=bool)
    for ahead in range(1, min(horizon, count - 1) + 1):
        moved = np.full(count, np.nan)
        moved[:-ahead] = close[ahead:] / close[:-ahead] - 1
        touched = open_still & (np.abs(moved) >= barrier)
        value[touched] = np.where(moved[touched] > 0, 2.0, 0.0)
        end[touched] = np.flatnonzero(touched) + ahead
        open_still &= ~touched
    value[np.isnan(barrier) | (open_still & (end >= count))] = np.nan
    return Labels(value, np.where(np.isnan(value), -1, end))


def volatility(close: Floats, horizon: int) -> Labels:
    """Root mean square of the next `horizon` log returns, for one bar."""
    squares = np.diff(np.log(close)) ** 2
    value = np.full(len(close), np.nan)
    if len(squares) >= horizon:
        value[: len(close) - horizon] = np.sqrt(_moving_mean(squares, horizon))
    return _ending(value, horizon)


def trailing_volatility(close: Floats, bars: int) -> Floats:
    """Root mean square of the last `bars` log returns, for one bar; NaN before there are as many."""
    squares = np.diff(np.log(close)) ** 2
    value = np.full(len(close), np.nan)
    if len(squares) >= bars:
        value[bars:] = np.sqrt(_moving_mean(squares, bars))
    return value


def _moving_mean(values: Floats, bars: int) -> Floats:
    # By windows and not by running sums: one huge return would leave its rounding in all sums after it.
    return np.lib.stride_tricks.sliding_window_view(values, bars).mean(axis=1)


def _ending(value: Floats, horizon: int) -> Labels:
    rows = np.arange(len(value), dtype=np.int64)
    return Labels(value, np.where(np.isnan(value), -1, rows + horizon))
