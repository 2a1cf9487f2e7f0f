"""One websocket that is kept open: connect, greet, read, and come back when it is lost.

The back-off doubles from 1 to 30 s with jitter and starts over only once data has come, or the connection has stood for
a minute as that of a quiet account does, so that a server that takes connections and gives nothing is not stormed.
Nothing that happens beside the reading can stop it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from brokers.alpaca.limiter import Sleep
from brokers.alpaca.refusals import GhostSession, KeyRefused, StreamLost
from engine.clock import Clock
from engine.errors import TradingError
from engine.events import SECOND_NS

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

BACKOFF_MIN_S, BACKOFF_MAX_S = 1.0, 30.0
CONNECT_S, GREET_S, CLOSE_S = 10.0, 15.0, 1.0
PING_EVERY_S, PONG_WITHIN_S = 10.0, 10.0
FRAME_BYTES_MAX, FRAMES_QUEUED = 16 << 20, 4096
KEY_REFUSALS_MAX, GHOST_MAX_S = 3, 120.0
STOOD_NS = 60 * SECOND_NS


class Line(Protocol):
    """The protocol that is spoken on a connection.

    Attributes:
        name: for messages.
        failure: the error of what no new connection can help.
    """

    name: str
    url: str
    failure: type[TradingError]

    async def greet(self, socket: ClientConnection) -> None:
        """Authenticate and subscribe; a `StreamLost` ends this connection, another error all of them."""
        ...

    def take(self, frame: bytes) -> bool:
        """Take a frame, never wait, and tell whether it was data."""
        ...

    async def accompany(self, socket: ClientConnection) -> None:
        """Do what belongs beside the reading, until canceled."""
        ...


class Session:
    """A line that is kept open. `on_lost` is told the reason when a connection that stood has ended.

    Attributes:
        attempts: connections since the last data.
        lost: how many connections ended.
        down_since_ns: monotonic time since when there is no connection, None while there is one.
    """

    def __init__(
        self, line: Line, *, seed: int, clock: Clock, sleep: Sleep = asyncio.sleep,
        headers: Mapping[str, str] | None = None, is_local: bool = False, greet_s: float = GREET_S,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._line, self._clock, self._sleep = line, clock, sleep
        self._random, self._headers, self._is_local, self._greet_s = Random(seed), headers, is_local, greet_s
        self._on_lost = on_lost
        self._dropped: asyncio.Future[None]  # of the present connection
        self._has_worked = False
        self._key_refusals, self._ghost_since_ns = 0, 0
        self.attempts = self.lost = 0
        self.down_since_ns: int | None = clock.monotonic_ns()
        self.log = structlog.get_logger().bind(stream=line.name)

    async def run(self) -> None:
        """Keep the line open until canceled.

        Raises:
            TradingError: the line's failure.
        """
        while True:
            try:
                await self._connect_once()
            except StreamLost as error:
                lost = error
            self.lost += 1
            if self.down_since_ns is None:
                self.down_since_ns = self._clock.monotonic_ns()
                if self._on_lost is not None:
                    self._on_lost(str(lost))
            self._judge(lost)
            wait_s = max(lost.wait_min_s, self._backoff_s())
            self.log.warning("connection lost", reason=str(lost), again_in_s=round(wait_s, 2), attempt=self.attempts)
            await self._sleep(wait_s)

    def _backoff_s(self) -> float:
        whole_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(self.attempts, 10))
        self.attempts += 1
        return float(whole_s * self._random.uniform(0.5, 1.0))

    def _judge(self, lost: StreamLost) -> None:
        """Give up on what would come back the same for ever."""
        now_ns = self._clock.monotonic_ns()
        if isinstance(lost, KeyRefused):
            self._key_refusals += 1
            if not self._has_worked or self._key_refusals >= KEY_REFUSALS_MAX:
                raise self._line.failure(str(lost))
        elif isinstance(lost, GhostSession):
            self._ghost_since_ns = self._ghost_since_ns or now_ns
            waited_s = (now_ns - self._ghost_since_ns) / SECOND_NS
            if waited_s > GHOST_MAX_S:
                raise self._line.failure(
                    f"{lost} since {waited_s:.0f} s, longer than a ghost of ours would last: another program uses them"
                )
        else:
            self._key_refusals = self._ghost_since_ns = 0

    async def _connect_once(self) -> None:
        """Live through one connection, which always ends in a `StreamLost` or worse."""
        socket = await self._open()
        try:
            await self._greet(socket)
            self._has_worked, self.down_since_ns = True, None
            self._key_refusals = self._ghost_since_ns = 0
            self.log.info("connected", attempt=self.attempts)
            self._dropped = asyncio.get_running_loop().create_future()
            stands_since_ns = self._clock.monotonic_ns()
            try:
                await together(self._read(socket), self._line.accompany(socket), self._until_dropped())
            finally:
                if self._clock.monotonic_ns() - stands_since_ns >= STOOD_NS:
                    self.attempts = 0
            raise StreamLost(f"{self._line.name}: ended")
        finally:
            await socket.close()  # with a close frame, whatever the reason: without one the venue keeps a ghost of us

    def drop(self, reason: str) -> None:
        """Give up the present connection, which is not to be trusted, and come back."""
        if self.down_since_ns is None and not self._dropped.done():
            self._dropped.set_exception(StreamLost(f"{self._line.name}: {reason}"))

    async def _until_dropped(self) -> None:
        await self._dropped

    async def _greet(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(self._greet_s):
                await self._line.greet(socket)
        except TimeoutError:
            raise StreamLost(f"{self._line.name}: no complete greeting within {self._greet_s:g} s") from None
        except _closed() as error:
            raise StreamLost(f"{self._line.name}: closed while greeting: {error}") from None

    async def _open(self) -> ClientConnection:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        class Connect(connect):
            def process_redirect(self, exc: Exception) -> Exception | str:
                return exc  # keys go to the host that was named and to no other

        options: dict[str, Any] = {"compression": None, "proxy": None} if self._is_local else {}
        try:
            return await Connect(
                self._line.url, additional_headers=dict(self._headers or {}), open_timeout=CONNECT_S,
                close_timeout=CLOSE_S, ping_interval=PING_EVERY_S, ping_timeout=PONG_WITHIN_S,
                max_size=FRAME_BYTES_MAX, max_queue=FRAMES_QUEUED, **options,
            )  # fmt: skip
        except InvalidStatus as error:
            raise self._refused(error.response.status_code) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StreamLost(f"{self._line.name}: cannot connect to {self._line.url}: {told}") from None

    def _refused(self, status: int) -> TradingError:
        told = f"{self._line.name}: {self._line.url} answers HTTP {status}"
        if status in (401, 403):
            return KeyRefused(f"{told}: the keys were refused")
        if status == 429:
            return StreamLost(f"{told}: too many connections", wait_min_s=5.0)
        if 300 <= status < 500:
            return self._line.failure(f"{told}: no stream lives there")
        return StreamLost(told)

    async def _read(self, socket: ClientConnection) -> None:
        take = self._line.take
        try:
            while True:
                if take(await socket.recv(decode=False)):
                    self.attempts = 0
        except _closed() as error:
            raise StreamLost(f"{self._line.name}: {error}") from None


def _closed() -> type[Exception]:
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, cancel the others, and raise what it raised: no part ever ends in silence."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if task in done:
            task.result()
