"""When it is known what became of an order: it is adopted, or it is refused, and either is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from brokers.alpaca.book import Book
from brokers.alpaca.catch_up import CatchUp
from brokers.alpaca.limiter import Sleep
from brokers.alpaca.records import STATUSES, OrderRecord
from brokers.alpaca.rest import Rest
from engine.errors import BrokerError
from engine.events import Intent

FILL_CHECK_S = 5.0


class Settlement:
    """Tell outcomes.

    Args:
        cancel: starts the cancel of an order.

    Attributes:
        cancel_wanted: orders whose cancel waits until their outcome is known.
    """

    def __init__(
        self, rest: Rest, book: Book, catch_up: CatchUp, *, cancel: Callable[[str], None], sleep: Sleep = asyncio.sleep
    ) -> None:
        self._rest, self._book, self._catch_up, self._cancel, self._sleep = rest, book, catch_up, cancel, sleep
        self.cancel_wanted: set[str] = set()

    async def adopt(self, intent: Intent, record: OrderRecord) -> None:
        """Take an order as accepted; a little later make sure that no execution of before went untold."""
        book = self._book
        order_id = intent.client_order_id
        if intent.order_class != "simple" and not record.legs:
            record = await self.with_legs(record)
        book.ids.learn(record, order_id)
        book.thaw(order_id)
        status = STATUSES.get(record.status, "accepted")
        if status in ("accepted", "partially_filled", "filled"):
            book.tell_accepted(record, order_id)
        else:
            book.tell(order_id, status, ts_ns=record.ts_ns(0), venue_id=record.id)
        self.cancel_if_wanted(order_id)
        if book.missing_qty(record) > 0:
            await self._sleep(FILL_CHECK_S)
            await self._catch_up.fill_hole(record)
            if record.status == "filled":
                book.tell_filled(record, order_id)

    def cancel_if_wanted(self, order_id: str) -> None:
        """Start the cancel that has waited until the venue knows the order."""
        if order_id in self.cancel_wanted:
            self.cancel_wanted.discard(order_id)
            self._cancel(order_id)

    async def refuse(self, intent: Intent, reason: str) -> None:
        """Tell that an order never came to life, and how the one lives on that it should have replaced."""
        book = self._book
        book.thaw(intent.client_order_id)
        book.reject(intent, reason)
        self.cancel_wanted.discard(intent.client_order_id)
        venue_id = book.ids.venue(intent.replaces) if intent.replaces else None
        if venue_id is not None:
            await self._catch_up.look_at(venue_id)

    async def with_legs(self, record: OrderRecord) -> OrderRecord:
        """Return an order of a group with its legs, which only a nested answer has."""
        if record.legs or record.order_class in ("", "simple", None):
            return record
        try:
            return await self._rest.get(f"/v2/orders/{record.id}", OrderRecord, {"nested": "true"})
        except BrokerError:
            return record
