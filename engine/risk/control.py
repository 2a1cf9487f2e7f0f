"""What every control is, and the sliding window that the counting ones share."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Final

from engine.events import Event, Fill, OrderUpdate
from engine.orders import Order
from engine.risk.proposal import Proposal

NOTHING: Final[Sequence[Event]] = ()
PERCENT: Final = Decimal("0.01")
FORGOTTEN_KEPT: Final = 256


class Control:
    """One rule. `check` reads a proposal and changes nothing; the other methods let a control keep count.

    A subclass overrides what it needs, and the manager calls only what is overridden.

    Attributes:
        code, name: as in docs/risk_controls.md; `label` is the two together, as denials carry it.
        binds_reductions: whether an order that only reduces a position must pass too.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    label: ClassVar[str]
    binds_reductions: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.label = f"{cls.code} {cls.name}"

    def check(self, p: Proposal) -> str | None:
        """Return why the order may not go, with the numbers compared, or None."""
        return None

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        """A session begins with this equity."""

    def on_approved(self, p: Proposal) -> None:
        """The order passed every control."""

    def on_fill(self, order: Order, fill: Fill, now_ns: int) -> Sequence[Event]:
        """Count an execution, which the books include already; return what it trips."""
        return NOTHING

    def on_update(self, order: Order, update: OrderUpdate, now_ns: int) -> Sequence[Event]:
        """Count the venue's word on an order; return what it trips."""
        return NOTHING


class Window:
    """The instants of the last `span_ns`, to tell how many fall into it or into a shorter span."""

    __slots__ = ("_first", "_instants", "span_ns")

    def __init__(self, span_ns: int) -> None:
        self.span_ns = span_ns
        self._instants: list[int] = []
        self._first = 0  # those before it are out of the window, and dropped a few at a time

    def add(self, now_ns: int) -> None:
        """Add an instant, no earlier than the last; those out of the window are forgotten."""
        instants, oldest, first = self._instants, now_ns - self.span_ns, self._first
        while first < len(instants) and instants[first] <= oldest:
            first += 1
        if first > FORGOTTEN_KEPT:
            del instants[:first]
            first = 0
        self._first = first
        instants.append(now_ns)

    def reached(self, limit: int, span_ns: int, now_ns: int) -> bool:
        """Tell whether `limit` instants or more are less than `span_ns` old."""
        instants = self._instants
        kept = len(instants) - self._first
        return kept >= limit and (limit == 0 or instants[-limit] > now_ns - span_ns)

    def count(self, now_ns: int) -> int:
        """Return how many instants are in the window."""
        oldest = now_ns - self.span_ns
        return sum(instant > oldest for instant in self._instants[self._first :])
