"""What a recorded tape looks like: its kinds, their columns, and what one file knows of itself.

A file holds one kind of event, sorted by `ts_recv_ns`. Its columns are the fields of that kind's struct in
`engine.events`, so the schema is written once, there. `docs/tape.md` is the page for its users.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.events import DAY_NS, Bar, CorporateAction, Datum, MarketEvent, News, Quote, Status, Trade

SCHEMA_VERSION = 1
METADATA_KEY = b"onetape"
BATCH_ROWS = 4096
TAPE_SUFFIXES = (".parquet", ".csv", ".csv.gz")
KINDS: dict[str, type[MarketEvent]] = {
    "bar": Bar, "quote": Quote, "trade": Trade, "news": News, "status": Status,
    "corporate_action": CorporateAction, "datum": Datum,
}  # fmt: skip

Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NAME = pa.dictionary(pa.int32(), pa.string())
_NAMES = ("symbol", "new_symbol", "name", "author", "source", "reason")
# A run divides by all three; a year is the longest bar that vendors sell.
_BOUNDS = {
    "interval_ns": (1, 366 * DAY_NS, "not between 1 ns and 366 days"),
    "new_shares": (1, 2**63 - 1, "not positive"),
    "old_shares": (1, 2**63 - 1, "not positive"),
}
_ARROW_TYPES = {int: pa.int64(), float: pa.float64(), float | None: pa.float64(), bool: pa.bool_()}


class Column(NamedTuple):
    """One column of a kind, after the field of its struct; only a `required` one must be there."""

    name: str
    annotation: Any
    arrow_type: Any
    required: bool
    default: Any

    @property
    def nullable(self) -> bool:
        return type(None) in get_args(self.annotation)

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.annotation) if get_origin(self.annotation) is Literal else ()


@cache
def columns(kind: str) -> tuple[Column, ...]:
    """Return the columns of a kind, in the order of its struct's fields."""
    return tuple(
        Column(field.name, field.type, _arrow_type(field), field.required, None if field.required else field.default)
        for field in msgspec.structs.fields(KINDS[kind])
    )


def _arrow_type(field: msgspec.structs.FieldInfo) -> Any:
    is_name = field.name in _NAMES or get_origin(field.type) is Literal
    return _ARROW_TYPES.get(field.type, NAME if is_name else pa.string())


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tape is known to hold: from its Parquet metadata, or else from one scan.

    `interval_ns` is 0 where bars differ in length. `calendar` and `note` are what the importer was told.
    """

    schema_version: int
    kind: str
    rows: int
    first_recv_ns: int
    last_recv_ns: int
    symbols: tuple[str, ...]
    interval_ns: int = 0
    calendar: str = ""
    note: str = ""


class Tally:
    """What the batches of a tape hold together."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows = 0
        self.first_recv_ns, self.last_recv_ns = 0, -(2**63)
        self.symbols: set[str] = set()
        self._intervals: set[int] = set()

    def add(self, batch: Any) -> None:
        recv_ns = int64s(batch, "ts_recv_ns")
        if not len(recv_ns):
            return
        self.first_recv_ns = self.first_recv_ns if self.rows else int(recv_ns[0])
        self.last_recv_ns = int(recv_ns[-1])
        self.rows += len(recv_ns)
        self.symbols |= _symbols_in(batch, self.kind)
        if "interval_ns" in batch.schema.names:
            self._intervals |= {*np.unique(int64s(batch, "interval_ns")).tolist()}

    def summary(self, calendar: str = "", note: str = "") -> Summary:
        return Summary(
            SCHEMA_VERSION, self.kind, self.rows, self.first_recv_ns, self.last_recv_ns, tuple(sorted(self.symbols)),
            next(iter(self._intervals)) if len(self._intervals) == 1 else 0, calendar, note,
        )  # fmt: skip


def faults(kind: str, batch: Any) -> dict[str, Mask]:
    """Return what no run could make sense of, such as `symbol is empty`, and the rows that have it, if any do.

    Columns that are not there are not missed. Shapes: `[rows]`, at least one of them true.
    """
    found: dict[str, Mask] = {}
    names = batch.schema.names
    for column in columns(kind):
        if column.name not in names:
            continue
        if column.name in _BOUNDS:
            least, most, told = _BOUNDS[column.name]
            numbers = int64s(batch, column.name)
            found[f"{column.name} is {told}"] = (numbers < least) | (numbers > most)
        elif column.name == "action":
            is_change = np.array(batch.column("action").to_pylist()) == "symbol_change"
            is_nameless = _empty(batch.column("new_symbol")) if "new_symbol" in names else True
            found["new_symbol is empty"] = is_change & is_nameless
        elif column.required and column.arrow_type is NAME:
            found[f"{column.name} is empty"] = _empty(batch.column(column.name))
    return {told: rows for told, rows in found.items() if rows.any()}


def int64s(batch: Any, name: str) -> Int64s:
    """Return an int64 column as an array."""
    return as_numpy(batch.column(name))


def as_numpy(array: Any) -> npt.NDArray[Any]:
    """Return the numbers of an Arrow array without nulls; its own `to_numpy` would import pandas, 36 MB."""
    return np.from_dlpack(array)


def first_disorder(recv_ns: Int64s, previous_ns: int) -> int:
    """Return the first row that lies before the one ahead of it (before row 0 comes `previous_ns`), or -1."""
    if len(recv_ns) and recv_ns[0] < previous_ns:
        return 0
    backwards = recv_ns[1:] < recv_ns[:-1]
    return int(backwards.argmax()) + 1 if backwards.any() else -1


def _empty(texts: Any) -> Mask:
    """Tell which texts are empty, by where each begins: to make strings of them would cost more than the reading."""
    words = texts.dictionary if pa.types.is_dictionary(texts.type) else texts
    begins = np.frombuffer(words.buffers()[1], np.int32)[words.offset : words.offset + len(words) + 1]
    empty: Mask = begins[1:] == begins[:-1]
    if words is texts:
        return empty
    return empty[as_numpy(texts.indices)] if empty.any() else np.broadcast_to(np.False_, len(texts))


def _symbols_in(batch: Any, kind: str) -> set[str]:
    name = "symbols" if kind == "news" else "symbol"
    if name not in batch.schema.names:
        return set()
    found = batch.column(name).unique().to_pylist()
    return {symbol for text in found for symbol in (text.split(";") if kind == "news" else [text]) if symbol}
