"""The daemon's own loop: the feed at one end of the inbox, the corridor at the other, and a clean way out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from decimal import setcontext
from itertools import chain
from typing import Any

import structlog

from engine import status
from engine.bus import Inbox
from engine.clock import Clock
from engine.daemon import Run
from engine.errors import FeedOverrun, JournalWriteError
from engine.events import Command, MarketEvent
from engine.pace import pace
from engine.portfolio import MONEY
from engine.wiring import Callback

EXIT_OK, EXIT_HALTED = 0, 3
SHOW_EVERY_S = 0.5


class Stopwatch:
    """Counts, by strategy, the callbacks that took longer than `budget_ms`; the first of each kind is told at once."""

    def __init__(self, budget_ms: float, clock: Clock) -> None:
        self.over: dict[str, int] = {}
        self._budget_ns, self._clock = round(budget_ms * 1e6), clock

    def wrap(self, callback: Callback, strategy: str) -> Callback:
        """Return the callback with a watch on it."""
        clock, budget_ns, over = self._clock, self._budget_ns, self.over

        def timed(event: Any) -> None:
            started = clock.monotonic_ns()
            try:
                callback(event)
            finally:
                took_ns = clock.monotonic_ns() - started
                if took_ns > budget_ns:
                    over[strategy] = over.get(strategy, 0) + 1
                    structlog.get_logger().warning(
                        "handler over its budget", strategy=strategy, callback=callback.__name__,
                        took_ms=round(took_ns / 1e6, 1), budget_ms=budget_ns / 1e6, times=over[strategy],
                    )  # fmt: skip

        return timed


class Daemon:
    """One run in an event loop, until its feed ends or somebody stops it."""

    def __init__(self, run: Run, stopwatch: Stopwatch, clock: Clock) -> None:
        self.run, self.stopwatch, self.clock = run, stopwatch, clock
        self.core = run.core
        self.inbox = Inbox(conflates=False)  # its feed is a tape
        self.log = structlog.get_logger()

    async def main(self) -> int:
        """Trade until the feed ends or a signal comes; return the exit code.

        Raises:
            TradingError: what ended the run.
        """
        setcontext(MONEY.copy())  # of this task and those it starts
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        self.run.begin()
        walking = asyncio.create_task(self._walk(), name="corridor")
        feeding = asyncio.create_task(self._feed(), name="feed")
        showing = asyncio.create_task(self._show(), name="status")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            # The corridor ends when the feed does; any task that ends otherwise ends the run, loudly.
            done, _ = await asyncio.wait({walking, showing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if stopping not in done:
                await feeding
        finally:
            for task in (feeding, walking, showing, stopping):
                task.cancel()
            await asyncio.gather(feeding, walking, showing, stopping, return_exceptions=True)
        self.core.supervisor.finish(ended=stopping not in done)
        self.log.info("stopped by signal" if stopping in done else "the feed has ended", events=self.core.events)
        return EXIT_HALTED if self.core.risk.state == "halted" else EXIT_OK

    async def _feed(self) -> None:
        try:
            batches = self.run.feed.batches()
            rest = await self._follow(batches)
            await pace(chain([rest], batches), self.inbox.publish, speed=self.run.config.feed.speed, clock=self.clock)
        except FeedOverrun as error:
            now = self.core.now_ns
            self.core.process(Command("halt", now, now, str(error)))
            raise
        finally:
            self.inbox.close()

    async def _follow(self, batches: Iterator[Sequence[MarketEvent]]) -> Sequence[MarketEvent]:
        """Do over what the journal holds, at full speed; return the rest of the batch in which it ends."""
        journal, core = self.run.journal, self.core
        if not journal.following:
            return ()
        for batch in batches:
            for index, event in enumerate(batch):
                core.process(event)
                if not journal.following:
                    self.log.info("recovered from the journal", records=journal.seq, events=core.events)
                    return batch[index + 1 :]
            await asyncio.sleep(0)
        return ()

    async def _walk(self) -> None:
        async for events in self.inbox.batches():
            for event in events:
                self.core.process(event)

    async def _show(self) -> None:
        with status.view(self) as show:
            while True:
                show()
                await asyncio.sleep(SHOW_EVERY_S)


async def serve(run: Run, stopwatch: Stopwatch, clock: Clock) -> int:
    """Run the daemon and leave a closed journal, whatever ends it."""
    daemon = Daemon(run, stopwatch, clock)
    try:
        return await daemon.main()
    except JournalWriteError:
        run.journal.abandon()
        raise
    except BaseException:
        run.journal.close()
        raise
