"""C39: after a session, the broker's statement and our books have to agree to the share, the cent and the execution."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from engine.events import AccountStatement, Event, Fill
from engine.market import ZERO
from engine.orders import Order
from engine.portfolio import CENT, Portfolio
from engine.risk.control import NOTHING, Control
from engine.risk.state import Latch

DIFFERENCES_TOLD = 5


class PostTrade(Control):
    """Keep what a session has booked until the broker's statement of it comes; halt when that differs.

    Attributes:
        is_watching: whether there is a broker outside whose statement can be asked for.
        due: the span of the session, or sessions, of which the statement is wanted, None when it is not.
    """

    code = "C39"
    name = "post_trade"

    def __init__(self, portfolio: Portfolio, latch: Latch) -> None:
        self._portfolio, self._latch = portfolio, latch
        self._executions: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._begun_ns = 0
        self.is_watching = False
        self.due: tuple[int, int] | None = None

    def on_fill(self, order: Order, fill: Fill, now_ns: int) -> Sequence[Event]:
        self._executions[fill.execution_id] = fill.ts_event_ns
        return NOTHING

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        if self.is_watching:
            self.due = (self._begun_ns if self.due is None else self.due[0], now_ns)
            self._ended.update(self._executions)
        self._executions = {}
        self._begun_ns = now_ns

    def differences(self, statement: AccountStatement) -> list[str]:
        """Return what the statement and our books say differently, in words."""
        portfolio, found = self._portfolio, []
        held = {market.symbol: market.position_qty for market in portfolio.held()}
        for symbol in sorted({*held, *statement.positions}):
            here, there = held.get(symbol, ZERO), statement.positions.get(symbol, ZERO)
            if here != there:
                found.append(f"{symbol}: {here} here, {there} there")
        off_usd = portfolio.cash_usd - statement.cash_usd
        if abs(off_usd) >= CENT:
            found.append(f"cash: {portfolio.cash_usd:.2f} here, {statement.cash_usd:.2f} there")
        for execution_id, ts_ns in sorted(statement.executions.items()):
            is_known = execution_id in self._ended or execution_id in self._executions
            if statement.from_ns <= ts_ns < statement.until_ns and not is_known:
                found.append(f"execution {execution_id} there only")
        for execution_id, ts_ns in self._ended.items():  # one of the session before may have been booked in this one
            if ts_ns >= statement.from_ns and execution_id not in statement.executions:
                found.append(f"execution {execution_id} here only")
        return found

    def on_statement(self, statement: AccountStatement, now_ns: int) -> Sequence[Event]:
        """Take in the statement that was due; halt when it differs."""
        if self.due is None:
            return NOTHING
        found = self.differences(statement)
        self.due = None
        self._ended = {}
        if not found or self._latch.is_latched:
            return NOTHING
        more = len(found) - DIFFERENCES_TOLD
        reason = "; ".join(found[:DIFFERENCES_TOLD]) + (f"; and {more} more" if more > 0 else "")
        return (self._latch.set("halted", now_ns, self.label, f"after the session: {reason}"),)
