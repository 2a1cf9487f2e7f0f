"""What the journal of a live run says of the way that its orders went."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import get_args

from engine import journal
from engine.events import AccountStatement, Approved, CancelRequest, Fill, InboxEvent, OrderUpdate, RunStarted

INPUTS = frozenset(get_args(InboxEvent)) - {AccountStatement}
"""What came in, but for what the broker stated of its own executions: the simulated venue's have other ids."""

TAKEN_ON = frozenset({"accepted", "held"})


class Recorded:
    """Arrivals, decisions and answers, counted out of one journal.

    Attributes:
        started: the head of the run.
        arrivals: when the venue took an order on, by its id, or a cancel, by `cancel` and the order's id.
        decisions: those same keys with the place in the journal at which the run asked for it.
        fills, updates: how many executions of an order, and updates of an order and status, came back.
    """

    def __init__(self, path: Path) -> None:
        self.started: RunStarted = journal.header(path)
        self.arrivals: dict[str, int] = {}
        self.decisions: dict[str, int] = {}
        self.fills, self.updates = Counter[str](), Counter[tuple[str, str]]()
        self.span_ns = self.started.ts_event_ns, self.started.ts_event_ns
        filled: dict[str, int] = {}
        for place, record in enumerate(journal.read(path)):
            if isinstance(record, Approved):
                for intent in (record.intent, *record.intent.legs()):
                    self.decisions[intent.client_order_id] = place
            elif isinstance(record, CancelRequest):
                self.decisions.setdefault(f"cancel {record.client_order_id}", place)
            elif isinstance(record, OrderUpdate):
                self._update(record)
            elif isinstance(record, Fill):
                self.fills[record.client_order_id] += 1
                filled.setdefault(record.client_order_id, record.ts_event_ns - 1)
            if record.__class__ in INPUTS:
                self.span_ns = self.span_ns[0], max(self.span_ns[1], record.ts_event_ns)
        self.arrivals = filled | self.arrivals  # what has filled has arrived, though nobody may have said when

    def _update(self, update: OrderUpdate) -> None:
        order_id, status = update.client_order_id, update.status
        self.updates[order_id, status] += 1
        if status in TAKEN_ON:
            self._arrived(order_id, update.ts_event_ns)
        elif status == "canceled":
            self._arrived(f"cancel {order_id}", update.ts_event_ns)

    def _arrived(self, key: str, ts_ns: int) -> None:
        self.arrivals[key] = min(ts_ns, self.arrivals.get(key, ts_ns))
