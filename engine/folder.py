"""Folders that a run or a report is written to: where one refuses, a person is told so in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import DISK_ERRORS, ConfigError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing, for what is then written into it.

    Raises:
        ConfigError: it cannot be made, or refuses a file; a disk that is full or broken stays an OSError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        told = "there is a file in its place" if folder.is_file() else error.strerror
        raise ConfigError(f"the folder {folder} cannot be written: {told}") from None


def try_out(folder: Path) -> None:
    """Write into a folder and leave nothing behind, not even the folder where it was missing.

    Raises:
        ConfigError: it cannot be written.
    """
    import tempfile

    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        with writing(folder):
            tempfile.TemporaryFile(dir=folder).close()
    finally:
        for one in missing:
            with suppress(OSError):  # somebody else has put something there meanwhile
                one.rmdir()
