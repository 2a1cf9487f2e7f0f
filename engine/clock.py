"""Time: the one place that reads the wall clock, and the calendar of trading sessions.

The corridor never asks what time it is; it is told, by the `ts_recv_ns` of the event in hand. Only the asyncio edge
and the daemon use `LiveClock`. Instants are int64 nanoseconds UTC; time zones exist in the calendar and on the screen.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left, bisect_right
from contextlib import suppress
from datetime import UTC, date, datetime
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import msgspec

from engine.errors import ConfigError, suggestion
from engine.events import DAY_NS, HOUR_NS, SECOND_NS

CALENDAR_FIRST, CALENDAR_LAST = "1990-01-01", "2032-12-31"
SHORTEST_SESSION_NS = 3 * HOUR_NS
"""A bar this long is a day's wherever venues close: New York's early closes leave three hours and a half."""


class Clock(Protocol):
    """Wall and monotonic time, injected so that tests never sleep."""

    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...


class LiveClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves when told to."""

    def __init__(self, now_ns: int = 0) -> None:
        self.ts_ns = now_ns

    def now_ns(self) -> int:
        return self.ts_ns

    def monotonic_ns(self) -> int:
        return self.ts_ns

    def advance(self, seconds: float) -> None:
        self.ts_ns += round(seconds * SECOND_NS)


def to_datetime(ts_ns: int) -> datetime:
    """Return the instant as an aware UTC datetime (microseconds; the rest is cut)."""
    seconds, rest = divmod(ts_ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


class Session(msgspec.Struct, frozen=True, gc=False):
    """One trading day. The extended hours enclose the regular ones; where a venue has none they are equal."""

    date: str
    open_ns: int
    close_ns: int
    extended_open_ns: int
    extended_close_ns: int


class Sessions:
    """The trading days of one calendar: `24/7` (UTC days) or a name that `exchange_calendars` knows, such as XNYS.

    Pre-market runs from 04:00 New York and post-market to 20:00 (17:00 after an early close) on the US equity
    calendars, as Alpaca states for its extended hours.

    Attributes:
        zone: the exchange's time zone, such as `America/New_York`.
        per_year: sessions in a usual year, the calendar's own average: 252 for XNYS, 365 around the clock.

    Raises:
        ConfigError: the calendar is unknown, or an instant lies outside 1990 to 2032.
    """

    def __init__(self, calendar: str = "XNYS") -> None:
        self.calendar = calendar
        self.always_open = calendar == "24/7"
        self._current = Session("", 0, 0, 0, 0)
        self._sessions: list[Session] = []
        self._ends: list[int] = []
        self.zone, self.per_year = "UTC", 365
        if not self.always_open:
            table = _load(calendar)
            self._sessions, self.zone = table.sessions, table.zone
            span_days = (self._sessions[-1].close_ns - self._sessions[0].open_ns) / DAY_NS
            self.per_year = round(len(self._sessions) / span_days * 365.25)
            self._ends = [session.extended_close_ns for session in self._sessions]

    def at(self, ts_ns: int) -> Session:
        """Return the session in progress at `ts_ns`, extended hours included, or else the next to open."""
        current = self._current
        if current.extended_open_ns <= ts_ns < current.extended_close_ns:
            return current
        if self.always_open:
            start = ts_ns - ts_ns % DAY_NS
            found = Session(to_datetime(start).date().isoformat(), start, start + DAY_NS, start, start + DAY_NS)
        else:
            index = bisect_right(self._ends, ts_ns)
            if index >= len(self._ends) or ts_ns < self._sessions[0].extended_open_ns - 10 * DAY_NS:
                raise ConfigError(
                    f"{to_datetime(ts_ns):%Y-%m-%d} is outside the calendar {self.calendar} (1990 to 2032)"
                )
            found = self._sessions[index]
        self._current = found
        return found

    def back(self, ts_ns: int, count: int) -> Session:
        """Return the session `count` before that of `ts_ns`, or the calendar's first."""
        if self.always_open:
            return self.at(ts_ns - count * DAY_NS)
        return self._sessions[max(0, bisect_right(self._ends, ts_ns) - count)]

    def is_open(self, ts_ns: int, *, extended: bool = False) -> bool:
        """Tell whether the venue trades at `ts_ns`: open inclusive, close exclusive."""
        session = self.at(ts_ns)
        if extended:
            return session.extended_open_ns <= ts_ns < session.extended_close_ns
        return session.open_ns <= ts_ns < session.close_ns

    def on_date(self, day: str) -> Session | None:
        """Return the session of an exchange-local date `YYYY-MM-DD`, or None on a day without one."""
        if self.always_open:
            return self.at((date.fromisoformat(day) - date(1970, 1, 1)).days * DAY_NS)
        # By its date and not by an instant: Sydney opens on the day before, by the clock of UTC.
        index = bisect_left(self._sessions, day, key=attrgetter("date"))
        found = self._sessions[index] if index < len(self._sessions) else None
        return found if found is not None and found.date == day else None


class _Table(msgspec.Struct):
    zone: str
    sessions: list[Session]


def _load(calendar: str) -> _Table:
    """Return a calendar's sessions, from the file that the last run of this version left, or else computed.

    Computing them brings pandas and costs more than all the rest of a start; reading them costs a hundredth of that.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onetape"
    path = (
        cache / f"{calendar.replace('/', '-')}-{version('exchange_calendars')}-{CALENDAR_FIRST}-{CALENDAR_LAST}.msgpack"
    )
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=_Table)
    except (OSError, msgspec.MsgspecError):
        table = _computed(calendar)
    with suppress(OSError):  # a cache that cannot be kept is only slower
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(msgspec.msgpack.encode(table))
        partial.replace(path)
    return table


def _computed(calendar: str) -> _Table:
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    try:
        found = exchange_calendars.get_calendar(calendar, start=CALENDAR_FIRST, end=CALENDAR_LAST)
    except InvalidCalendarName:
        names = exchange_calendars.get_calendar_names()
        raise ConfigError(f"unknown calendar {calendar!r}{suggestion(calendar, names)}") from None
    except ValueError:  # it is known for fewer years
        kind = type(exchange_calendars.get_calendar(calendar))
        found = exchange_calendars.get_calendar(calendar, start=kind.bound_min(), end=kind.bound_max() or CALENDAR_LAST)
    zone = str(found.tz)
    dates = [f"{day:%Y-%m-%d}" for day in found.sessions]
    opens, closes = (side.astype("int64").tolist() for side in (found.opens, found.closes))
    if found.name not in ("XNYS", "XNAS"):
        return _Table(zone, [Session(d, o, c, o, c) for d, o, c in zip(dates, opens, closes, strict=True)])
    midnights = found.sessions.tz_localize(zone).as_unit("ns").astype("int64").tolist()
    sessions = []
    for day, opened, closed, midnight in zip(dates, opens, closes, midnights, strict=True):
        until = 20 if closed >= midnight + 16 * HOUR_NS else 17
        sessions.append(Session(day, opened, closed, midnight + 4 * HOUR_NS, midnight + until * HOUR_NS))
    return _Table(zone, sessions)
