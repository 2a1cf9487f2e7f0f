"""What is due later, in simulated or real time alike: a heap of instants with something to call."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from engine.events import NEVER_NS

Due = Callable[[int], None]


class Schedule:
    """Call things at their time, in order of time and, at the same instant, of asking.

    Attributes:
        due_ns: the first instant at which something is overdue. Market events of an instant come before its alarms, so
            that is one nanosecond after the earliest entry.
        wake: told of a `due_ns` that is earlier than before.
    """

    __slots__ = ("_entries", "_seq", "due_ns", "wake")

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Due]] = []
        self._seq = 0
        self.due_ns = NEVER_NS
        self.wake: Due = _sleep_on

    def at(self, ts_ns: int, call: Due) -> None:
        """Call `call(ts_ns)` once time has passed `ts_ns`."""
        self._seq += 1
        heapq.heappush(self._entries, (ts_ns, self._seq, call))
        if ts_ns < self.due_ns - 1:
            self.due_ns = ts_ns + 1
            self.wake(self.due_ns)

    def pop(self) -> tuple[int, Due]:
        """Take the earliest entry off."""
        ts_ns, _, call = heapq.heappop(self._entries)
        self.due_ns = self._entries[0][0] + 1 if self._entries else NEVER_NS
        return ts_ns, call


def _sleep_on(_due_ns: int) -> None:
    pass
