"""When the venue says that something was: kept to the nanosecond, and known no earlier."""

from __future__ import annotations

import asyncio

import pytest

from brokers.alpaca.frames import AHEAD_MAX_NS
from brokers.alpaca.server_clock import ServerClock
from brokers.alpaca.wire import format_ns
from engine.events import MINUTE_NS, SECOND_NS, Fill, OrderUpdate
from tests.brokers.alpaca.peers import OPEN_NS, RestPeer, Time, settle, until
from tests.brokers.alpaca.rig import BY_CLIENT, broker_rig, fill, record, update
from tests.brokers.alpaca_server.local import quote, running

ORDERS = "/v2/orders"


@pytest.mark.parametrize(("ahead_s", "kept"), [(-3, True), (0, True), (3, True), (60, False)])
async def test_an_execution_is_known_no_earlier_than_it_was(
    ahead_s: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock some seconds behind the venue's changes no instant of the venue; a stamp far ahead is not believed."""
    async with broker_rig(monkeypatch) as rig:
        monkeypatch.setattr(rig.broker._book, "_ahead_max_ns", AHEAD_MAX_NS)  # as of a service that is not local
        await rig.connected()
        rig.rest.on("POST", ORDERS, (200, record("o1")))
        rig.submit("o1")
        await rig.told("accepted")
        ts_ns = rig.time.ts_ns + ahead_s * SECOND_NS
        await rig.trades.send(fill(record("o1"), 100, 100) | {"timestamp": format_ns(ts_ns)})
        await until(lambda: rig.fills())
        [told] = [event for event in rig.events if isinstance(event, Fill)]
        assert (told.ts_event_ns == ts_ns) is kept
        assert told.ts_event_ns <= told.ts_recv_ns


async def test_an_order_that_is_found_after_all_says_when_it_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found filled a minute later, it was taken on when it was submitted, not when it last changed."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        filled = record("o1", "filled", filled_qty="100", filled_avg_price="100.5")
        filled |= {"submitted_at": format_ns(OPEN_NS), "updated_at": format_ns(OPEN_NS + MINUTE_NS)}
        rig.rest.on("GET", BY_CLIENT, (200, filled))
        await rig.trades.send(fill(record("o1"), 100, 100))
        rig.broker.resolve(["o1"])
        await rig.told("accepted")
        [told] = [event for event in rig.events if isinstance(event, OrderUpdate)]
        assert (told.ts_event_ns, told.broker_order_id) == (OPEN_NS, "venue-o1")


async def test_an_acceptance_that_the_stream_brings_first_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream may be faster than the answer to the POST."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await rig.trades.send(update("new", record("o1")))
        await rig.told("accepted")
        rig.rest.on("POST", ORDERS, (200, record("o1")))
        rig.submit("o1")
        await until(lambda: rig.rest.requests and not rig.broker._sender.sending)
        await settle()
        assert rig.states() == ["accepted"]


async def test_an_order_arrives_at_the_instant_that_its_reply_states() -> None:
    """A fill at the bar's open is stamped with the arrival: the one that the client was told."""
    async with running([quote("9:31"), quote("15:00")], speed=1000.0, start="at_once") as local:
        await until(lambda: local.server.playback.events == 1)
        status, shown = await local.request(
            "POST", ORDERS, json={"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        )
        assert status == 200
        order = local.venue.book.orders[shown["id"]]
        [working] = local.venue.floors["us_equity"].engine.working["AAPL"]
        assert working.arrival_ns == order.submitted_ns


async def test_the_clock_looks_often_until_the_tape_begins() -> None:
    """A server that stands is asked again soon: a second of ours may be many minutes of its tape."""
    async with RestPeer().running() as peer:
        state = {"now": "2026-01-05T14:30:00Z", "speed": 60.0, "started": False, "ended": False}
        peer.on("GET", "/control", (200, state))
        wall = Time(0)
        clock = await asyncio.to_thread(ServerClock, peer.url, wall)
        stood_ns = clock.now_ns()
        following = asyncio.create_task(clock.follow(wall.wait))
        peer.on("GET", "/control", (200, state | {"started": True}))
        for _ in range(50):
            await wall.pass_s(0.05)
            await asyncio.to_thread(lambda: None)
            if clock._rate:
                break
        passed_s = wall.monotonic_ns() / SECOND_NS
        following.cancel()
        assert passed_s < 1
        assert clock.now_ns() >= stood_ns
