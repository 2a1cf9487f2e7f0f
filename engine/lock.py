"""One process at a time: a lock on a file, which the system lets go of with the process, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConfigError
from engine.folder import writing


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Hold the file, in a folder that is made where it is missing.

    Raises:
        ConfigError: with `refusal`, when another process holds it; or the folder cannot be written.
    """
    with writing(path.parent):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(refusal) from None
        yield
