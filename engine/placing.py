"""What came from outside a tape, put back in its place among the tape's events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from engine.events import Command, InboxEvent


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
