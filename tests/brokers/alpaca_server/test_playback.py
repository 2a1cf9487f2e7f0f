"""The tape, played: when it begins and ends, what lies before it, and steps by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from brokers.alpaca_server.app import Server
from brokers.alpaca_server.settings import ServerSettings
from engine.errors import TapeError
from tests.brokers.alpaca_server.local import WAIT_S, ListFeed, bar, connected, day, running, until


async def test_a_tape_without_a_pace_waits_for_its_readers() -> None:
    """Everything arrives, in order, although the reader is slow and the buffers are small."""
    events = [bar(f"{9 + hour}:{minute:02d}") for hour in range(1, 7) for minute in range(60)]
    async with running(events * 20, start="subscribed", speed=0.0) as local, connected(local) as peer:
        await peer.log_in(bars=["*"])
        seen: list[int] = []
        while len(seen) < len(events) * 20:
            seen += [one["t"].to_unix_nano() for one in await peer.read()]
        assert seen == sorted(seen)


async def test_a_tape_may_wait_for_a_word() -> None:
    """`start` control: nothing moves until the control endpoint says so."""
    async with running(start="control") as local, connected(local) as peer:
        await peer.log_in(bars=["*"])
        assert (await local.control(""))["events"] == 0
        await local.control("start", {})
        await until(lambda: local.server.playback.ended.is_set())
        state = await local.control("")
        assert (state["events"], state["ended"], state["data_sessions"]) == (60, True, ["/v2/iex"])


async def test_history_lies_before_the_tape() -> None:
    """Events before `history_until` are known from the start, and not streamed."""
    async with running(day(), history_until="2019-02-12T14:40:00Z") as local, connected(local) as peer:
        await peer.log_in(bars=["*"])
        await local.step(2)
        (first,) = await peer.read()
        assert first["t"].to_unix_nano() == bar("9:40").ts_open_ns
        query = {"symbols": "AAPL", "timeframe": "1Min", "start": "2019-02-12T14:00:00Z"}
        _, body = await local.request("GET", "/v2/stocks/bars", params=query)
        assert len(body["bars"]["AAPL"]) == 10


async def test_the_venue_leaves_with_its_tape_when_told_to() -> None:
    """`at_end` exit: sessions are closed and `serve` returns."""
    settings = ServerSettings(port=0, speed=0.0, time="tape", at_end="exit")
    async with asyncio.timeout(WAIT_S):
        await Server(settings, ListFeed(day())).serve()


async def test_a_tape_that_does_not_read_ends_the_venue_loudly() -> None:
    """The error is that of the tape."""

    class Torn(ListFeed):
        def batches(self) -> Iterator[list]:
            yield self.events[:2]
            raise TapeError("tape.csv row 3: out of order")

    settings = ServerSettings(port=0, speed=0.0, time="tape")
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(TapeError, match="row 3"):
            await Server(settings, Torn(day())).serve()


async def test_instants_of_frames_and_orders_are_recorded_on_request() -> None:
    """For the benchmark: data frame out, POST in, on the machine's monotonic clock."""
    async with running() as local, connected(local) as peer:
        await peer.log_in(bars=["*"])
        await local.step(2)
        assert await local.control("instants") == {"frames": [], "posts": []}
        await local.control("instants", {"on": True})
        await local.step(2)
        await peer.read()
        body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        await local.request("POST", "/v2/orders", json=body | {"client_order_id": "mine"})
        recorded = await local.control("instants")
        ((out_ns, endpoint, messages),) = recorded["frames"]
        ((in_ns, client_order_id),) = recorded["posts"]
        assert (endpoint, messages, client_order_id) == ("/v2/iex", 1, "mine")
        assert out_ns < in_ns
        await local.control("instants", {"on": False})
        assert await local.control("instants") == {"frames": [], "posts": []}


async def test_the_control_endpoint_makes_things_happen() -> None:
    """Events that are on no tape, orders from the dashboard, the book to the last digit, and the end of faults."""
    async with running() as local:
        await local.step(3)
        made = {
            "event": "Quote",
            "symbol": "AAPL",
            "bid_price": 50.0,
            "bid_size": 100.0,
            "ask_price": 50.5,
            "ask_size": 100.0,
        }
        order = {"symbol": "AAPL", "side": "buy", "qty": "2"}
        assert (await local.control("orders", order))["source"] == "dashboard"
        assert await local.control("events", {"events": [made]}) == {"events": 1}
        ledger = await local.control("ledger")
        assert (ledger["cash_usd"], ledger["positions"], len(ledger["orders"])) == ("99899.0", {"AAPL": "2"}, 1)
        async with local.http.post(f"{local.url}/control/events", json={"events": [{"event": "Nonsense"}]}) as reply:
            assert (reply.status, "no market event" in await reply.text()) == (400, True)
        async with local.http.post(f"{local.url}/control/orders", json={"symbol": "AAPL"}) as reply:
            assert reply.status == 422
        async with local.http.post(f"{local.url}/control/faults", json={"use": "nonsense"}) as reply:
            assert (reply.status, "unknown fault" in await reply.text()) == (400, True)
        await local.arm("R14")
        async with local.http.delete(f"{local.url}/control/faults?name=R14") as reply:
            assert reply.status == 204
        assert await local.control("faults") == []
