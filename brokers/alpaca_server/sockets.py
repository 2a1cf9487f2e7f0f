"""One websocket session, below what is said in it: frames out at once, messages in, pings, ends, faults."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from aiohttp import WSMsgType, web

from brokers.alpaca_server.faults import Armed, Faults
from brokers.alpaca_server.wire import BINARY, CLOSE, PING, PONG, frame
from engine.clock import Clock
from engine.events import SECOND_NS

MESSAGE_BYTES_MAX = 16 << 20
GOING_AWAY = 1001


class Socket:
    """A session of a client.

    Args:
        request: the upgrade.
        endpoint: its path, which faults may name.
        faults, clock: the script in force, and real time.
        ping_s: interval of our own pings; 0 sends none.

    Attributes:
        ended_well: the client said goodbye, or was told to go.
    """

    def __init__(self, request: web.Request, endpoint: str, faults: Faults, clock: Clock, ping_s: float = 0.0) -> None:
        self.endpoint = endpoint
        self.ended_well = False
        self._request, self._faults, self._clock, self._ping_s = request, faults, clock, ping_s
        self.response = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=MESSAGE_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._mute_until_ns = 0
        self._pinging: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Complete the upgrade."""
        await self.response.prepare(self._request)
        self._transport = self._request.transport
        self._ping_later()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and not self.ended_well

    @property
    def unread_bytes(self) -> int:
        """What has been sent and not been taken by the network yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None and self.is_open else 0

    def send(self, payload: bytes, opcode: int = BINARY, *, event: str = "") -> None:
        """Put a frame on the wire, now."""
        if "frame" in self._faults.armed:
            armed = self._faults.hit("frame", endpoint=self.endpoint, event=event)
            if armed is not None:
                payload, opcode = self._spoiled(armed, payload, opcode)
            if self._mute_until_ns and self._clock.monotonic_ns() < self._mute_until_ns:
                return
        self._write(payload, opcode)

    async def received(self) -> str | bytes | None:
        """Return the next message, None when the session is over; pings are answered on the way."""
        while True:
            message = await self.response.receive()
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                data: str | bytes = message.data
                return data
            if message.type is WSMsgType.PING:
                if self._faults.hit("ping", endpoint=self.endpoint) is None:
                    self._write(message.data, PONG)
            elif message.type is not WSMsgType.PONG:
                self.ended_well = self.ended_well or message.type is WSMsgType.CLOSE
                return None

    def end(self, code: int = 1000, reason: str = "") -> None:
        """Close in good order; what is still to be sent goes first."""
        self._write(struct.pack(">H", code) + reason.encode(), CLOSE)
        self.ended_well = True

    def abort(self) -> None:
        """Break the connection off."""
        if self._transport is not None:
            self._transport.abort()

    def forget(self) -> None:
        """Let go of what outlives the session."""
        if self._pinging is not None:
            self._pinging.cancel()

    def _write(self, payload: bytes, opcode: int) -> None:
        if self._transport is not None and self.is_open:
            self._transport.write(frame(payload, opcode))

    def _ping_later(self) -> None:
        if self._ping_s and self.is_open:
            self._pinging = asyncio.get_running_loop().call_later(self._ping_s, self._ping)

    def _ping(self) -> None:
        self._write(b"", PING)
        self._ping_later()

    def _spoiled(self, armed: Armed, payload: bytes, opcode: int) -> tuple[bytes, int]:
        params: dict[str, Any] = armed.params
        if armed.kind == "ws_mute":
            self._mute_until_ns = self._clock.monotonic_ns() + round(params["seconds"] * SECOND_NS)
        elif armed.kind == "ws_abort":
            self.abort()
        elif armed.kind == "ws_close":
            self.end(params.get("code", 1000))
        elif armed.kind == "ws_bytes":
            return bytes.fromhex(params.get("hex", "c1")), opcode
        return payload, opcode
