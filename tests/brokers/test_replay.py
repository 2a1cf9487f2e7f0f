"""The recorded feed: one order whatever the files, one sequence whatever the batches, bounded memory."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from brokers.merge import Chunk, merge
from brokers.replay import ReplayFeed
from brokers.streams import JournalStream, Selection, TapeStream
from brokers.tape.schema import KINDS, columns
from brokers.tape.writer import TapeWriter
from engine import daemon
from engine.config import from_dict
from engine.errors import ConfigError, TapeError
from engine.events import (
    DAY_NS,
    EVENT_CLASS,
    MINUTE_NS,
    Bar,
    CorporateAction,
    Datum,
    MarketEvent,
    News,
    Quote,
    Status,
    Trade,
)
from engine.journal import Journal
from tests.runs import busy, market, on_tape

T0 = 1_550_000_000_000_000_000
MS = 1_000_000


def event(kind: str, ts_ns: int, symbol: str = "SPY") -> MarketEvent:
    made: dict[str, MarketEvent] = {
        "bar": Bar(symbol, ts_ns, ts_ns, 1.0, 2.0, 0.5, 1.5, float(ts_ns % 97), MINUTE_NS),
        "quote": Quote(symbol, ts_ns, ts_ns, 1.0, float(ts_ns % 89), 1.01, 1.0),
        "trade": Trade(symbol, ts_ns, ts_ns, 1.0, 1.0, str(ts_ns)),
        "news": News(ts_ns, ts_ns, f"{symbol} {ts_ns}", (symbol,)),
        "status": Status(symbol, ts_ns, ts_ns, "halted"),
        "corporate_action": CorporateAction(symbol, ts_ns, ts_ns, "split", 2, 1),
        "datum": Datum("rate", ts_ns, ts_ns, symbol, ts_ns / 7),
    }
    return made[kind]


def bars(symbol: str, *minutes: int) -> list[MarketEvent]:
    return [event("bar", T0 + minute * MINUTE_NS, symbol) for minute in minutes]


def tape(path: Path, events: list[MarketEvent]) -> Path:
    kind = next(kind for kind, struct in KINDS.items() if type(events[0]) is struct)
    with TapeWriter(path, kind) as writer:
        writer.write_events(events)
    return path


def feed(*paths: Path, **chosen: object) -> ReplayFeed:
    return ReplayFeed(ReplayFeed.Settings.model_validate({"paths": paths, **chosen}))


def play(*paths: Path, **chosen: object) -> list[MarketEvent]:
    return [one for batch in feed(*paths, **chosen).batches() for one in batch]


class ListStream:
    """Events of one kind in memory as a stream."""

    def __init__(self, events: list[MarketEvent]) -> None:
        self.events = events
        self.first_ns = events[0].ts_recv_ns if events else T0
        self.last_ns = events[-1].ts_recv_ns if events else T0

    def chunks(self, rows: int) -> Iterator[Chunk]:
        for start in range(0, len(self.events), rows):
            some = self.events[start : start + rows]
            fields = [[getattr(one, name) for one in some] for name in type(some[0]).__struct_fields__]
            columns = [self._column(field) for field in fields]
            recv_ns = np.array([one.ts_recv_ns for one in some])
            yield Chunk(recv_ns, np.array([EVENT_CLASS[type(one)] for one in some]), type(some[0]), columns)

    @staticmethod
    def _column(values: list[object]) -> np.ndarray:
        column = np.array(values) if isinstance(values[0], int | float) else np.fromiter(values, object, len(values))
        return np.broadcast_to(column[:1], len(column)) if values.count(values[0]) == len(values) else column


@st.composite
def streams(draw: st.DrawFn) -> list[list[MarketEvent]]:
    """Up to six streams of one kind each, over so few instants that most of them collide."""
    found = []
    for place in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(sorted(KINDS)))
        instants = sorted(draw(st.lists(st.integers(0, 12), max_size=25)))
        found.append([event(kind, T0 + instant, f"S{place}") for instant in instants])
    return found


def in_order(several: list[list[MarketEvent]]) -> list[MarketEvent]:
    """The contract itself: everything in one list, sorted by the whole key."""
    keyed = [
        ((one.ts_recv_ns, EVENT_CLASS[type(one)], stream, row), one)
        for stream, events in enumerate(several)
        for row, one in enumerate(events)
    ]
    return [one for _, one in sorted(keyed, key=lambda pair: pair[0])]


@settings(max_examples=300, deadline=None)
@given(several=streams(), rows=st.integers(1, 9))
def test_a_merge_is_a_sort_by_the_whole_key(several: list[list[MarketEvent]], rows: int) -> None:
    """(`ts_recv_ns`, class, stream, row), for every way in which the chunks may fall."""
    merged = [one for batch in merge([ListStream(events) for events in several], rows) for one in batch]
    assert merged == in_order(several)


@settings(max_examples=25, deadline=None)
@given(several=streams())
def test_files_merge_as_their_events_do(
    several: list[list[MarketEvent]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same through real tapes, Parquet and CSV in turn."""
    several = [events for events in several if events]
    if not several:
        return
    folder = tmp_path_factory.mktemp("tapes")
    for place, events in enumerate(several):
        tape(folder / f"{place}.{('parquet', 'csv')[place % 2]}", events)
    assert play(folder) == in_order(several)


def test_every_batch_size_gives_the_same_sequence(tmp_path: Path) -> None:
    """Where a batch ends is nobody's business but the reader's."""
    several = [bars(name, *range(start, 40, step)) for name, start, step in (("A", 0, 1), ("B", 1, 3), ("C", 20, 2))]
    plain = feed(*(tape(tmp_path / f"{place}.parquet", events) for place, events in enumerate(several)))
    expected = in_order(several)
    for rows in (1, 2, 3, 7, 16, 39, 40, 41, 4096):
        assert [one for batch in merge(plain._streams, rows) for one in batch] == expected


def test_a_feed_plays_again_from_the_start(tmp_path: Path) -> None:
    """`batches` is a new iterator each time: warm-up and run, run and verify."""
    once = feed(tape(tmp_path / "a.parquet", bars("A", *range(9))))
    assert [*once.batches()] == [*once.batches()]


def test_files_that_follow_each_other_are_opened_one_by_one() -> None:
    """A year of daily files needs the memory of a day."""
    open_now: list[int] = []
    most = []

    class Counted(ListStream):
        def chunks(self, rows: int) -> Iterator[Chunk]:
            open_now.append(1)
            most.append(len(open_now))
            yield from super().chunks(rows)
            open_now.pop()

    days = [Counted(bars("A", *range(day * 10, day * 10 + 10))) for day in range(20)]
    assert sum(len(batch) for batch in merge(days, 4)) == 200
    assert max(most) <= 2


# --- attributes ------------------------------------------------------------------------------------------------------


def test_a_feed_says_its_symbols_span_and_fingerprint(tmp_path: Path) -> None:
    """The daemon needs them before the first event; one tape's fingerprint is its file's SHA-256."""
    one = tape(tmp_path / "a.parquet", bars("MSFT", 3, 4))
    two = tape(tmp_path / "b.csv", [event("news", T0, "AAPL")])
    both = feed(two, one)
    assert both.symbols == ["AAPL", "MSFT"]
    assert both.span_ns == (T0, T0 + 4 * MINUTE_NS)
    assert feed(one).fingerprint == hashlib.sha256(one.read_bytes()).hexdigest()
    assert both.fingerprint == hashlib.sha256(two.read_bytes() + one.read_bytes()).hexdigest()


def test_a_tape_is_hashed_once_and_only_when_somebody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start builds its feed twice, first to see what is wrong; for its hash a large tape is read once."""
    hashed: list[TapeStream] = []
    digest = TapeStream.digest
    monkeypatch.setattr(TapeStream, "digest", lambda stream, into: (hashed.append(stream), digest(stream, into)))
    tree = on_tape(tmp_path, market(1, 5), **busy())
    kinds = len(list((tmp_path / "tape").iterdir()))
    daemon.check(from_dict(tree))
    assert hashed == []
    daemon.run(from_dict(tree))
    assert len(hashed) == kinds


def test_a_folder_is_its_tapes_in_order_of_name(tmp_path: Path) -> None:
    """Searched whole; what is no tape by its name is left alone, such as a half-written one."""
    for name in ("b/2.parquet", "b/1.csv", "a.csv.gz"):
        tape(tmp_path / name, bars(name, 1))
    (tmp_path / "c.parquet.partial").write_bytes(b"half")
    (tmp_path / "readme.txt").write_text("no tape")
    assert [one.symbol for one in play(tmp_path) if isinstance(one, Bar)] == ["a.csv.gz", "b/1.csv", "b/2.parquet"]
    assert feed(tmp_path).fingerprint == feed(tmp_path / "a.csv.gz", tmp_path / "b").fingerprint


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_paths_that_hold_no_tape_are_refused(tmp_path: Path) -> None:
    """Nothing to replay is a mistake, and so is the same tape twice."""
    with pytest.raises(TapeError, match="no tape in this folder"):
        feed(tmp_path)
    with pytest.raises(TapeError, match="there is no such file"):
        feed(tmp_path / "none.parquet")
    with pytest.raises(TapeError, match=r"x\.csv: cannot be read: File name too long"):
        feed(tmp_path / ("x" * 300 + ".csv"))
    one = tape(tmp_path / "a.parquet", bars("A", 1))
    with pytest.raises(TapeError, match="named twice"):
        feed(tmp_path, one)
    with pytest.raises(ValidationError):
        feed()


def test_a_tape_out_of_order_is_found_while_it_streams(tmp_path: Path) -> None:
    """Between two batches as well as within one, with the row."""
    import pyarrow.parquet as pq

    path = tape(tmp_path / "a.parquet", bars("A", *range(9000)))
    table = pq.read_table(path)
    order = [*range(4096), 5000, *range(4096, 5000), *range(5001, 9000)]
    pq.write_table(table.take(order).replace_schema_metadata(pq.read_metadata(path).metadata), tmp_path / "b.parquet")
    with pytest.raises(TapeError, match=r"b\.parquet row 4098: out of order"):
        play(tmp_path / "b.parquet")


# --- selections ------------------------------------------------------------------------------------------------------


def test_symbols_keep_their_events_and_what_concerns_everybody(tmp_path: Path) -> None:
    """A filter by symbol does not drop news for the whole market, nor a rate that has no symbol."""
    tape(tmp_path / "bars.parquet", [*bars("AAPL", 1), *bars("MSFT", 1), *bars("AAPL", 2)])
    tape(
        tmp_path / "news.csv",
        [
            News(T0, T0, "both", ("AAPL", "MSFT")),
            News(T0, T0, "other", ("MSFT",)),
            News(T0, T0, "all"),
        ],
    )
    tape(tmp_path / "rates.parquet", [Datum("rate", T0, T0, value=1.0), Datum("eps", T0, T0, "MSFT", 2.0)])
    chosen = feed(tmp_path, symbols=["AAPL"])
    found = [one for batch in chosen.batches() for one in batch]
    assert chosen.symbols == ["AAPL"]
    assert [one.headline for one in found if isinstance(one, News)] == ["both", "all"]
    assert [one.name for one in found if isinstance(one, Datum)] == ["rate"]
    assert [one.ts_event_ns for one in found if isinstance(one, Bar)] == [T0 + MINUTE_NS, T0 + 2 * MINUTE_NS]


def test_a_symbol_on_no_tape_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    """A typing error must not become an empty backtest."""
    path = tape(tmp_path / "a.parquet", bars("AAPL", 1))
    with pytest.raises(ConfigError, match="feed.symbols: 'APPL' is on no tape; did you mean 'AAPL'?"):
        feed(path, symbols=["APPL"])


def test_start_is_included_and_end_is_not(tmp_path: Path) -> None:
    """Half-open, by the time of reception, whatever row groups and batches the tape has."""
    path = tape(tmp_path / "a.parquet", bars("A", *range(100)))
    start, end = (datetime.fromtimestamp(T0 // 10**9 + 60 * minute, UTC) for minute in (20, 30))
    chosen = feed(path, start=start, end=end)
    assert [one for batch in chosen.batches() for one in batch] == bars("A", *range(20, 30))
    assert chosen.span_ns == (T0 + 20 * MINUTE_NS, T0 + 30 * MINUTE_NS - 1)
    assert play(path, start=start) == bars("A", *range(20, 100))
    assert play(path, end=end) == bars("A", *range(30))
    with pytest.raises(TapeError, match="nothing on the tape lies between"):
        feed(path, start="2030-01-01")


@pytest.mark.parametrize("written", ["2019-02-12T19:33:20", "2019-02-12T14:33:20-05:00", "2019-02-12 19:33:20Z"])
def test_an_instant_is_utc_unless_it_says_otherwise(written: str, tmp_path: Path) -> None:
    """And a bare date is its UTC midnight."""
    path = tape(tmp_path / "a.parquet", [event("trade", T0 - 1), event("trade", T0)])
    assert play(path, start=written) == [event("trade", T0)]
    assert feed(path, start="2019-02-12").span_ns == (T0 - 1, T0)


def test_a_delay_moves_reception_and_so_the_order(tmp_path: Path) -> None:
    """News that took two seconds arrives after the quote of one second later; the event's own time stays."""
    tape(tmp_path / "a.parquet", [event("quote", T0 + 1000 * MS)])
    tape(tmp_path / "b.parquet", [event("news", T0)])
    assert [type(one) for one in play(tmp_path)] == [News, Quote]
    late = play(tmp_path, recv_delay_ms={"news": 2000})
    assert [type(one) for one in late] == [Quote, News]
    assert (late[1].ts_event_ns, late[1].ts_recv_ns) == (T0, T0 + 2000 * MS)
    with pytest.raises(ValidationError):
        feed(tmp_path, recv_delay_ms={"news": -1})
    with pytest.raises(ValidationError):
        feed(tmp_path, recv_delay_ms={"gossip": 1})
    with pytest.raises(ValidationError, match=r"recv_delay_ms\.news\n.* less than or equal to 31622400000"):
        feed(tmp_path, recv_delay_ms={"news": 10**18})
    assert play(tmp_path, recv_delay_ms={"news": 366 * 86_400_000})[1].ts_recv_ns == T0 + 366 * DAY_NS


# --- journals --------------------------------------------------------------------------------------------------------


def journal(path: Path, *records: MarketEvent) -> Path:
    written = Journal(path)
    for record in records:
        written.append(record)
    written.commit()
    written.close()
    return path


def test_the_journal_of_a_live_run_replays_in_its_own_order(tmp_path: Path) -> None:
    """Market events come back as they were worked off, decisions stay out; it merges with tapes like any other."""
    from engine.events import TradingStateChanged

    events = [event("bar", T0), event("quote", T0), event("trade", T0 + 5)]
    path = journal(tmp_path / "run.journal", events[0], TradingStateChanged("halted", T0, "C31", "x"), *events[1:])
    assert play(path) == events
    assert feed(path).symbols == ["SPY"]
    other = tape(tmp_path / "z.parquet", [event("status", T0 + 1)])
    assert [type(one) for one in play(path, other)] == [Quote, Bar, Status, Trade]
    again = journal(tmp_path / "copy.db", events[0], TradingStateChanged("halted", T0, "C31", "x"), *events[1:])
    assert feed(again).fingerprint == feed(path).fingerprint


def test_the_journal_of_a_run_that_goes_on_or_was_killed_replays_to_its_last_event(tmp_path: Path) -> None:
    """What does not fill a page yet is in its tail, and part of the tape."""
    events = [event("bar", T0), event("quote", T0 + 1), event("trade", T0 + 5)]
    written = Journal(tmp_path / "run.journal")
    for number, record in enumerate(events):
        written.append(record)
        written.commit()
        assert play(tmp_path / "run.journal") == events[: number + 1]
        if number == 1:
            written.digest()
            assert play(tmp_path / "run.journal") == events[:2]
    written.abandon()
    assert play(tmp_path / "run.journal") == events
    whole = journal(tmp_path / "whole.journal", *events)
    assert feed(tmp_path / "run.journal").fingerprint == feed(whole).fingerprint


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    """A database of something else, a text file, a journal without the market."""
    with pytest.raises(TapeError, match="there is no such file"):
        feed(tmp_path / "none.journal")
    (tmp_path / "text.journal").write_text("hello " * 100)
    with pytest.raises(TapeError, match="no journal, or a damaged one"):
        feed(tmp_path / "text.journal")
    with pytest.raises(TapeError, match=r"none\.journal: cannot be read: unable to open database file"):
        JournalStream(tmp_path / "none.journal", Selection(frozenset(), 0, 1))
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table things (x)")
    other.close()
    with pytest.raises(TapeError, match="no such table: pages"):
        feed(tmp_path / "other.db")
    from engine.events import RunEnded

    with pytest.raises(TapeError, match="no market events in this journal"):
        feed(journal(tmp_path / "replay.journal", RunEnded(T0, 3)))


# --- costs -----------------------------------------------------------------------------------------------------------

PLAY = """
import resource, sys
bare_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import time
from brokers.replay import ReplayFeed
from brokers.streams import TapeStream
feed = ReplayFeed(ReplayFeed.Settings(paths=(sys.argv[1],)))
started = time.process_time()
events = sum(map(len, feed.batches()))
seconds = time.process_time() - started
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - bare_kib) / 1024
assert "pandas" not in sys.modules
print(events, events / seconds, grown)
"""


def cost(path: Path) -> tuple[int, float, float]:
    """Play a tape in a process of its own: events, events a second, and megabytes above the bare interpreter."""
    done = subprocess.run([sys.executable, "-c", PLAY, str(path)], capture_output=True, text=True, check=True)
    events, per_second, grown_mb = done.stdout.split()
    return int(events), float(per_second), float(grown_mb)


def long_tape(path: Path, rows: int) -> Path:
    import pyarrow as pa

    symbols = [f"S{place:03d}" for place in range(100)]
    dice = np.random.default_rng(7)
    names = [column.name for column in columns("bar") if column.required]
    with TapeWriter(path, "bar", names=names) as writer:
        for start in range(0, rows, 100_000):
            ts_ns = T0 + (start // 100 + np.arange(100_000) // 100) * MINUTE_NS
            price = 100 + dice.integers(-500, 500, 100_000) / 100
            found = {"symbol": symbols * 1000, "ts_event_ns": ts_ns, "ts_recv_ns": ts_ns, "open": price}
            found |= {"high": price + 1, "low": price - 1, "close": price, "volume": price * 10}
            writer.write(pa.record_batch({**found, "interval_ns": np.full(100_000, MINUTE_NS)}))
    return path


def test_a_replay_needs_no_pandas_and_little_memory(tmp_path: Path) -> None:
    """Importing pandas would cost more memory than streaming does."""
    events, _, grown_mb = cost(long_tape(tmp_path / "a.parquet", 200_000))
    assert events == 200_000
    assert grown_mb < 150


@pytest.mark.long
def test_twenty_million_bars_take_no_more_memory_than_a_few(tmp_path: Path) -> None:
    """Bounded by the batch, not by the tape; the speed is a floor for any machine, not the figure of the README."""
    _, _, few_mb = cost(long_tape(tmp_path / "few.parquet", 200_000))
    events, per_second, grown_mb = cost(long_tape(tmp_path / "many.parquet", 20_000_000))
    assert events == 20_000_000
    assert grown_mb < few_mb + 15
    assert per_second > 1_000_000
