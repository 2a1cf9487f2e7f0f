"""One line of the table, and the machine that it was measured on."""

from __future__ import annotations

import os
import platform
from typing import NamedTuple


class Figure(NamedTuple):
    """One line of the table. `must` and `goal` are bounds: at least where `more` is better, else at most."""

    name: str
    value: float
    unit: str
    must: float | None = None
    goal: float | None = None
    more: bool = False

    @property
    def verdict(self) -> str:
        for bound, word in ((self.goal, "goal"), (self.must, "must")):
            if bound is not None and (self.value >= bound if self.more else self.value <= bound):
                return word
        return "missed" if self.must is not None else ""


def is_compiled() -> bool:
    """Tell whether the hot path is compiled here."""
    from engine import core

    return not str(core.__file__).endswith(".py")


def machine() -> str:
    """Name the machine in a line."""
    python = f"Python {platform.python_version()}, engine {'compiled' if is_compiled() else 'interpreted'}"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {python}"
