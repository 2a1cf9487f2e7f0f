"""The line between us and the simulated venue: messages arrive late, and in the order in which they were sent."""

from __future__ import annotations

from collections import deque
from random import Random

from engine.events import NEVER_NS, Approved


class Wire:
    """Orders and cancels on their way, with a constant latency and, if wanted, a lognormal one on top.

    Args:
        latency_ns: what every message takes.
        jitter_ns: the median of the random part; 0 draws none. `sigma`: its logarithm's standard deviation.
        seed: of the draws, one a message.

    Attributes:
        due_ns: when the next message arrives.
    """

    __slots__ = ("_jitter_ns", "_last_ns", "_latency_ns", "_messages", "_random", "_sigma", "due_ns")

    def __init__(self, latency_ns: int, jitter_ns: float, sigma: float, seed: int) -> None:
        self._latency_ns, self._jitter_ns, self._sigma = latency_ns, jitter_ns, sigma
        self._random = Random(seed)
        self._messages: deque[tuple[int, Approved | str]] = deque()
        self._last_ns = 0
        self.due_ns = NEVER_NS

    def send(self, ts_ns: int, message: Approved | str) -> int:
        """Put an order, or the id of one to cancel, on its way at `ts_ns`; return when it arrives."""
        arrival_ns = ts_ns + self._latency_ns
        if self._jitter_ns:
            arrival_ns += round(self._jitter_ns * self._random.lognormvariate(0.0, self._sigma))
        if arrival_ns < self._last_ns:  # one connection: nothing overtakes
            arrival_ns = self._last_ns
        self._last_ns = arrival_ns
        if not self._messages:
            self.due_ns = arrival_ns
        self._messages.append((arrival_ns, message))
        return arrival_ns

    def take(self) -> tuple[int, Approved | str]:
        """Return the next message and its time of arrival."""
        message = self._messages.popleft()
        self.due_ns = self._messages[0][0] if self._messages else NEVER_NS
        return message

    def drop(self, symbol: str) -> list[Approved]:
        """Take a symbol's orders off the line and return them."""
        dropped, kept = [], deque[tuple[int, Approved | str]]()
        for arrival_ns, message in self._messages:
            if isinstance(message, Approved) and message.intent.symbol == symbol:
                dropped.append(message)
            else:
                kept.append((arrival_ns, message))
        self._messages = kept
        self.due_ns = kept[0][0] if kept else NEVER_NS
        return dropped
