"""The real adapter in front of the local venue, over sockets, in a time that runs a hundred times as fast."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest

from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.records import ENDED
from brokers.alpaca.settings import BrokerSettings, FeedSettings
from brokers.alpaca.stream import AlpacaFeed
from engine.clock import Sessions
from engine.errors import BrokerError
from engine.events import SECOND_NS, Approved, Bar, Fill, Intent, Link, MarketEvent, OrderUpdate
from tests.brokers.alpaca.peers import stopped
from tests.brokers.alpaca_server.local import KEY, SECRET, Local, running

SPEED = 100
WAIT_S = 8.0
XNYS = Sessions("XNYS")


class QuickClock:
    """The venue's time for what happens, a fast monotonic one for how long it takes."""

    def __init__(self, local: Local) -> None:
        self._local = local

    def now_ns(self) -> int:
        return self._local.venue.clock.now_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() * SPEED


async def quick(seconds: float) -> None:
    """Wait a hundredth of it."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds / SPEED, lambda: future.done() or future.set_result(None))
    await future


async def until(holds: Callable[[], object]) -> None:
    """Give way to the sockets until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0)


class Trader:
    """A broker at the venue, and the books that an engine would keep from what it tells."""

    def __init__(self, local: Local, broker: AlpacaBroker) -> None:
        self.local, self.broker = local, broker
        self.events: list[Any] = []
        self.sent: list[str] = []
        self._tokens = itertools.count(1)
        self.running = asyncio.create_task(broker.run(self.events.append))

    async def connected(self) -> None:
        await until(lambda: any(isinstance(event, Link) and event.up for event in self.events) or self.running.done())

    def submit(self, client_id: str, side: str = "buy", qty: int = 10, **fields: Any) -> None:
        now = self.local.venue.clock.now_ns()
        base: dict[str, Any] = {
            "strategy": "s",
            "symbol": "AAPL",
            "side": side,
            "qty": Decimal(qty),
            "ts_event_ns": now,
        }
        intent = Intent(client_order_id=client_id, **base | fields)
        self.sent += [client_id, *(leg.client_order_id for leg in intent.legs())]
        approval = Approved(intent, next(self._tokens), now, now + 60 * SECOND_NS, Decimal(100), "quote")
        self.broker.submit(approval)

    def statuses(self, client_id: str) -> list[str]:
        told = [event for event in self.events if isinstance(event, OrderUpdate)]
        return [event.status for event in told if event.client_order_id == client_id]

    def fills(self, client_id: str) -> list[Fill]:
        return [event for event in self.events if isinstance(event, Fill) and event.client_order_id == client_id]

    def has_ended(self, client_id: str) -> bool:
        """Tell whether an engine would take an order for over."""
        order = self.venue_order(client_id)
        wanted = order.intent.qty if order is not None else None
        filled = sum((fill.qty for fill in self.fills(client_id)), Decimal(0))
        return any(status in ENDED for status in self.statuses(client_id)) or (wanted is not None and filled >= wanted)

    def venue_order(self, client_id: str) -> Any:
        """Return the venue's own record of an order of ours."""
        book = self.local.venue.book
        venue_id = self.broker._book.ids.venue(client_id)
        return book.orders.get(venue_id) if venue_id else book.by_client.get(client_id)

    async def answered(self, client_id: str) -> None:
        """Wait until anything is told of an order."""
        await until(lambda: self.statuses(client_id) or self.fills(client_id) or self.running.done())

    async def settled(self) -> None:
        """Reconcile as the engine does until books and venue agree, or time is up."""
        async with asyncio.timeout(WAIT_S):
            while self.differences():
                with suppress(BrokerError):
                    state = await self.broker.state(0)
                    known = {event.execution_id for event in self.events if isinstance(event, Fill)}
                    ours = set(self.sent)
                    for fill in state.fills:
                        if fill.execution_id not in known and fill.client_order_id in ours:
                            self.events.append(fill)
                    listed = {order.client_order_id for order in state.open_orders}
                    self.broker.resolve([one for one in self.sent if one not in listed and not self.has_ended(one)])
                await quick(20)

    def differences(self) -> list[str]:
        """Say where our books differ from the venue's own ledger."""
        found = []
        for client_id in self.sent:
            order = self.venue_order(client_id)
            ours = sum((fill.qty for fill in self.fills(client_id)), Decimal(0))
            theirs = order.filled_qty if order is not None else Decimal(0)
            if ours != theirs:
                found.append(f"{client_id}: {ours} filled here, {theirs} there")
            is_over = order is None or not order.is_open
            if is_over != self.has_ended(client_id):
                found.append(f"{client_id}: over at the venue is {is_over}, here {self.statuses(client_id)}")
        ids = [event.execution_id for event in self.events if isinstance(event, Fill)]
        assert len(ids) == len(set(ids)), "an execution was told twice"
        return found


@asynccontextmanager
async def trading(
    monkeypatch: pytest.MonkeyPatch, events: Sequence[MarketEvent] | None = None, **settings: Any
) -> AsyncIterator[Trader]:
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    options = {"requests_per_min": 0, "start": "control"} | settings
    async with running(events, **options) as local:
        chosen = BrokerSettings(server_url=local.url, timeout_s=0.15, requests_per_min=100_000)
        broker = AlpacaBroker(chosen, mode="paper", seed=7, clock=QuickClock(local), sleep=quick)
        trader = Trader(local, broker)
        try:
            yield trader
        finally:
            await stopped(trader.running)


class Listener:
    """A feed at the venue, and the bars that it brought."""

    def __init__(self, local: Local, feed: AlpacaFeed) -> None:
        self.local, self.feed = local, feed
        self.events: list[Any] = []
        self.running = asyncio.create_task(feed.run(self.events.append))

    async def connected(self) -> None:
        await until(lambda: self.running.done() or (self.feed.is_connected and self.subscribed))

    @property
    def subscribed(self) -> bool:
        return any(any(one.channels.values()) for one in self.local.venue.streams.sessions)

    @property
    def bars(self) -> list[tuple[str, int]]:
        """Symbol and close of every first telling of a bar."""
        return [
            (event.symbol, event.ts_event_ns) for event in self.events if isinstance(event, Bar) and not event.revised
        ]


@asynccontextmanager
async def listening(
    monkeypatch: pytest.MonkeyPatch,
    events: Sequence[MarketEvent],
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Listener]:
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    async with running(events, data_requests_per_min=0, **settings or {}) as local:
        chosen = FeedSettings.model_validate(
            {"server_url": local.url, "rest_requests_per_min": 1e6, "statuses": False} | options
        )
        feed = AlpacaFeed(chosen, mode="paper", sessions=XNYS, seed=7, clock=QuickClock(local), sleep=quick)
        listener = Listener(local, feed)
        try:
            yield listener
        finally:
            await stopped(listener.running)
