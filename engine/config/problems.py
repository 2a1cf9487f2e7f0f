"""Everything that is wrong with a configuration, gathered and told at once: where, what, and what would be right."""

from __future__ import annotations

import difflib
import json
import re
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from engine.config.lines import KeyPath, line_of
from engine.errors import ConfigError, suggestion

Model = TypeVar("Model", bound=BaseModel)
NO_LINE = 2**31


class Problems:
    """The complaints about one configuration.

    Attributes: `source`, the name of the file; `overridden`, the keys that `--set` gave, with its text.
    """

    def __init__(self, source: str, lines: Mapping[KeyPath, int]) -> None:
        self.source = source
        self.overridden: dict[KeyPath, str] = {}
        self._lines = lines
        self._found: list[tuple[KeyPath, str]] = []
        self._unknown: list[KeyPath] = []
        self._known: dict[str, set[str]] = {}

    def add(self, path: KeyPath, what: str) -> None:
        """Note one problem with the key at `path`."""
        self._found.append((path, what))

    def validated(
        self, model: type[Model], tree: Any, place: KeyPath, also_known: Collection[str] = ()
    ) -> Model | None:
        """Return `tree` as a `model`, or None with every problem noted; `place` is where the tree is in the file.

        No text passes for a number here and no number for a switch, whatever the model would make of it.
        """
        for section, names in _sections(model, _dotted(place)):
            self._known.setdefault(section, set()).update(names)
        self._known.setdefault(_dotted(place), set()).update(also_known)
        try:
            parsed = model.model_validate_json(json.dumps(tree))
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = (*place, *detail["loc"])
                if detail["type"] == "extra_forbidden":
                    self._unknown.append(path)
                elif not _echoes(detail):
                    self.add(path, _told(detail, _field(model, detail["loc"])))
            return None
        for path, what in _forced(tree, parsed):
            self.add((*place, *path), what)
        return parsed

    def raise_any(self) -> None:
        """Raise what was found, in the order of the file.

        Raises:
            ConfigError: if there is anything.
        """
        found = self._found + [(path, f"unknown key{self._near(path)}") for path in self._unknown]
        if not found:
            return
        rows = sorted((*self._place(path), _dotted(path), what) for path, what in found)
        if len(rows) == 1:
            _, where, key, what = rows[0]
            if not where.startswith("--set"):
                where = f"{self.source}{where and ':' + where.removeprefix('line ')}"
            raise ConfigError(f"{where}: {key}: {what}" if key else f"{where}: {what}")
        lines = [": ".join(part for part in row[1:] if part) for row in rows]
        raise ConfigError(f"{self.source}: {len(rows)} problems\n  " + "\n  ".join(lines))

    def _place(self, path: KeyPath) -> tuple[int, str]:
        """Return the line of a key, or `NO_LINE`, and in words where it is: a `--set` that it may come of is named."""
        for place, text in self.overridden.items():
            if path[: len(place)] == place:
                return NO_LINE, f"--set {text}"
        line = line_of(self._lines, path)
        sets = [f"--set {text}" for place, text in self.overridden.items() if _may_spoil(place, path)]
        if not line:
            return (NO_LINE, " ".join(sets)) if sets else (0, "")
        return line, " with ".join([f"line {line}", *sets])

    def _near(self, path: KeyPath) -> str:
        wrong, here = str(path[-1]), _dotted(key for key in path[:-1] if isinstance(key, str))
        homes = [section for section, names in self._known.items() if wrong in names]
        if homes:
            return f"; it belongs in [{homes[0]}]" if homes[0] else "; it belongs at the top, above every [table]"
        if near := suggestion(wrong, self._known.get(here, ())):
            return near
        elsewhere = {name: section for section, names in self._known.items() for name in names}
        names = difflib.get_close_matches(wrong, sorted(elsewhere), n=1)
        return f"; did you mean '{_dotted(filter(None, (elsewhere[names[0]], names[0])))}'?" if names else ""


def _may_spoil(changed: KeyPath, path: KeyPath) -> bool:
    """Tell whether what is wrong with `path` may come of another key: of one in its table, or of the table's `use`."""
    spoils_table = path != () and changed[: len(path)] == path
    return spoils_table or (changed[-1] == "use" and path[: len(changed) - 1] == changed[:-1])


def _forced(tree: Mapping[str, Any], parsed: BaseModel) -> Iterator[tuple[KeyPath, str]]:
    for key, given in tree.items():
        value = getattr(parsed, key, given)
        if isinstance(given, dict) and isinstance(value, BaseModel):
            yield from (((key, *path), what) for path, what in _forced(given, value))
        elif isinstance(given, bool) != isinstance(value, bool):
            wanted = "true or false" if isinstance(value, bool) else "a number"
            yield (key,), f"should be {wanted}, not {json.dumps(given)}"
        elif isinstance(given, str) and isinstance(value, int | float) and _is_number(given):
            yield (key,), f"should be a number, not {json.dumps(given)}; leave out the quotes"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def nested(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model that a field holds: itself, optional, or as the items of a list."""
    return _model_in(field.annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if annotation is not BaseModel else None
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def _sections(model: type[BaseModel], place: str) -> Iterator[tuple[str, set[str]]]:
    yield place, model.model_fields.keys() - {"settings"}
    for name, field in model.model_fields.items():
        if inner := nested(field):
            yield from _sections(inner, f"{place}.{name}".lstrip("."))


def _field(model: type[BaseModel], path: tuple[str | int, ...]) -> FieldInfo | None:
    field = None
    for key in path:
        if isinstance(key, int):
            continue
        field = model.model_fields.get(key)
        if field is None:
            return None
        model = nested(field) or model
    return field


def _echoes(detail: ErrorDetails) -> bool:
    """Tell whether a complaint only says that another key is wrong, as pydantic does when a list's item is."""
    short = detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]
    return short or detail["type"] == "default_factory_not_called"


def _told(detail: ErrorDetails, field: FieldInfo | None) -> str:
    purpose = field.description if field is not None and field.description else ""
    if detail["type"] == "missing":
        name, example = detail["loc"][-1], ""
        if field is not None and nested(field):
            table = f"[{name}]" if isinstance(field.annotation, type) else f"[[{name}]]"
            example = f" Write the table {table}: docs/configuration.md"
        elif field is not None and field.examples:
            example = f" Write {name} = {json.dumps(field.examples[0])}"
        return f"missing{'; ' + purpose if purpose else '.' if example else ''}{example}"
    if detail["type"] in ("value_error", "assertion_error"):
        return detail["msg"].partition(", ")[2]
    if detail["type"] == "too_short":
        return f"needs at least {detail['ctx']['min_length']}{purpose and f' ({purpose})'}"
    told = re.sub("^(Input|String|Tuple|Decimal input) should", "should", detail["msg"]).partition(", unable")[0]
    told, given = told.replace("an object", "a table"), detail["input"]
    if detail["type"] in ("list_type", "tuple_type"):
        right = f"[[{detail['loc'][-1]}]]" if isinstance(given, dict) else f"[{json.dumps(given)}]"
        told, purpose = "should be a list", f"write {right}; {purpose}".removesuffix("; ")
    shown = "a table" if isinstance(given, dict) else "a list" if isinstance(given, list) else json.dumps(given)
    return f"{told}, not {shown}{purpose and f' ({purpose})'}"


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(key) for key in path)
