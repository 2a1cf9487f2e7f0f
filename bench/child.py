"""A measurement in a process of its own, so that none warms or burdens the next."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any


def measured(module: str, *arguments: str | int) -> dict[str, Any]:
    """Return what `python -m module` prints as its last line for these arguments, JSON."""
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(calls: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Make the measurement that the command line names, and print what it found; digits are numbers."""
    name, *rest = sys.argv[1:]
    print(json.dumps(calls[name](*(int(word) if word.isdecimal() else word for word in rest))))
