"""Orders: what became of each intent, by a written state machine.

A fill is the truth and a status is a hint. A fill is booked once per execution id, whatever the order's status says; a
status that is no legal next step is stale news and changes nothing.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Final

from engine.errors import InvariantError
from engine.events import SECOND_NS, Approved, CancelRequest, Denied, Fill, Intent, OrderStatus, OrderUpdate
from engine.market import ZERO, Market
from engine.portfolio import NANO, Portfolio, Position, StrategyBook

TERMINAL: Final = frozenset({"denied", "filled", "canceled", "expired", "rejected", "replaced"})
_ENDS: Final = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})

TRANSITIONS: Final[dict[str, frozenset[str]]] = {
    "created": frozenset({"denied", "pending_new", "held"}),
    "pending_new": _ENDS | {"unknown", "accepted", "held", "partially_filled", "pending_cancel", "pending_replace"},
    "unknown": _ENDS | {"accepted", "held", "partially_filled", "pending_cancel"},
    "held": _ENDS | {"accepted", "pending_cancel", "pending_replace", "partially_filled"},
    "accepted": _ENDS | {"held", "partially_filled", "pending_cancel", "pending_replace"},
    "partially_filled": _ENDS | {"pending_cancel", "pending_replace"},
    "pending_cancel": _ENDS,
    "pending_replace": _ENDS | {"accepted", "held", "partially_filled", "pending_cancel"},
}
"""Legal next steps. The ends are missing on purpose: nothing follows them but a late fill, booked and flagged."""


class Order:
    """One order from the strategy's call to its end. The author holds this object and it keeps itself current.

    Units: quantities unsigned, in shares or coins; `filled_value_usd` is the sum of quantity times price. `cost_price`
    is the most that one share may cost as far as the controls reserve cash, `reserved_usd` what that comes to now.
    `is_amended` from the moment that another order was asked for in its place, whatever came of that.
    """

    __slots__ = (
        "book", "book_position", "cost_price", "counted", "created_ns", "executions", "fees_usd", "filled_qty",
        "filled_value_usd", "id", "intent", "is_amended", "is_entry", "legs", "market", "parent", "qty", "reason",
        "reference_price", "reserved_usd", "side", "sign", "status", "strategy", "symbol", "type", "updated_ns",
    )  # fmt: skip

    def __init__(self, intent: Intent, parent: Order | None = None) -> None:
        self.intent = intent
        self.id = intent.client_order_id
        self.strategy = intent.strategy
        self.symbol = intent.symbol
        self.side = intent.side
        self.sign = 1 if intent.side == "buy" else -1
        self.type = intent.type
        self.qty = intent.qty if intent.qty is not None else ZERO
        self.status: OrderStatus = "created"
        self.reason = ""
        self.filled_qty = self.filled_value_usd = self.fees_usd = ZERO
        self.created_ns = self.updated_ns = intent.ts_event_ns
        self.reference_price: Decimal | None = None
        self.parent = parent
        self.legs: tuple[Order, ...] = ()
        self.counted = self.cost_price = self.reserved_usd = ZERO
        self.is_amended = self.is_entry = False
        self.executions: tuple[str, ...] = ()
        self.market: Market  # from the moment it is placed
        self.book: StrategyBook
        self.book_position: Position

    @property
    def remaining_qty(self) -> Decimal:
        return self.qty - self.filled_qty

    @property
    def average_price(self) -> Decimal | None:
        return self.filled_value_usd / self.filled_qty if self.filled_qty else None

    @property
    def overfill(self) -> str:
        """In words, what the venue has filled beyond what was ordered, of it or of its group of exits."""
        if self.filled_qty > self.qty and self.intent.notional_usd is None:
            return f"order {self.id} for {self.qty} was filled for {self.filled_qty}"
        if self.is_exit:
            exits = exits_of(self.parent or self)
            filled, qty = sum(order.filled_qty for order in exits), max(order.qty for order in exits)
            if filled > qty:
                group = (self.parent or self).id
                return f"of the exits of {group} one may fill for {qty}, and together they did for {filled}"
        return ""

    @property
    def is_open(self) -> bool:
        return self.status not in TERMINAL

    @property
    def is_exit(self) -> bool:
        """Whether it is one of several exits of which the venue fills only one: a leg, or an OCO's own limit."""
        return self.parent is not None or self.intent.order_class == "oco"

    def __repr__(self) -> str:
        return f"<Order {self.id} {self.side} {self.qty} {self.symbol} {self.type} {self.status}>"


def exits_of(first: Order) -> tuple[Order, ...]:
    """Return the exits of a group, of which the venue fills one, or each in part."""
    return (first, *first.legs) if first.intent.order_class == "oco" else first.legs


ENDED_KEPT: Final = 1024
CANCEL_AGAIN_NS: Final = 15 * SECOND_NS
"""How long a cancel goes unanswered before it may be asked for again: the venue may have refused or lost it."""


class OrderBook:
    """The open orders of the run and the last `ENDED_KEPT` that ended, which a late fill may still concern.

    The remainder of each open order counts into its symbol's and its strategy's exposure from the moment it is
    approved, a leg from its entry's first fill. Of two legs of which the venue fills only one, one counts.
    """

    def __init__(self, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self.orders: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self._ended: deque[Order] = deque()
        self._booked: set[str] = set()

    def place(self, order: Order, approved: Approved) -> None:
        """Register an approved order and its legs; it counts as exposure from here on.

        Raises:
            InvariantError: the id was used before.
        """
        if order.id in self.orders:
            raise InvariantError(f"order id {order.id} used twice")
        order.intent, order.reference_price = approved.intent, approved.reference_price
        order.type = order.intent.type
        if order.intent.notional_usd is not None:
            # What the notional buys is known only at the venue: until then it counts as at the reference price, on the
            # grid of quantities, so that the sums it enters come back to zero.
            order.qty = (order.intent.notional_usd / approved.reference_price).quantize(NANO)
        self._register(order, "pending_new")
        self._count(order, order.qty)
        if order.intent.replaces:
            replaced = self.open.get(order.intent.replaces)
            if replaced is not None:
                self._replace(replaced, order)
        if order.intent.order_class != "simple":
            order.legs = tuple(Order(leg, order) for leg in order.intent.legs())
            for leg in order.legs:
                self._register(leg, "held")

    def _register(self, order: Order, status: OrderStatus) -> None:
        self.orders[order.id] = self.open[order.id] = order
        order.status = status
        market = order.market = self.portfolio.market(order.symbol)
        book = order.book = self.portfolio.book(order.strategy)
        order.book_position = book.position(order.symbol)
        book.open_count += 1
        (market.open_buys if order.sign > 0 else market.open_sells)[order.id] = order

    def update(self, update: OrderUpdate) -> Order | None:
        """Apply the venue's word; return the order if it changed, None when the news is stale or of a foreign order."""
        order = self.orders.get(update.client_order_id)
        if order is None:
            return None
        if order.parent is not None and order.status == "pending_cancel" and update.status == "accepted":
            self._activate(order, order.parent)  # until the cancel arrives it may fill
            self.portfolio.expose(order.market)
        if update.status not in TRANSITIONS.get(order.status, ()):
            return None
        order.status = update.status
        order.updated_ns = update.ts_event_ns
        if update.reason:
            order.reason = update.reason
        if update.status in TERMINAL:
            self._end(order)
            self.portfolio.expose(order.market)
        elif order.parent is not None and update.status in ("accepted", "held"):
            self._activate(order, order.parent)
            self.portfolio.expose(order.market)
        return order

    def fill(self, fill: Fill) -> tuple[Order, bool] | None:
        """Apply an execution to its order; return it and whether it came late, or None when it is known or foreign.

        One for more than was ordered is booked like any other, because it has happened; the order shows it. One that
        is told again of another order is known.
        """
        order = self.orders.get(fill.client_order_id)
        if order is None or fill.execution_id in self._booked:
            return None
        self._booked.add(fill.execution_id)
        order.executions += (fill.execution_id,)
        order.filled_qty += fill.qty
        order.filled_value_usd += fill.qty * fill.price
        order.fees_usd += fill.fee_usd
        order.updated_ns = fill.ts_event_ns
        late = order.status in TERMINAL
        by_notional = order.intent.notional_usd is not None
        if order.filled_qty >= order.qty and not late and not by_notional:
            order.status = "filled"
            self._end(order)
        elif not late:
            if order.status not in ("pending_cancel", "pending_replace"):
                order.status = "partially_filled"
            if order.is_exit:
                self._count_exits(order.parent or order)
            elif order.counted:
                self._count(order, max(ZERO, order.qty - order.filled_qty))
        if order.legs:
            self._count_exits(order)
        return order, late

    def has_booked(self, execution_id: str) -> bool:
        """Tell whether an execution is booked, of whichever order; it is known as long as its order is."""
        return execution_id in self._booked

    def deny(self, order: Order, denied: Denied) -> None:
        """Record that our own risk refused; the order never leaves."""
        order.status, order.updated_ns = "denied", denied.ts_event_ns
        order.reason = f"{denied.control}: {denied.reason}"

    def cancel(self, request: CancelRequest) -> bool:
        """Record that an open order is wanted gone; return whether there is anything to ask the venue."""
        order = self.open.get(request.client_order_id)
        if order is None:
            return False
        if order.status == "pending_cancel":
            if request.ts_event_ns - order.updated_ns < CANCEL_AGAIN_NS:
                return False
        elif "pending_cancel" not in TRANSITIONS[order.status]:
            return False
        order.status, order.updated_ns, order.reason = "pending_cancel", request.ts_event_ns, request.reason
        return True

    def _replace(self, replaced: Order, order: Order) -> None:
        if "pending_replace" in TRANSITIONS[replaced.status]:
            replaced.status = "pending_replace"
        replaced.is_amended = True
        if replaced.is_exit:  # it takes the other one's place, beside the same sibling
            order.parent = replaced.parent or replaced
            order.parent.legs += (order,)
            self._count_exits(order.parent)

    def _activate(self, leg: Order, parent: Order) -> None:
        """Count a protective leg once its parent has filled; it protects what was filled."""
        if parent.filled_qty and parent.intent.order_class != "oco" and not leg.intent.replaces:
            leg.qty = min(leg.qty, parent.filled_qty)
        self._count_exits(parent)

    def _end(self, order: Order) -> None:
        del self.open[order.id]
        del (order.market.open_buys if order.sign > 0 else order.market.open_sells)[order.id]
        order.book.open_count -= 1
        self._ended.append(order)
        if len(self._ended) > ENDED_KEPT:
            forgotten = self._ended.popleft()
            del self.orders[forgotten.id]
            self._booked.difference_update(forgotten.executions)
        if order.counted:
            self._count(order, ZERO)
        if order.is_exit:  # its sibling may live on
            self._count_exits(order.parent or order)

    def _count_exits(self, first: Order) -> None:
        """Of the exits of one group the venue fills one, or each in part: let what the largest asks for count once.

        A held leg asks for what its entry has filled, which it will protect when that has ended.
        """
        exits = exits_of(first)
        largest: Order | None = None
        most = filled = ZERO
        for order in exits:
            filled += order.filled_qty
            if order.is_open:
                asked = min(order.qty, first.filled_qty) if order.status == "held" else order.qty
                if asked > most:
                    largest, most = order, asked
        for order in exits:
            qty = max(ZERO, most - filled) if order is largest else ZERO
            if qty != order.counted:
                self._count(order, qty)

    def _count(self, order: Order, qty: Decimal) -> None:
        """Let `qty` of the order, and no longer what it counted before, be open exposure."""
        market, position, change = order.market, order.book_position, qty - order.counted
        order.counted = qty
        if order.sign > 0:
            market.open_buy_qty += change
            position.open_qty += change
            if order.cost_price:
                reserved = qty * order.cost_price
                self.portfolio.reserved_usd += reserved - order.reserved_usd
                order.reserved_usd = reserved
        else:
            market.open_sell_qty += change
            position.open_qty -= change
            position.open_sell_qty += change
