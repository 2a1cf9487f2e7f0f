"""Somebody else's file, row by row: CSV, JSON lines or Parquet, plain or gzipped, with the line of every row.

Nothing is understood here but the file format. Values come out as they were written, so that whoever converts them can
say what is wrong with one.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from brokers.tape.reader import reading
from engine.errors import ConfigError, TapeError

ROWS_AT_ONCE = 8192
_PEEK_BYTES = 64
_DELIMITERS = ",;\t|"


@dataclass
class Complaints:
    """What becomes of a bad row: the import stops at the first one, or counts it by reason and goes on."""

    skip: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def bad(self, place: str, reason: str, value: str = "") -> None:
        if not self.skip:
            told = f"{reason}: {value[:80]!r}" if value else reason
            raise TapeError(f"{place}: {told} (--skip-bad leaves out such rows and counts them)")
        self.counts[reason] += 1


@dataclass(frozen=True)
class Rows:
    """Some rows of a source: values by column, and the line of each row."""

    columns: Mapping[str, Any]
    lines: Sequence[int]

    def part(self, rows: slice) -> Rows:
        return Rows({name: values[rows] for name, values in self.columns.items()}, self.lines[rows])


@dataclass(frozen=True)
class Source:
    """One foreign file. `header` names the columns of a CSV file that does not name them itself.

    Raises:
        ConfigError: the delimiter is not one character.
    """

    path: Path
    delimiter: str = ","
    header: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            told = "not one character that parts cells, such as ';' or '\\t' for a tab"
            raise ConfigError(f"--delimiter {self.delimiter!r}: {told}")

    def place(self, line: int) -> str:
        return f"{self.path} {'row' if self.path.suffix == '.parquet' else 'line'} {line}"

    def rows(self, complaints: Complaints, progress: Callable[[float], None]) -> Generator[Rows]:
        """Yield the rows, some thousands at a time; `progress` is told the share of the file that is through.

        Raises:
            TapeError: the file is missing, empty, damaged or UTF-16, or a line does not fit and is not to be skipped.
            ConfigError: the delimiter parts no columns.
        """
        with reading(self.path):
            if self.path.suffix == ".parquet":
                yield from self._parquet_rows(progress)
                return
            size = max(1, self.path.stat().st_size)
            with ExitStack() as opened:
                raw = opened.enter_context(self.path.open("rb"))
                plain: Any = opened.enter_context(gzip.open(raw)) if self.path.suffix == ".gz" else raw
                if b"\0" in plain.peek(_PEEK_BYTES)[:_PEEK_BYTES]:
                    raise TapeError(f"{self.path}: not UTF-8 text but UTF-16, as it seems; save it as UTF-8")
                # A byte that is not UTF-8 gets through to the row it is in, which is then the bad one.
                text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="")
                read = self._json_rows if ".jsonl" in self.path.suffixes else self._csv_rows
                for rows in read(text, complaints):
                    progress(raw.tell() / size)
                    yield rows

    def _parquet_rows(self, progress: Callable[[float], None]) -> Iterator[Rows]:
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            first = 1
            for batch in file.iter_batches(ROWS_AT_ONCE, use_threads=False):
                yield Rows(dict(zip(batch.schema.names, batch.columns, strict=True)), range(first, first + len(batch)))
                first += len(batch)
                progress(first / (file.metadata.num_rows + 1))

    def _csv_rows(self, text: Iterator[str], complaints: Complaints) -> Iterator[Rows]:
        reader = csv.reader(text, delimiter=self.delimiter)
        try:
            names = self.header or tuple(name.strip() for name in next(reader, ()))
            if not names or len(set(names)) < len(names):
                raise TapeError(f"{self.path} line 1: no header, or one that names a column twice: {', '.join(names)}")
            parts = [one for one in _DELIMITERS if one in names[0]] if len(names) == 1 and not self.header else []
            if parts:
                told = f"one column, {names[0]!r}; --delimiter {parts[0]!r} would part it"
                raise ConfigError(f"{self.path} line 1: {told}")
            found: list[list[str]] = []
            lines: list[int] = []
            for row in reader:
                if len(row) == len(names):
                    found.append(row)
                    lines.append(reader.line_num)
                elif row:
                    told = f"not as many cells as the header has ({len(names)})"
                    complaints.bad(self.place(reader.line_num), told, self.delimiter.join(row))
                if len(found) == ROWS_AT_ONCE:
                    yield Rows(dict(zip(names, zip(*found, strict=True), strict=True)), lines)
                    found, lines = [], []
            if found:
                yield Rows(dict(zip(names, zip(*found, strict=True), strict=True)), lines)
        except csv.Error as error:
            raise TapeError(f"{self.place(reader.line_num)}: {error}") from None

    def _json_rows(self, text: Iterator[str], complaints: Complaints) -> Iterator[Rows]:
        found: list[dict[str, Any]] = []
        lines: list[int] = []
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                found.append(msgspec.json.decode(line.encode(errors="surrogateescape"), type=dict[str, Any]))
                lines.append(number)
            except msgspec.MsgspecError as error:
                complaints.bad(self.place(number), f"no JSON object ({error})", line.strip())
            if len(found) == ROWS_AT_ONCE:
                yield _by_column(found, lines)
                found, lines = [], []
        if found:
            yield _by_column(found, lines)


def _by_column(rows: Sequence[Mapping[str, Any]], lines: Sequence[int]) -> Rows:
    names = dict.fromkeys(name for row in rows for name in row)
    return Rows({name: [row.get(name) for row in rows] for name in names}, lines)
