"""A session's bar out of the day so far, which the stream tells again and again: at the close the last word counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from brokers.alpaca.wire import DailyBarMessage
from engine.clock import Sessions
from engine.events import DAY_NS, HOUR_NS, SECOND_NS, Bar

NOON_NS = 12 * HOUR_NS
LATE_NS = 30 * SECOND_NS
"""So long after the close the last minute of the day, and the word that counts it in, may still be on its way."""


class SessionBars:
    """Keeps what was last told of each symbol's day, and makes a bar of it once.

    Args:
        past: how many sessions to begin with.
        done: the close of each symbol's last bar that an earlier life of the run was given.
        look_every_s: how often somebody should ask for what has closed, in the machine's seconds.
    """

    def __init__(
        self, sessions: Sessions, *, past: int = 0, done: Mapping[str, int] | None = None, look_every_s: float = 1.0
    ) -> None:
        self.past, self.look_every_s = past, look_every_s
        self._sessions = sessions
        self._told: dict[tuple[int, int, str], DailyBarMessage] = {}
        self._done = dict(done or {})

    def take(self, m: DailyBarMessage, day_ns: int) -> None:
        """Remember what is told of the day that began at midnight."""
        session = self._sessions.at(day_ns + NOON_NS)
        if session.close_ns > self._done.get(m.S, 0) and m.l <= m.h:
            self._told[session.close_ns, session.open_ns, m.S] = m

    def closed(self, now_ns: int, source: str) -> Iterator[Bar]:
        """Yield the bars of days that are over, stamped at their close."""
        for key in sorted(key for key in self._told if key[0] + LATE_NS <= now_ns):
            close_ns, open_ns, symbol = key
            m, length_ns = self._told.pop(key), close_ns - open_ns
            bar = Bar(symbol, close_ns, now_ns, m.o, m.h, m.l, m.c, m.v, length_ns, m.vw, m.n or 0, False, source)
            if self.is_new(bar):
                yield bar

    def missing_since_ns(self, now_ns: int) -> int:
        """Return the instant from which on days that opened may be missing, 0 where no past is wanted."""
        if self._done:
            return max(self._done.values()) - DAY_NS  # that day once more: some symbols may lack it
        return self._sessions.back(now_ns, self.past).extended_open_ns - DAY_NS if self.past else 0

    def is_new(self, bar: Bar) -> bool:
        """Take note of a day's bar, in the order of days; tell whether its symbol had no later one and not this."""
        is_new = bar.ts_event_ns > self._done.get(bar.symbol, 0)
        if is_new:
            self._done[bar.symbol] = bar.ts_event_ns
        return is_new
