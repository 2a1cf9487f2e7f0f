"""An account kept by hand: a second, naive set of books that reads a run's records and shares no code with the engine.

Everything is added up again from the start whenever it is asked for. Slow, and plain enough to be believed. From the
run it takes only what its journal says and, as the price of a symbol, the last one that the run itself has marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from math import isfinite

from engine.clock import Sessions
from engine.events import (
    Approved,
    Bar,
    CancelRequest,
    CorporateAction,
    Denied,
    Fill,
    Intent,
    MarketEvent,
    OrderUpdate,
    Quote,
    Record,
    Snapshot,
    StrategyHalted,
    Trade,
    TradingStateChanged,
)  # fmt: skip
from engine.risk import RiskLimits

ZERO, CENT, NANO = Decimal(0), Decimal("0.01"), Decimal("1e-9")
ENDS = ("canceled", "expired", "rejected", "replaced", "filled")
SECOND_NS = 10**9


@dataclass
class Ticket:
    """One order: what was asked for and what has come of it."""

    intent: Intent
    qty: Decimal
    group: list[Ticket]
    placed_ns: int
    entry: bool
    cost_price: Decimal = ZERO
    filled: Decimal = ZERO
    status: str = "pending_new"
    cancel_asked: bool = False

    @property
    def open(self) -> bool:
        return self.status not in ENDS

    @property
    def side(self) -> int:
        return 1 if self.intent.side == "buy" else -1


@dataclass
class Ledger:
    """Cash, positions and orders of a run, and what its limits allow.

    Attributes:
        price: the last price of a symbol, NaN where there was none.
    """

    limits: RiskLimits
    cash: Decimal
    multiplier: int
    sessions: Sessions
    symbols: dict[str, set[str]]
    price: Callable[[str], float]
    positions: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    executions: set[str] = field(default_factory=set)
    approvals: list[tuple[int, str, bool]] = field(default_factory=list)
    traded: Decimal = ZERO
    started: Decimal = ZERO
    session_from: int = 0
    peak: float = 0.0
    state: str = "halted"
    stopped: set[str] = field(default_factory=set)
    reductions: int = 0
    entered: list[tuple[int, str, str]] = field(default_factory=list)
    rejects: int = 0
    newest_ns: dict[str, int] = field(default_factory=dict)
    quotes: dict[str, Quote] = field(default_factory=dict)
    in_hand: MarketEvent | None = None

    # --- what happened ---------------------------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """Book a record; an approval is first held against every limit."""
        if isinstance(record, Approved):
            self._approve(record)
        elif isinstance(record, Fill):
            self._fill(record)
        elif isinstance(record, OrderUpdate):
            self._update(record)
        elif isinstance(record, CancelRequest):
            self.tickets[record.client_order_id].cancel_asked = True
        elif isinstance(record, CorporateAction):
            self._act(record)
        elif isinstance(record, TradingStateChanged):
            self.state = record.state
        elif isinstance(record, StrategyHalted):
            self.stopped.add(record.strategy)
        elif isinstance(record, Snapshot):
            self._compare(record)
        elif isinstance(record, Denied):
            assert record.intent.client_order_id not in self.tickets or record.control.startswith("C07")

    def see(self, event: MarketEvent) -> None:
        """Take note of the event that the run is about to take."""
        self.in_hand = event
        if isinstance(event, Bar | Quote | Trade):
            self.newest_ns[event.symbol] = event.ts_recv_ns
        if isinstance(event, Quote):
            self.quotes[event.symbol] = event
        elif isinstance(event, CorporateAction) and event.action != "cash_dividend":
            self.quotes.pop(event.symbol, None)

    def crest(self) -> None:
        """Take note of the highest equity, as prices show it: a dividend is followed by a lower price."""
        event = self.in_hand
        crossed = isinstance(event, Quote) and not 0 < event.bid_price <= event.ask_price
        if isinstance(event, Bar | Quote | Trade) and not crossed and event.symbol in self.account_positions():
            self.peak = max(self.peak, float(self.equity()))

    def begin_session(self) -> None:
        """A session begins: its losses, orders and turnover are counted from here."""
        self.started, self.traded, self.session_from = self.equity(), ZERO, len(self.approvals)

    def _fill(self, fill: Fill) -> None:
        assert fill.execution_id not in self.executions, "an execution came twice"
        self.executions.add(fill.execution_id)
        ticket = self.tickets[fill.client_order_id]
        assert ticket.open, f"{fill.client_order_id} filled after its end"
        assert (fill.symbol, fill.side) == (ticket.intent.symbol, ticket.intent.side)
        assert fill.qty > 0
        assert fill.price > 0
        if ticket.intent.notional_usd is None:
            assert ticket.filled + fill.qty <= ticket.qty, "filled for more than was asked"
        else:
            assert (ticket.filled + fill.qty) * fill.price <= ticket.intent.notional_usd * Decimal("1.5")
        limit = ticket.intent.limit_price
        if limit is not None:
            assert (fill.price - limit) * ticket.side <= 0, "filled beyond its limit"
        if ticket.entry and not ticket.filled:
            self.entered.append((fill.ts_event_ns, ticket.intent.strategy, fill.symbol))
        ticket.filled += fill.qty
        self.cash -= ticket.side * fill.qty * fill.price + fill.fee_usd
        self.traded += fill.qty * fill.price
        self._move(ticket.intent.strategy, fill.symbol, ticket.side * fill.qty)
        if ticket.filled == self._wanted(ticket) and ticket.intent.notional_usd is None:
            ticket.status = "filled"

    def _update(self, update: OrderUpdate) -> None:
        ticket = self.tickets[update.client_order_id]
        if not ticket.open:
            # What the fills had shown already: it is complete, or of a leg that there is nothing left to protect.
            assert (ticket.status, update.status) in (("filled", "filled"), ("filled", "canceled"))
            return
        ticket.status = update.status
        if update.status == "rejected" and not ticket.intent.parent_id:
            self.rejects += 1
        amended = any(other.intent.replaces == update.client_order_id for other in self.tickets.values())
        if update.status == "accepted" and not ticket.intent.parent_id and not amended:
            self.rejects = 0

    def _act(self, action: CorporateAction) -> None:
        holders = sorted(key for key in self.positions if key[1] == action.symbol and self.positions[key])
        if action.action == "split":
            self._split(holders, Fraction(action.new_shares, action.old_shares))
            return
        for strategy, symbol in holders:
            held = self.positions[strategy, symbol]
            if action.action == "cash_dividend":
                self.cash += held * action.amount_usd
            else:
                self._move(strategy, symbol, -held)
                self._move(strategy, action.new_symbol, held)

    def _split(self, holders: list[tuple[str, str]], ratio: Fraction) -> None:
        held = [self.positions[key] for key in holders]
        raws = [qty * ratio.numerator / ratio.denominator for qty in held]
        kept = [raw.quantize(NANO if qty % 1 else Decimal(1), ROUND_DOWN) for qty, raw in zip(held, raws, strict=True)]
        if not any(qty % 1 for qty in held):
            # What the broker keeps of the one position it knows, whichever strategies' shares those are.
            whole = int(Fraction(sum(held)) * ratio)
            while sum(kept) != whole:
                step = 1 if sum(kept) < whole else -1
                at = max(range(len(held)), key=lambda at, step=step: (raws[at] - kept[at]) * step)
                kept[at] += step
        for key, raw, shares in zip(holders, raws, kept, strict=True):
            after = self.price(key[1]) * ratio.denominator / ratio.numerator
            self.cash += ((raw - shares) * Decimal(repr(after))).quantize(CENT)
            self.positions[key] = shares

    def _move(self, strategy: str, symbol: str, qty: Decimal) -> None:
        self.positions[strategy, symbol] = self.positions.get((strategy, symbol), ZERO) + qty

    def _compare(self, seen: Snapshot) -> None:
        assert seen.cash_usd == self.cash
        assert seen.equity_usd == self.equity()

    # --- adding up -------------------------------------------------------------------------------------------------

    def account_positions(self) -> dict[str, Decimal]:
        """Return what the account holds of each symbol, where that is anything."""
        total: dict[str, Decimal] = {}
        for (_, symbol), qty in self.positions.items():
            total[symbol] = total.get(symbol, ZERO) + qty
        return {symbol: qty for symbol, qty in total.items() if qty}

    def equity(self) -> Decimal:
        """Return cash and positions at the last prices."""
        held = self.account_positions().items()
        return self.cash + sum((qty * Decimal(repr(self.price(symbol))) for symbol, qty in held), ZERO)

    def open_tickets(self) -> list[Ticket]:
        return [ticket for ticket in self.tickets.values() if ticket.open]

    def open_qty(self, symbol: str, side: int, strategy: str = "", but: list[Ticket] | None = None) -> Decimal:
        """Return what may still fill on one side. Of one group's members on a side only one does, or the rest of it."""
        groups: dict[int, list[Ticket]] = {}
        for ticket in self.tickets.values():
            intent = ticket.intent
            same = (intent.symbol, ticket.side) == (symbol, side) and strategy in ("", intent.strategy)
            if same and ticket.group is not but:
                groups.setdefault(id(ticket.group), []).append(ticket)
        total = ZERO
        for members in groups.values():
            working = [self._wanted(t) for t in members if t.open]
            if working:
                total += max(ZERO, max(working) - sum((t.filled for t in members), ZERO))
        return total

    def _wanted(self, ticket: Ticket) -> Decimal:
        first = ticket.group[0]
        if ticket is first or first.intent.order_class in ("simple", "oco") or ticket.side == first.side:
            return ticket.qty
        return min(ticket.qty, first.filled)  # a leg protects what its parent has filled

    def worst(self, symbol: str, side: int, added: Decimal = ZERO, but: list[Ticket] | None = None) -> Decimal:
        """Return how far the position may get on one side, as a size; negative when it cannot get there."""
        held = self.account_positions().get(symbol, ZERO)
        return held * side + self.open_qty(symbol, side, but=but) + added

    def gross(self, symbol: str = "", side: int = 1, added: Decimal = ZERO, but: list[Ticket] | None = None) -> float:
        """Return the sum of the worst positions, with an order that is not there yet."""
        total = 0.0
        for name in {key[1] for key in self.positions} | {t.intent.symbol for t in self.open_tickets()} | {symbol}:
            if name:
                mine = name == symbol
                sizes = [self.worst(name, s, added if mine and s == side else ZERO, but) for s in (1, -1)]
                total += float(max(abs(size) for size in sizes)) * self._finite(name)
        return total

    def net(self, side: int, symbol: str, added: Decimal, but: list[Ticket] | None) -> float:
        names = {key[1] for key in self.positions} | {t.intent.symbol for t in self.open_tickets()} | {symbol}
        return sum(
            float(self.worst(name, side, added if name == symbol else ZERO, but)) * self._finite(name) for name in names
        )

    def _finite(self, symbol: str) -> float:
        price = self.price(symbol)
        return price if isfinite(price) else 0.0

    # --- what the limits allow -------------------------------------------------------------------------------------

    def _approve(self, approved: Approved) -> None:
        intent, now, limits = approved.intent, approved.ts_event_ns, self.limits
        assert intent.client_order_id not in self.tickets, "an order id came twice"
        side = 1 if intent.side == "buy" else -1
        reference = approved.reference_price
        qty = intent.qty
        if qty is None:
            assert intent.notional_usd is not None
            qty = (intent.notional_usd / reference).quantize(NANO)
        replaced = self.tickets.get(intent.replaces) if intent.replaces else None
        group = replaced.group if replaced is not None else []
        rest = qty - sum((t.filled for t in group if t.side == side), ZERO)
        held = self.positions.get((intent.strategy, intent.symbol), ZERO)
        room = abs(held) - self.open_qty(intent.symbol, side, intent.strategy, group or None)
        entry = not (held * side < 0 and rest <= room)
        self._hold_to_peace(intent, side, group or None)
        if entry:
            self._hold_to_limits(approved, side, qty, rest, group or None)
        self.reductions += not entry
        count = sum(now - ts < 60 * SECOND_NS for ts, _, _ in self.approvals) + 1
        assert count <= limits.max_orders_per_min_count * (1 if entry else 2), "C08 a minute"
        count = sum(now - ts < SECOND_NS for ts, _, _ in self.approvals) + 1
        assert count <= limits.max_orders_per_s_count * (1 if entry else 2), "C08 a second"
        self.approvals.append((now, intent.strategy, entry))
        price = max(reference, intent.limit_price or ZERO, intent.stop_price or ZERO)
        cost = intent.limit_price or price * (1 + limits.market_order_markup_percent / 100)
        ticket = Ticket(intent, qty, group, now, entry, cost if intent.qty is not None else reference)
        group.append(ticket)
        self.tickets[intent.client_order_id] = ticket
        for leg in intent.legs():
            self.tickets[leg.client_order_id] = Ticket(leg, qty, group, now, False, status="held")
            group.append(self.tickets[leg.client_order_id])

    def _hold_to_limits(
        self, approved: Approved, side: int, qty: Decimal, rest: Decimal, group: list[Ticket] | None
    ) -> None:
        intent, limits, symbol, strategy = (
            approved.intent,
            self.limits,
            approved.intent.symbol,
            approved.intent.strategy,
        )
        reference, started, mark = approved.reference_price, float(self.started), self._finite(symbol)
        price = max(reference, intent.limit_price or ZERO, intent.stop_price or ZERO)
        value = intent.notional_usd if intent.qty is None else qty * price
        assert value is not None
        assert self.state == "active", "C01"
        assert strategy not in self.stopped, "C01"
        assert symbol in self.symbols[strategy], "C22"
        share = limits.rollout_percent / 100 if limits.rollout_sessions_count else Decimal(1)
        most_usd = min(limits.max_order_notional_usd, limits.max_order_notional_percent * self.started / 100)
        assert value <= most_usd * share, "C02"
        assert qty <= min(limits.max_order_qty, limits.max_order_unknown_adv_qty) * share, "C03"
        self._hold_to_collar(intent, reference, side)
        most = float(limits.max_position_percent) / 100 * started
        assert float(self.worst(symbol, side, rest, group)) * mark <= most * (1 + 1e-9), "C11"
        gross, net = self.gross(symbol, side, rest, group), self.net(side, symbol, rest, group)
        assert gross <= float(limits.max_gross_fraction) * started * (1 + 1e-9) or rest <= 0, "C12 gross"
        assert net <= float(limits.max_net_fraction) * started * (1 + 1e-9) + 1e-6, "C12 net"
        self._hold_to_cash(intent, side, qty, price, group, gross)
        assert self.traded + value <= limits.max_turnover_fraction * self.started, "C18"
        held = self.positions.get((strategy, symbol), ZERO)
        assert limits.allow_reversals or held * side >= 0, "C26"
        if group and group[0].side > 0 > side:
            held += group[0].qty - group[0].filled  # a leg in another's place waits, as that did, for its entry
        if not limits.allow_short_selling and side < 0:
            assert held - self.open_qty(symbol, -1, strategy, group) - rest >= 0, "C23"
        self._hold_to_counts(intent, approved.ts_event_ns, side, group)
        self._hold_to_hours(intent, approved.ts_event_ns)
        self._hold_to_losses()
        self._hold_to_data(intent, approved.ts_event_ns)

    def _hold_to_counts(self, intent: Intent, now: int, side: int, group: list[Ticket] | None) -> None:
        limits, strategy, symbol = self.limits, intent.strategy, intent.symbol
        new = 0 if group else 1 + len(intent.legs())
        live = self.open_tickets()
        assert len(live) + new <= limits.max_open_orders_count, "C10"
        assert sum(t.intent.strategy == strategy for t in live) + new <= limits.max_strategy_open_orders_count, "C10"
        here = sum(t.intent.symbol == symbol and t.side == side for t in live)
        assert not new or here < limits.max_symbol_side_open_orders_count, "C10"
        today = self.approvals[self.session_from :]
        assert len(today) < limits.max_orders_per_day_count, "C17"
        assert sum(name == strategy for _, name, _ in today) < limits.max_strategy_orders_per_day_count, "C17"
        count = sum(now - ts < 60 * SECOND_NS for ts, name, _ in self.approvals if name == strategy) + 1
        assert count <= limits.max_strategy_orders_per_min_count, "C08"
        since = now - limits.executions_window_s * SECOND_NS
        count = sum(ts > since for ts, *who in self.entered if who == [strategy, symbol])
        assert count <= limits.max_executions_count, "C09"
        assert self.rejects <= limits.max_consecutive_rejects_count, "C19"
        same = ("side", "type", "qty", "notional_usd", "limit_price", "stop_price", "strategy", "symbol")
        for ticket in self.tickets.values():
            if ticket.entry and now - ticket.placed_ns < limits.duplicate_window_s * SECOND_NS:
                alike = all(getattr(ticket.intent, name) == getattr(intent, name) for name in same)
                assert not alike or intent.type == "trailing_stop", "C07"

    def _hold_to_losses(self) -> None:
        equity = float(self.equity())
        kept = 1 - float(self.limits.daily_loss_reduce_only_percent) / 100
        assert equity >= float(self.started) * kept * (1 - 1e-8), "C14"
        assert equity >= self.peak * (1 - float(self.limits.max_drawdown_percent) / 100) * (1 - 1e-8), "C15"

    def _hold_to_data(self, intent: Intent, now: int) -> None:
        """Hold an entry to fresh data and a narrow spread. What the event in hand brings counts as there already."""
        age_s = (now - self.newest_ns[intent.symbol]) / SECOND_NS
        assert age_s <= max(self.limits.max_data_age_s, self.limits.max_data_age_periods_count * 60 + 5), "C06"
        quote = self.quotes.get(intent.symbol)
        if intent.type != "market" or quote is None or quote is self.in_hand:
            return
        if now - quote.ts_recv_ns <= 5 * SECOND_NS:
            middle = (quote.bid_price + quote.ask_price) / 2
            spread_percent = (quote.ask_price - quote.bid_price) / middle * 100
            assert 0 <= spread_percent <= float(self.limits.max_spread_percent) * (1 + 1e-9), "C05"

    def _hold_to_peace(self, intent: Intent, side: int, group: list[Ticket] | None) -> None:
        """Hold any order to not meeting one of our own."""
        for other in self.open_tickets():
            if other.intent.symbol == intent.symbol and other.side != side and other.group is not group:
                ours, theirs = intent.limit_price, other.intent.limit_price
                assert ours is not None, "C21"
                assert theirs is not None, "C21"
                assert (ours - theirs) * side < 0, "C21"

    def _hold_to_collar(self, intent: Intent, reference: Decimal, side: int) -> None:
        base = reference
        if intent.stop_price is not None:
            assert abs(intent.stop_price - base) <= base * self.limits.collar_passive_percent / 100, "C04"
            base = intent.stop_price
        if intent.limit_price is not None:
            beyond = (intent.limit_price - base) * side * 100
            assert beyond <= base * self.limits.collar_aggressive_percent, "C04"
            assert -beyond <= base * self.limits.collar_passive_percent, "C04"

    def _hold_to_cash(
        self, intent: Intent, side: int, qty: Decimal, price: Decimal, group: list[Ticket] | None, gross: float
    ) -> None:
        equity = float(self.equity())
        kept = max(ZERO, 1 - self.limits.cash_buffer_percent / 100)
        if self.multiplier > 1 or side < 0:
            assert gross <= float(kept) * self.multiplier * equity * (1 + 1e-9) + 1e-6, "C13 margin"
            return
        cost = intent.limit_price or price * (1 + self.limits.market_order_markup_percent / 100)
        if intent.qty is None:
            cost = price
        for ticket in self.open_tickets():
            if ticket.side > 0 and ticket.entry and ticket.group is not group:
                cost_now = max(ZERO, self._wanted(ticket) - ticket.filled) * ticket.cost_price
                qty, cost = Decimal(1), qty * cost + cost_now
        assert qty * cost <= self.cash * kept * (1 + Decimal("1e-12")), "C13 cash"

    def _hold_to_hours(self, intent: Intent, now: int) -> None:
        session = self.sessions.at(now)
        before = round(self.limits.no_entry_before_close_s * SECOND_NS)
        if self.sessions.always_open or intent.time_in_force == "opg" or self.limits.allow_queued_entries:
            return
        if session.open_ns <= now < session.close_ns:
            assert now < session.close_ns - before, "C24"
        else:
            assert intent.extended_hours, "C24"
            assert self.limits.allow_extended_hours, "C24"
            assert session.extended_open_ns <= now < session.extended_close_ns, "C24"
