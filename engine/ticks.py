"""The steps of a price at the venue, and a price that was computed in floats on one of them."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from engine.exact import PRICE_MAX as PRICE_MAX
from engine.exact import PRICE_MIN as PRICE_MIN
from engine.exact import exact

ONE: Final = Decimal(1)
CENT: Final = Decimal("0.01")
SUB_DOLLAR_TICK: Final = Decimal("0.0001")
NANO: Final = Decimal("1e-9")
DUST: Final = Decimal("1e-6")
"""What float arithmetic leaves beside a tick, as a part of it: 100 - 0.3 may be 99.69999999999999."""


def tick_size(price: Decimal, crypto: bool) -> Decimal:
    """Return the smallest step of a price, as the venue has it: finer below a dollar, free for crypto."""
    return NANO if crypto else CENT if price >= ONE else SUB_DOLLAR_TICK


def on_tick(price: float, *, up: bool, crypto: bool) -> Decimal:
    """Return a price below `PRICE_MAX` if it is on the tick but for dust, else the next tick above or below it."""
    value = exact(price)
    tick = tick_size(value, crypto)
    nearest = value.quantize(tick)
    if nearest == value:
        return value
    if abs(nearest - value) <= tick * DUST:
        return nearest
    return value.quantize(tick, ROUND_CEILING if up else ROUND_FLOOR)
