"""The daemon's sign of life: a file that it touches once a second, and takes away when it ends as it should.

A daemon that was killed or hangs leaves the file behind, and still. Only whether it changes is read, never what time it
says, so a clock that is set says nothing wrong.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from engine.control import private_folder

BEAT_EVERY_S = 1.0
HEARTBEAT, TRIPPED = "heartbeat", "tripped"
DEAD_MAN = "C32 dead_man"


class Heartbeat:
    """The file, from the daemon's side."""

    def __init__(self, folder: Path) -> None:
        self.path, self._tripped = folder / HEARTBEAT, folder / TRIPPED

    def open(self) -> None:
        """Give the first sign.

        Raises:
            ConfigError: the folder is not its owner's alone.
        """
        private_folder(self.path.parent)
        self.beat()

    def beat(self) -> str:
        """Give a sign; return why the watchdog has taken over meanwhile, empty while it has not."""
        try:
            os.utime(self.path)
        except FileNotFoundError:
            self.path.touch(0o600)
        try:
            return self._tripped.read_text("utf-8")
        except FileNotFoundError:
            return ""

    def resume(self) -> None:
        """Take note of what the watchdog did, once trading is halted."""
        self._tripped.unlink(missing_ok=True)

    def close(self) -> None:
        """Say that the end was meant: nobody has to take over."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def seen(folder: Path) -> int | None:
    """Return a number that changes with every sign of life, None while no daemon runs."""
    try:
        return (folder / HEARTBEAT).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def trip(folder: Path, reason: str) -> None:
    """Leave word for a daemon that comes to again: it has to halt."""
    path = folder / TRIPPED
    path.write_text(reason, "utf-8")
    path.chmod(0o600)
