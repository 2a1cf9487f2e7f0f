"""An order at the simulated venue, and what one market event offers it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

from engine.events import Bar, Intent, OrderType, Quote, TimeInForce, Trade

ZERO: Final = Decimal(0)
UNKNOWN: Final = float("nan")


class Offer:
    """One market event as the venue's orders see it; they share its volume in their order of arrival.

    Attributes:
        first_ns, last_ns: the instants of its first and last price, the same for a quote or print.
        for_buys, for_sells: what our orders may still fill from it, in shares; a quote's two sides are two volumes.
        volume: all that it shows; infinite for a quote, whose price is the price of its size.
        regular, extended: whether it is of regular hours, and of regular or extended ones.
        quoted: quotes of the symbol are fresh.
        firm: a market order could fill on it, so it counts as an order's first chance.
    """

    __slots__ = (
        "event", "extended", "firm", "first_ns", "for_buys", "for_sells", "kind", "last_ns", "quoted", "regular",
        "volume",
    )  # fmt: skip

    def __init__(
        self, event: Bar | Quote | Trade, first_ns: int, last_ns: int, for_buys: float, for_sells: float, volume: float,
        regular: bool, extended: bool, kind: Literal["bar", "quote", "trade"], quoted: bool = False, firm: bool = True,
    ) -> None:  # fmt: skip
        self.event, self.first_ns, self.last_ns, self.kind = event, first_ns, last_ns, kind
        self.for_buys, self.for_sells, self.volume = for_buys, for_sells, volume
        self.regular, self.extended, self.quoted, self.firm = regular, extended, quoted, firm

    def take(self, qty: float, buy: bool) -> None:
        """Use some of it up."""
        if self.kind != "quote":
            self.for_buys -= qty
            self.for_sells -= qty
        elif buy:
            self.for_buys -= qty
        else:
            self.for_sells -= qty


class WorkingOrder:
    """One order that the venue has taken on, and what has become of it so far.

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

    __slots__ = (
        "arrival_ns", "broker_id", "buy", "carried", "closing", "done", "executions", "expire_ns", "extended", "filled",
        "held", "id", "intent", "is_stop_leg", "joined_inside", "left", "left_float", "legs", "limit", "mark", "most",
        "parent", "protective", "reserved_usd", "resting", "sibling", "stop", "symbol", "time_in_force",
        "trail_fraction", "trail_usd", "type",
    )  # fmt: skip

    def __init__(self, intent: Intent, arrival_ns: int, expire_ns: int, broker_id: str) -> None:
        self.intent, self.id, self.symbol = intent, intent.client_order_id, intent.symbol
        self.buy = intent.side == "buy"
        self.type: OrderType = intent.type
        self.time_in_force: TimeInForce = intent.time_in_force
        self.extended = intent.extended_hours
        self.arrival_ns, self.expire_ns, self.broker_id = arrival_ns, expire_ns, broker_id
        self.left: Decimal | None = intent.qty
        self.left_float = _float(self.left)
        self.limit = self.stop = self.trail_usd = self.trail_fraction = self.mark = UNKNOWN
        self.most: Decimal | None = None
        self.filled = self.carried = self.reserved_usd = ZERO
        self.executions = 0
        self.protective = self.held = self.done = self.resting = self.joined_inside = self.is_stop_leg = False
        self.sibling: WorkingOrder | None = None
        self.parent: WorkingOrder | None = None
        self.legs: tuple[WorkingOrder, ...] = ()
        self.closing: tuple[float, Offer] | None = None
        if self.type != "market":
            self.limit, self.stop = _float(intent.limit_price), _float(intent.stop_price)
            self.trail_usd, self.trail_fraction = _float(intent.trail_price), _float(intent.trail_percent) / 100
            self.protective = intent.order_class == "oco" or intent.parent_id != ""

    @property
    def is_target(self) -> bool:
        """Whether it takes a profit beside a stop, or alone: it fills at its own price, never better (rule 6.3)."""
        return self.protective and not self.is_stop_leg

    def want(self, qty: Decimal) -> None:
        """Set what is left to fill."""
        self.left, self.left_float = qty, float(qty)


def _float(value: Decimal | None) -> float:
    return UNKNOWN if value is None else float(value)
