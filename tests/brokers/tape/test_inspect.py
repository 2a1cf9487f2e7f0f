"""`onetape inspect`: every kind of oddity is found, counted by symbol, and not invented."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from brokers.tape import inspection as tape_inspection
from brokers.tape.importer import import_tape
from brokers.tape.inspect_command import command
from brokers.tape.inspection import SymbolReport, inspect_tape
from brokers.tape.recipe import Recipe
from brokers.tape.schema import KINDS
from brokers.tape.source import Source
from brokers.tape.writer import TapeWriter
from engine.errors import TapeError
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, Bar, Datum, MarketEvent, News, Quote, Trade

OPEN = 1_549_895_400_000_000_000  # 2019-02-11 09:30 New York; the session closes 390 minutes later
NAN = float("nan")

app = Typer()
app.command()(command)


def tape(path: Path, *events: MarketEvent, calendar: str = "") -> Path:
    kind = next(kind for kind, struct in KINDS.items() if type(events[0]) is struct)
    with TapeWriter(path, kind, calendar=calendar) as writer:
        writer.write_events(events)
    return path


def bar(
    minute: float, symbol: str = "A", prices: tuple[float, ...] = (10, 11, 9, 10), volume: float = 5, **more: int
) -> Bar:
    """The bar that ends `minute` minutes after the open."""
    at_ns = OPEN + round(minute * MINUTE_NS)
    return Bar(symbol, at_ns, more.get("recv", at_ns), *prices, volume, more.get("interval", MINUTE_NS))


def findings(path: Path, calendar: str = "") -> dict[str, dict[str, int]]:
    return {report.symbol: dict(report.findings) for report in inspect_tape(path, calendar).symbols if report.findings}


def shown(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"}, catch_exceptions=False)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "volume", "finding"),
    [
        ((NAN, 11, 9, 10), 5, "not finite"),
        ((10, float("inf"), 9, 10), 5, "not finite"),
        ((10, 11, 9, 10), NAN, "not finite"),
        ((10, 11, 0, 10), 5, "price not positive"),
        ((10, 11, -9, 10), 5, "price not positive"),
        ((10, 9, 11, 10), 5, "high below low"),
        ((12, 11, 9, 10), 5, "open or close outside high and low"),
        ((10, 11, 9, 8.9), 5, "open or close outside high and low"),
        ((10, 11, 9, 10), -1, "negative size"),
        ((10, 11, 9, 10), 0, "no volume"),
    ],
)
def test_an_impossible_bar_is_found(prices: tuple[float, ...], volume: float, finding: str, tmp_path: Path) -> None:
    """One bad bar among good ones, for the symbol that has it."""
    path = tape(tmp_path / "a.parquet", bar(1), bar(1, "B", prices, volume), bar(2), bar(2, "B"))
    assert findings(path) == {"B": {finding: 1}}


@pytest.mark.parametrize(
    ("event", "finding"),
    [
        (Quote("A", OPEN, OPEN, 10.1, 1, 10, 1), "bid above ask"),
        (Quote("A", OPEN, OPEN, 0, 1, 10, 1), "price not positive"),
        (Quote("A", OPEN, OPEN, 10, 1, 10, -1), "negative size"),
        (Quote("A", OPEN, OPEN, 10, NAN, 10, 1), "not finite"),
        (Trade("A", OPEN, OPEN, -1, 1), "price not positive"),
        (Trade("A", OPEN, OPEN, 1, 0), "no size"),
        (Datum("x", OPEN + 1, OPEN, "A"), "received early"),
    ],
)
def test_an_impossible_quote_or_trade_is_found(event: MarketEvent, finding: str, tmp_path: Path) -> None:
    """A locked market (bid equals ask) is none of them."""
    assert findings(tape(tmp_path / "a.csv", event)) == {"A": {finding: 1}}


def test_a_good_tape_has_no_findings(tmp_path: Path) -> None:
    """Of every kind; a locked market and two equal prints with ids of their own are normal."""
    tape(tmp_path / "1.parquet", *(bar(minute) for minute in range(1, 391)), calendar="XNYS")
    tape(tmp_path / "2.parquet", Quote("A", OPEN, OPEN, 10, 1, 10, 1), Quote("A", OPEN + 1, OPEN + 1, 10, 1, 10, 1))
    tape(tmp_path / "3.csv", Trade("A", OPEN, OPEN, 1, 1, "1"), Trade("A", OPEN, OPEN, 1, 1, "2"))
    tape(
        tmp_path / "4.csv.gz", News(OPEN, OPEN, "one", ("A",)), News(OPEN, OPEN, "one", ("B",)), News(OPEN, OPEN, "two")
    )
    assert shown(tmp_path).exit_code == 0
    assert [findings(path) for path in sorted(tmp_path.iterdir())] == [{}] * 4


# --- times -----------------------------------------------------------------------------------------------------------


def test_duplicates_disorder_and_overlaps_of_bars_are_told_apart(tmp_path: Path) -> None:
    """By the time that a bar is of, symbol by symbol; reception may be in order all the same."""
    again = bar(2, "B", recv=OPEN + 3 * MINUTE_NS)
    earlier = bar(1, "C", recv=OPEN + 4 * MINUTE_NS)
    path = tape(
        tmp_path / "a.parquet", bar(1, "A"), bar(1.5, "A"), bar(2, "B"), bar(2, "C"), again, earlier, bar(5, "A")
    )
    assert findings(path) == {"A": {"overlap": 1}, "B": {"duplicate": 1}, "C": {"out of order": 1}}


def test_a_file_out_of_order_is_inspected_where_a_replay_refuses_it(tmp_path: Path) -> None:
    """The tool that says what is wrong must be able to read what is wrong."""
    path = tape(tmp_path / "a.csv", Trade("A", OPEN, OPEN, 1, 1), Trade("A", OPEN + 9, OPEN + 9, 1, 1))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2], lines[1]]) + "\n")
    assert findings(path) == {"A": {"out of order": 1}}


def test_repeated_rows_and_headlines_are_found(tmp_path: Path) -> None:
    """A row twice in a row, a headline twice anywhere for the same symbols."""
    quote, trade = Quote("A", OPEN, OPEN, 1, 1, 2, 1), Trade("A", OPEN, OPEN, 1, 1, "7")
    other = Quote("B", OPEN, OPEN, 1, 1, 2, 1)
    assert findings(tape(tmp_path / "q.parquet", quote, other, quote)) == {"A": {"duplicate": 1}}
    assert findings(tape(tmp_path / "t.parquet", trade, trade, trade)) == {"A": {"duplicate": 2}}
    told = [News(OPEN + i, OPEN + i, headline, ("A",)) for i, headline in enumerate(["one", "two", "one"])]
    assert findings(tape(tmp_path / "n.parquet", *told)) == {"A": {"duplicate": 1}}


@pytest.mark.parametrize("length", [0, -MINUTE_NS, 2**63 - 1])
def test_a_bar_whose_length_has_no_sense_is_a_finding_and_makes_no_others(length: int, tmp_path: Path) -> None:
    """Not a gap before or after it, wherever in the tape it lies; where there is no other length, a minute is meant."""
    path = tape(tmp_path / "a.parquet", *(bar(minute) for minute in range(1, 391)), calendar="XNYS")
    table = pq.read_table(path)
    at = table.schema.names.index("interval_ns")
    for bad in ([0], [5, 6], [389], range(390)):
        lengths = [length if row in bad else MINUTE_NS for row in range(390)]
        changed = table.set_column(at, "interval_ns", pa.array(lengths))
        pq.write_table(changed, tmp_path / "b.parquet")
        found = findings(tmp_path / "b.parquet", "XNYS")
        assert found == {"A": {"interval_ns is not between 1 ns and 366 days": len(bad)}}


def test_a_row_without_a_symbol_is_not_the_markets(tmp_path: Path) -> None:
    """A datum without one concerns everybody, a trade without one nobody."""
    path = tape(tmp_path / "a.csv", Trade("A", OPEN, OPEN, 1, 1, "1"), Trade("A", OPEN, OPEN, 1, 1, "2"))
    header, row, last = path.read_text().splitlines()
    path.write_text(f"{header}\n{row}\n{last.removeprefix('A')}\n")
    assert findings(path) == {"(none)": {"symbol is empty": 1}}
    (report,) = inspect_tape(tape(tmp_path / "b.csv", Datum("rate", OPEN, OPEN))).symbols
    assert (report.symbol, dict(report.findings)) == ("(market)", {})


def test_missing_minutes_are_counted_inside_sessions_only(tmp_path: Path) -> None:
    """Not before the open, not after the close, not overnight: 390 bars a day, from the first session to the last."""
    day = DAY_NS // MINUTE_NS
    minutes = [-30, 3, 4, 8, 380, 400, day + 1, day + 390]
    path = tape(tmp_path / "a.parquet", *(bar(minute) for minute in minutes))
    report = inspect_tape(path, "XNYS").symbols[0]
    #   1, 2   5 to 7   9 to 379   381 to 390   next day's 2 to 389
    assert report.findings == {"missing bars": 2 + 3 + 371 + 10 + 388}
    assert (report.longest_gap.bars, report.longest_gap.from_ns) == (388, OPEN + (day + 1) * MINUTE_NS)
    assert report.longest_gap.to_ns == OPEN + (day + 389) * MINUTE_NS


def test_a_day_that_ends_early_has_fewer_bars(tmp_path: Path) -> None:
    """2019-07-03 closed at 13:00 New York; the holiday after it has none."""
    close = 1_562_173_200_000_000_000
    minutes = [Bar("A", close - i * MINUTE_NS, close - i * MINUTE_NS, 1, 1, 1, 1, 1, MINUTE_NS) for i in range(210)]
    next_open = close + 2 * DAY_NS - 210 * MINUTE_NS
    after = Bar("A", next_open + MINUTE_NS, next_open + MINUTE_NS, 1, 1, 1, 1, 1, MINUTE_NS)
    assert findings(tape(tmp_path / "a.parquet", *minutes[::-1]), "XNYS") == {}
    assert findings(tape(tmp_path / "b.parquet", *minutes[::-1], after), "XNYS") == {"A": {"missing bars": 389}}


def test_a_missing_day_of_daily_bars_is_one_bar(tmp_path: Path) -> None:
    """A session's bar is as long as its session, which differs."""
    length = 13 * HOUR_NS // 2
    bars = [bar(390 + day * 1440, interval=length) for day in (0, 1, 3)]
    assert findings(tape(tmp_path / "a.parquet", *bars, calendar="XNYS")) == {"A": {"missing bars": 1}}


def test_a_market_around_the_clock_misses_every_minute(tmp_path: Path) -> None:
    """1,440 bars a day; the calendar that was given goes before the one that the tape notes."""
    path = tape(tmp_path / "a.parquet", bar(1), bar(400), calendar="XNYS")
    since_midnight = OPEN % DAY_NS // MINUTE_NS
    assert findings(path) == {"A": {"missing bars": 389}}
    assert findings(path, "24/7") == {"A": {"missing bars": 1440 - 2}}
    assert inspect_tape(path, "24/7").symbols[0].longest_gap.bars == since_midnight == 870


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 1000])
def test_where_a_batch_ends_changes_no_finding(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before is remembered across batches."""
    minutes = [1, 2, 2, 5, 5.5, 9, 9, 14, 200]
    events = [bar(minute, symbol, volume=minute % 2) for minute in minutes for symbol in ("A", "B")]
    path = tape(tmp_path / "a.parquet", *events, calendar="XNYS")
    whole = inspect_tape(path)
    monkeypatch.setattr(tape_inspection, "BATCH_ROWS", rows)
    assert inspect_tape(path) == whole
    assert whole.symbols[0].findings["duplicate"] == 2
    assert whole.symbols[0].rows == len(minutes)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_ends_with_what_it_found(tmp_path: Path) -> None:
    """0 for clean, 1 for findings, 2 for a file that does not read, whatever else there is."""
    good = tape(tmp_path / "good.parquet", bar(1))
    odd = tape(tmp_path / "odd.parquet", bar(1, volume=0), bar(9), calendar="XNYS")
    (tmp_path / "bad.csv").write_text("no tape\n")
    assert shown(good).exit_code == 0
    assert "say --calendar XNYS or 24/7" in shown(good).output
    result = shown(odd)
    assert result.exit_code == 1
    assert "missing bars 388" in result.output
    assert "no volume 1" in result.output
    assert "A misses 381 bars in a row, from 2019-02-11 14:39:00 to 2019-02-11 21:00:00" in result.output
    result = shown(tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path / 'bad.csv'}: no tape by its columns" in result.output
    assert "no volume 1" in result.output


def test_a_folder_without_a_tape_is_told(tmp_path: Path) -> None:
    """A name that leads nowhere must not pass for a clean tape."""
    (tmp_path / "notes.txt").write_text("no tape")
    with pytest.raises(TapeError, match="no tape in this folder"):
        shown(tmp_path)


def test_the_command_prints_json_for_machines(tmp_path: Path) -> None:
    """The same report, whole: `--json` needs no table to be read."""
    odd = tape(tmp_path / "odd.parquet", bar(1), bar(3), bar(390), calendar="XNYS")
    (tmp_path / "bad.parquet").write_bytes(b"")
    result = shown(tmp_path, "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert found["unreadable"] == {str(tmp_path / "bad.parquet"): f"{tmp_path / 'bad.parquet'}: the file is empty"}
    (report,) = found["tapes"]
    assert (report["path"], report["kind"], report["calendar"], report["findings"]) == (str(odd), "bar", "XNYS", 387)
    (symbol,) = report["symbols"]
    assert symbol == {
        "symbol": "A", "rows": 3, "first_ns": OPEN + MINUTE_NS, "last_ns": OPEN + 390 * MINUTE_NS,
        "findings": {"missing bars": 387},
        "longest_gap": {"bars": 386, "from_ns": OPEN + 3 * MINUTE_NS, "to_ns": OPEN + 389 * MINUTE_NS},
    }  # fmt: skip


# --- the traps of the real data, as its own page states them ---------------------------------------------------------


def real(path: Path, recipe: Recipe, tmp_path: Path) -> dict[str, SymbolReport]:
    import_tape([Source(path)], tmp_path / "out.parquet", recipe)
    return {report.symbol: report for report in inspect_tape(tmp_path / "out.parquet").symbols}


def test_the_gaps_of_real_minute_bars_are_found(shared_data: Path, tmp_path: Path) -> None:
    """Thin funds are sparse, an index has no volume, and on the 14th Nasdaq's symbols miss the same two minutes."""
    recipe = Recipe("bar", {"ts_event_ns": "ts_close_ns"}, interval_ns=MINUTE_NS, calendar="XNYS")
    found = real(shared_data / "bars_1min/us_equity_1min_2019-02-11_2019-02-15.csv.gz", recipe, tmp_path)
    assert all(report.rows + report.findings["missing bars"] == 5 * 390 for report in found.values())
    assert found["UGA"].findings["missing bars"] == 1562
    assert found["VIX"].findings["no volume"] == found["VIX"].rows
    assert {found[symbol].findings["missing bars"] for symbol in ("AAPL", "MSFT", "MU", "QQQ", "SBUX")} == {2}
    assert {*found["SPY"].findings} == {"no volume"}


def test_the_short_days_of_real_crypto_bars_are_found(shared_data: Path, tmp_path: Path) -> None:
    """About 30 % of 2018-04-04 is missing, in one piece at its end."""
    recipe = Recipe("bar", {"ts_event_ns": "ts_close_ns"}, interval_ns=MINUTE_NS, calendar="24/7")
    path = shared_data / "bars_1min/crypto_coinbase_1min_trade_bars_2017-09_2018-04.csv.gz"
    euro = real(path, recipe, tmp_path)["BTC/EUR"]
    assert euro.rows + euro.findings["missing bars"] == 2 * 1440
    assert 1440 - 1009 <= euro.longest_gap.bars + 1 <= 1440 - 949


def test_the_clock_of_real_ticks_is_found_to_be_behind(shared_data: Path, tmp_path: Path) -> None:
    """Every trade was received before it happened, by 1.27 seconds."""
    recipe = Recipe("trade", fill={"symbol": "{symbol}@{venue}"})
    found = real(
        shared_data / "ticks_crypto/binance_trades_2024-08-08T235415_2024-08-09T000504.parquet", recipe, tmp_path
    )
    assert {report.findings["received early"] - report.rows for report in found.values()} == {0}


def test_the_repeated_real_headlines_are_found(shared_data: Path, tmp_path: Path) -> None:
    """56 by headline and publisher; one more was told by two publishers."""
    recipe = Recipe("news", {"ts_event_ns": "ts_ns_approx", "symbols": "symbol"}, time_unit="ns")
    assert real(shared_data / "news/aapl_headlines_2021.csv.gz", recipe, tmp_path)["AAPL"].findings == {"duplicate": 57}


def test_real_daily_bars_miss_no_session(shared_data: Path, tmp_path: Path) -> None:
    """The data's page says that its dates agree with the calendar; bad prices inside the range cannot be seen."""
    recipe = Recipe("bar", {"ts_event_ns": "session_date"}, calendar="XNYS")
    found = real(shared_data / "daily/msft_spx_daily_1990_2022.csv.gz", recipe, tmp_path)
    assert {symbol: dict(report.findings) for symbol, report in found.items()} == {
        "MSFT": {"no volume": 506},
        "SPX": {"no volume": 2215},
    }
