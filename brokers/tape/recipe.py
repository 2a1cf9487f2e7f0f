"""How the rows of a foreign file become rows of a tape: which column is what, and when a row was true and known.

Conversion works on thousands of rows at once. Where one of them is bad the whole lot is refused, and the importer
halves it until it holds that row alone: one rule for one row and for many.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc

from brokers.tape import cells
from brokers.tape.schema import KINDS, columns, faults
from brokers.tape.source import Rows, Source
from engine.clock import Sessions
from engine.errors import ConfigError, suggestion

LINE = "line"
# What corporate actions may be made of instead of their own columns; see `brokers.tape.actions`.
ACTION_SOURCES = ("split_ratio", "open", "close", "adj_close")
_TIMES = ("ts_event_ns", "ts_recv_ns")


@dataclass(frozen=True)
class Recipe:
    """What the person at the command line said about the source.

    `mapping` gives a column of the tape its column of the source; `fill` gives it a text in which `{name}` stands for a
    column of the source and `{stem}` for the file's name. A column of the right name needs neither. A date without a
    clock time means that session of `calendar`, at its close or as `stamp` says.
    """

    kind: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, str] = field(default_factory=dict)
    time_unit: str = ""
    time_format: str = ""
    time_zone: str = ""
    stamp: str = ""
    interval_ns: int = 0
    calendar: str = ""
    recv_delay_ns: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"--kind {self.kind}: not one of {', '.join(KINDS)}{suggestion(self.kind, KINDS)}")
        for option, given in (("--map", self.mapping), ("--fill", self.fill)):
            for name in given:
                if name not in self.targets:
                    told = f"a {self.kind} tape has no column '{name}'{suggestion(name, self.targets)}"
                    raise ConfigError(f"{option} {name}={given[name]}: {told}")
        for option, chosen, known in (
            ("--time-unit", self.time_unit, cells.TIME_UNITS),
            ("--stamp", self.stamp, cells.STAMPS),
        ):
            if chosen and chosen not in known:
                raise ConfigError(f"{option} {chosen}: not one of {', '.join(known)}")
        if self.time_zone and self.time_zone not in available_timezones():
            near = suggestion(self.time_zone, available_timezones())
            raise ConfigError(f"--time-zone {self.time_zone}: no such zone{near}")

    @cached_property
    def targets(self) -> tuple[str, ...]:
        own = tuple(column.name for column in columns(self.kind))
        return own + ACTION_SOURCES if self.kind == "corporate_action" else own

    @cached_property
    def sessions(self) -> Sessions:
        if not self.calendar:
            raise ConfigError("a date without a clock time needs --calendar, such as XNYS or 24/7, to know its hours")
        return Sessions(self.calendar)


class Conversion:
    """A recipe applied to one source, whose columns are `names`.

    `makes` are the columns of the tape that come out. `notes` counts rows about which something was decided that a
    person should know.

    Raises:
        ConfigError: the recipe does not fit the source.
    """

    def __init__(self, recipe: Recipe, source: Source, names: Sequence[str], notes: Counter[str]) -> None:
        self.recipe, self._source, self._names, self._notes = recipe, source, names, notes
        self._has = f"{source.path} has {', '.join(names)}"
        own = {column.name for column in columns(recipe.kind)}
        self._taken = {name: name for name in names if name in own and name not in recipe.fill} | {**recipe.mapping}
        for target, name in recipe.mapping.items():
            self._check_name(f"--map {target}={name}", name)
        self._pieces = {target: self._template(target, text) for target, text in recipe.fill.items()}
        self._check_complete()
        self._time = self._taken.get("ts_event_ns", "")
        self._stamp = self._stamp_of_rows()

    @property
    def makes(self) -> set[str]:
        made = {*self._taken, *self._pieces, *_TIMES} | ({"interval_ns"} if self.recipe.kind == "bar" else set())
        return made - {*ACTION_SOURCES} if self.recipe.kind == "corporate_action" else made

    def __call__(self, rows: Rows) -> Any:
        """Return the rows as a `pyarrow.RecordBatch` that also has a column `line`.

        Raises:
            RowError: one of them, or more, does not convert.
        """
        found: dict[str, Any] = {}
        recipe = self.recipe
        for column in columns(recipe.kind):
            values = None if column.name in _TIMES else self._values(rows, column.name)
            if values is not None:
                found[column.name] = cells.convert(column, values)
        for name in ACTION_SOURCES:
            if name in self._taken and name not in found:
                found[name] = cells.numbers(name, self._values(rows, name), pa.float64())
        event_ns, session_ns = self._instants(rows, self._time)
        if recipe.kind == "bar" and "interval_ns" not in found:
            uniform = pa.repeat(recipe.interval_ns, len(rows.lines))
            found["interval_ns"] = uniform if session_ns is None else session_ns
        if recipe.kind == "bar" and self._stamp == "open":
            event_ns = pc.add(event_ns, found["interval_ns"])
        found |= zip(_TIMES, self._both_times(rows, event_ns), strict=True)
        batch = pa.record_batch({**found, LINE: pa.array(rows.lines, pa.int64())})
        for told in faults(recipe.kind, batch):
            raise cells.RowError(told)
        return batch

    def _values(self, rows: Rows, target: str) -> Any:
        """Return what the source holds for a column of the tape, as it was written; None when it holds nothing."""
        if target not in self._pieces:
            return self._column(rows, self._taken[target]) if target in self._taken else None
        pieces = [
            cells.text(self._column(rows, piece)) if is_column else pa.repeat(piece, len(rows.lines))
            for is_column, piece in self._pieces[target]
        ]
        return pc.binary_join_element_wise(*pieces, "", null_handling="replace")

    def _column(self, rows: Rows, name: str) -> Any:
        # JSON lines need not all have the same keys.
        return cells.array(rows.columns[name]) if name in rows.columns else pa.nulls(len(rows.lines))

    def _instants(self, rows: Rows, name: str) -> tuple[Any, Any]:
        """Return the instants in a column, where there are any, and for dates the length of the session."""
        recipe = self.recipe
        if not name:
            return pa.nulls(len(rows.lines), pa.int64()), None
        values, unit = self._column(rows, name), self._unit_of(name)
        if unit == "date":
            return cells.session_instants(name, values, recipe.sessions, self._stamp)
        return cells.instants(name, values, unit, recipe.time_format, recipe.time_zone), None

    def _both_times(self, rows: Rows, event_ns: Any) -> tuple[Any, Any]:
        name = self._taken.get("ts_recv_ns", "")
        if not name:
            cells.refuse_empty(self._time, event_ns)
            return event_ns, pc.add(event_ns, self.recipe.recv_delay_ns)
        recv_ns, _ = self._instants(rows, name)
        cells.refuse_empty(name, recv_ns)
        if event_ns.null_count:
            self._notes["rows without a time of their own, stamped with that of their reception"] += event_ns.null_count
            event_ns = pc.coalesce(event_ns, recv_ns)
        early = pc.sum(pc.less(recv_ns, event_ns)).as_py()
        if early:
            self._notes["rows received before they happened, by clocks that disagree; kept as they are"] += early
        return event_ns, recv_ns

    def _unit_of(self, name: str) -> str:
        by_name = re.search(r"_(ns|us|ms|s)$", name)
        by_rule = by_name[1] if by_name else "date" if name.lower().endswith("date") else "iso"
        return self.recipe.time_unit or by_rule

    def _stamp_of_rows(self) -> str:
        """A bar stamped at its start but taken for one stamped at its end would be known too early: never guess."""
        kind, name, stamp = self.recipe.kind, self._time.lower(), self.recipe.stamp
        if "date" in (self._unit_of(self._time), self._unit_of(self._taken.get("ts_recv_ns", ""))):
            stamp = stamp or {"bar": "close", "corporate_action": "start"}.get(kind, "")
            if not stamp:
                raise ConfigError(f"when on its date was a {kind} known? Say --stamp start, open, close or next_open")
            if kind == "bar" and stamp != "close":
                raise ConfigError(f"--stamp {stamp}: the bar of a date is known at its session's close, not before")
        elif kind == "bar":
            if not stamp and ("open" in name) != ("close" in name):
                stamp = "open" if "open" in name else "close"
            if stamp not in ("open", "close"):
                raise ConfigError(f"is '{self._time}' the start or the end of its bar? Say --stamp open or close")
        elif stamp:
            raise ConfigError(f"--stamp {stamp}: '{self._time}' has a clock time; only bars and dates need a stamp")
        return stamp

    def _template(self, target: str, text: str) -> list[tuple[bool, str]]:
        pieces = []
        for index, piece in enumerate(re.split(r"\{([^{}]*)\}", text)):
            if index % 2 and piece != "stem":
                self._check_name(f"--fill {target}={text}", piece)
                pieces.append((True, piece))
            else:
                pieces.append((False, self._source.path.name.split(".")[0] if index % 2 else piece))
        return pieces

    def _check_name(self, option: str, name: str) -> None:
        if name not in self._names:
            near = suggestion(name, self._names)
            raise ConfigError(f"{option}: no column '{name}'{near}; {self._has}")

    def _check_complete(self) -> None:
        recipe, given = self.recipe, {*self._taken, *self._pieces}
        if not given & {*_TIMES}:
            raise ConfigError(f"which column is the time? Say --map ts_event_ns=COLUMN; {self._has}")
        made = {*_TIMES}
        for name in ("open", "close"):
            if "adj_close" in self._taken and "action" not in given and name not in self._taken:
                raise ConfigError(f"adj_close shows a split only beside {name}: say --map {name}=COLUMN; {self._has}")
        if recipe.kind == "corporate_action" and given & {"split_ratio", "amount_usd", "adj_close"}:
            made.add("action")
        if recipe.interval_ns or self._unit_of(self._taken.get("ts_event_ns", "")) == "date":
            made.add("interval_ns")
        for column in columns(recipe.kind):
            if column.required and column.name not in given | made:
                how = "--interval, such as 1min" if column.name == "interval_ns" else f"--map {column.name}=COLUMN"
                raise ConfigError(f"nothing says '{column.name}' of a {recipe.kind}: say {how}; {self._has}")
