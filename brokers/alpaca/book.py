"""What the client knows of its orders, and the one place from which events about them are published."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import structlog

from brokers.alpaca.executions import Execution, Executions
from brokers.alpaca.frames import AHEAD_MAX_NS
from brokers.alpaca.order_ids import OrderIds
from brokers.alpaca.records import ENDED, STATUSES, OrderRecord, side_of
from engine.clock import Clock
from engine.events import Command, Fill, InboxEvent, Intent, Link, OrderStatus, OrderUpdate
from engine.ports import Publish

ZERO = Decimal(0)


class Book:
    """Orders between their sending and their end.

    Args:
        cancel: starts the cancel of an order.

    Attributes:
        intents: what was sent in this process, by our ids, legs included.
        successors: the replacement of an order, by ids.
        open: ids of orders that have not ended as far as we were told.
        unknown: ids of orders whose outcome nobody knows, with what is known of them.
        tombstones: ids that were believed never to have arrived; one that turns up is canceled.
        awaited: ids of executions that REST has told and the stream ought to.
        frozen: symbols with an unknown order, for which nothing new is sent.
        counts: how often each rare thing happened.
    """

    def __init__(
        self, clock: Clock, *, ahead_max_ns: int = AHEAD_MAX_NS, cancel: Callable[[str], None] | None = None
    ) -> None:
        self.ids, self.executions = OrderIds(), Executions()
        self.intents: dict[str, Intent] = {}
        self.successors: dict[str, str] = {}
        self.open: dict[str, None] = {}
        self.unknown: dict[str, str] = {}
        self.tombstones: dict[str, None] = {}
        self.awaited: set[str] = set()
        self.frozen: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self._told: dict[str, OrderStatus] = {}
        self.publish: Publish | None = None
        self._clock, self._recv_ns, self._ahead_max_ns, self._cancel = clock, 0, ahead_max_ns, cancel
        self.log = structlog.get_logger().bind(broker="alpaca")

    def now_ns(self) -> int:
        """Return the present as a time of reception; it never runs backwards."""
        self._recv_ns = max(self._recv_ns, self._clock.now_ns())
        return self._recv_ns

    def _when(self, ts_ns: int) -> tuple[int, int]:
        """Return when something was true and when we know it: not before, however far behind our clock is."""
        now_ns = self.now_ns()
        if now_ns < ts_ns <= now_ns + self._ahead_max_ns:
            now_ns = self._recv_ns = ts_ns
        return min(ts_ns or now_ns, now_ns), now_ns

    def count(self, what: str) -> None:
        """Count a rare thing."""
        self.counts[what] = self.counts.get(what, 0) + 1

    # --- out to the engine -----------------------------------------------------------------------------------------

    def tell(self, order_id: str, status: OrderStatus, reason: str = "", *, ts_ns: int = 0, venue_id: str = "") -> None:
        """Publish a status of an order."""
        at_ns, now_ns = self._when(ts_ns)
        self._told[order_id] = status
        if status in ENDED:
            self.open.pop(order_id, None)
            del self._told[order_id]
        self._send(OrderUpdate(order_id, status, at_ns, now_ns, reason, venue_id))

    def tell_accepted(self, record: OrderRecord, order_id: str) -> None:
        """Publish that the venue has taken an order on, and when; said once is enough."""
        if not self.is_accepted(order_id):
            self.tell(order_id, "accepted", ts_ns=record.submitted_ns(0), venue_id=record.id)

    def is_accepted(self, order_id: str) -> bool:
        """Tell whether the last word on an order was that it is accepted."""
        return self._told.get(order_id) == "accepted"

    def tell_record(self, record: OrderRecord, reason: str = "") -> None:
        """Publish the status that the venue shows of an order."""
        status = STATUSES.get(record.status)
        order_id = self.ids.ours(record)
        if status is None:
            self.count("unknown statuses")
            self.log.error("a status that nobody knows", order=order_id, status=record.status)
        elif status == "filled":
            self.tell_filled(record, order_id)
        else:
            self.tell(order_id, status, reason, ts_ns=record.ts_ns(0), venue_id=record.id)

    def tell_filled(self, record: OrderRecord, order_id: str) -> None:
        """Take an order for over that has filled.

        Its executions say so, unless it has a notional and no quantity, or a part of it filled before it was replaced.
        """
        is_untold = record.notional is not None or self.executions.has_carried(order_id)
        if is_untold and self.missing_qty(record) <= 0:
            self.tell(order_id, "filled", ts_ns=record.ts_ns(0), venue_id=record.id)
        self.open.pop(order_id, None)

    def reject(self, intent: Intent, reason: str) -> None:
        """Publish that an order never came to life, and with it its legs."""
        self.tell(intent.client_order_id, "rejected", reason)
        for leg in intent.legs():
            self.tell(leg.client_order_id, "canceled", "its parent was rejected")

    def tell_fills(self, booked: list[tuple[Execution, Decimal, bool]], symbol: str, side: str, ts_ns: int) -> None:
        """Publish those executions that are new."""
        for one, qty, is_new in booked:
            if is_new:
                self.tell_fill(self.as_fill(one, qty, symbol, side, ts_ns))
            else:
                self.count("repeated executions")

    def tell_fill(self, fill: Fill) -> None:
        """Publish an execution that is new. What replaces its order is canceled: it might fill a second time."""
        self._send(fill)
        successor = self.successors.get(fill.client_order_id)
        while successor is not None and successor not in self.open:
            successor = self.successors.get(successor)
        if successor is not None and self._cancel is not None:
            self.log.error("an order filled while it was being replaced: the replacement is canceled", order=successor)
            self._cancel(successor)

    def as_fill(self, one: Execution, qty: Decimal, symbol: str, side: str, ts_ns: int) -> Fill:
        """Return an execution as an event. Fees are not in it: Alpaca charges them at the end of the day."""
        at_ns, now_ns = self._when(ts_ns)
        return Fill(one.execution_id, one.order_id, symbol, side_of(side), qty, one.price, ZERO, at_ns, now_ns)

    def link(self, *, up: bool, reason: str = "") -> None:
        """Publish that the order stream came up or went down."""
        now_ns = self.now_ns()
        self._send(Link("orders", up, now_ns, now_ns, reason))

    def halt(self, reason: str) -> None:
        """Ask for a halt, because a person has to look."""
        now_ns = self.now_ns()
        self.log.error("halt asked for", reason=reason)
        self._send(Command("halt", now_ns, now_ns, reason))

    def _send(self, event: InboxEvent) -> None:
        if self.publish is not None:
            self.publish(event)

    # --- what is known ---------------------------------------------------------------------------------------------

    def register(self, intent: Intent) -> None:
        """Take note of an order that is about to be sent."""
        for one in (intent, *intent.legs()):
            self.intents[one.client_order_id] = one
            self.open[one.client_order_id] = None
        if intent.replaces:
            self.successors[intent.replaces] = intent.client_order_id

    def missing_qty(self, record: OrderRecord) -> Decimal:
        """Return how much of an order the venue shows as filled and is not booked."""
        return record.filled - self.executions.filled_qty(self.ids.ours(record))

    def freeze(self, order_id: str, symbol: str, reason: str) -> None:
        """Nobody knows what became of an order: send nothing new for its symbol."""
        if order_id not in self.unknown:
            self.unknown[order_id] = symbol
            self.frozen[symbol] = self.frozen.get(symbol, 0) + 1
            self.count("unknown outcomes")
            self.log.error("outcome unknown, symbol frozen", order=order_id, symbol=symbol, reason=reason)
            self.tell(order_id, "unknown", reason)

    def thaw(self, order_id: str) -> None:
        """It is known now."""
        symbol = self.unknown.pop(order_id, None)
        if symbol is not None:
            self.frozen[symbol] -= 1
            if not self.frozen[symbol]:
                del self.frozen[symbol]
