"""Write a tape: checked as it is written, and afterwards whole under its name or not there at all."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from brokers.tape.schema import METADATA_KEY, TAPE_SUFFIXES, Summary, Tally, columns, faults, first_disorder, int64s
from engine.errors import TapeError
from engine.events import MarketEvent

ROW_GROUP_ROWS = 1 << 17
# Small pages halve the memory that each open tape takes in a merge, and prices pack better outside a dictionary.
_PAGE_BYTES = 1 << 16


class _Sink(Protocol):
    def write(self, batch: Any) -> None: ...
    def close(self, summary: Summary) -> None: ...


class TapeWriter:
    """A context in which rows are written to a temporary file that takes the tape's name when all went well.

    `names` are the columns to have, by default all of the kind. Strings are kept plain in memory here: Parquet encodes
    repeated ones by itself.

    Raises:
        TapeError: a row is out of order or would be refused when it is read, nothing was written, the name is not that
            of a tape, or the disk refuses.
    """

    def __init__(
        self, path: Path, kind: str, *, names: Sequence[str] | None = None, calendar: str = "", note: str = ""
    ) -> None:
        if not path.name.endswith(TAPE_SUFFIXES):
            raise TapeError(f"{path}: no tape by its name; a tape ends in {', '.join(TAPE_SUFFIXES)}")
        self.path = path
        self.schema = pa.schema(
            (column.name, pa.string() if pa.types.is_dictionary(column.arrow_type) else column.arrow_type)
            for column in columns(kind)
            if names is None or column.name in names
        )
        self.tally = Tally(kind)
        self._calendar, self._note = calendar, note
        self._partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> TapeWriter:
        with self._told(), ExitStack() as opened:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            sink = _ParquetSink if self.path.name.endswith(".parquet") else _CsvSink
            self._sink: _Sink = sink(opened, self._partial, self.schema, self.path.name.endswith(".gz"))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._told(), self._opened:
                if error is None:
                    self._sink.close(self.tally.summary(self._calendar, self._note))
            if error is None and not self.tally.rows:
                raise TapeError(f"{self.path}: not written, because there was not one row for it")
            if error is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TapeError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def write(self, batch: Any) -> None:
        """Add a `pyarrow.RecordBatch` that has the columns of `schema`, in any order."""
        batch = batch.select(self.schema.names).cast(self.schema)
        row = first_disorder(int64s(batch, "ts_recv_ns"), self.tally.last_recv_ns)
        if row >= 0:
            told = f"row {self.tally.rows + row + 1} lies before the one ahead of it; a tape is in order"
            raise TapeError(f"{self.path}: {told}")
        for told, rows in faults(self.tally.kind, batch).items():
            raise TapeError(f"{self.path}: row {self.tally.rows + int(rows.argmax()) + 1}: {told}")
        with self._told():
            self._sink.write(batch)
        self.tally.add(batch)

    def write_events(self, events: Sequence[MarketEvent]) -> None:
        """Add events of the tape's kind."""
        values = ([as_cell(getattr(event, name)) for event in events] for name in self.schema.names)
        self.write(pa.record_batch([*map(pa.array, values, self.schema.types)], schema=self.schema))


class _ParquetSink:
    def __init__(self, opened: ExitStack, path: Path, schema: Any, _compressed: bool) -> None:
        # A tape is read far more often than it is written: LZ4 takes a fifth more of the disk and a third less time.
        writer = pq.ParquetWriter(
            path, schema, compression="lz4", data_page_size=_PAGE_BYTES, dictionary_pagesize_limit=_PAGE_BYTES,
            write_page_checksum=True,
        )  # fmt: skip
        self._writer = opened.enter_context(writer)
        self._held: list[Any] = []

    def write(self, batch: Any) -> None:
        self._held.append(batch)
        if sum(held.num_rows for held in self._held) >= ROW_GROUP_ROWS:
            self._flush()

    def close(self, summary: Summary) -> None:
        self._flush()
        self._writer.add_key_value_metadata({METADATA_KEY: msgspec.json.encode(summary)})

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held), row_group_size=ROW_GROUP_ROWS)
            self._held.clear()


class _CsvSink:
    def __init__(self, opened: ExitStack, path: Path, schema: Any, compressed: bool) -> None:
        raw: Any = opened.enter_context(path.open("wb"))
        if compressed:
            # Without name and time the same rows make the same bytes.
            raw = opened.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
        text = opened.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        self._writer = csv.writer(text, lineterminator="\n")
        self._writer.writerow(schema.names)

    def write(self, batch: Any) -> None:
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if any(isinstance(value, str) and ("\n" in value or "\r" in value) for value in values):
                raise TapeError("a text with a line break does not fit a CSV tape, one line a row; write Parquet")
            self._writer.writerow(values)

    def close(self, summary: Summary) -> None:
        """Nothing to add: a CSV tape is read through once to learn what it holds."""


def as_cell(value: Any) -> Any:
    """Return a field of an event as the tape holds it: an amount as its text, symbols in one text."""
    if isinstance(value, Decimal):
        return str(value)
    return ";".join(value) if isinstance(value, tuple) else value
