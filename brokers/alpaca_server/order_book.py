"""Every order that the venue has taken on, found by its ids and listed as `GET /v2/orders` does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from brokers.alpaca_server.venue_order import VenueOrder
from engine.events import NEVER_NS

LIST_DEFAULT, LIST_MAX = 50, 500
ZERO = Decimal(0)


class Query(msgspec.Struct, kw_only=True):
    """What a list of orders is to hold; instants are the tape's, both bounds excluded."""

    status: str = "open"
    limit: int = LIST_DEFAULT
    after_ns: int = -1
    until_ns: int = NEVER_NS
    ascending: bool = False
    nested: bool = False
    symbols: frozenset[str] = frozenset()
    side: str = ""
    asset_classes: frozenset[str] = frozenset()
    after_id: str = ""
    before_id: str = ""


class OrderBook:
    """The orders, by the venue's id and by the client's.

    Attributes:
        orders: by id, in order of submission; legs follow their parent.
        open: those of them that have not ended.
        by_client: the last order of each client id.
        used: client ids of refused orders, where the venue keeps those.
    """

    def __init__(self, namespace: uuid.UUID) -> None:
        self._namespace = namespace
        self._number = self._submitted = 0
        self.orders: dict[str, VenueOrder] = {}
        self.open: dict[str, VenueOrder] = {}
        self.by_client: dict[str, VenueOrder] = {}
        self.used: set[str] = set()

    def uuid(self, text: str) -> str:
        """Return the id of something that the account has."""
        return str(uuid.uuid5(self._namespace, text))

    def next_id(self) -> str:
        """Return an id for a new order; one of an open order is never used twice."""
        while True:
            self._number += 1
            found = self.uuid(f"order {self._number}")
            if found not in self.orders or not self.orders[found].is_open:
                return found

    def reuse_ids(self) -> None:
        """Begin the ids anew, as a broker does that has lost its counter."""
        self._number = 0

    def add(self, order: VenueOrder) -> None:
        """Take an order on, with its legs."""
        for one in (order, *order.legs):
            self._submitted += 1
            one.number = self._submitted
            self.orders.pop(one.id, None)
            self.orders[one.id] = self.open[one.id] = self.by_client[one.client_order_id] = one

    def close(self, order: VenueOrder) -> None:
        """Take note that an order has ended."""
        self.open.pop(order.id, None)

    def open_orders(self, symbol: str = "") -> Iterator[VenueOrder]:
        return (one for one in self.open.values() if not symbol or one.intent.symbol == symbol)

    def held_qty(self, symbol: str, position_qty: Decimal) -> Decimal:
        """Return how much of a position its open exits lock; of a pair of legs only one will fill."""
        locked = ZERO
        for one in self.open_orders(symbol):
            exits = (one.intent.side == "sell") is (position_qty > 0)
            if exits and one.status != "held" and not (is_stop_leg(one) and one.parent and one.parent.is_open_pair()):
                locked += one.left
        return min(locked, abs(position_qty))

    def reserved_usd(self, asset_class: str = "") -> Decimal:
        """Return the buying power that open entries hold."""
        return sum(
            (one.reserved_usd for one in self.open.values() if not asset_class or one.asset_class == asset_class),
            ZERO,
        )

    def listed(self, query: Query, *, legs_listed: bool, done_for_day_open: bool) -> list[VenueOrder]:
        """Return the orders that a query wants, newest first unless it says otherwise."""

        def is_open(order: VenueOrder) -> bool:
            if order.status == "done_for_day":
                return done_for_day_open
            return order.is_open and (legs_listed or order.status != "held")

        bounds = [self.orders[name].number for name in (query.after_id, query.before_id) if name in self.orders]
        found = [
            one
            for one in self.orders.values()
            if (query.status == "all" or is_open(one) is (query.status == "open"))
            and query.after_ns < one.submitted_ns < query.until_ns
            and (
                not query.symbols
                or one.intent.symbol in query.symbols
                or one.intent.symbol.replace("/", "") in query.symbols
            )
            and query.side in ("", one.intent.side)
            and (not query.asset_classes or one.asset_class in query.asset_classes)
            and not (query.nested and one.parent is not None and one.parent.id in self.orders)
            and (not bounds or (one.number > bounds[0] if query.after_id else one.number < bounds[0]))
        ]
        found.sort(key=lambda one: one.number, reverse=not query.ascending)
        return found[: query.limit]


def is_stop_leg(order: VenueOrder) -> bool:
    """Tell whether an order is the stop of a pair of which only one fills."""
    return order.parent is not None and order.intent.type in ("stop", "stop_limit")
