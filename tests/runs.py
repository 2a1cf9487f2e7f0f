"""What the end-to-end proofs share: market events by hand or by dice, tapes of them, and runs from a few words."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from pydantic import BaseModel

from brokers.tape.schema import KINDS
from brokers.tape.writer import TapeWriter
from engine import journal
from engine.config import from_dict
from engine.events import (
    EVENT_CLASS,
    MINUTE_NS,
    SECOND_NS,
    Approved,
    Bar,
    Fill,
    MarketEvent,
    News,
    OrderUpdate,
    Quote,
    Record,
    Snapshot,
    Trade,
)
from engine.journal import Journal
from engine.run import Run

REPOSITORY = Path(__file__).parents[1]
EVERYTHING, SCRIPT = (f"{REPOSITORY}/tests/traders.py:{name}" for name in ("Everything", "Script"))
STOCKS, COINS = ("AAA", "BBB"), ("AAA/USD", "BBB/USD")


def at(text: str) -> int:
    """Return an ISO instant as ns; UTC unless it says otherwise."""
    when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()) * SECOND_NS


OPEN_NS = at("2024-03-04T09:30-05:00")
"""A Monday's opening in New York."""


def bar(
    symbol: str, minute: int, prices: tuple[float, float, float, float] | float, volume: float = 10_000.0,
    *, start_ns: int = OPEN_NS,
) -> Bar:  # fmt: skip
    """Return the bar of the minute that begins `minute` minutes after the start; one number is all four prices."""
    opened, high, low, close = prices if isinstance(prices, tuple) else (prices,) * 4
    end_ns = start_ns + (minute + 1) * MINUTE_NS
    return Bar(symbol, end_ns, end_ns, opened, high, low, close, volume, MINUTE_NS)


def in_order(events: Iterable[MarketEvent]) -> list[MarketEvent]:
    """Return events in the order of a replay."""
    return sorted(events, key=lambda event: (event.ts_recv_ns, EVENT_CLASS[type(event)]))


def market(
    seed: int, minutes: int, symbols: Sequence[str] = STOCKS, *, start_ns: int = OPEN_NS, ticks: bool = True
) -> list[MarketEvent]:
    """Return minute bars, quotes, prints and headlines of random walks in cents, in order."""
    dice = random.Random(seed)
    cents = dict.fromkeys(symbols, 10_000)
    events: list[MarketEvent] = []
    for minute in range(minutes):
        for symbol in symbols:
            opened = cents[symbol]
            close = cents[symbol] = max(500, opened + dice.randint(-40, 40))
            high, low = max(opened, close) + dice.randint(0, 20), min(opened, close) - dice.randint(0, 20)
            prices = opened / 100, high / 100, low / 100, close / 100
            events.append(bar(symbol, minute, prices, float(dice.randint(0, 5_000)), start_ns=start_ns))
            if ticks and dice.random() < 0.3:
                ts_ns = start_ns + minute * MINUTE_NS + dice.randrange(60) * SECOND_NS
                size = float(dice.randint(1, 500))
                events.append(Quote(symbol, ts_ns, ts_ns, (close - 1) / 100, size, (close + 1) / 100, size))
                events.append(Trade(symbol, ts_ns, ts_ns + SECOND_NS // 10, close / 100, size))
            if ticks and dice.random() < 0.02:
                ts_ns = start_ns + minute * MINUTE_NS
                events.append(News(ts_ns, ts_ns, f"{symbol} beats record", (symbol,)))
    return in_order(events)


def write_tapes(folder: Path, events: Iterable[MarketEvent]) -> list[Path]:
    """Write events as one tape a kind; return the files."""
    paths = []
    ordered = in_order(events)
    for kind, struct in KINDS.items():
        if held := [event for event in ordered if type(event) is struct]:
            with TapeWriter(folder / f"{kind}.parquet", kind) as tape:
                tape.write_events(held)
            paths.append(tape.path)
    return paths


class HeldFeed:
    """A recorded feed whose events a test holds in memory."""

    class Settings(BaseModel):
        key: str

    held: ClassVar[dict[str, list[MarketEvent]]] = {}
    batch_rows: ClassVar[int] = 1024

    def __init__(self, settings: Settings) -> None:
        self._events = self.held[settings.key]
        names = {name for event in self._events for name in symbols_of(event)}
        self.symbols = sorted(names)
        self.span_ns = self._events[0].ts_recv_ns, self._events[-1].ts_recv_ns
        self.fingerprint = settings.key

    def batches(self) -> Iterator[Sequence[MarketEvent]]:
        for first in range(0, len(self._events), self.batch_rows):
            yield self._events[first : first + self.batch_rows]

    @classmethod
    def hold(cls, events: Iterable[MarketEvent]) -> dict[str, Any]:
        """Keep the events, and return the table of the configuration that replays them."""
        ordered = in_order(events)
        key = hashlib.sha256(msgspec.json.encode(ordered)).hexdigest()
        cls.held[key] = ordered
        return {"use": cls, "key": key}


def symbols_of(event: MarketEvent) -> tuple[str, ...]:
    """Return the symbols that an event speaks of."""
    if isinstance(event, News):
        return event.symbols
    return tuple(name for name in (event.symbol, getattr(event, "new_symbol", "")) if name)


def kept_journal(observer: Callable[[Any], None] | None = None) -> tuple[Journal, list[Any]]:
    """Return a journal in memory and the list in which its records are kept; `observer` is told each of them too."""
    ledger, records = Journal(":memory:", durability="batch"), []

    def keep(record: Any) -> None:
        records.append(record)
        if observer is not None:
            observer(record)

    ledger.observer = keep
    return ledger, records


def configuration(feed: dict[str, Any], out_dir: Path | str = "unused", **over: Any) -> dict[str, Any]:
    """Return a run in the shape of its TOML; `broker` and `risk` add to what is there, other keys replace it.

    Unless told otherwise it is a cash account without latency or fees under limits that never bind.
    """
    broker = {
        "use": "paper", "cash_usd": "100000", "account": "cash", "fees": "zero", "latency_ms": 0.0,
        "participation": 1.0,
    }  # fmt: skip
    return {
        "mode": "paper", "name": "proof", "seed": 7, "calendar": "XNYS", "out_dir": str(out_dir), "feed": feed,
        **over, "broker": {**broker, **over.get("broker", {})}, "risk": {"profile": "wide", **over.get("risk", {})},
    }  # fmt: skip


def strategy(
    use: Any, *, name: str = "one", symbols: Any = "*", bar: str | None = None, **params: Any
) -> dict[str, Any]:
    """Return one strategy's table."""
    return {"name": name, "use": use, "symbols": symbols, "bar": bar, "params": params}


def replayed(tree: dict[str, Any]) -> tuple[list[Record], Run]:
    """Replay a run with its journal in memory; return the records and the run as it ended."""
    ledger, records = kept_journal()
    run = Run(from_dict(tree), ledger)
    run.replay()
    return records, run


def lines(records: Iterable[Record]) -> list[bytes]:
    """Return records as a journal holds them."""
    return [journal.encode(record) for record in records]


def toml(tree: dict[str, Any]) -> str:
    """Return a run as a TOML text."""
    tables = {key: value for key, value in tree.items() if isinstance(value, dict)}
    text = "".join(f"{key} = {_value(value)}\n" for key, value in tree.items() if key not in {*tables, "strategies"})
    for key, table in tables.items():
        text += f"\n[{key}]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in table.items())
    for table in tree.get("strategies", ()):
        given = {name: value for name, value in table.items() if value is not None}
        text += "\n[[strategies]]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in given.items())
    return text


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return msgspec.json.encode(str(value) if isinstance(value, Path) else value).decode()


def on_tape(folder: Path, events: Iterable[MarketEvent], out: str = "out", **over: Any) -> dict[str, Any]:
    """Write events as tapes below a folder; return the run that replays them and writes into `out` there."""
    feed = {"use": "replay", "paths": [str(path) for path in write_tapes(folder / "tape", events)]}
    return configuration(feed, folder / out, **over)


def busy(seed: int = 7, **over: Any) -> dict[str, Any]:
    """Return what makes a run of two strategies with every kind of order, on margin, with fees and latency."""
    dice = random.Random(seed).randbytes(3_000).hex()
    return {
        "broker": {"account": "margin_2x", "fees": "alpaca", "latency_ms": 50.0, "latency_jitter_ms": 200.0},
        "strategies": [
            strategy(EVERYTHING, dice=dice), strategy(EVERYTHING, name="two", bar="5min", dice=dice[100:]),
        ],
        **over,
    }  # fmt: skip


def at_end(path: Path) -> tuple[Snapshot, dict[str, str]]:
    """Return the last look at the account in a journal, and how each order that came to the venue stood then."""
    last: Snapshot | None = None
    orders: dict[str, str] = {}
    for record in journal.read(path):
        if isinstance(record, Snapshot):
            last = record
        elif isinstance(record, Approved):
            orders[record.intent.client_order_id] = "sent"
        elif isinstance(record, OrderUpdate):
            orders[record.client_order_id] = record.status
        elif isinstance(record, Fill):
            orders[record.client_order_id] = f"filled {record.execution_id}"
    assert last is not None
    return last, orders


class Room:
    """What is left of a disk for the tail of a journal, in the place of `os` there; its last write is cut off."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, file: int, data: bytes) -> int:
        part = data[: self.left_bytes]
        self.left_bytes -= len(part)
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, part)
