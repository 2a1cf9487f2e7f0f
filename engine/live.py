"""The daemon's own loop: the feed at one end of the inbox, the corridor at the other, and a clean way out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from decimal import setcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import structlog

from engine import journal
from engine.account.listing import look_up
from engine.account.recovery import Reconciler, leaving, waiting
from engine.account.statements import Statements
from engine.bus import Inbox
from engine.clock import Clock
from engine.errors import BrokerError, Divergence, FeedOverrun, JournalWriteError, TradingError
from engine.events import (
    SECOND_NS,
    AccountOpened,
    Assets,
    Command,
    Fill,
    InboxEvent,
    MarketEvent,
    OrderUpdate,
    Tick,
)  # fmt: skip
from engine.interlock import Leave, check_account
from engine.operating import signals, status
from engine.operating.operations import Operations
from engine.pace import pace
from engine.portfolio import MONEY
from engine.ports import AccountState, LiveBroker, LiveFeed
from engine.record import pages
from engine.run import Run
from engine.stopwatch import Stopwatch

EXIT_OK, EXIT_HALTED = 0, 3
SHOW_EVERY_S = 0.5
TICK_EVERY_S = 0.25
CHECKPOINT_EVERY_S = 5.0
RECONCILE_OPEN_S, RECONCILE_IDLE_S, RECONCILE_START_S = 5.0, 30.0, 1.0
RECONCILE_START_ROUNDS = 30
FILLS_OVERLAP_NS = 600 * SECOND_NS
EVENTS_PER_TURN = 1024
KNOWN_EVENTS_MAX = 500_000
"""How many of a journal's last market events a feed is told of: half an hour of a full market's minutes."""


class Daemon:
    """One run in an event loop, until its feed ends or somebody stops it.

    A tape ends; a live feed seldom does. Before anything trades on a live broker, the journal is followed to its end
    and the account is reconciled.
    """

    def __init__(self, run: Run, stopwatch: Stopwatch, clock: Clock, leave: Leave | None = None) -> None:
        self.run, self.stopwatch, self.clock, self.leave = run, stopwatch, clock, leave
        self.core = run.core
        self.inbox = Inbox(conflates=run.is_live)
        self.reconciler = Reconciler(run.core)
        self.stage = run.scoring.stage(self.inbox.publish, clock, run.config.out_dir) if run.is_live else None
        self.log = structlog.get_logger()
        self._tasks: list[asyncio.Task[Any]] = []

    async def main(self, operations: Operations) -> int:
        """Trade until the feed ends or a signal comes; return the exit code.

        Raises:
            TradingError: what ended the run.
        """
        setcontext(MONEY.copy())  # of this task and those it starts
        self._operations = operations
        stop = asyncio.Event()
        signals.on_stop(stop.set, self.clock)
        stopping = asyncio.create_task(stop.wait(), name="stop")
        walking = self._start("corridor", self._walk())
        self._start("status", self._show())
        self._start("operations", self._operations.run())
        self._start("journal", self._tidy())
        self._start("start", self._begin_live() if self.run.is_live else self._begin_tape())
        try:
            while not (stopping.done() or walking.done()):
                done, _ = await asyncio.wait({stopping, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    self._tasks.remove(task)
                    task.result()  # a task that ends by an error ends the run, loudly
        finally:
            for task in (stopping, *self._tasks):
                task.cancel()
            await asyncio.gather(stopping, *self._tasks, return_exceptions=True)
            if self.stage is not None:
                self.stage.shut()
        ended = not stop.is_set()
        self.core.supervisor.finish(ended=ended)
        self.log.info("the feed has ended" if ended else "stopped by signal", events=self.core.events)
        return EXIT_HALTED if self.core.risk.state == "halted" else EXIT_OK

    def _start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.append(task)  # a task that nobody holds may vanish
        return task

    async def _walk(self) -> None:
        process, stage = self._operations.timed(self.core.process), self.stage
        async for events in self.inbox.batches():
            for event in events:
                process(event)
                if stage is not None:
                    stage.take(event)
            self.core.journal.turn()

    async def _tidy(self) -> None:
        """Let a thread wait for the disk, which a commit on the way to an order never does."""
        while True:
            await asyncio.sleep(CHECKPOINT_EVERY_S)
            await asyncio.to_thread(pages.checkpoint, self.run.journal.path)

    async def _show(self) -> None:
        with status.view(self) as show:
            while True:
                show()
                await asyncio.sleep(SHOW_EVERY_S)

    # --- a tape ----------------------------------------------------------------------------------------------------

    async def _begin_tape(self) -> None:
        core = self.core
        self.run.begin()
        try:
            batches = self.run.batches()
            rest = await self._follow(batches)
            await pace(chain([rest], batches), self.inbox.publish, speed=self.run.config.feed.speed, clock=self.clock)
        except FeedOverrun as error:
            core.process(Command("halt", core.now_ns, core.now_ns, str(error)))
            raise
        finally:
            self.inbox.close()

    async def _follow(self, batches: Iterator[Sequence[InboxEvent]]) -> Sequence[InboxEvent]:
        """Do over what the journal holds, at full speed; return the rest of the batch in which it ends."""
        ledger, core = self.run.journal, self.core
        if not ledger.following:
            return ()
        for batch in batches:
            for index, event in enumerate(batch):
                core.process(event)
                if not ledger.following:
                    self.log.info("recovered from the journal", records=ledger.seq, events=core.events)
                    return batch[index + 1 :]
            await asyncio.sleep(0)
        return ()

    # --- a live feed -----------------------------------------------------------------------------------------------

    async def _begin_live(self) -> None:
        core, feed = self.core, cast(LiveFeed, self.run.feed)
        if self.run.journal.following and not core.broker.simulated:
            cast(LiveBroker, core.broker).know(await asyncio.to_thread(_fills, self.run.journal.path))
        opened = await self._open()
        state, assets = opened or (None, None)
        started_anew = not self.run.journal.following
        self.run.begin(state.account_id if state is not None else "", now_ns=self.clock.now_ns())
        if not started_anew:
            await self._follow_inputs()
        elif state is not None:
            now = state.ts_ns
            core.process(
                AccountOpened(
                    state.account_id, now, now, state.cash_usd, state.multiplier, state.positions, state.prices
                )
            )
        if state is not None and assets is not None:
            core.process(assets)
            broker = cast(LiveBroker, core.broker)
            self._start("broker", broker.run(self.inbox.publish))
            broker.resolve(waiting(core))
            for order_id in leaving(core):
                broker.cancel(order_id, core.now_ns)
            await self._reconcile_at_start(broker)
            self._start("reconciliation", self._reconcile(broker))
            statements = Statements(core, broker, self.reconciler, partial(self._reconcile_once, broker))
            self._start("statements", statements.run(self.inbox.publish))
        if self.stage is not None:
            await self.stage.start()
        self._start("feed", self._take_in(feed))
        self._start("ticks", self._tick())

    async def _take_in(self, feed: LiveFeed) -> None:
        await feed.run(self.inbox.publish)
        self.inbox.close()  # what is in it is still taken; then the run has ended

    async def _open(self) -> tuple[AccountState, Assets] | None:
        if self.core.broker.simulated:
            return None
        broker = cast(LiveBroker, self.core.broker)
        state = await broker.open()
        try:
            check_account(state, self.leave)
            symbols = {one.name: one.symbols for one in self.core.strategies.values()}
            return state, await look_up(broker, symbols, state.ts_ns, begins=not self.run.journal.following)
        except TradingError:
            await broker.close()
            raise

    async def _follow_inputs(self) -> None:
        """Do over what the journal holds, from the events that it holds; a heart has to beat meanwhile."""
        ledger, core = self.run.journal, self.core
        latest: deque[MarketEvent] = deque(maxlen=KNOWN_EVENTS_MAX)
        stage = self.stage
        if stage is not None:
            stage.restore()
        for count, event in enumerate(self.run.recorded_inputs(), 1):
            if not count % EVENTS_PER_TURN:
                await asyncio.sleep(0)
            core.process(event)
            if stage is not None:
                stage.follow(event)
            if isinstance(event, MarketEvent):
                latest.append(event)
        if ledger.following:
            raise Divergence(ledger.seq + 1, ledger.rest(), "")
        cast(LiveFeed, self.run.feed).know(latest)
        self.log.info("recovered from the journal", records=ledger.seq, events=core.events)

    async def _reconcile_at_start(self, broker: LiveBroker) -> None:
        for _ in range(RECONCILE_START_ROUNDS):
            if await self._reconcile_once(broker):
                return
            await asyncio.sleep(RECONCILE_START_S)
        raise BrokerError("the account could not be reconciled with the journal; see the log, then docs/recovery.md")

    async def _reconcile(self, broker: LiveBroker) -> None:
        waited_s = 0.0
        while True:
            await asyncio.sleep(RECONCILE_OPEN_S)
            waited_s += RECONCILE_OPEN_S
            if waited_s < RECONCILE_IDLE_S and not self.core.orders.open:
                continue
            waited_s = 0.0
            try:
                await self._reconcile_once(broker)
            except BrokerError as error:
                self.log.warning("the account cannot be read", error=str(error))

    async def _reconcile_once(self, broker: LiveBroker) -> bool:
        """Compare once and act on it; return whether books and account have been found to agree or told apart."""
        state = await broker.state(self._fills_since_ns())
        if terms := self.reconciler.terms(state):
            self.inbox.publish(terms)
        found = self.reconciler.compare(state)
        answers: list[OrderUpdate | Fill] = [*found.adopted, *found.missing]
        for answer in answers:
            self.log.warning("found in the account", order=answer.client_order_id, kind=type(answer).__name__)
            self.inbox.publish(answer)
        if found.lost:
            broker.resolve(found.lost)
        for order_id in found.undead:
            self.log.error("an order that had ended lives at the venue; it is canceled", order=order_id)
            broker.cancel(order_id, self.core.now_ns)
        for words in found.foreign:
            self.log.warning("not ours, and left alone", what=words)
        if found.verdict is not None:
            self.inbox.publish(found.verdict)
        return found.verdict is not None

    def _fills_since_ns(self) -> int:
        oldest = min((order.created_ns for order in self.core.orders.open.values()), default=self.core.now_ns)
        return min(oldest, self.core.now_ns) - FILLS_OVERLAP_NS

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_EVERY_S)
            now = self.clock.now_ns()
            if now >= self.core.due_ns and not len(self.inbox):
                self.inbox.publish(Tick(now, now))


def _fills(path: Path) -> list[Fill]:
    return [record for record in journal.read(path) if isinstance(record, Fill)]


async def serve(run: Run, stopwatch: Stopwatch, clock: Clock, leave: Leave | None = None) -> int:
    """Operate a daemon to its end, and leave a closed journal, whatever ends it."""
    daemon = Daemon(run, stopwatch, clock, leave)
    async with Operations(daemon) as operations:
        try:
            return await daemon.main(operations)
        except JournalWriteError:
            run.journal.abandon()
            raise
        except BaseException:
            run.journal.close()
            raise
