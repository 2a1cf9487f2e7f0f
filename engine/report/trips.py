"""Round trips: every closing execution matched with what it closes, first in first out.

Lots keep the money they cost and never a price, so a split moves quantities only and profit stays exact: what was
realized, what the open lots cost and what the account paid sum to the last digit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal

import msgspec

from engine.events import Fill
from engine.market import ZERO

SHARE_STEP = Decimal("1e-12")  # a share of a cost is cut here; the exact rest stays with the lot
Key = tuple[str, str]  # strategy, symbol


class Lot(msgspec.Struct, gc=False):
    """What is left of one execution that opened or added to a position. `qty` is signed, `cost_usd` never is."""

    order_id: str
    ts_ns: int
    qty: Decimal
    cost_usd: Decimal
    fee_usd: Decimal

    def take(self, qty: Decimal) -> tuple[Decimal, Decimal]:
        """Remove an unsigned quantity; return its share of the cost and of the fee."""
        if qty == abs(self.qty):
            taken = self.cost_usd, self.fee_usd
            self.qty = self.cost_usd = self.fee_usd = ZERO
            return taken
        cost, fee = _share(self.cost_usd, qty, self.qty), _share(self.fee_usd, qty, self.qty)
        self.qty -= qty.copy_sign(self.qty)
        self.cost_usd -= cost
        self.fee_usd -= fee
        return cost, fee


class Trip(msgspec.Struct, gc=False):
    """One entry order closed by one exit order, however many executions either took. `qty` is unsigned."""

    strategy: str
    symbol: str
    side: str  # long or short
    qty: Decimal
    entry_ns: int
    exit_ns: int
    cost_usd: Decimal
    value_usd: Decimal
    fee_usd: Decimal

    @property
    def pnl_usd(self) -> Decimal:
        gross = self.value_usd - self.cost_usd
        return (gross if self.side == "long" else -gross) - self.fee_usd


class Trips:
    """The open lots by strategy and symbol, and the round trips they became."""

    def __init__(self) -> None:
        self.closed: list[Trip] = []
        self._lots: dict[Key, deque[Lot]] = {}
        self._pairs: dict[tuple[str, str], Trip] = {}

    def open(self) -> Iterator[tuple[Key, Lot]]:
        """Yield the lots that are still open."""
        return ((key, lot) for key, lots in self._lots.items() for lot in lots)

    def fill(self, fill: Fill, strategy: str) -> None:
        """Close the oldest opposite lots, and open one with what remains."""
        lots = self._lots.setdefault((strategy, fill.symbol), deque())
        sign, left, fee = (1 if fill.side == "buy" else -1), fill.qty, fill.fee_usd
        while left and lots and (lots[0].qty > 0) != (sign > 0):
            qty = min(left, abs(lots[0].qty))
            part = fee if qty == left else _share(fee, qty, left)
            self._close(lots, qty, fill, strategy, part)
            left, fee = left - qty, fee - part
        if left:
            lots.append(Lot(fill.client_order_id, fill.ts_event_ns, sign * left, left * fill.price, fee))

    def _close(self, lots: deque[Lot], qty: Decimal, fill: Fill, strategy: str, exit_fee: Decimal) -> None:
        lot = lots[0]
        cost, entry_fee = lot.take(qty)
        value, fees = qty * fill.price, entry_fee + exit_fee
        if not lot.qty:
            lots.popleft()
        pair = (lot.order_id, fill.client_order_id)
        trip = self._pairs.get(pair)
        if trip is None:
            side = "long" if fill.side == "sell" else "short"
            trip = Trip(strategy, fill.symbol, side, qty, lot.ts_ns, fill.ts_event_ns, cost, value, fees)
            self._pairs[pair] = trip
            self.closed.append(trip)
            return
        trip.qty, trip.exit_ns = trip.qty + qty, fill.ts_event_ns
        trip.cost_usd, trip.value_usd, trip.fee_usd = trip.cost_usd + cost, trip.value_usd + value, trip.fee_usd + fees

    def split(self, key: Key, new: int, old: int, qty: Decimal, paid_usd: Decimal) -> Decimal:
        """Scale the lots of a position to `qty`, what its strategy holds after the split.

        The fraction that was paid out in cash leaves the newest lots; one that was bought for cash joins the newest.

        Returns:
            What that fraction had cost, fees included: less than zero for a short, whose cost was received, and for
            what was bought.
        """
        lots = self._lots.get(key) or deque()
        self._pairs.clear()  # quantities from before and after a split do not add up
        for lot in lots:
            lot.qty = (lot.qty * new / old).quantize(SHARE_STEP, ROUND_DOWN)
        excess = abs(sum((lot.qty for lot in lots), ZERO)) - abs(qty)
        removed = ZERO
        if lots and excess < 0:  # another strategy's fraction, or a little that the cuts above left over, for nothing
            lots[-1].qty += (-excess).copy_sign(lots[-1].qty)
            lots[-1].cost_usd += abs(paid_usd)
            removed = paid_usd
        while lots and excess > 0:
            sign, part = lots[-1].qty, min(excess, abs(lots[-1].qty))
            cost, fee = lots[-1].take(part)
            removed += cost.copy_sign(sign) + fee
            excess -= part
            if not lots[-1].qty:
                lots.pop()
        return removed

    def charge(self, key: Key, qty: Decimal) -> None:
        """Take coins that were kept as a fee out of the newest lots; what is left has cost what all of them did."""
        lots = self._lots.get(key) or deque()
        while qty > 0 and lots:
            part = min(qty, lots[-1].qty)
            lots[-1].qty -= part
            qty -= part
            if not lots[-1].qty:
                lots.pop()

    def rename(self, old: str, new: str) -> None:
        """Carry the lots of a symbol over to its new name."""
        for strategy, symbol in [key for key in self._lots if key[1] == old]:
            lots = self._lots.pop((strategy, symbol))
            self._lots.setdefault((strategy, new), deque()).extend(lots)


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    return (amount * part / abs(whole)).quantize(SHARE_STEP)
