"""What is odd about a tape: every check that can be made without knowing the market, in one pass and bounded memory.

Rows are looked at thousands at a time, column by column. What must be remembered between batches is the last row of
each symbol and, for news, a hash of each headline. A finding is not always a fault: a thin symbol misses minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from brokers.tape.reader import Tape
from brokers.tape.schema import Int64s, Mask, as_numpy, faults, int64s
from engine.clock import Sessions
from engine.events import MINUTE_NS

BATCH_ROWS = 1 << 15
MARKET_WIDE, NAMELESS = "(market)", "(none)"
_PRICES = {"bar": ("open", "high", "low", "close"), "quote": ("bid_price", "ask_price"), "trade": ("price",)}
_SIZES = {"bar": ("volume",), "quote": ("bid_size", "ask_size"), "trade": ("size",)}
_MARKET_KINDS = ("news", "datum")
_NEVER_YET = -(2**63)


@dataclass
class Gap:
    """The longest run of bars that a symbol misses while its market is open."""

    bars: int = 0
    from_ns: int = 0
    to_ns: int = 0


@dataclass
class SymbolReport:
    """One symbol of one tape. `findings` counts rows by what is odd about them, and bars that are missing."""

    symbol: str
    rows: int = 0
    first_ns: int = 0
    last_ns: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    longest_gap: Gap = field(default_factory=Gap)

    def misses(self, bars: int, from_ns: int, to_ns: int) -> None:
        self.findings["missing bars"] += bars
        if bars > self.longest_gap.bars:
            self.longest_gap = Gap(bars, from_ns, to_ns)


@dataclass
class TapeReport:
    """One tape. `calendar` is what gaps were measured by; empty where they were not."""

    path: Path
    kind: str
    calendar: str
    symbols: list[SymbolReport]

    @property
    def findings(self) -> int:
        return sum(report.findings.total() for report in self.symbols)


def inspect_tape(path: Path, calendar: str = "") -> TapeReport:
    """Look a tape through; `calendar` goes before the one that the tape was made with.

    Raises:
        TapeError: the file cannot be read as a tape.
        ConfigError: there is no such calendar.
    """
    tape = Tape(path)
    calendar = calendar or (tape.noted.calendar if tape.noted else "")
    calendar = calendar if tape.kind == "bar" else ""
    inspection = _Inspection(tape.kind, Sessions(calendar) if calendar else None)
    for _, batch in tape.batches(BATCH_ROWS):
        inspection.add(batch)
    return TapeReport(path, tape.kind, calendar, inspection.finish())


class _Inspection:
    """The reports of one tape's symbols while they grow. A symbol's code is its place among them."""

    def __init__(self, kind: str, sessions: Sessions | None) -> None:
        self._kind = kind
        self._sessions = sessions
        self._slots: _Slots | None = None
        self._codes: dict[str, int] = {}
        self._reports: list[SymbolReport] = []
        self._rows = _RowsBySymbol()
        self._headlines: set[int] = set()
        self._recv_ns = _NEVER_YET

    def add(self, batch: Any) -> None:
        recv_ns, event_ns = int64s(batch, "ts_recv_ns"), int64s(batch, "ts_event_ns")
        codes = self._codes_in(batch)
        self._rows.turn_to(codes, len(self._reports))
        self._count_rows(codes, recv_ns)
        ahead_ns = np.concatenate(([self._recv_ns], recv_ns[:-1]))
        self._recv_ns = int(recv_ns[-1])
        found = {"out of order": recv_ns < ahead_ns, "received early": recv_ns < event_ns}
        found |= faults(self._kind, batch) | _odd_values(self._kind, batch)
        if self._kind == "bar":
            found |= self._odd_times(codes, event_ns, _lengths_ns(batch))
        elif self._kind == "news":
            found["duplicate"] = self._told_before(codes, batch)
        else:
            hashes = _row_hashes(batch)
            found["duplicate"] = hashes == self._rows.before("hash", hashes)
        for name, mask in found.items():
            for code, count in _counts(codes[mask]):
                self._reports[code].findings[name] += count

    def finish(self) -> list[SymbolReport]:
        for code, report in enumerate(self._reports):
            if self._slots is not None:
                slot = int(self._rows.latest["slot"][code])
                close_ns, bars = self._slots.left(slot)
                report.misses(bars, report.last_ns, close_ns)
            report.findings = +report.findings
        return sorted(self._reports, key=lambda report: report.symbol)

    def _codes_in(self, batch: Any) -> Int64s:
        name = "symbols" if self._kind == "news" else "symbol"
        if name not in batch.schema.names:
            batch = pa.record_batch({name: pa.repeat("", batch.num_rows)})
        symbols = batch.column(name)
        symbols = symbols if pa.types.is_dictionary(symbols.type) else symbols.dictionary_encode()
        for symbol in symbols.dictionary.to_pylist():
            if symbol not in self._codes:
                self._codes[symbol] = len(self._codes)
                self._reports.append(SymbolReport(symbol or (MARKET_WIDE if self._kind in _MARKET_KINDS else NAMELESS)))
        code_of = np.array([self._codes[symbol] for symbol in symbols.dictionary.to_pylist()])
        codes: Int64s = code_of[as_numpy(symbols.indices)]
        return codes

    def _count_rows(self, codes: Int64s, recv_ns: Int64s) -> None:
        present, first_rows = np.unique(codes, return_index=True)
        last_rows = len(codes) - 1 - np.unique(codes[::-1], return_index=True)[1]
        counts = np.bincount(codes)
        for code, first, last in zip(present.tolist(), first_rows.tolist(), last_rows.tolist(), strict=True):
            report = self._reports[code]
            report.first_ns = report.first_ns if report.rows else int(recv_ns[first])
            report.last_ns = int(recv_ns[last])
            report.rows += int(counts[code])

    def _odd_times(self, codes: Int64s, event_ns: Int64s, interval_ns: Int64s) -> dict[str, Mask]:
        before_ns = self._rows.before("event", event_ns)
        open_ns = event_ns - interval_ns
        if self._sessions is not None:
            self._slots = self._slots or _Slots(self._sessions, int(interval_ns[0]), int(open_ns.min()))
            self._count_missing(self._slots, codes, open_ns, before_ns)
        return {
            "duplicate": event_ns == before_ns,
            "out of order": event_ns < before_ns,
            "overlap": (event_ns > before_ns) & (open_ns < before_ns),
        }

    def _count_missing(self, slots: _Slots, codes: Int64s, open_ns: Int64s, before_ns: Int64s) -> None:
        slot, due_before, session_slot, session_ns = slots.of(open_ns)
        before = self._rows.before("slot", slot)
        is_first = before == _NEVER_YET
        missing = due_before - np.where(is_first, session_slot, before)
        since_ns = np.where(is_first, session_ns, before_ns)
        for row in np.flatnonzero(missing > 0).tolist():
            self._reports[codes[row]].misses(int(missing[row]), int(since_ns[row]), int(open_ns[row]))

    def _told_before(self, codes: Int64s, batch: Any) -> Mask:
        repeats = []
        for headline in zip(codes.tolist(), batch.column("headline").to_pylist(), strict=True):
            told = hash(headline)
            repeats.append(told in self._headlines)
            self._headlines.add(told)
        return np.array(repeats)


class _RowsBySymbol:
    """Which row came before each row for the same symbol, across batches. `latest` has a value for each code."""

    def __init__(self) -> None:
        self.latest: dict[str, Int64s] = {}

    def turn_to(self, codes: Int64s, count: int) -> None:
        self._order = np.argsort(codes, kind="stable")
        self._codes = codes[self._order]
        self._starts = np.flatnonzero(np.diff(self._codes, prepend=-1))
        self._ends = np.append(self._starts[1:], len(codes)) - 1
        self._count = count

    def before(self, name: str, values: Int64s) -> Int64s:
        latest = self.latest.get(name, np.empty(0, np.int64))
        latest = np.concatenate((latest, np.full(self._count - len(latest), _NEVER_YET)))
        by_symbol = values[self._order]
        before = np.concatenate((by_symbol[:1], by_symbol[:-1]))
        before[self._starts] = latest[self._codes[self._starts]]
        latest[self._codes[self._ends]] = by_symbol[self._ends]
        self.latest[name] = latest
        found = np.empty_like(before)
        found[self._order] = before
        return found


class _Slots:
    """The bars of one interval that the regular sessions of a calendar have room for, numbered from 0."""

    def __init__(self, sessions: Sessions, interval_ns: int, from_ns: int) -> None:
        self._sessions, self._interval_ns = sessions, interval_ns
        self._open_ns: list[int] = []
        self._close_ns: list[int] = []
        self._first_slot = [0]
        self._next_ns = from_ns

    def of(self, open_ns: Int64s) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """Return for bars that start at `open_ns`: slot, last slot due before it, last slot before its session, open.

        A bar after the session stands for the session's last slot, which was due before it.
        """
        self._extend_to(int(open_ns.max()))
        opens, closes, firsts = map(np.array, (self._open_ns, self._close_ns, self._first_slot))
        session = np.maximum(np.searchsorted(opens, open_ns, "right") - 1, 0)
        inside = (open_ns >= opens[session]) & (open_ns < closes[session])
        before_open = open_ns < opens[session]
        after = np.where(before_open, firsts[session] - 1, firsts[session + 1] - 1)
        slot = np.where(inside, firsts[session] + (open_ns - opens[session]) // self._interval_ns, after)
        due = np.where(inside, slot - 1, slot)
        return slot, due, np.where(inside, firsts[session] - 1, slot), opens[session]

    def left(self, slot: int) -> tuple[int, int]:
        """Return when the session of a slot closes and how many slots it still has after it."""
        session = int(np.searchsorted(self._first_slot, slot, "right")) - 1
        if slot < 0:
            return self._open_ns[0], 0
        return self._close_ns[session], self._first_slot[session + 1] - 1 - slot

    def _extend_to(self, ts_ns: int) -> None:
        while not self._open_ns or self._open_ns[-1] <= ts_ns:
            session = self._sessions.at(self._next_ns)
            self._next_ns = session.extended_close_ns
            bars = max(1, (session.close_ns - session.open_ns) // self._interval_ns)
            self._open_ns.append(session.open_ns)
            self._close_ns.append(session.close_ns)
            self._first_slot.append(self._first_slot[-1] + bars)


def _lengths_ns(batch: Any) -> Int64s:
    """Return how long bars are; one whose length has no sense, a finding of its own, is as long as the others."""
    interval_ns = int64s(batch, "interval_ns")
    for rows in faults("bar", batch.select(["interval_ns"])).values():
        return np.where(rows, interval_ns[~rows][0] if not rows.all() else MINUTE_NS, interval_ns)
    return interval_ns


def _odd_values(kind: str, batch: Any) -> dict[str, Mask]:
    """Return for each finding about values the rows that have it."""
    if kind not in _PRICES:
        return {}
    values = {name: as_numpy(batch.column(name)) for name in (*_PRICES[kind], *_SIZES[kind])}
    prices = np.array([values[name] for name in _PRICES[kind]])
    sizes = np.array([values[name] for name in _SIZES[kind]])
    found = {
        "not finite": ~(np.isfinite(prices).all(axis=0) & np.isfinite(sizes).all(axis=0)),
        "price not positive": (prices <= 0).any(axis=0),
        "negative size": (sizes < 0).any(axis=0),
    }
    if kind == "bar":
        high, low = values["high"], values["low"]
        body = np.array([values["open"], values["close"]])
        found["high below low"] = high < low
        found["open or close outside high and low"] = (high >= low) & ((body > high) | (body < low)).any(axis=0)
        found["no volume"] = values["volume"] == 0
    elif kind == "quote":
        found["bid above ask"] = values["bid_price"] > values["ask_price"]
    elif kind == "trade":
        found["no size"] = values["size"] == 0
    return found


def _row_hashes(batch: Any) -> Int64s:
    """Return a hash of each row, good within this process."""
    total = np.zeros(batch.num_rows, np.uint64)
    for column in batch.columns:
        plain = pa.types.is_int64(column.type) or (pa.types.is_float64(column.type) and not column.null_count)
        values = as_numpy(column) if plain else np.array([hash(value) for value in column.to_pylist()])
        total = total * np.uint64(1_000_003) ^ np.ascontiguousarray(values).view(np.uint64)
    return total.view(np.int64)


def _counts(codes: Int64s) -> Iterator[tuple[int, int]]:
    counts = np.bincount(codes) if len(codes) else np.empty(0, np.int64)
    for code in np.flatnonzero(counts).tolist():
        yield code, int(counts[code])
