"""The file of a journal: how it is opened, and its lines, checked page by page."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import msgspec

from engine.errors import JournalError, JournalWriteError
from engine.record import tail

SCHEMA_VERSION = 1
PRAGMAS = {
    "batch": ("page_size = 32768", "journal_mode = memory", "synchronous = off"),
    "process": ("journal_mode = wal", "synchronous = normal", "wal_autocheckpoint = 0"),
    "power": ("journal_mode = wal", "synchronous = full"),
}
"""What SQLite promises of a page: nothing before the end, to survive a kill, to survive a power cut."""

TABLES = """
create table if not exists pages
    (first_seq integer primary key, lines integer not null, body text not null, digest text not null);
create table if not exists notes (key text primary key, value text not null);
"""

REFUSALS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""What SQLite says where the disk, and not the file, is the trouble; finer codes add a multiple of 256."""

EMPTY = hashlib.sha256().hexdigest()


def checkpoint(path: Path) -> None:
    """Move what SQLite has logged into the file itself, which waits for the disk: for a thread beside the writer's.

    Raises:
        JournalWriteError: the disk refused.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("pragma wal_checkpoint(passive)")
    except sqlite3.Error as error:
        raise JournalWriteError(f"{path}: the disk refused a checkpoint: {error}") from error


def connect(path: Path, durability: str, *, frozen: bool) -> sqlite3.Connection:
    """Open the file, to read only when it is frozen.

    Raises:
        JournalError: missing, no journal, or it cannot be written.
        JournalWriteError: the disk refused.
    """
    if frozen and not path.is_file():
        folder = path if path.is_dir() else path.parent
        others = ", ".join(str(other) for other in sorted(folder.glob("*.journal")))
        raise JournalError(f"no journal at {path}{others and f'; there is {others}'}")
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


def last_digest(connection: sqlite3.Connection) -> str:
    """Return the digest of all lines in pages."""
    row = connection.execute("select digest from pages order by first_seq desc limit 1").fetchone()
    return str(row[0]) if row else EMPTY


def _finish_close(path: Path) -> None:
    """Let SQLite undo what a kill in the middle of `close` left half done; who only reads may not."""
    if path.with_name(f"{path.name}-journal").exists():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("select 1 from sqlite_master").fetchone()


def lines(connection: sqlite3.Connection, path: Path) -> Generator[bytes, None, None]:
    """Yield the lines, those of the tail last, as far as the chain holds.

    Raises:
        JournalError: of another schema, or a broken chain, named by its page.
    """
    newest = tail.read(path)  # first, because a page may take its place meanwhile
    chain, expected, digests = hashlib.sha256(), 1, [EMPTY]
    pages = connection.execute("select first_seq, lines, cast(body as blob), digest from pages order by first_seq")
    try:
        for first, count, body, recorded in pages:
            chain.update(body)
            held = body.split(b"\n")[:-1]
            if first != expected or len(held) != count or chain.hexdigest() != recorded:
                last = first + count - 1
                raise JournalError(f"{path}: the hash chain breaks in the page of records {first} to {last}")
            if expected == 1:
                _check_schema(held[0], path)
            expected += count
            digests.append(recorded)
            yield from held
    except sqlite3.Error as error:
        raise JournalError(f"{path} is damaged after record {expected - 1}: {error}") from error
    if newest.lines and newest.after not in digests:
        told = f"does not go on from the end of {path}, record {expected - 1}, but begins with {newest.first_seq}"
        raise JournalError(f"{tail.beside(path)} {told}; put it elsewhere to go on without it")
    if newest.lines and newest.after == digests[-1]:
        if expected == 1:
            _check_schema(newest.lines[0], path)
        yield from newest.lines


def _check_schema(header: bytes, path: Path) -> None:
    version = msgspec.json.decode(header).get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise JournalError(f"{path} has journal schema {version}; this version reads {SCHEMA_VERSION}")
