"""From a name in a configuration to a class, which is how the engine builds what it does not import.

A name is an entry point (`sma_cross`), an importable `module:Class`, or `path/to/file.py:Class`. Plugins are trusted
code: loading one runs it. A file is loaded under a module name made from its stem and its content, so the same file is
the same module in every process, and an edited one is a new module in a notebook that is still open.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from engine.errors import PluginError, suggestion

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True, slots=True)
class Kind:
    """What may stand in one place of a configuration: an entry-point group, its noun, and what makes one."""

    group: str
    noun: str
    accepts: Callable[[Any], bool]


def _class_with(*methods: str) -> Callable[[Any], bool]:
    return lambda found: isinstance(found, type) and any(callable(getattr(found, name, None)) for name in methods)


def _is_strategy(found: Any) -> bool:
    from engine.strategy import Strategy

    return isinstance(found, type) and issubclass(found, Strategy) and found is not Strategy


FEED = Kind("onetape.feeds", "Feed", _class_with("batches", "run"))
BROKER = Kind("onetape.brokers", "Broker", _class_with("submit"))
STRATEGY = Kind("onetape.strategies", "Strategy", _is_strategy)
COMMAND = Kind("onetape.commands", "command", callable)


def load(kind: Kind, use: str, folder: Path = Path()) -> Any:
    """Return the class that `use` names; a relative path starts at `folder`.

    Raises:
        PluginError: there is no such plugin, it does not import, or it is of another kind.
    """
    where, colon, attribute = use.rpartition(":")
    if not colon:
        point = _entry_points(kind.group).get(use)
        if point is None:
            raise PluginError(_unknown(kind, use))
        where, attribute = point.module, point.attr
    module = _from_file(folder / Path(where).expanduser(), use) if where.endswith(".py") else _from_name(where, use)
    return _pick(kind, module, attribute, use)


def available(group: str) -> tuple[str, ...]:
    """Return the names of a group's plugins, sorted; nothing is imported."""
    return tuple(sorted(_entry_points(group)))


def shipped(group: str) -> tuple[str, ...]:
    """Return the names of a group's plugins that came with this distribution, sorted."""
    points = _entry_points(group).items()
    return tuple(sorted(name for name, point in points if point.dist is not None and point.dist.name == "onetape"))


def _unknown(kind: Kind, use: str) -> str:
    known = available(kind.group)
    hint = suggestion(use, known)
    if use.endswith(".py"):
        hint = f"; name the class in it too: {use}:Class"
    elif not hint:
        hint = f"; known: {', '.join(known) or 'none'}; or write module:Class or path/to/file.py:Class"
    return f"no {kind.noun} is called {use!r}{hint}"


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"two plugins of {group} are called {point.name!r}: {other.value} and {point.value}; uninstall one, or "
                "name the class itself"
            )
    return found


def _from_name(name: str, use: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            hint = "install its package, or name the file: path/to/file.py:Class"
            raise PluginError(f"{use!r}: there is no module {error.name!r}; {hint}") from None
        raise _does_not_import(use, error) from error
    except (Exception, SystemExit) as error:  # whatever the author's module raises has to be told in one line
        raise _does_not_import(use, error) from error


def _from_file(path: Path, use: str) -> ModuleType:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"{use!r}: cannot read {path.absolute()}: {error.strerror}") from None
    name = f"onetape_file_{path.stem}_{hashlib.sha256(source).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise PluginError(f"{use!r}: {path.absolute()} is not a Python file")
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: annotations of classes are resolved through sys.modules
    try:
        exec(compile(source, str(path.absolute()), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever the author's module raises has to be told in one line
        del sys.modules[name]
        raise _does_not_import(use, error) from error
    return module


def _does_not_import(use: str, error: BaseException) -> PluginError:
    """Say the first line of the error and the last line of the author's code that led to it."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames[1:] else ""
    first_line = (str(error).splitlines() or [""])[0]
    return PluginError(f"{use!r} does not import: {type(error).__name__}: {first_line}{place and f' ({place})'}")


def _pick(kind: Kind, module: ModuleType, attribute: str, use: str) -> Any:
    found = getattr(module, attribute, None)
    source = getattr(module, "__file__", module.__name__)
    if found is None:
        near = [name for name, value in vars(module).items() if not name.startswith("_") and kind.accepts(value)]
        hint = suggestion(attribute, near) or (f"; it has {', '.join(sorted(near))}" if near else "")
        raise PluginError(f"{use!r}: {source} has no {attribute!r}{hint}")
    if not kind.accepts(found):
        wanted = "; derive it from engine.Strategy" if kind is STRATEGY else ""
        raise PluginError(f"{use!r}: {attribute} in {source} is not a {kind.noun}{wanted}")
    return found
