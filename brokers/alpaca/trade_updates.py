"""The order stream: authenticate, listen, read. It greets with nothing, numbers nothing and repeats nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from brokers.alpaca.keys import Keys
from brokers.alpaca.records import Authorization, Frame, Listening, UpdateRecord
from brokers.alpaca.refusals import KeyRefused, StreamLost
from engine.clock import Clock
from engine.errors import BrokerError, TradingError
from engine.events import SECOND_NS

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

STREAM = "trade_updates"
BURST, BURST_NS = 20, 10 * SECOND_NS

_decode_frame = msgspec.json.Decoder(Frame).decode
_decode_update = msgspec.json.Decoder(UpdateRecord).decode


class TradeLine:
    """The protocol of the order stream.

    Args:
        take: given each update, at once and without waiting.
        accompany: runs beside the reading, to catch up and then to wait.

    Attributes:
        updates, malformed: how many came.
    """

    name = STREAM
    failure: type[TradingError] = BrokerError

    def __init__(
        self, url: str, keys: Keys, clock: Clock, *, take: Callable[[UpdateRecord], None],
        accompany: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self.url, self._keys, self._clock, self._take, self._accompany = url, keys, clock, take, accompany
        self.updates = self.malformed = 0
        self._bad: deque[int] = deque(maxlen=BURST)
        self.log = structlog.get_logger().bind(stream=STREAM)

    async def greet(self, socket: ClientConnection) -> None:
        data = {"key_id": self._keys.key_id, "secret_key": self._keys.secret}
        await self._send(socket, {"action": "authenticate", "data": data})
        answer = await self._answer(socket, "authorization", Authorization)
        if answer.status != "authorized":
            raise KeyRefused(f"{STREAM}: the keys were refused ({answer.status or 'no status'})")
        await self._send(socket, {"action": "listen", "data": {"streams": [STREAM]}})
        if STREAM not in (await self._answer(socket, "listening", Listening)).streams:
            raise StreamLost(f"{STREAM}: authorized, but the venue does not let us listen")

    def take(self, frame: bytes) -> bool:
        try:
            envelope = _decode_frame(frame)
            if envelope.stream != STREAM:
                return False
            update = _decode_update(self._keys.hidden(bytes(envelope.data)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._note_bad(str(error))
            return False
        self.updates += 1
        self._take(update)
        return True

    async def accompany(self, socket: ClientConnection) -> None:
        await self._accompany()

    async def _send(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        await socket.send(msgspec.json.encode(message).decode())

    async def _answer(self, socket: ClientConnection, stream: str, kind: type[Any]) -> Any:
        """Wait for the answer on a stream; an update that comes first is taken."""
        while True:
            frame = await socket.recv(decode=False)
            try:
                envelope = _decode_frame(frame)
                if envelope.stream == stream:
                    return msgspec.json.decode(envelope.data, type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise StreamLost(f"{STREAM}: a greeting that does not read ({len(frame)} bytes)") from None
            self.take(frame)

    def _note_bad(self, told: str) -> None:
        self.malformed += 1
        now_ns = self._clock.monotonic_ns()
        self._bad.append(now_ns)
        self.log.error("an update that does not read", reason=told)
        if len(self._bad) == BURST and now_ns - self._bad[0] <= BURST_NS:
            self._bad.clear()
            raise StreamLost(f"{STREAM}: {BURST} updates within {BURST_NS // SECOND_NS} s do not read")
