"""The newest records of a journal, in a plain file beside it until they fill a page.

A transaction of SQLite takes four times as long as an append to a file, and stands between a price and its order; what
is in here survives the process just as well. The first line says which record is the first one and what the digest of
all lines before it is; then follow commits, each with the CRC of the file up to its end. A commit that a kill cut off
lacks it and does not count, nor does a tail that has become a page.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from engine.errors import JournalError, JournalWriteError


def beside(journal: Path) -> Path:
    """Return the place of a journal's tail."""
    return journal.with_name(f"{journal.name}-tail")


class Tail:
    """The file as its one writer sees it.

    Each page ends one file and begins another, so that a reader who has opened one never sees two of them mixed.
    """

    def __init__(self, journal: Path) -> None:
        self.begun = False
        self._journal = journal
        self._path = beside(journal)
        self._file = -1
        self._crc = 0

    def begin(self, first_seq: int, digest: str) -> None:
        """Make the file, for records from a number on and after lines of a digest.

        Raises:
            OSError: the disk refused.
        """
        head = b"%d %b\n" % (first_seq, digest.encode())
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.begun, self._crc = True, crc32(head)
        os.fchmod(self._file, self._journal.stat().st_mode & 0o777)
        self._append(head)

    def keep(self, lines: bytes) -> None:
        """Append a commit.

        Raises:
            OSError: the disk refused, and nothing can be appended any more.
        """
        crc = self._crc = crc32(lines, self._crc)
        self._append(b"%b%08x\n" % (lines, crc))

    def clear(self) -> None:
        """Remove the file: what it holds is in pages.

        Raises:
            JournalWriteError: the disk refused.
        """
        self.close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise JournalWriteError(f"{self._path}: the disk refused to remove it: {error}") from error
        self.begun = False

    def close(self) -> None:
        """Let go of the file, and leave what it holds to the next process."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.close()  # half a commit is none, as long as nothing comes after it
            raise


class Newest(NamedTuple):
    """What a tail holds: `lines` that come after lines of a digest, the first of them record number `first_seq`."""

    first_seq: int
    after: str
    lines: list[bytes]


NOTHING = Newest(0, "", [])


def read(journal: Path) -> Newest:
    """Return what stands beside a journal; who reads it before the pages misses nothing that moves there meanwhile.

    Raises:
        JournalError: it cannot be read, or it is not as it was written.
    """
    path = beside(journal)
    try:
        head, *rest = path.read_bytes().split(b"\n")[:-1]
    except (FileNotFoundError, ValueError):  # a head that a kill cut off is none
        return NOTHING
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error}") from error
    number, _, digest = head.partition(b" ")
    if not number.isdigit():
        raise JournalError(f"{path} is no tail of a journal; put it elsewhere")
    newest, commit, crc = Newest(int(number), digest.decode(errors="replace"), []), list[bytes](), crc32(head + b"\n")
    for line in rest:
        if line.startswith(b"{"):
            commit.append(line)
            crc = crc32(line + b"\n", crc)
        elif line != b"%08x" % crc:
            first = newest.first_seq + len(newest.lines)
            told = f"records {first} to {first + max(len(commit), 1) - 1} are not as they were written"
            raise JournalError(f"{path}: {told}")
        else:
            newest.lines.extend(commit)
            commit.clear()
    return newest
