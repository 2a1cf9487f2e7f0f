"""One process at a time: a lock on a file, which the system lets go of with the process, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConfigError


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Hold the file.

    Raises:
        ConfigError: with `refusal`, when another process holds it.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(refusal) from None
        yield
