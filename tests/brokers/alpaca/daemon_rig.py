"""The whole daemon in front of the local venue: journal, controls, recovery, adapter, sockets, in a quick time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.stream import AlpacaFeed
from engine import Quote, Strategy, journal, live
from engine.clock import Clock
from engine.config import from_dict
from engine.errors import TradingError
from engine.events import Approved, Fill
from engine.journal import Journal
from engine.run import Run
from tests.brokers.alpaca.venue_rig import QuickClock, quick
from tests.brokers.alpaca_server.local import KEY, SECRET, Local, bar, quote, running, story
from tests.brokers.paper_venue import at

HERE = __name__
WAIT_S = 20.0
ROOM_PERCENT = 14
"""C11, just above what the day's plan needs at its fullest; a bracket that went out twice would not fit."""

RISK = {
    "profile": "wide", "max_position_percent": str(ROOM_PERCENT), "max_gross_fraction": "1",
    "max_reject_percent": "100", "max_spread_percent": "2",
}  # fmt: skip


class QuickFeed(AlpacaFeed):
    """The feed, a hundred times as patient a second."""

    def __init__(self, settings: Any, *, clock: Clock, **options: Any) -> None:
        super().__init__(settings, clock=clock, sleep=quick, **options)

    @staticmethod
    def clock(settings: Any) -> Clock:
        return QuickClock(Daemon.venue)


class QuickBroker(AlpacaBroker):
    """The broker, a hundred times as patient a second, looked over the shoulder at each order that it is given."""

    def __init__(self, settings: Any, *, clock: Clock, **options: Any) -> None:
        super().__init__(settings, clock=clock, sleep=quick, **options)

    def submit(self, approved: Approved) -> None:
        Daemon.latest.look_at_sending(approved)
        super().submit(approved)


class ADay(Strategy):
    """Buy, rest, replace, cancel, a bracket, sell; each step at the first quote from its minute on, once."""

    auction: bool = False
    raises: bool = False
    coins: bool = False

    def on_start(self) -> None:
        self.done = 0
        self.steps = [
            (at("9:31"), self._buy), (at("9:32"), self._rest), (at("9:33"), self._move), (at("9:34"), self._protect),
            (at("9:36"), self._cancel), (at("9:37"), self._sell),
        ]  # fmt: skip
        if self.auction:
            self.steps.insert(0, (at("9:24"), self._at_the_open))
        if self.coins:
            self.steps = [(at("9:31"), self._buy_coin), (at("9:58"), self._close)]
        if self.raises:
            self.steps.insert(3, (at("9:33"), self._raise))

    def on_quote(self, quote: Quote) -> None:
        while self.done < len(self.steps) and self.steps[self.done][0] <= quote.ts_event_ns:
            self.steps[self.done][1](quote.symbol)
            self.done += 1

    def _buy(self, symbol: str) -> None:
        self.buy(symbol, 10)

    def _at_the_open(self, symbol: str) -> None:
        self.buy(symbol, 5, time_in_force="opg")

    def _buy_coin(self, symbol: str) -> None:
        self.buy(symbol, 1)

    def _close(self, symbol: str) -> None:
        self.close_position(symbol)

    def _raise(self, symbol: str) -> None:
        raise RuntimeError(f"an author's mistake with {symbol}")

    def _rest(self, symbol: str) -> None:
        self.rests = self.buy(symbol, 10, limit_price=90)

    def _move(self, symbol: str) -> None:
        self.moved = self.replace_order(self.rests, limit_price=91)

    def _protect(self, symbol: str) -> None:
        self.buy(symbol, 100, take_profit=105, stop_loss=95)

    def _cancel(self, symbol: str) -> None:
        self.cancel_order(self.moved)
        self.cancel_order(self.rests)

    def _sell(self, symbol: str) -> None:
        self.sell(symbol, 5)


class Daemon:
    """A daemon that can be stopped, restarted and looked into; `broken` says which invariants it broke on the way."""

    venue: ClassVar[Local]
    latest: ClassVar[Daemon]

    def __init__(
        self, local: Local, folder: Path, feed: dict[str, Any], params: dict[str, Any], first: int,
        symbol: str,
    ) -> None:  # fmt: skip
        Daemon.venue, Daemon.latest = local, self
        self.local, self.path = local, folder / "run.journal"
        self.config = from_dict(
            {
                "mode": "paper", "name": "day", "seed": 7, "calendar": "XNYS", "out_dir": str(folder),
                "handler_budget_ms": 1e6,
                "feed": {"use": f"{HERE}:QuickFeed", "symbols": [symbol], "quotes": True, "server_url": local.url,
                         "rest_requests_per_min": 1e6, **feed},
                "broker": {"use": f"{HERE}:QuickBroker", "server_url": local.url, "timeout_s": 0.15,
                           "requests_per_min": 100_000.0},
                "strategies": [{"name": "day", "use": f"{HERE}:ADay", "symbols": [symbol], "params": params}],
                "risk": RISK,
            }
        )  # fmt: skip
        self.symbol = symbol
        self.broken: list[str] = []
        self.ended: list[str] = []
        self.minute = first

    # --- its life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        clock = QuickClock(self.local)
        self.run = Run(self.config, Journal(self.path, follow=self.path.exists()))
        if not self.run.journal.following:
            self.run.journal.note("config", json.dumps(self.config.resolved()))
        self.task = asyncio.create_task(live.serve(self.run, live.Stopwatch(1e9, clock), clock))

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError, TradingError):
            await self.task

    async def restart(self) -> None:
        await self.stop()
        self.start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until it has reconciled and listens to the market, as often as it has to be started for that.

        A position that differs is believed at the second look only, so time has to pass for it.
        """
        for _ in range(100):
            with suppress(TimeoutError):
                await self.until(lambda: self._listens and not self.core.warming_up, 0.15)
                return
            await self.minutes(1)
        raise AssertionError("the daemon does not begin")

    @property
    def _listens(self) -> bool:
        subscribed = any(any(one.channels.values()) for one in self.local.venue.streams.sessions)
        return self.run.feed.is_connected and subscribed

    @property
    def core(self) -> Any:
        return self.run.core

    async def until(self, holds: Callable[[], object], within_s: float = WAIT_S) -> None:
        """Give way until something holds; a daemon that has ended is started again, and how it ended is kept."""
        async with asyncio.timeout(within_s):
            while not holds():
                if self.task.done():
                    self.ended.append(str(self.task.exception()))
                    await quick(10)
                    self.start()
                await asyncio.sleep(0)

    # --- its day ---------------------------------------------------------------------------------------------------

    async def minutes(self, count: int, price: float = 100.0) -> None:
        """Let minutes pass, a quote and a bar each, and let the daemon do what it does about them."""
        for _ in range(count):
            clock = f"{9 + self.minute // 60}:{self.minute % 60:02}"
            news = story(clock, f"at {clock}", news_id=str(self.minute))
            ask = quote(clock, price - 0.01, price + 0.01, self.symbol)
            await self.local.happen(ask, bar(clock, price, self.symbol), news)
            self._look_at_exposure(price)
            now = at(clock)
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while self.core.now_ns < now and not self.task.done():
                        await asyncio.sleep(0)
            await quick(3)
            self._look_at_exposure(price)
            self.minute += 1

    async def heal(self, *healing: dict[str, Any]) -> None:
        """Disarm every fault; `healing` are faults of the moment that undo what one has done."""
        await self.local.http.delete(f"{self.local.url}/control/faults")
        for fault in healing:
            await self.local.arm(**fault)

    async def settled(self) -> None:
        """Let minutes pass until books and venue agree, or time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while self.differences():
                    await self.ready()
                    await self.minutes(1)
                    await quick(10)

    async def halted(self, price: float) -> None:
        """Let minutes pass until the daemon has stopped itself, or half an hour is over."""
        for _ in range(30):
            if self.core.risk.state == "halted":
                return
            await self.minutes(1, price)

    def differences(self) -> list[str]:
        """Say where the books differ from the venue's own ledger: orders, fills, positions, cash."""
        venue, found = self.local.venue, []
        for order in self.core.orders.orders.values():
            there = self.venue_order(order.id)
            filled = there.filled_qty if there is not None else 0
            if order.filled_qty != filled:
                found.append(f"{order.id}: {order.filled_qty} filled here, {filled} there")
            if order.is_open != (there is not None and there.is_open):
                found.append(f"{order.id}: {order.status} here, {there and there.status} there")
        held = self.core.portfolio.position_qty
        found += [f"{one.symbol}: {one.qty} there" for one in venue.ledger.held() if one.qty != held(one.symbol)]
        if self.core.portfolio.cash_usd != venue.ledger.cash_usd:
            found.append(f"cash: {self.core.portfolio.cash_usd} here, {venue.ledger.cash_usd} there")
        return found

    def venue_order(self, order_id: str) -> Any:
        """Return the venue's own record of an order."""
        book = self.local.venue.book
        venue_id = self.core.broker._book.ids.venue(order_id)
        return book.orders.get(venue_id) if venue_id else book.by_client.get(order_id)

    # --- over its shoulder -----------------------------------------------------------------------------------------

    def look_at_sending(self, approved: Approved) -> None:
        """I9, I10: an order that leaves is on disk, and risk lets orders pass."""
        order_id = approved.intent.client_order_id
        kept = [one.intent.client_order_id for one in journal.read(self.path) if isinstance(one, Approved)]
        if kept.count(order_id) != 1:
            self.broken.append(f"I9: {order_id} was sent and is {kept.count(order_id)} times in the journal")
        if self.core.risk.state != "active" and not self.core.risk.reduces(self.core.orders.orders[order_id]):
            self.broken.append(f"I10: {order_id} was sent while {self.core.risk.state}")

    def _look_at_exposure(self, price: float) -> None:
        """I8: what the venue's own ledger could come to lies within the limit."""
        venue = self.local.venue
        mine = [one for one in venue.book.open_orders("AAPL") if not one.foreign]
        coming = sum(one.left for one in mine if one.intent.side == "buy" and not one.replaces)
        worst = float(venue.ledger.position_qty("AAPL") + coming) * price
        if worst > float(venue.ledger.start_cash_usd) * ROOM_PERCENT / 100:
            self.broken.append(f"I8: {worst:.0f} USD at 9:{self.minute}")

    @property
    def records(self) -> list[Any]:
        return list(journal.read(self.path))

    @property
    def fills(self) -> list[Fill]:
        return [record for record in self.records if isinstance(record, Fill)]


@asynccontextmanager
async def daemon(
    monkeypatch: pytest.MonkeyPatch, folder: Path, feed: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None, *, first: int = 31, symbol: str = "AAPL", **server: Any,
) -> AsyncIterator[Daemon]:  # fmt: skip
    """Run a daemon in front of a venue whose day begins at minute `first` after nine; stop what is left at the end."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    for name in ("RECONCILE_START_S", "RECONCILE_OPEN_S", "RECONCILE_IDLE_S", "TICK_EVERY_S"):
        monkeypatch.setattr(live, name, getattr(live, name) / 100)
    monkeypatch.setattr("brokers.alpaca.stream.GREET_S", 0.2)
    options = {"requests_per_min": 0, "data_requests_per_min": 0} | server
    async with running([quote(f"9:{first - 1}", symbol=symbol)], **options) as local:
        await local.step(1)
        made = Daemon(local, folder, feed or {}, params or {}, first, symbol)
        made.start()
        try:
            yield made
        finally:
            await made.stop()
