"""Decoding: what each message of a stream becomes, and what a bad one does not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.alpaca.frames import BURST, Counts, FrameReader
from brokers.alpaca.refusals import StreamLost
from brokers.alpaca.seen import Seen
from brokers.alpaca.wire import extension_ns, format_ns, parse_ns
from engine.errors import FeedError
from engine.events import MINUTE_NS, SECOND_NS, Bar, Datum, News, Quote, Status, Trade
from tests.brokers.alpaca.peers import OPEN_NS, bar, stamp

NOW_NS = OPEN_NS + 2 * MINUTE_NS


class Reading:
    """A reader and what it published."""

    def __init__(self, **options: Any) -> None:
        self.events: list[Any] = []
        self.counts = Counts()
        self.reader = FrameReader("stocks", "iex", seen=Seen(), counts=self.counts, **options)
        self.reader.publish = self.events.append

    def read(self, *messages: Any, now_ns: int = NOW_NS) -> list[Any]:
        """Read one frame; return what came of it."""
        before = len(self.events)
        self.reader.read(msgpack.packb(list(messages)), now_ns)
        return self.events[before:]


def test_a_bar_is_stamped_at_its_close() -> None:
    """Alpaca stamps the open of a minute; the engine must not see it a minute before it was over."""
    [found] = Reading().read(bar("SPY", OPEN_NS, 500.5, v=1234, n=7, vw=500.25))
    assert found == Bar(
        "SPY", OPEN_NS + MINUTE_NS, NOW_NS, 500.5, 501.5, 499.5, 500.5, 1234.0, MINUTE_NS, 500.25, 7, source="iex"
    )
    assert found.ts_open_ns == OPEN_NS


def test_null_count_and_average_of_a_bar_are_no_fault() -> None:
    """The service may send null for both."""
    [found] = Reading().read(bar("SPY", OPEN_NS, n=None, vw=None))
    assert (found.trade_count, found.vwap) == (0, None)


def test_bars_of_two_minutes_in_one_frame_keep_their_own_stamps() -> None:
    """The minute is worked out once for all its bars, and again when it changes back."""
    found = Reading().read(bar("A", OPEN_NS), bar("B", OPEN_NS - MINUTE_NS), bar("C", OPEN_NS), bar("D", OPEN_NS))
    assert [(one.symbol, one.ts_open_ns - OPEN_NS) for one in found] == [
        ("A", 0),
        ("B", -MINUTE_NS),
        ("C", 0),
        ("D", 0),
    ]


def test_the_same_bar_comes_once_whatever_the_stream_repeats() -> None:
    """A duplicate would move every moving average twice."""
    reading = Reading()
    assert len(reading.read(bar("SPY", OPEN_NS), bar("SPY", OPEN_NS))) == 1
    assert reading.read(bar("SPY", OPEN_NS, 101.0)) == []
    assert len(reading.read(bar("SPY", OPEN_NS - MINUTE_NS))) == 1
    assert reading.counts.duplicates == 2


def test_an_updated_bar_is_an_event_of_its_own_and_never_rewrites_the_past() -> None:
    """It comes marked as a revision, after the bar it revises, which stays as it was."""
    found = Reading().read(bar("SPY", OPEN_NS), bar("SPY", OPEN_NS, 101.0, T="u"))
    assert [(one.close, one.revised, one.ts_event_ns) for one in found] == [
        (100.0, False, OPEN_NS + MINUTE_NS), (101.0, True, OPEN_NS + MINUTE_NS),
    ]  # fmt: skip


def test_a_daily_bar_is_a_datum_because_its_day_is_not_over() -> None:
    """A bar has a close; the day so far has none."""
    [found] = Reading().read(bar("SPY", OPEN_NS - 34_200 * SECOND_NS, 99.0, T="d", v=5_000_000))
    assert isinstance(found, Datum)
    assert (found.name, found.value, found.ts_event_ns) == ("daily_bar", 99.0, NOW_NS)
    assert json.loads(found.text)["volume"] == 5_000_000


def test_trades_keep_their_nanoseconds_and_come_once_per_exchange_and_number() -> None:
    """Trade numbers are unique by exchange and day only."""
    reading = Reading()
    trade = {"T": "t", "S": "SPY", "i": 7, "x": "D", "p": 100.5, "s": 3, "c": ["@", "I"], "z": "C"}
    at_ns = NOW_NS - 123_456_789
    [found] = reading.read(trade | {"t": stamp(at_ns)})
    assert found == Trade("SPY", at_ns, NOW_NS, 100.5, 3.0, "D-7", "@,I", "iex")
    assert reading.read(trade | {"t": stamp(at_ns)}) == []
    assert len(reading.read(trade | {"t": stamp(at_ns), "x": "V"})) == 1
    assert len(reading.read(trade | {"t": stamp(at_ns - 5), "i": 3})) == 1  # late, not twice


def test_a_quote_with_an_empty_side_is_a_quote() -> None:
    """A price of 0 means that nobody bids; the risk controls know what to do with it."""
    quote = {"T": "q", "S": "SPY", "ax": "Q", "ap": 100.2, "as": 400, "bx": "V", "bp": 0, "bs": 0, "c": ["R"], "z": "C"}
    [found] = Reading().read(quote | {"t": stamp(NOW_NS - 1)})
    assert found == Quote("SPY", NOW_NS - 1, NOW_NS, 0.0, 0.0, 100.2, 400.0, "iex")


def test_halts_and_price_bands_travel_together() -> None:
    """Each message carries one of the two; an event must not take back the other."""
    reading = Reading()
    band = {"T": "l", "S": "SPY", "u": 110.0, "d": 90.0, "i": "B", "z": "C", "t": stamp(NOW_NS)}
    halt = {
        "T": "s",
        "S": "SPY",
        "sc": "H",
        "sm": "Trading Halt",
        "rc": "T1",
        "rm": "News",
        "z": "C",
        "t": stamp(NOW_NS),
    }
    found = reading.read(band, halt, band, halt | {"sc": "Q"}, halt | {"sc": "E", "z": "A"}, halt | {"sc": "T"})
    assert [one.state for one in found] == ["trading", "halted", "halted", "halted", "halted", "trading"]
    assert {(one.limit_up_price, one.limit_down_price) for one in found} == {(110.0, 90.0)}
    assert found[1].reason == "H Trading Halt T1 News"
    assert isinstance(found[1], Status)


def test_corrections_and_cancels_are_data() -> None:
    """They say something about prints that strategies have had; what to make of it is theirs."""
    correction = {"T": "c", "S": "A", "x": "M", "oi": 52, "op": 100.1, "os": 10, "oc": ["@"], "ci": 53, "cp": 100.2,
                  "cs": 10, "cc": ["@"], "z": "C", "t": stamp(NOW_NS)}  # fmt: skip
    cancel = {"T": "x", "S": "A", "i": 52, "x": "M", "p": 100.1, "s": 10, "a": "C", "z": "C", "t": stamp(NOW_NS)}
    found = Reading().read(correction, cancel)
    assert [(one.name, one.value) for one in found] == [("trade_correction", 100.2), ("trade_cancel", 100.1)]


def test_news_comes_once_per_version_and_knows_when_it_was_out() -> None:
    """An update re-sends the same id; a text written hours ago is received now."""
    reading = Reading(canonical={"BTCUSD": "BTC/USD"})
    article = {"T": "n", "id": 9, "headline": "H", "summary": "", "author": "", "url": "", "content": "x" * 10_000,
               "symbols": ["AAPL", "BTCUSD"], "source": "benzinga", "created_at": stamp(NOW_NS - 3600 * SECOND_NS),
               "updated_at": stamp(NOW_NS - SECOND_NS)}  # fmt: skip
    [found] = reading.read(article)
    assert found == News(
        NOW_NS - SECOND_NS, NOW_NS, "H", ("AAPL", "BTC/USD"), "9", source="iex/benzinga"
    )  # fmt: skip
    assert reading.read(article) == []
    assert len(reading.read(article | {"updated_at": stamp(NOW_NS), "symbols": []})) == 1


def test_time_never_runs_backwards_in_what_is_published() -> None:
    """A clock that is set back, or that is behind the exchange's, does not turn events around."""
    reading = Reading()
    early = reading.read(bar("A", NOW_NS - MINUTE_NS), now_ns=NOW_NS - SECOND_NS)  # our clock is a second behind
    later = reading.read(bar("B", OPEN_NS), now_ns=NOW_NS - 2 * SECOND_NS)
    assert [one.ts_recv_ns for one in early + later] == [NOW_NS, NOW_NS]
    assert early[0].ts_recv_ns >= early[0].ts_event_ns


# --- bad messages ----------------------------------------------------------------------------------------------------

BAD = [
    bar("A", OPEN_NS, h=1.0), bar("A", OPEN_NS, c=float("nan")), bar("A", OPEN_NS, o=float("inf")),
    bar("A", OPEN_NS, l=0), bar("A", OPEN_NS, v=-1), bar("A", OPEN_NS, t=None),
    bar("A", OPEN_NS, t="2026-01-05T14:30:00Z"),
    bar("A", OPEN_NS + 3600 * SECOND_NS), {"T": "b", "S": "A"}, {"S": "A"}, {"T": 5}, "text", None, [],
    {"T": "q", "S": "A", "bp": 1.0, "bs": 1, "t": stamp(OPEN_NS)}, bar("A", OPEN_NS, S=None),
    bar("A", OPEN_NS, t=msgpack.ExtType(5, b"12345678")),
    {"T": "t", "S": "A", "p": -1.0, "s": 1, "t": stamp(OPEN_NS)},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_bad_message_is_skipped_and_counted_and_its_neighbors_are_not(bad: Any) -> None:
    """One bad message must not cost the rest of its frame, as it does where a frame is decoded as a whole only."""
    reading = Reading()
    found = reading.read(bar("B", OPEN_NS), bad, bar("C", OPEN_NS))
    assert [one.symbol for one in found] == ["B", "C"]
    assert (reading.counts.malformed, reading.counts.unknown) == (1, 0)


def test_unknown_kinds_and_fields_are_skipped_and_counted() -> None:
    """The service grows; a message type of tomorrow is no fault of today."""
    reading = Reading()
    found = reading.read({"T": "i", "S": "A", "p": 1.0}, bar("B", OPEN_NS, new_field={"a": [1]}), {"T": "o", "S": "B"})
    assert [one.symbol for one in found] == ["B"]
    assert (reading.counts.malformed, reading.counts.unknown) == (0, 2)


def test_a_burst_of_malformed_messages_is_a_feed_failure() -> None:
    """One bad message is bad luck, fifty within ten seconds are a broken connection; spread out they are not."""
    reading = Reading()
    for index in range(2 * BURST):
        reading.read({"T": "b"}, now_ns=NOW_NS + index * SECOND_NS)
    with pytest.raises(StreamLost, match="50 malformed messages within 10 s"):
        reading.read(*[{"T": "b"}] * BURST, now_ns=NOW_NS + 2 * BURST * SECOND_NS)


def test_a_clock_that_is_wrong_is_named_as_the_reason() -> None:
    """Bars from far in our future mean that this machine's clock is slow."""
    reading = Reading()
    with pytest.raises(StreamLost, match=r"bar from 3600\.0 s in our future; is this machine's clock right\?"):
        reading.read(*[bar("A", NOW_NS - MINUTE_NS + 3600 * SECOND_NS)] * BURST)


@pytest.mark.parametrize(
    "frame", [b"", b"\x00", b"\xc1", b"not msgpack", b"\xdd\xff\xff\xff\xff", msgpack.packb({"T": "b"})]
)
def test_a_frame_that_is_no_array_changes_nothing(frame: bytes) -> None:
    """Whatever bytes come, the reader goes on."""
    reading = Reading()
    reading.reader.read(frame, NOW_NS)
    assert reading.events == []
    assert reading.counts.malformed == 1


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise_or_publish_nonsense(frame: bytes) -> None:
    """Anything may come over a wire."""
    reading = Reading()
    reading.reader.read(frame, NOW_NS)
    assert reading.events == []


@pytest.mark.parametrize(("code", "error"), [(407, StreamLost), (406, StreamLost), (500, StreamLost), (405, FeedError)])
def test_an_error_message_ends_the_connection(code: int, error: type[Exception]) -> None:
    """None of them is only logged: a subscription that was refused would be silence without end."""
    with pytest.raises(error):
        Reading().read({"T": "error", "code": code, "msg": "x"})


# --- instants --------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=2**33 * SECOND_NS))
def test_an_instant_survives_msgpack_and_text_to_the_nanosecond(ts_ns: int) -> None:
    """All three lengths of the extension, and nine digits of a second."""
    unpacked = msgpack.unpackb(msgpack.packb(stamp(ts_ns)), ext_hook=lambda code, data: (code, data), timestamp=0)
    assert isinstance(unpacked, msgpack.Timestamp)
    import msgspec

    extension = msgspec.msgpack.decode(msgpack.packb(stamp(ts_ns)), type=msgspec.msgpack.Ext)
    assert extension_ns(extension) == ts_ns
    assert parse_ns(format_ns(ts_ns)) == ts_ns


@pytest.mark.parametrize(
    ("text", "ts_ns"),
    [
        ("2021-11-20T00:59:00Z", 1_637_369_940 * SECOND_NS),
        ("2021-10-13T08:00:00.08960768Z", 1_634_112_000 * SECOND_NS + 89_607_680),
        ("2022-05-16T16:32:24.14373588-04:00", 1_652_733_144 * SECOND_NS + 143_735_880),
        ("2022-05-16t16:32:24.1234567899z", 1_652_718_744 * SECOND_NS + 123_456_789),
    ],
)
def test_texts_with_any_offset_and_any_digits_are_read(text: str, ts_ns: int) -> None:
    """Offsets and precisions are mixed within one answer."""
    assert parse_ns(text) == ts_ns


@pytest.mark.parametrize("text", ["", "now", "2021-11-20", "2021-13-40T00:00:00Z", "2021-11-20T00:59:00"])
def test_a_text_that_is_no_instant_is_refused(text: str) -> None:
    """A time without a zone would be somebody's local one."""
    with pytest.raises(ValueError):
        parse_ns(text)


# --- recorded payloads -----------------------------------------------------------------------------------------------


def _packed(value: Any) -> Any:
    if isinstance(value, dict):
        if "$msgpack_timestamp" in value:
            found = value["$msgpack_timestamp"]
            return msgpack.Timestamp(found["seconds"], found["nanoseconds"])
        return {key: _packed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_packed(part) for part in value]
    if isinstance(value, str) and value[:2] == "20" and "T" in value:
        return stamp(parse_ns(value))
    return value


def test_every_recorded_data_frame_reads(shared_data: Path) -> None:
    """The frames of the vendor's own test suites: what they expect to be understood, we understand."""
    lines = (shared_data / "alpaca" / "stream_sdk_tests.jsonl").read_text().splitlines()
    frames = [json.loads(line)["frame"] for line in lines]
    reading = Reading()
    for frame in frames:
        if isinstance(frame, list) and frame[0].get("T") not in ("error", "subscription", "success"):
            reading.read(*_packed(frame))
    assert reading.counts.malformed == 0
    assert reading.counts.unknown >= 2
    kinds = {type(event) for event in reading.events}
    assert kinds == {Bar, Quote, Trade, News, Status, Datum}
