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
from engine.errors import ConfigError

FOLLOW_EVERY_S, ANSWER_WITHIN_S = 1.0, 2.0


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
        self._url, self._wall = f"{hosts(Mode.PAPER, server_url).trading}/control", wall
        self._venue_ns = self._at_ns = 0
        self._rate = 0.0
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
        """Set the clock by the server's again and again; between two looks it runs at the server's speed."""
        while True:
            await sleep(FOLLOW_EVERY_S)
            try:
                await asyncio.to_thread(self._look)
            except (URLError, OSError, ValueError):
                continue  # the streams will tell that the server has gone

    def _look(self) -> None:
        sent_ns = self._wall.monotonic_ns()
        with urlopen(self._url, timeout=ANSWER_WITHIN_S) as answer:
            body: Any = answer.read()
        at_ns = (sent_ns + self._wall.monotonic_ns()) // 2
        state = msgspec.json.decode(body, type=_State)
        reached_ns = self.now_ns()
        rate = state.speed if state.started and not state.ended else 0.0
        venue_ns = parse_ns(state.now)
        # Never backwards: where the server is behind what we showed, time stands until it has come that far.
        self._venue_ns, self._at_ns, self._rate = max(venue_ns, reached_ns), at_ns, rate
