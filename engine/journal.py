"""The journal: every event and decision in order, append-only and hash-chained.

A SQLite file in WAL mode whose table `pages` holds JSON lines; each page carries the SHA-256 of all lines up to its
end, so the hash of a run does not depend on how its lines fell into pages, and any tool that can read SQLite can check
it. State is a fold over these lines. A journal that is opened again first *follows*: the run is done over, each record
it produces is compared with the recorded one, and only past the last recorded line is anything appended. Restart and
`onetape verify` are that one mechanism. Commits that do not fill a page yet stand in a file beside it
(`engine.record.tail`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import Divergence, JournalError, JournalWriteError
from engine.events import Event, Record, RunEnded, RunStarted
from engine.record import tail
from engine.record.pages import SCHEMA_VERSION, connect, last_digest, lines

__all__ = ["PAGE_LINES", "SCHEMA_VERSION", "Journal", "digest", "encode", "header", "is_ended", "read"]

PAGE_LINES: Final = 256
TAIL_PAGES_MAX: Final = 4
"""How many pages the tail may hold before a commit, and with it an order, waits for them to be written."""

_encoder = msgspec.json.Encoder()
encode, _encode_lines = _encoder.encode, _encoder.encode_lines
_decode = msgspec.json.Decoder(Record).decode


class Journal:
    """Write records; optionally follow recorded ones first.

    `durability`: `batch` commits full pages (a replay can be done again), `process` commits whenever `commit` is called
    (survives SIGKILL), to the tail, `power` to a page, and waits for the disk.

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
        self._kept: list[bytes] = []  # the commits in the tail, and how many records they are
        self._kept_lines = 0
        self._tail = tail.Tail(self.path)
        self._hash = hashlib.sha256()
        self._connection = connect(self.path, durability, frozen=frozen)
        try:
            recorded = lines(self._connection, self.path)
            self._next = next(recorded, None)
            if self._next is not None and not follow:
                told = "holds a run already; continue it, or give this one a folder of its own"
                raise JournalError(f"{self.path} {told}")
            self._recorded = recorded
            self._comparing = self._next is not None or frozen
            if not self._comparing:
                self._tail.clear()  # of a commit that a kill cut off
        except JournalError:
            self._connection.close()
            raise

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
            if self._durability == "power" or self._kept_lines >= TAIL_PAGES_MAX * PAGE_LINES:
                self._write()
            else:
                self._keep()

    def turn(self) -> None:
        """Commit, and put what fills a page into one: for the moments in which no order waits for it."""
        self.commit()
        if self._kept_lines >= PAGE_LINES:
            self._write()
            with suppress(OSError):  # the next commit tells
                self._begin_tail()

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
        self._tail.close()
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
        if not self._comparing:
            self._take_over()

    def _take_over(self) -> None:
        """Put what another process left in the tail into a page, before anything is appended."""
        newest = tail.read(self.path)
        if newest.lines and newest.after == last_digest(self._connection):
            self._insert(b"\n".join([*newest.lines, b""]), len(newest.lines), self._hash)
        self._tail.clear()

    def _keep(self) -> None:
        body = _encode_lines(self._page)
        try:
            if not self._tail.begun:
                self._begin_tail()
            self._tail.keep(body)
        except OSError as error:
            raise self._refused(self.seq - len(self._page) + 1, error) from error
        self._kept.append(body)
        self._kept_lines += len(self._page)
        self._page = []

    def _begin_tail(self) -> None:
        self._tail.begin(self.seq - len(self._page) + 1, self._hash.hexdigest())

    def _write(self) -> None:
        if self._page or self._kept:
            body, chain = b"".join([*self._kept, _encode_lines(self._page)]), self._hash.copy()
            chain.update(body)
            self._insert(body, self._kept_lines + len(self._page), chain)
            self._page, self._kept, self._kept_lines, self._hash = [], [], 0, chain
        if self._tail.begun:
            self._tail.clear()

    def _insert(self, body: bytes, count: int, chain: Any) -> None:
        first = self.seq - count + 1
        try:
            row = (first, count, body.decode(), chain.hexdigest())
            self._connection.execute("insert into pages values (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise self._refused(first, error) from error

    def _refused(self, first: int, error: Exception) -> JournalWriteError:
        return JournalWriteError(f"{self.path}: the disk refused records {first} to {self.seq}: {error}")


def read(path: Path | str) -> Generator[Record, None, None]:
    """Yield the records of a journal in order, its hash chain checked page by page.

    Raises:
        JournalError: missing, no journal, of another schema, or a broken chain, named by its page.
    """
    number = 0
    with closing(connect(Path(path), "process", frozen=True)) as connection:
        try:
            for number, line in enumerate(lines(connection, Path(path)), 1):  # noqa: B007
                yield _decode(line)
        except msgspec.DecodeError as error:
            raise JournalError(f"{path}: record {number} is one that this version cannot read: {error}") from error


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
    """Return the SHA-256 over all lines of a journal, after checking its chain."""
    whole = hashlib.sha256()
    with closing(connect(Path(path), "process", frozen=True)) as connection:
        for line in lines(connection, Path(path)):
            whole.update(line + b"\n")
    return whole.hexdigest()
