"""Where a training's memory comes from."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 1 << 30


def keep_memory() -> None:
    """Keep what one step of a training gives back for the next one.

    glibc asks the system for every piece above 32 MB, page by page, and returns it at once: for a batch over windows of
    240 bars that was half of the time. Other systems' allocators are left as they are. Source: mallopt(3).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BYTES - 1)
