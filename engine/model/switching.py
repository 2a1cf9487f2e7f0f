"""How soon a thread that comes back from a long computation gets Python's lock."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SWITCH_S: Final = 0.0005


@contextmanager
def quick_switching() -> Iterator[None]:
    """Let it wait half a millisecond at most, not the usual five: it comes back several times a pass."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(before_s, SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
