"""An order at the simulated venue, and what one market event offers it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from engine.events import Bar, Intent, OrderType, Quote, TimeInForce, Trade

ZERO: Final = Decimal(0)
UNKNOWN: Final = float("nan")


class Offer(msgspec.Struct, eq=False):
    """One market event as the venue's orders see it; they share its volume in their order of arrival.

    Attributes:
        first_ns, last_ns: the instants of its first and last price, the same for a quote or print.
        for_buys, for_sells: what our orders may still fill from it, in shares; a quote's two sides are two volumes.
        volume: all that it shows; infinite for a quote, whose price is the price of its size.
        regular, extended: whether it is of regular hours, and of regular or extended ones.
        quoted: quotes of the symbol are fresh.
        firm: a market order could fill on it, so it counts as an order's first chance.
    """

    event: Bar | Quote | Trade
    first_ns: int
    last_ns: int
    for_buys: float
    for_sells: float
    volume: float
    regular: bool
    extended: bool
    kind: Literal["bar", "quote", "trade"]
    quoted: bool = False
    firm: bool = True

    def take(self, qty: float, buy: bool) -> None:
        """Use some of it up."""
        if self.kind != "quote":
            self.for_buys -= qty
            self.for_sells -= qty
        elif buy:
            self.for_buys -= qty
        else:
            self.for_sells -= qty


class WorkingOrder(msgspec.Struct, eq=False):
    """One order that the venue has taken on, and what has become of it so far; `working_order` makes it.

    A fill model reads it, and may move `type` (a stop that has triggered is a market or limit order from then on),
    `resting` and `mark`; everything else is the venue's.

    Attributes:
        type: what the order is by now.
        left: what may still fill, None for a notional order that has not met a price; `most`: its upper bound then.
        limit, stop, trail_usd, trail_fraction: prices as floats, NaN where the order has none.
        mark: a trailing stop's best price since arrival, NaN before the first.
        carried: what the orders that it replaced had filled; its own quantity includes that.
        reserved_usd: buying power that it keeps from other entries.
        protective: one of a bracket's, OCO's or OTO's legs, or an OCO's own limit.
        held: a leg that waits for its parent.
        resting: an event has shown the market beyond its limit, so it waits in the book at its own price; before that a
            limit trades like a market order.
        joined_inside: its parent filled inside the bar in hand, so it has seen a part of that bar that nobody can date.
        sibling: the other order of an OCO pair; `is_stop_leg` is true for the one of the pair that is a stop.
        legs: held orders that become active when this one has filled; `parent` is the other way round.
        closing: the last price before the close and its event, for an order in the closing auction.
    """

    intent: Intent
    id: str
    symbol: str
    buy: bool
    type: OrderType
    time_in_force: TimeInForce
    extended: bool
    left: Decimal | None
    left_float: float
    arrival_ns: int
    expire_ns: int
    broker_id: str
    limit: float = UNKNOWN
    stop: float = UNKNOWN
    trail_usd: float = UNKNOWN
    trail_fraction: float = UNKNOWN
    mark: float = UNKNOWN
    most: Decimal | None = None
    filled: Decimal = ZERO
    carried: Decimal = ZERO
    reserved_usd: Decimal = ZERO
    executions: int = 0
    protective: bool = False
    held: bool = False
    done: bool = False
    resting: bool = False
    joined_inside: bool = False
    is_stop_leg: bool = False
    sibling: WorkingOrder | None = None
    parent: WorkingOrder | None = None
    legs: tuple[WorkingOrder, ...] = ()
    closing: tuple[float, Offer] | None = None

    @property
    def is_target(self) -> bool:
        """Whether it takes a profit beside a stop, or alone: it fills at its own price, never better (rule 6.3)."""
        return self.protective and not self.is_stop_leg

    def want(self, qty: Decimal) -> None:
        """Set what is left to fill."""
        self.left, self.left_float = qty, float(qty)


def working_order(intent: Intent, arrival_ns: int, expire_ns: int, broker_id: str) -> WorkingOrder:
    """Return an intent as the venue keeps it."""
    qty, kind = intent.qty, intent.type
    order = WorkingOrder(
        intent, intent.client_order_id, intent.symbol, intent.side == "buy", kind, intent.time_in_force,
        intent.extended_hours, qty, float(qty) if qty is not None else UNKNOWN, arrival_ns, expire_ns, broker_id,
    )  # fmt: skip
    if kind != "market":
        order.limit, order.stop = _float(intent.limit_price), _float(intent.stop_price)
        order.trail_usd, order.trail_fraction = _float(intent.trail_price), _float(intent.trail_percent) / 100
        order.protective = intent.order_class == "oco" or intent.parent_id != ""
    return order


def _float(value: Decimal | None) -> float:
    return UNKNOWN if value is None else float(value)
