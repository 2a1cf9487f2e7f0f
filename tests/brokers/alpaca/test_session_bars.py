"""Bars of whole sessions out of the day so far."""

from __future__ import annotations

import msgspec

from brokers.alpaca.session_bars import LATE_NS, SessionBars
from brokers.alpaca.wire import DailyBarMessage
from engine.clock import Sessions
from engine.events import HOUR_NS, MINUTE_NS
from tests.runs import at

DAY_NS, OPEN_NS, CLOSE_NS = at("2024-03-04T00:00-05:00"), at("2024-03-04T09:30-05:00"), at("2024-03-04T16:00-05:00")


def told(close: float, symbol: str = "AAA", low: float = 9.0) -> DailyBarMessage:
    """Return the day so far."""
    instant = msgspec.msgpack.Ext(-1, (0).to_bytes(4, "big"))
    return DailyBarMessage(S=symbol, t=instant, o=10.0, h=12.0, l=low, c=close, v=100, n=7, vw=10.5)


def test_the_last_word_of_a_day_is_its_bar() -> None:
    """Half a minute after the close, stamped at the close, as long as the session."""
    days = SessionBars(Sessions("XNYS"))
    days.take(told(10.5), DAY_NS)
    days.take(told(11.0), DAY_NS)
    assert list(days.closed(CLOSE_NS, "iex")) == []
    (bar,) = days.closed(CLOSE_NS + LATE_NS, "iex")
    assert (bar.symbol, bar.ts_event_ns, bar.ts_open_ns, bar.ts_recv_ns) == (
        "AAA",
        CLOSE_NS,
        OPEN_NS,
        CLOSE_NS + LATE_NS,
    )
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap) == (10.0, 12.0, 9.0, 11.0, 100, 10.5)


def test_a_day_is_told_once() -> None:
    """What comes after its bar, of late trading, changes nothing any more."""
    days = SessionBars(Sessions("XNYS"))
    days.take(told(10.5), DAY_NS)
    assert len(list(days.closed(CLOSE_NS + LATE_NS, "iex"))) == 1
    days.take(told(11.5), DAY_NS)
    assert list(days.closed(CLOSE_NS + HOUR_NS, "iex")) == []


def test_days_that_closed_meanwhile_come_in_order() -> None:
    """After a pause each day is there, the older first, symbols by name."""
    days, next_ns = SessionBars(Sessions("XNYS")), 24 * HOUR_NS
    days.take(told(11.0), DAY_NS + next_ns)
    days.take(told(10.0, "BBB"), DAY_NS)
    days.take(told(10.0), DAY_NS)
    found = [(one.symbol, one.ts_event_ns) for one in days.closed(CLOSE_NS + next_ns + LATE_NS, "iex")]
    assert found == [("AAA", CLOSE_NS), ("BBB", CLOSE_NS), ("AAA", CLOSE_NS + next_ns)]


def test_a_day_that_was_fetched_is_not_told_again() -> None:
    """Whichever comes first; a symbol that had no bar of that day still gets it."""
    days = SessionBars(Sessions("XNYS"), done={"AAA": CLOSE_NS})
    days.take(told(10.0), DAY_NS)
    days.take(told(10.0, "BBB"), DAY_NS)
    (bar,) = days.closed(CLOSE_NS + LATE_NS, "iex")
    assert bar.symbol == "BBB"
    assert not days.is_new(bar)
    days.take(told(10.0, "CCC"), DAY_NS)
    assert days.is_new(msgspec.structs.replace(bar, symbol="CCC"))
    assert list(days.closed(CLOSE_NS + LATE_NS, "iex")) == []


def test_the_past_reaches_as_many_sessions_back_as_are_wanted_and_else_to_the_last_bar() -> None:
    """Monday the 4th and three before it: from the day before Wednesday's pre-market on; nothing where none is."""
    wednesday, tuesday = at("2024-02-28T04:00-05:00"), at("2024-02-27T04:00-05:00")
    assert tuesday <= SessionBars(Sessions("XNYS"), past=3).missing_since_ns(OPEN_NS) < wednesday
    known = SessionBars(Sessions("XNYS"), past=3, done={"AAA": CLOSE_NS - 24 * HOUR_NS, "BBB": CLOSE_NS})
    assert known.missing_since_ns(CLOSE_NS + 50 * HOUR_NS) == CLOSE_NS - 24 * HOUR_NS
    assert SessionBars(Sessions("XNYS")).missing_since_ns(OPEN_NS) == 0


def test_a_half_day_is_shorter() -> None:
    """The third of July 2024 closed at one o'clock."""
    days, close_ns = SessionBars(Sessions("XNYS")), at("2024-07-03T13:00-04:00")
    days.take(told(10.0), at("2024-07-03T00:00-04:00"))
    (bar,) = days.closed(close_ns + LATE_NS, "iex")
    assert (bar.ts_event_ns, bar.interval_ns) == (close_ns, 210 * MINUTE_NS)


def test_a_high_under_a_low_is_no_day() -> None:
    """Such a word is left out, and the one before it stands."""
    days = SessionBars(Sessions("XNYS"))
    days.take(told(10.0), DAY_NS)
    days.take(told(11.0, low=13.0), DAY_NS)
    (bar,) = days.closed(CLOSE_NS + LATE_NS, "iex")
    assert bar.close == 10.0
