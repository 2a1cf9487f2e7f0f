"""The time of a local server, which may run faster than ours and lie in another year.

Only what happens is in the server's time; how long something takes is in the machine's.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from brokers.alpaca.hosts import Mode, hosts
from brokers.alpaca.limiter import Sleep
from brokers.alpaca.wire import parse_ns
from engine.clock import Clock
from engine.errors import ConfigError, FeedError
from engine.events import SECOND_NS

FOLLOW_EVERY_S, START_EVERY_S, ANSWER_WITHIN_S = 1.0, 0.05, 2.0
REFUSED_MAX_NS = 4 * SECOND_NS


class _State(msgspec.Struct):
    now: str
    speed: float = 1.0
    started: bool = True
    ended: bool = False


class ServerClock:
    """Follow the clock of the server at `server_url`.

    Raises:
        ConfigError: nobody answers there.
    """

    def __init__(self, server_url: str, wall: Clock) -> None:
        self._server_url, self._wall = server_url, wall
        self._url = f"{hosts(Mode.PAPER, server_url).trading}/control"
        self._venue_ns = self._at_ns = 0
        self._rate, self._is_started, self._has_ended = 0.0, False, False
        try:
            self._look()
        except (URLError, OSError, ValueError) as error:
            told = getattr(error, "reason", error)
            raise ConfigError(f"no local server at {server_url}: {told}; start one with `onetape server`") from None

    def now_ns(self) -> int:
        return self._venue_ns + int((self._wall.monotonic_ns() - self._at_ns) * self._rate)

    def monotonic_ns(self) -> int:
        return self._wall.monotonic_ns()

    async def follow(self, sleep: Sleep = asyncio.sleep) -> None:
        """Set the clock by the server's again and again, until its tape has ended and had time to be read.

        Between two looks it runs at the server's speed.

        Raises:
            FeedError: nobody has listened at the server's address for some seconds.
        """
        refused_since_ns: int | None = None
        while True:
            await sleep(FOLLOW_EVERY_S if self._is_started else START_EVERY_S)
            if self._has_ended:
                return
            try:
                await asyncio.to_thread(self._look)
                refused_since_ns = None
            except (URLError, OSError, ValueError) as error:
                if not isinstance(getattr(error, "reason", error), ConnectionRefusedError):
                    continue  # one that is slow or stumbles is left to the streams
                refused_since_ns = refused_since_ns or self._wall.monotonic_ns()
                if self._wall.monotonic_ns() - refused_since_ns >= REFUSED_MAX_NS:
                    raise FeedError(f"the local server at {self._server_url} has gone") from None

    def _look(self) -> None:
        sent_ns = self._wall.monotonic_ns()
        with urlopen(self._url, timeout=ANSWER_WITHIN_S) as answer:
            body: Any = answer.read()
        at_ns = (sent_ns + self._wall.monotonic_ns()) // 2
        state = msgspec.json.decode(body, type=_State)
        reached_ns, self._has_ended = self.now_ns(), state.ended
        self._is_started = state.started
        rate = state.speed if state.started and not state.ended else 0.0
        venue_ns = parse_ns(state.now)
        # Never backwards: where the server is behind what we showed, time stands until it has come that far.
        self._venue_ns, self._at_ns, self._rate = max(venue_ns, reached_ns), at_ns, rate
