"""An order's request is whole, leaves once, and its answer is read however a server may write it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from brokers.alpaca.post import Poster, Reply

OK = b"HTTP/1.1 200 OK\r\nX-Ratelimit-Remaining: 7\r\nContent-Length: 2\r\n\r\n{}"
PATH = "/v2/orders"


class Peer:
    """A server that answers each request with the next of `answers`; an empty one is no answer at all."""

    def __init__(self, *answers: bytes) -> None:
        self.answers, self.requests, self.connections = list(answers), [], 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answers[0])
                if not self.answers.pop(0):
                    await asyncio.Event().wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def posting(*answers: bytes) -> AsyncIterator[tuple[Peer, Callable[[bytes], Awaitable[Reply]]]]:
    peer = Peer(*answers)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession() as session:
        yield peer, Poster(session, url, PATH, {"APCA-API-KEY-ID": "K"}, timeout_s=0.2).send
    server.close()


async def test_a_request_is_whole_and_names_host_key_and_length() -> None:
    """What the server sees is one complete HTTP request with our headers and the body as it was."""
    async with posting(OK) as (peer, send):
        reply = await send(b'{"qty":"1"}')
        assert (reply.status, reply.body, reply.headers["x-ratelimit-remaining"]) == (200, b"{}", "7")
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v2/orders HTTP/1.1"
    assert {"APCA-API-KEY-ID: K", "Content-Length: 11"} <= {*lines}
    assert sum(line.startswith("Host: 127.0.0.1:") for line in lines) == 1
    assert any(line.startswith("User-Agent: ") for line in lines)
    assert body == b'{"qty":"1"}'


async def test_requests_one_after_the_other_share_a_connection() -> None:
    """The second one finds it warm."""
    async with posting(OK, OK, OK) as (peer, send):
        for _ in range(3):
            assert (await send(b"{}")).status == 200
    assert (len(peer.requests), peer.connections) == (3, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["in chunks", "after a word in between", "with a goodbye"],
)
async def test_an_answer_is_read_however_it_is_written(answer: bytes) -> None:
    """And the request after it is answered too."""
    async with posting(answer, OK) as (peer, send):
        assert (await send(b"{}")).body == b"{}"
        assert (await send(b"{}")).body == b"{}"
    assert len(peer.requests) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", TimeoutError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", TimeoutError),
        (b"no such thing\r\n\r\n", aiohttp.ClientError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{}", aiohttp.ClientError),
    ],
    ids=["silence", "half a body", "no HTTP", "a body that breaks off"],
)
async def test_what_is_no_answer_is_an_error_and_nothing_is_sent_twice(answer: bytes, error: type[Exception]) -> None:
    """The request left once, and its connection is not used again."""
    async with posting(answer, *([OK] if b"close" not in answer else [])) as (peer, send):
        with pytest.raises(error):
            await send(b"{}")
        assert len(peer.requests) == 1
        if peer.answers:
            assert (await send(b"{}")).status == 200
            assert peer.connections == 2
