"""The trading stream: who listens, and each order event told once, or as often and as wrongly as a fault says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.data_session import read_message
from brokers.alpaca_server.faults import Armed, Faults, edited
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.sockets import GOING_AWAY, Socket
from brokers.alpaca_server.wire import BINARY, TEXT, encode_json, encode_msgpack

ENDPOINT, STREAM = "/stream", "trade_updates"
TOLD_MAX = 64
Update = dict[str, Any]


class Listener:
    """One client of the trading stream. It has no welcome, and nothing is said before the answer to its keys."""

    def __init__(self, socket: Socket, *, packed: bool) -> None:
        self.socket, self.packed = socket, packed
        self.is_authorized = False
        self.streams: list[str] = []


class TradeUpdates:
    """Every session of the trading stream.

    `publish` is called with the events in their order; they leave at once.
    """

    def __init__(self, settings: ServerSettings, clock: VenueClock, faults: Faults) -> None:
        self._settings, self._clock, self._faults = settings, clock, faults
        self.listeners: list[Listener] = []
        self._told: dict[str, list[Update]] = {}
        self._swapped: list[Update] = []

    # --- out -------------------------------------------------------------------------------------------------------

    def publish(self, updates: Iterable[Update]) -> None:
        """Tell order events to whoever listens."""
        for update in updates:
            if "update" in self._faults.armed:
                self._publish_spoiled(update)
            else:
                self._send(update)

    def _send(self, update: Update, raw: bytes | None = None) -> None:
        message = {"stream": STREAM, "data": update}
        encoded: dict[bool, bytes] = {}
        for listener in self.listeners:
            if STREAM not in listener.streams:
                continue
            packed = listener.packed
            if packed not in encoded:
                encoded[packed] = raw or (encode_msgpack(message) if packed else encode_json(message))
            opcode = BINARY if packed or self._settings.binary_updates else TEXT
            listener.socket.send(encoded[packed], opcode, event=update["event"])

    def _publish_spoiled(self, update: Update) -> None:
        order = update["order"]
        told = self._told.setdefault(order["id"], [])
        told.append(update)
        del told[:-TOLD_MAX]
        swapped, self._swapped = self._swapped, []
        armed = self._faults.hit(
            "update", event=update["event"], symbol=order["symbol"], side=order["side"],
            client_order_id=order["client_order_id"], order_class=order["order_class"],
            leg=order["order_class"] not in ("", "simple") and order["legs"] is None,
        )  # fmt: skip
        if armed is None:
            self._send(update)
        else:
            self._spoil(armed, update, told)
        for one in swapped:
            self._send(one)

    def _spoil(self, armed: Armed, update: Update, told: list[Update]) -> None:
        params, kind = armed.params, armed.kind
        if kind == "update_repeat":
            story = told if params.get("story") else [update]
            for one in [update, *story * params["copies"]]:
                self._send(one)
        elif kind == "update_swap":
            self._swapped.append(update)
        elif kind == "update_wait":
            asyncio.get_running_loop().call_later(params["seconds"], self._send, update)
        elif kind == "update_edit":
            self._send(edited(update, params))
        elif kind == "update_bytes":
            self._send(update, params["text"].encode())
        elif kind == "update_more":
            self._send(update)
            for event in params["events"]:
                self._send(edited(update, {"set": {"event": event, "order.status": params.get("status", event)}}))

    def end(self, code: int = GOING_AWAY) -> None:
        """End every session."""
        for listener in self.listeners:
            listener.socket.end(code)

    # --- in --------------------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Go through one session from its upgrade to its end."""
        limit = self._settings.trading_connections_max
        armed = self._faults.hit("upgrade", endpoint=ENDPOINT)
        if armed is not None or (limit and len(self.listeners) >= limit):
            return web.Response(status=armed.params["status"] if armed is not None else 429)
        socket = Socket(request, ENDPOINT, self._faults, self._clock.wall, self._settings.server_ping_s)
        await socket.open()
        listener = Listener(socket, packed="msgpack" in request.headers.get("Content-Type", ""))
        self.listeners.append(listener)
        try:
            while (data := await socket.received()) is not None:
                self._answer(listener, data)
        finally:
            self.listeners.remove(listener)
            socket.forget()
        return socket.response

    def _answer(self, listener: Listener, data: str | bytes) -> None:
        message = read_message(data)
        action = message.get("action") if isinstance(message, dict) else None
        if action in ("authenticate", "auth"):
            self._authenticate(listener, message)
        elif action == "listen":
            self._listen(listener, message)
        else:
            self._say(listener, "error", {"error": "invalid action"})

    def _authenticate(self, listener: Listener, message: Update) -> None:
        data = message.get("data") or {}
        key, secret = message.get("key", data.get("key_id")), message.get("secret", data.get("secret_key"))
        armed = self._faults.hit("auth", endpoint=ENDPOINT)
        good = armed is None and (key, secret) == (self._settings.key_id, self._settings.secret_key)
        listener.is_authorized = listener.is_authorized or good
        status = "authorized" if good else "unauthorized"
        self._say(listener, "authorization", {"status": status, "action": "authenticate"})

    def _listen(self, listener: Listener, message: Update) -> None:
        if not listener.is_authorized:
            self._say(listener, "authorization", {"status": "unauthorized", "action": "listen"})
            return
        asked = (message.get("data") or {}).get("streams") or []
        listener.streams = [name for name in asked if name == STREAM]
        if self._faults.hit("subscribe", endpoint=ENDPOINT) is not None:
            listener.streams = []
        self._say(listener, "listening", {"streams": listener.streams})

    def _say(self, listener: Listener, stream: str, data: Update) -> None:
        message = {"stream": stream, "data": data}
        encoded = encode_msgpack(message) if listener.packed else encode_json(message)
        listener.socket.send(encoded, BINARY if listener.packed or self._settings.binary_updates else TEXT)
