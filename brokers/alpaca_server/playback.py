"""The tape, played: each event when its time has come, those of one instant together, at any speed or step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC

from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.venue import Venue
from engine.events import HOUR_NS, SECOND_NS, MarketEvent
from engine.ports import Feed

GAP_NS, GAP_S = HOUR_NS, 1.0
NAP_S = 0.25


class Playback:
    """Moves a venue along its tape.

    Attributes:
        started: set when the tape may move.
        ended: set when it has ended.
        events: how many have been played.
    """

    def __init__(self, venue: Venue, feed: Feed) -> None:
        self._venue, self._settings, self._clock = venue, venue.settings, venue.clock
        self.started, self.ended = asyncio.Event(), asyncio.Event()
        self.events = 0
        self._tape = self._events(feed)
        self._next: MarketEvent | None = None
        self._rate = 0.0

    def _events(self, feed: Feed) -> Iterator[MarketEvent]:
        """Yield what is to be played; what lies before `history_until` is remembered on the way."""
        until_ns = history_end_ns(self._settings)
        for batch in feed.batches():
            for event in batch:
                if event.ts_recv_ns < until_ns:
                    self._venue.remember(event)
                else:
                    yield event

    async def run(self) -> None:
        """Play the tape to its end, and let time go on after it."""
        if self._settings.start == "subscribed":
            await self._venue.streams.subscribed.wait()
            self.started.set()
        elif self._settings.start == "at_once":
            self.started.set()
        await self.started.wait()
        self._clock.run()
        while (event := self._peek()) is not None:
            if self._settings.speed:
                await self._wait_for(event.ts_recv_ns)
            self._play(self._due())
            if not self._settings.speed:
                await self._venue.streams.readers()
            await asyncio.sleep(0)
        self.ended.set()
        while True:
            await asyncio.sleep(NAP_S)
            self._venue.pass_time(self._clock.now_ns())

    def step(self, count: int) -> int:
        """Play the next `count` events at once, whatever the time; return how many there were."""
        events: list[MarketEvent] = []
        while len(events) < count and (event := self._peek()) is not None:
            events.append(event)
            self._next = None
        self._play(events)
        if self._peek() is None:
            self.ended.set()
        return len(events)

    def _peek(self) -> MarketEvent | None:
        if self._next is None:
            self._next = next(self._tape, None)
        return self._next

    def _due(self) -> Sequence[MarketEvent]:
        """Return what is to be played in this step: all that is due, or without a pace the events of one instant."""
        events: list[MarketEvent] = []
        until_ns, most = -1, self._settings.frame_messages_max
        while (event := self._peek()) is not None and len(events) < most:
            if not events:
                until_ns = max(event.ts_recv_ns, self._clock.now_ns() if self._settings.speed else 0)
            if event.ts_recv_ns > until_ns:
                break
            events.append(event)
            self._next = None
        return events

    def _play(self, events: Sequence[MarketEvent]) -> None:
        for event in events:
            self._venue.take(event)
        self.events += len(events)
        self._venue.streams.flush()
        self._venue.tell_now()

    async def _wait_for(self, ts_ns: int) -> None:
        """Wait for an instant of the tape; a gap of more than an hour, a night or a weekend, passes in a second."""
        gap_ns = ts_ns - self._clock.now_ns()
        hurry = gap_ns > GAP_NS and gap_ns / self._settings.speed > GAP_S * SECOND_NS
        if hurry:
            self._clock.run(gap_ns / SECOND_NS / GAP_S)
        while (wait_s := self._clock.wait_s(ts_ns)) > 0:
            await asyncio.sleep(min(wait_s, NAP_S))
            self._venue.pass_time(min(ts_ns, self._clock.now_ns()))
        if hurry:
            self._clock.run()


def history_end_ns(settings: ServerSettings) -> int:
    """Return the tape's instant before which its events are history, -1 for none."""
    until = settings.history_until
    if until is None:
        return -1
    return round((until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000
