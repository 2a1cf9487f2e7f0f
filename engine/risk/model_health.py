"""C34: what a model's health takes away from the strategies that trade by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from decimal import Decimal

from engine.events import ModelStatus, exact
from engine.market import ZERO
from engine.risk.control import PERCENT, Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal
from engine.risk.size import OrderNotional, OrderQuantity

STANDING = frozenset({"healthy", "degraded", "failed"})
"""The states that say how a model is; the others tell of its file or of a comparison, and change nothing."""


class ModelHealth(Control):
    """Shrink the size limits of strategies whose model is not well, or let them only reduce, until it is again.

    Halts are the manager's; the way out is never barred.
    """

    code = "C34"
    name = "model_health"

    def __init__(
        self, limits: RiskLimits, notional: OrderNotional, quantity: OrderQuantity,
        strategies_by_model: Mapping[str, Set[str]],
    ) -> None:  # fmt: skip
        self._notional, self._quantity = notional, quantity
        self._position_percent = limits.max_position_percent
        self._equity_usd = ZERO
        self._bound = strategies_by_model
        self._standing: dict[str, ModelStatus] = {}

    def bound(self, model: str) -> Sequence[str]:
        """Return the strategies that trade by a model, sorted."""
        return sorted(self._bound.get(model, ()))

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self._equity_usd = equity_usd

    def on_model(self, status: ModelStatus) -> None:
        """A model's health has changed."""
        if status.action == "none":
            self._standing.pop(status.model, None)
        else:
            self._standing[status.model] = status

    def check(self, p: Proposal) -> str | None:
        if not self._standing:
            return None
        for model, status in self._standing.items():
            if p.order.strategy in self._bound.get(model, ()):
                reason = self._shrunk(p, status) if status.action == "shrink" else f"model {model}: {status.reason}"
                if reason is not None:
                    return reason
        return None

    def _shrunk(self, p: Proposal, status: ModelStatus) -> str | None:
        share = exact(status.size_fraction)
        why = f"({share * 100:g} % while model {status.model} is {status.state}: {status.reason})"
        notional_usd = self._notional.limit_usd * share
        if p.notional_usd > notional_usd:
            return f"order notional {p.notional_usd:,.2f} USD > {notional_usd:,.2f} USD {why}"
        qty = self._quantity.limit_qty(p.order.symbol) * share
        if p.qty > qty:
            return f"order quantity {p.qty:,f} > {qty:,f} {why}"
        position = p.position
        open_qty = position.open_sell_qty if p.sign < 0 else position.open_qty + position.open_sell_qty
        worst_usd = (position.qty * p.sign + open_qty + p.added_qty) * p.price
        position_usd = self._position_percent * PERCENT * self._equity_usd * share
        if worst_usd > position_usd:
            return f"worst-case position {worst_usd:,.2f} USD > {position_usd:,.2f} USD {why}"
        return None
