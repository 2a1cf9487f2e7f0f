"""The submit protocol: one single send, its outcome classified, the unknown resolved before anything else is sent.

2xx                       accepted
400 401 403 404 422       refused
422 with code 40010001    looked up by our id, and adopted if it is the order that was asked for
429                       the same id again once the limit allows, while the approval holds
anything else             unknown: the symbol is frozen, and `resolver` finds out
"""

from __future__ import annotations

import asyncio

from brokers.alpaca.book import Book
from brokers.alpaca.limiter import Sleep
from brokers.alpaca.order_json import CLIENT_ID_CHARS_MAX, amendment, new_order
from brokers.alpaca.outcome import Accepted, Later, Outcome, Refused, Taken, Unknown, classify
from brokers.alpaca.records import OrderRecord, side_of
from brokers.alpaca.resolver import WAITS_S, Resolver
from brokers.alpaca.rest import NoAnswer, Rest, complaint
from brokers.alpaca.settlement import Settlement
from engine.clock import Clock
from engine.events import SECOND_NS, Approved, Intent

STUCK_CANCEL_S = 15.0


class Sender:
    """Send orders, amendments and cancels, each from a task of its own.

    Args:
        behind_max_ns: how far the venue's clock may be behind ours.

    Attributes:
        sending: orders whose request is on its way.
    """

    def __init__(
        self, rest: Rest, book: Book, settlement: Settlement, resolver: Resolver, clock: Clock, *,
        behind_max_ns: int, sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._rest, self._book, self._settlement, self._resolver = rest, book, settlement, resolver
        self._clock, self._behind_max_ns, self._sleep = clock, behind_max_ns, sleep
        self._turns: dict[str, asyncio.Lock] = {}
        self.sending: dict[str, asyncio.Event] = {}

    # --- orders ----------------------------------------------------------------------------------------------------

    async def order(self, approved: Approved, submitted_ns: int) -> None:
        """Send an approved order once, as long as its approval holds; orders of one symbol take turns.

        `submitted_ns` is the monotonic time at which the approval was handed over.
        """
        intent, book = approved.intent, self._book
        order_id = intent.client_order_id
        expires_ns = submitted_ns + approved.ts_expire_ns - approved.ts_event_ns
        book.register(intent)
        self.sending[order_id] = asyncio.Event()
        try:
            async with self._turns.setdefault(intent.symbol, asyncio.Lock()):
                outcome = await self._send(intent, expires_ns)
                if isinstance(outcome, Taken):
                    outcome = await self._settle_taken(approved, outcome)
                if isinstance(outcome, Unknown):
                    book.freeze(order_id, intent.symbol, outcome.reason)
                elif isinstance(outcome, Accepted):
                    book.ids.learn(outcome.record, order_id)
        finally:
            self.sending.pop(order_id).set()
        if isinstance(outcome, Accepted):
            await self._settlement.adopt(intent, outcome.record)
        elif isinstance(outcome, Unknown):
            await self._resolver.resolve(order_id)
        else:
            await self._settlement.refuse(intent, outcome.reason)

    async def _send(self, intent: Intent, expires_ns: int) -> Outcome:
        while True:
            await self._rest.admit("order")
            if reason := self._objection(intent, expires_ns):
                return Refused(reason)
            outcome = await self._send_once(intent)
            if not isinstance(outcome, Later):
                return outcome
            self._book.count("rate limited")
            if self._clock.monotonic_ns() + round(outcome.pause_s * SECOND_NS) > expires_ns:
                return Refused(f"{outcome.reason}; the approval does not hold until the limit allows it again")

    def _objection(self, intent: Intent, expires_ns: int) -> str:
        """Return why an order may not leave now, which nobody knew when it was approved."""
        book = self._book
        late_ns = self._clock.monotonic_ns() - expires_ns
        if late_ns > 0:
            return f"not sent: its approval expired {late_ns / SECOND_NS:.1f} s ago"
        if intent.symbol in book.frozen:
            return f"not sent: {intent.symbol} is frozen while the outcome of another order is unknown"
        if len(intent.client_order_id) > CLIENT_ID_CHARS_MAX:
            return f"not sent: its id is longer than {CLIENT_ID_CHARS_MAX} characters"
        if intent.replaces and book.ids.venue(intent.replaces) is None:
            return f"not sent: the venue never confirmed order {intent.replaces}"
        if intent.replaces and book.executions.filled_qty(intent.replaces):
            # Whether a replacement's quantity counts what has filled already, no source says: it could fill twice.
            return f"not sent: order {intent.replaces} has filled in part; cancel it and send a new one"
        return ""

    async def _send_once(self, intent: Intent) -> Outcome:
        try:
            if not intent.replaces:
                return classify(await self._rest.once("POST", "/v2/orders", body=new_order(intent)))
            path = f"/v2/orders/{self._book.ids.venue(intent.replaces)}"
            body = amendment(intent, self._book.intents.get(intent.replaces))
            return classify(await self._rest.once("PATCH", path, body=body), is_amendment=True)
        except NoAnswer as error:
            return Unknown(str(error))

    async def _settle_taken(self, approved: Approved, taken: Taken) -> Outcome:
        intent = approved.intent
        found = await self._resolver.look_up(intent.client_order_id)
        if found is None:
            return Unknown(f"{taken.reason}; looked up without an answer")
        if isinstance(found, str):
            return Refused(taken.reason)
        what = f"an order of this id, to {found.side} {found.qty or found.notional} {found.symbol}, {found.type}"
        if found.submitted_ns(approved.ts_event_ns) < approved.ts_event_ns - self._behind_max_ns:
            return Refused(f"{taken.reason}: another run has sent {what}, at {found.submitted_at or found.created_at}")
        if not _is_asked_for(intent, found):
            return Refused(f"{taken.reason}: another program has sent {what}")
        return Accepted(found)

    # --- cancels ---------------------------------------------------------------------------------------------------

    async def cancel(self, order_id: str) -> None:
        """Ask for an order's end until the venue has taken the request or the order is over."""
        book = self._book
        if order_id in self.sending:
            await self.sending[order_id].wait()
        if order_id in book.unknown:
            self._settlement.cancel_wanted.add(order_id)
            return
        venue_id = await self._resolver.locate(order_id)
        if venue_id is None:
            self._settlement.cancel_wanted.add(order_id)
            book.log.warning("not canceled yet: the venue does not know the order", order=order_id)
            return
        tries = 0
        while not await self._cancel_once(order_id, venue_id):
            await self._sleep(WAITS_S[min(tries, len(WAITS_S) - 1)])
            tries += 1
            if tries > len(WAITS_S) and order_id in book.intents and order_id not in book.open:
                return  # it has ended meanwhile; of one that an earlier process sent only the venue can say so
        await self._sleep(STUCK_CANCEL_S)
        if order_id in book.open:
            book.count("stuck cancels")
            book.log.error("a cancel that the venue took and has not carried out", order=order_id)
            await self._resolver.resolve(order_id, at_once=True)

    async def _cancel_once(self, order_id: str, venue_id: str) -> bool:
        """Send a cancel; return whether the venue has spoken."""
        await self._rest.admit("cancel")
        try:
            answer = await self._rest.once("DELETE", f"/v2/orders/{venue_id}")
        except NoAnswer:
            return False
        if answer.status == 429 or answer.status >= 500:
            return False
        if answer.status >= 300:
            self._book.log.info("cancel refused", order=order_id, reason=complaint(answer)[1])
            await self._resolver.resolve(order_id, at_once=True)
        return True

    async def exhume(self, order_id: str) -> None:
        """An order that was believed lost lives: it is canceled, and told loudly."""
        book = self._book
        if order_id in book.tombstones:
            del book.tombstones[order_id]
            book.count("orders that turned up late")
            book.log.error("an order believed never to have arrived lives at the venue; it is canceled", order=order_id)
            await self.cancel(order_id)


def _is_asked_for(intent: Intent, found: OrderRecord) -> bool:
    """Tell whether the venue's order is what was asked for, as far as it says."""
    pairs = (
        (intent.symbol.replace("/", ""), found.symbol.replace("/", "")), (intent.side, side_of(found.side)),
        (intent.type, found.type or None), (intent.qty, found.qty), (intent.notional_usd, found.notional),
        (intent.limit_price, found.limit_price), (intent.stop_price, found.stop_price),
    )  # fmt: skip
    return all(wanted == shown for wanted, shown in pairs if wanted is not None and shown is not None)
