"""The event bus: one bounded inbox in front of the corridor.

Publishers at the asyncio edge put events in; the corridor takes all that are there, in order. Overflow has a written
policy: a quote that a newer one of its symbol overtakes is dropped and counted; nothing else ever is, and an inbox that
is full of what may not be dropped halts trading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from engine.errors import FeedOverrun
from engine.events import InboxEvent, Quote

CAPACITY = 100_000
SLICE = 100
"""So many events are taken in a row; then the sockets have their turn, a few milliseconds later at most."""


class Inbox:
    """Events between the feeds and the corridor.

    Attributes:
        conflates: whether that is done. Never to a tape, which the journal does not repeat: all of it must be seen.
        conflated: quotes dropped because a newer one of the same symbol was waiting too.
    """

    def __init__(self, capacity: int = CAPACITY, *, conflates: bool = True) -> None:
        self.capacity, self.conflates = capacity, conflates
        self.conflated = 0
        self._waiting: list[InboxEvent | None] = []
        self._taken = 0  # out of what waited, and not handed on yet
        self._quotes: dict[str, int] = {}
        self._ready = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting) + self._taken

    def publish(self, event: InboxEvent) -> None:
        """Put an event in; never waits.

        Raises:
            FeedOverrun: the inbox is full of events that may not be dropped.
        """
        if self.conflates and isinstance(event, Quote):
            older = self._quotes.pop(event.symbol, None)
            if older is not None:
                self._waiting[older] = None
                self.conflated += 1
        if len(self) >= self.capacity:
            self._squeeze()
            if len(self) >= self.capacity:
                raise FeedOverrun(f"the inbox holds {self.capacity} events that may not be dropped")
        if isinstance(event, Quote):
            self._quotes[event.symbol] = len(self._waiting)
        self._waiting.append(event)
        self._ready.set()

    def close(self) -> None:
        """Let the reader finish once it has taken what is there."""
        self._closed = True
        self._ready.set()

    async def batches(self) -> AsyncIterator[list[InboxEvent]]:
        """Yield what is waiting, until closed; between slices of it the event loop goes round."""
        while True:
            await self._ready.wait()
            taken, self._waiting, self._quotes = self._waiting, [], {}
            if not self._closed:
                self._ready.clear()
            events = [event for event in taken if event is not None]
            for first in range(0, len(events), SLICE):
                if first:
                    await asyncio.sleep(0)
                self._taken = max(0, len(events) - first - SLICE)
                yield events[first : first + SLICE]
            if self._closed and not taken:
                return

    def _squeeze(self) -> None:
        self._waiting = [event for event in self._waiting if event is not None]
        self._quotes = {event.symbol: at for at, event in enumerate(self._waiting) if isinstance(event, Quote)}
