"""Which executions are booked, however and however often they are told.

An execution fills one interval of its order's quantity, from what was filled before it to the cumulative quantity after
it. The stream and the account's activities may name it by different ids, but agree on the interval, so each is known by
either: no id comes twice, and no interval is filled twice. A journal holds no intervals but those of executions that
were inferred.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

ZERO = Decimal(0)


class Execution(NamedTuple):
    """One execution as a source tells it; `cum_qty` is the order's filled quantity after it, None when not said."""

    order_id: str
    execution_id: str
    qty: Decimal
    price: Decimal
    cum_qty: Decimal | None


def inferred_id(venue_id: str, cum_qty: Decimal) -> str:
    """Return the id of an execution that is inferred from its order: the same order always gives the same."""
    return f"{venue_id}/{cum_qty}"


def _inferred_cum(execution_id: str) -> Decimal | None:
    """Return what the order had filled after an execution that was inferred, None of any other."""
    try:
        cum_qty = Decimal(execution_id.rpartition("/")[2]) if "/" in execution_id else None
    except InvalidOperation:
        return None
    return cum_qty if cum_qty is not None and cum_qty.is_finite() else None


class _Filled:
    """What is booked of one order: `placed` are intervals with their ids, `loose` executions without a known place.

    `qty` and `value` are the sums of quantity, and of quantity times price, that were booked; `cum` is the most that
    any source has called the order's filled quantity. `carried` are both sums of the order that it replaced, where the
    venue counts them as filled of this one.
    """

    __slots__ = ("carried", "cum", "loose", "placed", "qty", "value")

    def __init__(self) -> None:
        self.placed: list[tuple[Decimal, Decimal, str]] = []
        self.loose: dict[str, tuple[Decimal, Decimal]] = {}
        self.cum = self.qty = self.value = ZERO
        self.carried = ZERO, ZERO

    def knows(self, execution_id: str) -> bool:
        return execution_id in self.loose or any(execution_id == known for _, _, known in self.placed)

    def add(self, qty: Decimal, price: Decimal) -> None:
        self.qty += qty
        self.value += qty * price

    def free(self, low: Decimal, high: Decimal) -> list[tuple[Decimal, Decimal]]:
        """Return the parts of an interval that no execution is known to fill."""
        found, reached = [], low
        for bottom, top in sorted([*((bottom, top) for bottom, top, _ in self.placed), (high, high)]):
            if reached < min(bottom, high):
                found.append((reached, min(bottom, high)))
            reached = max(reached, top)
        return found

    def holder(self, low: Decimal, high: Decimal) -> str:
        """Return the id of the execution that fills the interval's end, or of one whose place is not known."""
        known = next((known for bottom, top, known in self.placed if bottom < high <= top), "")
        return known or next(iter(self.loose), self.placed[-1][2] if self.placed else "")


class Executions:
    """The executions of all orders, by our own order ids."""

    def __init__(self) -> None:
        self._orders: dict[str, _Filled] = {}

    def know(self, order_id: str, execution_id: str, qty: Decimal, price: Decimal) -> None:
        """Take an execution as booked that a journal tells of."""
        filled = self._orders.setdefault(order_id, _Filled())
        if not filled.knows(execution_id):
            cum_qty = _inferred_cum(execution_id)
            if cum_qty is not None:
                filled.placed.append((cum_qty - qty, cum_qty, execution_id))
            else:
                filled.loose[execution_id] = (qty, price)
            filled.add(qty, price)

    def carry(self, order_id: str, replaced_id: str) -> None:
        """Count as filled what a replacement shows of the order that it replaced; those executions are booked there.

        That is a guess: one of its own in that place refutes it.
        """
        filled = self._orders.setdefault(order_id, _Filled())
        filled.carried = self.filled_qty(replaced_id), self.value(replaced_id)

    def has_carried(self, order_id: str) -> bool:
        """Tell whether part of what an order shows as filled is booked of the order that it replaced."""
        filled = self._orders.get(order_id)
        return filled is not None and filled.carried[0] > 0

    def filled_qty(self, order_id: str) -> Decimal:
        """Return how much of an order is booked, or was carried to it."""
        filled = self._orders.get(order_id)
        return filled.qty + filled.carried[0] if filled is not None else ZERO

    def value(self, order_id: str) -> Decimal:
        """Return the sum of quantity times price of what is booked of an order, or was carried to it."""
        filled = self._orders.get(order_id)
        return filled.value + filled.carried[1] if filled is not None else ZERO

    def gaps(self, order_id: str, cum_qty: Decimal) -> list[tuple[Decimal, Decimal]]:
        """Return the intervals of what an order has filled that no execution is known to fill."""
        filled = self._orders.setdefault(order_id, _Filled())
        return filled.free(filled.carried[0], cum_qty)

    def book(self, executions: Iterable[Execution]) -> list[tuple[Execution, Decimal, bool]]:
        """Take executions in; return each under the id it is known by, with its booked quantity and whether it is new.

        What covers an interval only in part is booked for the rest alone, and what has no known place, journaled or
        inferred, counts first: no order is booked for more than a source says that it has filled.
        """
        told = list(executions)
        for one in told:  # first by id, so that what is left over is matched among the rest only
            filled = self._orders.setdefault(one.order_id, _Filled())
            if one.cum_qty is not None:
                filled.cum = max(filled.cum, one.cum_qty)
                if one.execution_id in filled.loose:
                    del filled.loose[one.execution_id]
                    filled.placed.append((one.cum_qty - one.qty, one.cum_qty, one.execution_id))
        return [self._book_one(one) for one in told]

    def _book_one(self, one: Execution) -> tuple[Execution, Decimal, bool]:
        filled = self._orders[one.order_id]
        if filled.knows(one.execution_id):
            return one, one.qty, False
        if one.cum_qty is None:
            filled.loose[one.execution_id] = (one.qty, one.price)
            filled.add(one.qty, one.price)
            return one, one.qty, True
        low, high = one.cum_qty - one.qty, one.cum_qty
        if low < filled.carried[0]:
            filled.carried = ZERO, ZERO
        free = sum((top - bottom for bottom, top in filled.free(low, high)), ZERO)
        if free <= 0:
            return one._replace(execution_id=filled.holder(low, high)), one.qty, False
        for known, (qty, price) in filled.loose.items():
            if price == one.price and qty in (one.qty, free):
                del filled.loose[known]
                filled.placed.append((low, high, known))
                return one._replace(execution_id=known), one.qty, False
        new_qty = min(free, filled.cum - filled.qty - filled.carried[0])
        if new_qty <= 0:
            return one._replace(execution_id=filled.holder(low, high)), one.qty, False
        filled.placed.append((low, high, one.execution_id))
        filled.add(new_qty, one.price)
        return one, new_qty, True
