"""How a person stops a daemon: the first Ctrl-C or SIGTERM asks it to, a later one ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import structlog

from engine.clock import Clock

INSIST_AFTER_S = 1.0
"""Of two signals that are nearer to each other, one is an echo: `timeout` sends each to a process and to its group."""

SHOW_CURSOR = b"\x1b[?25h"


def on_stop(ask: Callable[[], None], clock: Clock) -> None:
    """Let SIGINT and SIGTERM call `ask` in the loop that runs here, which they can only when it has its turn.

    A strategy that never returns keeps it from that. So the signal that comes `INSIST_AFTER_S` after the first one does
    what it does to any process; the journal survives that.
    """
    loop = asyncio.get_running_loop()
    first_ns: int | None = None

    def insist(number: int, frame: FrameType | None) -> None:
        nonlocal first_ns
        now_ns = clock.monotonic_ns()
        if first_ns is None:
            first_ns = now_ns
        elif now_ns - first_ns >= INSIST_AFTER_S * 1e9:
            at = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
            structlog.get_logger().critical("ended by a second signal", at=at)
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), SHOW_CURSOR)  # which the live table hides
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)  # its own handler only wakes the loop, as ours does too
        signal.signal(number, insist)  # Python calls it between two steps of whatever code is at work
