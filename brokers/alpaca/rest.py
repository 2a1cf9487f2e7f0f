"""Alpaca's REST interface over one pooled connection, with one explicit time-out and no retry behind our back.

`once` sends a request one single time and says what came of it. `get` may ask again, because reading changes nothing.
No exception that leaves here carries a header, and so none a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import msgspec

from brokers.alpaca.keys import Keys
from brokers.alpaca.limiter import Limiter, Purpose, Sleep
from brokers.alpaca.post import Poster
from engine.clock import Clock
from engine.errors import BrokerError
from engine.events import SECOND_NS

if TYPE_CHECKING:
    from aiohttp import ClientSession

Method = Literal["GET", "POST", "PATCH", "DELETE"]
Query = Mapping[str, str | int]
Decoded = TypeVar("Decoded")

ORDERS_PATH = "/v2/orders"
KEPT_S = 45.0
"""How long a connection may idle: longer than between two reconciliations, so that an order finds one that stands."""
READ_TRIES, READ_WAIT_S = 4, 0.5
PAUSE_S, PAUSE_MAX_S = 1.0, 60.0
_TEXT_SHOWN = 200


class NoAnswer(BrokerError):  # noqa: N818  # named for what happened, as the engine names its own
    """Nothing readable came back: what the request did is not known."""


class Refused(BrokerError):  # noqa: N818  # named for what happened, as the engine names its own
    """A definite no.

    Attributes: `status`, the HTTP status; `code`, Alpaca's own number or 0.
    """

    def __init__(self, told: str, status: int, code: int = 0) -> None:
        super().__init__(told)
        self.status, self.code = status, code


class Answer(NamedTuple):
    """What came back: `pause_s` is how long a 429 asks us to be still."""

    status: int
    body: bytes
    pause_s: float = 0.0


class _Complaint(msgspec.Struct):
    code: int = 0
    message: str = ""


_decode_complaint = msgspec.json.Decoder(_Complaint, strict=False).decode


def complaint(answer: Answer) -> tuple[int, str]:
    """Return code and message of an error body; whatever the body is, HTML or nothing, this never raises."""
    try:
        found = _decode_complaint(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0, f"HTTP {answer.status} without a reason"
    return found.code, found.message[:_TEXT_SHOWN] or f"HTTP {answer.status} without a reason"


class Rest:
    """One base address, its keys and its limit.

    Raises:
        NoAnswer: from every call, when the network or the server gave none.
    """

    def __init__(
        self, url: str, keys: Keys, *, timeout_s: float, limiter: Limiter, clock: Clock, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.url, self._keys, self._timeout_s, self._limiter = url, keys, timeout_s, limiter
        self._clock, self._sleep = clock, sleep
        self._session: ClientSession | None = None
        self._orders: Poster  # of the session

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def admit(self, purpose: Purpose) -> None:
        """Wait until the limit allows a request of this purpose."""
        await self._limiter.acquire(purpose)

    async def once(self, method: Method, path: str, *, query: Query | None = None, body: Any = None) -> Answer:
        """Send one request one time; `admit` comes first."""
        session = self._session or self._open()
        data = None if body is None else msgspec.json.encode(body)
        try:
            if method == "POST" and path == ORDERS_PATH and data is not None:
                return self._heeded(*await self._orders.send(data))
            async with session.request(method, self.url + path, params=query, data=data, allow_redirects=False) as got:
                return self._heeded(got.status, got.headers, await got.read())
        except TimeoutError:
            raise NoAnswer(f"{method} {path}: no answer within {self._timeout_s:g} s") from None
        except (_client_error(), OSError) as error:
            raise NoAnswer(f"{method} {path}: {type(error).__name__}") from None

    def _heeded(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        said = body if status < 300 else self._keys.hidden(body)
        answer = Answer(status, said, self._pause_s(status, headers))
        self._limiter.heed(_number(headers.get("X-Ratelimit-Remaining")), answer.pause_s)
        return answer

    async def get(self, path: str, kind: type[Decoded], query: Query | None = None) -> Decoded:
        """Read, and ask again when there was no answer, one of the server's own faults, or a rate limit.

        Raises:
            Refused: the server said no.
        """
        wait_s, told = READ_WAIT_S, ""
        for _ in range(READ_TRIES):
            if told:
                await self._sleep(wait_s)
                wait_s *= 2
            try:
                await self.admit("read")
                answer = await self.once("GET", path, query=query)
                if answer.status == 200:
                    return self._decoded(answer, path, kind)
            except NoAnswer as error:
                told = str(error)
                continue
            told = f"GET {path}: {answer.status} {complaint(answer)[1]}"
            if answer.status != 429 and answer.status < 500:
                raise refusal(told, answer)
        raise NoAnswer(told)

    def _decoded(self, answer: Answer, path: str, kind: type[Decoded]) -> Decoded:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NoAnswer(f"GET {path}: the answer does not read: {error}") from None

    def _open(self) -> ClientSession:
        # Here because aiohttp takes a tenth of a second to import and a connection pool needs a running loop.
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

        headers = self._keys.headers() | {"Content-Type": "application/json"}
        self._session = ClientSession(
            headers=headers, timeout=ClientTimeout(total=self._timeout_s), cookie_jar=DummyCookieJar(),
            connector=TCPConnector(keepalive_timeout=KEPT_S),
        )  # fmt: skip
        # aiohttp itself repeats what is idempotent when a kept connection breaks; here nobody repeats behind our back.
        self._session._retry_connection = False
        self._orders = Poster(self._session, self.url, ORDERS_PATH, headers, timeout_s=self._timeout_s)
        return self._session

    def _pause_s(self, status: int, headers: Mapping[str, str]) -> float:
        if status != 429:
            return 0.0
        reset_s = _number(headers.get("X-Ratelimit-Reset"))
        if reset_s is None or _number(headers.get("X-Ratelimit-Remaining")):
            return PAUSE_S  # requests are left: not the minute is used up, something else was too much for a moment
        return min(PAUSE_MAX_S, max(PAUSE_S, reset_s - self._clock.now_ns() / SECOND_NS))


def refusal(told: str, answer: Answer) -> Refused:
    """Return the error of a definite no, saying what to do about refused keys."""
    code, _ = complaint(answer)
    if answer.status in (401, 403) and code < 40_310_000:
        told = f"{told.removesuffix('.')}; the keys are wrong, or of the other side: "
        told += "a paper key works on the paper host only, a live key on the live host"
    return Refused(told, answer.status, code)


def _client_error() -> type[Exception]:
    from aiohttp import ClientError

    return ClientError


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
