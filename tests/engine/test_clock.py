"""Time is told, never asked; sessions are those of the exchange, to the nanosecond."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import LiveClock, ManualClock, Session, Sessions, to_datetime
from engine.errors import ConfigError
from engine.events import DAY_NS, HOUR_NS, SECOND_NS

NEW_YORK = ZoneInfo("America/New_York")
AROUND = Sessions("24/7")


def new_york_ns(text: str) -> int:
    """Return the instant of a New York wall clock, `2019-07-03 13:00`."""
    return round(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * SECOND_NS


def walk(sessions: Sessions, first: str, last: str) -> list[Session]:
    """Return the sessions of a span, found the way the engine finds them: one after the other."""
    session = sessions.on_date(first)
    assert session is not None
    found = [session]
    while found[-1].date < last:
        found.append(sessions.at(found[-1].extended_close_ns))
    return found


def test_a_manual_clock_moves_only_when_told() -> None:
    """Wall and monotonic time are one number, so a test decides what every reader sees."""
    clock = ManualClock(5 * SECOND_NS)
    assert clock.now_ns() == clock.monotonic_ns() == 5 * SECOND_NS
    clock.advance(0.25)
    assert clock.now_ns() == clock.monotonic_ns() == 5_250_000_000


def test_the_live_clock_is_the_machines() -> None:
    """Wall time is in this century, and monotonic time does not run backwards."""
    clock = LiveClock()
    assert clock.now_ns() > 1_700_000_000 * SECOND_NS
    assert clock.monotonic_ns() <= clock.monotonic_ns()


@given(st.integers(0, 2**62))
def test_an_instant_becomes_the_datetime_whose_microseconds_are_cut(ts_ns: int) -> None:
    """Nothing is rounded up into a time that has not come yet."""
    found = to_datetime(ts_ns)
    assert found.tzinfo is UTC
    assert (found - datetime(1970, 1, 1, tzinfo=UTC)) // (found.resolution) == ts_ns // 1000


def test_xnys_has_the_sessions_of_the_exchange_from_1990_to_2023(shared_data: Path, xnys: Sessions) -> None:
    """Every session of 33 years, with its open and close, late opens included, is the published one."""
    with (shared_data / "calendar" / "xnys_sessions_1990-01_2023-01.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = [(row["session_date"], int(row["open_ns"]), int(row["close_ns"])) for row in rows]
    found = walk(xnys, rows[0]["session_date"], rows[-1]["session_date"])
    assert [(one.date, one.open_ns, one.close_ns) for one in found] == wanted


def test_extended_hours_run_from_four_to_eight_and_to_five_after_an_early_close(
    shared_data: Path, xnys: Sessions
) -> None:
    """The early closes are those of a second source, and each shortens the post-market too."""
    hours = json.loads((shared_data / "calendar" / "us_equity_market_hours_1998_2028.json").read_text())
    early = {datetime.strptime(day, "%m/%d/%Y").date().isoformat() for day in hours["earlyCloses"]}  # noqa: DTZ007
    seen = set()
    for session in walk(xnys, "2000-01-03", "2028-12-29"):
        midnight = new_york_ns(f"{session.date} 12:00") - 12 * HOUR_NS  # no session lies on a night of a clock change
        assert session.extended_open_ns - midnight == 4 * HOUR_NS
        is_early = session.close_ns - midnight < 16 * HOUR_NS
        assert session.extended_close_ns - midnight == (17 if is_early else 20) * HOUR_NS
        if is_early:
            seen.add(session.date)
    since_2000 = {day for day in early if day >= "2000" and datetime.fromisoformat(day).weekday() < 5}
    assert seen == since_2000


def test_holidays_of_the_second_source_have_no_session(shared_data: Path, xnys: Sessions) -> None:
    """A date without trading is None, and `at` answers with the next day that has it."""
    hours = json.loads((shared_data / "calendar" / "us_equity_market_hours_1998_2028.json").read_text())
    for day in hours["holidays"]:
        date = datetime.strptime(day, "%m/%d/%Y").date().isoformat()  # noqa: DTZ007
        assert xnys.on_date(date) is None
        assert xnys.at(new_york_ns(f"{date} 12:00")).date > date


def test_the_open_belongs_to_the_session_and_the_close_does_not(xnys: Sessions) -> None:
    """Open inclusive, close exclusive, to the nanosecond, for regular and for extended hours."""
    for moment, regular, extended in [
        (new_york_ns("2019-07-03 04:00") - 1, False, False),
        (new_york_ns("2019-07-03 04:00"), False, True),
        (new_york_ns("2019-07-03 09:30") - 1, False, True),
        (new_york_ns("2019-07-03 09:30"), True, True),
        (new_york_ns("2019-07-03 13:00") - 1, True, True),
        (new_york_ns("2019-07-03 13:00"), False, True),
        (new_york_ns("2019-07-03 17:00") - 1, False, True),
        (new_york_ns("2019-07-03 17:00"), False, False),
    ]:
        assert xnys.is_open(moment) is regular
        assert xnys.is_open(moment, extended=True) is extended


def test_between_sessions_the_next_one_is_named(xnys: Sessions) -> None:
    """From the end of the post-market on, through night, weekend and holiday, `at` looks ahead."""
    assert xnys.at(new_york_ns("2019-07-03 17:00") - 1).date == "2019-07-03"
    assert xnys.at(new_york_ns("2019-07-03 17:00")).date == "2019-07-05"
    assert xnys.at(new_york_ns("2019-07-06 12:00")).date == "2019-07-08"


@given(st.lists(st.integers(0, 43 * 365), min_size=2, max_size=20), st.integers(0, DAY_NS - 1))
def test_the_answer_does_not_depend_on_what_was_asked_before(xnys: Sessions, days: list[int], offset_ns: int) -> None:
    """The session kept from the last call is a memory, not a state: any order of questions gives the same answers."""
    start = new_york_ns("1990-01-02 12:00")
    moments = [min(start + day * DAY_NS + offset_ns, new_york_ns("2032-12-30 12:00")) for day in days]
    forwards = [xnys.at(moment) for moment in moments]
    assert [xnys.at(moment) for moment in reversed(moments)] == forwards[::-1]
    for moment, session in zip(moments, forwards, strict=True):
        assert moment < session.extended_close_ns


@pytest.mark.parametrize("day", ["2019-03-08", "2019-03-11", "2019-11-01", "2019-11-04"])
def test_a_session_begins_at_half_past_nine_on_both_sides_of_a_clock_change(xnys: Sessions, day: str) -> None:
    """R13: instants are UTC, so summer time moves them by an hour and the exchange's clock does not notice."""
    session = xnys.on_date(day)
    assert session is not None
    assert to_datetime(session.open_ns).astimezone(NEW_YORK).strftime("%H:%M") == "09:30"
    assert to_datetime(session.extended_open_ns).astimezone(NEW_YORK).strftime("%H:%M") == "04:00"


@given(st.integers(0, 2**62))
def test_around_the_clock_every_instant_is_in_the_session_of_its_utc_day(ts_ns: int) -> None:
    """Days follow each other without a gap, and extended hours are the regular ones."""
    session = AROUND.at(ts_ns)
    assert session.open_ns == session.extended_open_ns == ts_ns - ts_ns % DAY_NS
    assert session.close_ns == session.extended_close_ns == session.open_ns + DAY_NS
    assert session.date == f"{to_datetime(ts_ns):%Y-%m-%d}"
    assert AROUND.is_open(ts_ns)
    assert AROUND.on_date(session.date) == session


@pytest.mark.parametrize("day", ["1989-12-01", "2033-01-03"])
def test_an_instant_outside_the_calendar_is_refused_by_name(xnys: Sessions, day: str) -> None:
    """The message says the day, the calendar and its span."""
    with pytest.raises(ConfigError, match=f"{day} is outside the calendar XNYS \\(1990 to 2032\\)"):
        xnys.at(new_york_ns(f"{day} 12:00"))


def test_sessions_are_counted_back_over_weekends_and_holidays_to_the_first_of_all(xnys: Sessions) -> None:
    """From Tuesday 2 January 2018, whether it is open or about to: three sessions before is Wednesday the 27th."""
    tuesday = xnys.on_date("2018-01-02")
    assert tuesday is not None
    for ts_ns in (tuesday.open_ns, tuesday.extended_open_ns - HOUR_NS):
        assert [xnys.back(ts_ns, count).date for count in (0, 1, 3)] == ["2018-01-02", "2017-12-29", "2017-12-27"]
    assert xnys.back(tuesday.open_ns, 100_000).date == "1990-01-02"
    assert AROUND.back(tuesday.open_ns, 3).date == "2017-12-30"


def test_an_unknown_calendar_is_refused_with_a_suggestion() -> None:
    """A letter too many leads to the right name."""
    with pytest.raises(ConfigError, match=r"unknown calendar 'XNYSE'; did you mean 'XNYS'\?"):
        Sessions("XNYSE")


def test_a_calendar_knows_its_zone_and_its_sessions_a_year(xnys: Sessions) -> None:
    """These annualize a report: 252 for the exchange, 365 around the clock."""
    assert (xnys.zone, xnys.per_year) == ("America/New_York", 252)
    assert (AROUND.zone, AROUND.per_year) == ("UTC", 365)


def test_a_day_is_found_by_its_own_date_wherever_the_exchange_is() -> None:
    """Sydney opens on the evening before by the clock of UTC, and is closed by its noon."""
    sydney = Sessions("XASX")
    session = sydney.on_date("2019-02-12")
    assert session is not None
    assert session.date == "2019-02-12"
    assert to_datetime(session.open_ns).isoformat() == "2019-02-11T23:00:00+00:00"
    assert sydney.on_date("2019-02-10") is None  # a Sunday
    assert session.extended_open_ns == session.open_ns  # nothing is known of its extended hours
    assert session.extended_close_ns == session.close_ns
    assert session.close_ns - session.open_ns == 6 * HOUR_NS
