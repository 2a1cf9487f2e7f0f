"""One order as the venue keeps and shows it, from its acceptance to its end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.wire import amount
from engine.events import Intent

ZERO = Decimal(0)
ENDED = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
NOT_REPLACEABLE = frozenset({"accepted", "pending_new", "pending_cancel", "pending_replace"})
AssetClass = Literal["us_equity", "crypto"]


class VenueOrder(msgspec.Struct, eq=False, kw_only=True):
    """An order with its history; instants in the tape's time, None where something has not happened.

    The matching engine knows it by `id`, so a client may choose any `client_order_id`.

    Attributes:
        filled_value_usd: what has filled times its price; with `filled_qty` the average.
        carried_qty, carried_value_usd: what the order that it replaces had filled, where the venue shows that.
        entry_qty: the part that opens a position, `reserved_usd` the buying power that it holds.
        active_ns: when an order accepted outside its hours begins to work; 0 for one that works.
        executions: ids of its fills, in order.
        foreign: it came from outside the API, such as the dashboard.
        number, entered_ns: its place in the order of submission, and its instant on the machine's monotonic clock.
    """

    id: str
    client_order_id: str
    intent: Intent
    asset_id: str
    asset_class: AssetClass
    created_ns: int
    submitted_ns: int
    updated_ns: int
    expires_ns: int | None = None
    status: str = "pending_new"
    filled_ns: int | None = None
    expired_ns: int | None = None
    canceled_ns: int | None = None
    failed_ns: int | None = None
    replaced_ns: int | None = None
    cancel_requested_ns: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    filled_qty: Decimal = ZERO
    filled_value_usd: Decimal = ZERO
    carried_qty: Decimal = ZERO
    carried_value_usd: Decimal = ZERO
    entry_qty: Decimal = ZERO
    reserved_usd: Decimal = ZERO
    price_mark: float | None = None
    active_ns: int = 0
    position_intent: str = ""
    legs: list[VenueOrder] = []
    parent: VenueOrder | None = None
    executions: list[str] = []
    foreign: bool = False
    number: int = 0
    entered_ns: int = 0

    @property
    def is_open(self) -> bool:
        return self.status not in ENDED

    @property
    def qty(self) -> Decimal | None:
        return self.intent.qty

    @property
    def left(self) -> Decimal:
        """What may still fill; 0 for a notional order that has not met a price."""
        return ZERO if self.intent.qty is None else self.intent.qty - self.filled_qty - self.carried_qty

    def is_open_pair(self) -> bool:
        """Tell whether a profit target of this group is still open beside its stop."""
        target = (
            self
            if self.intent.order_class == "oco"
            else next((leg for leg in self.legs if leg.intent.type == "limit"), None)
        )
        return target is not None and target.is_open

    def average_price(self) -> Decimal | None:
        """Return the average over the fills shown, to nine decimals."""
        qty = self.filled_qty + self.carried_qty
        if not qty:
            return None
        return round((self.filled_value_usd + self.carried_value_usd) / qty, 9)

    def shown(self, clock: VenueClock, *, nested: bool = False) -> dict[str, Any]:
        """Return the order as the API shows it; `nested` with its legs."""
        intent, text = self.intent, clock.text
        simple = intent.order_class == "simple" and self.parent is None
        order_class = "" if simple else (self.parent or self).intent.order_class
        legs = [leg.shown(clock) for leg in self.legs] if nested and self.legs else None
        return {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": text(self.created_ns),
            "updated_at": text(self.updated_ns),
            "submitted_at": text(self.submitted_ns),
            "filled_at": text(self.filled_ns),
            "expired_at": text(self.expired_ns),
            "expires_at": text(self.expires_ns),
            "canceled_at": text(self.canceled_ns),
            "failed_at": text(self.failed_ns),
            "replaced_at": text(self.replaced_ns),
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": self.asset_id,
            "symbol": intent.symbol,
            "asset_class": self.asset_class,
            "notional": amount(intent.notional_usd),
            "qty": amount(intent.qty),
            "filled_qty": amount(self.filled_qty + self.carried_qty),
            "filled_avg_price": amount(self.average_price()),
            "order_class": order_class,
            "order_type": intent.type,
            "type": intent.type,
            "side": intent.side,
            "time_in_force": intent.time_in_force,
            "limit_price": amount(intent.limit_price),
            "stop_price": amount(intent.stop_price),
            "status": self.status,
            "extended_hours": intent.extended_hours,
            "legs": legs,
            "trail_percent": amount(intent.trail_percent),
            "trail_price": amount(intent.trail_price),
            "hwm": None if self.price_mark is None else repr(self.price_mark),
            "position_intent": self.position_intent,
            "subtag": None,
            "source": "dashboard" if self.foreign else None,
            "cancel_requested_at": text(self.cancel_requested_ns),
        }
