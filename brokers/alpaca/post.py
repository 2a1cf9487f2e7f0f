"""A POST that leaves at once, on a kept connection of an aiohttp session.

For each request aiohttp spends a tenth of a millisecond on lines that are the same every time; here they are drawn up
once. Connections, their pool, TLS and the reading of answers stay aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from aiohttp import ClientSession

_DRAWN_UP_EACH_TIME = frozenset({"content-length", "transfer-encoding"})


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Poster:
    """POSTs to one path of one host.

    Args:
        session: whose connections are used.
        headers: those of every request; none of them is shown anywhere.
    """

    def __init__(
        self, session: ClientSession, url: str, path: str, headers: Mapping[str, str], *, timeout_s: float
    ) -> None:
        from aiohttp import ClientRequest, ClientTimeout
        from yarl import URL

        assert session.connector is not None
        self._connector, self._timeout_s = session.connector, timeout_s
        self._timeout = ClientTimeout(total=timeout_s)
        # Never sent: the pool tells by it where a connection leads, and it has the headers that go without saying.
        self._where = ClientRequest("POST", URL(url), loop=asyncio.get_running_loop(), session=session)
        usual = {name: text for name, text in self._where.headers.items() if name.lower() not in _DRAWN_UP_EACH_TIME}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {text}" for name, text in {**usual, **headers}.items())]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode()

    async def send(self, body: bytes) -> Reply:
        """Send one request one time.

        Raises:
            TimeoutError, ClientError, OSError: there is no answer, and nobody knows whether the request has arrived.
        """
        async with asyncio.timeout(self._timeout_s):
            connection = await self._connector.connect(self._where, [], self._timeout)
            protocol, transport = connection.protocol, connection.transport
            try:
                if protocol is None or transport is None:
                    raise ConnectionResetError("the connection broke before it was used")
                protocol.set_response_params(read_until_eof=True)
                transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
                message, content = await protocol.read()
                while message.code < 200:
                    message, content = await protocol.read()
                reply = Reply(message.code, message.headers, await content.read())
            except BaseException as error:  # a connection whose answer is not read to its end is good for nothing more
                connection.close()
                _raise_unreadable(error)
                raise
            connection.release()
            return reply


def _raise_unreadable(error: BaseException) -> None:
    """Raise as aiohttp's own client does for what is no HTTP: its parser's errors are of another family."""
    from aiohttp import ClientPayloadError
    from aiohttp.http import HttpProcessingError

    if isinstance(error, HttpProcessingError):
        raise ClientPayloadError(type(error).__name__) from None
