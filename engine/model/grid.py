"""Where bars belong in time: the instants at which bars of one interval close, session after session."""

from __future__ import annotations

from typing import Literal

from engine.bars import SESSION_NS
from engine.clock import SHORTEST_SESSION_NS, Session, Sessions
from engine.events import Bar

OUTSIDE = -1.0


class Grid:
    """The closing instants of bars of `interval_ns`, counted from the open of each session.

    A gap of more than `longest` bars is not spelled out.
    """

    def __init__(
        self, sessions: Sessions, interval_ns: int, hours: Literal["regular", "extended"], longest: int
    ) -> None:
        self._sessions, self._interval_ns, self._longest = sessions, interval_ns, longest
        self._extended = hours == "extended"
        self._by_session = interval_ns == SESSION_NS and not sessions.always_open
        self._open_ns = self._close_ns = self._asked_ns = 0
        self._elapsed = OUTSIDE
        self._gap: tuple[int, int] = (0, 0)
        self._holes: list[tuple[int, float]] | None = []

    def is_as_long(self, bar: Bar) -> bool:
        """Tell whether a bar is of this interval; session bars differ in length from day to day."""
        span_ns = bar.interval_ns
        return span_ns == self._interval_ns or (self._by_session and span_ns >= SHORTEST_SESSION_NS)

    def counts(self, bar: Bar) -> bool:
        """Tell whether a bar is a new one, within the hours, that says what a share costs."""
        return not bar.revised and bar.close > 0.0 and self.elapsed(bar.ts_event_ns) >= 0.0

    def elapsed(self, ts_ns: int) -> float:
        """Return the share of its session that has passed when a bar closes, or a negative number outside of one."""
        if ts_ns != self._asked_ns:
            if not self._open_ns < ts_ns <= self._close_ns:
                self._open_ns, self._close_ns = self._bounds(self._sessions.at(ts_ns - 1))
            inside = self._open_ns < ts_ns <= self._close_ns
            share = (ts_ns - self._open_ns) / (self._close_ns - self._open_ns)
            self._asked_ns, self._elapsed = ts_ns, share if inside else OUTSIDE
        return self._elapsed

    def between(self, last_ns: int, ts_ns: int) -> list[tuple[int, float]] | None:
        """Return when the bars between two bars would have closed, each with its elapsed share; None: too many."""
        if (last_ns, ts_ns) != self._gap:  # most symbols that miss a bar miss the same one
            self._gap, self._holes = (last_ns, ts_ns), self._walk(last_ns, ts_ns)
        return self._holes

    def _walk(self, last_ns: int, ts_ns: int) -> list[tuple[int, float]] | None:
        found: list[tuple[int, float]] = []
        session, slot_ns = self._sessions.at(last_ns - 1), last_ns
        while len(found) <= self._longest:
            opened_ns, closed_ns = self._bounds(session)
            slot_ns = closed_ns if self._by_session and slot_ns < closed_ns else slot_ns + self._interval_ns
            if slot_ns > closed_ns:
                session = self._sessions.at(session.extended_close_ns)
                slot_ns = self._bounds(session)[0]
                continue
            if slot_ns > ts_ns - self._interval_ns // 2:  # stamps may lie a little beside the grid
                return found
            found.append((slot_ns, (slot_ns - opened_ns) / (closed_ns - opened_ns)))
        return None

    def _bounds(self, session: Session) -> tuple[int, int]:
        if self._extended:
            return session.extended_open_ns, session.extended_close_ns
        return session.open_ns, session.close_ns
