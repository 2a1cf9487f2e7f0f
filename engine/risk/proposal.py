"""One order with everything that the controls compare it to, gathered and computed once.

A *reduction* is an order that makes its strategy's position smaller without crossing zero, whatever else is already on
its way to close it, and brings no legs that could open another. Everything else is an *entry*.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final, Literal

from engine.clock import Session
from engine.events import Intent, exact
from engine.market import ZERO
from engine.orders import Order, OrderBook
from engine.portfolio import Portfolio, Position
from engine.risk.limits import RiskLimits
from engine.ticks import NANO, ONE, PRICE_MAX, PRICE_MIN, tick_size

AUCTIONS: Final = frozenset({"opg", "cls"})
OPENING: Final = frozenset({"bracket", "oto"})
"""The classes whose legs protect what the order itself opens."""


def room_qty(position: Position, sign: int) -> Decimal:
    """Return how much of a position another order of this side may close; 0 or less when there is nothing left."""
    held = position.qty
    if held > 0 > sign:
        return held - position.open_sell_qty
    if held < 0 < sign:
        return -held - (position.open_qty + position.open_sell_qty)
    return ZERO


def held_back_qty(order: Order) -> Decimal:
    """Return how much of the open exposure an order accounts for, all exits of its group together."""
    if not order.is_exit:
        return order.counted
    first = order.parent or order
    return sum((member.counted for member in (first, *first.legs) if member.sign == order.sign), ZERO)


def _trail(intent: Intent, price: Decimal) -> Decimal:
    if intent.trail_percent is None:
        assert intent.trail_price is not None
        return intent.trail_price
    return price * intent.trail_percent / 100


class Pricing:
    """How an order without a price of its own is priced."""

    __slots__ = ("as_limits", "down", "markup", "up")

    def __init__(self, limits: RiskLimits) -> None:
        self.as_limits = limits.market_orders_as_limits
        self.up = ONE + limits.collar_aggressive_percent / 100
        self.down = max(ZERO, ONE - limits.collar_aggressive_percent / 100)
        self.markup = ONE + limits.market_order_markup_percent / 100

    def marketable_price(self, p: Proposal) -> Decimal:
        """Return the worst price that a market order may take: the collar, or the limit-up-limit-down band if nearer.

        It is rounded to the tick towards the reference, so that it never lies outside what it stands for.
        """
        if p.sign > 0:
            bound, band, rounding = p.reference_price * self.up, p.market.limit_up_price, ROUND_DOWN
            if band is not None and float(bound) > band:
                bound = exact(band)
        else:
            bound, band, rounding = p.reference_price * self.down, p.market.limit_down_price, ROUND_UP
            if band is not None and float(bound) < band:
                bound = exact(band)
        tick = tick_size(bound, p.crypto)
        return max(bound.quantize(tick, rounding), tick)


class Proposal:
    """An order under review.

    Attributes:
        fresh: whether the reference is fresh; else it is the last mark, or 0 when there was never a price.
        limit_price: the order's own, or the one that a market order will be sent with.
        stop_price: the order's own, or where a trailing stop starts.
        price: the dearest of reference, limit and stop; `notional_usd` is the quantity at that price.
        cost_price: what a share may cost at most, as far as cash is reserved.
        replaced: the open order that this one amends; what it holds already is not asked for twice, so the exposures
            grow by `added_qty` only.
        room_qty: how much of the strategy's position an order of this side may still close.

    Units: Decimal in dollars, shares or coins; `added` and `mark_price` are floats to go with the market floats.
    """

    __slots__ = (
        "added", "added_qty", "book", "cost_price", "crypto", "fresh", "intent", "limit_price", "mark_price", "market",
        "notional_usd", "now_ns", "order", "position", "price", "qty", "reduces", "reference",
        "reference_price", "replaced", "room_qty", "session", "sign", "stop_price",
    )  # fmt: skip

    def __init__(self, order: Order, now_ns: int, session: Session, portfolio: Portfolio, orders: OrderBook) -> None:
        intent = order.intent
        self.order, self.intent, self.now_ns, self.session = order, intent, now_ns, session
        market = self.market = portfolio.markets.get(order.symbol) or portfolio.market(order.symbol)
        self.book = portfolio.books.get(order.strategy) or portfolio.book(order.strategy)
        self.position = self.book.positions.get(order.symbol) or self.book.position(order.symbol)
        self.sign = order.sign
        self.crypto = "/" in order.symbol
        self.replaced = orders.open.get(intent.replaces) if intent.replaces else None
        found = market.reference(now_ns)
        price: float
        self.reference: Literal["quote", "trade", "bar", "mark"]
        self.fresh = found is not None and PRICE_MIN <= found[0] < PRICE_MAX
        price, self.reference = found if found is not None and self.fresh else (market.mark, "mark")
        self.reference_price = exact(price) if PRICE_MIN <= price < PRICE_MAX else ZERO

    def measure(self, pricing: Pricing) -> None:
        """Compute what the controls compare; the numbers of the intent are known to be sound."""
        intent, price = self.intent, self.reference_price
        limit, stop, qty = intent.limit_price, intent.stop_price, intent.qty
        if qty is None:
            assert intent.notional_usd is not None
            # Without a fresh price nobody knows what a notional buys or sells, so it is never a reduction then.
            qty = (intent.notional_usd / price).quantize(NANO) if self.fresh else ZERO
            self.notional_usd, self.cost_price = intent.notional_usd, price
        else:
            if intent.type == "market":
                if pricing.as_limits and self.fresh and intent.time_in_force not in AUCTIONS and self._in_session():
                    limit = pricing.marketable_price(self)
            elif intent.type == "trailing_stop":
                stop = price + self.sign * _trail(intent, price)
            if limit is not None and limit > price:
                price = limit
            if stop is not None and stop > price:
                price = stop
            self.notional_usd = qty * price
            self.cost_price = price * pricing.markup if limit is None else limit
        self.qty, self.price, self.limit_price, self.stop_price = qty, price, limit, stop
        self.added_qty, self.room_qty = qty, ZERO
        if self.position.qty:
            self.room_qty = room_qty(self.position, self.sign)
        if self.replaced is not None:
            self._take_over(self.replaced)
        self.reduces = ZERO < qty <= self.room_qty and intent.order_class not in OPENING
        if not self.reduces:
            # Floats are compared with floats: against a Decimal it takes ten times as long.
            self.added = float(self.added_qty)
            in_float, mark = float(price), self.market.mark
            self.mark_price = mark if mark > in_float else in_float

    def _take_over(self, replaced: Order) -> None:
        """Count only what the order asks for beyond the one that it replaces."""
        held_back = held_back_qty(replaced)
        self.added_qty -= held_back
        if self.opposes:
            self.room_qty += held_back

    @property
    def opposes(self) -> bool:
        """Whether the order is against the position of its strategy."""
        return self.position.qty * self.sign < 0

    def _in_session(self) -> bool:
        return self.crypto or self.session.open_ns <= self.now_ns < self.session.close_ns
