"""Our own rate limit, so that Alpaca's is never met; the last of it is kept for cancels.

A token bucket that holds a quarter of a minute's requests and refills with the other three. New orders and reads leave
cancels their share of it; when there is much to cancel at once, cancels may draw on all that the minute has left. In no
minute do more than the limit leave.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

from engine.clock import Clock
from engine.events import MINUTE_NS, SECOND_NS

Purpose = Literal["cancel", "order", "read"]
Sleep = Callable[[float], Awaitable[None]]

RESERVED: dict[Purpose, float] = {"cancel": 0.0, "order": 0.2, "read": 0.5}
"""The share of the bucket that a purpose leaves to those before it."""


class Limiter:
    """Leave to send a request, one token each.

    Attributes:
        waited: requests that had to wait.
    """

    def __init__(self, requests_per_min: float, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._limit, self._capacity = max(1.0, requests_per_min), max(1.0, requests_per_min / 4)
        self._left: deque[int] = deque()  # when the requests of the last minute did
        self._allowed = self._limit  # what the venue says is left, for cancels
        self._per_ns = requests_per_min * 0.75 / (60 * SECOND_NS)
        self._tokens, self._filled_ns = self._capacity, clock.monotonic_ns()
        self._paused_until_ns = 0
        self._clock, self._sleep = clock, sleep
        self.waited = 0

    async def acquire(self, purpose: Purpose) -> None:
        """Wait until a request of this purpose may leave."""
        wait_s = self._take(purpose)
        if wait_s:
            self.waited += 1
        while wait_s:
            await self._sleep(wait_s)
            wait_s = self._take(purpose)

    def heed(self, remaining: int | None, pause_s: float = 0.0) -> None:
        """Take in what an answer says: how many requests are left, and after a 429 how long to be still."""
        now_ns = self._clock.monotonic_ns()
        if remaining is not None:
            self._tokens = min(self._tokens, float(remaining))
            self._allowed = min(self._allowed, float(remaining))
        if pause_s > 0:
            self._paused_until_ns = max(self._paused_until_ns, now_ns + round(pause_s * SECOND_NS))

    def _take(self, purpose: Purpose) -> float:
        """Take a token and return 0, or return the seconds until there may be one."""
        now_ns, left = self._clock.monotonic_ns(), self._left
        fresh = (now_ns - self._filled_ns) * self._per_ns
        self._tokens = min(self._capacity, self._tokens + fresh)
        self._allowed = min(self._limit, self._allowed + fresh)
        self._filled_ns = now_ns
        while left and left[0] <= now_ns - MINUTE_NS:
            left.popleft()
        if now_ns < self._paused_until_ns:
            return (self._paused_until_ns - now_ns) / SECOND_NS
        if len(left) >= self._limit:
            return (left[0] + MINUTE_NS - now_ns) / SECOND_NS
        wanted = 1.0 + RESERVED[purpose] * (self._capacity - 1.0)
        missing = wanted - (self._allowed if purpose == "cancel" else self._tokens)
        if missing <= 0:
            self._tokens, self._allowed = self._tokens - 1.0, self._allowed - 1.0
            left.append(now_ns)
            return 0.0
        return max(0.001, missing / self._per_ns / SECOND_NS)
