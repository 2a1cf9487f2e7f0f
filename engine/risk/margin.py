"""C27: how far the account may borrow, as the broker declares it and as the run's own limit says."""

from __future__ import annotations

from decimal import Decimal

from engine.market import ZERO
from engine.portfolio import Portfolio
from engine.risk.control import Control
from engine.risk.exposure import worst_growth
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal

DAY_TRADES_MAX = 3
DAY_TRADER_USD = Decimal(25_000)
"""The pattern-day-trader rule, abolished on 2026-06-04: asked only while a broker still counts day trades."""


class IntradayMargin(Control):
    """Limit the worst-case positions over the equity of the moment, which a loss makes smaller.

    Attributes:
        day_trades: in five days, as the broker counts them; None where it does not.
    """

    code = "C27"
    name = "intraday_margin"

    def __init__(self, limits: RiskLimits, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._max_leverage = float(limits.max_leverage_fraction)
        self._start_usd = ZERO
        self.day_trades: int | None = None

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self._start_usd = equity_usd

    def check(self, p: Proposal) -> str | None:
        day_trades = self.day_trades
        if day_trades is not None and day_trades >= DAY_TRADES_MAX and self._start_usd < DAY_TRADER_USD:
            # One more day trade is made by the way out, which must never be what the broker refuses.
            return (
                f"the broker counts {day_trades} day trades >= {DAY_TRADES_MAX} in five days, and equity "
                f"{self._start_usd:,.2f} USD < {DAY_TRADER_USD:,.2f} USD"
            )
        portfolio = self._portfolio
        used = portfolio.gross + worst_growth(p) * p.mark_price
        available = self._max_leverage * portfolio.equity
        if used <= available:
            return None
        return (
            f"worst-case positions {used:,.2f} USD > {available:,.2f} USD, {self._max_leverage:g} times the equity now"
        )
