"""Time taken by what authors write."""

from __future__ import annotations

from typing import Any

import structlog

from engine.clock import Clock
from engine.market import Callback


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
