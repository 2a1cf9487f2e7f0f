"""Orders whose outcome nobody knows: looked up by our own id until they are found or their absence is believed.

Not finding an order proves nothing by itself. Absence is believed after three answers in a row over thirty seconds, in
which no request failed; even then the order has a tombstone, and one that turns up later is canceled.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from brokers.alpaca.book import Book
from brokers.alpaca.catch_up import CatchUp
from brokers.alpaca.limiter import Sleep
from brokers.alpaca.records import STATUSES, OrderRecord, leg_suffix
from brokers.alpaca.rest import NoAnswer, Rest
from brokers.alpaca.settlement import Settlement
from engine.clock import Clock
from engine.errors import BrokerError
from engine.events import SECOND_NS

LOOK_UP_AT_S, LOOK_UP_EVERY_S = (1.0, 2.0, 4.0, 8.0), 15.0
ABSENT_ANSWERS_MIN, ABSENT_FOR_NS = 3, 30 * SECOND_NS
WAITS_S = (0.5, 1.0, 2.0)
"""Between the tries of what has to come through; the last one stays."""

LEGS = ("-tp", "-sl")

Found = OrderRecord | Literal["absent"] | None
"""What a look-up says: the order, that there is none, or nothing at all."""


class Resolver:
    """Find out what became of orders."""

    def __init__(
        self, rest: Rest, book: Book, catch_up: CatchUp, settlement: Settlement, clock: Clock, *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._rest, self._book, self._catch_up, self._settlement = rest, book, catch_up, settlement
        self._clock, self._sleep = clock, sleep
        self._resolving: dict[str, asyncio.Event] = {}
        self._listing, self._has_listed = asyncio.Lock(), False

    def heard_of(self, order_id: str) -> None:
        """The venue spoke of an order: if its outcome was unknown, it is time to look again."""
        if order_id in self._resolving:
            self._resolving[order_id].set()

    async def resolve(self, order_id: str, *, at_once: bool = False) -> None:
        """Look an order up until it is known what became of it, and tell."""
        if order_id in self._resolving:
            return
        heard = self._resolving[order_id] = asyncio.Event()
        if at_once:
            heard.set()
        try:
            found = await self._until_known(order_id, heard)
        finally:
            del self._resolving[order_id]
        if isinstance(found, OrderRecord):
            await self._tell(order_id, found)
        else:
            await self._bury(order_id)

    async def look_up(self, order_id: str) -> Found:
        """Ask once for an order by our id; a leg by its place in its parent, since the venue knows it by another."""
        ids = self._book.ids
        if ids.venue(order_id) is None and order_id.endswith(LEGS):
            parent = await self._ask("/v2/orders:by_client_order_id", {"client_order_id": order_id[:-3]})
            if not isinstance(parent, OrderRecord):
                return parent
            parent = await self._settlement.with_legs(parent)
            ids.learn(parent)
            if ids.venue(order_id) is None:
                return await self._replaced_leg(parent, order_id[-3:])
        venue_id = ids.venue(order_id)
        if venue_id is not None:
            return await self._ask(f"/v2/orders/{venue_id}", {"nested": "true"})
        return await self._ask("/v2/orders:by_client_order_id", {"client_order_id": order_id})

    async def _replaced_leg(self, parent: OrderRecord, suffix: str) -> Found:
        """Return the leg that was first in its place: each order that has replaced another one names it."""
        found: Found = next((leg for leg in parent.legs or () if leg_suffix(leg) == suffix), "absent")
        while isinstance(found, OrderRecord) and found.replaces:
            found = await self._ask(f"/v2/orders/{found.replaces}", {})
        return found

    async def locate(self, order_id: str) -> str | None:
        """Return the venue's id of an order, asked for until there is an answer; None when the venue knows none.

        Orders of an earlier process are learned all at once from the list of what is open: when everything is to be
        canceled, there is no time to ask for each.
        """
        ids, tries = self._book.ids, 0
        while (known := ids.venue(order_id)) is None:
            async with self._listing:
                await self._list_once(order_id)
            if ids.venue(order_id) is None:
                found = await self.look_up(order_id)
                if found == "absent":
                    return None
                if isinstance(found, OrderRecord):
                    ids.learn(found, order_id)
                else:
                    await self._sleep(WAITS_S[min(tries, len(WAITS_S) - 1)])
                    tries += 1
        return known

    async def _list_once(self, order_id: str) -> None:
        if self._has_listed or self._book.ids.venue(order_id) is not None:
            return
        try:
            for record in await self._catch_up.orders({"status": "open"}):
                self._book.ids.learn(record)
            self._has_listed = True
        except BrokerError as error:
            self._book.log.warning("open orders cannot be read", reason=str(error))

    async def _until_known(self, order_id: str, heard: asyncio.Event) -> Found:
        started_ns = self._clock.monotonic_ns()
        absent, absent_since_ns, tries = 0, 0, 0
        while True:
            due_s = LOOK_UP_AT_S[tries] if tries < 4 else LOOK_UP_AT_S[-1] + LOOK_UP_EVERY_S * (tries - 3)
            waited_s = (self._clock.monotonic_ns() - started_ns) / SECOND_NS
            if not await self._sleep_or_hear(max(0.0, due_s - waited_s), heard):
                tries += 1
            found = await self.look_up(order_id)
            now_ns = self._clock.monotonic_ns()
            if isinstance(found, OrderRecord):
                return found
            if found is None:
                absent = 0  # only a run of good connectivity counts
                continue
            absent, absent_since_ns = absent + 1, absent_since_ns if absent else now_ns
            if absent >= ABSENT_ANSWERS_MIN and now_ns - absent_since_ns >= ABSENT_FOR_NS:
                return found

    async def _sleep_or_hear(self, seconds: float, heard: asyncio.Event) -> bool:
        """Sleep, or until the stream speaks of the order; tell whether it did."""
        if not heard.is_set():
            parts = asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(heard.wait())
            try:
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
        spoken = heard.is_set()
        heard.clear()
        return spoken

    async def _tell(self, order_id: str, record: OrderRecord) -> None:
        book = self._book
        intent = book.intents.get(order_id)
        book.log.info("outcome known", order=order_id, status=record.status)
        if intent is not None and order_id in book.unknown:
            await self._settlement.adopt(intent, record)
            return
        record = await self._settlement.with_legs(record)
        book.ids.learn(record, order_id)
        book.thaw(order_id)
        if STATUSES.get(record.status, "accepted") not in ("accepted", "rejected"):
            book.tell_accepted(record, order_id)  # and when, whatever became of it since
        await self._catch_up.apply(record)
        if not record.is_ended:
            if record.replaces and book.executions.filled_qty(await self._catch_up.replaced(record.replaces)):
                self._settlement.cancel_wanted.add(order_id)  # it might fill a second time, and only we know
            self._settlement.cancel_if_wanted(order_id)

    async def _bury(self, order_id: str) -> None:
        book = self._book
        book.tombstones[order_id] = None
        book.count("orders that never arrived")
        intent = book.intents.get(order_id)
        reason = "the venue does not know it, asked often enough"
        if intent is not None:
            await self._settlement.refuse(intent, reason)
        else:
            book.thaw(order_id)
            book.tell(order_id, "rejected", reason)

    async def _ask(self, path: str, query: dict[str, str | int]) -> Found:
        await self._rest.admit("read")
        try:
            answer = await self._rest.once("GET", path, query=query)
            if answer.status == 404:
                return "absent"
            return msgspec.json.decode(answer.body, type=OrderRecord) if answer.status == 200 else None
        except (NoAnswer, msgspec.DecodeError, UnicodeDecodeError):
            return None
