"""From Alpaca's history to a tape, piece by piece, so that an interruption costs one piece.

Each piece of time becomes a part of its own beside the tape; once all are there they become the tape. What was asked
for lies with the parts, so that only the same download goes on with them.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from brokers.alpaca.history import History
from brokers.alpaca.rows import Timeframe
from brokers.tape.reader import Tape
from brokers.tape.writer import TapeWriter
from engine.clock import Sessions, to_datetime
from engine.errors import BrokerError, ConfigError
from engine.events import DAY_NS, HOUR_NS, MarketEvent

Kind = Literal["bars", "quotes", "trades", "news", "actions", "assets"]
TAPE_KIND: dict[Kind, str] = {
    "bars": "bar", "quotes": "quote", "trades": "trade", "news": "news", "actions": "corporate_action",
    "assets": "datum",
}  # fmt: skip
PIECE_NS: dict[Kind, int] = {
    "bars": 7 * DAY_NS, "quotes": HOUR_NS, "trades": 6 * HOUR_NS, "news": 30 * DAY_NS, "actions": 365 * DAY_NS,
    "assets": DAY_NS,
}  # fmt: skip
DAILY_PIECE_NS = 3650 * DAY_NS
Progress = Callable[[int, int, int], None]
"""Called with the pieces done, their number, and the rows so far."""


class Extract(msgspec.Struct, frozen=True):
    """What to download: symbols of one kind, received in `[start_ns, end_ns)`."""

    kind: Kind
    symbols: tuple[str, ...]
    start_ns: int
    end_ns: int
    timeframe: str = "1Min"
    feed: str = "iex"
    adjustment: str = "raw"
    calendar: str = "XNYS"

    def pieces(self, sessions: Sessions) -> list[tuple[int, int]]:
        """Return the pieces of time, without those in which nothing trades."""
        if self.kind == "assets":
            return [(self.start_ns, self.end_ns)]
        step = PIECE_NS[self.kind]
        if self.kind == "bars" and Timeframe(self.timeframe, sessions).interval_ns == DAY_NS:
            step = DAILY_PIECE_NS
        edges = [*range(self.start_ns, self.end_ns, step), self.end_ns]
        found = list(pairwise(edges))
        only_stocks = all("/" not in symbol for symbol in self.symbols)
        if self.kind in ("quotes", "trades") and only_stocks and self.feed != "overnight":
            found = [(start, end) for start, end in found if sessions.at(start).extended_open_ns < end]
        return found

    def note(self) -> str:
        """Return what the tape is, for its metadata."""
        said = {"feed": self.feed}
        if self.kind == "bars":
            said |= {"timeframe": self.timeframe, "adjustment": self.adjustment}
        if self.kind in ("news", "actions", "assets"):
            said = {}
        return " ".join([f"alpaca {self.kind}", *(f"{name}={value}" for name, value in said.items())])


class Archive:
    """One download.

    Attributes:
        rows: written so far, those of an earlier attempt included.

    Raises:
        ConfigError: parts of another download lie where ours would.
    """

    def __init__(self, extract: Extract, history: History, out: Path, sessions: Sessions) -> None:
        self._extract, self._history, self._out, self._sessions = extract, history, out, sessions
        self._parts = out.with_name(f"{out.name}.parts")
        self.rows = 0
        plan = self._parts / "extract.json"
        wanted = msgspec.json.encode(extract)
        if plan.exists() and plan.read_bytes() != wanted:
            raise ConfigError(
                f"{self._parts} holds the parts of another download; delete it, or finish that one with its own options"
            )
        self._parts.mkdir(parents=True, exist_ok=True)
        plan.write_bytes(wanted)

    async def fetch(self, now_ns: int, progress: Progress) -> None:
        """Fetch every piece that is not there yet.

        Raises:
            BrokerError: Alpaca refuses, or gives no answer; what is there stays.
        """
        pieces = self._extract.pieces(self._sessions)
        for number, (start_ns, end_ns) in enumerate(pieces):
            part = self._part(number)
            if part.exists():
                self.rows += Tape(part).summary.rows
            elif not self._empty(number).exists():
                events = [event async for page in self._pages(start_ns, end_ns, now_ns) for event in page]
                self._write(number, events)
                self.rows += len(events)
            progress(number + 1, len(pieces), self.rows)

    def finish(self) -> None:
        """Make the tape of the parts, and let them go.

        Raises:
            TapeError: there was not one row, or the disk refuses.
        """
        numbers = range(len(self._extract.pieces(self._sessions)))
        tapes = [Tape(self._part(number)) for number in numbers if self._part(number).exists()]
        kind = TAPE_KIND[self._extract.kind]
        with TapeWriter(self._out, kind, calendar=self._extract.calendar, note=self._extract.note()) as writer:
            if self._extract.kind in ("news", "actions"):  # pieces by date of writing, rows by when they could be known
                import pyarrow as pa

                batches = [batch for tape in tapes for _, batch in tape.batches()]
                if batches:
                    table = pa.Table.from_batches(batches).sort_by("ts_recv_ns").combine_chunks()
                    for batch in table.to_batches():
                        writer.write(batch)
            else:
                for tape in tapes:
                    for _, batch in tape.batches():
                        writer.write(batch)
        shutil.rmtree(self._parts)

    async def _pages(self, start_ns: int, end_ns: int, now_ns: int) -> AsyncIterator[Sequence[MarketEvent]]:
        extract, history = self._extract, self._history
        last_ns = end_ns - 1  # Alpaca counts both ends in
        if extract.kind == "bars":
            async for bars in history.bars(extract.symbols, start_ns, last_ns, extract.timeframe):
                yield [bar for bar in bars if bar.ts_event_ns <= now_ns]  # the one that is forming is served too
        elif extract.kind == "quotes":
            async for quotes in history.quotes(extract.symbols, start_ns, last_ns):
                yield quotes
        elif extract.kind == "trades":
            async for trades in history.trades(extract.symbols, start_ns, last_ns):
                yield trades
        elif extract.kind == "news":
            async for articles in history.news(extract.symbols, start_ns, last_ns):
                yield articles
        elif extract.kind == "actions":
            first, last = (f"{to_datetime(ts_ns):%Y-%m-%d}" for ts_ns in (start_ns, last_ns))
            async for actions in history.actions(extract.symbols, first, last):
                yield actions
        else:
            yield await history.assets(now_ns)

    def _write(self, number: int, events: list[MarketEvent]) -> None:
        if not events:
            self._empty(number).touch()
            return
        events.sort(key=lambda event: (event.ts_recv_ns, getattr(event, "symbol", "")))
        with TapeWriter(self._part(number), TAPE_KIND[self._extract.kind]) as writer:
            writer.write_events(events)

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06}.parquet"

    def _empty(self, number: int) -> Path:
        return self._parts / f"{number:06}.empty"


def too_recent(error: BrokerError) -> bool:
    """Tell whether a refusal is the one of a plan without real-time SIP data."""
    return "recent SIP data" in str(error)
