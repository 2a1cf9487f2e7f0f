"""The journal holds every record in order, notices any change to it, and never loses one without saying so."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
import types
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import journal as module
from engine.errors import Divergence, JournalError, JournalWriteError
from engine.events import CancelRequest, Event, Record, RunEnded, RunStarted, Signal
from engine.journal import Journal, digest, encode, header, is_ended, read
from engine.record import pages, tail
from tests.runs import Room

RECORDS: tuple[type[Event], ...] = get_args(Record)
STARTED = RunStarted("demo", "{}", "0.1.0", pages.SCHEMA_VERSION, 1)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return any value that a field of this type may hold."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of([values(one) for one in inner])
    if origin is tuple:
        return st.lists(values(inner[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(values(inner[0]), values(inner[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, Event):
        return records(kind)
    known = {
        str: st.text(max_size=9), bool: st.booleans(), type(None): st.none(),
        int: st.integers(-(2**63), 2**63 - 1), float: st.floats(allow_nan=False, allow_infinity=False),
        Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    }  # fmt: skip
    return known[kind]


def records(kind: type[Event]) -> st.SearchStrategy[Any]:
    """Return any record of one type."""
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})


def plain(kind: type[Event]) -> Any:
    """Return a record of a type with a plain value in every field."""
    known = {str: "x", int: 1, float: 1.5, bool: True, Decimal: Decimal("1.50")}
    filled: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Literal:
            filled[name] = inner[-1]
        elif origin is dict:
            filled[name] = {"SPY": known[inner[1]]}
        elif origin is tuple:
            filled[name] = ("SPY",)
        elif origin is not None:
            filled[name] = known[inner[0]]
        else:
            filled[name] = known[hint] if hint in known else plain(hint)
    return kind(**filled)


ANY_RECORD = st.sampled_from(RECORDS).flatmap(records)


def lines(number: int, first: int = 0) -> list[CancelRequest]:
    return [CancelRequest(f"order-{index}", index, "why not") for index in range(first, first + number)]


def write(path: Path, wanted: Sequence[Record], durability: str = "batch") -> str:
    """Write a journal and return its hash; a batch does not wait for the disk."""
    journal = Journal(path, durability=durability)
    for record in wanted:
        journal.append(record)
    found = journal.digest()
    journal.close()
    return found


def follow(path: Path, wanted: Sequence[Record]) -> None:
    """Do a run over."""
    journal = Journal(path, follow=True, frozen=True)
    try:
        for record in wanted:
            journal.append(record)
    finally:
        journal.abandon()


def change(path: Path, statement: str, *values: Any) -> None:
    """Change a journal behind its back."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma synchronous = off")
    connection.execute(statement, values)
    connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


@pytest.fixture
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_LINES", 4)


# --- writing and reading ----------------------------------------------------------------------------------------------


@given(st.lists(ANY_RECORD, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_record_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, wanted: list[Any]) -> None:
    """Every type, with any values: the same struct comes back, and would give the same line again."""
    path = tmp_path_factory.mktemp("any") / "run.journal"
    write(path, [STARTED, *wanted])
    found = list(read(path))[1:]
    assert found == wanted
    assert [encode(record) for record in found] == [encode(record) for record in wanted]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_type_of_record_has_its_name_in_its_line(kind: type[Event], path: Path) -> None:
    """So that any tool can read a journal; a type that is left out of `Record` could not be read back."""
    record = plain(kind)
    write(path, [record])
    assert list(read(path)) == [record]
    assert f'{{"event":"{kind.__name__}"'.encode() in path.read_bytes()


@given(st.data())
@settings(max_examples=20, deadline=None)  # each one waits for the disk a few times
def test_the_hash_does_not_depend_on_pages_or_durability(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """It is the SHA-256 of the lines, wherever a commit, a full page or a restart happened to fall."""
    wanted = lines(data.draw(st.integers(0, 30)))
    folder = tmp_path_factory.mktemp("hash")
    path = folder / "run.journal"
    plain = hashlib.sha256(b"".join(encode(record) + b"\n" for record in wanted)).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_LINES", data.draw(st.integers(1, 40)))
        journal = Journal(path, durability=data.draw(st.sampled_from(sorted(pages.PRAGMAS))))
        for index, record in enumerate(wanted):
            journal.append(record)
            act = data.draw(st.sampled_from(("", "", "commit", "digest", "restart")))
            if act == "commit":
                journal.commit()
            elif act == "digest":
                journal.digest()
            elif act == "restart":
                journal.close()
                journal = Journal(path, durability="batch", follow=True)
                for again in wanted[: index + 1]:
                    journal.append(again)
        assert journal.digest() == plain
        journal.close()
    assert digest(path) == plain
    assert list(read(path)) == wanted


def test_what_was_committed_survives_the_death_of_the_process(path: Path) -> None:
    """SIGKILL leaves every committed record, and only those."""
    code = (
        "import os, signal, sys\n"
        "from engine.events import CancelRequest\n"
        "from engine.journal import Journal\n"
        "journal = Journal(sys.argv[1])\n"
        "journal.append(CancelRequest('kept', 1)); journal.commit()\n"
        "journal.append(CancelRequest('lost', 2))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert list(read(path)) == [CancelRequest("kept", 1)]
    journal = Journal(path, follow=True)
    journal.append(CancelRequest("kept", 1))
    journal.append(CancelRequest("lost", 2))
    journal.close()
    assert len(list(read(path))) == 2


@pytest.mark.parametrize(
    "leave",
    [
        lambda path: path.touch(),
        lambda path: change(path, "pragma journal_mode = wal"),
        lambda path: Journal(path).close(),
    ],
    ids=["no byte", "no table", "no page"],
)
def test_a_run_that_was_killed_before_its_first_record_starts_anew(path: Path, leave: Callable[[Path], None]) -> None:
    """Whatever was left of its journal is an empty one: nothing was decided, nothing is lost."""
    leave(path)
    assert list(read(path)) == []
    assert is_ended(path) is False
    assert digest(path) == hashlib.sha256().hexdigest()
    journal = Journal(path, follow=True)
    assert not journal.following
    journal.append(STARTED)
    journal.close()
    assert header(path) == STARTED


def test_a_kill_while_the_journal_is_closed_leaves_one_that_reads(path: Path) -> None:
    """SQLite rewrites the file's head then; what it left half done is undone, though a reader may not write."""
    written = [Signal("AAA", 1, 1, "one", 0.5) for _ in range(3)]
    with closing(Journal(path)) as ledger:
        for record in written:
            ledger.append(record)
    half_done = path.with_name("half_done")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma cache_size = 1")
        connection.execute("begin immediate")
        connection.execute("update pages set body = hex(randomblob(1000000))")
        for suffix in ("", "-journal"):
            shutil.copy(f"{path}{suffix}", f"{half_done}{suffix}")
        connection.execute("rollback")
    assert list(read(half_done)) == written


def test_a_batch_is_committed_by_the_page(path: Path) -> None:
    """A replay can be done again, so it waits for nothing; `commit` is free."""
    journal = Journal(path, durability="batch")
    journal.append(STARTED)
    journal.commit()
    assert list(read(path)) == []
    journal.digest()
    assert list(read(path)) == [STARTED]
    journal.close()


# --- the tail ---------------------------------------------------------------------------------------------------------


def killed(path: Path, wanted: Sequence[Record], in_pages: int = 0, per_commit: int = 1) -> list[int]:
    """Leave a journal as a kill does; return the size of its tail after each commit, and before the first."""
    journal = Journal(path)
    sizes = []
    for number, record in enumerate(wanted, 1):
        journal.append(record)
        if number == in_pages:
            journal.digest()
        elif number % per_commit == 0:
            journal.commit()
            sizes.append(tail.beside(path).stat().st_size)
    journal.abandon()
    return sizes


@given(
    st.integers(1, 6),
    st.lists(st.sampled_from(("append", "append", "commit", "turn", "digest", "kill", "stop")), max_size=60),
    st.sampled_from(("process", "process", "power")),
)
@settings(max_examples=80, deadline=None)
def test_no_kill_changes_the_lines_or_the_digest(
    tmp_path_factory: pytest.TempPathFactory, page: int, acts: list[str], durability: str
) -> None:
    """Whatever is appended, committed, killed, stopped and done over: all that was committed is there."""
    path = tmp_path_factory.mktemp("kill") / "run.journal"
    wanted, told, safe = lines(len(acts)), 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_LINES", page)
        journal = Journal(path, durability=durability)
        for act in [*acts, "stop"]:
            if act == "append":
                journal.append(wanted[told])
                told += 1
            elif act in ("commit", "turn", "digest"):
                getattr(journal, act)()
                safe = told
            else:
                if act == "kill":
                    journal.abandon()
                else:
                    journal.close()
                    safe = told
                    assert not tail.beside(path).exists()
                found = list(read(path))
                assert safe <= len(found) <= told
                assert found == wanted[: len(found)]
                journal = Journal(path, durability=durability, follow=True)
                for record in found:
                    journal.append(record)
                assert not journal.following
                told = safe = len(found)
            if act not in ("append", "kill"):
                assert list(read(path)) == wanted[:told]
        journal.close()
    assert digest(path) == write(path.with_name("undisturbed.journal"), wanted[:told])
    assert [one.name for one in path.parent.iterdir() if one.name.startswith("run")] == ["run.journal"]


@pytest.mark.parametrize("in_pages", [0, 3])
def test_a_tail_that_is_cut_off_at_any_byte_holds_its_whole_commits(path: Path, in_pages: int) -> None:
    """Those that a kill let through, and never half of one; and the run goes on behind them."""
    wanted = lines(9)
    sizes = killed(path, wanted, in_pages, per_commit=2)
    whole = tail.beside(path).read_bytes()
    commits = [number for number in range(2, 10, 2) if number > in_pages]
    for size in range(len(whole) + 1):
        tail.beside(path).write_bytes(whole[:size])
        there = max(
            [in_pages, *(number for number, end in zip(commits, sizes[-len(commits) :], strict=True) if end <= size)]
        )
        assert list(read(path)) == wanted[:there]
        if size % 29 == 0:
            again = path.with_name(f"again-{size}.journal")
            shutil.copy(path, again)
            shutil.copy(tail.beside(path), tail.beside(again))
            journal = Journal(again, follow=True)
            for number, record in enumerate(wanted):
                assert journal.following is (number < there)
                journal.append(record)
                journal.commit()
            journal.close()
            assert list(read(again)) == wanted


@given(st.integers(0, 2**31), st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_one_flipped_bit_of_a_tail_is_noticed_and_named_by_its_record(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    """Except where it looks like a kill within the last commit, which then is not there."""
    path = tmp_path_factory.mktemp("bit") / "run.journal"
    killed(path, lines(9), in_pages=3)
    file = tail.beside(path)
    content = bytearray(file.read_bytes())
    content[position % len(content)] ^= 1 << bit
    file.write_bytes(content)
    if position % len(content) - len(content) in (-1, -10):  # the ends of the last two lines
        assert list(read(path)) == lines(8)
    else:
        with pytest.raises(JournalError, match=r"tail(: records \d+ to \d+ are not as they were| is no tail of)"):
            list(read(path))


def test_a_kill_between_a_page_and_the_end_of_its_tail_does_no_harm(path: Path) -> None:
    """What is in both is there once."""
    wanted = lines(9)
    journal = Journal(path)
    for record in wanted[:6]:
        journal.append(record)
        journal.commit()
    left = tail.beside(path).read_bytes()
    journal.digest()
    journal.abandon()
    tail.beside(path).write_bytes(left)
    assert list(read(path)) == wanted[:6]
    journal = Journal(path, follow=True)
    for record in wanted:
        journal.append(record)
        journal.commit()
    assert list(read(path)) == wanted
    journal.close()
    assert digest(path) == hashlib.sha256(b"".join(encode(record) + b"\n" for record in wanted)).hexdigest()


@pytest.mark.usefixtures("_short_pages")
def test_who_reads_while_another_writes_sees_a_beginning_of_it(path: Path) -> None:
    """Wherever the writer goes on between the two files that a reader opens; nothing is missing in between."""
    wanted = lines(40)
    journal = Journal(path)
    beneath = tail.read
    for number, record in enumerate(wanted):
        journal.append(record)
        journal.commit()
        with pytest.MonkeyPatch.context() as patch:
            if number % 3 == 0 and number < 35:

                def meanwhile(of: Path, number: int = number) -> tail.Newest:
                    newest = beneath(of)
                    for _ in range(2):
                        journal.turn()
                    return newest

                patch.setattr(tail, "read", meanwhile)
            assert list(read(path)) == wanted[: number + 1]
    before = {file: file.read_bytes() for file in path.parent.iterdir() if "-shm" not in file.name}
    follow(path, wanted)
    assert {file: file.read_bytes() for file in before} == before, "a reader has written"
    journal.close()


def test_orders_do_not_wait_for_pages(path: Path) -> None:
    """A commit only appends to the tail, until it holds far more than a page; `turn` makes the page."""
    journal = Journal(path)
    for record in lines(3 * module.PAGE_LINES):
        journal.append(record)
        journal.commit()
    count = "select count(*), coalesce(sum(lines), 0) from pages"
    assert journal._connection.execute(count).fetchone() == (0, 0)
    journal.turn()
    assert journal._connection.execute(count).fetchone() == (1, 3 * module.PAGE_LINES)
    for record in lines(5 * module.PAGE_LINES):
        journal.append(record)
        journal.commit()
    assert journal._connection.execute(count).fetchone()[0] == 2
    journal.close()


def test_a_tail_may_be_read_by_whoever_may_read_its_journal(path: Path) -> None:
    """And by nobody else."""
    Journal(path).close()
    path.chmod(0o640)
    killed(path, lines(2))
    assert tail.beside(path).stat().st_mode & 0o777 == 0o640


def test_a_tail_without_its_pages_is_not_taken_for_the_run(path: Path) -> None:
    """An older copy of the journal beside it, or another one: it is told, and nothing is removed."""
    killed(path, lines(9), in_pages=5)
    left = tail.beside(path).read_bytes()
    change(path, "delete from pages")
    for act in (lambda: list(read(path)), lambda: Journal(path), lambda: Journal(path, follow=True)):
        with pytest.raises(JournalError, match="run.journal, record 0, but begins with 6; put it elsewhere"):
            act()
    assert tail.beside(path).read_bytes() == left


def test_a_run_that_differs_from_its_tail_is_not_continued(path: Path) -> None:
    """The record in the tail is named like any other, and stays."""
    killed(path, lines(9), in_pages=5)
    journal = Journal(path, follow=True)
    for record in lines(7):
        journal.append(record)
    with pytest.raises(Divergence, match="record 8 differs"):
        journal.append(lines(9)[8])
    journal.close()
    assert list(read(path)) == lines(9)


def test_a_journal_that_holds_a_run_is_not_written_over(path: Path) -> None:
    """Only who follows it may go on with it."""
    write(path, [STARTED])
    with pytest.raises(JournalError, match=r"run.journal holds a run already; continue it, or give this one a folder"):
        Journal(path)
    assert list(read(path)) == [STARTED]


def test_a_run_has_ended_when_its_last_record_says_so(path: Path) -> None:
    """One that was stopped goes on when it is started again."""
    write(path, [STARTED])
    assert is_ended(path) is False
    ended = path.with_name("ended.journal")
    write(ended, [STARTED, RunEnded(9, 100)])
    assert is_ended(ended) is True


def test_notes_lie_beside_the_chain(path: Path) -> None:
    """They say where a run lies; the hash does not know them, and the last one of a key counts."""
    before = write(path, [STARTED])
    journal = Journal(path, follow=True)
    journal.note("config", "old")
    journal.note("config", "new")
    assert journal.noted("config") == "new"
    with pytest.raises(JournalError, match="has no note 'tape'"):
        journal.noted("tape")
    journal.close()
    assert digest(path) == before


@pytest.mark.parametrize("name", ["100%.journal", "a#b.journal", "why?.journal", "ö 1.journal"])
def test_a_journal_may_have_any_name(tmp_path: Path, name: str) -> None:
    """The characters of a URI are characters of a file name too."""
    path = tmp_path / name
    write(path, [STARTED])
    assert list(read(path)) == [STARTED]


# --- following --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_short_pages")
@pytest.mark.parametrize("recorded", range(10))
def test_following_compares_what_is_there_and_appends_what_is_new(path: Path, recorded: int) -> None:
    """However far a run got, doing it over and going on gives the journal of an undisturbed run."""
    wanted = lines(10)
    whole = write(path.with_name("whole.journal"), wanted)
    write(path, wanted[:recorded])
    journal = Journal(path, durability="batch", follow=True)
    for number, record in enumerate(wanted):
        assert journal.following is (number < recorded)
        journal.append(record)
        assert journal.seq == number + 1
    assert journal.digest() == whole
    journal.close()
    assert digest(path) == whole


@pytest.mark.usefixtures("_short_pages")
@pytest.mark.parametrize("different", range(10))
def test_a_divergence_names_the_record_and_both_lines(path: Path, different: int) -> None:
    """The number counts from 1, and nothing is written from there on."""
    wanted = lines(10)
    before = write(path, wanted)
    journal = Journal(path, durability="batch", follow=True)
    for record in wanted[:different]:
        journal.append(record)
    other = CancelRequest("another", different)
    with pytest.raises(Divergence) as caught:
        journal.append(other)
    assert caught.value.seq == different + 1
    assert caught.value.recorded == encode(wanted[different]).decode()
    assert caught.value.replayed == encode(other).decode()
    assert f"record {different + 1} differs" in str(caught.value)
    assert journal.rest() == encode(wanted[different]).decode()
    journal.close()
    assert digest(path) == before


@pytest.mark.parametrize(
    ("recorded", "replayed", "told"),
    [
        ('{"event":"Fill","qty":"1","price":"2"}', '{"event":"Fill","qty":"1","price":"3"}', "differs in price"),
        (
            '{"event":"Denied","intent":{"event":"Intent","qty":"1"},"reason":"a"}',
            '{"event":"Denied","intent":{"event":"Intent","qty":"2"},"reason":"b"}', "differs in qty, reason",
        ),
        ('{"event":"Fill","qty":"1"}', '{"event":"OrderUpdate"}', "differs: Fill, OrderUpdate"),
        ('{"event":"Fill","qty":1}', '{"event":"Fill","qty":1.0}', "differs"),
        ("", '{"event":"Fill"}', "differs"), ('{"event":"Fill"}', "", "differs"), ("half {", "{}", "differs"),
    ],
)  # fmt: skip
def test_a_divergence_says_in_what_two_records_differ(recorded: str, replayed: str, told: str) -> None:
    """Nobody compares two lines of three hundred characters by eye."""
    assert str(Divergence(7, recorded, replayed)).splitlines()[0] == f"record 7 {told}"


def test_a_verification_writes_nothing_and_names_what_is_too_much(path: Path) -> None:
    """Past the last record a re-run that goes on has produced a line that the journal lacks."""
    before = write(path, lines(2))
    journal = Journal(path, follow=True, frozen=True)
    for record in lines(2):
        journal.append(record)
    assert not journal.following
    with pytest.raises(Divergence, match="record 3 differs\n  recorded: \\(nothing\\)") as caught:
        journal.append(CancelRequest("more", 3))
    assert (caught.value.recorded, journal.seq) == ("", 2)
    journal.close()
    assert digest(path) == before


def test_a_verification_that_stops_short_knows_what_is_left(path: Path) -> None:
    """`rest` is the first line that the re-run did not produce."""
    write(path, lines(2))
    journal = Journal(path, follow=True, frozen=True)
    journal.append(lines(1)[0])
    assert journal.following
    assert journal.rest() == encode(lines(2)[1]).decode()
    journal.append(lines(2)[1])
    assert journal.rest() == ""
    journal.close()


# --- damage -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2), st.integers(0, 2**31), st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_one_flipped_bit_is_noticed_and_named_by_its_page(
    tmp_path_factory: pytest.TempPathFactory, page: int, position: int, bit: int
) -> None:
    """Anywhere in any body, even where it is no text any more; the pages before it are good."""
    path = tmp_path_factory.mktemp("bit") / "run.journal"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_LINES", 4)
        write(path, lines(12))
    first = 1 + 4 * page
    (text,) = sqlite3.connect(path).execute("select body from pages where first_seq = ?", (first,)).fetchone()
    body = bytearray(text.encode())
    body[position % len(body)] ^= 1 << bit
    change(path, "update pages set body = cast(? as text) where first_seq = ?", bytes(body), first)
    found = read(path)
    assert list(islice(found, first - 1)) == lines(first - 1)
    with pytest.raises(JournalError, match=f"hash chain breaks in the page of records {first} to {first + 3}"):
        next(found)
    with pytest.raises(JournalError, match="hash chain breaks"):
        digest(path)


@pytest.mark.usefixtures("_short_pages")
@pytest.mark.parametrize(
    ("statement", "page"),
    [
        ("delete from pages where first_seq = 1", "5 to 8"),
        ("delete from pages where first_seq = 5", "9 to 12"),
        ("update pages set first_seq = 4 where first_seq = 5", "4 to 7"),
        ("update pages set lines = 5 where first_seq = 5", "5 to 9"),
        ("update pages set digest = upper(digest) where first_seq = 9", "9 to 12"),
        ("update pages set body = body || body where first_seq = 5", "5 to 8"),
        ("update pages set body = '' where first_seq = 5", "5 to 8"),
        ("update pages set body = (select body from pages where first_seq = 9) where first_seq = 5", "5 to 8"),
    ],
)
def test_a_page_that_is_missing_moved_or_changed_is_named(path: Path, statement: str, page: str) -> None:
    """By whoever reads it and by whoever follows it."""
    write(path, lines(12))
    change(path, statement)
    for act in (lambda: list(read(path)), lambda: follow(path, lines(12))):
        with pytest.raises(JournalError, match=f"the hash chain breaks in the page of records {page}"):
            act()


@pytest.mark.usefixtures("_short_pages")
def test_pages_in_another_order_break_the_chain(path: Path) -> None:
    """Two pages whose numbers are exchanged, digests and all."""
    write(path, lines(12))
    change(path, "update pages set first_seq = 99 where first_seq = 5")
    change(path, "update pages set first_seq = 5 where first_seq = 9")
    change(path, "update pages set first_seq = 9 where first_seq = 99")
    with pytest.raises(JournalError, match="the hash chain breaks in the page of records 5 to 8"):
        list(read(path))


def test_a_file_that_is_no_journal_is_left_alone(path: Path) -> None:
    """Text, or another program's database."""
    path.write_text("symbol,price\nSPY,100\n" * 100)
    for act in (lambda: list(read(path)), lambda: Journal(path), lambda: Journal(path, follow=True, frozen=True)):
        with pytest.raises(JournalError, match=r"run.journal is no journal: file is not a database"):
            act()
    assert path.read_text().startswith("symbol,price")
    path.unlink()
    change(path, "create table customers (name text)")
    with pytest.raises(JournalError, match="is no journal: no such table: pages"):
        list(read(path))


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_torn_file_is_an_error_and_never_a_shorter_run(path: Path, kept: float) -> None:
    """Cut anywhere behind its head, it does not read to an end."""
    journal = Journal(path, durability="batch")
    for record in lines(20_000):
        journal.append(record)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(JournalError, match=r"run.journal (is damaged after record|is no journal)"):
        list(read(path))


def test_a_missing_journal_is_named(path: Path) -> None:
    """Reading it, its header, and verifying it: no file appears by that."""
    for act in (lambda: list(read(path)), lambda: header(path), lambda: Journal(path, follow=True, frozen=True)):
        with pytest.raises(JournalError, match=f"no journal at {path}$"):
            act()
    assert not path.exists()


def test_where_other_journals_lie_a_missing_one_is_told_them(path: Path) -> None:
    """Whoever names the folder of a run, or a backtest's journal as a daemon's, reads what to write."""
    other = path.with_name("backtest.journal")
    write(other, lines(1))
    for wrong in (path, path.parent):
        with pytest.raises(JournalError, match=f"no journal at {wrong}; there is {other}$"):
            header(wrong)


def test_a_journal_of_another_schema_is_refused(path: Path) -> None:
    """Its lines might mean something else."""
    write(path, [RunStarted("demo", "{}", "9.0", 2, 1), *lines(3)])
    for act in (lambda: list(read(path)), lambda: header(path), lambda: Journal(path, follow=True)):
        with pytest.raises(JournalError, match=r"run.journal has journal schema 2; this version reads 1"):
            act()


def test_a_journal_that_does_not_begin_with_a_header_is_no_run(path: Path) -> None:
    """There would be nothing to do over."""
    write(path, lines(1))
    with pytest.raises(JournalError, match="does not begin with a run's header"):
        header(path)


def test_a_record_of_a_type_we_do_not_know_is_an_error(path: Path) -> None:
    """The chain is whole, and still nothing is guessed."""
    body = b'{"event":"Prophecy","ts_event_ns":1}\n'
    Journal(path).close()
    row = (1, 1, body.decode(), hashlib.sha256(body).hexdigest())
    change(path, "insert into pages values (?, ?, ?, ?)", *row)
    with pytest.raises(JournalError, match="record 1 is one that this version cannot read: .*Prophecy"):
        list(read(path))


def test_a_number_that_is_none_is_not_read_back_as_one(path: Path) -> None:
    """JSON has no NaN: whoever journals one is told at the next reading, and not given a zero."""
    write(path, [Signal("SPY", 1, 1, "model", float("nan"))])
    with pytest.raises(JournalError, match="record 1 is one that this version cannot read"):
        list(read(path))


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", sorted(pages.PRAGMAS))
def test_a_full_disk_is_a_write_error_and_the_journal_stays_whole(path: Path, durability: str) -> None:
    """What was committed reads back; when there is room again, nothing is missing and nothing is twice."""
    journal = Journal(path, durability=durability)
    wanted = lines(40_000)
    (pages,) = journal._connection.execute("pragma page_count").fetchone()
    journal._connection.execute(f"pragma max_page_count = {pages + 12}")
    with pytest.raises(JournalWriteError, match=r"run.journal: the disk refused records \d+ to \d+: .*full"):
        deque(map(journal.append, wanted), maxlen=0)
    with pytest.raises(JournalWriteError):
        journal.close()
    kept = list(read(path))
    assert kept == wanted[: len(kept)]
    assert 0 < len(kept) < journal.seq
    journal._connection.execute("pragma max_page_count = 1000000")
    for record in wanted[journal.seq :]:
        journal.append(record)
    journal.close()
    assert list(read(path)) == wanted


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_disk_that_turns_read_only_is_a_write_error_on_commit(durability: str, path: Path) -> None:
    """Before anything is sent; giving the file up leaves what it had."""
    journal = Journal(path, durability=durability)
    journal.append(STARTED)
    journal.commit()
    journal._connection.execute("pragma query_only = on")
    journal.append(lines(1)[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "os", Room(30))
        with pytest.raises(JournalWriteError, match="run.journal: the disk refused records 2 to 2: .*(readonly|space)"):
            journal.commit()
    with pytest.raises(JournalWriteError, match="the disk refused the note 'config'"):
        journal.note("config", "{}")
    journal.abandon()
    assert list(read(path)) == [STARTED]


@pytest.mark.parametrize("room", [0, 1, 40, 66, 67, 90, 200, 400])
def test_a_disk_that_is_full_in_the_middle_of_a_commit_loses_no_record(room: int, path: Path) -> None:
    """What is on the disk is whole commits; when there is room again, nothing is missing and nothing is twice."""
    wanted = lines(9)
    journal = Journal(path)

    def commit(record: Record) -> None:
        journal.append(record)
        journal.commit()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "os", Room(room))
        told = r"the disk refused records \d+ to \d+: .*No space left on device"
        with pytest.raises(JournalWriteError, match=told):
            deque(map(commit, wanted), maxlen=0)
        with pytest.raises(JournalWriteError):
            journal.commit()  # and it does not go on behind a torn commit
    assert list(read(path)) == wanted[: journal.seq - 1]
    for record in wanted[journal.seq :]:
        journal.append(record)
    journal.close()
    assert list(read(path)) == wanted
    assert not tail.beside(path).exists()


def test_a_place_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    """A folder below a file, and a folder where the file should be: one message, and no write error."""
    (tmp_path / "file").write_text("")
    for path, told in (
        (tmp_path / "file" / "run.journal", "Not a directory|File exists"),
        (tmp_path, "unable to open"),
    ):
        with pytest.raises(JournalError, match=f"{path} cannot be written: .*({told})") as caught:
            Journal(path)
        assert caught.value.exit_code == 2


def test_errors_of_the_journal_leave_by_their_own_exit_codes() -> None:
    """Refuse to start, disk, difference: a supervisor can tell them apart."""
    assert [kind.exit_code for kind in (JournalError, JournalWriteError, Divergence)] == [2, 74, 5]


def test_a_checkpoint_empties_the_log_beside_a_writer(tmp_path: Path) -> None:
    """It is a second connection's work, loses nothing, and its failure is the disk's."""
    path = tmp_path / "run.journal"
    ledger = Journal(path)
    for number in range(3 * module.PAGE_LINES):
        ledger.append(CancelRequest(f"a-{number}", number))
    pages.checkpoint(path)
    log = path.with_name(path.name + "-wal")
    grown = log.stat().st_size
    for number in range(3 * module.PAGE_LINES):
        ledger.append(CancelRequest(f"a-{number}", number))
    assert log.stat().st_size == grown, "it is written again from its beginning"
    assert len(list(read(path))) == 6 * module.PAGE_LINES
    ledger.close()
    with pytest.raises(JournalWriteError, match="checkpoint"):
        pages.checkpoint(tmp_path)
