"""Longer bars are what an independent resampling of the shorter ones gives: complete, once, and never too early."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import LATE_NS, SESSION_NS, BarBuilder, interval_ns, interval_text, kind_ns
from engine.clock import Sessions
from engine.errors import ConfigError
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Bar
from engine.schedule import Schedule

AROUND = Sessions("24/7")
DAYS = ("2019-07-02", "2019-07-03", "2019-07-05", "2019-03-08", "2019-03-11", "2019-11-01", "2019-11-04", "2018-12-24")


class Line:
    """A builder fed as the corridor feeds it: first time passes, then comes the bar; `out` has what came out when."""

    def __init__(self, interval: int, sessions: Sessions) -> None:
        self.schedule, self.now_ns = Schedule(), 0
        self.out: list[tuple[int, Bar]] = []
        self.builder = BarBuilder(interval, sessions, self.schedule, lambda bar: self.out.append((self.now_ns, bar)))

    def pass_time(self, now_ns: int) -> None:
        while self.schedule.due_ns <= now_ns:
            self.now_ns, call = self.schedule.pop()
            call(self.now_ns)
        self.now_ns = now_ns

    def feed(self, bars: Iterable[Bar]) -> list[Bar]:
        for bar in bars:
            self.pass_time(bar.ts_recv_ns)
            self.builder(bar)
        return self.bars

    def end(self) -> list[Bar]:
        self.pass_time(self.now_ns + 2 * DAY_NS)
        return self.bars

    @property
    def bars(self) -> list[Bar]:
        return [bar for _, bar in self.out]


def minute(opened_ns: int, price: float = 100.0, volume: float = 10.0, *, span_ns: int = MINUTE_NS, **more: Any) -> Bar:
    """Return a bar that opens then; it is known when it closes unless `ts_recv_ns` says otherwise."""
    closed = opened_ns + span_ns
    known = more.pop("ts_recv_ns", closed)
    fields = {"open": price, "high": price + 1, "low": price - 1, "close": price + 0.5} | {
        name: more.pop(name) for name in ("open", "high", "low", "close") if name in more
    }
    return Bar("SPY", closed, known, volume=volume, interval_ns=span_ns, **fields, **more)


def frame(bars: Iterable[Bar]) -> pd.DataFrame:
    rows = [
        (b.ts_open_ns, b.ts_event_ns, b.open, b.high, b.low, b.close, b.volume, b.vwap, b.trade_count) for b in bars
    ]
    names = ["opened", "closed", "open", "high", "low", "close", "volume", "vwap", "trade_count"]
    return pd.DataFrame(rows, columns=names)


def resampled(bars: list[Bar], interval: int, sessions: Sessions) -> pd.DataFrame:
    """Resample with pandas: from each session's open, before it, in it and after it apart."""
    table = frame(bars)
    table["day"] = [sessions.at(opened).date for opened in table["opened"]]
    parts = []
    for day, part in table.groupby("day"):
        session = sessions.on_date(day)
        assert session is not None
        phase = np.searchsorted([session.open_ns, session.close_ns], part["opened"], side="right")
        length = interval
        if interval == SESSION_NS:
            part, phase, length = part[phase == 1], phase[phase == 1], session.close_ns - session.open_ns
        origin = pd.Timestamp(session.open_ns, unit="ns", tz="UTC")
        grouper = pd.Grouper(freq=pd.Timedelta(length, "ns"), origin=origin)
        found = part.set_index(pd.to_datetime(part["opened"], unit="ns", utc=True)).groupby([phase, grouper]).agg(
            open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"),
            volume=("volume", "sum"), trade_count=("trade_count", "sum"),
        )  # fmt: skip
        after = found.index.get_level_values(0)
        label = found.index.get_level_values(1).as_unit("ns").asi8
        last = np.array([session.open_ns, session.close_ns, session.extended_close_ns])[after]
        found["opened"] = np.where(after == 2, np.maximum(label, session.close_ns), label)
        found["closed"] = np.minimum(label + length, last)
        parts.append(found)
    return pd.concat(parts) if parts else table


def assert_as_resampled(line: Line, bars: list[Bar], interval: int, sessions: Sessions) -> None:
    line.feed(bars)
    made, wanted = frame(line.end()), resampled(bars, interval, sessions)
    assert len(made) == len(wanted)
    for name in ("opened", "closed", "open", "high", "low", "close", "trade_count"):
        assert made[name].tolist() == wanted[name].tolist(), name
    assert made["volume"].tolist() == pytest.approx(wanted["volume"].tolist())
    for now_ns, bar in line.out:
        assert now_ns >= bar.ts_event_ns
        assert bar.ts_recv_ns == now_ns
        assert now_ns <= bar.ts_event_ns + LATE_NS


@st.composite
def random_minutes(draw: st.DrawFn, sessions: Sessions) -> list[Bar]:
    """Minute bars of a few days, most minutes missing, from pre-market to post-market."""
    bars = []
    for day in sorted(draw(st.sets(st.sampled_from(DAYS), min_size=1, max_size=3))):
        session = sessions.on_date(day)
        assert session is not None
        first = draw(st.sampled_from((session.extended_open_ns, session.open_ns, session.close_ns - 20 * MINUTE_NS)))
        minutes = (session.extended_close_ns - first) // MINUTE_NS
        for index in sorted(draw(st.sets(st.integers(0, minutes - 1), max_size=40))):
            prices = draw(st.tuples(*[st.floats(1, 100)] * 4))
            known = {"open": prices[0], "close": prices[1], "high": max(prices), "low": min(prices)}
            volume, count = draw(st.floats(0, 1e6)), draw(st.integers(0, 9))
            bars.append(minute(first + index * MINUTE_NS, volume=volume, trade_count=count, **known))
    return bars


# --- against an independent calculation -------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [5 * MINUTE_NS, 15 * MINUTE_NS, HOUR_NS, 4 * HOUR_NS, SESSION_NS])
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_minutes_come_out_as_pandas_resamples_them(interval: int, xnys: Sessions, data: st.DataObject) -> None:
    """With gaps, early closes, both clock changes and extended hours; each delivered at its end and within the wait."""
    bars = data.draw(random_minutes(xnys))
    assert_as_resampled(Line(interval, xnys), bars, interval, xnys)


@pytest.mark.parametrize("interval", [5 * MINUTE_NS, HOUR_NS, 4 * HOUR_NS, SESSION_NS])
def test_a_real_month_with_its_extended_hours_comes_out_as_pandas_resamples_it(
    shared_data: Path, xnys: Sessions, interval: int
) -> None:
    """14,180 minutes of SPY, a holiday among them."""
    with gzip.open(shared_data / "bars_1min" / "spy_1min_extended_2011-01.csv.gz") as file:
        table = pd.read_csv(file)
    bars = [
        Bar("SPY", row.ts_close_ns, row.ts_close_ns, row.open, row.high, row.low, row.close, row.volume, MINUTE_NS)
        for row in table.itertuples()
    ]
    assert_as_resampled(Line(interval, xnys), bars, interval, xnys)


@given(st.sets(st.integers(0, 3 * 1440 - 1), max_size=60), st.sampled_from((5, 60, 240, 420, 1440)))
@settings(deadline=None)
def test_around_the_clock_buckets_are_aligned_to_the_utc_day(minutes: set[int], length: int) -> None:
    """A length that does not divide a day has a shorter last bucket; a day is a session."""
    start = 1_550_000_000 * SECOND_NS // DAY_NS * DAY_NS
    bars = [minute(start + one * MINUTE_NS, 50.0 + one % 7) for one in sorted(minutes)]
    assert_as_resampled(Line(length * MINUTE_NS, AROUND), bars, length * MINUTE_NS, AROUND)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_nothing_is_lost(xnys: Sessions, data: st.DataObject) -> None:
    """All volume and every trade comes out once; a session bar leaves out what is not of regular hours."""
    bars = data.draw(random_minutes(xnys))
    for interval in (HOUR_NS, SESSION_NS):
        line = Line(interval, xnys)
        line.feed(bars)
        counted = [b for b in bars if interval != SESSION_NS or xnys.is_open(b.ts_open_ns)]
        assert sum(bar.trade_count for bar in line.end()) == sum(bar.trade_count for bar in counted)
        assert sum(bar.volume for bar in line.bars) == pytest.approx(sum(bar.volume for bar in counted))


# --- when -------------------------------------------------------------------------------------------------------------


def test_the_bar_that_completes_a_bucket_hands_it_on_at_once(xnys: Sessions) -> None:
    """A five-minute bar is known with its fifth minute."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(5 * MINUTE_NS, xnys)
    line.feed(minute(session.open_ns + index * MINUTE_NS) for index in range(4))
    assert line.bars == []
    line.feed([minute(session.open_ns + 4 * MINUTE_NS)])
    (bar,) = line.bars
    assert (bar.ts_event_ns, bar.ts_recv_ns) == (session.open_ns + 5 * MINUTE_NS,) * 2
    assert (bar.ts_open_ns, bar.interval_ns) == (session.open_ns, 5 * MINUTE_NS)


def test_a_last_minute_that_takes_a_second_to_arrive_is_waited_for(xnys: Sessions) -> None:
    """Another symbol's event may come first; the bucket is handed on once, and whole."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(5 * MINUTE_NS, xnys)
    closed = session.open_ns + 5 * MINUTE_NS
    line.feed(minute(session.open_ns + index * MINUTE_NS, volume=1.0) for index in range(4))
    line.pass_time(closed + SECOND_NS // 2)
    assert line.bars == []
    line.feed([minute(closed - MINUTE_NS, volume=1.0, ts_recv_ns=closed + SECOND_NS)])
    assert [(bar.volume, bar.ts_recv_ns) for bar in line.end()] == [(5.0, closed + SECOND_NS)]


def test_a_bucket_whose_last_minute_had_no_trade_is_handed_on_after_the_wait(xnys: Sessions) -> None:
    """Nobody can tell a minute without a trade from one that is late, until it is late."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(5 * MINUTE_NS, xnys)
    closed = session.open_ns + 5 * MINUTE_NS
    line.feed([minute(session.open_ns)])
    line.pass_time(closed + LATE_NS)
    assert line.bars == []  # events of an instant come before what is due then
    line.pass_time(closed + LATE_NS + 1)
    assert [bar.ts_recv_ns for bar in line.bars] == [closed + LATE_NS]


def test_a_bar_that_comes_after_its_bucket_is_left_out(xnys: Sessions) -> None:
    """A strategy that counts bars never sees the same five minutes twice, nor a minute in the wrong five."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(5 * MINUTE_NS, xnys)
    closed = session.open_ns + 5 * MINUTE_NS
    late = minute(closed - MINUTE_NS, volume=1000.0, ts_recv_ns=closed + 30 * SECOND_NS)
    later = minute(closed - MINUTE_NS, volume=1000.0, ts_recv_ns=closed + 90 * SECOND_NS)
    line.feed([minute(session.open_ns), late, minute(closed), later])
    assert [(bar.ts_event_ns, bar.volume) for bar in line.end()] == [(closed, 10.0), (closed + 5 * MINUTE_NS, 10.0)]


def test_a_revised_bar_is_not_counted_twice(xnys: Sessions) -> None:
    """It corrects a minute that its bucket holds already."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(5 * MINUTE_NS, xnys)
    line.feed([minute(session.open_ns), minute(session.open_ns, volume=11.0, revised=True)])
    assert [bar.volume for bar in line.end()] == [10.0]


def test_bars_of_a_second_do_not_run_into_the_next_bucket(xnys: Sessions) -> None:
    """The first bar after a bucket hands it on, though its wait is not over."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(MINUTE_NS, xnys)
    seconds = [minute(session.open_ns + index * SECOND_NS, span_ns=SECOND_NS) for index in (0, 30, 58, 60, 61)]
    line.feed(seconds)
    assert [(bar.ts_event_ns, bar.volume) for bar in line.bars] == [(session.open_ns + MINUTE_NS, 30.0)]
    assert [bar.volume for bar in line.end()] == [30.0, 20.0]


def test_a_session_bar_of_an_early_close_ends_with_it(xnys: Sessions) -> None:
    """2019-07-03 closed at 13:00: three and a half hours make the day, and the post-market is not in it."""
    session = xnys.on_date("2019-07-03")
    assert session is not None
    line = Line(SESSION_NS, xnys)
    line.feed(minute(session.open_ns + index * MINUTE_NS, volume=1.0) for index in range(-30, 210 + 60))
    (bar,) = line.bars
    assert (bar.ts_event_ns, bar.interval_ns, bar.volume) == (session.close_ns, 7 * HOUR_NS // 2, 210.0)


def test_the_half_hour_before_the_close_is_a_bucket_and_the_post_market_begins_another(xnys: Sessions) -> None:
    """Hours are counted from 09:30, so 15:30 to 16:00 stands alone, and so does 16:00 to 16:30."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(HOUR_NS, xnys)
    line.feed(minute(session.close_ns + index * MINUTE_NS) for index in range(-60, 60))
    spans = [((bar.ts_open_ns - session.close_ns) // MINUTE_NS, bar.interval_ns // MINUTE_NS) for bar in line.end()]
    assert spans == [(-90, 60), (-30, 30), (0, 30), (30, 60)]


# --- what -------------------------------------------------------------------------------------------------------------


def test_the_volume_weighted_price_is_weighted_by_volume(xnys: Sessions) -> None:
    """100 at 10 and 300 at 20 are 17.5; a bar that lacks it makes the bucket lack it."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    for second, wanted in ((20.0, 17.5), (None, None)):
        line = Line(5 * MINUTE_NS, xnys)
        line.feed([minute(session.open_ns, volume=100, vwap=10.0)])
        line.feed([minute(session.open_ns + MINUTE_NS, volume=300, vwap=second)])
        assert [bar.vwap for bar in line.end()] == [wanted]


def test_a_bucket_without_volume_has_no_volume_weighted_price(xnys: Sessions) -> None:
    """An index never trades."""
    session = xnys.on_date("2019-02-12")
    assert session is not None
    line = Line(5 * MINUTE_NS, xnys)
    line.feed(minute(session.open_ns + index * MINUTE_NS, volume=0, vwap=1.0) for index in range(2))
    assert [(bar.volume, bar.vwap) for bar in line.end()] == [(0, None)]


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30s", 30 * SECOND_NS), ("1min", MINUTE_NS), ("15min", 15 * MINUTE_NS), ("4h", 4 * HOUR_NS),
        ("1d", SESSION_NS), ("session", SESSION_NS), ("90min", 90 * MINUTE_NS),
    ],
)  # fmt: skip
def test_an_interval_reads_as_people_write_it(text: str, wanted: int) -> None:
    """A number and a unit; a day is a session."""
    assert interval_ns(text) == wanted
    assert interval_ns(interval_text(wanted)) == wanted


@pytest.mark.parametrize(
    "text", ["", "min", "0min", "-5min", "1.5h", "5 min", "5m", "2d", "1D", "5min ", "१min", "1min\n", "1h30min"]
)
def test_what_is_no_interval_is_refused(text: str) -> None:
    """With examples of what is one."""
    with pytest.raises(ConfigError, match="is no bar interval; write for example '1min', '15min', '1h' or '1d'"):
        interval_ns(text)


def test_session_bars_differ_in_length_and_bars_around_the_clock_do_not(xnys: Sessions) -> None:
    """Six and a half hours are a day in New York; four hours are four hours of a coin."""
    for span_ns in (13 * HOUR_NS // 2, 7 * HOUR_NS // 2, DAY_NS):
        assert kind_ns(span_ns, xnys) == SESSION_NS
    assert kind_ns(HOUR_NS, xnys) == HOUR_NS
    assert kind_ns(4 * HOUR_NS, AROUND) == 4 * HOUR_NS
    assert kind_ns(DAY_NS, AROUND) == SESSION_NS
