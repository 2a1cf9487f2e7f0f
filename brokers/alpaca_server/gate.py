"""What every request goes through: keys, rate limit, request id, errors as the service writes them, and HTTP faults."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Literal

import msgspec
from aiohttp import web

from brokers.alpaca_server.faults import Armed, edited
from brokers.alpaca_server.refusals import Refusal, page
from brokers.alpaca_server.replies import json_reply
from brokers.alpaca_server.settings import LOOPBACK
from brokers.alpaca_server.venue import Venue
from engine.events import MINUTE_NS, SECOND_NS

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]
Service = Literal["trading", "data", "control", "stream"]
HTML_PATHS = ("/v2/clock", "/v2/calendar")
NANO = Decimal("1e-9")


class Window(msgspec.Struct):
    """Requests of the current minute."""

    start_ns: int = -1
    count: int = 0


class Gate:
    """The one middleware."""

    def __init__(self, venue: Venue) -> None:
        self._venue, self._settings, self._faults = venue, venue.settings, venue.faults
        self._windows: dict[str, Window] = {"trading": Window(), "data": Window()}
        self._stale: dict[str, tuple[int, bytes, int]] = {}
        self._numbered = 0

    @property
    def middleware(self) -> Any:
        """Return what aiohttp calls."""

        @web.middleware
        async def gate(request: web.Request, handler: Reply) -> web.StreamResponse:
            return await self._pass(request, handler)

        return gate

    async def _pass(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        service = service_of(request)
        if not _is_local(request):
            return web.Response(status=403, text="this venue answers its own machine only\n")
        if service in ("stream", "control"):
            return await reply(request)
        try:
            self._authorize(request, service)
            self._count(service)
            response = await self._answer(request, reply, service)
        except Refusal as refusal:
            response = _refused(refusal)
        except web.HTTPException as error:
            response = json_reply(
                {"code": error.status * 100_000 + 10_000, "message": "endpoint not found"}, error.status
            )
        if not response.prepared:
            self._sign(response, service)
        return response

    # --- who and how often -----------------------------------------------------------------------------------------

    def _authorize(self, request: web.Request, service: Service) -> None:
        settings, headers = self._settings, request.headers
        key, secret = headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")
        told = headers.get("Authorization", "")
        if key is None and secret is None and not told and request.path.startswith("/v1beta3/crypto"):
            return  # crypto data needs no keys, but wrong ones are refused
        basic = base64.b64encode(f"{settings.key_id}:{settings.secret_key}".encode()).decode()
        if (key, secret) == (settings.key_id, settings.secret_key):
            return
        if told in (f"Bearer {settings.secret_key}", f"Basic {basic}"):
            return
        if settings.html_errors and (request.path in HTML_PATHS or (key is None and not told and service == "trading")):
            raise page(401, "401 Authorization Required")
        status = settings.data_unauthorized_status if service == "data" else 401
        raise Refusal(status, None, "forbidden." if status == 403 else "unauthorized.")

    def _count(self, service: Service) -> None:
        limit, window = self._limit(service), self._windows[service]
        start_ns = self._venue.clock.wall.now_ns() // MINUTE_NS * MINUTE_NS
        if window.start_ns != start_ns:
            window.start_ns, window.count = start_ns, 0
        window.count += 1
        if limit and window.count > limit:
            raise Refusal(429, 42910000, self._settings.rate_message)

    def _limit(self, service: Service) -> int:
        return self._settings.data_requests_per_min if service == "data" else self._settings.requests_per_min

    def _sign(self, response: web.StreamResponse, service: Service) -> None:
        self._numbered += 1
        response.headers["X-Request-ID"] = self._venue.book.uuid(f"request {self._numbered}").replace("-", "")
        limit, window = self._limit(service), self._windows[service]
        if self._settings.rate_headers and limit:
            reset_s = (window.start_ns + MINUTE_NS) // SECOND_NS
            response.headers["X-Ratelimit-Limit"] = str(limit)
            response.headers["X-Ratelimit-Remaining"] = str(max(0, limit - window.count))
            response.headers["X-Ratelimit-Reset"] = str(reset_s)

    # --- what may go wrong -----------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request, reply: Reply, service: Service) -> web.StreamResponse:
        facts = {"method": request.method, "path": request.path, "service": service}
        armed = self._faults.hit("request", **facts) if "request" in self._faults.armed else None
        if armed is not None:
            return await self._faulty(request, reply, armed)
        response = await self._handled(request, reply)
        return self._spoiled(request, response, facts) if "reply" in self._faults.armed else response

    async def _handled(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        self._venue.pass_time(self._venue.clock.now_ns())
        return await reply(request)

    async def _faulty(self, request: web.Request, reply: Reply, armed: Armed) -> web.StreamResponse:
        """Do, or do not do, what was asked, and answer wrongly, late or never."""
        kind, params = armed.kind, armed.params
        executed, seconds = params.get("executed", False), params.get("seconds", 0.0)
        if kind == "http_wait" and not executed:
            await asyncio.sleep(seconds)
        response = await self._handled(request, reply) if executed or kind == "http_wait" else web.Response(status=500)
        if kind == "http_wait":
            if executed:
                await asyncio.sleep(seconds)
            return response
        if kind == "http_hang":
            await asyncio.Event().wait()
        if kind == "http_reset":
            if request.transport is not None:
                request.transport.abort()
            return response
        if params.get("limited"):
            self._windows["trading"].count = max(self._windows["trading"].count, self._settings.requests_per_min)
        if "html" in params:
            raise page(params["status"], params["html"])
        return json_reply(params.get("json"), params["status"])

    def _spoiled(self, request: web.Request, response: web.StreamResponse, facts: dict[str, str]) -> web.StreamResponse:
        """Return the reply as a fault has it, if it is the turn of one."""
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            return response
        now_ns, body = self._venue.clock.wall.monotonic_ns(), response.body
        armed = self._faults.hit("reply", **facts, status=response.status)
        kept = self._stale.get(request.path_qs)
        if armed is None:
            return response
        if armed.kind == "http_truncate":
            return web.Response(body=body[: len(body) // 2], status=response.status, content_type="application/json")
        if armed.kind == "http_edit":
            return json_reply(_rewritten(msgspec.json.decode(body), armed.params), response.status)
        life_ns = round(armed.params.get("seconds", 3600.0) * SECOND_NS)
        if kept is None or now_ns - kept[0] > life_ns:
            self._stale[request.path_qs] = (now_ns, body, response.status)
            return response
        return web.Response(body=kept[1], status=kept[2], content_type="application/json")


def service_of(request: web.Request) -> Service:
    """Return which of the services, each with its own host in reality, a path belongs to."""
    path = request.path
    if path.startswith("/control"):
        return "control"
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return "stream"
    return "data" if path.startswith(("/v2/stocks", "/v1beta", "/v1/")) else "trading"


def _refused(refusal: Refusal) -> web.Response:
    if refusal.html:
        return web.Response(body=refusal.html.encode(), status=refusal.status, content_type="text/html")
    return json_reply(refusal.body(), refusal.status)


def _is_local(request: web.Request) -> bool:
    """Refuse a page of a browser that was led here under another name (DNS rebinding)."""
    host = request.host.rpartition(":")[0] if ":" in request.host.rpartition("]")[2] else request.host
    return host.strip("[]") in LOOPBACK and "Origin" not in request.headers


def _rewritten(value: Any, params: dict[str, Any]) -> Any:
    """Return a reply with fields set, dropped or moved by nano-units, and without the items that match `without`."""
    if isinstance(value, list) and "without" in params:
        unwanted = params["without"]
        value = [one for one in value if any(one.get(key) != wanted for key, wanted in unwanted.items())]
    made = edited(value, params)
    for name, steps in params.get("nano", {}).items():
        for one in made if isinstance(made, list) else [made]:
            if isinstance(one, dict) and one.get(name):
                one[name] = str(Decimal(one[name]) + steps * NANO)
    return made
