"""The venue's time: the tape's instants, and how they look outside.

Everything inside is in the tape's own time. With `time = "now"` a constant shift of whole minutes is added to each
instant that leaves and taken off each one that comes in, the calendar's included, so that the clock, the sessions and
the data always agree. Whole minutes, so that minute bars stay minute bars.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from brokers.alpaca_server.wire import instant_ns, rfc3339
from engine.clock import Clock, Session, Sessions, to_datetime
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR_DAYS_MAX = 20_000


class VenueClock:
    """Simulated time that runs `speed` times as fast as the wall clock, and stands between events when that is 0.

    Args:
        clock: the wall clock.
        first_ns: the tape's first instant.
        speed: simulated seconds a second.
        shifted: whether the tape begins in the present minute of the wall clock.

    Attributes:
        shift_ns: what to add to an instant of the tape to get what the client sees.
    """

    def __init__(self, clock: Clock, first_ns: int, *, speed: float, shifted: bool) -> None:
        self.wall, self.speed = clock, speed
        started_ns = clock.now_ns()
        self.shift_ns = -(-(started_ns - first_ns) // MINUTE_NS) * MINUTE_NS if shifted else 0
        # Shifted, the wait for the first whole minute is part of the simulated time; a stepped tape has no such wait.
        self._tape_ns = started_ns - self.shift_ns if shifted and speed else first_ns
        self._wall_ns = clock.monotonic_ns()
        self._rate = 0.0

    def run(self, rate: float | None = None) -> None:
        """Let time pass from now on, at another rate for a while if one is given."""
        self._tape_ns, self._wall_ns = self.now_ns(), self.wall.monotonic_ns()
        self._rate = self.speed if rate is None else rate

    def now_ns(self) -> int:
        """Return the simulated instant in the tape's time."""
        if not self._rate:
            return self._tape_ns
        return self._tape_ns + int((self.wall.monotonic_ns() - self._wall_ns) * self._rate)

    def reach(self, ts_ns: int) -> None:
        """Move on to an event's instant; time never runs backwards."""
        if ts_ns > self.now_ns():
            self._tape_ns, self._wall_ns = ts_ns, self.wall.monotonic_ns()

    def wait_s(self, ts_ns: int) -> float:
        """Return how long it takes until an instant of the tape, in real seconds; 0 without a pace."""
        return max(0.0, (ts_ns - self.now_ns()) / self._rate / SECOND_NS) if self._rate else 0.0

    # --- in and out ------------------------------------------------------------------------------------------------

    def text(self, ts_ns: int | None) -> str | None:
        """Write an instant of the tape as the client sees it, in UTC."""
        return None if ts_ns is None else rfc3339(ts_ns + self.shift_ns)

    def read(self, text: str) -> int:
        """Read a client's instant into the tape's time.

        Raises:
            ValueError: it is no instant.
        """
        return instant_ns(text) - self.shift_ns

    def local(self, ts_ns: int) -> datetime:
        """Return an instant of the tape as the client's New York time."""
        return to_datetime(ts_ns + self.shift_ns).astimezone(NEW_YORK)

    def date(self, ts_ns: int) -> str:
        """Return the client's New York date of an instant of the tape."""
        return self.local(ts_ns).date().isoformat()


def market_clock(clock: VenueClock, sessions: Sessions) -> dict[str, object]:
    """Answer `GET /v2/clock`."""
    now = clock.now_ns()
    session = sessions.at(now)
    if now >= session.close_ns:
        session = sessions.at(session.extended_close_ns)
    is_open = session.open_ns <= now < session.close_ns
    following = sessions.at(session.extended_close_ns)
    return {
        "timestamp": clock.local(now).isoformat(),
        "is_open": is_open,
        "next_open": clock.local(following.open_ns if is_open else session.open_ns).isoformat(),
        "next_close": clock.local(session.close_ns).isoformat(),
    }


def market_calendar(clock: VenueClock, sessions: Sessions, start: str, end: str) -> list[dict[str, str]]:
    """Answer `GET /v2/calendar` for the sessions whose date lies in `[start, end]`."""
    found: list[dict[str, str]] = []
    # A day's margin on both sides: with a shift, the date that the client sees is not the session's own.
    ts_ns, last_ns = clock.read(start) - DAY_NS, clock.read(end) + 2 * DAY_NS
    while ts_ns < last_ns and len(found) < CALENDAR_DAYS_MAX:
        session = sessions.at(ts_ns)
        following = sessions.at(session.extended_close_ns)
        if start <= (row := _calendar_row(clock, session, following))["date"] <= end:
            found.append(row)
        ts_ns = session.extended_close_ns
    return found


def _calendar_row(clock: VenueClock, session: Session, following: Session) -> dict[str, str]:
    return {
        "date": clock.date(session.open_ns),
        "open": f"{clock.local(session.open_ns):%H:%M}",
        "close": f"{clock.local(session.close_ns):%H:%M}",
        "session_open": f"{clock.local(session.extended_open_ns):%H%M}",
        "session_close": f"{clock.local(session.extended_close_ns):%H%M}",
        "settlement_date": clock.date(following.open_ns),
    }


def auction_refusal(clock: VenueClock, sessions: Sessions, time_in_force: str, cls_cutoff_min: int) -> str:
    """Say in the service's words why an auction order comes at the wrong hour, or return an empty string.

    The matching engine itself only closes the minutes before the auction, because a daily tape has no later moment.
    """
    now = clock.now_ns()
    local = to_datetime(now).astimezone(NEW_YORK)
    evening = local.hour >= 19
    session = sessions.at(now)
    if sessions.always_open or evening:
        return ""
    if time_in_force == "opg" and session.open_ns - 2 * MINUTE_NS <= now < session.close_ns + 3 * HOUR_NS:
        return "opg orders must be submitted after 7:00pm and before 9:28am"
    if time_in_force == "cls" and session.close_ns - cls_cutoff_min * MINUTE_NS < now < session.close_ns + 3 * HOUR_NS:
        return "cls orders must be submitted after 7:00pm and before 3:55pm"
    return ""
