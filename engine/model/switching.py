"""Who comes first where an event loop and a model's thread share few cores, and Python's one lock."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

SWITCH_S: Final = 0.0001
NICENESS: Final = 5


@contextmanager
def quick_switching() -> Iterator[None]:
    """Let a thread that comes back from a forward, as it often does, wait 0.1 ms for the lock, and not 5."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(before_s, SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def give_way(enter: Callable[[], None]) -> None:
    """Begin a model's thread so that the event loop gets a core before it, and not some milliseconds later.

    Only Linux knows such a thing of a thread.
    """
    enter()
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
