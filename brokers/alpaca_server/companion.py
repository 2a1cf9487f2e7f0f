"""A command that lives as long as the venue, and the venue as long as it: `onetape server -- COMMAND`.

It begins once the venue listens, and its environment says where, under the names that clients of Alpaca know, with the
venue's public keys over whatever keys were there. Whichever of the two ends first, the other one follows.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

from engine.errors import ConfigError

STOP_WITHIN_S = 10.0
"""Time to close books and write a report."""

KILLED_BY = 128
"""What shells add to the number of the signal that ended a command."""


class Companion:
    """One run of a command, in the foreground: the terminal is its own.

    Args:
        command: program and arguments.
        environment: variables on top of ours.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = command, environment
        self._process: Process | None = None
        self._is_told = False

    async def run(self) -> int:
        """Run the command to its end, which canceling hastens, and return its exit code.

        Raises:
            ConfigError: there is no such program.
        """
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *self._command, env=os.environ | self._environment
            )
        except OSError as error:
            raise ConfigError(f"cannot run {self._command[0]!r}: {error.strerror}") from None
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            code = await self._stop(process)
        return code if code >= 0 else KILLED_BY - code

    def tell(self, number: signal.Signals) -> None:
        """Hand a signal on, unless the terminal has; the second one ends the command at once."""
        if self._is_told:
            self._send(signal.SIGKILL)
        elif number != signal.SIGINT or not _is_foreground():
            self._send(number)
        self._is_told = True

    async def _stop(self, process: Process) -> int:
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                return await process.wait()
        except TimeoutError:
            self._send(signal.SIGKILL)
            return await process.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def _is_foreground() -> bool:
    """Tell whether Ctrl-C at the terminal reaches the command by itself."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # no terminal
        return False
