"""Alpaca as a live broker: approved orders go in, fills and updates come out as events.

This module puts the parts together. How an order is sent is in `sender`, what the order stream means in `updates`, what
it leaves out in `catch_up`; `book` is the only one that publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from brokers.alpaca import account, updates
from brokers.alpaca.book import Book
from brokers.alpaca.catch_up import CatchUp
from brokers.alpaca.emergency import AlpacaEmergency
from brokers.alpaca.frames import AHEAD_MAX_NS
from brokers.alpaca.hosts import Mode, hosts
from brokers.alpaca.keys import read_keys
from brokers.alpaca.limiter import Limiter, Sleep
from brokers.alpaca.records import OrderRecord, UpdateRecord
from brokers.alpaca.resolver import Resolver
from brokers.alpaca.rest import NoAnswer, Rest
from brokers.alpaca.sender import Sender
from brokers.alpaca.session import Session, together
from brokers.alpaca.settings import BrokerSettings
from brokers.alpaca.settlement import Settlement
from brokers.alpaca.trade_updates import TradeLine
from engine.clock import Clock, LiveClock
from engine.errors import BrokerError
from engine.events import NEVER_NS, SECOND_NS, Approved, Fill
from engine.ports import AccountState, Asset, Publish

CANCEL_ALL_TRIES, CANCEL_ALL_WAIT_S = 60, 0.5
CATCH_UP_WAIT_S = 2.0
UNTOLD_AFTER_S = 5.0
"""An execution this old that the stream has not told is missing, not late."""


class AlpacaBroker:
    """The account at Alpaca.

    Args:
        mode: the paper account or the live one; it has no default.
        seed: of the back-off's jitter.

    Attributes:
        due_ns, working: never and nothing: no order works inside the run.
        mode: as given.
        shared: options that `[feed]` may give for both, so that one line moves a run from one place to another.
        counts: how often each rare thing happened, under `orders`, for status and metrics.
        clock_off_s: how far this machine's clock is ahead of the venue's.

    Raises:
        ConfigError: keys are missing, or `server_url` leads elsewhere than to this machine.
    """

    Settings = BrokerSettings
    shared = ("server_url", "keys_file")
    emergency = AlpacaEmergency
    simulated = False

    def __init__(
        self, settings: BrokerSettings, *, mode: Mode, seed: int, clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep, sessions: object = None, account: object = None,
    ) -> None:  # fmt: skip
        self.settings, self.mode = settings, Mode(mode)
        self.due_ns = NEVER_NS
        self.working: dict[str, Any] = {}
        self._hosts, keys = hosts(mode, settings.server_url), read_keys(settings.keys_file)
        self._keys = keys
        self._clock, self._sleep = clock or LiveClock(), sleep
        limiter = Limiter(settings.requests_per_min, self._clock, sleep)
        self._rest = Rest(
            self._hosts.trading, keys, timeout_s=settings.timeout_s, limiter=limiter, clock=self._clock, sleep=sleep
        )
        cancel = partial(self.cancel, ts_ns=0)
        # A local server plays its tape at any speed and date: what it says is never called too early, or too late.
        clock_off_max_ns = NEVER_NS if self._hosts.is_local else AHEAD_MAX_NS
        self._book = Book(self._clock, ahead_max_ns=clock_off_max_ns, cancel=cancel)
        self._catch_up = CatchUp(self._rest, self._book, sleep=sleep, on_untold=self._suspect)
        settlement = self._settlement = Settlement(self._rest, self._book, self._catch_up, cancel=cancel, sleep=sleep)
        self._resolver = Resolver(self._rest, self._book, self._catch_up, settlement, self._clock, sleep=sleep)
        self._sender = Sender(
            self._rest, self._book, settlement, self._resolver, self._clock, behind_max_ns=clock_off_max_ns, sleep=sleep
        )
        self._line = TradeLine(self._hosts.trade_updates, keys, self._clock, take=self._take, accompany=self._caught_up)
        self.session = Session(
            self._line,
            seed=seed,
            clock=self._clock,
            sleep=sleep,
            is_local=self._hosts.is_local,
            on_lost=lambda reason: self._book.link(up=False, reason=reason),
        )
        self.counts = {"orders": self._book.counts}
        self.clock_off_s = 0.0
        self._waiting: list[Callable[[], Coroutine[Any, Any, object]]] = []
        self._tasks: set[asyncio.Task[object]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._last_heard_ns = 0
        self._is_caught_up = False
        self._early: list[UpdateRecord] = []

    @property
    def secrets(self) -> tuple[str, str]:
        """The texts that no log may show."""
        return self._keys.secrets

    # --- the port --------------------------------------------------------------------------------------------------

    def submit(self, approved: Approved) -> None:
        if self._failed is None:  # decided while the journal was done over, from what was known before the restart
            self._start(lambda: self._settlement.refuse(approved.intent, "not sent: it was decided before the restart"))
            return
        submitted_ns = self._clock.monotonic_ns()
        self._start(lambda: self._send(approved, submitted_ns))

    def cancel(self, client_order_id: str, ts_ns: int) -> None:
        self._start(lambda: self._sender.cancel(client_order_id))

    def resolve(self, client_order_ids: Sequence[str]) -> None:
        for order_id in client_order_ids:
            self._start(partial(self._resolver.resolve, order_id, at_once=True))

    def know(self, fills: Iterable[Fill]) -> None:
        """Take note of executions that a journal holds, so that nothing tells them a second time under another id."""
        for fill in fills:
            self._book.executions.know(fill.client_order_id, fill.execution_id, fill.qty, fill.price)

    async def open(self) -> AccountState:
        try:
            self.clock_off_s = await account.check(self._rest, self._clock, simulated_time=self._hosts.is_local)
            if abs(self.clock_off_s) > account.CLOCK_WARN_S and not self._hosts.is_local:
                told = f"this machine's clock is {self.clock_off_s:+.1f} s off Alpaca's"
                self._book.log.warning(f"{told}; from {account.CLOCK_MAX_S:.0f} s on nothing trades: set it right")
            return await self.state(self._clock.now_ns())
        except BrokerError:
            await self._rest.close()
            raise

    async def state(self, since_ns: int) -> AccountState:
        found = await account.read_state(self._rest, self._book, self._catch_up, since_ns)
        for order in found.open_orders:
            if order.client_order_id in self._book.tombstones:
                self._start(partial(self._sender.exhume, order.client_order_id))
        return found

    async def assets(self, symbols: Sequence[str]) -> dict[str, Asset]:
        return await account.assets(self._rest, symbols)

    async def run(self, publish: Publish) -> None:
        """Raises: BrokerError, when the venue refuses what no new connection would give."""
        self._book.publish = publish
        self._failed = asyncio.get_running_loop().create_future()
        waiting, self._waiting = self._waiting, []
        for make in waiting:
            self._start(make)
        try:
            await together(self.session.run(), self._watch_tasks())
        finally:
            self._failed = self._book.publish = None
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._rest.close()

    async def close(self) -> None:
        await self._rest.close()

    async def cancel_all(self) -> None:
        """Raises: BrokerError, when orders are still open after half a minute."""
        for _ in range(CANCEL_ALL_TRIES):
            try:
                await self._rest.admit("cancel")
                await self._rest.once("DELETE", "/v2/orders")
                await self._rest.admit("cancel")
                answer = await self._rest.once("GET", "/v2/orders", query={"status": "open", "limit": 1})
                if answer.status == 200 and answer.body.strip() == b"[]" and not self._sender.sending:
                    return
            except NoAnswer as error:
                self._book.log.warning("cancel-all without an answer", reason=str(error))
            await self._sleep(CANCEL_ALL_WAIT_S)
        raise BrokerError("orders are still open after cancel-all was asked for half a minute; cancel them at Alpaca")

    # --- tasks -----------------------------------------------------------------------------------------------------

    def _start(self, make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run something beside the rest; before `run`, keep it waiting."""
        if self._failed is None:
            self._waiting.append(make)
            return
        task = asyncio.get_running_loop().create_task(make())
        self._tasks.add(task)  # a task that nobody holds may vanish
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, BrokerError):
            self._book.count("requests given up")
            self._book.log.error("given up", reason=str(error))
        elif error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)  # our own fault: it ends the run instead of vanishing

    async def _watch_tasks(self) -> None:
        assert self._failed is not None
        await self._failed

    # --- the order stream ------------------------------------------------------------------------------------------

    async def _send(self, approved: Approved, submitted_ns: int) -> None:
        try:
            await self._sender.order(approved, submitted_ns)
        finally:
            early, self._early = self._early, []
            for update in early:
                self._take(update)

    def _take(self, update: UpdateRecord) -> None:
        book, record = self._book, update.order
        self._last_heard_ns = book.now_ns()
        if self._is_early(record):
            self._early.append(update)
            return
        order_id = book.ids.ours(record)
        self._resolver.heard_of(order_id)
        follow = updates.take(book, update)
        if order_id in book.tombstones:
            self._start(partial(self._sender.exhume, order_id))
        if follow.hole is not None:
            self._start(partial(self._catch_up.apply, follow.hole))
        if follow.look_at:
            self._start(partial(self._catch_up.look_at, follow.look_at))
        if follow.group_of:
            self._start(partial(self._catch_up.look_at_group, follow.group_of))

    def _is_early(self, record: OrderRecord) -> bool:
        """Tell whether an update may be of a leg whose parent's answer is still on its way: only that names the leg."""
        book = self._book
        is_known = book.ids.by_venue(record.id) is not None or record.client_order_id in book.intents
        return (
            not is_known and (record.order_class or "") in updates.GROUPS and bool(self._sender.sending or book.unknown)
        )

    def _suspect(self, fill: Fill) -> None:
        """An execution was found by REST: unless the stream tells it very soon, it may be mute."""
        if self._is_caught_up:
            self._start(partial(self._distrust, fill))

    async def _distrust(self, fill: Fill) -> None:
        """Give up an order stream that leaves executions out: only a new one can tell whether it is mute."""
        awaited, age_s = self._book.awaited, (fill.ts_recv_ns - fill.ts_event_ns) / SECOND_NS
        await self._sleep(max(0.0, UNTOLD_AFTER_S - age_s))
        if fill.execution_id in awaited and self._is_caught_up:
            self._book.count("mute order streams")
            self.session.drop(f"it did not tell an execution of order {fill.client_order_id}")
        awaited.discard(fill.execution_id)

    async def _caught_up(self) -> None:
        """After each connection read what the stream did not tell, then only keep the connection company."""
        self._is_caught_up = False
        since_ns = self._last_heard_ns or self._book.now_ns()
        while True:
            try:
                await self._catch_up.reconnected(since_ns)
                break
            except BrokerError as error:
                self._book.log.warning("cannot catch up yet", reason=str(error))
                await self._sleep(CATCH_UP_WAIT_S)
        self._is_caught_up = True
        self._book.link(up=True)
        await asyncio.get_running_loop().create_future()
