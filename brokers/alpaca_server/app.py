"""The server: every route in one aiohttp application, and its life from the first socket to the last.

Paths are those of the real hosts, whose sets are disjoint, so `http://host:port` stands for the trading and the data
host and `ws://host:port/<path>` for the streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import setcontext
from functools import partial
from typing import Any, cast

from aiohttp import web

from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.control import Control
from brokers.alpaca_server.data_session import Kind
from brokers.alpaca_server.faults import Fault, Faults
from brokers.alpaca_server.gate import Gate, Reply, service_of
from brokers.alpaca_server.ledger import MONEY
from brokers.alpaca_server.market_data import MarketData
from brokers.alpaca_server.playback import Playback, history_end_ns
from brokers.alpaca_server.reference import Reference
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.trading import Trading
from brokers.alpaca_server.venue import Venue
from engine.clock import Clock, LiveClock
from engine.ports import Feed

SHUTDOWN_S = 2.0
STREAMS: dict[str, Kind] = {
    "/v2/{feed:iex|sip|delayed_sip}": "stocks",
    "/v1beta1/{feed:boats|overnight}": "stocks",
    "/v2/{feed:test}": "test",
    "/v1beta3/crypto/{loc}": "crypto",
}


class Connection(web.RequestHandler):
    """A client's connection.

    Attributes:
        read_ns: monotonic time at which its last bytes came in.
    """

    __slots__ = ("_wall", "read_ns")

    def __init__(self, manager: web.Server, wall: Clock, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(manager, loop=loop, access_log=cast(Any, None))  # None is allowed, and not said to be
        self._wall, self.read_ns = wall, 0

    def data_received(self, data: bytes) -> None:
        self.read_ns = self._wall.monotonic_ns()
        super().data_received(data)


class Server:
    """A venue that is listening.

    Attributes:
        venue, playback: what it serves.
        port: where it listens, once `ready` is set.
    """

    def __init__(
        self, settings: ServerSettings, feed: Feed, faults: Sequence[Fault] = (), clock: Clock | None = None
    ) -> None:
        wall = clock or LiveClock()
        first_ns = max(feed.span_ns[0], history_end_ns(settings))
        simulated = VenueClock(wall, first_ns, speed=settings.speed, shifted=settings.time == "now")
        self.settings, self.port = settings, settings.port
        self.venue = Venue(settings, feed, simulated, Faults(wall, settings.seed, faults))
        self.playback = Playback(self.venue, feed)
        self.playing: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    def application(self) -> web.Application:
        """Return the application with every route."""
        venue, trading = self.venue, Trading(self.venue)
        app = web.Application(middlewares=[Gate(venue).middleware])
        market_data = MarketData(venue)
        app.add_routes([*trading.routes(), *Reference(venue).routes(), *market_data.routes()])
        app.add_routes(Control(venue, self.playback, trading).routes())
        app.add_routes([web.get("/stream", venue.updates.serve)])
        app.add_routes([web.get(path, self._stream(kind)) for path, kind in STREAMS.items()])
        news_stream = self._stream("news")

        async def news(request: web.Request) -> web.StreamResponse:  # the stream and the stories share a path
            return await (news_stream if service_of(request) == "stream" else market_data.news)(request)

        app.add_routes([web.get("/v1beta1/news", news)])
        return app

    def _stream(self, kind: Kind) -> Reply:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self.venue.streams.serve(request, kind)

        return serve

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Server]:
        """Listen, play the tape meanwhile, and end every session at the end.

        Raises:
            OSError: the port is taken.
        """
        setcontext(MONEY.copy())
        runner = web.AppRunner(self.application(), handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        assert runner.server is not None
        loop = asyncio.get_running_loop()
        make = partial(Connection, runner.server, self.venue.clock.wall, loop)
        listener = await loop.create_server(make, self.settings.host, self.settings.port)
        self.port = listener.sockets[0].getsockname()[1]
        self.ready.set()
        self.playing = asyncio.create_task(self.playback.run(), name="tape")
        try:
            yield self
        finally:
            self.playing.cancel()
            await asyncio.wait({self.playing})
            self.venue.end_sessions()
            listener.close()
            await runner.cleanup()

    async def serve(self) -> None:
        """Listen until the task is canceled, or with `at_end = "exit"` until the tape has ended.

        Raises:
            TapeError: the tape does not read.
        """
        async with self.listening():
            assert self.playing is not None
            ended = asyncio.create_task(self._leave(), name="end of the tape")
            done, _ = await asyncio.wait({self.playing, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            for task in done:
                task.result()

    async def _leave(self) -> None:
        await self.playback.ended.wait()
        if self.settings.at_end == "stay":
            await asyncio.Event().wait()
