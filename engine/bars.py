"""Longer bars out of shorter ones, inside the engine, so that a strategy may ask for an interval the tape lacks."""

from __future__ import annotations

import re
from collections.abc import Callable

from engine.clock import SHORTEST_SESSION_NS, Sessions
from engine.errors import ConfigError
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Bar
from engine.schedule import Schedule

SESSION_NS = DAY_NS
"""Stands for one bar per trading day, whatever that day's length; an early close makes it shorter."""

LATE_NS = 5 * SECOND_NS
"""How long after its end a bucket waits for its last bar, which takes a while to reach us; others come sooner."""

_UNITS = {"s": SECOND_NS, "min": MINUTE_NS, "h": HOUR_NS}


def interval_ns(text: str) -> int:
    """Read an interval such as `30s`, `1min`, `4h`, `1d`; a day means a session.

    Raises:
        ConfigError: it is no interval.
    """
    if text in ("1d", "session"):
        return SESSION_NS
    found = re.fullmatch(r"([1-9]\d*)(s|min|h)", text)
    if found is None:
        raise ConfigError(f"'{text}' is no bar interval; write for example '1min', '15min', '1h' or '1d'")
    return int(found[1]) * _UNITS[found[2]]


def interval_text(interval_ns: int) -> str:
    """Write an interval as `interval_ns` reads it."""
    if interval_ns == SESSION_NS:
        return "1d"
    unit = next((unit for unit in ("h", "min") if interval_ns % _UNITS[unit] == 0), "s")
    return f"{interval_ns / _UNITS[unit]:g}{unit}"


def kind_ns(interval_ns: int, sessions: Sessions) -> int:
    """Return the interval that a bar stands for; session bars differ in length from day to day, unless it is 24/7."""
    return SESSION_NS if interval_ns >= SHORTEST_SESSION_NS and not sessions.always_open else interval_ns


class BarBuilder:
    """Aggregate one symbol's bars to `interval_ns`, aligned to the session's open.

    A bucket is handed on by the bar that completes it, by the first one after it, or `LATE_NS` after its end; a bar
    that comes later than that is left out, and so is a revision. Buckets end with the regular and the extended hours,
    so the last one may be shorter; a session bar holds the regular hours only, as a daily bar does.
    """

    __slots__ = ("_bucket", "_deliver", "_end_ns", "_interval_ns", "_open_ns", "_schedule", "_sessions")

    def __init__(
        self, interval_ns: int, sessions: Sessions, schedule: Schedule, deliver: Callable[[Bar], None]
    ) -> None:
        self._interval_ns = interval_ns
        self._sessions = sessions
        self._schedule = schedule
        self._deliver = deliver
        self._bucket: Bar | None = None
        self._open_ns = self._end_ns = 0

    def __call__(self, bar: Bar) -> None:
        """Take in the next bar of the tape."""
        opened_ns = bar.ts_open_ns
        if opened_ns < self._open_ns or bar.revised:
            return
        if opened_ns >= self._end_ns:
            self._hand_on(bar.ts_recv_ns)
            if not self._open_bucket(opened_ns):
                return
        self._bucket = bar if self._bucket is None else _joined(self._bucket, bar)
        if bar.ts_event_ns >= self._end_ns:
            self._hand_on(bar.ts_recv_ns)

    def hand_on_if_ended(self, now_ns: int) -> None:
        """Hand on a bucket that has ended without waiting for what comes late, because nothing comes any more."""
        if self._end_ns <= now_ns:
            self._hand_on(now_ns)

    def _open_bucket(self, ts_ns: int) -> bool:
        session, interval_ns = self._sessions.at(ts_ns), self._interval_ns
        if interval_ns == SESSION_NS:
            if not session.open_ns <= ts_ns < session.close_ns:
                return False
            self._open_ns, self._end_ns = session.open_ns, session.close_ns
        else:
            self._open_ns = ts_ns - (ts_ns - session.open_ns) % interval_ns
            self._end_ns = self._open_ns + interval_ns
            if ts_ns >= session.close_ns:
                self._open_ns = max(self._open_ns, session.close_ns)
                self._end_ns = min(self._end_ns, session.extended_close_ns)
            elif ts_ns >= session.open_ns:
                self._end_ns = min(self._end_ns, session.close_ns)
        self._schedule.at(self._end_ns + LATE_NS, self._overdue)
        return True

    def _overdue(self, ts_ns: int) -> None:
        if self._end_ns + LATE_NS == ts_ns:
            self._hand_on(ts_ns)

    def _hand_on(self, ts_recv_ns: int) -> None:
        bucket, self._bucket = self._bucket, None
        if bucket is None:
            return
        # What opens before here from now on comes too late.
        opened_ns, self._open_ns = self._open_ns, self._end_ns
        whole = Bar(
            bucket.symbol, self._end_ns, max(ts_recv_ns, self._end_ns), bucket.open, bucket.high, bucket.low,
            bucket.close, bucket.volume, self._end_ns - opened_ns, bucket.vwap, bucket.trade_count,
            source=bucket.source,
        )  # fmt: skip
        self._deliver(whole)


def _joined(bucket: Bar, bar: Bar) -> Bar:
    volume = bucket.volume + bar.volume
    vwap = None
    if bucket.vwap is not None and bar.vwap is not None and volume > 0:
        vwap = (bucket.vwap * bucket.volume + bar.vwap * bar.volume) / volume
    return Bar(
        bar.symbol, bar.ts_event_ns, bar.ts_recv_ns, bucket.open, max(bucket.high, bar.high), min(bucket.low, bar.low),
        bar.close, volume, bar.interval_ns, vwap, bucket.trade_count + bar.trade_count, source=bar.source,
    )  # fmt: skip
