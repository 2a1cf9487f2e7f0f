"""Trading hours as an order sees them: which events may fill it, and when its day is over."""

from __future__ import annotations

from engine.clock import Session, Sessions
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, Bar, TimeInForce

OPENING_AUCTION_CUTOFF_NS = 2 * MINUTE_NS
CLOSING_AUCTION_CUTOFF_NS = 10 * MINUTE_NS
_LONGEST_DAY_NS = DAY_NS + HOUR_NS  # a day on which the clocks go back


class Hours:
    """The calendar in the venue's terms. All instants are ns since the epoch, UTC."""

    __slots__ = ("_close_ns", "_closing_cutoff_ns", "_open_ns", "_sessions", "always_open")

    def __init__(self, sessions: Sessions, closing_cutoff_ns: int = CLOSING_AUCTION_CUTOFF_NS) -> None:
        self._sessions, self._closing_cutoff_ns = sessions, closing_cutoff_ns
        self.always_open = sessions.always_open
        self._open_ns = self._close_ns = 0  # regular hours of the session last looked at, where most questions fall

    def _session(self, ts_ns: int) -> Session:
        session = self._sessions.at(ts_ns)
        self._open_ns, self._close_ns = session.open_ns, session.close_ns
        return session

    def day_end(self, ts_ns: int, *, extended: bool) -> int:
        """Return when a day order that arrives at `ts_ns` is over: at this session's close, or after it the next's."""
        if self._open_ns <= ts_ns < self._close_ns and not extended:
            return self._close_ns
        session = self._session(ts_ns)
        end = session.extended_close_ns if extended else session.close_ns
        if ts_ns >= end:
            session = self._session(session.extended_close_ns)
            end = session.extended_close_ns if extended else session.close_ns
        return end

    def at_tick(self, ts_ns: int) -> tuple[bool, bool]:
        """Tell whether `ts_ns` lies in regular hours, and whether in these or the extended ones."""
        if self._open_ns <= ts_ns < self._close_ns:
            return True, True
        session = self._session(ts_ns)
        regular = session.open_ns <= ts_ns < session.close_ns
        return regular, session.extended_open_ns <= ts_ns < session.extended_close_ns

    def of_bar(self, bar: Bar) -> tuple[bool, bool, int]:
        """Tell whether the bar's prices are of regular hours, whether of any hours, and the instant of its open.

        A bar that spans a whole session opens with the opening auction, whatever its own start says. One that straddles
        the session's open or close without spanning it mixes prices, so it counts as extended hours only.
        """
        last = bar.ts_event_ns
        first = last - bar.interval_ns
        if (self._open_ns <= first and last <= self._close_ns) or self.always_open:
            return True, True, first
        if last - first > _LONGEST_DAY_NS:  # weeks and months: only what arrived before all of it may use its open
            return True, True, first
        for ts_ns in (last - 1, first):  # a daily bar may end at midnight, when the next session is the one to come
            session = self._session(ts_ns)
            if session.open_ns <= first and last <= session.close_ns:
                return True, True, first
            if first <= session.open_ns and last >= session.close_ns:
                return True, True, session.open_ns
            if session.extended_open_ns <= first and last <= session.extended_close_ns:
                return False, True, first
        return False, False, first

    def auction_refusal(self, time_in_force: TimeInForce, ts_ns: int) -> str:
        """Say why an auction order is too late, or return an empty string.

        Alpaca also refuses both from the close to 19:00; here they wait for the next session, because a daily tape has
        no later moment to send them.
        """
        if self.always_open:
            return f"{time_in_force} orders need an auction, and this calendar has none"
        session = self._session(ts_ns)
        if time_in_force == "opg" and session.open_ns - OPENING_AUCTION_CUTOFF_NS <= ts_ns < session.close_ns:
            return "opg orders must arrive 2 minutes before the open"
        if time_in_force == "cls" and session.close_ns - self._closing_cutoff_ns < ts_ns < session.close_ns:
            return f"cls orders must arrive {self._closing_cutoff_ns / MINUTE_NS:g} minutes before the close"
        return ""
