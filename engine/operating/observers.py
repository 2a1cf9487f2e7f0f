"""Observers behind the corridor: they see what it wrote, once it has gone on, and cannot touch it.

Metrics, alerts and the control line learn of decisions here. A record is handed on by the event loop after the corridor
has given it back, so an observer that fails or dawdles changes no decision.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from engine.events import (
    Approved,
    Denied,
    Event,
    Fill,
    LateFill,
    OrderUpdate,
    StrategyHalted,
    TradingStateChanged,
)  # fmt: skip
from engine.journal import Journal

Kind = TypeVar("Kind", bound=Event)


class Observers:
    """Those who look at a journal as it is written; what is only compared with it, after a restart, they do not see."""

    def __init__(self, journal: Journal) -> None:
        self._by_kind: dict[type, list[Callable[[Any], None]]] = {}
        self._unseen: list[Event] = []
        journal.observer = self._note

    def observe(self, kind: type[Kind], observer: Callable[[Kind], None]) -> None:
        """Call `observer` with every new record of this kind."""
        self._by_kind.setdefault(kind, []).append(observer)

    def _note(self, record: Event) -> None:
        if record.__class__ in self._by_kind:
            if not self._unseen:
                asyncio.get_running_loop().call_soon(self._show)
            self._unseen.append(record)

    def _show(self) -> None:
        seen, self._unseen = self._unseen, []
        for record in seen:
            for observer in self._by_kind[record.__class__]:
                try:
                    observer(record)
                except Exception:  # an observer's fault keeps no other from its record
                    structlog.get_logger().exception("an observer failed", record=type(record).__name__)


class Tally:
    """How often what was decided, since this process began to trade.

    Attributes:
        denials: by control; `updates`: the venue's words, by status.
    """

    def __init__(self, observers: Observers) -> None:
        self.denials: Counter[str] = Counter()
        self.updates: Counter[str] = Counter()
        self.approvals = self.fills = self.late_fills = 0
        observers.observe(Denied, self._on_denied)
        observers.observe(OrderUpdate, self._on_update)
        observers.observe(Approved, self._on_approved)
        observers.observe(Fill, self._on_fill)
        observers.observe(LateFill, self._on_late_fill)

    def _on_denied(self, denied: Denied) -> None:
        self.denials[denied.control] += 1

    def _on_update(self, update: OrderUpdate) -> None:
        self.updates[update.status] += 1

    def _on_approved(self, approved: Approved) -> None:
        self.approvals += 1

    def _on_fill(self, fill: Fill) -> None:
        self.fills += 1

    def _on_late_fill(self, late: LateFill) -> None:
        self.late_fills += 1


class DecisionLog:
    """Writes into the log, as it happens, what would otherwise be in the journal only: denials, halts, late fills.

    Each one has a line of its own, and one only: the alerts of the same go to people without another. It carries the
    time of the decision, which is over when an observer sees it.
    """

    def __init__(self, observers: Observers) -> None:
        self._log = structlog.get_logger()
        observers.observe(Denied, self._on_denied)
        observers.observe(StrategyHalted, self._on_strategy)
        observers.observe(TradingStateChanged, self._on_state)
        observers.observe(LateFill, self._on_late_fill)

    def _on_denied(self, denied: Denied) -> None:
        ask = denied.intent
        self._log.info(
            "order denied", strategy=ask.strategy, symbol=ask.symbol, order=ask.client_order_id,
            control=denied.control, why=denied.reason, _ts_event_ns=denied.ts_event_ns,
        )  # fmt: skip

    def _on_strategy(self, halted: StrategyHalted) -> None:
        self._log.critical(
            f"strategy {halted.strategy} is halted", control=halted.control, why=halted.reason,
            _ts_event_ns=halted.ts_event_ns,
        )  # fmt: skip

    def _on_state(self, changed: TradingStateChanged) -> None:
        why = {"control": changed.control, "why": changed.reason, "_ts_event_ns": changed.ts_event_ns}
        if changed.state == "halted":
            self._log.critical("trading is halted", **why)
        elif changed.state == "reduce_only":
            self._log.warning("trading is reduce-only", **why)

    def _on_late_fill(self, late: LateFill) -> None:
        self._log.warning(
            "execution after its order's end", order=late.client_order_id, execution=late.execution_id,
            status=late.status, _ts_event_ns=late.ts_event_ns,
        )  # fmt: skip
