"""How much worse than the tape's price a market or stop order fills: the slippage models, and the tick.

A model is any class with `slip`; the entry-point group `onetape.slippage_models` names others.
"""

from __future__ import annotations

import math
from typing import Protocol

CRYPTO_TICK, CRYPTO_DECIMALS = 1e-9, 9


class SlippageModel(Protocol):
    """Worsens a price."""

    def slip(self, price: float, qty: float, volume: float, *, quoted: bool) -> float:
        """Return how far the fill is from `price`, against us: 0 or more, in dollars a share.

        Args:
            price: what the tape says: an open, a stop, a bid or ask.
            qty: what fills now, in shares.
            volume: of the bar, print or displayed size that it fills from.
            quoted: the price is a bid or ask, so the spread is paid already.
        """
        ...


class FixedBps:
    """A fixed share of the price, in hundredths of a percent."""

    def __init__(self, *, bps: object) -> None:
        self._fraction = _share("bps", bps) / 10_000

    def slip(self, price: float, qty: float, volume: float, *, quoted: bool) -> float:
        return price * self._fraction


class HalfSpreadBps:
    """Half of an assumed spread, wherever the price is not a quote already."""

    def __init__(self, *, spread_bps: object) -> None:
        self._fraction = _share("spread_bps", spread_bps) / 20_000

    def slip(self, price: float, qty: float, volume: float, *, quoted: bool) -> float:
        return 0.0 if quoted else price * self._fraction


class VolumeShare:
    """Impact that grows with the square of our share of the volume: `price * price_impact * (qty / volume) ** 2`.

    Source: `VolumeShareSlippage` of zipline, whose default `price_impact` is 0.1.
    """

    def __init__(self, *, price_impact: object = 0.1) -> None:
        self._impact = _share("price_impact", price_impact)

    def slip(self, price: float, qty: float, volume: float, *, quoted: bool) -> float:
        if not volume > 0 or math.isinf(volume):
            return 0.0
        return price * self._impact * min(1.0, qty / volume) ** 2


class NoSlippage:
    """The tape's price as it is."""

    def slip(self, price: float, qty: float, volume: float, *, quoted: bool) -> float:
        return 0.0


def to_tick(price: float, *, up: bool, crypto: bool) -> float:
    """Round to the venue's price step: a cent from $1 on, a hundredth of a cent below it, 1e-9 for crypto.

    Source: SEC Rule 612 of Regulation NMS, as Alpaca applies it to order prices.
    """
    if crypto:
        tick, decimals = CRYPTO_TICK, CRYPTO_DECIMALS
    elif price >= 1.0:
        tick, decimals = 0.01, 2
    else:
        tick, decimals = 0.0001, 4
    # A price that is on the tick but for binary dust stays there.
    steps = math.ceil(price / tick - 1e-6) if up else math.floor(price / tick + 1e-6)
    return round(max(steps, 1) * tick, decimals)


def _share(name: str, value: object) -> float:
    """Return a parameter as a number; it is whatever a configuration holds, and what is none is refused here."""
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0.0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")
    return number
