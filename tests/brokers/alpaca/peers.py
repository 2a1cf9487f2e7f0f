"""Scripted peers on real sockets, and a time that moves when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgpack
from aiohttp import web
from aiohttp.test_utils import TestServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from brokers.alpaca.keys import Keys
from engine.clock import ManualClock
from engine.errors import TradingError
from engine.events import SECOND_NS

KEYS = Keys("PKTESTCANARYKEY", "canary-secret-of-the-tests")
ENVIRON = {"APCA_API_KEY_ID": KEYS.key_id, "APCA_API_SECRET_KEY": KEYS.secret}
WAIT_S = 5.0
OPEN_NS = 1_767_623_400 * SECOND_NS  # Monday 2026-01-05 09:30 New York


class Time(ManualClock):
    """A clock with sleepers: they wake when `pass_s` moves time past their instants, in order."""

    def __init__(self, now_ns: int = OPEN_NS + 60 * SECOND_NS) -> None:
        super().__init__(now_ns)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def wait(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.ts_ns + round(seconds * SECOND_NS), next(self._numbers), future))
        await future

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, and everything happen on the way that was due."""
        end_ns = self.ts_ns + round(seconds * SECOND_NS)
        while True:
            await settle()
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if not self._sleepers or self._sleepers[0][0] > end_ns:
                break
            due_ns, _, future = heapq.heappop(self._sleepers)
            self.ts_ns = max(self.ts_ns, due_ns)
            future.set_result(None)
        self.ts_ns = end_ns
        await settle()

    @property
    def next_s(self) -> float:
        """Seconds until the next sleeper is due."""
        return min((due - self.ts_ns for due, _, future in self._sleepers if not future.done()), default=-1) / SECOND_NS


async def ended(running: asyncio.Task[None]) -> TradingError:
    """Wait for a feed or a broker to give up, and return why."""
    await until(running.done, "the end")
    error = running.exception()
    assert isinstance(error, TradingError)
    return error


async def stopped(running: asyncio.Task[None]) -> None:
    """Cancel a feed or a broker, whatever it may have ended with by now."""
    running.cancel()
    with suppress(asyncio.CancelledError, TradingError):
        await running


async def settle(turns: int = 30) -> None:
    """Let the loop and the sockets on loopback come to rest."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Give way to others until something is so."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0)


def stamp(ts_ns: int) -> msgpack.Timestamp:
    return msgpack.Timestamp(*divmod(ts_ns, SECOND_NS))


def bar(symbol: str, open_ns: int, close: float = 100.0, **fields: Any) -> dict[str, Any]:
    """A bar message as the stream sends it."""
    base = {
        "T": "b",
        "S": symbol,
        "o": close,
        "h": close + 1,
        "l": close - 1,
        "c": close,
        "v": 100,
        "n": 5,
        "vw": close,
    }
    return base | {"t": stamp(open_ns)} | fields


class DataConnection:
    """One session of a scripted data peer."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.received: list[dict[str, Any]] = []
        self.is_ready = False

    async def send(self, *messages: Mapping[str, Any]) -> None:
        await self.socket.send(msgpack.packb(list(messages)))

    def abort(self) -> None:
        self.socket.transport.abort()


class DataPeer:
    """A data stream that greets as Alpaca does, unless told otherwise.

    Attributes:
        connections: every session, in order.
        answers: replies to `auth` and `subscribe` in place of the usual ones, used up one by one.
        mute: whether not even `connected` is said.
    """

    def __init__(self) -> None:
        self.connections: list[DataConnection] = []
        self.answers: dict[str, list[list[dict[str, Any]]]] = {}
        self.mute = False
        self.url = ""

    @property
    def last(self) -> DataConnection:
        return self.connections[-1]

    def ready(self, number: int) -> bool:
        """Tell whether this many sessions have come, the last one subscribed."""
        return len(self.connections) >= number and self.last.is_ready

    async def _serve(self, socket: ServerConnection) -> None:
        connection = DataConnection(socket)
        self.connections.append(connection)
        if not self.mute:
            await connection.send({"T": "success", "msg": "connected"})
        subscribed: dict[str, set[str]] = {}
        try:
            async for frame in socket:
                message = msgpack.unpackb(frame)
                connection.received.append(message)
                action = message.pop("action")
                for symbols in message:
                    if isinstance(message[symbols], list):
                        subscribed.setdefault(symbols, set()).update(message[symbols])
                scripted = self.answers.get(action)
                if scripted:
                    await connection.send(*scripted.pop(0))
                elif action == "auth":
                    await connection.send({"T": "success", "msg": "authenticated"})
                else:
                    await connection.send({"T": "subscription", **{k: sorted(v) for k, v in subscribed.items()}})
                    connection.is_ready = True
        except ConnectionClosed:
            pass

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DataPeer]:
        async with serve(self._serve, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}"
            yield self


Reply = tuple[int, Any] | Exception | Callable[[web.Request], Any]


def held_back(status: int, body: Any) -> tuple[asyncio.Event, Reply]:
    """Return a reply that is given when the event is set, and that event."""
    gate = asyncio.Event()

    async def late(_request: web.Request) -> tuple[int, Any]:
        await gate.wait()
        return status, body

    return gate, late


class RestPeer:
    """REST answers by method and path: a list is used up down to its last one, which stays.

    A reply is `(status, body)`, a function of the request, or an exception, which breaks the connection.
    """

    def __init__(self) -> None:
        self.replies: dict[tuple[str, str], list[Reply]] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: dict[str, str] = {}
        self.url = ""

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self.replies[method, path] = list(replies)

    def asked(self, method: str, path: str) -> list[tuple[dict[str, str], Any]]:
        """Query and body of every request of this kind."""
        return [(query, body) for m, p, query, body in self.requests if (m, p) == (method, path)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        replies = self.replies.get((request.method, request.path))
        if not replies:
            return web.json_response({"code": 40410000, "message": f"nothing scripted at {request.path}"}, status=404)
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if callable(reply):
            reply = reply(request)
            if asyncio.iscoroutine(reply):
                reply = await reply
        if isinstance(reply, Exception):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, content = reply
        if isinstance(content, str | bytes):
            return web.Response(status=status, body=content, headers=self.headers)
        text = "" if content is None else json.dumps(content)
        return web.Response(status=status, text=text, content_type="application/json", headers=self.headers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RestPeer]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        server = TestServer(app)
        await server.start_server()
        self.url = str(server.make_url("")).rstrip("/")
        try:
            yield self
        finally:
            await server.close()


class TradePeer:
    """An order stream: it authorizes and lets listen, unless told otherwise, and then sends what a test says."""

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self.listening = 0
        self.status = "authorized"
        self.streams = ["trade_updates"]
        self.url = ""

    async def send(self, update: Mapping[str, Any]) -> None:
        await self.raw(json.dumps({"stream": "trade_updates", "data": update}).encode())

    async def raw(self, frame: bytes | str) -> None:
        await self.sockets[-1].send(frame)

    def abort(self) -> None:
        self.sockets[-1].transport.abort()

    async def _serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        try:
            async for frame in socket:
                message = json.loads(frame)
                if message["action"] == "authenticate":
                    data = {"status": self.status, "action": "authenticate"}
                    await socket.send(json.dumps({"stream": "authorization", "data": data}).encode())
                else:
                    data = {"streams": self.streams}
                    await socket.send(json.dumps({"stream": "listening", "data": data}))
                    self.listening += 1
        except ConnectionClosed:
            pass

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TradePeer]:
        async with serve(self._serve, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}"
            yield self


async def finish(time: Time, work: Any) -> Any:
    """Let time pass until some work is done, and return what it returns."""
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(WAIT_S):
        while not task.done():
            await time.pass_s(0.25)
    return await task
