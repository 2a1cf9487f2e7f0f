"""Bad input ends in one message that says where and what, exit code 2, and nothing on the disk that was not there."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pyarrow.parquet as pq
import pytest

from brokers.tape.writer import TapeWriter
from engine import cli, daemon, journal
from engine.events import RunStarted
from engine.record import tail
from engine.risk.limits import SMALL_ACCOUNT
from tests.runs import EVERYTHING, OPEN_NS, bar, configuration, market, on_tape, strategy, toml, write_tapes

BAD = 2
TRADING = (["backtest"], ["run"], ["run", "--check"])


class Desk:
    """A run that is in order, on the disk, to be spoilt in one place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = on_tape(
            folder, market(1, 5, ticks=False), strategies=[strategy(EVERYTHING)], risk={"profile": "small_account"}
        )  # fmt: skip
        self.tape = folder / "tape" / "bar.parquet"
        self.config = folder / "run.toml"
        self.journal = folder / "out" / daemon.RUN_JOURNAL
        self.write()

    def write(self, **over: Any) -> None:
        """Write the configuration, changed."""
        self.config.write_text(toml({**self.tree, **over}))

    def edit(self, old: str, new: str) -> int:
        """Replace a text that the configuration has once; return the line it is on."""
        text = self.config.read_text()
        assert text.count(old) == 1, text
        self.config.write_text(text.replace(old, new))
        return text[: text.index(old)].count("\n") + 1

    def content(self) -> dict[str, bytes]:
        """Return every file and what it holds, of a journal its pages; log and alerts may tell of the refusal."""
        return {
            str(path.relative_to(self.folder)): b"" if path.is_dir() or path.name == "log.jsonl" else _held(path)
            for path in sorted(self.folder.rglob("*"))
            if path.parent.name != "control"
        }


def _held(path: Path) -> bytes:
    held = path.read_bytes()
    if path.name != daemon.RUN_JOURNAL or not held.startswith(b"SQLite"):
        return held
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = ("pages", "notes")
        return repr([connection.execute(f"select * from {table}").fetchall() for table in tables]).encode()
    except sqlite3.Error:
        return held
    finally:
        connection.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def refused(desk: Desk, command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that has to end in exit code 2 and change nothing; return its one message."""
    before = desk.content()
    capsys.readouterr()
    code = cli.main(command)
    told = capsys.readouterr()
    assert code == BAD, told
    assert desk.content() == before
    assert told.err.count("error: ") == 1, told.err
    assert told.err.startswith("error: ")
    assert "Traceback" not in told.err
    assert told.out == ""
    return told.err


# --- the configuration ----------------------------------------------------------------------------------------------

SPOILT: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # what is wrong: (what the file says, what it shall say, what the message has to name)
    "an unknown key": ('seed = 7', 'seed = 7\nwhatever = 1', ("whatever", "unknown key")),
    "a misspelt key": ('seed = 7', 'sede = 7', ("sede", "did you mean 'seed'?")),
    "a misspelt table": ("[broker]", "[brokr]", ("brokr", "did you mean 'broker'?")),
    "a misspelt option of the feed": ("paths = ", "path = ", ("feed.path", "did you mean 'paths'?")),
    "a misspelt option of the venue": ("cash_usd = ", "cash_us = ", ("broker.cash_us", "did you mean 'cash_usd'?")),
    "a misspelt limit": ("[risk]", "[risk]\nmax_order_qyt = 5", ("risk.max_order_qyt", "'max_order_qty'?")),
    "a misspelt key of a strategy": ("symbols = ", "symbls = ", ("symbls", "did you mean 'symbols'?")),
    "a negative limit": ("[risk]", '[risk]\nmax_order_qty = "-5"', ("risk.max_order_qty", "greater than or equal")),
    "a negative count": ("[risk]", "[risk]\nmax_open_orders_count = -1", ("risk.max_open_orders_count",)),
    "a limit of a wrong type": ("[risk]", '[risk]\nmax_open_orders_count = "many"', ("risk.max_open_orders_count",)),
    "a limit that is true": ("[risk]", "[risk]\nmax_order_notional_usd = true", ("risk.max_order_notional_usd",)),
    "a limit that is no number": ("[risk]", "[risk]\nmax_gross_fraction = nan", ("risk.max_gross_fraction",)),
    "a limit that is endless": ("[risk]", '[risk]\nmax_gross_fraction = "inf"', ("risk.max_gross_fraction",)),
    "a fraction of a count": ("[risk]", "[risk]\nmax_orders_per_day_count = 2.5", ("risk.max_orders_per_day_count",)),
    "a profile that there is not": ('"small_account"', '"small_acount"', ("profile", "did you mean 'small_account'?")),
    "a wrong mode": ('mode = "paper"', 'mode = "papr"', ("mode",)),
    "a wrong type": ("seed = 7", 'seed = "seven"', ("seed",)),
    "a plugin that there is not": ('use = "replay"', 'use = "repaly"', ("feed.use", "did you mean 'replay'?")),
    "a venue that there is not": ('use = "paper"', 'use = "papr"', ("broker.use", "did you mean 'paper'?")),
    "a fee model that there is not": ('fees = "zero"', 'fees = "zeroo"', ("broker.fees", "did you mean 'zero'?")),
    "a strategy file that is not there": ("traders.py:", "tradrs.py:", ("cannot read", "tradrs.py")),
    "a strategy class that is not there": (":Everything", ":Everyting", ("did you mean 'Everything'?",)),
    "a strategy that is none": (":Everything", ":ABSURD", ("is not a Strategy", "derive it from engine.Strategy")),
    "a module that is not there": (EVERYTHING, "no.such.module:X", ("there is no module 'no'",)),
    "a strategy's name that is no entry point": (EVERYTHING, "sma_cros", ("did you mean 'sma_cross'?",)),
    "a parameter the strategy lacks": ("params = {  }", "params = { bussy = 3 }", ("bussy", "did you mean 'busy'?")),
    "a parameter of a wrong type": ("params = {  }", 'params = { busy = "very" }', ("busy", "it must be int")),
    "a bar that is none": ('symbols = "*"', 'symbols = "*"\nbar = "5m"', ("bar", "'5m' is no bar interval")),
    "a symbol given twice": ('symbols = "*"', 'symbols = ["AAA", "AAA"]', ("symbols", "AAA given twice")),
    "a secret": ('use = "paper"', 'use = "paper"\napi_key = "PKABCDEF"', ("api_key", "does not belong in a file")),
    "no TOML": ("[risk]", "[risk", ("Expected ']'",)),
}  # fmt: skip
LINELESS = {
    "a fee model that there is not",  # told by its key, when the venue is built
    "a profile that there is not",  # told at its table
}


@pytest.mark.parametrize("command", TRADING, ids=" ".join)
@pytest.mark.parametrize("wrong", SPOILT)
def test_a_spoilt_configuration_is_told_with_its_line(
    wrong: str, command: list[str], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, line, key, what was wrong and, where it can be guessed, what was meant."""
    old, new, named = SPOILT[wrong]
    line = desk.edit(old, new) + ("\n" in new)
    told = refused(desk, [*command, str(desk.config)], capsys)
    assert f"{desk.config}:" in told
    assert all(name in told for name in named), told
    if wrong not in LINELESS:
        assert f"{desk.config}:{line}: " in told or f"\n  line {line}: " in told, told
    assert "PKABCDEF" not in told


@pytest.mark.parametrize("limit", sorted(SMALL_ACCOUNT))
def test_a_limit_that_nobody_wrote_down_is_missed(limit: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Every limit is required: without a profile, the one that is not there is named."""
    given = {name: value for name, value in SMALL_ACCOUNT.items() if name != limit}
    desk.write(risk=given)
    told = refused(desk, ["backtest", str(desk.config)], capsys)
    assert f"risk.{limit}" in told
    assert "missing" in told or "required" in told
    assert str(desk.config) in told


def test_several_problems_are_told_at_once(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A person who made three mistakes is not told of them one a day."""
    desk.edit("seed = 7", "sede = 7")
    desk.edit('"small_account"', '"small_acount"')
    desk.edit("cash_usd = ", "cash_us = ")
    told = refused(desk, ["backtest", str(desk.config)], capsys)
    assert all(name in told for name in ("sede", "small_acount", "cash_us"))


@pytest.mark.parametrize(
    ("told_key", "named"),
    [
        ("risk.max_ordr_qty=5", "did you mean 'max_order_qty'?"),
        ("strategies.three.bar=5min", "'three'"),
        ("seed", "write key=value"),
        ("risk.max_order_qty=-1", "risk.max_order_qty"),
    ],
)
def test_an_override_is_held_to_the_same_rules(
    told_key: str, named: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--set` is told by its own text instead of a line."""
    told = refused(desk, ["backtest", str(desk.config), "--set", told_key], capsys)
    assert f"--set {told_key}" in told
    assert named in told


@pytest.mark.parametrize(
    ("content", "named"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"", "missing")],
    ids=["missing", "no text", "empty"],
)  # fmt: skip
def test_a_configuration_that_cannot_be_read_is_told(
    content: bytes | None, named: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named, whatever is wrong with it."""
    desk.config.unlink()
    if content is not None:
        desk.config.write_bytes(content)
    told = refused(desk, ["run", str(desk.config)], capsys)
    assert str(desk.config) in told
    assert named in told


BROKEN_STRATEGIES = {
    "syntax": ("class X(Strategy:\n", ":1)"),
    "import": ("import nowhere_at_all\n", "nowhere_at_all"),
    "raises": ("\n\nraise ValueError('not today')\n", ":3)"),
    "exits": ("import sys\nsys.exit(3)\n", "SystemExit"),
    "no strategy": ("class X:\n    pass\n", "is not a Strategy"),
    "no default": ("from engine import Strategy\nclass X(Strategy):\n    n: int\n", "parameter 'n' needs a default"),
    "constructor": (
        "from engine import Strategy\nclass X(Strategy):\n    def __init__(self):\n        1 / 0\n",
        "division by zero",
    ),
}


@pytest.mark.parametrize("wrong", BROKEN_STRATEGIES)
def test_a_strategy_file_that_does_not_work_is_told(wrong: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration's line and, where there is one, the line of the author's own file."""
    source, named = BROKEN_STRATEGIES[wrong]
    (desk.folder / "mine.py").write_text(source)
    line = desk.edit(EVERYTHING, "mine.py:X")
    for command in TRADING:
        told = refused(desk, [*command, str(desk.config)], capsys)
        assert f"{desk.config}:{line}" in told
        assert named in told


# --- tapes ----------------------------------------------------------------------------------------------------------


def _cut_off(desk: Desk) -> Path:
    whole = desk.tape.read_bytes()
    desk.tape.write_bytes(whole[: len(whole) // 2])
    return desk.tape


def _empty(desk: Desk) -> Path:
    desk.tape.write_bytes(b"")
    return desk.tape


def _missing(desk: Desk) -> Path:
    desk.tape.unlink()
    return desk.tape


def _garbage(desk: Desk) -> Path:
    desk.tape.write_bytes(b"PAR1" + b"\0" * 500)
    return desk.tape


def _foreign(desk: Desk) -> Path:
    table = pq.read_table(desk.tape)
    pq.write_table(table.select(["symbol", "volume"]).replace_schema_metadata(None), desk.tape)
    return desk.tape


def _later_schema(desk: Desk) -> Path:
    table = pq.read_table(desk.tape)
    held = msgspec.json.decode(pq.read_metadata(desk.tape).metadata[b"onetape"])
    told = {**held, "schema_version": 99}
    pq.write_table(table.replace_schema_metadata({b"onetape": msgspec.json.encode(told)}), desk.tape)
    return desk.tape


def _out_of_order(desk: Desk) -> Path:
    table = pq.read_table(desk.tape)
    held = pq.read_metadata(desk.tape).metadata
    pq.write_table(table.take([0, 1, 4, 2, 3]).replace_schema_metadata(None), desk.tape)
    assert b"onetape" in held
    return desk.tape


def _as_csv(desk: Desk, damage: Callable[[list[str]], list[str]], suffix: str = ".csv") -> Path:
    path = desk.tape.with_name(f"bar{suffix}")
    with TapeWriter(path, "bar") as tape:
        tape.write_events([bar("AAA", minute, 100.0) for minute in range(6)])
    desk.tape.unlink()
    read = gzip.decompress if suffix.endswith(".gz") else bytes
    lines = damage(read(path.read_bytes()).decode().splitlines())
    path.write_text("\n".join(lines) + "\n")
    desk.edit(str(desk.tape), str(path))
    return path


def _rows_swapped(lines: list[str]) -> list[str]:
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


def _word_for_price(lines: list[str]) -> list[str]:
    return [*lines[:3], lines[3].replace("100.0", "much"), *lines[4:]]


def _cell_missing(lines: list[str]) -> list[str]:
    return [*lines[:3], lines[3].rpartition(",")[0], *lines[4:]]


def _column_unknown(lines: list[str]) -> list[str]:
    return [lines[0].replace("close", "clsoe"), *lines[1:]]


def _header_only(lines: list[str]) -> list[str]:
    return lines[:1]


def _last_line_cut(desk: Desk) -> Path:
    path = _as_csv(desk, list)
    path.write_text(path.read_text()[:-20])
    return path


def _folder_of_nothing(desk: Desk) -> Path:
    empty = desk.folder / "nothing"
    empty.mkdir()
    desk.edit(str(desk.tape), str(empty))
    return empty


def _no_tape_by_name(desk: Desk) -> Path:
    other = desk.folder / "tape.xlsx"
    other.write_text("x")
    desk.edit(str(desk.tape), str(other))
    return other


TAPES: dict[str, tuple[Callable[[Desk], Path], str]] = {
    "missing": (_missing, "no such file"),
    "empty": (_empty, "empty"),
    "cut off": (_cut_off, "cut off"),
    "garbage": (_garbage, ""),
    "of other columns": (_foreign, ""),
    "of a later schema": (_later_schema, "schema 99"),
    "out of order": (_out_of_order, "row 4: out of order"),
    "a CSV out of order": (lambda desk: _as_csv(desk, _rows_swapped), "line 5: out of order"),
    "a CSV with a word for a price": (lambda desk: _as_csv(desk, _word_for_price), "much"),
    "a CSV with a cell too few": (lambda desk: _as_csv(desk, _cell_missing), ""),
    "a CSV with an unknown column": (lambda desk: _as_csv(desk, _column_unknown), "did you mean 'close'?"),
    "a CSV of a header": (lambda desk: _as_csv(desk, _header_only), "no rows"),
    "a CSV cut off": (_last_line_cut, "cut off"),
    "no gzip": (lambda desk: _as_csv(desk, list, ".csv.gz"), ""),
    "an empty folder": (_folder_of_nothing, "no tape in this folder"),
    "no tape by its name": (_no_tape_by_name, "no tape by its name"),
}


@pytest.mark.parametrize("wrong", TAPES)
def test_a_spoilt_tape_is_told_with_its_place(wrong: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The file, the row or line where there is one, and what is wrong; in every command that would read it."""
    spoil, named = TAPES[wrong]
    path = spoil(desk)
    for command in (["backtest"], ["run"]):
        told = refused(desk, [*command, str(desk.config)], capsys)
        assert str(path) in told
        assert named in told.lower() if named == named.lower() else named in told, told


def test_a_row_out_of_order_late_on_a_tape_leaves_no_half_of_a_backtest(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tape that goes wrong after thousands of good rows is told by its row, and what was begun is taken away."""
    good = [bar("AAA", minute, 100.0, start_ns=OPEN_NS) for minute in range(12_000)]
    write_tapes(desk.folder / "tape", good)
    table = pq.read_table(desk.tape)
    order = [*range(10_000), 10_001, 10_000, *range(10_002, 12_000)]
    pq.write_table(table.take(order).replace_schema_metadata(table.schema.metadata), desk.tape)
    desk.edit('symbols = "*"', 'symbols = ["AAA"]')
    told = refused(desk, ["backtest", str(desk.config)], capsys)
    assert f"{desk.tape} row 10002: out of order" in told


@pytest.mark.parametrize("command", TRADING, ids=" ".join)
def test_a_symbol_on_no_tape_is_told(command: list[str], desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """With the one that was meant, if there is one like it."""
    desk.edit('symbols = "*"', 'symbols = ["AAB"]')
    told = refused(desk, [*command, str(desk.config)], capsys)
    assert f"{desk.config}: strategies.one.symbols: 'AAB' is on no tape" in told
    assert "did you mean 'AAA'?" in told or "did you mean 'BBB'?" in told


@pytest.mark.parametrize("command", TRADING, ids=" ".join)
def test_a_symbol_of_the_feed_on_no_tape_is_told(
    command: list[str], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The feed's own list of symbols is held to the same."""
    desk.edit("paths = ", 'symbols = ["AAAA"]\npaths = ')
    told = refused(desk, [*command, str(desk.config)], capsys)
    assert f"{desk.config}: feed.symbols: 'AAAA' is on no tape" in told


# --- journals -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A run that was stopped before its end, and would go on."""
    monkeypatch.setattr(daemon, "_report", lambda _config, _path: 0)
    assert cli.main(["run", str(desk.config)]) == 0
    records, noted = [*journal.read(desk.journal)][:-2], _noted(desk)
    desk.journal.unlink()
    book = journal.Journal(desk.journal)
    book.note("config", noted)
    for number, record in enumerate(records, 1):
        book.append(record)
        book.commit()
        if number % 2 == 0 and number < len(records) - 3:
            book.digest()  # a page ends here, and the last records stand in the tail
    book.abandon()
    with closing(sqlite3.connect(desk.journal)) as connection:
        connection.execute("pragma journal_mode = delete")  # so that who reads leaves no files of SQLite's
    return desk


def _noted(desk: Desk) -> str:
    book = journal.Journal(desk.journal, follow=True, frozen=True)
    noted = book.noted("config")
    book.abandon()
    return noted


Page = tuple[int, int, str, str]


def _rewrite(desk: Desk, change: Callable[[list[Page]], list[Page]]) -> None:
    connection = sqlite3.connect(desk.journal)
    pages = connection.execute("select first_seq, lines, body, digest from pages order by first_seq").fetchall()
    connection.execute("delete from pages")
    connection.executemany("insert into pages values (?, ?, ?, ?)", change(pages))
    connection.commit()
    connection.execute("vacuum")
    connection.close()


def _renewed(desk: Desk, **fields: Any) -> None:
    """Write the journal again with another header, its chain in order."""
    records, noted = [*journal.read(desk.journal)], _noted(desk)
    desk.journal.unlink()
    tail.beside(desk.journal).unlink()
    renewed = journal.Journal(desk.journal)
    renewed.note("config", noted)
    first = records[0]
    assert isinstance(first, RunStarted)
    for record in (msgspec.structs.replace(first, **fields), *records[1:]):
        renewed.append(record)
    renewed.close()


def _one_letter(pages: list[Page]) -> list[Page]:
    first, lines, body, digest = pages[1]
    return [pages[0], (first, lines, body.replace('"ts_event_ns":1', '"ts_event_ns":2', 1), digest), *pages[2:]]


def _page_taken_out(pages: list[Page]) -> list[Page]:
    return [pages[0], *pages[2:]]


def _pages_swapped(pages: list[Page]) -> list[Page]:
    (a, b, *one), (c, d, *two) = pages[1], pages[2]
    return [pages[0], (a, d, *two), (c, b, *one), *pages[3:]]  # type: ignore[list-item]


@pytest.mark.parametrize("damage", [_one_letter, _page_taken_out, _pages_swapped])
@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_journal_with_a_broken_chain_is_told_by_its_page(
    damage: Callable[[list[Page]], list[Page]], command: str, stopped: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """A letter changed, a page gone or out of its place: nothing is continued or verified."""
    _rewrite(stopped, damage)
    told = refused(stopped, [command, str(stopped.config if command == "run" else stopped.journal)], capsys)
    assert f"{stopped.journal}: the hash chain breaks in the page of records" in told


def _letter_of_a_record(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"ts_event_ns":1', b'"ts_event_ns":2', 1), *lines[2:]]


def _commit_taken_out(lines: list[bytes]) -> list[bytes]:
    return [lines[0], *lines[3:]]


def _commits_swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], *lines[3:5], *lines[1:3], *lines[5:]]


def _another_place(lines: list[bytes]) -> list[bytes]:
    return [b"1" + lines[0], *lines[1:]]


def _no_lines(_: list[bytes]) -> list[bytes]:
    return [b"a list of things to buy", b"bread", b""]


def _another_journal(lines: list[bytes]) -> list[bytes]:
    head, content = b"7 " + b"0" * 64 + b"\n", lines[1] + b"\n"
    return [head[:-1], lines[1], b"%08x" % crc32(content, crc32(head)), b""]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_letter_of_a_record, "records {first} to {first} are not as they were written"),
        (_commit_taken_out, "records {first} to {first} are not as they were written"),
        (_commits_swapped, "records {first} to {first} are not as they were written"),
        (_another_place, "records 1{first} to 1{first} are not as they were written"),
        (_no_lines, "is no tail of a journal; put it elsewhere"),
        (_another_journal, "does not go on from the end of {journal}, record {last}, but begins with 7"),
    ],
)
@pytest.mark.parametrize("command", ["run", "verify", "report"])
def test_a_tail_that_is_not_as_it_was_written_is_told(
    damage: Callable[[list[bytes]], list[bytes]],
    named: str,
    command: str,
    stopped: Desk,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its name and by its record; nothing of it is guessed, continued or removed."""
    path = tail.beside(stopped.journal)
    first = tail.read(stopped.journal).first_seq
    path.write_bytes(b"\n".join(damage(path.read_bytes().split(b"\n"))))
    told = refused(stopped, [command, str(stopped.config if command == "run" else stopped.journal)], capsys)
    assert f"{path}: " in told or f"{path} " in told
    assert named.format(first=first, last=first - 1, journal=stopped.journal) in told


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_journal_of_another_schema_is_told(command: str, stopped: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """With its version and ours."""
    _renewed(stopped, schema_version=99)
    told = refused(stopped, [command, str(stopped.config if command == "run" else stopped.journal)], capsys)
    assert f"{stopped.journal} has journal schema 99; this version reads 1" in told


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"account": "PA3XYZ"}, "of account PA3XYZ, not paper"),
        ({"tape_sha256": "0" * 64}, "its tape has another content (SHA-256 000000000000"),
        ({"engine_version": "0.0.1"}, "of engine 0.0.1, not "),
    ],
)
def test_a_journal_of_another_run_is_told(
    fields: dict[str, str], named: str, stopped: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another account, tape or engine: it is not continued, and the message names which."""
    _renewed(stopped, **fields)
    told = refused(stopped, ["run", str(stopped.config)], capsys)
    assert f"{stopped.journal} holds another run: {named}" in told


def test_a_journal_of_another_configuration_names_what_differs(
    stopped: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keys, and what can be done."""
    stopped.edit("seed = 7", "seed = 8")
    told = refused(stopped, ["run", str(stopped.config)], capsys)
    assert "seed differs" in told
    assert "out_dir of its own" in told


def test_a_run_that_has_ended_is_not_reported_as_another_one(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who changes a run that has ended and starts it again is not shown the old one."""
    monkeypatch.setattr(daemon, "_report", lambda _config, _path: 0)
    assert cli.main(["run", str(desk.config)]) == 0
    desk.edit("seed = 7", "seed = 8")
    assert "seed differs" in refused(desk, ["run", str(desk.config)], capsys)


@pytest.mark.parametrize("command", ["run", "verify", "report"])
@pytest.mark.parametrize("content", [b"not a journal at all, but long enough to be looked at" * 20, b"short"])
def test_a_file_that_is_no_journal_is_told(
    content: bytes, command: str, stopped: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's file is left as it is."""
    stopped.journal.write_bytes(content)
    told = refused(stopped, [command, str(stopped.config if command == "run" else stopped.journal)], capsys)
    assert f"{stopped.journal} is no journal" in told


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_journal_that_is_not_there_is_told(command: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name."""
    told = refused(desk, [command, str(desk.folder / "no.journal")], capsys)
    assert f"no journal at {desk.folder / 'no.journal'}" in told


def test_a_journal_cut_off_on_the_disk_is_told(stopped: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that lost its end, as a copy that was broken off does."""
    whole = stopped.journal.read_bytes()
    stopped.journal.write_bytes(whole[: len(whole) * 2 // 3])
    for command in ("run", "verify"):
        told = refused(stopped, [command, str(stopped.config if command == "run" else stopped.journal)], capsys)
        assert str(stopped.journal) in told


@pytest.mark.parametrize("command", TRADING)
def test_shorter_bars_than_the_tape_has_are_told(
    command: list[str], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything trades: the tape's first bars say how long they are."""
    desk.write(strategies=[strategy(EVERYTHING, bar="30s")])
    told = refused(desk, [*command, str(desk.config)], capsys)
    assert "asks for bars of 30s, and AAA comes in bars of 1min: ask for a multiple of those" in told


def test_the_run_that_these_tests_spoil_is_in_order(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise each of them might be refused for another reason than its own."""
    assert cli.main(["run", "--check", str(desk.config)]) == 0
    assert cli.main(["backtest", str(desk.config)]) == 0
    assert (desk.folder / "out" / daemon.BACKTEST_JOURNAL).is_file()
    assert "AAA" in {event.symbol for event in market(1, 5, ticks=False)}  # type: ignore[union-attr]
    assert configuration({"use": "replay"})["calendar"] == "XNYS"
    capsys.readouterr()
