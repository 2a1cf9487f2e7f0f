"""What the order stream did not tell, read over REST: executions from the account's activities, states from orders.

The stream has no replay and may leave out a single frame, so this runs after every reconnect, for every hole, and after
the end of a member of a group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

from brokers.alpaca.book import Book
from brokers.alpaca.executions import Execution, inferred_id
from brokers.alpaca.limiter import Sleep
from brokers.alpaca.order_json import plain
from brokers.alpaca.records import ZERO, FillRecord, OrderRecord, instant_ns
from brokers.alpaca.rest import Query, Refused, Rest
from brokers.alpaca.updates import GROUPS
from brokers.alpaca.wire import format_ns
from engine.errors import BrokerError
from engine.events import SECOND_NS, Fill

ACTIVITY_PAGE, ORDER_PAGE = 100, 500
PAGES_MAX = 1000
OVERLAP_NS = 60 * SECOND_NS
HOLE_WAITS_S = (0.25, 1.0, 2.0, 4.0, 8.0)


class CatchUp:
    """Read what was missed, and publish it through the book.

    `on_untold` hears of every execution that the stream has not told yet.
    """

    def __init__(
        self, rest: Rest, book: Book, *, sleep: Sleep = asyncio.sleep, on_untold: Callable[[Fill], None] | None = None
    ) -> None:
        self._rest, self._book, self._sleep, self._on_untold = rest, book, sleep, on_untold
        self._filling: dict[str, asyncio.Lock] = {}
        self._groups_read: set[str] = set()

    # --- executions ------------------------------------------------------------------------------------------------

    async def fills(self, since_ns: int) -> list[Fill]:
        """Return the executions since an instant, oldest first, by the ids they are known by; publish the new ones."""
        found: list[Fill] = []
        seen: set[str] = set()
        query: dict[str, str | int] = {
            "after": format_ns(max(0, since_ns)), "direction": "asc", "page_size": ACTIVITY_PAGE,
        }  # fmt: skip
        for _ in range(PAGES_MAX):
            page = await self._rest.get("/v2/account/activities/FILL", list[FillRecord], query)
            fresh = [record for record in page if record.id not in seen]
            seen.update(record.id for record in fresh)
            found += await self._booked(fresh)
            if len(page) < ACTIVITY_PAGE or not fresh:
                return found
            query["page_token"] = page[-1].id
        raise BrokerError("GET /v2/account/activities/FILL: the answer has no end")

    async def _booked(self, records: Sequence[FillRecord]) -> list[Fill]:
        told = []
        for record in records:
            if record.qty and record.price is not None:
                our_id = await self._our_id(record)
                told.append((record, Execution(our_id, record.execution_id, record.qty, record.price, record.cum_qty)))
        book, found = self._book, []
        booked = book.executions.book([one for _, one in told])
        for (record, _), (one, qty, is_new) in zip(told, booked, strict=True):
            fill = book.as_fill(one, qty, record.symbol, record.side, instant_ns(record.transaction_time, 0))
            found.append(fill)
            if is_new:
                book.count("fills found by REST")
                book.log.warning("an execution that the stream did not tell", order=fill.client_order_id, qty=str(qty))
                book.tell_fill(fill)
                if self._on_untold is not None:
                    book.awaited.add(fill.execution_id)
                    self._on_untold(fill)
        return found

    async def _our_id(self, record: FillRecord) -> str:
        """Return our id of the order that was filled; a leg's is found through its parent."""
        ids = self._book.ids
        known = ids.by_venue(record.order_id)
        if known is None:
            try:
                order = await self._rest.get(f"/v2/orders/{record.order_id}", OrderRecord)
            except Refused:
                return record.order_id  # gone from the venue's own memory
            known = await self._learned(order)
        return known

    async def _learned(self, order: OrderRecord) -> str:
        """Take note of an order that was read by itself, and return our id of it."""
        ids = self._book.ids
        if ids.by_venue(order.id) is None and (order.order_class or "") in GROUPS:
            await self.learn_groups(order.symbol)
        ids.learn(order)
        return ids.ours(order)

    async def learn_groups(self, symbol: str) -> None:
        """Read the groups of a symbol, so that legs are known by their parents."""
        if symbol not in self._groups_read:
            self._groups_read.add(symbol)
            for order in await self.orders({"status": "all", "symbols": symbol}):
                if order.legs:
                    self._book.ids.learn(order)

    # --- orders ----------------------------------------------------------------------------------------------------

    async def orders(self, query: Query) -> list[OrderRecord]:
        """Return every order that a query names, newest first, nested."""
        found: dict[str, OrderRecord] = {}
        asked: dict[str, str | int] = {**query, "nested": "true", "limit": ORDER_PAGE, "direction": "desc"}
        for _ in range(PAGES_MAX):
            page = await self._rest.get("/v2/orders", list[OrderRecord], asked)
            before = len(found)
            found.update({record.id: record for record in page})
            last = page[-1].submitted_at if page else None
            if len(page) < ORDER_PAGE or len(found) == before or last is None:
                return list(found.values())
            asked["until"] = last
        raise BrokerError("GET /v2/orders: the answer has no end")

    async def look_at(self, venue_id: str) -> OrderRecord | None:
        """Read an order again and publish what it shows; return it, None when the venue does not know it."""
        try:
            record = await self._rest.get(f"/v2/orders/{venue_id}", OrderRecord, {"nested": "true"})
        except Refused:
            return None
        self._book.ids.learn(record)
        await self.apply(record)
        return record

    async def apply(self, record: OrderRecord, reason: str = "") -> None:
        """Publish what an order and its legs show: executions first, then the state."""
        if self._book.missing_qty(record) > 0:
            await self.fill_hole(record)
        self._book.tell_record(record, reason)
        for leg in record.legs or ():
            await self.apply(leg)

    async def look_at_group(self, order_id: str) -> None:
        """Read again every member of the group of an order, because the end of one may end others without a word."""
        parent = order_id.removesuffix("-tp").removesuffix("-sl")
        venue_id = self._book.ids.venue(parent)
        await self._sleep(1.0)  # the venue's own pages take a moment to agree
        if venue_id is not None:
            await self.look_at(venue_id)

    async def reconnected(self, since_ns: int) -> None:
        """Publish everything that happened while there was no stream."""
        await self.fills(since_ns - OVERLAP_NS)
        book = self._book
        listed = await self.orders({"status": "open"})
        for record in listed:
            book.ids.learn(record)
            await self.apply(record)
        alive = {book.ids.ours(one) for record in listed for one in (record, *(record.legs or ()))}
        for order_id in [order_id for order_id in book.open if order_id not in alive and order_id not in book.unknown]:
            venue_id = book.ids.venue(order_id)
            if venue_id is not None:
                await self.look_at(venue_id)

    async def fill_hole(self, record: OrderRecord) -> None:
        """Find the executions that an order shows and nobody told; where even the activities lack them, infer them.

        Of a replacement nothing is inferred before it is known what the order that it replaced had filled.
        """
        book = self._book
        order_id = book.ids.ours(record)
        is_read = False
        async with self._filling.setdefault(order_id, asyncio.Lock()):
            for wait_s in HOLE_WAITS_S:
                if book.missing_qty(record) <= 0:
                    return
                await self._sleep(wait_s)
                if book.missing_qty(record) <= 0:
                    return  # the frame was only late
                try:
                    await self.fills(record_since_ns(record) - OVERLAP_NS)
                    if record.replaces and not is_read:
                        await self._carry(record, order_id, record.replaces)
                    is_read = True
                except BrokerError as error:
                    book.log.warning("a hole, and no activities", order=order_id, reason=str(error))
            if book.missing_qty(record) > 0 and (is_read or not record.replaces):
                self._infer(record, order_id)

    async def _carry(self, record: OrderRecord, order_id: str, replaced_venue_id: str) -> None:
        """Take what a replacement shows too much for the fills of the order that it replaced, if that has so many.

        No source says whether a replacement counts them.
        """
        replaced_id = await self.replaced(replaced_venue_id)
        executions = self._book.executions
        if ZERO < executions.filled_qty(replaced_id) <= self._book.missing_qty(record):
            executions.carry(order_id, replaced_id)

    async def replaced(self, venue_id: str) -> str:
        """Return our id of an order that another one replaces, once all that it has filled is told."""
        record = await self._rest.get(f"/v2/orders/{venue_id}", OrderRecord)
        order_id = await self._learned(record)
        await self.fill_hole(record)
        return order_id

    def _infer(self, record: OrderRecord, order_id: str) -> None:
        """Book the rest of an order, as one execution for each interval of it that nobody told."""
        book = self._book
        qty = book.missing_qty(record)
        price = self._inferred_price(record, order_id, qty)
        if price is None:
            book.halt(f"order {order_id} shows {record.filled} filled and no price: books need a person's hand")
            return
        book.count("inferred fills")
        book.log.error("an execution inferred from its order", order=order_id, qty=str(qty), price=str(price))
        rest = [
            Execution(order_id, inferred_id(record.id, high), high - low, price, high)
            for low, high in book.executions.gaps(order_id, record.filled)
        ]
        book.tell_fills(book.executions.book(rest), record.symbol, record.side, record.ts_ns(0))

    def _inferred_price(self, record: OrderRecord, order_id: str, qty: Decimal) -> Decimal | None:
        """Return the price at which the rest makes the order's average what the venue says it is."""
        average = record.filled_avg_price
        if average is None or average <= ZERO:
            return None
        known = self._book.executions.value(order_id)
        price = (average * record.filled - known) / qty
        return Decimal(plain(round(price, 6))) if price > ZERO else average


def record_since_ns(record: OrderRecord) -> int:
    """Return when an order began, 0 when it does not say."""
    return instant_ns(record.created_at or record.submitted_at, 0)
