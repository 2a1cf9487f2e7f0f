"""How much of an order an event fills, and at which price in the end: participation, notional, slippage, side."""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal
from typing import Final

from brokers.simulated.matching import Where
from brokers.simulated.slippage import SlippageModel, to_tick
from brokers.simulated.working_order import ZERO, Offer, WorkingOrder
from engine.events import exact

NANO_SHARE: Final = Decimal("1e-9")
_DOWN: Final = Context(prec=38, rounding=ROUND_DOWN)


def part(order: WorkingOrder, left: Decimal, available: float, *, crypto: bool) -> Decimal:
    """Return how much fills of an order for more than the volume allows, rounded down to its lot (rule 7.1)."""
    if order.time_in_force == "fok" or not available > 0.0:
        return ZERO
    if crypto or left % 1:
        return exact(available).quantize(NANO_SHARE, context=_DOWN)
    return Decimal(int(available))


def notional_qty(order: WorkingOrder, price: Decimal) -> Decimal:
    """Return what a notional order buys or sells at a price, to 9 decimals (rule 16.1)."""
    notional = order.intent.notional_usd
    assert notional is not None
    qty = _DOWN.divide(notional, price).quantize(NANO_SHARE, context=_DOWN)
    return qty if order.most is None else min(qty, order.most)


def slipped(order: WorkingOrder, price: float, offer: Offer, model: SlippageModel, *, crypto: bool) -> float:
    """Return the price after slippage, rounded to the tick against us, at worst the order's limit (rule 4.7)."""
    wanted = order.left_float if order.left is not None else float(order.intent.notional_usd or 0) / price
    qty = min(wanted, offer.for_buys if order.buy else offer.for_sells)
    slip = model.slip(price, qty, offer.volume, quoted=offer.quoted)
    if not slip > 0.0:
        return price
    price = to_tick(price + slip if order.buy else price - slip, up=order.buy, crypto=crypto)
    if order.type != "limit":
        return price
    return min(price, order.limit) if order.buy else max(price, order.limit)


def stamp(order: WorkingOrder, where: Where, offer: Offer) -> int:
    """Return when something at this place of an event became true, never later than it was known."""
    ts_ns = offer.last_ns
    if where == "open":
        ts_ns = offer.first_ns if offer.first_ns > order.arrival_ns else order.arrival_ns
    elif order.closing is not None:
        if ts_ns < order.expire_ns:  # the close has passed since
            return order.expire_ns
        ts_ns = order.expire_ns
    known_ns = offer.event.ts_recv_ns
    return ts_ns if ts_ns < known_ns else known_ns
