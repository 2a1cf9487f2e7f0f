"""Which code a run is made of, as one hash: the engine, and whatever its feed, broker and strategies are."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from engine import plugins
from engine.config import RunConfig

CODE = (".py", *EXTENSION_SUFFIXES)


def build_hash(config: RunConfig) -> str:
    """Return the SHA-256 of every file of code in the packages that a run's plugins come from, and in our own.

    A plugin that is a file of its own counts with that file. Libraries do not count: their versions are pinned.
    """
    named = [(plugins.FEED, config.feed.use), (plugins.BROKER, config.broker.use)]
    named += [(plugins.STRATEGY, one.use) for one in config.strategies]
    modules = {"engine", *(plugins.load(kind, use).__module__ for kind, use in named)}
    found = {key: path for module in modules for key, path in _files(module)}
    digest = hashlib.sha256()
    for key in sorted(found):
        content = found[key].read_bytes()
        digest.update(f"{key}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _files(module: str) -> Iterator[tuple[str, Path]]:
    package = module.partition(".")[0]
    folder = next(iter(getattr(sys.modules.get(package), "__path__", ())), None)
    if folder is None:
        path = Path(str(sys.modules[module].__file__))
        yield path.name, path
        return
    for path in Path(folder).rglob("*"):
        if path.name.endswith(CODE):
            yield f"{package}/{path.relative_to(folder).as_posix()}", path
