"""Our books against the broker's account, by the rules of docs/recovery.md.

The broker's executions are the truth, and each is booked once. An order that was sent and never answered is asked
after. What belongs to somebody else is reported and never traded away. Positions that still differ are only believed
when two readings in a row say the same, because a broker's own pages may disagree for seconds; then their symbols are
frozen, and when that lasts everything is halted. Nothing is ever traded to repair a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from engine.core import Core
from engine.events import SECOND_NS, AccountStatement, AccountTerms, Fill, OrderUpdate, Reconciliation
from engine.market import ZERO
from engine.ports import AccountState

SETTLING_NS = 5 * SECOND_NS
"""An order this young may be missing from the broker's list without anything being wrong."""

HALT_AFTER_NS = 60 * SECOND_NS
CENT = Decimal("0.01")
COIN_FEE_MAX = Decimal("0.005")
"""The largest share of coins bought that may be missing as the broker's fee; twice what Alpaca charges."""


class Findings(NamedTuple):
    """What one reading of the account asks for.

    Attributes:
        missing: executions of ours that the stream never brought.
        adopted: orders of ours that the venue works on and never acknowledged.
        lost: ids of orders that we think open and the venue does not list: to be asked after.
        undead: ids of orders of ours that we took for ended and two readings list: to be canceled.
        foreign: in words, what is not ours and was not named before.
        verdict: the event for the corridor, None when there is nothing new to say.
    """

    missing: tuple[Fill, ...]
    adopted: tuple[OrderUpdate, ...]
    lost: tuple[str, ...]
    undead: tuple[str, ...]
    foreign: tuple[str, ...]
    verdict: Reconciliation | None


class Reconciler:
    """Compare readings of the account with a run's books, remembering what the last one said.

    Attributes:
        rounds, mismatches: how often it compared, and how often positions differed, for the metrics.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._differing: dict[str, tuple[Decimal, Decimal, int]] = {}
        self._told: tuple[str, ...] = ()
        self._cash_seen: Decimal | None = None
        self._foreign: set[str] = set()
        self._lingering: set[str] = set()
        self._begun = False
        self._terms: tuple[int, int | None] | None = None
        self.rounds = self.mismatches = 0

    def compare(self, state: AccountState) -> Findings:
        """Return what a reading of the account asks for; the books are not changed here."""
        self.rounds += 1
        orders, now = self._core.orders, state.ts_ns
        ours = orders.orders
        missing = tuple(
            msgspec.structs.replace(fill, ts_recv_ns=now)
            for fill in state.fills
            if fill.client_order_id in ours and not orders.has_booked(fill.execution_id)
        )
        listed = {order.client_order_id for order in state.open_orders}
        adopted = tuple(
            OrderUpdate(
                order.client_order_id,
                order.status,
                min(order.submitted_ns or now, now),
                now,
                "found in the account",
                order.broker_order_id,
            )
            for order in state.open_orders
            if order.client_order_id in orders.open
            and orders.open[order.client_order_id].status in ("pending_new", "unknown")
        )
        filled = {fill.client_order_id for fill in missing}
        lost = tuple(
            order.id
            for order in orders.open.values()
            if order.id not in listed and order.id not in filled and now - order.updated_ns > SETTLING_NS
        )
        before = self._lingering
        self._lingering = {
            order_id
            for order_id in listed & ours.keys() - orders.open.keys()
            if now - ours[order_id].updated_ns > SETTLING_NS
        }
        undead = tuple(sorted(self._lingering & before))
        foreign = tuple(
            f"order {order.client_order_id} to {order.side} {order.qty} {order.symbol}"
            for order in state.open_orders
            if order.client_order_id not in ours and order.client_order_id not in self._foreign
        )
        self._foreign = {order.client_order_id for order in state.open_orders if order.client_order_id not in ours}
        verdict = None if missing or adopted else self._judge(state, settled=not lost)
        return Findings(missing, adopted, lost, undead, foreign, verdict)

    def terms(self, state: AccountState) -> AccountTerms | None:
        """Return what the broker declares of margin and day trades, None when that is nothing new."""
        told = state.multiplier, state.day_trades
        before, self._terms = self._terms, told
        return None if told == before else AccountTerms(state.ts_ns, state.ts_ns, *told)

    def statement(self, state: AccountState, session: tuple[int, int]) -> AccountStatement:
        """Return a reading of the account as the statement of a session, with the executions of this run only."""
        prefix = f"{self._core.run_id}-"
        executions = {
            fill.execution_id: fill.ts_event_ns for fill in state.fills if fill.client_order_id.startswith(prefix)
        }
        return AccountStatement(state.ts_ns, state.ts_ns, *session, state.cash_usd, state.positions, executions)

    def _judge(self, state: AccountState, *, settled: bool) -> Reconciliation | None:
        now, portfolio = state.ts_ns, self._core.portfolio
        before, self._differing = self._differing, {}
        held = {market.symbol: market.position_qty for market in portfolio.held()}
        for symbol in sorted({*held, *state.positions}):
            here, there = held.get(symbol, ZERO), state.positions.get(symbol, ZERO)
            if here != there:
                known = before.get(symbol)
                since = known[2] if known is not None and known[:2] == (here, there) else now
                self._differing[symbol] = here, there, since
        charged = self._coins_charged(now) if settled else {}
        self._differing = {symbol: seen for symbol, seen in self._differing.items() if symbol not in charged}
        confirmed = tuple(symbol for symbol, (*_, since) in self._differing.items() if since < now)
        self.mismatches += bool(confirmed)
        lasting = [symbol for symbol in confirmed if now - self._differing[symbol][2] >= HALT_AFTER_NS]
        adjustment = self._cash_adjustment(state) if settled and not self._differing else ZERO
        if self._begun and confirmed == self._told and not (adjustment or lasting or charged):
            return None
        if not self._begun and (self._differing and not confirmed):
            return None  # not yet believed: a second reading decides
        self._told, self._begun = confirmed, True
        reason = "; ".join(
            f"{symbol}: {here} here, {there} there" for symbol, (here, there, _) in self._differing.items()
        )
        return Reconciliation(
            now, now, adjustment, confirmed, halts=bool(lasting), reason=reason, coins_charged=charged
        )

    def _coins_charged(self, now_ns: int) -> dict[str, Decimal]:
        """Return the coins that are missing, by two readings, and are no more than a fee on those that were bought."""
        books, charged = self._core.portfolio.coins_charged, {}
        for symbol, (here, there, since) in self._differing.items():
            if "/" in symbol and since < now_ns and there < here:
                orders = (one for one in self._core.orders.orders.values() if one.symbol == symbol and one.sign > 0)
                bought = sum((one.filled_qty for one in orders), ZERO)
                if here - there <= bought * COIN_FEE_MAX - books.get(symbol, ZERO):
                    charged[symbol] = here - there
        return charged

    def _cash_adjustment(self, state: AccountState) -> Decimal:
        """Return what fees, dividends and interest explain: a difference in cash that two readings agree on."""
        difference = state.cash_usd - self._core.portfolio.cash_usd
        seen, self._cash_seen = self._cash_seen, difference
        return difference if difference == seen and abs(difference) >= CENT else ZERO


def leaving(core: Core) -> Sequence[str]:
    """Return the ids of orders whose cancel was journaled: a kill came before or after its sending."""
    return [order.id for order in core.orders.open.values() if order.status == "pending_cancel"]


def waiting(core: Core) -> Sequence[str]:
    """Return the ids of orders that were journaled and never answered: a kill came before or after their sending."""
    unanswered = ("pending_new", "unknown", "pending_replace")
    return [order.id for order in core.orders.open.values() if order.status in unanswered]
