"""Trading REST: orders and positions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from brokers.alpaca_server.order_book import LIST_DEFAULT, LIST_MAX, Query
from brokers.alpaca_server.refusals import Refusal, invalid, missing
from brokers.alpaca_server.replies import choice, flag, json_body, json_reply, names, whole
from brokers.alpaca_server.venue import Venue
from brokers.alpaca_server.venue_order import VenueOrder
from engine.events import NEVER_NS, SECOND_NS


class Trading:
    """The handlers of `/v2/orders` and `/v2/positions`.

    Attributes:
        instants: while recording, (monotonic ns, client_order_id) of each POST, as its last bytes came in.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue, self._book, self._clock = venue, venue.book, venue.clock
        self.instants: list[tuple[int, str]] | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the paths that are served here."""
        return [
            web.post("/v2/orders", self._submit),
            web.get("/v2/orders", self._list),
            web.delete("/v2/orders", self._cancel_all),
            web.get("/v2/orders:by_client_order_id", self._by_client_id),
            web.get("/v2/orders/{order_id}", self._get),
            web.patch("/v2/orders/{order_id}", self._replace),
            web.delete("/v2/orders/{order_id}", self._cancel),
            web.get("/v2/positions", self._positions),
            web.delete("/v2/positions", self._close_all),
            web.get("/v2/positions/{symbol:.+}", self._position),
            web.delete("/v2/positions/{symbol:.+}", self._close),
        ]

    # --- orders ----------------------------------------------------------------------------------------------------

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        body = await json_body(request)
        if self.instants is not None:
            connection: Any = request.protocol
            self.instants.append((connection.read_ns, str(body.get("client_order_id", ""))))
        shown = self._venue.desk.submit(body)
        if "early" in self._venue.faults.armed and self._venue.faults.hit("early", symbol=shown["symbol"]) is not None:
            self._venue.tell_now()
        return json_reply(shown)

    async def _replace(self, request: web.Request) -> web.StreamResponse:
        body = await json_body(request)
        return json_reply(self._venue.desk.replace(self._order(request), body))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        self._venue.desk.cancel(self._order(request))
        return web.Response(status=204)

    async def _cancel_all(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._venue.desk.cancel_all(), 207)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._order(request).shown(self._clock, nested=flag(request.query, "nested")))

    async def _by_client_id(self, request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("client_order_id", "")
        order = self._book.by_client.get(wanted)
        if order is None or self._is_hidden(order):
            raise missing(f"order not found for {wanted}")
        return json_reply(order.shown(self._clock, nested=flag(request.query, "nested")))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        settings, query = self._venue.settings, self._query(request)
        orders = self._book.listed(
            query, legs_listed=settings.legs_listed, done_for_day_open=settings.done_for_day_open
        )  # fmt: skip
        shown = [one.shown(self._clock, nested=query.nested) for one in orders if not self._is_hidden(one)]
        return json_reply(shown)

    def _query(self, request: web.Request) -> Query:
        query = request.query
        try:
            after = self._clock.read(query["after"]) if query.get("after") else -1
            until = self._clock.read(query["until"]) if query.get("until") else NEVER_NS
        except ValueError:
            raise invalid("invalid after or until: must be RFC 3339 or a date") from None
        classes = names(query, "asset_class")
        return Query(
            status=choice(query, "status", "open", "closed", "all"),
            limit=whole(query, "limit", LIST_DEFAULT, LIST_MAX), after_ns=after, until_ns=until,
            ascending=choice(query, "direction", "desc", "asc") == "asc", nested=flag(query, "nested"),
            symbols=frozenset(names(query, "symbols")), side=choice(query, "side", "", "buy", "sell"),
            asset_classes=frozenset() if "all" in classes else frozenset(classes),
            after_id=query.get("after_order_id", ""), before_id=query.get("before_order_id", ""),
        )  # fmt: skip

    def _order(self, request: web.Request) -> VenueOrder:
        order_id = request.match_info["order_id"]
        order = self._book.orders.get(order_id)
        if order is None or self._is_hidden(order):
            raise missing(f"order not found for {order_id}")
        return order

    def _is_hidden(self, order: VenueOrder) -> bool:
        """Tell whether a fault keeps an order from being seen yet."""
        waiting = self._venue.faults.armed.get("lookup", ())
        age_s = (self._clock.wall.monotonic_ns() - order.entered_ns) / SECOND_NS
        return any(age_s < one.params["seconds"] for one in waiting) and self._venue.faults.hit("lookup") is not None

    # --- positions -------------------------------------------------------------------------------------------------

    async def _positions(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._venue.account.positions())

    async def _position(self, request: web.Request) -> web.StreamResponse:
        asset = self._venue.assets.find(request.match_info["symbol"])
        holding = self._venue.ledger.holdings.get(asset["symbol"]) if asset is not None else None
        if holding is None or not holding.qty:
            raise missing("position does not exist")
        return json_reply(self._venue.account.position(holding))

    async def _close(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._venue.desk.close(request.match_info["symbol"], request.query))

    async def _close_all(self, request: web.Request) -> web.StreamResponse:
        answers = self._venue.desk.close_all(cancel_orders=flag(request.query, "cancel_orders"))
        return json_reply(answers, 207)


def not_found(request: web.Request) -> Refusal:
    """Return the answer to a path that is not served."""
    return missing(f"endpoint not found: {request.method} {request.path}")
