"""One tape file, read: checked for schema, handed out in Arrow batches in the order in which it lies on the disk.

Nothing here builds events or merges files. Whatever is wrong with a file becomes one `TapeError` that names it and,
where there is one, the line or row.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from brokers.tape.schema import (
    BATCH_ROWS,
    KINDS,
    METADATA_KEY,
    NAME,
    SCHEMA_VERSION,
    TAPE_SUFFIXES,
    Column,
    Summary,
    Tally,
    columns,
    faults,
    first_disorder,
    int64s,
)
from engine.errors import TapeError, suggestion
from engine.events import NEVER_NS

# Columns are read through a buffer of this size: whole, one could be as large as a foreign file's only row group.
_READ_BUFFER_BYTES = 1 << 14
_COMMON = ("symbol", "ts_event_ns", "ts_recv_ns")


class Tape:
    """One tape file: its `kind`, the `names` of its columns and, on demand, its `summary` and its batches.

    `noted` is what its metadata says of it, if there is any.

    Raises:
        TapeError: the file is missing, empty, cut off, no tape, of another schema, or without a row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.noted: Summary | None = None
        self._summary: Summary | None = None
        self._types: dict[str, Any] = {}
        self._is_csv = not path.name.endswith(".parquet")
        self._has_rows = False
        if not path.name.endswith(TAPE_SUFFIXES):
            raise TapeError(f"{path}: no tape by its name; a tape ends in {', '.join(TAPE_SUFFIXES)}")
        with reading(path):
            if path.stat().st_size == 0:
                raise TapeError(f"{path}: the file is empty")
            self.names = self._csv_names() if self._is_csv else self._parquet_names()
        self.kind = self.noted.kind if self.noted else _kind_of(self.names, path)
        self._check_names()
        if not self._has_rows:
            raise TapeError(f"{path}: the tape holds no rows")

    @property
    def summary(self) -> Summary:
        """What the tape holds; reads it once from end to end where its metadata does not say."""
        if self._summary is None:
            self._summary = self.noted or self._scan()
        return self._summary

    def batches(
        self, rows: int = BATCH_ROWS, *, start_ns: int = -NEVER_NS, end_ns: int = NEVER_NS
    ) -> Iterator[tuple[int, Any]]:
        """Yield (number of its first row, `pyarrow.RecordBatch`) of at most `rows` rows.

        Row groups of a Parquet tape that lie outside `[start_ns, end_ns)` of `ts_recv_ns` are not read; what else lies
        outside comes along.

        Raises:
            TapeError: a value is missing or does not read, naming the row.
        """
        batches = self._csv_batches(rows) if self._is_csv else self._parquet_batches(rows, start_ns, end_ns)
        with reading(self.path):
            for first, batch in batches:
                for column in columns(self.kind):
                    if column.name in self.names:
                        self._check_values(column, batch.column(column.name), first)
                yield first, batch

    def place(self, row: int) -> str:
        """Return where row number `row` (from 0) is found: a line of a CSV file, a row of a Parquet file."""
        return f"{self.path} line {row + 2}" if self._is_csv else f"{self.path} row {row + 1}"

    def _parquet(self, dictionaries: Sequence[str] = ()) -> Any:
        return pq.ParquetFile(
            self.path, read_dictionary=[*dictionaries], pre_buffer=False, buffer_size=_READ_BUFFER_BYTES,
            page_checksum_verification=True,
        )  # fmt: skip

    def _parquet_names(self) -> tuple[str, ...]:
        with self._parquet() as file:
            metadata = file.metadata.metadata or {}
            if METADATA_KEY in metadata:
                self.noted = _summary_from(metadata[METADATA_KEY], self.path)
            if self.noted and self.noted.rows != file.metadata.num_rows:
                told = f"{file.metadata.num_rows} rows, but it was written with {self.noted.rows}"
                raise TapeError(f"{self.path}: {told}")
            self._has_rows = file.metadata.num_rows > 0
            names = tuple(file.schema_arrow.names)
            self._types = dict(zip(names, file.schema_arrow.types, strict=True))
            return names

    def _parquet_batches(self, rows: int, start_ns: int, end_ns: int) -> Iterator[tuple[int, Any]]:
        wanted = [column for column in columns(self.kind) if column.name in self.names]
        arrow = pa.schema([(column.name, column.arrow_type) for column in wanted])
        with self._parquet([column.name for column in wanted if column.arrow_type is NAME]) as file:
            key = file.schema_arrow.names.index("ts_recv_ns")
            first = 0
            for group in range(file.metadata.num_row_groups):
                meta = file.metadata.row_group(group)
                bounds = meta.column(key).statistics
                seen = 0
                if not (bounds and bounds.has_min_max and (bounds.max < start_ns or bounds.min >= end_ns)):
                    for batch in file.iter_batches(rows, row_groups=[group], columns=arrow.names, use_threads=False):
                        batch = batch.select(arrow.names)
                        # Only a foreign file has other widths; `cast` costs an import of 9 MB even with nothing to do.
                        yield first + seen, batch if batch.schema.equals(arrow) else batch.cast(arrow)
                        seen += batch.num_rows
                first += meta.num_rows

    def _csv_names(self) -> tuple[str, ...]:
        opened = gzip.open if self.path.name.endswith(".gz") else open
        with opened(self.path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            names = tuple(next(rows, ()))
            self._has_rows = next(rows, None) is not None
        if self.path.name.endswith(".csv"):
            with self.path.open("rb") as raw:
                raw.seek(-1, 2)
                if raw.read(1) != b"\n":
                    raise TapeError(f"{self.path}: cut off: its last line has no end")
        return names

    def _csv_batches(self, rows: int) -> Iterator[tuple[int, Any]]:
        import pyarrow.csv as pacsv  # most tapes are Parquet

        types = {column.name: column.arrow_type for column in columns(self.kind)}
        convert = pacsv.ConvertOptions(column_types=types, null_values=[""], include_columns=list(self.names))
        read = pacsv.ReadOptions(use_threads=False, block_size=1 << 18)
        # Skipped lines would not be counted, and an error names its line.
        parse = pacsv.ParseOptions(ignore_empty_lines=False)
        with pa.input_stream(self.path, compression="detect") as file:
            first = 0
            for block in pacsv.open_csv(file, read_options=read, parse_options=parse, convert_options=convert):
                for start in range(0, block.num_rows, rows):
                    yield first + start, block.slice(start, rows)
                first += block.num_rows

    def _check_names(self) -> None:
        known = {column.name: column for column in columns(self.kind)}
        for name in self.names:
            if name not in known:
                raise TapeError(f"{self.path}: a {self.kind} tape has no column '{name}'{suggestion(name, known)}")
            if not self._is_csv and not _castable(self._types[name], known[name].arrow_type):
                raise TapeError(f"{self.path}: column '{name}' holds {self._types[name]}, not {known[name].arrow_type}")
        missing = [column.name for column in known.values() if column.required and column.name not in self.names]
        if missing or len(set(self.names)) < len(self.names):
            wrong = f"has no column '{missing[0]}'" if missing else "names a column twice"
            raise TapeError(f"{self.path}: a {self.kind} tape, but it {wrong}")

    def _check_values(self, column: Column, values: Any, first: int) -> None:
        if values.null_count and not column.nullable:
            row = first + values.to_pylist().index(None)
            raise TapeError(f"{self.place(row)}: '{column.name}' is empty")
        if column.choices and not {*values.dictionary.to_pylist()} <= {*column.choices}:
            for row, text in enumerate(values.to_pylist(), first):
                if text not in column.choices:
                    told = f"'{column.name}' is '{text}', not one of {', '.join(column.choices)}"
                    raise TapeError(f"{self.place(row)}: {told}")

    def _scan(self) -> Summary:
        tally = Tally(self.kind)
        for first, batch in self.batches():
            check_rows(batch, tally.last_recv_ns, self, first)
            tally.add(batch)
        return tally.summary()


def check_rows(batch: Any, previous_ns: int, file: Tape, first: int) -> None:
    """Refuse what a run could not take, but an inspection can: rows out of order or without sense.

    Raises:
        TapeError: naming the first such row.
    """
    row = first_disorder(int64s(batch, "ts_recv_ns"), previous_ns)
    if row >= 0:
        raise TapeError(f"{file.place(first + row)}: out of order: ts_recv_ns is before that of the row ahead of it")
    for told, rows in faults(file.kind, batch).items():
        raise TapeError(f"{file.place(first + int(rows.argmax()))}: {told}")


def _kind_of(names: Sequence[str], path: Path) -> str:
    required = {kind: {column.name for column in columns(kind) if column.required} for kind in KINDS}
    best = max(KINDS, key=lambda kind: (len(required[kind] & {*names}) / len(required[kind]), len(required[kind])))
    if not {"ts_event_ns", "ts_recv_ns"} & {*names} or not required[best] & {*names} - {*_COMMON}:
        raise TapeError(f"{path}: no tape by its columns ({', '.join(names)[:200]}); `onetape import` makes one")
    return best


def _castable(found: Any, wanted: Any) -> bool:
    value = found.value_type if pa.types.is_dictionary(found) else found
    if pa.types.is_int64(wanted):
        return bool(pa.types.is_integer(value))
    if pa.types.is_float64(wanted):
        return bool(pa.types.is_floating(value) or pa.types.is_integer(value) or pa.types.is_null(value))
    if pa.types.is_boolean(wanted):
        return bool(pa.types.is_boolean(value))
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def _summary_from(text: bytes, path: Path) -> Summary:
    try:
        summary = msgspec.json.decode(text, type=Summary)
    except msgspec.DecodeError as error:
        raise TapeError(f"{path}: its metadata does not read: {error}") from None
    if summary.schema_version != SCHEMA_VERSION or summary.kind not in KINDS:
        told = f"schema {summary.schema_version}, kind '{summary.kind}'"
        raise TapeError(f"{path}: {told}; this release reads schema {SCHEMA_VERSION} of {', '.join(KINDS)}")
    return summary


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system and the libraries say about a file into one TapeError."""
    try:
        yield
    except FileNotFoundError:
        raise TapeError(f"{path}: there is no such file") from None
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise TapeError(f"{path}: cannot be read: {os.strerror(error.errno)}") from error
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        at_line = re.search(r"\bRow #(\d+): (.*)", told)
        where = f"{path} line {at_line[1]}: {at_line[2]}" if at_line else f"{path}: damaged or cut off? {told}"
        raise TapeError(where) from error
