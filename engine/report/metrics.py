"""The formulas, each with its source. Plain functions of series; `None` wherever a number would mean nothing.

Returns are taken once a session, at its last snapshot, and annualized by the run's own calendar. What is annualized
from less than `RETURNS_MIN` sessions, or compounded from less than a year, is not computed at all: five minutes times
98,280 is no annual return. Snapshots within a session are used for the drawdown and the exposure only.

**Units**: money in dollars; returns, drawdowns and rates as fractions (0.01 is one percent); risk-free rate zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.clock import Sessions

RETURNS_MIN = 5
YEARS_MIN = 0.95  # not 1: a calendar year of daily closes has one return less than it has sessions
NO_VARIATION = 1e-12


class Daily(NamedTuple):
    """Equity at the end of each session, its returns, and how long that was by the calendar."""

    equity: pd.Series
    returns: pd.Series
    years: float

    @property
    def per_year(self) -> float:
        """Returns a year: the calendar's sessions when each has a snapshot, fewer when snapshots are rarer."""
        return len(self.returns) / self.years if self.years else 0.0


class Drawdown(NamedTuple):
    """The deepest fall: from `peak` to `trough`, made good at `recovered`, or not by the end."""

    depth: float
    peak: pd.Timestamp
    trough: pd.Timestamp
    recovered: pd.Timestamp | None


class Action(NamedTuple):
    """A split or dividend before a row of a frame: `ratio` shares for one, `dividend_usd` for each."""

    row: int
    symbol: str
    ratio: float
    dividend_usd: float


def daily(equity: pd.Series, sessions: Sessions) -> Daily:
    """Take the last equity of each session, and the return from one to the next.

    A snapshot belongs to the session in progress just before it, extended hours included, or else to the one before;
    so nights and weekends make no returns of their own. The first return starts at the first snapshot; where that is
    the only one of its session it is the start and no return. Returns end with the session that loses everything.
    """
    labels, last = [], ""
    for ts_ns in pd.DatetimeIndex(equity.index).as_unit("ns").asi8.tolist():
        session = sessions.at(ts_ns - 1)
        last = session.date if session.extended_open_ns < ts_ns or not last else last
        labels.append(last)
    closes = equity.groupby(np.array(labels, dtype=object)).last()
    whole = bool(labels) and labels.count(labels[0]) > 1
    ruined = np.flatnonzero(closes.to_numpy() <= 0)
    if len(ruined):
        closes = closes.iloc[: ruined[0] + 1]
    path = pd.concat([pd.Series({"": equity.iloc[0]}), closes]) if whole else closes
    returns = path.pct_change().iloc[1:] if len(path) and path.iloc[0] > 0 else path.iloc[:0]
    elapsed = _sessions_between(sessions, labels[0], closes.index[-1]) + whole if labels else 0
    return Daily(closes, returns, elapsed / sessions.per_year)


def _sessions_between(sessions: Sessions, first: str, last: str) -> int:
    session, count = sessions.on_date(first), 0
    while session is not None and session.date < last:
        session, count = sessions.at(session.extended_close_ns), count + 1
    return count


def total_return(equity: pd.Series) -> float | None:
    """Last over first, less one."""
    return float(equity.iloc[-1] / equity.iloc[0] - 1) if len(equity) > 1 and equity.iloc[0] > 0 else None


def annual_return(total: float | None, years: float) -> float | None:
    """Compound the total to one year: `(1 + total) ** (1 / years) - 1`; everything lost is -1.

    Source: CFA Institute, Global Investment Performance Standards: returns over less than a year are not annualized.
    """
    if total is None or years < YEARS_MIN:
        return None
    return (1 + total) ** (1 / years) - 1 if total > -1 else -1.0


def volatility(returns: pd.Series, per_year: float) -> float | None:
    """Sample standard deviation of the returns, times the root of their number a year."""
    return float(returns.std(ddof=1) * sqrt(per_year)) if len(returns) >= RETURNS_MIN else None


def sharpe_ratio(returns: pd.Series, per_year: float) -> float | None:
    """Mean over sample standard deviation, times the root of the number of returns a year.

    Source: Sharpe, W. F. (1994), The Sharpe Ratio, Journal of Portfolio Management 21(1), 49-58.
    """
    if len(returns) < RETURNS_MIN or returns.std(ddof=1) < NO_VARIATION:
        return None
    return float(returns.mean() / returns.std(ddof=1) * sqrt(per_year))


def sharpe_stderr(sharpe: float | None, count: int, per_year: float) -> float | None:
    """Standard error of the annualized ratio from `count` independent returns: `sqrt((1 + s**2 / 2) / count)`.

    Source: Lo, A. W. (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4), 36-52, where `s`
    is the ratio per period.
    """
    return None if sharpe is None else sqrt((per_year + sharpe**2 / 2) / count)


def sortino_ratio(returns: pd.Series, per_year: float) -> float | None:
    """Mean over the root mean square of the losing returns (all returns counted), annualized as the Sharpe ratio.

    Source: Sortino, F. A. and Price, L. N. (1994), Performance Measurement in a Downside Risk Framework, Journal of
    Investing 3(3), 59-64, with a target of zero.
    """
    if len(returns) < RETURNS_MIN:
        return None
    downside = sqrt(float((returns.clip(upper=0) ** 2).mean()))
    return float(returns.mean() / downside * sqrt(per_year)) if downside >= NO_VARIATION else None


def drawdown(equity: pd.Series) -> pd.Series:
    """Equity below its highest so far, as a fraction of that: 0 at a peak, below -1 when more than all is lost."""
    return equity / equity.cummax() - 1


def deepest(equity: pd.Series) -> Drawdown | None:
    """Return the deepest drawdown over all snapshots, or None when equity never fell or never was positive."""
    falls = drawdown(equity).to_numpy()
    if not len(falls) or equity.iloc[0] <= 0 or falls.min() >= 0:
        return None
    trough = int(falls.argmin())
    peak = int(equity.to_numpy()[: trough + 1].argmax())
    back = np.flatnonzero(equity.to_numpy()[trough:] >= equity.iloc[peak])
    at = equity.index
    return Drawdown(float(falls[trough]), at[peak], at[trough], at[trough + back[0]] if len(back) else None)


def calmar_ratio(annual: float | None, depth: float) -> float | None:
    """Annual return over the maximum drawdown.

    Source: Young, T. W. (1991), Calmar Ratio: A Smoother Tool, Futures 20(1); here over the whole run, not 36 months.
    """
    return annual / abs(depth) if annual is not None and depth else None


def hit_rate(pnl: pd.Series) -> float | None:
    """Share of the round trips that made money after fees."""
    return float((pnl > 0).mean()) if len(pnl) else None


def profit_factor(pnl: pd.Series) -> float | None:
    """What the winning round trips made, over what the losing ones lost; None when none lost."""
    lost = -float(pnl[pnl < 0].sum())
    return float(pnl[pnl > 0].sum()) / lost if lost else None


def turnover(traded_usd: float, equity: pd.Series) -> float | None:
    """Value bought and sold, both counted, over the mean equity."""
    mean = float(equity.mean()) if len(equity) else 0.0
    return traded_usd / mean if mean > 0 else None


def exposure(gross: pd.Series, equity: pd.Series) -> tuple[float | None, float | None]:
    """Return the share of snapshots with a position, and the mean of gross value over equity.

    Give it the snapshots in which a price moved: nights and weekends are no time in the market.
    """
    valid = equity > 0
    if not valid.any():
        return None, None
    return float((gross > 0).mean()), float((gross[valid] / equity[valid]).mean())


def basis_points(cost_usd: float, traded_usd: float) -> float | None:
    """Cost as ten-thousandths of the value traded."""
    return cost_usd / traded_usd * 1e4 if traded_usd else None


def buy_and_hold(marks: pd.DataFrame, capital_usd: float, actions: Sequence[Action]) -> pd.Series:
    """Value of equal money in each symbol from its first mark on, held through splits, dividends kept as cash.

    Args:
        marks: one column a symbol, one row a snapshot, NaN where there is no price yet.
        capital_usd: the money to start with; a symbol's share waits in cash for its first price.
        actions: splits and dividends in order.
    """
    held = marks.columns[(marks.bfill().iloc[0] > 0).to_numpy()] if len(marks) else marks.columns[:0]
    total = np.zeros(len(marks))
    for symbol in held:
        prices = marks[symbol].ffill().to_numpy()
        first = int(np.flatnonzero(~np.isnan(prices))[0])
        shares, cash = np.full(len(prices), capital_usd / len(held) / prices[first]), np.zeros(len(prices))
        for row, name, ratio, dividend_usd in actions:
            if name == symbol and first < row < len(prices):
                shares[row:] *= ratio
                cash[row:] += shares[row] * dividend_usd
        value = shares * prices + cash
        value[:first] = capital_usd / len(held)
        total += value
    return pd.Series(total if len(held) else np.nan, index=marks.index, name="benchmark_usd")
