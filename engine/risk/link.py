"""C20, C29 and C30: what the broker has not told, tells otherwise than our books, or cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from engine.events import NEVER_NS, SECOND_NS, Event, Link, OrderUpdate, Reconciliation
from engine.orders import Order
from engine.risk.control import NOTHING, Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal
from engine.risk.state import Latch


class UnknownOutcome(Control):
    """Freeze a symbol while nobody knows what became of an order on it; halt when there are several, or it lasts.

    Attributes:
        due_ns: when the oldest of them has been unknown for too long.
    """

    code = "C20"
    name = "unknown_outcome"

    def __init__(self, limits: RiskLimits, latch: Latch) -> None:
        self._latch = latch
        self._max_count, self._max_age_ns = limits.max_unknown_count, round(limits.max_unknown_age_s * SECOND_NS)
        self._since: dict[str, tuple[str, int]] = {}
        self.due_ns = NEVER_NS

    def check(self, p: Proposal) -> str | None:
        if self._since:
            for order_id, (symbol, _) in self._since.items():
                if symbol == p.order.symbol:
                    return f"{symbol} is frozen: what became of order {order_id} is not known"
        return None

    def on_update(self, order: Order, update: OrderUpdate, now_ns: int) -> Sequence[Event]:
        if update.status == "unknown":
            self._since.setdefault(order.id, (order.symbol, now_ns))
        elif self._since.pop(order.id, None) is None:
            return NOTHING
        self.wait()
        if len(self._since) > self._max_count:
            return self._halt(now_ns, f"orders of unknown outcome {len(self._since)} > {self._max_count}")
        return NOTHING

    def overdue(self, now_ns: int) -> Sequence[Event]:
        """Halt when an order's outcome has been unknown for too long."""
        late = [order_id for order_id, (_, since) in self._since.items() if now_ns - since >= self._max_age_ns]
        self.due_ns = NEVER_NS
        if not late:
            return NOTHING
        return self._halt(now_ns, f"the outcome of {late[0]} is unknown for {self._max_age_ns / SECOND_NS:.0f} s")

    def wait(self) -> None:
        """Find out when the oldest will have been unknown for too long."""
        self.due_ns = min((since for _, since in self._since.values()), default=NEVER_NS - self._max_age_ns)
        self.due_ns += self._max_age_ns

    def _halt(self, now_ns: int, reason: str) -> Sequence[Event]:
        if self._latch.is_latched:
            return NOTHING
        return (self._latch.set("halted", now_ns, self.label, reason),)


class PositionMismatch(Control):
    """Freeze the symbols on which the broker and our books disagree; never trade to repair it."""

    code = "C29"
    name = "position_mismatch"
    binds_reductions = True

    def __init__(self, latch: Latch) -> None:
        self._latch = latch
        self._frozen: tuple[str, ...] = ()

    def check(self, p: Proposal) -> str | None:
        if p.order.symbol in self._frozen:
            return f"{p.order.symbol} is frozen: the broker's position differs from our books"
        return None

    def on_reconciliation(self, found: Reconciliation, now_ns: int) -> Sequence[Event]:
        """Take in what was found; halt when the disagreement has lasted."""
        self._frozen = found.disagreeing
        if found.halts and not self._latch.is_latched:
            return (self._latch.set("halted", now_ns, self.label, found.reason),)
        return NOTHING


class OrderLink(Control):
    """Stop entries while the order stream is down, and cancel the open ones when that lasts.

    Attributes:
        due_ns: when open entries are to be canceled.
    """

    code = "C30"
    name = "order_link"

    def __init__(self, limits: RiskLimits) -> None:
        self._grace_s = limits.link_down_no_entries_s
        self._cancel_ns = round(limits.link_down_cancel_s * SECOND_NS)
        self._down_ns: int | None = None
        self.due_ns = NEVER_NS

    def check(self, p: Proposal) -> str | None:
        if self._down_ns is None:
            return None
        down_s = (p.now_ns - self._down_ns) / SECOND_NS
        return (
            f"the order stream is down for {down_s:.1f} s > {self._grace_s:.1f} s" if down_s > self._grace_s else None
        )

    def on_link(self, link: Link, now_ns: int) -> None:
        """The order stream came up or went down."""
        if link.up:
            self._down_ns, self.due_ns = None, NEVER_NS
        elif self._down_ns is None:
            self._down_ns, self.due_ns = now_ns, now_ns + self._cancel_ns

    def cancels(self, now_ns: int) -> bool:
        """Tell, once for each time that the stream is down, whether open entries have to go now."""
        if now_ns < self.due_ns:
            return False
        self.due_ns = NEVER_NS
        return True
