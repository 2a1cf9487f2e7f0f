"""Two journals side by side: whether two runs decided the same, and where they first did not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine import journal
from engine.errors import Divergence
from engine.events import (
    SECOND_NS,
    Approved,
    CancelRequest,
    Denied,
    Fill,
    Record,
    StrategyHalted,
    TradingStateChanged,
)  # fmt: skip

DECISIONS = (Approved, Denied, CancelRequest, TradingStateChanged, StrategyHalted)
NAMES: dict[type, str] = {
    Approved: "orders", Denied: "denials", CancelRequest: "cancels", TradingStateChanged: "changes of state",
    StrategyHalted: "halted strategies", Fill: "executions",
}  # fmt: skip
VENUES_OWN = frozenset({"execution_id", "fee_usd", "liquidity"})
"""Names and charges that each venue makes up by itself."""

INSTANTS = frozenset({"ts_event_ns", "ts_recv_ns", "ts_expire_ns"})
NUMBERS = frozenset({"token", "cause"})


class Agreement(NamedTuple):
    """How two runs agree that decided the same.

    Attributes:
        counts: how many there are of each kind of decision and execution, by name.
        apart_s: how far apart in time the same decision or execution lies at most, in seconds.
    """

    counts: dict[str, int]
    apart_s: float

    def __str__(self) -> str:
        counted = ", ".join(f"{name} {count:,}" for name, count in self.counts.items()) or "nothing"
        when = f"up to {self.apart_s:g} s apart" if self.apart_s else "at the same instants"
        return f"{counted}: the same, {when}"


def compare(first: Path, second: Path) -> Agreement:
    """Compare the decisions of two runs, one by one, and then their executions.

    Raises:
        Divergence: naming the first that differs, by its place in the first journal.
        JournalError: one of them does not read.
    """
    counts: dict[str, int] = {}
    apart_ns = 0
    for kinds in (DECISIONS, (Fill,)):
        for one, other in zip_longest(_of(first, kinds), _of(second, kinds)):
            if one is None or other is None or _told(one[1]) != _told(other[1]):
                raise Divergence((one or other)[0], _line(one), _line(other), ("the first run", "the other run"))
            name = NAMES[type(one[1])]
            counts[name] = counts.get(name, 0) + 1
            apart_ns = max(apart_ns, abs(one[1].ts_event_ns - other[1].ts_event_ns))
    return Agreement(counts, apart_ns / SECOND_NS)


def _of(path: Path, kinds: tuple[type, ...]) -> Iterable[tuple[int, Any]]:
    for seq, record in enumerate(journal.read(path), 1):
        if isinstance(record, kinds):
            yield seq, record


def _told(record: Record) -> dict[str, Any]:
    """Return what a decision or execution is, whenever it was."""
    left_out = INSTANTS | NUMBERS | (VENUES_OWN if isinstance(record, Fill) else frozenset())
    told = {name: value for name, value in msgspec.structs.asdict(record).items() if name not in left_out}
    if isinstance(record, Approved | Denied):
        told["intent"] = {
            name: value for name, value in msgspec.structs.asdict(record.intent).items() if name not in INSTANTS
        }
    return told


def _line(found: tuple[int, Any] | None) -> str:
    return "" if found is None else journal.encode(found[1]).decode()
