"""The daemon's sign of life: a file that it touches once a second, and takes away when it ends as it should.

A daemon that was killed or hangs leaves the file behind, and still. Only whether it changes is read, never what time it
says, so a clock that is set says nothing wrong. It holds the daemon's process number and is locked as long as that
lives, so that who is to be ended is beyond doubt.
"""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path

from engine.operating.control import private_folder

BEAT_EVERY_S = 1.0
HEARTBEAT, TRIPPED = "heartbeat", "tripped"
DEAD_MAN = "C32 dead_man"


class Heartbeat:
    """The file, from the daemon's side."""

    def __init__(self, folder: Path) -> None:
        self.path, self._tripped = folder / HEARTBEAT, folder / TRIPPED
        self._lock: int | None = None

    def open(self) -> None:
        """Give the first sign.

        Raises:
            ConfigError: the folder is not its owner's alone.
        """
        private_folder(self.path.parent)
        self.beat()

    def beat(self) -> str:
        """Give a sign; return why the watchdog has taken over meanwhile, empty while it has not."""
        if self._lock is None or not self.path.exists():
            self._begin()
        os.utime(self.path)
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
        self._let_go()

    def leave(self) -> None:
        """Let go of the file and leave it behind: somebody has to take over."""
        self._let_go()

    def _begin(self) -> None:
        self._let_go()
        self._lock = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.ftruncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def end_daemon(folder: Path) -> bool:
    """End a daemon that lives and gives no sign of it; return whether there was one.

    What it would send when it came to is stale, and it cannot be asked. Its journal survives this, by design.
    """
    try:
        with (folder / HEARTBEAT).open(encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                if (pid := int(file.read())) > 1 and pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
                    return True
    except (OSError, ValueError):
        pass  # gone by itself, or never begun
    return False


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
