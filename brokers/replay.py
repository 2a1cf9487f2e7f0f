"""The recorded feed: tapes and journals, streamed as events in time order.

It finds the files and says what they hold; `brokers.streams` makes events of them and `brokers.merge` one order.
Memory is bounded by a few thousand rows of each file that overlaps in time, whatever the length of the tape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from brokers.merge import merge
from brokers.streams import JournalStream, Selection, TapeStream
from brokers.tape.reader import Tape, reading
from brokers.tape.schema import TAPE_SUFFIXES
from engine.errors import ConfigError, TapeError, suggestion
from engine.events import NEVER_NS, SECOND_NS, MarketEvent

JOURNAL_SUFFIXES = (".journal", ".db")
_LONGEST_DELAY_MS = 366 * 86_400_000  # beyond it, somebody counted in ns
_LONG_AGO_NS = -(2**62)  # room below for a delay

Kind = Literal["bar", "quote", "trade", "news", "status", "corporate_action", "datum"]


class ReplayFeed:
    """Files and folders of recorded events as one stream.

    Attributes:
        symbols: every symbol that the stream may speak of, sorted.
        span_ns: first and last `ts_recv_ns`; with `start` or `end`, bounds within which they lie.
        fingerprint: SHA-256 over the files one after the other, so that of a single tape is what `sha256sum` says.

    Raises:
        TapeError: a file is missing, damaged, of another schema or out of order, or nothing is left to replay.
        ConfigError: `symbols` names one that is on no tape.
    """

    class Settings(BaseModel):
        """Which recorded events to replay."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        paths: tuple[Path, ...] = Field(
            min_length=1, examples=[["tape/"]],
            description="Tapes (`.parquet`, `.csv`, `.csv.gz`), journals of live runs (`.journal`, `.db`) and folders, "
            "which are searched whole and taken in order of name.",
        )  # fmt: skip
        symbols: tuple[str, ...] = Field(
            (), description="Only events of these symbols, and those that name none; all events when empty."
        )
        start: datetime | None = Field(
            None, description="First time of reception: an ISO date, or date and time; UTC unless it says otherwise."
        )
        end: datetime | None = Field(None, description="End of the replay, itself excluded; written as `start` is.")
        recv_delay_ms: dict[Kind, Annotated[int, Field(ge=0, le=_LONGEST_DELAY_MS)]] = Field(
            {},
            description="Milliseconds added to a tape's times of reception, by kind of event: `{ news = 500 }`; a year "
            "at most.",
        )

    def __init__(self, settings: Settings) -> None:
        selection = Selection(
            frozenset(settings.symbols), _instant_ns(settings.start, _LONG_AGO_NS), _instant_ns(settings.end, NEVER_NS)
        )
        delays_ms: dict[str, int] = dict(settings.recv_delay_ms.items())
        streams: list[TapeStream | JournalStream] = []
        for path in _files(settings.paths):
            if path.suffix in JOURNAL_SUFFIXES:
                streams.append(JournalStream(path, selection))
            else:
                tape = Tape(path)
                streams.append(TapeStream(tape, selection, delays_ms.get(tape.kind, 0) * 1_000_000))
        known = {symbol for stream in streams for symbol in stream.symbols}
        for symbol in settings.symbols:
            if symbol not in known:
                raise ConfigError(f"feed.symbols: '{symbol}' is on no tape{suggestion(symbol, known)}")
        self._streams = [stream for stream in streams if selection.meets(stream)]
        if not self._streams:
            raise TapeError(f"{settings.paths[0]}: nothing on the tape lies between the given start and end")
        self.symbols = sorted(settings.symbols or known)
        self.span_ns = (
            max(selection.start_ns, min(stream.first_ns for stream in self._streams)),
            min(selection.end_ns - 1, max(stream.last_ns for stream in self._streams)),
        )
        self._read = tuple(streams)

    @cached_property
    def fingerprint(self) -> str:
        """The hash, made when it is first asked for: a plan that is only looked at does without."""
        digest = hashlib.sha256()
        for stream in self._read:
            stream.digest(digest)
        return digest.hexdigest()

    def batches(self) -> Iterator[list[MarketEvent]]:
        """Yield the events in order, a few thousand at a time.

        Raises:
            TapeError: naming the file and the row.
        """
        return merge(self._streams)


def _files(paths: tuple[Path, ...]) -> list[Path]:
    suffixes = (*TAPE_SUFFIXES, *JOURNAL_SUFFIXES)
    files: list[Path] = []
    for path in paths:
        with reading(path):
            if path.is_dir():
                inside = sorted(file for file in path.rglob("*") if file.name.endswith(suffixes) and file.is_file())
                if not inside:
                    raise TapeError(f"{path}: no tape in this folder; a tape ends in {', '.join(suffixes)}")
                files += inside
            elif path.exists():
                files.append(path)
            else:
                raise TapeError(f"{path}: there is no such file or folder")
    seen: dict[Path, Path] = {}
    for file in files:
        if seen.setdefault(file.resolve(), file) is not file:
            raise TapeError(f"{file}: the same tape is named twice; its events would happen twice")
    return files


def _instant_ns(when: datetime | None, otherwise: int) -> int:
    if when is None:
        return otherwise
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    whole = int(aware.replace(microsecond=0).timestamp())
    return whole * SECOND_NS + aware.microsecond * 1000
