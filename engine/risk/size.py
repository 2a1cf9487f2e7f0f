"""C02, C03 and C35: how large one order may be."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from engine.events import exact
from engine.market import ZERO
from engine.risk.control import PERCENT, Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal


class OrderNotional(Control):
    """Limit what one order is worth."""

    code = "C02"
    name = "max_order_notional"

    def __init__(self, limits: RiskLimits) -> None:
        self._usd, self._fraction = limits.max_order_notional_usd, limits.max_order_notional_percent * PERCENT
        self.limit_usd = ZERO

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self.limit_usd = min(self._usd, self._fraction * equity_usd)

    def check(self, p: Proposal) -> str | None:
        if p.notional_usd <= self.limit_usd:
            return None
        return f"order notional {p.notional_usd:,.2f} USD > {self.limit_usd:,.2f} USD"


class OrderQuantity(Control):
    """Limit how many shares or coins one order is for, and what share of the usual volume that is.

    Attributes:
        adv_by_symbol: average daily volume where known; a symbol without has a limit of its own.
    """

    code = "C03"
    name = "max_order_qty"

    def __init__(self, limits: RiskLimits, adv_by_symbol: Mapping[str, float]) -> None:
        self.adv_by_symbol = adv_by_symbol
        self._qty = limits.max_order_qty
        self._unknown_qty = min(limits.max_order_qty, limits.max_order_unknown_adv_qty)
        self._adv_fraction = float(limits.max_order_adv_percent) / 100

    def limit_qty(self, symbol: str) -> Decimal:
        """Return the largest order of a symbol."""
        adv = self.adv_by_symbol.get(symbol)
        return self._unknown_qty if adv is None else min(self._qty, exact(adv * self._adv_fraction))

    def check(self, p: Proposal) -> str | None:
        limit = self.limit_qty(p.order.symbol)
        if p.qty <= limit:
            return None
        return f"order quantity {p.qty:,f} > {limit:,f}"


class ControlledRollout(Control):
    """Let a strategy trade only a share of the size limits during its first sessions with orders."""

    code = "C35"
    name = "controlled_rollout"

    def __init__(self, limits: RiskLimits, notional: OrderNotional, quantity: OrderQuantity) -> None:
        self._sessions = limits.rollout_sessions_count
        self._percent, self._fraction = limits.rollout_percent, limits.rollout_percent * PERCENT
        self._position_fraction = limits.max_position_percent * PERCENT * self._fraction
        self._notional, self._quantity = notional, quantity
        self._position_usd = ZERO
        self._finished: dict[str, int] = {}
        self._today: dict[str, None] = {}

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        for strategy in self._today:
            self._finished[strategy] = self._finished.get(strategy, 0) + 1
        self._today = {}
        self._position_usd = self._position_fraction * equity_usd

    def on_approved(self, p: Proposal) -> None:
        self._today[p.order.strategy] = None

    def check(self, p: Proposal) -> str | None:
        if not self._sessions or self._finished.get(p.order.strategy, 0) >= self._sessions:
            return None
        share = f"({self._percent} % in the first {self._sessions} sessions)"
        notional_usd = self._notional.limit_usd * self._fraction
        if p.notional_usd > notional_usd:
            return f"order notional {p.notional_usd:,.2f} USD > {notional_usd:,.2f} USD {share}"
        qty = self._quantity.limit_qty(p.order.symbol) * self._fraction
        if p.qty > qty:
            return f"order quantity {p.qty:,f} > {qty:,f} {share}"
        position = p.position
        open_qty = position.open_sell_qty if p.sign < 0 else position.open_qty + position.open_sell_qty
        worst_usd = (position.qty * p.sign + open_qty + p.added_qty) * p.price
        if worst_usd > self._position_usd:
            return f"worst-case position {worst_usd:,.2f} USD > {self._position_usd:,.2f} USD {share}"
        return None
