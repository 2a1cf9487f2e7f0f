"""The orders at the simulated venue: which are held, which work, and what each one's end does to the others."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_UP, Context, Decimal
from typing import Final

from brokers.simulated.hours import Hours
from brokers.simulated.working_order import ZERO, WorkingOrder
from engine.events import DAY_NS, NEVER_NS, Fill, Intent, OrderStatus, OrderUpdate

CENT: Final = Decimal("0.01")
_RATIO: Final = Context(prec=38)
GTC_LIFE_NS: Final = 90 * DAY_NS  # Alpaca ends a gtc order 90 days after its creation

Answer = OrderUpdate | Fill


class OrderTable:
    """Every order between its acceptance and its end. Each call appends the venue's word on it to `out`.

    Args:
        hours: tells when a day order is over.
        close_grace_ns: how long after its end an order still waits for late events of before it.

    Attributes:
        open: accepted and held orders by id.
        working: those that an event may fill, by symbol, in order of arrival.
        reserved_usd: buying power that open entries hold.
        due_ns: when the next order is overdue to expire.
    """

    __slots__ = ("_close_grace_ns", "_hours", "due_ns", "open", "reserved_usd", "working")

    def __init__(self, hours: Hours, close_grace_ns: int) -> None:
        self._hours, self._close_grace_ns = hours, close_grace_ns
        self.open: dict[str, WorkingOrder] = {}
        self.working: dict[str, list[WorkingOrder]] = {}
        self.reserved_usd = ZERO
        self.due_ns = NEVER_NS

    def expiry(self, intent: Intent, ts_ns: int) -> int:
        """Return when an order that becomes active at `ts_ns` is over."""
        if intent.time_in_force == "gtc":
            return ts_ns + GTC_LIFE_NS
        return self._hours.day_end(ts_ns, extended=intent.extended_hours)

    def promised_qty(self, order: WorkingOrder, replaced: WorkingOrder | None) -> Decimal:
        """Return what the other open orders of this side take from the position; of a pair only the larger one does.

        The legs of an entry that has filled in part are held yet, and will take what it has filled.
        """
        promised = ZERO
        for other in self.working.get(order.symbol, ()):
            if other is replaced:
                continue
            if other.buy is order.buy:
                left, sibling = other.most or ZERO if other.left is None else other.left, other.sibling
                if other.is_stop_leg and sibling is not None and not sibling.done:
                    assert sibling.left is not None
                    left -= min(left, sibling.left)
                promised += left
            elif other.filled:
                legs = (leg.left for leg in other.legs if leg.left is not None and not leg.done)
                promised += min(other.filled, max(legs, default=ZERO))
        return promised

    # --- beginnings ------------------------------------------------------------------------------------------------

    def accept(self, order: WorkingOrder, replaced: WorkingOrder | None, out: list[Answer]) -> None:
        """Take an admitted order on, with its legs or in another one's place."""
        self.open[order.id] = order
        self.reserved_usd += order.reserved_usd
        if replaced is not None:
            self._take_over(order, replaced, out)
        elif order.intent.order_class == "simple":
            self._list(order, order.arrival_ns, out)
        else:
            self._accept_with_legs(order, out)

    def _list(self, order: WorkingOrder, ts_ns: int, out: list[Answer]) -> None:
        orders = self.working.get(order.symbol)
        if orders is None:
            self.working[order.symbol] = [order]
        elif order.is_stop_leg and order.sibling in orders:
            orders.insert(orders.index(order.sibling), order)
        else:
            orders.append(order)
        due_ns = order.expire_ns + self._close_grace_ns + 1  # events of the last instant come first
        if due_ns < self.due_ns:
            self.due_ns = due_ns
        out.append(OrderUpdate(order.id, "accepted", ts_ns, ts_ns, "", order.broker_id))

    def _hold(self, order: WorkingOrder, out: list[Answer]) -> None:
        order.held, order.expire_ns = True, NEVER_NS
        out.append(OrderUpdate(order.id, "held", order.arrival_ns, order.arrival_ns, "", order.broker_id))

    def _accept_with_legs(self, order: WorkingOrder, out: list[Answer]) -> None:
        legs = [
            WorkingOrder(intent, order.arrival_ns, order.expire_ns, f"{order.broker_id}.{number}")
            for number, intent in enumerate(order.intent.legs(), start=1)
        ]
        legs.sort(key=lambda leg: leg.type == "limit")  # the stop comes first: it wins a bar that holds both prices
        for leg in legs:
            self.open[leg.id] = leg
            leg.parent, leg.is_stop_leg = order, leg.type != "limit"
        if order.intent.order_class == "oco":
            _pair(legs[0], order)
            self._list(legs[0], order.arrival_ns, out)
            self._list(order, order.arrival_ns, out)
            return
        if order.intent.order_class == "bracket":
            _pair(*legs)
        order.legs = tuple(legs)
        self._list(order, order.arrival_ns, out)
        for leg in legs:
            self._hold(leg, out)

    def _take_over(self, order: WorkingOrder, replaced: WorkingOrder, out: list[Answer]) -> None:
        order.protective, order.is_stop_leg = replaced.protective, replaced.is_stop_leg
        order.parent, sibling, replaced.sibling = replaced.parent, replaced.sibling, None
        if sibling is not None:
            _pair(order, sibling)
        self.end(replaced, "replaced", order.arrival_ns, f"by {order.id}", out)
        self.sweep(order.symbol, self.working.get(order.symbol, ()))
        if replaced.held and order.parent is not None:
            order.parent.legs = tuple(order if leg is replaced else leg for leg in order.parent.legs)
            self._hold(order, out)
        else:
            self._list(order, order.arrival_ns, out)

    def release_legs(
        self, order: WorkingOrder, born_ns: int, ts_ns: int, out: list[Answer], *, inside: bool = False
    ) -> None:
        """Let an ended order's legs protect what it has filled, or end them when that is nothing.

        Args:
            order: the parent.
            born_ns: from when on prices may fill the legs; `inside` a bar that already began, see `joined_inside`.
            ts_ns: when they became active.
            out: takes the venue's words.
            inside: the parent filled at an instant inside the bar that nobody can date.
        """
        for leg in order.legs:
            if leg.done:
                continue
            if not order.filled:
                self.end(leg, "canceled", ts_ns, "its parent ended unfilled", out)
                continue
            assert leg.left is not None
            leg.want(min(leg.left, order.filled))
            leg.held, leg.joined_inside, leg.arrival_ns = False, inside, born_ns
            leg.expire_ns = self.expiry(leg.intent, ts_ns)
            self._list(leg, ts_ns, out)

    # --- changes ---------------------------------------------------------------------------------------------------

    def book(self, order: WorkingOrder, size: Decimal, ts_ns: int, out: list[Answer]) -> None:
        """Take an execution off an order, its reservation and its sibling."""
        left = order.left
        assert left is not None
        self.reserved_usd -= order.reserved_usd
        if size is left:
            order.left = ZERO
        else:
            order.want(left - size)
            kept_usd = _RATIO.divide(order.reserved_usd * (left - size), left)
            order.reserved_usd = kept_usd.quantize(CENT, ROUND_UP, _RATIO)
            self.reserved_usd += order.reserved_usd
        order.filled = order.filled + size if order.filled else size
        sibling = order.sibling
        if sibling is not None and not sibling.done:
            assert sibling.left is not None
            sibling.want(sibling.left - min(size, sibling.left))
            if not sibling.left:
                self.end(sibling, "canceled", ts_ns, f"{order.id} filled", out)
        if not order.left:
            self._complete(order, ts_ns, out)

    def _complete(self, order: WorkingOrder, ts_ns: int, out: list[Answer]) -> None:
        order.done = True
        del self.open[order.id]
        wanted = order.intent.qty
        if wanted is order.filled:  # in one go: the usual end, and the fill has said it
            return
        if wanted is not None and wanted != order.filled + order.carried:
            reason = f"{order.filled} of {wanted} filled, nothing is left to protect"
            out.append(OrderUpdate(order.id, "canceled", ts_ns, ts_ns, reason, order.broker_id))
        elif wanted is None or order.carried:  # its own fills do not show that it is complete
            out.append(OrderUpdate(order.id, "filled", ts_ns, ts_ns, "", order.broker_id))

    # --- ends ------------------------------------------------------------------------------------------------------

    def end(self, order: WorkingOrder, status: OrderStatus, ts_ns: int, reason: str, out: list[Answer]) -> None:
        """End an order that has not filled completely; whoever calls sweeps its symbol when he has read it."""
        order.done = True
        del self.open[order.id]
        self.reserved_usd -= order.reserved_usd
        out.append(OrderUpdate(order.id, status, ts_ns, ts_ns, reason, order.broker_id))
        if order.legs:
            self.release_legs(order, ts_ns, ts_ns, out)

    def cancel(self, order_id: str, ts_ns: int, out: list[Answer]) -> None:
        """End an order that its owner does not want any more, and with an active leg its sibling."""
        order = self.open.get(order_id)
        if order is None:
            return
        sibling = order.sibling
        self.end(order, "canceled", ts_ns, "", out)
        if sibling is not None and not sibling.done and not order.held:
            self.end(sibling, "canceled", ts_ns, f"{order.id} was canceled", out)
        self.sweep(order.symbol, self.working.get(order.symbol, ()))

    def cancel_symbol(self, symbol: str, ts_ns: int, reason: str, out: list[Answer]) -> None:
        """End every order of a symbol."""
        for order in [order for order in self.open.values() if order.symbol == symbol]:
            order.legs = ()  # each is in the list itself
            self.end(order, "canceled", ts_ns, reason, out)
        self.sweep(symbol, self.working.get(symbol, ()))

    def overdue(self) -> list[WorkingOrder]:
        """Return the orders whose end, grace included, is at `due_ns`."""
        return [order for order in self.open.values() if order.expire_ns + self._close_grace_ns < self.due_ns]

    def sweep(self, symbol: str, orders: Sequence[WorkingOrder]) -> None:
        """Keep of a symbol's working orders those that have not ended."""
        if len(orders) == 1 and orders[0].done:
            del self.working[symbol]
        elif working := [order for order in orders if not order.done]:
            self.working[symbol] = working
        else:
            self.working.pop(symbol, None)

    def sweep_all(self) -> None:
        """Drop every ended order, and find out when the next one is due."""
        for symbol, orders in list(self.working.items()):
            self.sweep(symbol, orders)
        first_ns = min((order.expire_ns for order in self.open.values()), default=NEVER_NS)
        self.due_ns = min(NEVER_NS, first_ns + self._close_grace_ns + 1)


def _pair(first: WorkingOrder, second: WorkingOrder) -> None:
    first.sibling, second.sibling = second, first
