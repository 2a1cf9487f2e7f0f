"""From a TOML text or a dictionary to a `RunConfig`: plugins are resolved, everything checked, paths made absolute."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine import plugins
from engine.config.lines import KeyPath, key_lines
from engine.config.problems import Problems
from engine.config.tables import BrokerConfig, FeedConfig, RunConfig, RunOutline, Table, default_out_dir
from engine.errors import ConfigError, PluginError
from engine.logs import is_secret
from engine.strategy import configure, parameters


def load(path: Path | str, overrides: Iterable[str] = ()) -> RunConfig:
    """Read the run in the file at `path`, with each of `overrides` (`risk.max_orders_per_day_count=5`) on top.

    Raises:
        ConfigError: naming every problem with its line.
    """
    path = Path(path)
    tree, problems = opened(path, overrides)
    return _build(tree, path.absolute().parent, problems)


def opened(path: Path, overrides: Iterable[str]) -> tuple[dict[str, Any], Problems]:
    """Read a TOML file with each of `overrides` on top; return it with the place where its problems are collected.

    Raises:
        ConfigError: the file cannot be read.
    """
    text, tree = _read(path)
    problems = Problems(str(path), key_lines(text))
    for override in overrides:
        _override(tree, override, problems)
    return tree, problems


def from_dict(tree: Mapping[str, Any]) -> RunConfig:
    """Build a run from a dictionary in the shape of the TOML; `use` may also be the class itself.

    Raises:
        ConfigError: naming every problem with its key.
    """
    return _build(dict(tree), Path.cwd(), Problems("configuration", {}))


def run_folder(path: Path) -> Path:
    """Return where the run of a configuration writes; a folder is returned as it is.

    It must be found when everything else is broken, so of the file only two keys are read and nothing is checked.

    Raises:
        ConfigError: the file cannot be read.
    """
    if path.is_dir():
        return path
    _, tree = _read(path)
    named = tree.get("out_dir") or default_out_dir(str(tree.get("name", "")))
    return _absolute(Path(str(named)), ("out_dir",), path.absolute().parent, {})


def outline(path: Path) -> RunOutline:
    """Read what it takes to reach a run from beside it, from its TOML file or from the folder it is written to.

    Its feed and strategies are not loaded, so this is quick, small, and works when they do not.

    Raises:
        ConfigError: naming every problem with its line.
        JournalError: the folder holds no run.
    """
    if path.is_dir():
        text, tree, folder = "", _noted(path), path
    else:
        (text, tree), folder = _read(path), path.absolute().parent
    problems = Problems(str(path), key_lines(text))
    feed = _of_the_same_vendor(tree)
    settings = plugin_settings(plugins.BROKER, BrokerConfig, tree, "broker", folder, problems, feed)
    found = problems.validated(RunOutline, tree, ())
    problems.raise_any()
    assert found is not None  # raise_any has spoken otherwise
    found = found.model_copy(update={"broker": found.broker.model_copy(update={"settings": settings})})
    anchored: RunOutline = anchor(found, (), folder, problems.overridden)
    # A folder may have been moved since its run noted where it lay.
    return anchored.model_copy(update={"out_dir": path.absolute()}) if path.is_dir() else anchored


def _noted(folder: Path) -> dict[str, Any]:
    from engine.daemon import RUN_JOURNAL
    from engine.journal import Journal

    ledger = Journal(folder / RUN_JOURNAL, follow=True, frozen=True)
    try:
        tree: dict[str, Any] = json.loads(ledger.noted("config"))
    finally:
        ledger.abandon()
    return tree


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors begin with a mark
        return text, tomllib.loads(text)
    except IsADirectoryError:
        first = min(path.glob("*.toml"), default="")
        raise ConfigError(f"{path} is a folder; name a TOML file{first and f', such as {first}'}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_error(path, str(error))) from None


def _build(tree: dict[str, Any], folder: Path, problems: Problems) -> RunConfig:
    try:
        tree = json.loads(json.dumps(tree, default=as_json))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{problems.source}: {error}") from None
    refuse_secrets(tree, (), problems)
    feed_table = _of_the_same_vendor(tree)
    settings = {
        part: plugin_settings(kind, own, tree, part, folder, problems, feed_table)
        for part, kind, own in (("feed", plugins.FEED, FeedConfig), ("broker", plugins.BROKER, BrokerConfig))
    }
    for index, strategy in enumerate(tree["strategies"] if isinstance(tree.get("strategies"), list) else []):
        if isinstance(strategy, dict):
            _complete_params(strategy, ("strategies", index), folder, problems)
    config = problems.validated(RunConfig, tree, ())
    problems.raise_any()
    assert config is not None  # raise_any has spoken otherwise
    feed = config.feed.model_copy(update={"settings": settings["feed"]})
    broker = config.broker.model_copy(update={"settings": settings["broker"]})
    config = config.model_copy(update={"feed": feed, "broker": broker})
    anchored: RunConfig = anchor(config, (), folder, problems.overridden)
    return anchored


def _of_the_same_vendor(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the feed's table when the broker is its vendor's, so that it can say for both where the vendor is."""
    feed, broker = tree.get("feed"), tree.get("broker")
    alike = isinstance(feed, dict) and isinstance(broker, dict) and feed.get("use") == broker.get("use")
    return dict(feed) if alike and isinstance(feed, dict) else {}


def plugin_settings(
    kind: plugins.Kind, own: type[BaseModel], tree: dict[str, Any], part: str, folder: Path, problems: Problems,
    sibling: Mapping[str, Any],
) -> BaseModel | None:  # fmt: skip
    """Take the plugin's options out of its table, leaving what is ours, and check them against its `Settings`.

    Those that it calls `shared` and its table lacks are taken from the table of its sibling.
    """
    table = tree.get(part)
    if not isinstance(table, dict):
        return None
    ours = own.model_fields.keys() - {"settings"}
    theirs = {key: table.pop(key) for key in list(table) if key not in ours}
    plugin = _loaded(kind, table, (part,), folder, problems)
    if plugin is None:
        return None
    theirs = {key: sibling[key] for key in getattr(plugin, "shared", ()) if key in sibling} | theirs
    model: type[BaseModel] = getattr(plugin, "Settings", Table)
    settings = problems.validated(model, theirs, (part,), also_known=ours)
    return settings if model is not Table else None


def _complete_params(table: dict[str, Any], place: KeyPath, folder: Path, problems: Problems) -> None:
    """Check a strategy's parameters, each on its own line, and write out the defaults of the others."""
    plugin = _loaded(plugins.STRATEGY, table, place, folder, problems)
    params = table.get("params", {})
    if plugin is None or not isinstance(params, dict):
        return
    try:
        configure(plugin, {})
        table["params"] = json.loads(json.dumps(parameters(plugin), default=as_json)) | params
    except Exception as error:  # the author's class may raise anything when one is made of it
        problems.add((*place, "use"), f"{plugin.__name__} cannot be configured: {error}")
        return
    for name, value in params.items():
        try:
            configure(plugin, {name: value})
        except ConfigError as error:
            problems.add((*place, "params", name), str(error))


def _loaded(kind: plugins.Kind, table: dict[str, Any], place: KeyPath, folder: Path, problems: Problems) -> Any:
    """Load what `use` names, and make a path in it absolute; None, with the problem noted, when it does not load."""
    use = table.get("use")
    if not isinstance(use, str):
        return None  # the model tells what a missing or mistyped `use` is
    file, colon, name = use.rpartition(":")
    if colon and file.endswith(".py"):
        table["use"] = use = f"{_absolute(Path(file), (*place, 'use'), folder, problems.overridden)}:{name}"
    try:
        return plugins.load(kind, use)
    except PluginError as error:
        problems.add((*place, "use"), str(error))
        return None


def _override(tree: dict[str, Any], text: str, problems: Problems) -> None:
    """Put one `a.b=value` into the tree; a list's element goes by its number, or by its name where it has one."""
    dotted, equals, value = text.partition("=")
    keys = [key.strip() for key in dotted.split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: write key=value, such as risk.max_orders_per_day_count=5")
    node: Any = tree
    path: KeyPath = ()
    for depth, key in enumerate(keys):
        step: str | int = key
        if isinstance(node, list):
            names = [item.get("name") if isinstance(item, dict) else None for item in node]
            step = names.index(key) if key in names else int(key) if key.isdecimal() else -1
            if not 0 <= step < len(node):
                known = ", ".join(str(name) for name in names if name) or "none"
                raise ConfigError(f"--set {text}: {'.'.join(keys[:depth])} has no {key!r}; it has {known}")
        elif not isinstance(node, dict):
            raise ConfigError(f"--set {text}: {'.'.join(keys[:depth])} is a value, not a table")
        path = (*path, step)
        if depth == len(keys) - 1:
            node[step] = _parsed(value.strip())
        else:
            node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
    problems.overridden[path] = text


def _parsed(value: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return parsed["value"] if len(parsed) == 1 else value


def refuse_secrets(node: Any, path: KeyPath, problems: Problems) -> None:
    """A configuration is copied into journals and reports, so a secret may only be named in it, never be in it."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if isinstance(key, str) and isinstance(value, str) and is_secret(key):
            node[key] = ""
            problems.add((*path, key), f'a secret does not belong in a file; name its variable: {key}_env = "..."')
        refuse_secrets(value, (*path, key), problems)


def anchor(value: Any, path: KeyPath, folder: Path, overridden: Mapping[KeyPath, str]) -> Any:
    """Return `value` with every relative path in it made absolute, and itself when there is none."""
    if isinstance(value, Path):
        return _absolute(value, path, folder, overridden)
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        moved = {
            name: anchor(part, path if name == "settings" else (*path, name), folder, overridden)
            for name, part in fields.items()
        }
        changed = {name: part for name, part in moved.items() if part is not fields[name]}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple) and any(isinstance(part, Path | BaseModel) for part in value):
        return tuple(anchor(part, (*path, index), folder, overridden) for index, part in enumerate(value))
    return value


def _absolute(value: Path, path: KeyPath, folder: Path, overridden: Mapping[KeyPath, str]) -> Path:
    from_command_line = any(path[:length] in overridden for length in range(1, len(path) + 1))
    return Path(os.path.normpath((Path.cwd() if from_command_line else folder) / value.expanduser()))


def as_json(value: object) -> object:
    """Return as JSON has it what TOML can hold and JSON cannot."""
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}"
    raise TypeError(f"{value!r} is nothing that a TOML file can hold")


def _syntax_error(path: Path, told: str) -> str:
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", told)
    return f"{path}:{match[2]}: {match[1]} (column {match[3]})" if match else f"{path}: {told}"
