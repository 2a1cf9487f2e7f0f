"""The two protocols a vendor implements: `Feed` brings events in, `Broker` takes approved orders out.

Nothing here knows a vendor, a socket or a strategy. A recorded feed is an iterator that the corridor consumes in a
plain loop; a live feed is a coroutine that publishes into the inbox. The corridor cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from decimal import Decimal
from typing import Protocol

from engine.events import (
    Approved,
    Bar,
    CorporateAction,
    Fill,
    InboxEvent,
    MarketEvent,
    OrderUpdate,
    Quote,
    Status,
    Trade,
)

Publish = Callable[[InboxEvent], None]


class Feed(Protocol):
    """A recorded stream of market events, in time order.

    Attributes:
        symbols: every symbol that the stream may speak of, sorted.
        span_ns: first and last `ts_recv_ns`, for progress and sampling.
        fingerprint: SHA-256 over the content, so that a journal can say which tape it was.
    """

    symbols: Sequence[str]
    span_ns: tuple[int, int]
    fingerprint: str

    def batches(self) -> Iterator[Sequence[MarketEvent]]:
        """Yield lists of events, together in order of (`ts_recv_ns`, class, stream, sequence).

        Raises:
            TapeError: naming the file and the row.
        """
        ...


class LiveFeed(Protocol):
    """A stream that arrives when it arrives."""

    async def run(self, publish: Publish) -> None:
        """Publish events until cancelled; reconnecting is the feed's own business."""
        ...


class Account(Protocol):
    """What a simulated venue asks of the book of its customer."""

    def position_qty(self, symbol: str) -> Decimal:
        """Return signed shares or coins held."""
        ...

    def buying_power_usd(self) -> Decimal:
        """Return what may be spent on new exposure, open orders not counted."""
        ...


class Broker(Protocol):
    """Where approved orders go. Its answers come back as events, never as return values of these calls."""

    simulated: bool

    def submit(self, approved: Approved) -> None:
        """Send a new order, or an amendment when `approved.intent.replaces` is set."""
        ...

    def cancel(self, client_order_id: str, ts_ns: int) -> None:
        """Ask for an order to be canceled; unknown and finished ids are ignored, the race is normal."""
        ...


class SimulatedBroker(Broker, Protocol):
    """A venue that lives inside the run and answers in simulated time.

    Attributes:
        due_ns: the next instant at which `advance` has something to say; `NEVER_NS` when it has not.
        working: symbols with an order that the next market event may fill.
    """

    due_ns: int
    working: Container[str]

    def advance(self, now_ns: int) -> Sequence[OrderUpdate | Fill]:
        """Return what happened by `now_ns` without a market event: arrivals, cancels, expiries."""
        ...

    def match(self, event: Bar | Quote | Trade) -> Sequence[OrderUpdate | Fill]:
        """Return what a market event of a working symbol does to its orders."""
        ...

    def notice(self, event: Status | CorporateAction) -> Sequence[OrderUpdate | Fill]:
        """Return what a halt, its end, or a corporate action does to the orders."""
        ...
