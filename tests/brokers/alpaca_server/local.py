"""A local venue on a made-up tape, driven step by step, and the unmodified SDK in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import aiohttp
import msgpack
import msgspec
from alpaca.data.historical import CryptoHistoricalDataClient, NewsClient, StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.live import CryptoDataStream, NewsDataStream, StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.stream import TradingStream

from brokers.alpaca_server.app import Server
from brokers.alpaca_server.faults import Fault
from brokers.alpaca_server.settings import ServerSettings
from engine.events import MINUTE_NS, SECOND_NS, Bar, MarketEvent, News, Quote, Trade
from tests.brokers.paper_venue import at

KEY, SECRET = "PKLOCALVENUE", "local-venue-secret"
WAIT_S = 10.0
STREAMS: dict[type, str] = {
    StockDataStream: "/v2/iex", CryptoDataStream: "/v1beta3/crypto/us", NewsDataStream: "/v1beta1/news",
    TradingStream: "/stream",
}  # fmt: skip


class ListFeed:
    """A tape in memory."""

    fingerprint = ""

    def __init__(self, events: Sequence[MarketEvent]) -> None:
        self.events = sorted(events, key=lambda event: event.ts_recv_ns)
        named = (event.symbols if isinstance(event, News) else (event.symbol,) for event in self.events)
        self.symbols = sorted({symbol for symbols in named for symbol in symbols if symbol})
        self.span_ns = (self.events[0].ts_recv_ns, self.events[-1].ts_recv_ns)

    def batches(self) -> Iterator[list[MarketEvent]]:
        yield list(self.events)


def bar(clock: str, close: float = 100.0, symbol: str = "AAPL", *, volume: float = 10_000.0, **fields: Any) -> Bar:
    """Return the minute bar that closes at a New York wall clock."""
    ts_ns = at(clock)
    prices = {"open": close, "high": close, "low": close} | fields
    return Bar(symbol, ts_ns, ts_ns, close=close, volume=volume, interval_ns=MINUTE_NS, trade_count=7, **prices)


def quote(clock: str, bid: float = 99.99, ask: float = 100.01, symbol: str = "AAPL", size: float = 10_000.0) -> Quote:
    ts_ns = at(clock)
    return Quote(symbol, ts_ns, ts_ns, bid, size, ask, size)


def trade(clock: str, price: float = 100.0, symbol: str = "AAPL", size: float = 1000.0) -> Trade:
    ts_ns = at(clock)
    return Trade(symbol, ts_ns, ts_ns, price, size, trade_id="71", conditions="@,I")


def story(clock: str, headline: str = "Apple rises", *symbols: str, news_id: str = "24918784") -> News:
    ts_ns = at(clock)
    return News(
        ts_ns, ts_ns, headline, symbols or ("AAPL",), news_id, "A. Writer", "", "https://example.com/1", "benzinga"
    )


def day(symbol: str = "AAPL", *, minutes: int = 30, price: float = 100.0) -> list[MarketEvent]:
    """Return quotes and bars of the first minutes of a session: one quote a second before each minute's end."""
    open_ns = at("09:30")
    made: list[MarketEvent] = []
    for minute in range(1, minutes + 1):
        ts_ns = open_ns + minute * MINUTE_NS
        made.append(Quote(symbol, ts_ns - SECOND_NS, ts_ns - SECOND_NS, price - 0.01, 10_000.0, price + 0.01, 10_000.0))
        made.append(Bar(symbol, ts_ns, ts_ns, price, price, price, price, 10_000.0, MINUTE_NS, price, 7))
    return made


class Local:
    """A running venue, and clients of it."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self.server, self.venue, self.http = server, server.venue, http
        self.host = f"127.0.0.1:{server.port}"
        self.url = f"http://{self.host}"
        keys = {"api_key": KEY, "secret_key": SECRET, "url_override": self.url}
        self.trading = TradingClient(**keys)
        self.raw = TradingClient(raw_data=True, **keys)
        self.stocks, self.crypto = StockHistoricalDataClient(**keys), CryptoHistoricalDataClient(**keys)
        self.news, self.actions = NewsClient(**keys), CorporateActionsClient(**keys)

    def close(self) -> None:
        for client in (self.trading, self.raw, self.stocks, self.crypto, self.news, self.actions):
            client._session.close()

    async def step(self, events: int = 1) -> int:
        """Play the next events of the tape."""
        return (await self.control("step", {"events": events}))["played"]

    async def happen(self, *events: MarketEvent) -> None:
        """Let events happen that are not on the tape."""
        for event in events:
            self.venue.take(event)
        self.venue.streams.flush()
        self.venue.tell_now()

    async def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        if body is None:
            async with self.http.get(f"{self.url}/control/{path}".rstrip("/")) as reply:
                return await reply.json()
        async with self.http.post(f"{self.url}/control/{path}", json=body) as reply:
            assert reply.status < 300, await reply.text()
            return await reply.json() if reply.status == 200 else None

    async def arm(self, use: str, **fields: Any) -> None:
        """Put a fault into force."""
        await self.control("faults", {"use": use, **fields})

    async def fired(self) -> dict[str, int]:
        """Return how often each fault was done, by its name and kind."""
        counts: dict[str, int] = {}
        for row in await self.control("faults"):
            counts[row["name"]] = counts.get(row["name"], 0) + row["fired"]
        return counts

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Make one plain request with good keys; return status and JSON, or text where it is none."""
        headers = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET} | options.pop("headers", {})
        async with self.http.request(method, f"{self.url}{path}", headers=headers, **options) as reply:
            json = "json" in reply.headers.get("Content-Type", "")
            return reply.status, (await reply.json()) if json else await reply.text()


@contextlib.asynccontextmanager
async def running(
    events: Sequence[MarketEvent] | None = None, faults: Sequence[Fault] = (), **settings: Any
) -> AsyncIterator[Local]:
    """Run a venue that moves only when stepped, on the tape's own dates, unless told otherwise."""
    chosen = {"port": 0, "time": "tape", "start": "control", "speed": 0.0} | settings
    server = Server(ServerSettings(**chosen), ListFeed(day() if events is None else events), faults)
    async with server.listening(), aiohttp.ClientSession() as http:
        local = Local(server, http)
        try:
            yield local
        finally:
            local.close()


async def sdk(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the blocking SDK beside the loop that the venue runs on."""
    async with asyncio.timeout(WAIT_S):
        return await asyncio.to_thread(call, *args, **kwargs)


async def until(holds: Callable[[], bool]) -> None:
    """Give way to other tasks until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0)


class Caught:
    """What a stream's handlers were given, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def handler(self, message: Any) -> None:
        self._loop.call_soon_threadsafe(self.queue.put_nowait, message)

    async def next(self) -> Any:
        async with asyncio.timeout(WAIT_S):
            return await self.queue.get()


class Peer:
    """A websocket client of our own: it sees each frame as it is on the wire."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, *, packed: bool) -> None:
        self.socket, self.packed = socket, packed

    async def frame(self) -> aiohttp.WSMessage:
        async with asyncio.timeout(WAIT_S):
            return await self.socket.receive()

    async def read(self) -> Any:
        """Return the next frame's content; None when the session has ended."""
        message = await self.frame()
        if message.type is aiohttp.WSMsgType.TEXT:
            return msgspec.json.decode(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            packed = self.packed and message.data[:1] != b"{"
            return msgpack.unpackb(message.data) if packed else msgspec.json.decode(message.data)
        return None

    async def say(self, message: Any) -> None:
        if self.packed:
            await self.socket.send_bytes(msgpack.packb(message))
        else:
            await self.socket.send_str(msgspec.json.encode(message).decode())

    async def ask(self, message: Any) -> Any:
        await self.say(message)
        return await self.read()

    async def log_in(self, **subscription: list[str]) -> Any:
        """Go through the handshake of a data stream; return the subscription's answer."""
        assert await self.read() == [{"T": "success", "msg": "connected"}]
        answer = await self.ask({"action": "auth", "key": KEY, "secret": SECRET})
        assert answer == [{"T": "success", "msg": "authenticated"}]
        return await self.ask({**subscription, "action": "subscribe"}) if subscription else None

    async def listen(self) -> Any:
        """Go through the handshake of the trading stream."""
        await self.ask({"action": "authenticate", "data": {"key_id": KEY, "secret_key": SECRET}})
        return await self.ask({"action": "listen", "data": {"streams": ["trade_updates"]}})


@contextlib.asynccontextmanager
async def connected(local: Local, path: str = "/v2/iex", *, packed: bool = True, **headers: str) -> AsyncIterator[Peer]:
    """Connect to a stream, in msgpack as the SDK does or in JSON."""
    kind = {"Content-Type": "application/msgpack"} if packed else {}
    async with local.http.ws_connect(f"ws://{local.host}{path}", headers=kind | headers, max_msg_size=0) as socket:
        yield Peer(socket, packed=packed)


@contextlib.asynccontextmanager
async def streaming(local: Local, stream: Any) -> AsyncIterator[None]:
    """Run one of the SDK's streams as its documentation does, in a thread; enter when it is subscribed."""
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    await until(lambda: _subscribed(local, stream))
    try:
        yield
    finally:
        await asyncio.to_thread(stream.stop)
        local.venue.end_sessions()
        await asyncio.to_thread(thread.join, WAIT_S)
        assert not thread.is_alive()


def _subscribed(local: Local, stream: Any) -> bool:
    if isinstance(stream, TradingStream):
        return any("trade_updates" in one.streams for one in local.venue.updates.listeners)
    endpoint = stream._endpoint.partition(local.host)[2]
    return any(
        one.socket.endpoint == endpoint and any(one.channels.values()) for one in local.venue.streams.sessions
    )  # fmt: skip


def stream_of(local: Local, kind: type, *, path: str = "", **options: Any) -> Any:
    """Return one of the SDK's streams, pointed at the venue."""
    return kind(KEY, SECRET, url_override=f"ws://{local.host}{path or STREAMS[kind]}", **options)
