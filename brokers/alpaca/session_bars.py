"""A session's bar out of the day so far, which the stream tells again and again: at the close the last word counts."""

from __future__ import annotations

from collections.abc import Iterator

from brokers.alpaca.wire import DailyBarMessage
from engine.clock import Sessions
from engine.events import HOUR_NS, SECOND_NS, Bar

NOON_NS = 12 * HOUR_NS
LATE_NS = 30 * SECOND_NS
"""So long after the close the last minute of the day, and the word that counts it in, may still be on its way."""


class SessionBars:
    """Keeps what was last told of each symbol's day, and makes a bar of it once.

    Args:
        look_every_s: how often somebody should ask for what has closed, in the machine's seconds.
    """

    def __init__(self, sessions: Sessions, *, look_every_s: float = 1.0) -> None:
        self.look_every_s = look_every_s
        self._sessions = sessions
        self._told: dict[tuple[int, int, str], DailyBarMessage] = {}
        self._done: dict[str, int] = {}

    def take(self, m: DailyBarMessage, day_ns: int) -> None:
        """Remember what is told of the day that began at midnight."""
        session = self._sessions.at(day_ns + NOON_NS)
        if session.close_ns > self._done.get(m.S, 0) and m.l <= m.h:
            self._told[session.close_ns, session.open_ns, m.S] = m

    def closed(self, now_ns: int, source: str) -> Iterator[Bar]:
        """Yield the bars of days that are over, stamped at their close."""
        for key in sorted(key for key in self._told if key[0] + LATE_NS <= now_ns):
            close_ns, open_ns, symbol = key
            m, self._done[symbol] = self._told.pop(key), close_ns
            length_ns = close_ns - open_ns
            yield Bar(symbol, close_ns, now_ns, m.o, m.h, m.l, m.c, m.v, length_ns, m.vw, m.n or 0, False, source)
