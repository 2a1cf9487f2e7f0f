"""C07 to C09, C17 to C19 and C28: how often, how much and how long. All in event time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from engine.clock import Sessions
from engine.events import MINUTE_NS, NEVER_NS, SECOND_NS, Event, Fill, Intent, OrderUpdate, StrategyHalted
from engine.market import ZERO
from engine.orders import Order, OrderBook
from engine.portfolio import Portfolio
from engine.risk.control import NOTHING, Control, Window
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal
from engine.risk.state import Latch

BAR_SLACK_NS: Final = 5 * SECOND_NS
RESTING_SLACK: Final = 64
NEVER_RESTS: Final = frozenset({"ioc", "fok", "opg", "cls"})


class DuplicateOrder(Control):
    """Refuse an id that was used before, and the same entry again within the window."""

    code = "C07"
    name = "duplicate_order"
    binds_reductions = True

    def __init__(self, limits: RiskLimits, orders: OrderBook) -> None:
        self._orders = orders
        self._window_s, self._window_ns = limits.duplicate_window_s, round(limits.duplicate_window_s * SECOND_NS)
        self._recent: dict[str, deque[tuple[int, Intent]]] = {}

    def check(self, p: Proposal) -> str | None:
        if p.order.id in self._orders.orders:
            return f"order id {p.order.id} was used before"
        recent = self._recent.get(p.order.symbol)
        if recent and not p.reduces:
            oldest = p.now_ns - self._window_ns
            for ts_ns, intent in recent:
                if ts_ns > oldest and _alike(intent, p.intent):
                    age_s = (p.now_ns - ts_ns) / SECOND_NS
                    return f"the same order as {intent.client_order_id} {age_s:.3f} s ago < {self._window_s} s"
        return None

    def on_approved(self, p: Proposal) -> None:
        if p.reduces or not self._window_ns:
            return
        recent = self._recent.get(p.order.symbol)
        if recent is None:
            recent = self._recent[p.order.symbol] = deque()
        while recent and recent[0][0] <= p.now_ns - self._window_ns:
            recent.popleft()
        recent.append((p.now_ns, p.intent))


class MessageRate(Control):
    """Limit new and replaced orders per time. Reductions count, and may go up to twice the limits."""

    code = "C08"
    name = "message_rate"
    binds_reductions = True

    def __init__(self, limits: RiskLimits) -> None:
        entries = (
            limits.max_orders_per_min_count,
            limits.max_orders_per_s_count,
            limits.max_strategy_orders_per_min_count,
        )
        self._entries, self._reductions = entries, tuple(2 * limit for limit in entries)
        self._account = Window(MINUTE_NS)
        self._strategies: dict[str, Window] = {}

    def check(self, p: Proposal) -> str | None:
        per_min, per_s, strategy_per_min = self._reductions if p.reduces else self._entries
        now, account, strategy = p.now_ns, self._account, p.order.strategy
        if account.reached(per_min, MINUTE_NS, now):
            return f"orders of the account in 60 s > {per_min}"
        if account.reached(per_s, SECOND_NS, now):
            return f"orders of the account in 1 s > {per_s}"
        if strategy in self._strategies and self._strategies[strategy].reached(strategy_per_min, MINUTE_NS, now):
            return f"orders of {strategy} in 60 s > {strategy_per_min}"
        return None

    def on_approved(self, p: Proposal) -> None:
        self._account.add(p.now_ns)
        sent = self._strategies.get(p.order.strategy)
        if sent is None:
            sent = self._strategies[p.order.strategy] = Window(MINUTE_NS)
        sent.add(p.now_ns)


class RepeatedExecution(Control):
    """Halt a strategy whose entries in one symbol execute again and again."""

    code = "C09"
    name = "repeated_execution"

    def __init__(self, limits: RiskLimits, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._count, self._span_s = limits.max_executions_count, limits.executions_window_s
        self._span_ns = round(self._span_s * SECOND_NS)
        self._executed: dict[tuple[str, str], Window] = {}

    def on_fill(self, order: Order, fill: Fill, now_ns: int) -> Sequence[Event]:
        if not order.is_entry or order.filled_qty != fill.qty:  # only the first part of an entry counts
            return NOTHING
        key = order.strategy, order.symbol
        window = self._executed.get(key)
        if window is None:
            window = self._executed[key] = Window(self._span_ns)
        window.add(now_ns)
        book = self._portfolio.book(order.strategy)
        if book.halted or not window.reached(self._count + 1, self._span_ns, now_ns):
            return NOTHING
        book.halted = True
        reason = f"executed entries in {order.symbol} > {self._count} within {self._span_s:.0f} s"
        return (StrategyHalted(order.strategy, now_ns, self.label, reason),)


class DailyOrders(Control):
    """Limit the orders of a session: of the account, and of each strategy."""

    code = "C17"
    name = "max_orders_per_day"

    def __init__(self, limits: RiskLimits) -> None:
        self._account, self._strategy = limits.max_orders_per_day_count, limits.max_strategy_orders_per_day_count
        self.count = 0
        self._counts: dict[str, int] = {}

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self.count = 0
        self._counts = {}

    def check(self, p: Proposal) -> str | None:
        if self.count >= self._account:
            return f"orders of the account today {self.count + 1} > {self._account}"
        count = self._counts.get(p.order.strategy, 0)
        if count >= self._strategy:
            return f"orders of {p.order.strategy} today {count + 1} > {self._strategy}"
        return None

    def on_approved(self, p: Proposal) -> None:
        self.count += 1
        self._counts[p.order.strategy] = self._counts.get(p.order.strategy, 0) + 1


class Turnover(Control):
    """Limit what is traded in a session, the order at hand included."""

    code = "C18"
    name = "max_turnover"

    def __init__(self, limits: RiskLimits) -> None:
        self._fraction = limits.max_turnover_fraction
        self._limit_usd = self._traded_usd = ZERO

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self._limit_usd, self._traded_usd = self._fraction * equity_usd, ZERO

    def check(self, p: Proposal) -> str | None:
        total_usd = self._traded_usd + p.notional_usd
        if total_usd <= self._limit_usd:
            return None
        return f"traded today with this order {total_usd:,.2f} USD > {self._limit_usd:,.2f} USD"

    def on_fill(self, order: Order, fill: Fill, now_ns: int) -> Sequence[Event]:
        self._traded_usd += fill.qty * fill.price
        return NOTHING


class RejectBreaker(Control):
    """Halt trading when the venue rejects several orders in a row, or a large share of them."""

    code = "C19"
    name = "reject_breaker"

    def __init__(self, limits: RiskLimits, latch: Latch) -> None:
        self._latch = latch
        self._streak_max, self._percent = limits.max_consecutive_rejects_count, limits.max_reject_percent
        self._sample = limits.min_reject_sample_count
        self._span_ns = round(limits.reject_window_s * SECOND_NS)
        self.reset()

    def reset(self) -> None:
        """Forget what was counted: a person has looked at it."""
        self._streak = 0
        self._answers, self._rejects = Window(self._span_ns), Window(self._span_ns)

    def on_update(self, order: Order, update: OrderUpdate, now_ns: int) -> Sequence[Event]:
        if order.parent is not None and not order.intent.replaces:  # the venue answers once for the whole group
            return NOTHING
        if update.status == "accepted":
            if order.is_amended:  # its amendment was rejected, and it goes on: no answer of its own
                return NOTHING
            self._streak = 0
            self._answers.add(now_ns)
        elif update.status == "rejected":
            self._streak += 1
            self._answers.add(now_ns)
            self._rejects.add(now_ns)
            reason = self._judge(now_ns)
            if reason is not None and not self._latch.is_latched:
                reason = f"{reason}; the last one: {update.reason or 'no reason'}"
                return (self._latch.set("halted", now_ns, self.label, reason),)
        return NOTHING

    def _judge(self, now_ns: int) -> str | None:
        if self._streak > self._streak_max:
            return f"rejections in a row {self._streak} > {self._streak_max}"
        answers, rejects = self._answers.count(now_ns), self._rejects.count(now_ns)
        if answers >= self._sample and rejects * 100 > self._percent * answers:
            return f"{rejects} of {answers} orders rejected > {self._percent} %"
        return None


class OrderAge(Control):
    """Name the entries that have rested too long; an entry sent while the venue is closed rests from the open on.

    Where bars are longer than the limit, an entry may rest for one of them.

    Attributes:
        due_ns: when the oldest entry that may still rest is too old; `NEVER_NS` when none rests.
    """

    code = "C28"
    name = "order_age"

    def __init__(self, limits: RiskLimits, orders: OrderBook, sessions: Sessions) -> None:
        self._orders, self._sessions = orders, sessions
        self._max_age_ns = round(limits.max_entry_age_s * SECOND_NS)
        self._resting: list[tuple[int, str]] = []
        self.due_ns = NEVER_NS

    def on_approved(self, p: Proposal) -> None:
        if p.reduces or p.intent.time_in_force in NEVER_RESTS:
            return
        session, now = p.session, p.now_ns
        starts_ns = now if session.open_ns <= now < session.close_ns else self._next_open_ns(p)
        if len(self._resting) > 2 * len(self._orders.open) + RESTING_SLACK:  # behind an old one that still rests
            self._resting = [entry for entry in self._resting if entry[1] in self._orders.open]
            heapq.heapify(self._resting)
        heapq.heappush(self._resting, (starts_ns + self._max_age_of(p), p.order.id))
        self.due_ns = self._resting[0][0]

    def expired(self, now_ns: int) -> list[str]:
        """Return the ids of the entries that are too old now, and forget them."""
        found = []
        while self._resting and self._resting[0][0] <= now_ns:
            order_id = heapq.heappop(self._resting)[1]
            if order_id in self._orders.open:
                found.append(order_id)
        self.forget_ended()
        return found

    def forget_ended(self) -> None:
        """Drop the entries in front that no longer rest, so that `due_ns` wakes nobody for nothing."""
        resting, live = self._resting, self._orders.open
        while resting and resting[0][1] not in live:
            heapq.heappop(resting)
        self.due_ns = resting[0][0] if resting else NEVER_NS

    def _max_age_of(self, p: Proposal) -> int:
        """Return the age that is too old: at least one bar, for what became of an order is known at its bar's close."""
        span_ns = p.market.bar_span_ns
        return self._max_age_ns if span_ns < self._max_age_ns else span_ns + BAR_SLACK_NS

    def _next_open_ns(self, p: Proposal) -> int:
        """Return when the order can be filled first."""
        session, now, extended = p.session, p.now_ns, p.intent.extended_hours
        if p.crypto or self._sessions.is_open(now, extended=extended):
            return now
        if now >= session.close_ns:
            session = self._sessions.at(session.extended_close_ns)
        return session.extended_open_ns if extended else session.open_ns


def _alike(one: Intent, other: Intent) -> bool:
    return (
        one.strategy == other.strategy
        and one.side == other.side
        and one.type == other.type
        and one.qty == other.qty
        and one.notional_usd == other.notional_usd
        and one.limit_price == other.limit_price
        and one.stop_price == other.stop_price
    )
