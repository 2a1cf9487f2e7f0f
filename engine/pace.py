"""A recorded tape at a chosen speed, as if it were arriving now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from engine.clock import Clock
from engine.events import HOUR_NS, SECOND_NS, InboxEvent

GAP_NS = HOUR_NS
GAP_WAIT_S = 1.0
EVENTS_AT_ONCE = 1000


async def pace(
    batches: Iterable[Sequence[InboxEvent]], publish: Callable[[InboxEvent], None], *, speed: float, clock: Clock
) -> None:
    """Publish each event when its time has come, `speed` simulated seconds a second; 0 means at once.

    A gap of more than an hour, a night or a weekend, is passed in one second.
    """
    started_ns = tape_ns = last_ns = 0
    for batch in batches:
        for index, event in enumerate(batch):
            if index % EVENTS_AT_ONCE == 0:
                await asyncio.sleep(0)  # let the corridor keep up with what is overdue
            now = event.ts_recv_ns
            if not last_ns:
                started_ns, tape_ns = clock.monotonic_ns(), now
            elif speed and now - last_ns > GAP_NS:
                await asyncio.sleep(min(GAP_WAIT_S, (now - last_ns) / speed / SECOND_NS))
                started_ns, tape_ns = clock.monotonic_ns(), now
            elif speed and now > last_ns:
                wait_ns = (now - tape_ns) / speed - (clock.monotonic_ns() - started_ns)
                if wait_ns > 0:
                    await asyncio.sleep(wait_ns / SECOND_NS)
            last_ns = now
            publish(event)
