"""C14 to C16: how much may be lost, by the account in a session and from its peak, and by a strategy.

The portfolio watches one float, its `floor`, on every price; only when that is crossed are the limits here compared
with the exact equity. The floor lies a hair above them, so that no rounding hides a breach.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import inf
from typing import Final

from engine.events import Event, StrategyHalted, exact
from engine.market import ZERO
from engine.portfolio import FOREIGN, Portfolio
from engine.risk.control import PERCENT, Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal

HAIR: Final = 1e-9


class DailyLoss(Control):
    """Stop entries, and later halt, when the session has lost too much of the equity it began with."""

    code = "C14"
    name = "daily_loss"

    def __init__(self, limits: RiskLimits, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._reduce_percent = limits.daily_loss_reduce_only_percent
        self._halt_percent = limits.daily_loss_halt_percent
        self.start_usd = self.reduce_only_below_usd = self.halt_below_usd = ZERO
        self._entries_from = inf

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self.start_usd = equity_usd
        self.reduce_only_below_usd = equity_usd * (1 - self._reduce_percent * PERCENT)
        self.halt_below_usd = equity_usd * (1 - self._halt_percent * PERCENT)
        self._entries_from = float(self.reduce_only_below_usd) - abs(float(self.reduce_only_below_usd)) * HAIR

    def check(self, p: Proposal) -> str | None:
        if self._portfolio.equity >= self._entries_from:
            return None
        return self._reason(self._portfolio.equity, self._reduce_percent)

    def halts(self, equity_usd: Decimal) -> str | None:
        """Return why trading has to halt at this equity, or None."""
        return self._reason(equity_usd, self._halt_percent) if equity_usd < self.halt_below_usd else None

    def stops_entries(self, equity_usd: Decimal) -> str | None:
        """Return why only reductions may go at this equity, or None."""
        return self._reason(equity_usd, self._reduce_percent) if equity_usd < self.reduce_only_below_usd else None

    def _reason(self, equity_usd: Decimal | float, percent: Decimal) -> str:
        start = self.start_usd
        return f"equity {equity_usd:,.2f} USD is more than {percent} % below {start:,.2f} USD at the session's start"


class Drawdown(Control):
    """Halt when the equity has fallen too far from its peak."""

    code = "C15"
    name = "max_drawdown"

    def __init__(self, limits: RiskLimits, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._percent = limits.max_drawdown_percent
        self._kept = 1 - limits.max_drawdown_percent * PERCENT
        self.kept = float(self._kept)
        self._entries_kept = self.kept - abs(self.kept) * HAIR

    def check(self, p: Proposal) -> str | None:
        portfolio = self._portfolio
        if portfolio.equity >= portfolio.peak * self._entries_kept:
            return None
        return self._reason(portfolio.equity)

    def halts(self, equity_usd: Decimal) -> str | None:
        """Return why trading has to halt at this equity, or None."""
        return self._reason(equity_usd) if equity_usd < exact(self._portfolio.peak) * self._kept else None

    def _reason(self, equity_usd: Decimal | float) -> str:
        peak = self._portfolio.peak
        return f"equity {equity_usd:,.2f} USD is more than {self._percent} % below its peak {peak:,.2f} USD"


class StrategyLoss(Control):
    """Halt a strategy that has lost too much in the session, alone."""

    code = "C16"
    name = "strategy_loss"

    def __init__(self, limits: RiskLimits, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._fraction = limits.strategy_daily_loss_percent * PERCENT
        self._limit_usd = ZERO
        self._start_usd: dict[str, Decimal] = {}

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self._limit_usd = self._fraction * equity_usd
        self._start_usd = self._portfolio.worth()[1]

    def look(self, now_ns: int) -> Sequence[Event]:
        """Compare every strategy's profit of the session with the limit."""
        found: list[Event] = []
        for name, pnl_usd in self._portfolio.worth()[1].items():
            book = self._portfolio.books[name]
            if book.halted or name == FOREIGN:
                continue
            loss_usd = self._start_usd.get(name, ZERO) - pnl_usd
            if loss_usd > self._limit_usd:
                book.halted = True
                reason = f"lost {loss_usd:,.2f} USD in the session > {self._limit_usd:,.2f} USD"
                found.append(StrategyHalted(name, now_ns, self.label, reason))
        return found
