"""A daemon whose events, time and inbox a test moves by hand; all that operates it is the real thing."""

from __future__ import annotations

import asyncio
from decimal import localcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engine.bus import Inbox
from engine.clock import ManualClock
from engine.config import from_dict
from engine.events import Bar, InboxEvent
from engine.journal import Journal
from engine.operating.observers import Observers
from engine.portfolio import MONEY
from engine.run import Run
from engine.strategy import Strategy
from tests.runs import OPEN_NS, HeldFeed, bar, configuration, strategy


class Buyer(Strategy):
    """Buys ten on the first bar, rests a low bid on the third, asks too much on the fourth, raises on the fifteenth."""

    def on_start(self) -> None:
        self.bars = 0

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        if self.bars == 1:
            self.buy(bar.symbol, 10)
        elif self.bars == 3:
            self.buy(bar.symbol, 1, limit_price=99)
        elif self.bars == 4:
            self.buy(bar.symbol, 10**9)
        elif self.bars == 15:
            raise RuntimeError("sk-canary-strategy")


class Operated:
    """Stands for `engine.live.Daemon`: the attributes that operating one needs."""

    def __init__(self, folder: Path, **over: Any) -> None:
        self.events = [bar("AAA", minute, 100.0) for minute in range(20)]
        feed = HeldFeed.hold(self.events)
        self.config = from_dict(configuration(feed, folder, strategies=[strategy(Buyer, symbols=["AAA"])], **over))
        self.journal = Journal(folder / "run.journal")
        self.observers = Observers(self.journal)
        self.run: Any = Run(self.config, self.journal)
        self.core = self.run.core
        self.inbox, self.clock = Inbox(conflates=False), ManualClock(OPEN_NS)
        self.stopwatch = SimpleNamespace(over={})
        self.reconciler = SimpleNamespace(rounds=0, mismatches=0)
        self.leave: Any = None
        self.stage: Any = None

    async def begin(self, bars: int = 0) -> Any:
        """Start the run, let the corridor take the first bars, and return all this as the daemon it stands for."""
        self.run.begin()
        await self.play(bars)
        return self

    async def play(self, bars: int) -> None:
        """Let the corridor take the next bars of the tape, and its observers see them."""
        taken, self.events = self.events[:bars], self.events[bars:]
        for event in taken:
            self.clock.ts_ns = event.ts_recv_ns
            self.take(event)
        await asyncio.sleep(0)

    async def walk(self) -> None:
        """Be the corridor: take what comes through the inbox."""
        async for waiting in self.inbox.batches():
            for event in waiting:
                self.take(event)

    def take(self, event: InboxEvent) -> None:
        with localcontext(MONEY):
            self.core.process(event)
