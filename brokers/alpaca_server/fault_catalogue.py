"""The faults that the venue knows by name, read from `faults.toml` beside this file."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """Something that can go wrong: the hook where the venue asks for it, and what it does with which parameters."""

    hook: str
    does: str


class Part(msgspec.Struct, frozen=True, rename={"params": "with"}):
    """A kind with the facts that must hold, its parameters, and how often; 0 each time."""

    kind: str
    where: dict[str, str] = {}
    params: dict[str, Any] = {}
    times: int = 1


class Entry(msgspec.Struct, frozen=True):
    """A named fault: one sentence, and what it is made of."""

    says: str
    parts: tuple[Part, ...]


class Catalogue(msgspec.Struct, frozen=True):
    """Every kind, and every named fault."""

    kinds: dict[str, Kind]
    faults: dict[str, Entry]


CATALOGUE = msgspec.toml.decode((files(__package__) / "faults.toml").read_text("utf-8"), type=Catalogue)
