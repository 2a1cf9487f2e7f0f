"""Several recorded streams made one, in the order that is part of the contract: (`ts_recv_ns`, class, stream, row).

A chunk is what a stream has read ahead. Whatever lies before the nearest end of a chunk in hand can be sorted and
handed on, because no stream can still bring anything earlier. A stream is opened when that end reaches it and dropped
when it is through, so memory is bounded by the chunks of the streams that overlap, and a stream that runs alone passes
unsorted. Chunks are columns, and events are made of them last, a few thousand at a time: an event is eight objects, and
to make many in one order and free them in another costs more than the sorting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from brokers.tape.schema import BATCH_ROWS, Int64s
from engine.events import NEVER_NS, MarketEvent

FEWEST_ROWS, MOST_ROWS = 1024, 1 << 14
READ_AHEAD_ROWS = 1 << 16
STEP_ROWS = 1024

Array = npt.NDArray[Any]
Build = Callable[..., MarketEvent]


class Chunk(NamedTuple):
    """Rows read ahead, never none: when they were received, ascending, their classes, and what `build` is called with.

    A column without strides (`np.broadcast_to`) is one value throughout and stays so; one that is the same object as
    the one before it (received as it happened) makes its values once for both.
    """

    recv_ns: Int64s
    classes: Int64s
    build: Build
    columns: Sequence[Array]

    def part(self, rows: slice) -> Chunk:
        return Chunk(self.recv_ns[rows], self.classes[rows], self.build, [column[rows] for column in self.columns])

    def events(self, rows: slice | Int64s = slice(None)) -> Iterator[MarketEvent]:
        """Make the events of these rows, one by one as they are asked for."""
        values: list[Iterable[Any]] = []
        count = len(self.recv_ns[rows])
        previous: Array | None = None
        for column in self.columns:
            if not column.strides[0]:
                values.append(repeat(column[:1].tolist()[0], count))
            else:
                values.append(values[-1] if column is previous else column[rows].tolist())
            previous = column
        return map(self.build, *values)


class Stream(Protocol):
    """A recorded source of rows in time order, all of them within `[first_ns, last_ns]`."""

    first_ns: int
    last_ns: int

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Yield its rows, about `rows` at a time."""
        ...


class _Reader:
    """One opened stream: what it has read ahead, and whether more may come."""

    def __init__(self, place: int, chunks: Iterator[Chunk]) -> None:
        self.place = place
        self.chunk: Chunk | None = None
        self.last_ns = 0
        self.ended = False
        self._chunks = chunks
        self.refill()

    @property
    def count(self) -> int:
        return len(self.chunk.recv_ns) if self.chunk is not None else 0

    def refill(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            self.ended = True
        else:
            self.chunk = chunk if self.chunk is None else _joined([self.chunk, chunk])
            self.last_ns = int(self.chunk.recv_ns[-1])

    def take_before(self, end_ns: int) -> Iterator[Chunk]:
        if self.chunk is not None:
            taken = int(np.searchsorted(self.chunk.recv_ns, end_ns))
            if taken:
                yield self.chunk.part(slice(taken))
            self.chunk = self.chunk.part(slice(taken, None)) if taken < self.count else None


def merge(streams: Sequence[Stream], rows: int = 0) -> Iterator[list[MarketEvent]]:
    """Yield lists of events in order; a stream's place in `streams` breaks ties.

    Chunks have `rows` rows; unless told, the fewer, the more streams overlap.
    """
    rows = rows or min(MOST_ROWS, max(FEWEST_ROWS, READ_AHEAD_ROWS // _most_at_once(streams)))
    waiting = sorted(enumerate(streams), key=lambda pair: pair[1].first_ns, reverse=True)
    active: list[_Reader] = []
    while waiting or active:
        end_ns = min((reader.last_ns for reader in active if not reader.ended), default=NEVER_NS)
        if waiting and waiting[-1][1].first_ns <= end_ns:
            place, stream = waiting.pop()
            active.append(_Reader(place, stream.chunks(rows)))
            active.sort(key=lambda reader: reader.place)
        elif len(active) == 1:
            yield from _alone(active[0])
        else:
            # Rows at `end_ns` itself stay: the stream that ends there may bring another one of that instant.
            parts = [part for reader in active for part in reader.take_before(end_ns)]
            yield from _interleaved(parts)
            for reader in active:
                # Those that run low as well, or the next end would be near and the next step small.
                if not reader.ended and (reader.last_ns == end_ns or reader.count < rows // 2):
                    reader.refill()
        active = [reader for reader in active if reader.chunk is not None]


def _alone(reader: _Reader) -> Iterator[list[MarketEvent]]:
    if reader.chunk is not None:
        for first in range(0, reader.count, STEP_ROWS):
            yield [*reader.chunk.events(slice(first, first + STEP_ROWS))]
    reader.chunk = None
    reader.refill()


def _interleaved(parts: Sequence[Chunk]) -> Iterator[list[MarketEvent]]:
    """Sort what is in hand, and make the events in their order: each build its own, dealt out by whose turn it is."""
    if not parts:
        return
    # The sort is stable and the parts come in the order of their streams, which settles the last two keys.
    classes = np.concatenate([part.classes for part in parts])
    order = np.lexsort((classes, np.concatenate([part.recv_ns for part in parts])))
    builds = [*dict.fromkeys(part.build for part in parts)]
    joined = [_joined([part for part in parts if part.build is build]) for build in builds]
    turns = np.repeat([builds.index(part.build) for part in parts], [len(part.recv_ns) for part in parts])
    row_of = np.empty(len(order), np.int64)
    for turn, chunk in enumerate(joined):
        row_of[turns == turn] = np.arange(len(chunk.recv_ns))
    for start in range(0, len(order), BATCH_ROWS):
        batch = order[start : start + BATCH_ROWS]
        whose = turns[batch]
        makers = [chunk.events(row_of[batch[whose == turn]]) for turn, chunk in enumerate(joined)]
        yield [*makers[0]] if len(makers) == 1 else [next(makers[turn]) for turn in whose.tolist()]


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    return Chunk(
        np.concatenate([chunk.recv_ns for chunk in chunks]),
        np.concatenate([chunk.classes for chunk in chunks]),
        chunks[0].build,
        [_concatenated(columns) for columns in zip(*(chunk.columns for chunk in chunks), strict=True)],
    )


def _concatenated(arrays: Sequence[Array]) -> Array:
    if all(not array.strides[0] and array[0] == arrays[0][0] for array in arrays):
        return np.broadcast_to(arrays[0][:1], sum(map(len, arrays)))
    return np.concatenate(arrays)


def _most_at_once(streams: Sequence[Stream]) -> int:
    first = np.sort([stream.first_ns for stream in streams])
    last = np.sort([stream.last_ns for stream in streams])
    open_at_start = np.arange(1, len(first) + 1) - np.searchsorted(last, first)
    return int(open_at_start.max(initial=1))
