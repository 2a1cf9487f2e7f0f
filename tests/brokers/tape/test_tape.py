"""The tape as a file: what is written comes back, what is wrong is named with its file and row."""

import gzip
import hashlib
import json
import resource
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brokers.replay import ReplayFeed
from brokers.tape.inspection import inspect_tape
from brokers.tape.reader import Tape
from brokers.tape.schema import KINDS, METADATA_KEY, columns, faults
from brokers.tape.source import Complaints, Source
from brokers.tape.writer import TapeWriter
from engine.errors import TapeError
from engine.events import (
    DAY_NS,
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

T0 = 1_550_000_000_000_000_000
HEADER = "symbol,ts_event_ns,ts_recv_ns,price,size\n"

EXAMPLES: dict[str, list[MarketEvent]] = {
    "bar": [
        Bar("SPY", T0, T0, 1.5, 2.0, 1.0, 1.75, 100.0, MINUTE_NS),
        Bar("AAPL", T0, T0 + 5, 0.1, 0.3, 0.1, 0.2, 0.0, 2 * MINUTE_NS, 0.15, 7, True, "x"),
        Bar("AAPL", -5, T0 + 5, 0.1, 0.3, 0.1, 0.2, 0.0, 2 * MINUTE_NS, 0.25),
    ],
    "quote": [Quote("SPY", T0, T0, 1.0, 100.0, 1.01, 200.0), Quote("BTC/USD", T0, T0, 1.0, 1.5, 1.0, 2.5, "cb")],
    "trade": [Trade("SPY", T0, T0, 1.0, 100.0), Trade("SPY", T0, T0, 1.0, 0.1, "id-1", "@,T", "x")],
    "news": [
        News(T0, T0, 'A "quoted", headline'),
        News(T0, T0, "Über", ("AAPL", "SPY"), "n1", "Ann", "all of it", "http://x", "wire"),
    ],
    "status": [Status("SPY", T0, T0, "halted", "LULD", 101.5, 99.5, "x"), Status("SPY", T0, T0 + 1, "trading")],
    "corporate_action": [
        CorporateAction("AIG", T0, T0, "split", 1, 20),
        CorporateAction("AAPL", T0, T0, "cash_dividend", amount_usd=Decimal("0.470000000000000001"), source="x"),
        CorporateAction("FB", T0, T0, "symbol_change", new_symbol="META"),
    ],
    "datum": [Datum("cpi", T0, T0, value=3.25), Datum("filing", T0, T0, "AAPL", text="8-K 2.02", source="edgar")],
}


def written(path: Path, kind: str, events: list[MarketEvent], **options: str) -> Path:
    with TapeWriter(path, kind, **options) as tape:
        tape.write_events(events)
    return path


def read(*paths: Path, **settings: object) -> list[MarketEvent]:
    feed = ReplayFeed(ReplayFeed.Settings(paths=paths, **settings))
    return [event for batch in feed.batches() for event in batch]


def trades(count: int) -> list[MarketEvent]:
    return [Trade("SPY", T0 + i, T0 + i, 1.5, 10.0) for i in range(count)]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_kind_survives_a_tape(kind: str, suffix: str, tmp_path: Path) -> None:
    """What was written is what is replayed: to the type, to the last digit of an amount, to the empty string."""
    events = EXAMPLES[kind]
    assert read(written(tmp_path / f"a.{suffix}", kind, events)) == events
    assert {type(event) for event in events} == {KINDS[kind]}


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_are_the_fields_of_the_struct(kind: str) -> None:
    """The schema is written once, in `engine.events`."""
    assert tuple(column.name for column in columns(kind)) == KINDS[kind].__struct_fields__


def test_only_required_columns_need_to_be_there(tmp_path: Path) -> None:
    """A column that a source has nothing for may be missing, and its field takes its default."""
    required = [column.name for column in columns("bar") if column.required]
    with TapeWriter(tmp_path / "a.parquet", "bar", names=required) as tape:
        tape.write_events(EXAMPLES["bar"])
    assert Tape(tmp_path / "a.parquet").names == tuple(required)
    assert read(tmp_path / "a.parquet")[1] == Bar("AAPL", T0, T0 + 5, 0.1, 0.3, 0.1, 0.2, 0.0, 2 * MINUTE_NS)


def test_a_parquet_tape_says_what_it_holds(tmp_path: Path) -> None:
    """The footer spares a scan, and anybody can read it as JSON."""
    path = written(tmp_path / "a.parquet", "news", EXAMPLES["news"], calendar="XNYS", note="two headlines")
    metadata = json.loads(pq.read_metadata(path).metadata[METADATA_KEY])
    assert metadata == {
        "schema_version": 1, "kind": "news", "rows": 2, "first_recv_ns": T0, "last_recv_ns": T0,
        "symbols": ["AAPL", "SPY"], "calendar": "XNYS", "note": "two headlines",
    }  # fmt: skip


def test_a_tape_without_metadata_is_scanned_to_the_same_summary(tmp_path: Path) -> None:
    """A tape written by another program, or a CSV file, is worth as much."""
    own = written(tmp_path / "own.parquet", "bar", EXAMPLES["bar"])
    pq.write_table(pq.read_table(own).replace_schema_metadata(None), tmp_path / "other.parquet")
    assert Tape(tmp_path / "other.parquet").noted is None
    assert Tape(tmp_path / "other.parquet").summary == Tape(own).summary
    assert Tape(written(tmp_path / "own.csv", "bar", EXAMPLES["bar"])).summary == Tape(own).summary


def test_a_foreign_parquet_of_other_widths_is_read(tmp_path: Path) -> None:
    """float32, int32, large strings and pandas' categories lose nothing when widened."""
    table = pa.table(
        {
            "size": pa.array([1, 2], pa.int32()),
            "price": pa.array([1.5, 2.5], pa.float32()),
            "ts_recv_ns": pa.array([T0, T0 + 1]),
            "ts_event_ns": pa.array([T0, T0 + 1]),
            "symbol": pa.array(["SPY", "SPY"], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [Trade("SPY", T0, T0, 1.5, 1.0), Trade("SPY", T0 + 1, T0 + 1, 2.5, 2.0)]


def test_the_interval_is_noted_where_all_bars_share_it(tmp_path: Path) -> None:
    """One length is worth knowing; of two lengths none is."""
    assert Tape(written(tmp_path / "a.parquet", "bar", EXAMPLES["bar"][:1])).summary.interval_ns == MINUTE_NS
    assert Tape(written(tmp_path / "b.parquet", "bar", EXAMPLES["bar"])).summary.interval_ns == 0


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
def test_the_same_events_make_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    """So that a fingerprint tells tapes apart by what they hold, not by when they were written."""
    digests = {
        hashlib.sha256(written(tmp_path / name / f"a.{suffix}", "trade", trades(9)).read_bytes()).digest()
        for name in ("one", "two")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_failed_write_leaves_the_old_tape_and_nothing_else(suffix: str, tmp_path: Path) -> None:
    """Half a tape under its name would be taken for a whole one."""
    path = written(tmp_path / f"a.{suffix}", "trade", trades(3))
    before = path.read_bytes()
    with pytest.raises(TapeError, match="lies before"):
        written(path, "trade", [*trades(5), *trades(1)])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_tape_is_not_written_out_of_order_nor_empty_nor_under_a_strange_name(tmp_path: Path) -> None:
    """A tape that would be refused when it is read is refused when it is written."""
    with pytest.raises(TapeError, match="row 2 lies before"):
        written(tmp_path / "a.parquet", "trade", trades(2)[::-1])
    with pytest.raises(TapeError, match="not one row"):
        written(tmp_path / "a.parquet", "trade", [])
    with pytest.raises(TapeError, match="no tape by its name"):
        written(tmp_path / "a.feather", "trade", trades(1))
    with pytest.raises(TapeError, match="line break"):
        written(tmp_path / "a.csv", "news", [News(T0, T0, "two\nlines")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
def test_a_disk_that_refuses_is_told_and_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk."""
    events = [Trade("SPY", T0 + i, T0 + i, i / 7, 1.0) for i in range(20_000)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(TapeError, match=f"a.{suffix}: cannot be written: .*File too large"):
            written(tmp_path / f"a.{suffix}", "trade", events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TapeError, match="cannot be written"):
        written(tmp_path / "file" / f"a.{suffix}", "trade", trades(1))


# --- reading what is wrong -------------------------------------------------------------------------------------------


def told(path: Path) -> str:
    with pytest.raises(TapeError) as caught:
        read(path)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": the file is empty"),
        (HEADER, ": the tape holds no rows"),
        (HEADER.replace("price", "prise"), ": a trade tape has no column 'prise'; did you mean 'price'?"),
        ("symbol,ts_event_ns,ts_recv_ns,price\nSPY,1,1,1\n", ": a trade tape, but it has no column 'size'"),
        (HEADER.replace("size", "size,size"), ": a trade tape, but it names a column twice"),
        ("time,close\n1,2\n", ": no tape by its columns (time, close); `onetape import` makes one"),
        (HEADER + "SPY,1,1,1.5,10\nSPY,2,2,1.5,1", ": cut off: its last line has no end"),
        (HEADER + "SPY,1,1,1.5,10\nSPY,2,2,x,10\n", " line 3: CSV conversion error to double: invalid value 'x'"),
        (HEADER + "SPY,1,1,1.5,10\nSPY,2\n", " line 3: Expected 5 columns, got 2: SPY,2"),
        (HEADER + "SPY,1,1,1.5,10\nSPY,2,2,,10\n", " line 3: 'price' is empty"),
        (HEADER + "SPY,2,2,1.5,10\nSPY,1,1,1.5,10\n", " line 3: out of order"),
    ],
)
def test_a_bad_csv_tape_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    """One clear message: the file, the line where there is one, and what is wrong."""
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert told(path).startswith(message)


def test_the_line_is_right_far_into_a_csv_tape(tmp_path: Path) -> None:
    """A CSV file is read in blocks; lines are counted over all of them."""
    path = written(tmp_path / "a.csv", "trade", trades(30_000))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:25_000], lines[3], *lines[25_000:]]))
    assert told(path).startswith(" line 25001: out of order")
    path.write_text("".join([*lines[:25_000], lines[3].replace("1.5", "?"), *lines[25_000:]]))
    assert told(path).startswith(" line 25001: CSV conversion error")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("price", pa.array([1.5, None]), " row 2: 'price' is empty"),
        ("symbol", pa.array(["SPY", None]), " row 2: 'symbol' is empty"),
        ("price", pa.array(["a", "b"]), ": column 'price' holds string, not double"),
        ("ts_recv_ns", pa.array([T0, T0], pa.timestamp("ns")), ": column 'ts_recv_ns' holds timestamp[ns], not int64"),
        ("ts_recv_ns", pa.array([T0 + 1, T0]), " row 2: out of order"),
    ],
)
def test_a_bad_parquet_tape_is_refused_with_its_row(
    column: str, values: pa.Array, message: str, tmp_path: Path
) -> None:
    """The same promise as for CSV, by row."""
    path = written(tmp_path / "a.parquet", "trade", trades(2))
    table = pq.read_table(path).replace_schema_metadata(None)
    pq.write_table(table.set_column(table.schema.names.index(column), column, values), path)
    assert told(path).startswith(message)


@pytest.mark.parametrize(
    ("kind", "column", "value", "message"),
    [
        ("status", "state", "closed", " line 2: 'state' is 'closed', not one of trading, halted"),
        ("corporate_action", "action", "merger", " line 2: 'action' is 'merger', not one of split, cash_dividend"),
        ("corporate_action", "amount_usd", "much", ": 'amount_usd' is 'much', which is no amount"),
        ("corporate_action", "amount_usd", "NaN", ": 'amount_usd' is 'NaN', which is no amount"),
    ],
)
def test_a_word_that_a_field_does_not_know_is_refused(
    kind: str, column: str, value: str, message: str, tmp_path: Path
) -> None:
    """A struct is not checked when it is made, so the tape is."""
    path = written(tmp_path / "a.csv", kind, EXAMPLES[kind])
    header, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index(column)] = value
    path.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")
    assert told(path).startswith(message)


SENSELESS = [
    ("bar", {"interval_ns": 0}, "interval_ns is not between 1 ns and 366 days"),
    ("bar", {"interval_ns": -MINUTE_NS}, "interval_ns is not between 1 ns and 366 days"),
    ("bar", {"interval_ns": 367 * DAY_NS}, "interval_ns is not between 1 ns and 366 days"),
    ("bar", {"symbol": ""}, "symbol is empty"),
    ("quote", {"symbol": ""}, "symbol is empty"),
    ("trade", {"symbol": ""}, "symbol is empty"),
    ("status", {"symbol": ""}, "symbol is empty"),
    ("datum", {"name": ""}, "name is empty"),
    ("corporate_action", {"symbol": ""}, "symbol is empty"),
    ("corporate_action", {"new_shares": 0}, "new_shares is not positive"),
    ("corporate_action", {"old_shares": -1}, "old_shares is not positive"),
    ("corporate_action", {"action": "symbol_change"}, "new_symbol is empty"),
]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize(("kind", "changed", "message"), SENSELESS)
def test_a_row_without_sense_is_refused_with_its_place_and_counted_by_an_inspection(
    kind: str, changed: dict[str, object], message: str, suffix: str, tmp_path: Path
) -> None:
    """A run would divide by it or trade what has no name; the good row ahead of it is no help."""
    good = EXAMPLES[kind][0]
    path = written(tmp_path / f"a.{suffix}", kind, [good] * 2)
    if suffix == "csv":
        header, row, _ = path.read_text().splitlines()
        bad = [str(changed.get(name, cell)) for name, cell in zip(header.split(","), row.split(","), strict=True)]
        path.write_text("\n".join([header, row, ",".join(bad)]) + "\n")
    else:
        table = pq.read_table(path)
        for name, value in changed.items():
            values = pa.array([getattr(good, name), value], table.schema.field(name).type)
            table = table.set_column(table.schema.names.index(name), name, values)
        pq.write_table(table.replace_schema_metadata(pq.read_metadata(path).metadata), path)
    assert told(path) == f" {'line 3' if suffix == 'csv' else 'row 2'}: {message}"
    found = [report for report in inspect_tape(path).symbols if message in report.findings]
    assert [report.findings[message] for report in found] == [1]
    assert [report.symbol for report in found] != ["(market)"] or kind == "datum"


@pytest.mark.parametrize(("kind", "changed", "message"), SENSELESS)
def test_a_row_without_sense_is_not_written(
    kind: str, changed: dict[str, object], message: str, tmp_path: Path
) -> None:
    """What would be refused when it is read is refused when it is written, with its row."""
    good = EXAMPLES[kind][0]
    with pytest.raises(TapeError, match=f"row 2: {message}"):
        written(tmp_path / "a.parquet", kind, [good, msgspec.structs.replace(good, **changed)])


def test_a_name_that_no_row_has_is_no_fault(tmp_path: Path) -> None:
    """The words of a Parquet column may hold one that is in none of its rows, and a year may be one bar."""
    symbols = pa.DictionaryArray.from_arrays(pa.array([1, 1]), pa.array(["", "SPY"]))
    table = pq.read_table(written(tmp_path / "a.parquet", "bar", [EXAMPLES["bar"][0]] * 2))
    table = table.set_column(table.schema.names.index("interval_ns"), "interval_ns", pa.array([1, 366 * DAY_NS]))
    pq.write_table(table.set_column(0, "symbol", symbols), tmp_path / "b.parquet")
    assert [bar.interval_ns for bar in read(tmp_path / "b.parquet") if isinstance(bar, Bar)] == [1, 366 * DAY_NS]
    assert {*faults("bar", pa.record_batch({"symbol": symbols}))} == set()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
def test_a_tape_without_a_row_is_refused_by_replay_and_inspection_alike(suffix: str, tmp_path: Path) -> None:
    """Whatever wrote it, and whether or not it says itself how many rows it has."""
    path = tmp_path / f"a.{suffix}"
    opened = gzip.open if suffix.endswith("gz") else open
    if suffix == "parquet":
        pq.write_table(pq.read_table(written(path, "trade", trades(1))).slice(0, 0).replace_schema_metadata(None), path)
    else:
        with opened(path, "wt") as file:
            file.write(HEADER)
    assert told(path) == ": the tape holds no rows"
    with pytest.raises(TapeError, match="the tape holds no rows"):
        inspect_tape(path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
def test_a_tape_that_was_cut_off_is_refused(suffix: str, keep: float, tmp_path: Path) -> None:
    """A copy that stopped half-way must not pass for a shorter tape."""
    path = written(tmp_path / f"a.{suffix}", "trade", trades(5000))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "empty" in told(path) if not keep else "cut off" in told(path) or "line" in told(path)


def test_garbage_in_a_zipped_tape_is_told(tmp_path: Path) -> None:
    """Its beginning is that of a zipped file, and nothing after it."""
    path = written(tmp_path / "a.csv.gz", "trade", trades(50))
    path.write_bytes(path.read_bytes()[:10] + bytes(range(255, 155, -1)))
    assert told(path).startswith(": damaged or cut off? Error -3 while decompressing data")


def test_a_flipped_bit_in_a_parquet_tape_is_noticed(tmp_path: Path) -> None:
    """Pages carry checksums, so that a damaged price is an error and not a price."""
    path = written(tmp_path / "a.parquet", "trade", [Trade("SPY", T0 + i, T0 + i, i / 7, 1.0) for i in range(5000)])
    prices = pq.read_metadata(path).row_group(0).column(3)
    data = bytearray(path.read_bytes())
    data[(prices.dictionary_page_offset or prices.data_page_offset) + prices.total_compressed_size // 2] ^= 0x10
    path.write_bytes(data)
    assert told(path).startswith(": damaged or cut off?")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_file_that_the_system_refuses_is_not_called_damaged(name: str, tmp_path: Path) -> None:
    """Too many open files stand in for a missing permission, which would not stop root."""
    path = written(tmp_path / name, "trade", trades(2))
    assert read(path) == trades(2)
    assert [len(rows.lines) for rows in Source(path).rows(Complaints(), lambda share: None)] == [2]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        assert told(path) == ": cannot be read: Too many open files"
        with pytest.raises(TapeError, match=f"{name}: cannot be read: Too many open files"):
            next(Source(path).rows(Complaints(), lambda share: None))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_missing_file_and_metadata_of_another_time_are_refused(tmp_path: Path) -> None:
    """A later release may write a later schema; this one says so instead of guessing."""
    assert told(tmp_path / "none.parquet") == ": there is no such file or folder"
    path = written(tmp_path / "a.parquet", "trade", trades(2))
    table = pq.read_table(path)
    for change, message in (
        ({"schema_version": 2}, "schema 2, kind 'trade'; this release reads schema 1"),
        ({"rows": 3}, "2 rows, but it was written with 3"),
        ({"rows": "many"}, "its metadata does not read"),
    ):
        noted = json.loads(pq.read_metadata(path).metadata[METADATA_KEY]) | change
        with pq.ParquetWriter(tmp_path / "b.parquet", table.schema) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({METADATA_KEY: msgspec.json.encode(noted)})
        assert message in told(tmp_path / "b.parquet")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    """A CSV tape made by hand comes from any editor."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + f"SPY,{T0},{T0},1.5,10\r\n".encode())
    assert read(path) == [Trade("SPY", T0, T0, 1.5, 10.0)]
    zipped = tmp_path / "a.csv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read(zipped) == read(path)


def test_a_missing_price_of_a_quiet_market_stays_not_a_number(tmp_path: Path) -> None:
    """The tape is no judge of prices: NaN comes through, and `onetape inspect` names it."""
    path = tmp_path / "a.csv"
    path.write_text(HEADER + f"SPY,{T0},{T0},nan,10\n")
    (trade,) = read(path)
    assert isinstance(trade, Trade)
    assert np.isnan(trade.price)
