"""Foreign files into one tape: read, convert, put in order, write; and a report of what was done.

Sorted input streams through in bounded memory. Only `sort` holds everything at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from brokers.tape.actions import MADE, Actions
from brokers.tape.cells import RowError
from brokers.tape.recipe import LINE, Conversion, Recipe
from brokers.tape.schema import Summary, columns, first_disorder, int64s
from brokers.tape.source import Complaints, Rows, Source
from brokers.tape.writer import TapeWriter, as_cell
from engine.errors import TapeError


@dataclass(frozen=True)
class ImportReport:
    """What an import did: what the tape holds, what was left out and why, what a person should know."""

    summary: Summary
    skipped: Counter[str]
    notes: Counter[str]


def import_tape(
    sources: Sequence[Source],
    out: Path,
    recipe: Recipe,
    *,
    sort: bool = False,
    skip_bad: bool = False,
    note: str = "",
    progress: Callable[[float], None] = lambda share: None,
) -> ImportReport:
    """Write the rows of `sources`, one file after the other, as the tape `out`.

    Raises:
        TapeError: a file does not read, a row is bad and not to be skipped, or rows are out of order and not sorted.
        ConfigError: the recipe does not fit a source.
    """
    notes: Counter[str] = Counter()
    complaints = Complaints(skip_bad)
    conversions = [_conversion(recipe, source, notes, skip_bad) for source in sources]
    makes = {name for conversion in conversions for name in conversion.makes}
    makes |= {*MADE} if recipe.kind == "corporate_action" else set()
    with TapeWriter(out, recipe.kind, names=[*makes], calendar=recipe.calendar, note=note) as tape:
        batches = _batches(sources, conversions, complaints, notes, progress)
        if sort:
            for batch in _sorted([_fitted(batch, recipe.kind, tape.schema) for batch, _ in batches]):
                tape.write(batch)
        else:
            for batch, source in batches:
                _check_order(batch, source, tape.tally.last_recv_ns)
                tape.write(_fitted(batch, recipe.kind, tape.schema))
    return ImportReport(tape.tally.summary(), complaints.counts, notes)


def _conversion(recipe: Recipe, source: Source, notes: Counter[str], skip_bad: bool) -> Conversion:
    complaints = Complaints(skip=True)
    first = _first_rows(source, complaints)
    if first is None and not skip_bad:
        first = _first_rows(source, Complaints())  # which raises at the first bad line, if there is one
    if first is None:
        told = "; ".join(f"{reason}: {rows:,}" for reason, rows in complaints.counts.items())
        raise TapeError(f"{source.path}: the file holds no rows{told and f' but bad ones ({told})'}")
    return Conversion(recipe, source, tuple(first.columns), notes)


def _first_rows(source: Source, complaints: Complaints) -> Rows | None:
    with closing(source.rows(complaints, lambda share: None)) as rows:
        return next(rows, None)


def _batches(
    sources: Sequence[Source],
    conversions: Sequence[Conversion],
    complaints: Complaints,
    notes: Counter[str],
    progress: Callable[[float], None],
) -> Iterator[tuple[Any, Source]]:
    for done, (source, convert) in enumerate(zip(sources, conversions, strict=True)):

        def tell(share: float, done: int = done) -> None:
            progress((done + share) / len(sources))

        bad = partial(_complain, complaints, source)
        actions = Actions(bad, notes)
        is_action = convert.recipe.kind == "corporate_action"
        for rows in source.rows(complaints, tell):
            for batch in _good(convert, rows, bad):
                yield (actions(batch) if is_action else batch), source


def _good(convert: Conversion, rows: Rows, bad: Callable[[int, str, str], None]) -> Iterator[Any]:
    """Convert rows; where that fails halve them until the bad row is alone."""
    count = len(rows.lines)
    try:
        yield convert(rows)
    except RowError as error:
        if count == 1:
            bad(rows.lines[0], error.reason, error.value)
            return
        yield from _good(convert, rows.part(slice(count // 2)), bad)
        yield from _good(convert, rows.part(slice(count // 2, None)), bad)


def _complain(complaints: Complaints, source: Source, line: int, reason: str, value: str) -> None:
    complaints.bad(source.place(line), reason, value)


def _check_order(batch: Any, source: Source, last_recv_ns: int) -> None:
    row = first_disorder(int64s(batch, "ts_recv_ns"), last_recv_ns)
    if row >= 0:
        place = source.place(int64s(batch, LINE)[row])
        raise TapeError(f"{place}: earlier than the row before it; --sort puts everything in order, in memory")


def _fitted(batch: Any, kind: str, schema: Any) -> Any:
    """Return the batch with all columns of the tape: sources need not all have the optional ones."""
    defaults = {column.name: column.default for column in columns(kind)}
    arrays = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.array([as_cell(defaults[field.name])] * len(batch), field.type)
        for field in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def _sorted(batches: Sequence[Any]) -> Iterator[Any]:
    table = pa.Table.from_batches(batches)
    yield from table.take(pc.sort_indices(table, [("ts_recv_ns", "ascending")])).to_batches()
