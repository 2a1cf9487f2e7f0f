"""The control endpoint, for tests and benchmarks on this machine: steps, events, faults, instants and the ledger.

It needs no key: whoever is on the machine may start a venue of his own. It is never reachable from elsewhere.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import ValidationError

from brokers.alpaca_server.activities import shown as shown_activity
from brokers.alpaca_server.faults import Fault
from brokers.alpaca_server.playback import Playback
from brokers.alpaca_server.refusals import Refusal
from brokers.alpaca_server.replies import json_body, json_reply
from brokers.alpaca_server.trading import Trading
from brokers.alpaca_server.venue import Venue, made_event
from engine.errors import ConfigError


class Control:
    """The handlers of `/control`."""

    def __init__(self, venue: Venue, playback: Playback, trading: Trading) -> None:
        self._venue, self._playback, self._trading = venue, playback, trading

    def routes(self) -> list[web.RouteDef]:
        """Return the paths that are served here."""
        return [
            web.get("/control", self._state),
            web.post("/control/start", self._start),
            web.post("/control/step", self._step),
            web.post("/control/events", self._events),
            web.get("/control/faults", self._faults),
            web.post("/control/faults", self._arm),
            web.delete("/control/faults", self._disarm),
            web.post("/control/orders", self._foreign_order),
            web.post("/control/instants", self._record),
            web.get("/control/instants", self._instants),
            web.get("/control/ledger", self._ledger),
        ]

    async def _state(self, request: web.Request) -> web.StreamResponse:
        """Where the tape is, and who is connected."""
        venue = self._venue
        return json_reply(
            {
                "events": self._playback.events, "started": self._playback.started.is_set(),
                "ended": self._playback.ended.is_set(), "now": venue.clock.text(venue.clock.now_ns()),
                "shift_ns": venue.clock.shift_ns, "speed": venue.settings.speed,
                "data_sessions": [one.socket.endpoint for one in venue.streams.sessions if one.is_authenticated],
                "trading_sessions": sum("trade_updates" in one.streams for one in venue.updates.listeners),
            }
        )  # fmt: skip

    async def _start(self, request: web.Request) -> web.StreamResponse:
        """Let the tape move."""
        self._playback.started.set()
        return json_reply({"started": True})

    async def _step(self, request: web.Request) -> web.StreamResponse:
        """Play the next `events` of the tape now."""
        body = await json_body(request)
        return json_reply({"played": self._playback.step(int(body.get("events", 1)))})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Let market events happen that are not on the tape; instants that are missing are now."""
        body = await json_body(request)
        venue = self._venue
        try:
            for fields in body.get("events", []):
                venue.take(made_event(fields, venue.clock.now_ns() + 1))
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        venue.streams.flush()
        venue.tell_now()
        return json_reply({"events": len(body.get("events", []))})

    async def _faults(self, request: web.Request) -> web.StreamResponse:
        """Say which faults are in force, and which fired."""
        return json_reply(self._venue.faults.report())

    async def _arm(self, request: web.Request) -> web.StreamResponse:
        """Put a fault into force."""
        try:
            armed = self._venue.faults.arm(Fault.model_validate(await json_body(request)))
        except (ConfigError, ValidationError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        self._venue.pass_time(self._venue.clock.now_ns())
        return json_reply([one.report() for one in armed])

    async def _disarm(self, request: web.Request) -> web.StreamResponse:
        """Take faults out of force, those of a `name` or all."""
        self._venue.faults.clear(request.query.get("name", ""))
        return web.Response(status=204)

    async def _foreign_order(self, request: web.Request) -> web.StreamResponse:
        """Enter an order as if from the dashboard."""
        try:
            return json_reply(self._venue.desk.submit(await json_body(request), foreign=True))
        except Refusal as refusal:
            return json_reply(refusal.body(), refusal.status)

    async def _record(self, request: web.Request) -> web.StreamResponse:
        """Begin to record the instants of data frames and POSTs, or stop with `on: false`."""
        wanted = (await json_body(request)).get("on", True)
        self._venue.streams.instants = [] if wanted else None
        self._trading.instants = [] if wanted else None
        return web.Response(status=204)

    async def _instants(self, request: web.Request) -> web.StreamResponse:
        """Return what was recorded, in ns of the machine's monotonic clock."""
        return json_reply({"frames": self._venue.streams.instants or [], "posts": self._trading.instants or []})

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        """Return the book itself: exact cash and quantities, every order, and every activity, oldest first."""
        ledger, book = self._venue.ledger, self._venue.book
        shown: dict[str, Any] = {
            "cash_usd": f"{ledger.cash_usd:f}", "equity_usd": f"{ledger.equity_usd():f}",
            "fees_usd": f"{ledger.fees_usd:f}",
            "positions": {one.symbol: f"{one.qty:f}" for one in ledger.held()},
            "orders": [one.shown(self._venue.clock) for one in book.orders.values()],
            "activities": [shown_activity(entry, self._venue.clock) for entry in ledger.entries],
        }  # fmt: skip
        return json_reply(shown)
