"""From the rows of one recorded file to events: fast for a tape, faithful for a journal."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from brokers.merge import Array, Chunk, Stream
from brokers.tape.reader import Tape, check_rows
from brokers.tape.schema import KINDS, Column, as_numpy, columns, int64s
from engine.errors import TapeError
from engine.events import EVENT_CLASS, MarketEvent, News, Record
from engine.record import tail

if TYPE_CHECKING:
    from hashlib import _Hash

_MARKET = tuple(KINDS.values())
_PAGES = "select cast(body as blob), lines from pages order by first_seq"
_decode_record = msgspec.json.Decoder(Record).decode


@dataclass(frozen=True)
class Selection:
    """The part of a stream that is wanted: these symbols (all when empty), received in `[start_ns, end_ns)`."""

    symbols: frozenset[str]
    start_ns: int
    end_ns: int

    def meets(self, stream: Stream) -> bool:
        return stream.first_ns < self.end_ns and stream.last_ns >= self.start_ns

    def mask(self, batch: Any, kind: str) -> npt.NDArray[np.bool_]:
        """Tell for each row whether its symbol is wanted; a row that names none concerns everybody."""
        if kind == "news":
            joined = batch.column("symbols").to_pylist() if "symbols" in batch.schema.names else [""] * batch.num_rows
            return np.array([not text or not self.symbols.isdisjoint(text.split(";")) for text in joined])
        if "symbol" not in batch.schema.names:
            return np.ones(batch.num_rows, dtype=bool)
        symbol = batch.column("symbol")
        wanted = np.array([not name or name in self.symbols for name in symbol.dictionary.to_pylist()])
        mask: npt.NDArray[np.bool_] = wanted[as_numpy(symbol.indices)]
        return mask

    def takes(self, event: MarketEvent) -> bool:
        if not self.start_ns <= event.ts_recv_ns < self.end_ns:
            return False
        names = event.symbols if isinstance(event, News) else (event.symbol,) if event.symbol else ()
        return not self.symbols or not names or not self.symbols.isdisjoint(names)


class TapeStream:
    """The selected events of one tape, each received `delay_ns` later than it says."""

    def __init__(self, tape: Tape, selection: Selection, delay_ns: int = 0) -> None:
        summary = tape.summary
        self.symbols = summary.symbols
        self.first_ns, self.last_ns = summary.first_recv_ns + delay_ns, summary.last_recv_ns + delay_ns
        self._tape, self._selection, self._delay_ns = tape, selection, delay_ns
        self._columns = columns(tape.kind)
        self._build, self._class = KINDS[tape.kind], EVENT_CLASS[KINDS[tape.kind]]

    def digest(self, digest: _Hash) -> None:
        with self._tape.path.open("rb") as file:
            while block := file.read(1 << 18):
                digest.update(block)

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Yield the events in order.

        Raises:
            TapeError: naming the row that is out of order, without sense or does not read.
        """
        tape, chosen, delay_ns = self._tape, self._selection, self._delay_ns
        last_ns = -(2**63)
        for first, batch in tape.batches(rows, start_ns=chosen.start_ns - delay_ns, end_ns=chosen.end_ns - delay_ns):
            recv_ns = int64s(batch, "ts_recv_ns")
            check_rows(batch, last_ns, tape, first)
            last_ns = int(recv_ns[-1])
            low, high = np.searchsorted(recv_ns, (chosen.start_ns - delay_ns, chosen.end_ns - delay_ns)).tolist()
            if high - low < len(recv_ns):
                batch = batch.slice(low, high - low)
            if chosen.symbols:
                batch = batch.filter(pa.array(chosen.mask(batch, tape.kind)))
            if batch.num_rows:
                yield self._chunk(batch)

    def _chunk(self, batch: Any) -> Chunk:
        recv_ns = int64s(batch, "ts_recv_ns") + self._delay_ns
        count = len(recv_ns)
        arrays: list[Array] = []
        for column in self._columns:
            if column.name == "ts_recv_ns":
                if np.array_equal(arrays[-1], recv_ns):
                    arrays[-1] = recv_ns
                arrays.append(recv_ns)
            elif column.name in self._tape.names:
                arrays.append(self._array(column, batch.column(column.name)))
            else:
                arrays.append(_constant(column.default, count))
        return Chunk(recv_ns, _constant(self._class, count, np.int64), self._build, arrays)

    def _array(self, column: Column, values: Any) -> Array:
        """Turn a column into what the struct takes: numbers, or Python objects."""
        if pa.types.is_dictionary(values.type):
            names = [sys.intern(name) for name in values.dictionary.to_pylist()]
            return _objects(names)[as_numpy(values.indices)] if len(names) > 1 else _constant(names[0], len(values))
        if not values.null_count and (pa.types.is_int64(values.type) or pa.types.is_float64(values.type)):
            numbers = as_numpy(values)
            is_constant = numbers[0] == numbers[-1] and (numbers == numbers[0]).all()
            return np.broadcast_to(numbers[:1], len(numbers)) if is_constant else numbers
        if values.null_count == len(values):
            return _constant(None, len(values))
        if column.annotation is Decimal:
            return _objects([self._decimal(column.name, text) for text in values.to_pylist()])
        if column.annotation == tuple[str, ...]:
            return _objects([tuple(text.split(";")) if text else () for text in values.to_pylist()])
        return _objects(values.to_pylist())

    def _decimal(self, name: str, text: str) -> Decimal:
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("nan")
        if not value.is_finite():
            raise TapeError(f"{self._tape.path}: '{name}' is '{text}', which is no amount")
        return value


class JournalStream:
    """The selected market events in the journal of a live run, in the order in which they were worked off.

    Raises:
        TapeError: it is no journal, or holds no market event (that of a replay does not: its tape is a file).
    """

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path, self._selection = path, selection
        symbols: set[str] = set()
        first_ns, last_ns = 2**63 - 1, -1
        for event in self._events():
            first_ns, last_ns = min(first_ns, event.ts_recv_ns), max(last_ns, event.ts_recv_ns)
            symbols.update(event.symbols if isinstance(event, News) else [event.symbol])
        if last_ns < 0:
            raise TapeError(f"{path}: no market events in this journal; that of a replay has none, its tape has them")
        self.symbols = tuple(sorted(symbols - {""}))
        self.first_ns, self.last_ns = first_ns, last_ns

    def digest(self, digest: _Hash) -> None:
        for line in self._lines():
            digest.update(line + b"\n")

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Yield the events in the order of the journal; beside another stream its clock never runs backwards."""
        chosen = filter(self._selection.takes, self._events())
        reached_ns = 0
        while events := list(islice(chosen, rows)):
            recv_ns = np.array([reached_ns, *(event.ts_recv_ns for event in events)])
            recv_ns = np.maximum.accumulate(recv_ns)[1:]
            reached_ns = int(recv_ns[-1])
            classes = np.array([EVENT_CLASS[type(event)] for event in events])
            yield Chunk(recv_ns, classes, _itself, [_objects(events)])

    def _events(self) -> Iterator[MarketEvent]:
        for number, line in enumerate(self._lines(), 1):
            try:
                record = _decode_record(line)
            except msgspec.DecodeError as error:
                raise TapeError(f"{self._path} record {number}: {error}") from None
            if isinstance(record, _MARKET):
                yield record

    def _lines(self) -> Iterator[bytes]:
        try:
            connection = sqlite3.connect(f"file:{quote(str(self._path.absolute()))}?mode=ro", uri=True)
            with closing(connection):
                newest, seq = tail.read(self._path), 1
                for body, count in connection.execute(_PAGES):
                    yield from filter(None, body.split(b"\n"))
                    seq += count
                if newest.first_seq == seq:
                    yield from newest.lines
        except sqlite3.Error as error:
            is_shut = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CANTOPEN
            told = "cannot be read" if is_shut else "no journal, or a damaged one"
            raise TapeError(f"{self._path}: {told}: {error}") from None


def _itself(event: MarketEvent) -> MarketEvent:
    return event


def _objects(values: Sequence[Any]) -> Array:
    return np.fromiter(values, dtype=object, count=len(values))


def _constant(value: Any, count: int, dtype: Any = object) -> Array:
    return np.broadcast_to(np.array([value], dtype=dtype), count)
