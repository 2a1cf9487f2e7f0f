"""The journal: every event and decision in order, append-only and hash-chained.

A SQLite file in WAL mode whose table `pages` holds JSON lines; each page carries the SHA-256 of all lines up to its
end, so the hash of a run does not depend on how its lines fell into pages, and any tool that can read SQLite can check
it. State is a fold over these lines. A journal that is opened again first *follows*: the run is done over, each record
it produces is compared with the recorded one, and only past the last recorded line is anything appended. Restart and
`onetape verify` are that one mechanism.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import Divergence, JournalError, JournalWriteError
from engine.events import Event, Record, RunEnded, RunStarted

SCHEMA_VERSION = 1
PAGE_LINES: Final = 256
PRAGMAS = {
    "batch": ("page_size = 32768", "journal_mode = memory", "synchronous = off"),
    "process": ("journal_mode = wal", "synchronous = normal"),
    "power": ("journal_mode = wal", "synchronous = full"),
}
"""What SQLite promises of a commit: nothing before the end, to survive a kill, to survive a power cut."""

TABLES = """
create table if not exists pages
    (first_seq integer primary key, lines integer not null, body text not null, digest text not null);
create table if not exists notes (key text primary key, value text not null);
"""

REFUSALS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""What SQLite says where the disk, and not the file, is the trouble; finer codes add a multiple of 256."""

_encoder = msgspec.json.Encoder()
encode, _encode_lines = _encoder.encode, _encoder.encode_lines
_decode = msgspec.json.Decoder(Record).decode


class Journal:
    """Write records; optionally follow recorded ones first.

    `durability`: `batch` commits full pages (a replay can be done again), `process` commits whenever `commit` is called
    (survives SIGKILL), `power` also waits for the disk.

    Attributes:
        observer: called with every record that is written anew; it may only take note.

    Raises:
        JournalError: the file is no journal, of another schema, or its chain is broken.
        JournalWriteError: the disk refused.
        Divergence: a followed record differs.
    """

    def __init__(
        self, path: Path | str, *, durability: str = "process", follow: bool = False, frozen: bool = False
    ) -> None:
        self.path = Path(path)
        self.seq = 0
        self.frozen = frozen
        self.observer: Callable[[Event], None] | None = None
        self._durability = durability
        self._page: list[Event] = []
        self._hash = hashlib.sha256()
        self._connection = _connect(self.path, durability, frozen=frozen)
        try:
            recorded = _lines(self._connection, self.path)
            self._next = next(recorded, None)
            if self._next is not None and not follow:
                told = "holds a run already; continue it, or give this one a folder of its own"
                raise JournalError(f"{self.path} {told}")
        except JournalError:
            self._connection.close()
            raise
        self._recorded = recorded
        self._comparing = self._next is not None or frozen

    @property
    def following(self) -> bool:
        """Tell whether the next record is compared with a recorded one."""
        return self._next is not None

    def append(self, record: Event) -> None:
        """Add a record at the end, or compare it while following."""
        if self._comparing:
            self._follow(encode(record))
            return
        self.seq += 1
        page = self._page
        page.append(record)  # records are frozen: encoding a page of them at once costs a third
        if self.observer is not None:
            self.observer(record)
        if len(page) >= PAGE_LINES:
            self._write()

    def commit(self) -> None:
        """Make every record so far survive the process; a no-op in a batch."""
        if self._page and self._durability != "batch":
            self._write()

    def digest(self) -> str:
        """Return the SHA-256 over all lines so far."""
        self._write()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Write what is left and close the file, which then is one file and needs nothing beside it."""
        self._write()
        self._recorded.close()  # what still reads would hold the file
        with suppress(sqlite3.OperationalError):  # somebody reads it meanwhile: then its log stays beside it
            self._connection.execute("pragma journal_mode = delete")
        self._connection.close()

    def abandon(self) -> None:
        """Close the file without what the disk refused."""
        self._page = []
        self._recorded.close()
        self._connection.close()

    def rest(self) -> str:
        """Return the next recorded line, which the re-run has not produced; empty when there is none."""
        return self._next.decode() if self._next is not None else ""

    def note(self, key: str, value: str) -> None:
        """Keep a remark beside the chain: what says where a run lies, not what it is."""
        try:
            self._connection.execute("insert or replace into notes values (?, ?)", (key, value))
        except sqlite3.Error as error:
            raise JournalWriteError(f"{self.path}: the disk refused the note '{key}': {error}") from error

    def noted(self, key: str) -> str:
        """Return a remark.

        Raises:
            JournalError: there is none.
        """
        row = self._connection.execute("select value from notes where key = ?", (key,)).fetchone()
        if row is None:
            raise JournalError(f"{self.path} has no note '{key}'")
        return str(row[0])

    def _follow(self, line: bytes) -> None:
        recorded = self._next
        if recorded != line:
            raise Divergence(self.seq + 1, (recorded or b"").decode(), line.decode())
        self.seq += 1
        self._hash.update(line + b"\n")
        self._next = next(self._recorded, None)
        self._comparing = self._next is not None or self.frozen

    def _write(self) -> None:
        if not self._page:
            return
        body, chain = _encode_lines(self._page), self._hash.copy()
        chain.update(body)
        first = self.seq - len(self._page) + 1
        row = (first, len(self._page), body.decode(), chain.hexdigest())
        try:
            self._connection.execute("insert into pages values (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise JournalWriteError(f"{self.path}: the disk refused records {first} to {self.seq}: {error}") from error
        self._page, self._hash = [], chain


def read(path: Path | str) -> Generator[Record, None, None]:
    """Yield the records of a journal in order, its hash chain checked page by page.

    Raises:
        JournalError: missing, no journal, of another schema, or a broken chain, named by its page.
    """
    connection = _connect(Path(path), "process", frozen=True)
    try:
        for line in _lines(connection, Path(path)):
            yield _decode(line)
    except msgspec.DecodeError as error:
        raise JournalError(f"{path}: a record that this version cannot read: {error}") from error
    finally:
        connection.close()


def header(path: Path | str) -> RunStarted:
    """Return the first record of a journal.

    Raises:
        JournalError: the journal is empty or begins otherwise.
    """
    with closing(read(path)) as records:
        first = next(records, None)
    if not isinstance(first, RunStarted):
        raise JournalError(f"{path} does not begin with a run's header")
    return first


def is_ended(path: Path | str) -> bool:
    """Tell whether a journal's feed came to its end; one that was stopped or killed goes on when started again."""
    last = deque(read(path), maxlen=1)
    return bool(last) and isinstance(last[0], RunEnded)


def digest(path: Path | str) -> str:
    """Return the SHA-256 of a whole journal, as its last page states it, after checking the chain."""
    for _ in read(path):
        pass
    connection = _connect(Path(path), "process", frozen=True)
    row = connection.execute("select digest from pages order by first_seq desc limit 1").fetchone()
    connection.close()
    return str(row[0]) if row else hashlib.sha256().hexdigest()


def _connect(path: Path, durability: str, *, frozen: bool) -> sqlite3.Connection:
    if frozen and not path.is_file():
        raise JournalError(f"no journal at {path}")
    connection: sqlite3.Connection | None = None
    try:
        if frozen:
            _finish_close(path)
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            if not connection.execute("select 1 from sqlite_master").fetchone():
                connection.close()  # its run was killed before the first record: as good as empty
                connection = sqlite3.connect(":memory:", isolation_level=None)
                connection.executescript(TABLES)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, isolation_level=None)
            for pragma in PRAGMAS[durability]:
                connection.execute(f"pragma {pragma}")
            connection.executescript(TABLES)
        connection.execute("select first_seq, lines, body, digest from pages limit 1")
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in REFUSALS and not frozen:
            raise JournalWriteError(f"{path}: the disk refused a new journal: {error}") from error
        wrong = "is no journal" if path.is_file() else "cannot be written"
        raise JournalError(f"{path} {wrong}: {error}") from error
    return connection


def _finish_close(path: Path) -> None:
    """Let SQLite undo what a kill in the middle of `close` left half done; who only reads may not."""
    if path.with_name(f"{path.name}-journal").exists():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("select 1 from sqlite_master").fetchone()


def _lines(connection: sqlite3.Connection, path: Path) -> Generator[bytes, None, None]:
    chain, expected = hashlib.sha256(), 1
    pages = connection.execute("select first_seq, lines, cast(body as blob), digest from pages order by first_seq")
    try:
        for first, count, body, recorded in pages:
            chain.update(body)
            lines = body.split(b"\n")[:-1]
            if first != expected or len(lines) != count or chain.hexdigest() != recorded:
                last = first + count - 1
                raise JournalError(f"{path}: the hash chain breaks in the page of records {first} to {last}")
            if expected == 1:
                _check_schema(lines[0], path)
            expected += count
            yield from lines
    except sqlite3.Error as error:
        raise JournalError(f"{path} is damaged after record {expected - 1}: {error}") from error


def _check_schema(header: bytes, path: Path) -> None:
    version = msgspec.json.decode(header).get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise JournalError(f"{path} has journal schema {version}; this version reads {SCHEMA_VERSION}")
