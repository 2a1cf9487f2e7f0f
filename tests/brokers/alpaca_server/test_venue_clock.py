"""The venue's time: shifted or kept, at any speed, and one calendar for all of it."""

from __future__ import annotations

from datetime import datetime

import pytest

from brokers.alpaca_server.clock import VenueClock, market_calendar, market_clock
from engine.clock import ManualClock, Sessions
from engine.events import HOUR_NS, MINUTE_NS, SECOND_NS
from tests.brokers.alpaca_server.local import bar, connected, day, running
from tests.brokers.paper_venue import at

NOW_NS = 1_790_000_000 * SECOND_NS + 7


def test_a_shift_is_whole_minutes_and_begins_in_the_present() -> None:
    """Minute bars stay minute bars, and the venue's clock is the wall's."""
    wall = ManualClock(NOW_NS)
    clock = VenueClock(wall, at("09:30"), speed=1.0, shifted=True)
    assert clock.shift_ns % MINUTE_NS == 0
    assert clock.now_ns() + clock.shift_ns == NOW_NS
    assert 0 <= at("09:30") - clock.now_ns() < MINUTE_NS


def test_kept_time_is_the_tapes_own() -> None:
    """No shift: what leaves is what came."""
    clock = VenueClock(ManualClock(NOW_NS), at("09:30"), speed=1.0, shifted=False)
    assert (clock.shift_ns, clock.now_ns()) == (0, at("09:30"))
    assert clock.text(at("09:30")) == "2019-02-12T14:30:00Z"


def test_simulated_time_runs_at_its_speed_and_never_back() -> None:
    """60 simulated seconds a second; an event that comes early moves it on."""
    wall = ManualClock(0)
    clock = VenueClock(wall, 0, speed=60.0, shifted=False)
    assert clock.wait_s(60 * SECOND_NS) == 0.0  # it has not begun
    clock.run()
    assert clock.wait_s(60 * SECOND_NS) == pytest.approx(1.0)
    wall.advance(2.0)
    assert clock.now_ns() == 120 * SECOND_NS
    clock.reach(180 * SECOND_NS)
    clock.reach(100 * SECOND_NS)
    assert clock.now_ns() == 180 * SECOND_NS


def test_clock_and_calendar_move_with_the_tape() -> None:
    """The session that is open for the data is open on the clock, whatever the hour is here."""
    sessions = Sessions("XNYS")
    wall = ManualClock(NOW_NS)
    clock = VenueClock(wall, at("09:30"), speed=1.0, shifted=True)
    clock.reach(at("10:00"))
    shown = market_clock(clock, sessions)
    assert shown["is_open"]
    opened = datetime.fromisoformat(str(shown["next_close"])).timestamp() - 6.5 * 3600
    assert opened * SECOND_NS == at("09:30") + clock.shift_ns
    today = clock.date(at("09:30"))
    (row,) = [row for row in market_calendar(clock, sessions, today, today) if row["date"] == today]
    assert row["open"] == f"{clock.local(at('09:30')):%H:%M}"


def test_outside_hours_the_next_session_is_named() -> None:
    """After the close, over a weekend, and on the short day before Christmas."""
    sessions = Sessions("XNYS")
    clock = VenueClock(ManualClock(0), at("17:00", "2019-02-15"), speed=0.0, shifted=False)
    shown = market_clock(clock, sessions)
    assert (shown["is_open"], shown["next_open"]) == (False, "2019-02-19T09:30:00-05:00")
    (row,) = market_calendar(clock, sessions, "2019-12-24", "2019-12-25")
    assert (row["close"], row["session_close"], row["settlement_date"]) == ("13:00", "1700", "2019-12-26")


async def test_a_shifted_venue_speaks_of_the_present_everywhere() -> None:
    """Streams, orders and history: one shift out, the same one in."""
    async with running(day(), time="now") as local, connected(local, packed=False) as peer:
        await peer.log_in(bars=["*"])
        await local.step(2)
        (message,) = await peer.read()
        shift_ns = local.venue.clock.shift_ns
        assert shift_ns > 0
        assert message["t"] == local.venue.clock.text(at("09:30"))
        _, body = await local.request(
            "GET", "/v2/stocks/bars", params={"symbols": "AAPL", "timeframe": "1Min", "start": message["t"]}
        )
        assert [one["t"] for one in body["bars"]["AAPL"]] == [message["t"]]
        _, clock = await local.request("GET", "/v2/clock")
        assert clock["is_open"]


async def test_a_paced_tape_comes_in_its_own_time() -> None:
    """At a speed the bars come one by one, and simulated time goes on after the last one."""
    events = [bar(f"9:3{one}") for one in range(1, 6)]
    async with (
        running(events, start="subscribed", speed=6000.0, time="tape") as local,
        connected(local, packed=False) as peer,
    ):
        await peer.log_in(bars=["*"])
        seen = []
        while len(seen) < 5:
            seen += await peer.read()
        assert len(seen) == 5
        before = local.venue.clock.now_ns()
        await local.control("")
        assert local.venue.clock.now_ns() > before >= at("9:35")


async def test_a_night_passes_in_a_second() -> None:
    """A gap of more than an hour does not stop a paced venue for hours."""
    events = [bar("15:59"), bar("9:31", symbol="AAPL")]
    later = events[1].ts_event_ns + 24 * HOUR_NS
    events[1] = type(events[1])("AAPL", later, later, 1, 1, 1, 1, 1, MINUTE_NS)
    async with (
        running(events, start="subscribed", speed=60_000.0, time="tape") as local,
        connected(local, packed=False) as peer,
    ):
        await peer.log_in(bars=["*"])
        assert [len(await peer.read()) for _ in range(2)] == [1, 1]
