"""The one way from market data to money."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Final

CONVERSIONS_KEPT: Final = 16_384
PRICE_MIN: Final = 1e-9  # the finest tick: what costs less has no price, and too many of it would come for a dollar
PRICE_MAX: Final = 1e12  # beyond any price or quantity, and small enough for exact arithmetic on ticks


class _Exact(dict[float, Decimal]):
    """Conversions done before: prices lie on ticks, so the same ones come again and again."""

    def __missing__(self, value: float) -> Decimal:
        if not isfinite(value):
            raise ValueError(f"{value} is no price or quantity")
        found = Decimal(repr(float(value)))
        if value:  # 0.0 and -0.0 are the same key and not the same decimal
            if len(self) >= CONVERSIONS_KEPT:
                self.clear()
            self[value] = found
        return found


exact: Callable[[float], Decimal] = _Exact().__getitem__
"""Return the shortest decimal that reads back as the same float; ValueError where that is not finite."""
