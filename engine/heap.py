"""What the garbage collector need not look at."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heap_frozen() -> Iterator[None]:
    """Keep the collector from walking through all that is there by now, time and again: it lives to the end anyway.

    With a thousand symbols that is a twelfth of a replay.
    """
    if gc.get_freeze_count():  # whoever froze it thaws it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
