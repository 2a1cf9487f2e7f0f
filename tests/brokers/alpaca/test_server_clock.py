"""The time of a local server: as fast as its tape, never backwards, and clearly missing when there is none."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from brokers.alpaca.server_clock import FOLLOW_EVERY_S, REFUSED_MAX_NS, ServerClock
from brokers.alpaca.settings import FeedSettings
from brokers.alpaca.stream import AlpacaFeed
from engine.clock import LiveClock, ManualClock
from engine.errors import ConfigError, FeedError
from engine.events import SECOND_NS
from tests.brokers.alpaca.peers import RestPeer, Time, finish, settle, until
from tests.brokers.alpaca_server.local import running
from tests.brokers.paper_venue import at


def test_without_a_server_it_says_what_to_start() -> None:
    """The commonest mistake of the first minute."""
    with pytest.raises(ConfigError, match="no local server at http://127.0.0.1:9: .*start one with `onetape server`"):
        ServerClock("http://127.0.0.1:9", ManualClock())
    with pytest.raises(ConfigError, match="is not a server of this machine"):
        ServerClock("http://192.168.0.1:9", ManualClock())


async def test_it_runs_as_fast_as_the_server_and_never_backwards() -> None:
    """Between two looks it runs by itself; a server that is behind is waited for."""
    async with RestPeer().running() as peer:
        state = {"now": "2026-01-05T14:30:00Z", "speed": 60.0, "started": True, "ended": False}
        peer.on("GET", "/control", (200, state))
        wall = Time(0)
        clock = await asyncio.to_thread(ServerClock, peer.url, wall)
        start = clock.now_ns()
        wall.advance(2)
        assert clock.now_ns() - start == 120 * SECOND_NS
        assert clock.monotonic_ns() == 2 * SECOND_NS
        peer.on("GET", "/control", (200, state | {"now": "2026-01-05T14:31:00Z", "speed": 0.0}))
        following = asyncio.create_task(clock.follow(wall.wait))
        await wall.pass_s(1)
        await until(lambda: clock._rate == 0)
        assert clock.now_ns() - start == 180 * SECOND_NS
        peer.on("GET", "/control", (500, "broken"), (200, state | {"now": "2026-01-05T14:40:00Z", "ended": True}))
        for _ in range(50):
            await wall.pass_s(1)
            await settle()
            await asyncio.to_thread(lambda: None)
            if clock.now_ns() - start == 600 * SECOND_NS:
                break
        assert clock.now_ns() - start == 600 * SECOND_NS
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_it_is_over_when_the_tape_is_and_everything_had_time_to_be_read() -> None:
    """A look after the one that saw the end, so that what was sent last has come."""
    async with RestPeer().running() as peer:
        peer.on("GET", "/control", (200, {"now": "2026-01-05T21:00:00Z", "ended": True}))
        wall = Time(0)
        clock = await asyncio.to_thread(ServerClock, peer.url, wall)
        following = asyncio.create_task(clock.follow(wall.wait))
        assert not following.done()
        await wall.pass_s(FOLLOW_EVERY_S)
        assert await following is None


async def test_a_server_that_has_gone_ends_the_feed_with_its_address() -> None:
    """One that does not listen any more for some seconds; a single refusal may be a restart."""
    async with RestPeer().running() as peer:
        peer.on("GET", "/control", (200, {"now": "2026-01-05T14:30:00Z"}))
        wall = Time(1)
        clock = await asyncio.to_thread(ServerClock, peer.url, wall)

    async def wait(seconds: float) -> None:
        wall.advance(seconds)
        await asyncio.sleep(0)

    with pytest.raises(FeedError, match=f"the local server at {peer.url} has gone"):
        await clock.follow(wait)
    assert wall.monotonic_ns() >= REFUSED_MAX_NS


async def test_it_shows_the_time_of_the_tape() -> None:
    """The real venue's clock, seven years ago."""
    async with running() as local:
        clock = await asyncio.to_thread(AlpacaFeed.clock, FeedSettings(symbols=("AAPL",), server_url=local.url))
        assert abs(clock.now_ns() - at("9:31")) <= 60 * SECOND_NS
    assert isinstance(AlpacaFeed.clock(FeedSettings(symbols=("AAPL",))), LiveClock)
    assert await finish(Time(), asyncio.sleep(0)) is None
