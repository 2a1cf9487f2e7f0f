"""What came from outside a tape, put back in its place among the tape's events."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from engine.events import NEVER_NS, Command, InboxEvent, ModelStatus, Signal

Published = Signal | ModelStatus
recv_ns = attrgetter("ts_recv_ns")


def with_commands(
    batches: Iterator[Sequence[InboxEvent]], commands: Sequence[Command]
) -> Iterator[Sequence[InboxEvent]]:
    """Yield batches with each command after as many events as the corridor had taken before it."""
    waiting, taken = deque(commands), 0
    for batch in batches:
        start = 0
        while waiting and waiting[0].events <= taken + len(batch) - start:
            end = start + waiting[0].events - taken
            if end > start:
                yield batch[start:end]
            yield [waiting.popleft()]
            taken, start = taken + end - start + 1, end
        if start < len(batch):
            yield batch[start:]
            taken += len(batch) - start


def merge(events: Sequence[InboxEvent], pending: list[Published], until_ns: int) -> list[InboxEvent]:
    """Return events with those pending, in order, that are known before an instant; they are taken out of `pending`.

    Of one instant the signals come last.
    """
    ready = bisect_left(pending, until_ns, key=recv_ns)
    merged: list[InboxEvent] = []
    taken = start = 0
    while start < ready:
        known_ns = pending[start].ts_recv_ns
        end = bisect_right(pending, known_ns, start, ready, key=recv_ns)
        place = bisect_right(events, known_ns, taken, key=recv_ns)
        merged += events[taken:place]
        merged += pending[start:end]
        taken, start = place, end
    merged += events[taken:]
    del pending[:ready]
    return merged


def with_recorded(
    batches: Iterable[Sequence[InboxEvent]], recorded: Iterator[Published]
) -> Iterator[Sequence[InboxEvent]]:
    """Yield batches with recorded signals among them, where a lane would have put them."""
    waiting = next(recorded, None)
    for batch in batches:
        pending: list[Published] = []
        while waiting is not None and waiting.ts_recv_ns < batch[-1].ts_recv_ns:
            pending.append(waiting)
            waiting = next(recorded, None)
        yield merge(batch, pending, NEVER_NS)
    if waiting is not None:
        yield [waiting, *recorded]
