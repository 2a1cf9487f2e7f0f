"""Which executions are booked, however and however often they are told.

An execution fills one interval of its order's quantity, from what was filled before it to the cumulative quantity after
it. The stream and the account's activities may name it by different ids, but agree on the interval, so each is known by
either: no id comes twice, and no interval is filled twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)


class Execution(NamedTuple):
    """One execution as a source tells it; `cum_qty` is the order's filled quantity after it, None when not said."""

    order_id: str
    execution_id: str
    qty: Decimal
    price: Decimal
    cum_qty: Decimal | None


class _Filled:
    """What is booked of one order: `placed` are intervals with their ids, `loose` executions without a known place.

    `value` is the sum of quantity times price.
    """

    __slots__ = ("loose", "placed", "value")

    def __init__(self) -> None:
        self.placed: list[tuple[Decimal, Decimal, str]] = []
        self.loose: dict[str, tuple[Decimal, Decimal]] = {}
        self.value = ZERO

    def knows(self, execution_id: str) -> bool:
        return execution_id in self.loose or any(execution_id == known for _, _, known in self.placed)

    def qty(self) -> Decimal:
        return _length([(low, high) for low, high, _ in self.placed]) + sum((q for q, _ in self.loose.values()), ZERO)

    def free(self, low: Decimal, high: Decimal) -> Decimal:
        """Return how much of an interval is not filled yet."""
        inside = [(max(low, bottom), min(high, top)) for bottom, top, _ in self.placed]
        return high - low - _length([(bottom, top) for bottom, top in inside if bottom < top])

    def holder(self, low: Decimal, high: Decimal) -> str:
        """Return the id of the execution that fills the interval's end."""
        return next((known for bottom, top, known in self.placed if bottom < high <= top), "")


class Executions:
    """The executions of all orders, by our own order ids."""

    def __init__(self) -> None:
        self._orders: dict[str, _Filled] = {}

    def know(self, order_id: str, execution_id: str, qty: Decimal, price: Decimal) -> None:
        """Take an execution as booked that a journal tells of."""
        filled = self._orders.setdefault(order_id, _Filled())
        if not filled.knows(execution_id):
            filled.loose[execution_id] = (qty, price)
            filled.value += qty * price

    def carry(self, order_id: str, qty: Decimal) -> None:
        """Count as filled what a replacement shows of the order that it replaced; those executions are booked there."""
        self._orders.setdefault(order_id, _Filled()).placed.append((ZERO, qty, ""))

    def filled_qty(self, order_id: str) -> Decimal:
        """Return how much of an order is booked."""
        filled = self._orders.get(order_id)
        return filled.qty() if filled is not None else ZERO

    def value(self, order_id: str) -> Decimal:
        """Return the sum of quantity times price of what is booked of an order."""
        filled = self._orders.get(order_id)
        return filled.value if filled is not None else ZERO

    def book(self, executions: Iterable[Execution]) -> list[tuple[Execution, Decimal, bool]]:
        """Take executions in; return each under the id it is known by, with its booked quantity and whether it is new.

        What covers an interval only in part is booked for the rest alone.
        """
        told = list(executions)
        for one in told:  # first by id, so that what is left over is matched among the rest only
            filled = self._orders.setdefault(one.order_id, _Filled())
            if one.cum_qty is not None and one.execution_id in filled.loose:
                del filled.loose[one.execution_id]
                filled.placed.append((one.cum_qty - one.qty, one.cum_qty, one.execution_id))
        return [self._book_one(one) for one in told]

    def _book_one(self, one: Execution) -> tuple[Execution, Decimal, bool]:
        filled = self._orders[one.order_id]
        if filled.knows(one.execution_id):
            return one, one.qty, False
        if one.cum_qty is None:
            filled.loose[one.execution_id] = (one.qty, one.price)
            filled.value += one.qty * one.price
            return one, one.qty, True
        low, high = one.cum_qty - one.qty, one.cum_qty
        free = filled.free(low, high)
        if free <= 0:
            return one._replace(execution_id=filled.holder(low, high)), one.qty, False
        for known, (qty, price) in filled.loose.items():
            if qty == one.qty and price == one.price:
                del filled.loose[known]
                filled.placed.append((low, high, known))
                return one._replace(execution_id=known), one.qty, False
        filled.placed.append((low, high, one.execution_id))
        filled.value += free * one.price
        return one, free, True


def _length(intervals: list[tuple[Decimal, Decimal]]) -> Decimal:
    """Return what the intervals cover together."""
    total, reached = ZERO, None
    for low, high in sorted(intervals):
        start = low if reached is None else max(low, reached)
        if high > start:
            total += high - start
            reached = high
    return total
