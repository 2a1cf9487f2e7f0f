"""`onetape import`: foreign files in, one tape out, and every bad row named by its line."""

import gzip
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from brokers.replay import ReplayFeed
from brokers.tape.actions import split_shares
from brokers.tape.cells import RowError
from brokers.tape.import_command import command
from brokers.tape.importer import import_tape
from brokers.tape.reader import Tape
from brokers.tape.recipe import Recipe
from brokers.tape.source import Source
from engine.clock import Sessions
from engine.errors import ConfigError, TapeError, TradingError
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, Bar, CorporateAction, MarketEvent, News, Trade

T0 = 1_549_895_400_000_000_000  # 2019-02-11 09:30 New York, 14:30 UTC
BARS = "time,symbol,open,high,low,close,volume\n"
ROW = "SPY,1,2,0.5,1.5,100\n"

app = Typer()
app.command()(command)


def source(path: Path, text: str) -> Source:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Source(path)


def play(path: Path) -> list[MarketEvent]:
    return [one for batch in ReplayFeed(ReplayFeed.Settings(paths=(path,))).batches() for one in batch]


def run(*words: object) -> str:
    """Run the command as a shell would; an error comes out as it was raised."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def bars_at(*times: str, **recipe: object) -> Recipe:
    return Recipe(kind="bar", mapping={"ts_event_ns": "time"}, **{"interval_ns": MINUTE_NS, "stamp": "close"} | recipe)


def imported(tmp_path: Path, text: str, recipe: Recipe, **options: bool) -> list[MarketEvent]:
    import_tape([source(tmp_path / "in.csv", text)], tmp_path / "out.parquet", recipe, **options)
    return play(tmp_path / "out.parquet")


def stamps(tmp_path: Path, *times: str, **recipe: object) -> list[int]:
    text = BARS + "".join(f"{time},{ROW}" for time in times)
    return [one.ts_event_ns for one in imported(tmp_path, text, bars_at(**recipe))]


def refusal(tmp_path: Path, text: str, recipe: Recipe, **options: bool) -> str:
    with pytest.raises(TradingError) as caught:
        imported(tmp_path, text, recipe, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"], "nothing half-written stays"
    return str(caught.value).removeprefix(str(tmp_path / "in.csv"))


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "recipe"),
    [
        (str(T0), {"time_unit": "ns"}),
        (str(T0 // 10**3), {"time_unit": "us"}),
        (str(T0 // 10**6), {"time_unit": "ms"}),
        (str(T0 // 10**9), {"time_unit": "s"}),
        ("2019-02-11T14:30:00Z", {}),
        ("2019-02-11 09:30:00-05:00", {}),
        ("2019-02-11 09:30", {"time_zone": "America/New_York"}),
        ("2019-02-11T09:30:00.000", {"time_zone": "America/New_York"}),
        ("02/11/2019 09:30", {"time_format": "%m/%d/%Y %H:%M", "time_zone": "America/New_York"}),
    ],
)
def test_a_time_is_read_in_its_unit_and_zone(written: str, recipe: dict[str, str], tmp_path: Path) -> None:
    """One instant in nine spellings."""
    assert stamps(tmp_path, written, **recipe) == [T0]


def test_a_unit_is_known_from_the_name_of_the_column(tmp_path: Path) -> None:
    """`ts_ms` needs no option."""
    recipe = Recipe(kind="trade", mapping={"ts_event_ns": "ts_ms"})
    text = f"ts_ms,symbol,price,size\n{T0 // 10**6},SPY,1,2\n"
    assert imported(tmp_path, text, recipe) == [Trade("SPY", T0, T0, 1.0, 2.0)]


def test_a_bar_stamped_at_its_open_is_moved_to_its_close(tmp_path: Path) -> None:
    """A bar is knowable at its end; taking one stamp for the other would show the future."""
    assert stamps(tmp_path, "2019-02-11T14:30:00Z", stamp="open") == [T0 + MINUTE_NS]
    assert stamps(tmp_path, "2019-02-11T14:30:00Z", stamp="close") == [T0]
    text = f"ts_open_ns,symbol,open,high,low,close,volume\n{T0},{ROW}"
    recipe = Recipe(kind="bar", mapping={"ts_event_ns": "ts_open_ns"}, interval_ns=5 * MINUTE_NS)
    (bar,) = imported(tmp_path, text, recipe)
    assert (bar.ts_event_ns, bar.ts_recv_ns) == (T0 + 5 * MINUTE_NS, T0 + 5 * MINUTE_NS)


def test_whether_a_bar_is_stamped_at_open_or_close_is_never_guessed(tmp_path: Path) -> None:
    """A column called `time` could be either."""
    assert "Say --stamp open or close" in refusal(tmp_path, BARS + f"2019-02-11T14:30:00Z,{ROW}", bars_at(stamp=""))


@pytest.mark.parametrize(
    ("day", "close", "hours"), [("2019-02-11", 21, 6.5), ("2019-07-01", 20, 6.5), ("2019-07-03", 17, 3.5)]
)
def test_a_daily_bar_is_stamped_at_the_close_of_its_session(day: str, close: int, hours: float, tmp_path: Path) -> None:
    """In winter, in summer and on a day that ends early; its length is the session's."""
    recipe = Recipe(kind="bar", mapping={"ts_event_ns": "date"}, calendar="XNYS")
    (bar,) = imported(tmp_path, BARS.replace("time", "date") + f"{day},{ROW}", recipe)
    midnight_ns = Sessions("24/7").on_date(day).open_ns
    assert (bar.ts_event_ns, bar.interval_ns) == (midnight_ns + close * HOUR_NS, round(hours * HOUR_NS))


def test_a_daily_bar_of_a_market_without_hours_is_a_whole_day(tmp_path: Path) -> None:
    """Around the clock a date is a UTC day, and its bar ends with it."""
    recipe = Recipe(kind="bar", mapping={"ts_event_ns": "date"}, calendar="24/7")
    (bar,) = imported(tmp_path, BARS.replace("time", "date") + f"2019-02-11,{ROW}", recipe)
    assert (bar.ts_event_ns, bar.interval_ns) == (T0 - T0 % DAY_NS + DAY_NS, DAY_NS)


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("start", "2019-02-15T09:00"),
        ("open", "2019-02-15T14:30"),
        ("close", "2019-02-15T21:00"),
        ("next_open", "2019-02-19T14:30"),
    ],
)
def test_a_date_means_the_moment_that_stamp_says(stamp: str, at: str, tmp_path: Path) -> None:
    """After Friday 15 February 2019 comes Tuesday: Monday was a holiday."""
    recipe = Recipe("datum", {"ts_event_ns": "date"}, {"name": "x"}, stamp=stamp, calendar="XNYS")
    (datum,) = imported(tmp_path, "date\n2019-02-15\n", recipe)
    expected = stamps(tmp_path / "b", f"{at}:00Z")
    assert [datum.ts_event_ns] == expected


def test_a_day_off_is_known_at_the_next_open(tmp_path: Path) -> None:
    """What was published on a Saturday is read on Tuesday, when Monday was a holiday."""
    recipe = Recipe("datum", {"ts_event_ns": "date"}, {"name": "x"}, stamp="next_open", calendar="XNYS")
    (datum,) = imported(tmp_path, "date\n2019-02-16\n", recipe)
    assert [datum.ts_event_ns] == stamps(tmp_path / "b", "2019-02-19T14:30:00Z")
    assert "not a session of XNYS: '2019-02-16'" in refusal(
        tmp_path / "c",
        "date\n2019-02-16\n",
        Recipe("datum", {"ts_event_ns": "date"}, {"name": "x"}, stamp="close", calendar="XNYS"),
    )


def test_a_date_may_be_when_a_row_was_received(tmp_path: Path) -> None:
    """True at the end of a quarter, known when the report was out."""
    mapping = {"ts_event_ns": "end_date", "ts_recv_ns": "crawl_date"}
    recipe = Recipe("datum", mapping, {"name": "x"}, stamp="next_open", calendar="XNYS")
    (datum,) = imported(tmp_path, "end_date,crawl_date\n2019-01-31,2019-02-15\n", recipe)
    assert [datum.ts_event_ns, datum.ts_recv_ns] == stamps(
        tmp_path / "b", "2019-02-01T14:30:00Z", "2019-02-19T14:30:00Z"
    )


def test_reception_is_the_event_plus_the_delay_or_a_column_of_its_own(tmp_path: Path) -> None:
    """Bars are known at their close by default; a recorder's own clock is kept as it is, and said."""
    text = f"ts_ns,seen_ns,symbol,price,size\n{T0},{T0 - 5},SPY,1,2\n,{T0 + 7},SPY,1,2\n"
    recipe = Recipe("trade", {"ts_event_ns": "ts_ns", "ts_recv_ns": "seen_ns"})
    report = import_tape([source(tmp_path / "in.csv", text)], tmp_path / "out.parquet", recipe)
    assert [(one.ts_event_ns, one.ts_recv_ns) for one in play(tmp_path / "out.parquet")] == [
        (T0, T0 - 5), (T0 + 7, T0 + 7),
    ]  # fmt: skip
    assert {told.split(",")[0]: rows for told, rows in report.notes.items()} == {
        "rows without a time of their own": 1,
        "rows received before they happened": 1,
    }
    (late,) = imported(tmp_path, BARS + f"{T0},{ROW}", bars_at(time_unit="ns", recv_delay_ns=250_000_000))
    assert late.ts_recv_ns - late.ts_event_ns == 250_000_000


# --- what goes where -------------------------------------------------------------------------------------------------


def test_a_fill_is_a_text_with_the_row_in_it(tmp_path: Path) -> None:
    """Constants, several columns in one, and the name of the file."""
    rows = source(tmp_path / "AAPL.us.csv", f"ts_ns,venue,price,size\n{T0},X,1,2\n")
    fill = {"symbol": "{stem}@{venue}", "source": "vendor", "conditions": "{venue}{venue}"}
    import_tape([rows], tmp_path / "out.parquet", Recipe("trade", {"ts_event_ns": "ts_ns"}, fill))
    assert play(tmp_path / "out.parquet") == [Trade("AAPL@X", T0, T0, 1.0, 2.0, "", "XX", "vendor")]


def test_json_lines_may_lack_keys_and_hold_lists(tmp_path: Path) -> None:
    """One object a line, plain or gzipped; the symbols of a headline are a list or a text."""
    lines = [
        {"ts_ms": T0 // 10**6, "headline": "two\nlines", "symbols": ["AAPL", "SPY"], "other": {"a": 1}},
        {"ts_ms": T0 // 10**6 + 1, "headline": "no symbols"},
    ]
    path = tmp_path / "news.jsonl.gz"
    path.write_bytes(gzip.compress("\n\n".join(json.dumps(line) for line in lines).encode()))
    import_tape([Source(path)], tmp_path / "out.parquet", Recipe("news", {"ts_event_ns": "ts_ms"}))
    first, second = T0, T0 + 10**6
    assert play(tmp_path / "out.parquet") == [
        News(first, first, "two lines", ("AAPL", "SPY")), News(second, second, "no symbols"),
    ]  # fmt: skip


def test_a_file_without_a_header_and_with_another_delimiter_is_read(tmp_path: Path) -> None:
    """As many a terminal exports it."""
    path = source(tmp_path / "in.txt", f"{T0};1;2;0.5;1.5;10\n").path
    names = ("ts_close_ns", "open", "high", "low", "close", "volume")
    recipe = Recipe("bar", {"ts_event_ns": "ts_close_ns"}, {"symbol": "SPY"}, interval_ns=MINUTE_NS)
    import_tape([Source(path, ";", names)], tmp_path / "out.csv", recipe)
    assert play(tmp_path / "out.csv") == [Bar("SPY", T0, T0, 1.0, 2.0, 0.5, 1.5, 10.0, MINUTE_NS)]


def test_several_sources_need_not_have_the_same_columns(tmp_path: Path) -> None:
    """A column that one file lacks takes the field's default there."""
    one = source(tmp_path / "1.csv", f"ts_ns,symbol,price,size\n{T0},A,1,2\n")
    two = source(tmp_path / "2.csv", f"ts_ns,symbol,price,size,trade_id\n{T0 + 1},A,1,2,x7\n")
    import_tape([one, two], tmp_path / "out.parquet", Recipe("trade", {"ts_event_ns": "ts_ns"}))
    assert [one.trade_id for one in play(tmp_path / "out.parquet") if isinstance(one, Trade)] == ["", "x7"]


def test_rows_are_sorted_only_when_asked(tmp_path: Path) -> None:
    """Disorder is a finding about the source, so it is told; sorting keeps the order of equals."""
    text = f"ts_ns,symbol,price,size\n{T0 + 1},A,1,2\n{T0},B,1,2\n{T0},C,1,2\n"
    recipe = Recipe("trade", {"ts_event_ns": "ts_ns"})
    assert (
        refusal(tmp_path, text, recipe)
        == " line 3: earlier than the row before it; --sort puts everything in order, in memory"
    )
    assert [one.symbol for one in imported(tmp_path, text, recipe, sort=True) if isinstance(one, Trade)] == [
        "B",
        "C",
        "A",
    ]


# --- bad rows --------------------------------------------------------------------------------------------------------

TRADES = "ts_ns,symbol,price,size\n"
TRADE = Recipe("trade", {"ts_event_ns": "ts_ns"})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{T0},SPY,abc,1", "price is not a number: 'abc'"),
        (f"{T0},SPY,,1", "price is empty"),
        (f"{T0},SPY,nan,1", "price is not finite: 'nan'"),
        (f"{T0},SPY,1,inf", "size is not finite: 'inf'"),
        (f"{T0},,1,1", "symbol is empty"),
        (f"{T0}.5,SPY,1,1", f"ts_ns is not a whole number of ns: '{T0}.5'"),
        (f"{T0 // 10**9},SPY,1,1", f"ts_ns is not between 1980 and 2100 when read as ns: '{T0 // 10**9}'"),
        (",SPY,1,1", "ts_ns is empty"),
        (f"{T0},SPY,1", f"not as many cells as the header has (4): '{T0},SPY,1'"),
        (f"{T0},SPY,1,1,1", f"not as many cells as the header has (4): '{T0},SPY,1,1,1'"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_value(row: str, message: str, tmp_path: Path) -> None:
    """The first bad one stops the import, and nothing is written."""
    good = "".join(f"{T0},SPY,1,{i}\n" for i in range(50))
    told = refusal(tmp_path, TRADES + good + row + "\n" + good, TRADE)
    assert told == f" line 52: {message} (--skip-bad leaves out such rows and counts them)"


def test_a_row_that_a_replay_would_refuse_is_a_bad_row(tmp_path: Path) -> None:
    """It is named with its line while its file is at hand, or counted."""
    rows = "".join(f"{T0 + row},SPY,1,2,0.5,1.5,100,{length}\n" for row, length in enumerate((60, 0, 60, -60)))
    text = BARS.replace("volume", "volume,interval_ns") + rows
    recipe = bars_at(interval_ns=0, time_unit="ns")
    assert refusal(tmp_path, text, recipe).startswith(" line 3: interval_ns is not between 1 ns and 366 days (--skip-")
    report = import_tape([Source(tmp_path / "in.csv")], tmp_path / "out.parquet", recipe, skip_bad=True)
    assert (report.summary.rows, report.skipped) == (2, {"interval_ns is not between 1 ns and 366 days": 2})


@pytest.mark.parametrize(
    ("written", "recipe", "message"),
    [
        (
            "2019-03-10 02:30",
            {"time_zone": "America/New_York"},
            "once, and only once, on the clocks of America/New_York",
        ),
        (
            "2019-11-03 01:30",
            {"time_zone": "America/New_York"},
            "once, and only once, on the clocks of America/New_York",
        ),
        ("2019-02-11", {"time_zone": "UTC"}, "not a time; for a date alone say --time-unit date: '2019-02-11'"),
        ("2019-02-11 09:30", {}, "not an ISO time with its offset (--time-zone says"),
        ("yesterday at noon", {"time_zone": "UTC"}, "not an ISO time without an offset: 'yesterday at noon'"),
        ("9:30 on 2/11", {"time_format": "%H:%M", "time_zone": "UTC"}, "not a time written as %H:%M: '9:30 on 2/11'"),
        ("2019-02-17", {"time_unit": "date", "calendar": "XNYS"}, "not a session of XNYS: '2019-02-17'"),
        ("soon", {"time_unit": "date", "calendar": "XNYS"}, "not a date such as 2019-02-11: 'soon'"),
    ],
)
def test_a_time_that_was_not_is_an_error_with_its_line(
    written: str, recipe: dict[str, str], message: str, tmp_path: Path
) -> None:
    """An hour that the clocks skipped or showed twice cannot be told from the text, so nobody guesses."""
    told = refusal(tmp_path, BARS + f"{written},{ROW}", bars_at(**recipe))
    assert told.startswith(" line 2: time is ")
    assert message in told


@pytest.mark.parametrize(
    ("name", "row", "header", "message"),
    [
        ("in.csv", f"{T0},SPY,1,5,1", (), "2: not as many cells as the header has (4): '{row}'"),
        ("in.csv", f"{T0},SPY,1,1,", (), "2: not as many cells as the header has (4): '{row}'"),
        ("in.csv", f"{T0},SPY,1,1", ("ts_ns", "symbol"), "1: not as many cells as the header has (2): 'ts_ns,symbol,"),
        ("in.jsonl", "[1]", (), "1: no JSON object ("),
    ],
)
def test_a_file_whose_rows_are_all_bad_is_not_called_empty(
    name: str, row: str, header: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """A comma too many on every line is told with the first line, or counted when bad rows are to be left out."""
    path = source(tmp_path / name, (TRADES if name == "in.csv" else "") + f"{row}\n" * 3).path
    with pytest.raises(TapeError) as caught:
        import_tape([Source(path, header=header)], tmp_path / "out.csv", TRADE)
    assert str(caught.value).startswith(f"{path} line {message.format(row=row)}")
    with pytest.raises(TapeError) as caught:
        import_tape([Source(path, header=header)], tmp_path / "out.csv", TRADE, skip_bad=True)
    assert str(caught.value).startswith(f"{path}: the file holds no rows but bad ones (n")
    assert str(caught.value).endswith(f"): {4 if header else 3})")
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_skipped_rows_are_counted_by_reason(tmp_path: Path) -> None:
    """What is left out is told, and the rest is whole."""
    bad = [f"{T0},SPY,x,1", f"{T0},SPY,1", f"{T0},SPY,y,1", f"{T0},,1,1", "\udcff,SPY,1,1"]
    lines = [row for number in range(5) for row in (*[f"{T0},SPY,1,{number}"] * 999, bad[number])]
    path = tmp_path / "in.csv"
    path.write_text(TRADES + "\n".join(lines) + "\n", errors="surrogateescape")
    report = import_tape([Source(path)], tmp_path / "out.parquet", TRADE, skip_bad=True)
    assert report.summary.rows == len(play(tmp_path / "out.parquet")) == 5 * 999
    assert report.skipped == {
        "price is not a number": 2,
        "not as many cells as the header has (4)": 1,
        "symbol is empty": 1,
        "not UTF-8 text, or a column of several kinds": 1,
    }


@settings(max_examples=60, deadline=None)
@given(bad=st.sets(st.integers(0, 299), max_size=40))
def test_whatever_rows_are_bad_the_others_are_imported(bad: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Halving finds each bad row and loses no good one."""
    folder = tmp_path_factory.mktemp("import")
    rows = "".join(f"{T0 + i},SPY,{'?' if i in bad else 1},{i}\n" for i in range(300))
    if len(bad) < 300:
        report = import_tape([source(folder / "in.csv", TRADES + rows)], folder / "out.parquet", TRADE, skip_bad=True)
        assert report.skipped.total() == len(bad)
        assert [one.size for one in play(folder / "out.parquet") if isinstance(one, Trade)] == [
            float(i) for i in range(300) if i not in bad
        ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "no header"),
        ("a.csv", TRADES.encode(), "the file holds no rows"),
        ("a.csv", b"a,a\n1,2\n", "line 1: no header, or one that names a column twice: a, a"),
        ("a.csv.gz", gzip.compress(TRADES.encode() * 99, mtime=0)[:-9], "damaged or cut off?"),
        ("a.csv.gz", b"plain text", "damaged or cut off?"),
        ("a.parquet", b"PAR1 and no more", "damaged or cut off?"),
        ("a.jsonl", b'{"ts_ns": 1}\n[1]\n', "no JSON object"),
        ("a.csv", TRADES.encode("utf-16"), "not UTF-8 text but UTF-16, as it seems; save it as UTF-8"),
        ("a.jsonl", '{"ts_ns": 1}'.encode("utf-16-be"), "not UTF-8 text but UTF-16"),
        ("a.csv.gz", gzip.compress(TRADES.encode("utf-16-le")), "not UTF-8 text but UTF-16"),
        ("a.csv", None, "there is no such file"),
    ],
)
def test_a_source_that_does_not_read_is_told(name: str, data: bytes | None, message: str, tmp_path: Path) -> None:
    """Missing, empty, cut off, not what its name says: one message with the file."""
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(TradingError, match="a\\.") as caught:
        import_tape(
            [Source(tmp_path / name)],
            tmp_path / "out.parquet",
            Recipe("datum", {"ts_event_ns": "ts_ns"}, {"name": "x"}),
        )
    assert message in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


# --- a recipe that does not fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"kind": "bars"}, "--kind bars: not one of bar, quote"),
        ({"mapping": {"prise": "open"}}, "a trade tape has no column 'prise'; did you mean 'price'?"),
        ({"mapping": {"ts_event_ns": "tim"}}, "ts_event_ns=tim: no column 'tim'; did you mean 'time'?; "),
        ({"fill": {"source": "{sim}"}}, "no column 'sim'"),
        ({"fill": {"source": "{sim}"}}, "in.csv has time, symbol, open, high, low, close, volume"),
        ({"mapping": {}}, "which column is the time? Say --map ts_event_ns=COLUMN"),
        ({}, "nothing says 'price' of a trade: say --map price=COLUMN"),
        ({"kind": "bar", "stamp": "close"}, "nothing says 'interval_ns' of a bar: say --interval, such as 1min"),
        ({"stamp": "noon"}, "--stamp noon: not one of start, open, close, next_open"),
        ({"kind": "datum", "fill": {"name": "x"}, "stamp": "close"}, "only bars and dates need a stamp"),
        ({"time_unit": "h"}, "--time-unit h: not one of ns, us, ms, s, iso, date"),
        ({"time_zone": "America/Newyork"}, "no such zone; did you mean 'America/New_York'?"),
        ({"kind": "bar", "time_unit": "date"}, "needs --calendar"),
        ({"kind": "bar", "time_unit": "date", "stamp": "open"}, "known at its session's close, not before"),
        ({"kind": "datum", "time_unit": "date", "fill": {"name": "x"}}, "when on its date was a datum known?"),
        ({"kind": "bar", "time_unit": "date", "calendar": "NYSE2"}, "unknown calendar 'NYSE2'"),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_is_a_configuration_error(
    recipe: dict[str, object], message: str, tmp_path: Path
) -> None:
    """Told before a row is read, with what would be right."""
    with pytest.raises(ConfigError) as caught:
        imported(
            tmp_path,
            BARS + f"2019-02-11,{ROW}",
            Recipe(**{"kind": "trade", "mapping": {"ts_event_ns": "time"}} | recipe),
        )
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("written", "read", "hint"), [(";", ",", "';'"), ("\t", ",", "'\\t'"), ("|", ";", "'|'"), (",", ";", "','")]
)
def test_columns_in_one_are_told_with_the_delimiter_that_parts_them(
    written: str, read: str, hint: str, tmp_path: Path
) -> None:
    """Half of Europe's exports have semicolons, for their numbers have commas; the option is told as it is written."""
    names = BARS.strip().replace(",", written)
    path = source(tmp_path / "in.csv", f"{names}\n{T0};SPY;1,5;2,5\n").path
    with pytest.raises(ConfigError) as caught:
        import_tape([Source(path, read)], tmp_path / "out.csv", TRADE)
    assert str(caught.value) == f"{path} line 1: one column, {names!r}; --delimiter {hint} would part it"


# --- corporate actions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "shares"),
    [
        (7.0, (7, 1)),
        (2.0, (2, 1)),
        (1.5, (3, 2)),
        (0.05, (1, 20)),
        (0.3333333, (1, 3)),
        (0.333, (1, 3)),
        (1.05, (21, 20)),
    ],
)
def test_a_split_ratio_becomes_whole_shares(ratio: float, shares: tuple[int, int]) -> None:
    """7.0 is 7 for 1, and a third written to three digits still is a third."""
    assert split_shares(ratio) == shares


@pytest.mark.parametrize("ratio", [0.0, -2.0, 250.0, 0.001])
def test_a_ratio_of_no_split_is_refused(ratio: float) -> None:
    """Nobody splits 250 for 1; somebody did mistype it."""
    with pytest.raises(RowError, match="split_ratio"):
        split_shares(ratio)


def test_ratios_and_dividends_become_actions_before_their_day_begins(tmp_path: Path) -> None:
    """At the start of the extended hours, the split first; amounts keep every digit; quiet days make nothing."""
    text = "date,symbol,ex_dividend,ratio\n2014-06-06,A,0.0,1.0\n2014-06-09,A,0.37857,7.0\n2014-06-10,A,,\n"
    mapping = {"ts_event_ns": "date", "amount_usd": "ex_dividend", "split_ratio": "ratio"}
    found = imported(tmp_path, text, Recipe("corporate_action", mapping, calendar="XNYS"))
    (start,) = stamps(tmp_path / "b", "2014-06-09T08:00:00Z")
    assert found == [
        CorporateAction("A", start, start, "split", 7, 1),
        CorporateAction("A", start, start, "cash_dividend", amount_usd=Decimal("0.37857")),
    ]


def test_actions_are_found_in_adjusted_closes(tmp_path: Path) -> None:
    """The next file's adjusted close tells; a split counts when the next open shows it, announced early or not."""
    rows = [
        ("2015-07-10", "N", 680, 680, 680), ("2015-07-13", "N", 686, 707, 101), ("2015-07-13", "D", 10, 10, 9.5),
        ("2015-07-14", "N", 708, 700, 100), ("2015-07-14", "D", 9.6, 9.6, 9.6), ("2015-07-15", "N", 99, 98, ""),
    ]  # fmt: skip
    text = "date,symbol,open,close,adj_close\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    mapping = {"ts_event_ns": "date", "open": "open", "close": "close", "adj_close": "adj_close"}
    report = import_tape(
        [source(tmp_path / "in.csv", text)], tmp_path / "out.csv", Recipe("corporate_action", mapping, calendar="XNYS")
    )
    day_14, day_15 = stamps(tmp_path / "b", "2015-07-14T08:00:00Z", "2015-07-15T08:00:00Z")
    assert play(tmp_path / "out.csv") == [
        CorporateAction("D", day_14, day_14, "cash_dividend", amount_usd=Decimal("0.5")),
        CorporateAction("N", day_15, day_15, "split", 7, 1),
    ]
    assert report.notes == {"rows that announced a split which the next open did not show; left out": 1}


def test_an_adjustment_that_is_no_action_is_a_bad_row(tmp_path: Path) -> None:
    """A spin-off, or a wrong price: not for a program to decide."""
    text = "date,symbol,open,close,adj_close\n2015-07-17,EBAY,66,66.29,27.9\n2015-07-20,EBAY,27,27,27\n"
    mapping = {"ts_event_ns": "date", "open": "open", "close": "close", "adj_close": "adj_close"}
    told = refusal(tmp_path, text, Recipe("corporate_action", mapping, calendar="XNYS"))
    assert told.startswith(" line 3: adj_close before this row means neither a split nor a dividend: 'EBAY")


@pytest.mark.parametrize("missing", ["open", "close"])
def test_adjusted_closes_need_the_open_and_the_close(missing: str, tmp_path: Path) -> None:
    """Without one of them they show nothing, and the option that is missing is named."""
    text = "date,symbol,open,close,adj_close\n2015-07-17,EBAY,66,66.29,27.9\n2015-07-20,EBAY,27,27,27\n"
    mapping = {"ts_event_ns": "date", "open": "open", "close": "close", "adj_close": "adj_close"}
    del mapping[missing]
    with pytest.raises(ConfigError, match=f"only beside {missing}: say --map {missing}=COLUMN; .* has date, symbol"):
        imported(tmp_path, text, Recipe("corporate_action", mapping, calendar="XNYS"))


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_tape_and_tells_what_it_did(tmp_path: Path) -> None:
    """Every option that the help names reaches the tape."""
    rows = source(tmp_path / "in.txt", f"{T0 // 10**6};1;x\n{T0 // 10**6};7;5\n").path
    options = (
        "--kind trade --map ts_event_ns=t,size=v --fill symbol=SPY --header t,price,v --delimiter ; --time-unit ms "
        "--recv-delay 2s --calendar XNYS --note made-up --skip-bad --sort"
    )
    told = run(rows, "--out", tmp_path / "out.parquet", *options.split())
    assert "1 rows of kind trade, SPY, 2019-02-11 14:30:02 to 2019-02-11 14:30:02 UTC" in told
    assert "size is not a number" in told
    assert play(tmp_path / "out.parquet") == [Trade("SPY", T0, T0 + 2 * 10**9, 7.0, 5.0)]
    noted = Tape(tmp_path / "out.parquet").noted
    assert noted is not None
    assert (noted.calendar, noted.note) == ("XNYS", "made-up")


def test_the_command_reads_bars_by_their_open_in_a_local_time(tmp_path: Path) -> None:
    """The everyday case: a vendor's minute bars in New York time."""
    rows = source(tmp_path / "in.csv", BARS + f"20190211 09:30,{ROW}").path
    run(
        rows, "--out", tmp_path / "out.csv.gz", "--kind", "bar", "--map", "ts_event_ns=time", "--interval", "5min",
        "--stamp", "open", "--time-zone", "America/New_York", "--time-format", "%Y%m%d %H:%M",
    )  # fmt: skip
    assert [one.ts_event_ns for one in play(tmp_path / "out.csv.gz")] == [T0 + 5 * MINUTE_NS]


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("out", ["in.csv", "folder/../in.csv", "link.csv"])
def test_a_source_is_never_replaced(out: str, force: tuple[str, ...], tmp_path: Path) -> None:
    """It may be the only copy, whatever name of it is given; `--force` is for tapes."""
    text = TRADES + f"{T0},SPY,1,1\n"
    rows = source(tmp_path / "in.csv", text).path
    other = source(tmp_path / "folder" / "other.csv", text).path
    (tmp_path / "link.csv").symlink_to(rows)
    with pytest.raises(ConfigError, match=r"\.csv: the tape would replace this source; give it another name"):
        run(other, rows, "--out", tmp_path / out, "--kind", "trade", "--map", "ts_event_ns=ts_ns", *force)
    assert rows.read_text() == text


def test_a_path_that_the_system_refuses_is_told(tmp_path: Path) -> None:
    """A name that is too long stands in for a folder that may not be searched, which would not stop root."""
    rows, long = source(tmp_path / "in.csv", TRADES + f"{T0},SPY,1,1\n").path, tmp_path / ("x" * 300 + ".csv")
    words = ("--kind", "trade", "--map", "ts_event_ns=ts_ns")
    with pytest.raises(TapeError, match=r"x\.csv: cannot be read: File name too long"):
        run(long, "--out", tmp_path / "out.csv", *words)
    with pytest.raises(TapeError, match=r"x\.csv: cannot be written: File name too long"):
        run(rows, "--out", long, *words)


@pytest.mark.parametrize("delimiter", ["\t", r"\t", "|", "é"])
def test_a_delimiter_is_one_character_or_a_tab_as_people_write_it(delimiter: str, tmp_path: Path) -> None:
    """A shell has no easy way to pass a tab."""
    text = (TRADES + f"{T0},SPY,1,1\n").replace(",", "\t" if len(delimiter) > 1 else delimiter)
    words = ("--kind", "trade", "--map", "ts_event_ns=ts_ns", "--delimiter", delimiter)
    run(source(tmp_path / "in.txt", text).path, "--out", tmp_path / "out.csv", *words)
    assert play(tmp_path / "out.csv") == [Trade("SPY", T0, T0, 1.0, 1.0)]


def test_the_command_replaces_a_tape_only_by_force(tmp_path: Path) -> None:
    """A tape may be the only copy."""
    rows = source(tmp_path / "in.csv", TRADES + f"{T0},SPY,1,1\n").path
    words = (rows, "--out", tmp_path / "out.csv", "--kind", "trade", "--map", "ts_event_ns=ts_ns")
    run(*words)
    with pytest.raises(ConfigError, match="--force replaces it"):
        run(*words)
    run(*words, "--force")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--map", "price"), "--map price: write COLUMN=VALUE"),
        (("--map", "price=a,price=b"), "--map price=b: write COLUMN=VALUE, each column once"),
        (("--interval", "5 minutes"), "--interval 5 minutes: write a number and ms, s, min, h or d"),
        (("--recv-delay", "0ms"), "--recv-delay 0ms: write a number"),
        (("--recv-delay", "367d"), "--recv-delay 367d: longer than a year"),
        (("--interval", "9" * 30 + "ms"), "ms: longer than a year"),
        (("--delimiter", ""), "--delimiter '': not one character that parts cells, such as ';' or '\\t' for a tab"),
        (("--delimiter", ";;"), "--delimiter ';;': not one character"),
        (("--delimiter", '"'), "--delimiter '\"': not one character that parts cells"),
        (("--delimiter", "\n"), "--delimiter '\\n': not one character that parts cells"),
    ],
)
def test_an_option_that_says_nothing_is_refused(option: tuple[str, str], message: str, tmp_path: Path) -> None:
    """With the option, as it was written."""
    rows = source(tmp_path / "in.csv", TRADES + f"{T0},SPY,1,1\n").path
    with pytest.raises(ConfigError) as caught:
        run(rows, "--out", tmp_path / "out.csv", "--kind", "trade", *option)
    assert message in str(caught.value)


def test_asking_for_help_imports_nothing_heavy() -> None:
    """`onetape --help` lists the commands, so their modules must cost nothing."""
    code = (
        "import sys, brokers.tape.import_command, brokers.tape.inspect_command;"
        "print([name for name in ('numpy', 'pandas', 'pyarrow', 'pydantic', 'msgspec') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
