"""The data streams: stocks, crypto and news; who subscribed to what, and frames out as the tape moves.

Each message is encoded once a codec, whoever wants it. A session that does not read is told so (407) and cut off,
unless the tape is played without a pace: then it waits for its readers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque

import msgspec
from aiohttp import web

from brokers.alpaca_server.archive import Archive
from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.data_session import (
    ACKNOWLEDGED,
    ERRORS,
    MIRRORS,
    DataSession,
    Kind,
    read_message,
    subscription_error,
)  # fmt: skip
from brokers.alpaca_server.faults import Faults, edited
from brokers.alpaca_server.messages import CHANNELS, Message, stream_messages
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.sockets import GOING_AWAY, Socket
from brokers.alpaca_server.wire import BINARY, TEXT, array, encode_json, encode_msgpack, rfc3339, timestamp
from engine.events import DAY_NS, MINUTE_NS, Bar, MarketEvent, News

DELAYED_NS = 15 * MINUTE_NS
UNREAD_BYTES, READERS_WAIT_S = 1 << 18, 30.0


class Streams:
    """Every data session.

    Attributes:
        subscribed: set by the first subscription.
        instants: while recording, (monotonic ns, endpoint, messages) of each data frame.
    """

    def __init__(self, settings: ServerSettings, clock: VenueClock, archive: Archive, faults: Faults) -> None:
        self._settings, self._clock, self._archive, self._faults = settings, clock, archive, faults
        self._counted, self._delayed = dict[str, int](), deque[MarketEvent]()
        self._late: list[tuple[DataSession, Message]] = []
        self.sessions: list[DataSession] = []
        self.subscribed = asyncio.Event()
        self.instants: list[tuple[int, str, int]] | None = None

    # --- out -------------------------------------------------------------------------------------------------------

    def take(self, event: MarketEvent) -> None:
        """Let an event wait in the sessions that want it."""
        if not self.sessions:
            return
        self._offer(event, [one for one in self.sessions if one.socket.endpoint != "/v2/delayed_sip"])
        if len(self._delayed) or any(one.socket.endpoint == "/v2/delayed_sip" for one in self.sessions):
            self._delayed.append(event)
            while self._delayed and self._delayed[0].ts_recv_ns + DELAYED_NS <= event.ts_recv_ns:
                late = self._delayed.popleft()
                self._offer(late, [one for one in self.sessions if one.socket.endpoint == "/v2/delayed_sip"])

    def _offer(self, event: MarketEvent, sessions: list[DataSession]) -> None:
        symbols = (event.symbols or ("*",)) if isinstance(event, News) else (event.symbol,)
        kind: Kind = "news" if isinstance(event, News) else "crypto" if "/" in symbols[0] else "stocks"
        if symbols[0] == "FAKEPACA":
            kind = "test"
        made: dict[bool, list[tuple[Message, bytes]]] = {}
        for session in sessions:
            if session.kind != kind or not session.is_authenticated:
                continue
            if session.packed not in made:
                made[session.packed] = self._messages(event, session)
            for message, encoded in made[session.packed]:
                if session.wants(CHANNELS[message["T"]], symbols):
                    if "message" in self._faults.armed:
                        self._add_spoiled(session, message)
                    else:
                        session.parts.append(encoded)

    def _messages(self, event: MarketEvent, session: DataSession) -> list[tuple[Message, bytes]]:
        shift_ns = self._clock.shift_ns
        write = timestamp if session.packed else rfc3339
        messages = stream_messages(event, lambda ts_ns: write(ts_ns + shift_ns))
        if (
            isinstance(event, Bar)
            and event.interval_ns < DAY_NS
            and any(one.channels["dailyBars"] for one in self.sessions if "dailyBars" in one.channels)
        ):
            day = self._archive.days(event.symbol)[-1]
            messages += stream_messages(day, lambda ts_ns: write(ts_ns + shift_ns))
        return [(message, session.encode(message)) for message in messages]

    def flush(self) -> None:
        """Send what waits, as frames of at most `frame_messages_max` messages."""
        size = self._settings.frame_messages_max
        for session in self.sessions:
            parts = session.parts
            if not parts:
                continue
            session.parts = []
            for start in range(0, len(parts), size):
                self._send(session, parts[start : start + size])
            if self._settings.speed and session.socket.unread_bytes > self._settings.send_buffer_bytes_max:
                self.fail(session, 407)

    def _send(self, session: DataSession, parts: list[bytes]) -> None:
        opcode = BINARY if session.packed else TEXT
        if "data_frame" in self._faults.armed:
            armed = self._faults.hit("data_frame", endpoint=session.socket.endpoint)
            if armed is not None and armed.kind == "ws_slow":
                self.fail(session, 407)
            elif armed is not None and armed.kind == "ws_huge":
                parts = (parts * (armed.params["messages"] // len(parts) + 1))[: armed.params["messages"]]
            elif armed is not None:
                session.socket.send(_other_codec(parts, packed=session.packed), TEXT if session.packed else BINARY)
                return
        frame = array(parts, packed=session.packed)
        if self.instants is not None:  # before it is written: a reader on this core may go on before we do
            self.instants.append((self._clock.wall.monotonic_ns(), session.socket.endpoint, len(parts)))
        session.socket.send(frame, opcode)

    async def readers(self) -> None:
        """Wait until everybody has read most of what was sent; who never does is cut off."""
        waited_s = 0.0
        while slow := [one for one in self.sessions if one.socket.unread_bytes > UNREAD_BYTES]:
            await asyncio.sleep(0.001)
            waited_s += 0.001
            if waited_s > READERS_WAIT_S:
                for session in slow:
                    self.fail(session, 407)

    def _add_spoiled(self, session: DataSession, message: Message) -> None:
        late, self._late = self._late, []
        armed = self._faults.hit(
            "message", endpoint=session.socket.endpoint, T=message["T"], S=message.get("S", ""),
        )  # fmt: skip
        kind = armed.kind if armed is not None else ""
        if kind == "data_late":
            self._late.append((session, message))
        elif kind != "data_drop":
            made = edited(message, armed.params) if armed is not None and kind == "data_edit" else message
            session.parts.append(session.encode(made))
            if kind == "data_twice":
                session.parts.append(session.encode(message))
            if kind == "data_revised":
                session.parts.append(session.encode(message | {"T": "u"} | (armed.params if armed else {})))
        for owner, held in late:
            owner.parts.append(owner.encode(held))

    def fail(self, session: DataSession, code: int, *, close: bool | None = None) -> None:
        """Tell a session what is wrong, and end it where the service does."""
        session.say({"T": "error", "code": code, "msg": ERRORS[code]})
        if code in self._settings.closing_errors if close is None else close:
            session.socket.end()

    def end(self, code: int = GOING_AWAY) -> None:
        """End every session."""
        for session in self.sessions:
            session.socket.end(code)

    # --- in --------------------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        """Go through one session from its upgrade to its end."""
        endpoint = request.path
        armed = self._faults.hit("upgrade", endpoint=endpoint)
        if armed is not None:
            return web.Response(status=armed.params["status"])
        socket = Socket(request, endpoint, self._faults, self._clock.wall, self._settings.server_ping_s)
        await socket.open()
        session = DataSession(socket, kind, packed="msgpack" in request.headers.get("Content-Type", ""))
        self.sessions.append(session)
        try:
            if self._faults.hit("welcome", endpoint=endpoint) is None:
                session.say({"T": "success", "msg": "connected"})
                if self._headers_authenticate(request):
                    self._admit(session)
            await self._converse(session)
        finally:
            self.sessions.remove(session)
            socket.forget()
            self._leave(session)
        return socket.response

    async def _converse(self, session: DataSession) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.auth_wait_s
        while True:
            try:
                async with asyncio.timeout_at(None if session.is_authenticated else deadline):
                    data = await session.socket.received()
            except TimeoutError:
                self.fail(session, 404)
                return
            if data is None:
                return
            message = read_message(data)
            action = message.get("action") if isinstance(message, dict) else None
            if action == "auth":
                self._authenticate(session, message)
            elif action not in ("subscribe", "unsubscribe"):
                self.fail(session, 400)
            elif not session.is_authenticated:
                self.fail(session, 401)
            else:
                self._subscribe(session, message, add=action == "subscribe")

    def _headers_authenticate(self, request: web.Request) -> bool:
        settings, headers = self._settings, request.headers
        basic = headers.get("Authorization", "").removeprefix("Basic ")
        try:
            told = base64.b64decode(basic, validate=True).decode() if basic else ""
        except (binascii.Error, UnicodeDecodeError):
            told = ""
        pair = f"{headers.get('APCA-API-KEY-ID', '')}:{headers.get('APCA-API-SECRET-KEY', '')}"
        return f"{settings.key_id}:{settings.secret_key}" in (told, pair)

    def _authenticate(self, session: DataSession, message: Message) -> None:
        settings = self._settings
        if session.by_message or (session.is_authenticated and settings.second_auth == "403"):
            self.fail(session, 403)
            return
        if session.is_authenticated:  # by its headers
            session.by_message = True
            session.say({"T": "success", "msg": "authenticated"})
            return
        armed = self._faults.hit("auth", endpoint=session.socket.endpoint)
        if armed is not None:
            if "code" in armed.params:
                self.fail(session, armed.params["code"])
            return
        if message.get("secret") != settings.secret_key or message.get("key") not in (settings.key_id, "oauth"):
            self.fail(session, 402)
            return
        session.by_message = True
        self._admit(session)

    def _admit(self, session: DataSession) -> None:
        endpoint = session.socket.endpoint
        if session.kind == "stocks" and endpoint.rpartition("/")[2] not in self._settings.feeds:
            self.fail(session, 409)
        elif self._counted.get(endpoint, 0) >= self._settings.connections_max:
            self.fail(session, 406)
        else:
            self._counted[endpoint] = self._counted.get(endpoint, 0) + 1
            session.is_authenticated = True
            session.say({"T": "success", "msg": "authenticated"})

    def _leave(self, session: DataSession) -> None:
        """Free the session's place; one that broke off stays a ghost for a while."""
        if not session.is_authenticated:
            return
        endpoint = session.socket.endpoint

        def free() -> None:
            self._counted[endpoint] -= 1

        if session.socket.ended_well or not self._settings.ghost_s:
            free()
        else:
            asyncio.get_running_loop().call_later(self._settings.ghost_s, free)

    def _subscribe(self, session: DataSession, message: Message, *, add: bool) -> None:
        wanted = {name: symbols for name, symbols in message.items() if name != "action"}
        code = subscription_error(session.kind, wanted)
        armed = self._faults.hit("subscribe", endpoint=session.socket.endpoint) if add else None
        if armed is not None:
            code = code or armed.params.get("code", 0)
            share = armed.params.get("share", 1.0)
            wanted = {name: symbols[: int(len(symbols) * share)] for name, symbols in wanted.items()}
        after = {name: set(symbols) for name, symbols in session.channels.items()}
        for name, symbols in wanted.items() if not code else ():
            if name not in MIRRORS:
                after[name] = after[name] | set(symbols) if add else after[name] - set(symbols)
        limit = self._settings.symbols_max
        counted = after.get("trades", set()) | after.get("quotes", set())
        if not code and limit and (len(counted) > limit or "*" in counted):
            code = 405
        if code:
            self.fail(session, code)
            return
        for name in MIRRORS if session.kind == "stocks" else ():
            after[name] = after["trades"]
        session.channels = after
        session.say({"T": "subscription"} | {name: sorted(after[name]) for name in ACKNOWLEDGED[session.kind]})
        if any(after.values()):
            self.subscribed.set()


def _other_codec(parts: list[bytes], *, packed: bool) -> bytes:
    """Return messages in the codec that the client did not ask for."""
    if packed:
        return array([encode_json(msgspec.msgpack.decode(part)) for part in parts], packed=False)
    return array([encode_msgpack(msgspec.json.decode(part)) for part in parts], packed=True)
