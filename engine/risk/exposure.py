"""C10 to C13, C21 and C26: what the account would hold if every open order filled, and how it could be paid.

Exposure is always the worst case: the position and every open order at its full remaining size. Where the inputs are
market floats so is the sum; a NaN in it refuses.
"""

from __future__ import annotations

from decimal import Decimal

from engine.market import ZERO
from engine.orders import Order, OrderBook
from engine.portfolio import Portfolio
from engine.risk.control import PERCENT, Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import OPENING, Proposal


class OpenOrders(Control):
    """Limit how many orders are open: in the account, of a strategy, and on one side of a symbol."""

    code = "C10"
    name = "max_open_orders"

    def __init__(self, limits: RiskLimits, orders: OrderBook) -> None:
        self._orders = orders
        self._account = limits.max_open_orders_count
        self._strategy = limits.max_strategy_open_orders_count
        self._side = limits.max_symbol_side_open_orders_count

    def check(self, p: Proposal) -> str | None:
        adds = 1 if p.replaced is None else 0  # an amendment takes the place of its order
        with_legs = adds if p.intent.order_class == "simple" else adds + len(p.intent.legs())
        count = len(self._orders.open) + with_legs
        if count > self._account:
            return f"open orders of the account {count} > {self._account}"
        count = p.book.open_count + with_legs
        if count > self._strategy:
            return f"open orders of {p.book.name} {count} > {self._strategy}"
        count = len(p.market.open_buys if p.sign > 0 else p.market.open_sells) + adds
        if count > self._side:
            return f"open orders to {p.intent.side} {p.market.symbol} {count} > {self._side}"
        return None


class PositionLimit(Control):
    """Limit the worst-case position of the account in one symbol."""

    code = "C11"
    name = "max_position"

    def __init__(self, limits: RiskLimits) -> None:
        self._fraction = limits.max_position_percent * PERCENT
        self._limit_usd = 0.0

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self._limit_usd = float(self._fraction * equity_usd)

    def check(self, p: Proposal) -> str | None:
        reached = (p.market.long_qty if p.sign > 0 else -p.market.short_qty) + p.added
        worst_usd = reached * p.mark_price
        if worst_usd <= self._limit_usd:
            return None
        return f"worst-case position in {p.market.symbol} {worst_usd:,.2f} USD > {self._limit_usd:,.2f} USD"


class Exposure(Control):
    """Limit the sum of the worst-case positions, and by how much the longs outweigh the shorts or the reverse."""

    code = "C12"
    name = "max_exposure"

    def __init__(self, limits: RiskLimits, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._gross, self._net = limits.max_gross_fraction, limits.max_net_fraction
        self._gross_usd = self._net_usd = 0.0

    def on_session(self, equity_usd: Decimal, now_ns: int) -> None:
        self._gross_usd, self._net_usd = float(self._gross * equity_usd), float(self._net * equity_usd)

    def check(self, p: Proposal) -> str | None:
        portfolio, added_usd = self._portfolio, p.added * p.mark_price
        net = portfolio.net_high + added_usd if p.sign > 0 else added_usd - portfolio.net_low
        if not net <= self._net_usd:
            return f"worst-case net exposure {net:,.2f} USD > {self._net_usd:,.2f} USD"
        gross = portfolio.gross + worst_growth(p) * p.mark_price
        if not gross <= self._gross_usd:
            return f"worst-case gross exposure {gross:,.2f} USD > {self._gross_usd:,.2f} USD"
        return None


class BuyingPower(Control):
    """Reserve what every open entry may cost, so that all of them could fill.

    A cash account spends its cash. On margin the worst-case positions together may be `multiplier` times the equity.
    """

    code = "C13"
    name = "buying_power"

    def __init__(self, limits: RiskLimits, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._kept = max(ZERO, 1 - limits.cash_buffer_percent * PERCENT)
        self._kept_share = float(self._kept)

    def check(self, p: Proposal) -> str | None:
        portfolio = self._portfolio
        if portfolio.multiplier == 1 and p.sign > 0:
            cost_usd = portfolio.reserved_usd + p.qty * p.cost_price
            if p.replaced is not None:
                cost_usd -= p.replaced.reserved_usd
            available_usd = portfolio.cash_usd * self._kept
            if cost_usd <= available_usd:
                return None
            return f"cost of this and the open entries {cost_usd:,.2f} USD > cash {available_usd:,.2f} USD"
        used = portfolio.gross + worst_growth(p) * max(p.mark_price, float(p.cost_price))
        available = self._kept_share * portfolio.multiplier * portfolio.equity
        if used <= available:
            return None
        return f"margin used by this and the open entries {used:,.2f} USD > {available:,.2f} USD"


class SelfTrade(Control):
    """Refuse an order that could trade with an open one of our own, of whichever strategy.

    As the venue does: two opposite orders go together only if both have limit prices and these cannot meet. The members
    of one group (an entry and its protective legs) do not count against each other.
    """

    code = "C21"
    name = "self_trade"
    binds_reductions = True

    def check(self, p: Proposal) -> str | None:
        opposite = p.market.open_sells if p.sign > 0 else p.market.open_buys
        if not opposite:
            return None
        group = group_of(p.replaced) if p.replaced is not None else None
        for order in opposite.values():
            if group is not None and group_of(order) is group:
                continue
            theirs, ours = order.intent.limit_price, p.limit_price
            if theirs is None or ours is None or (ours - theirs) * p.sign >= 0:
                return f"would meet {order.id} of {order.strategy} to {order.side} at {theirs or order.type}"
        return None


class ReduceOnly(Control):
    """Refuse an exit larger than what is left to close, open exits counted, and one with legs: they would open anew."""

    code = "C26"
    name = "reduce_only"

    def __init__(self, limits: RiskLimits) -> None:
        self._reversals = limits.allow_reversals

    def check(self, p: Proposal) -> str | None:
        kind, held = p.intent.order_class, p.position.qty
        if kind == "oco":
            return f"an oco order closes a position: quantity {p.qty:,f} > {p.room_qty:,f} left to close"
        if held and p.opposes:
            if kind in OPENING:
                return f"the legs of a {kind} order protect what it opens, and it is against position {held:,f}"
            if not self._reversals:
                return f"exit quantity {p.qty:,f} > {p.room_qty:,f} (position {held:,f} less open exits)"
        return None


def worst_growth(p: Proposal) -> float:
    """Return by how many shares an order grows the larger of the two sizes that the position may reach."""
    market = p.market
    growth = abs(market.long_qty + p.added if p.sign > 0 else market.short_qty - p.added) - market.worst_qty
    return growth if growth > 0 else 0.0


def group_of(order: Order) -> Order:
    """Return the first order of a group: an entry or oco for its legs, itself for any other."""
    return order if order.parent is None else order.parent
