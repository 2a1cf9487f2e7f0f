"""The trading stream: who may listen, and which events an order's life has, in which order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import aiohttp
import aiohttp.web
import pytest

from tests.brokers.alpaca_server.local import Local, Peer, bar, connected, day, quote, running

BUY = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}
SELL = BUY | {"side": "sell"}


async def post(local: Local, **fields: Any) -> dict[str, Any]:
    status, order = await local.request("POST", "/v2/orders", json=BUY | fields)
    assert status == 200, order
    return order


async def told(peer: Peer, count: int) -> list[dict[str, Any]]:
    """Return the next updates."""
    messages = [await peer.read() for _ in range(count)]
    assert {one["stream"] for one in messages} == {"trade_updates"}
    return [one["data"] for one in messages]


async def test_listening_needs_keys() -> None:
    """Unauthorized without, and with wrong ones, which do not end the session; both spellings of the message work."""
    async with running() as local, connected(local, "/stream", packed=False) as peer:
        listen = {"action": "listen", "data": {"streams": ["trade_updates"]}}
        refused = {"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}}
        assert await peer.ask(listen) == refused
        answer = await peer.ask({"action": "authenticate", "data": {"key_id": "x", "secret_key": "y"}})
        assert answer["data"]["status"] == "unauthorized"
        answer = await peer.ask({"action": "auth", "key": "PKLOCALVENUE", "secret": "local-venue-secret"})
        assert answer["data"]["status"] == "authorized"
        assert await peer.ask(listen) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}


async def test_the_list_of_streams_is_replaced_and_unknown_ones_are_left_out() -> None:
    """An empty list ends listening."""
    async with running() as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        answer = await peer.ask({"action": "listen", "data": {"streams": ["account_updates", "trade_updates"]}})
        assert answer["data"]["streams"] == ["trade_updates"]
        answer = await peer.ask({"action": "listen", "data": {"streams": []}})
        assert answer["data"]["streams"] == []


async def test_msgpack_is_spoken_when_asked_for() -> None:
    """By the header of the upgrade, as on the data streams."""
    async with running() as local, connected(local, "/stream", packed=True) as peer:
        await peer.listen()
        await local.step(3)
        await post(local)
        assert [one["event"] for one in await told(peer, 1)] == ["new"]


async def test_the_number_of_sessions_may_be_limited() -> None:
    """`trading_connections_max`: the next upgrade gets 429."""
    async with running(trading_connections_max=1) as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            async with connected(local, "/stream"):
                pass


@pytest.mark.parametrize("early", [False, True])
async def test_events_follow_the_reply_unless_a_fault_hurries_them(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of an order comes after the answer to its POST has been written; with O07 before."""
    async with running() as local:
        await local.step(3)
        order: list[str] = []
        publish, write = local.venue.updates.publish, aiohttp.web.Response.write_eof

        def tell(updates: list[dict[str, Any]]) -> None:
            order.extend(update["event"] for update in updates)
            publish(updates)

        async def answer(response: aiohttp.web.Response, data: bytes = b"") -> None:
            await write(response, data)
            order.append("reply")

        if early:
            await local.arm("O07")
        monkeypatch.setattr(local.venue.updates, "publish", tell)
        monkeypatch.setattr(aiohttp.web.Response, "write_eof", answer)
        await post(local)
        assert order == (["new", "reply"] if early else ["reply", "new"])


async def test_partial_fills_name_their_own_size_and_the_order_its_sum() -> None:
    """30, 20 and 50 of 100: `qty` is the execution's, `filled_qty` cumulative, the average over all."""
    async with running([quote("9:31")]) as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.step()
        await post(local, qty="100")
        for index, size in enumerate((30, 20, 50)):
            await local.happen(quote(f"9:3{2 + index}", ask=100.0 + index, size=float(size)))
        new, *fills = await told(peer, 4)
        assert new["event"] == "new"
        assert [one["event"] for one in fills] == ["partial_fill", "partial_fill", "fill"]
        assert [one["qty"] for one in fills] == ["30", "20", "50"]
        assert [one["position_qty"] for one in fills] == ["30", "50", "100"]
        assert [one["order"]["filled_qty"] for one in fills] == ["30", "50", "100"]
        assert [one["order"]["status"] for one in fills] == ["partially_filled", "partially_filled", "filled"]
        assert Decimal(fills[2]["order"]["filled_avg_price"]) == Decimal("101.2")  # (30*100 + 20*101 + 50*102) / 100
        assert len({one["execution_id"] for one in fills}) == 3
        _, activities = await local.request("GET", "/v2/account/activities/FILL", params={"direction": "asc"})
        assert [one["id"].partition("::")[2] for one in activities] == [one["execution_id"] for one in fills]
        assert [(one["cum_qty"], one["leaves_qty"]) for one in activities] == [("30", "70"), ("50", "50"), ("100", "0")]


async def test_a_replacement_ends_the_old_order_and_begins_the_new_one() -> None:
    """`replaced` carries the old order with its successor; `new_before_replaced` turns the two around."""
    for turned in (False, True):
        async with running(new_before_replaced=turned) as local, connected(local, "/stream", packed=False) as peer:
            await peer.listen()
            await local.step(3)
            order = await post(local, type="limit", limit_price="90")
            _, new = await local.request("PATCH", f"/v2/orders/{order['id']}", json={"limit_price": "91"})
            updates = (await told(peer, 3))[1:]
            assert [one["event"] for one in updates] == (["new", "replaced"] if turned else ["replaced", "new"])
            by_event = {one["event"]: one["order"] for one in updates}
            assert (by_event["replaced"]["id"], by_event["replaced"]["replaced_by"]) == (order["id"], new["id"])
            assert (by_event["new"]["id"], by_event["new"]["replaces"]) == (new["id"], order["id"])


async def test_silent_events_are_told_when_the_switch_says_so() -> None:
    """Without any `silent_events`: pending_new without an execution id, held legs, pending_cancel."""
    async with running(silent_events=(), event_ids=True) as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.step(3)
        order = await post(local, type="limit", limit_price="90", order_class="oto", stop_loss={"stop_price": "80"})
        await local.request("DELETE", f"/v2/orders/{order['id']}")
        updates = await told(peer, 6)
        assert [one["event"] for one in updates] == [
            "pending_new",
            "new",
            "held",
            "pending_cancel",
            "canceled",
            "canceled",
        ]
        assert updates[0]["execution_id"] is None
        assert all(one["event_id"] for one in updates)


async def test_an_order_before_the_open_is_accepted_and_works_from_the_open_on() -> None:
    """`accepted` at once, `new` at 9:30, no replacement in between."""
    events = [bar("9:29"), bar("9:30"), *day()]
    async with running(events) as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.step()
        order = await post(local, type="limit", limit_price="90")
        assert order["status"] == "accepted"
        status, body = await local.request("PATCH", f"/v2/orders/{order['id']}", json={"limit_price": "91"})
        assert (status, body["message"]) == (422, "unable to replace order, order isn't sent to exchange yet")
        await local.step()
        accepted, new = await told(peer, 2)
        assert (accepted["event"], new["event"], new["timestamp"]) == ("accepted", "new", "2019-02-12T14:30:00Z")


async def test_a_day_order_expires_after_the_close() -> None:
    """`expired`, at the close, when the grace for late prints is over."""
    late = bar("16:05")
    async with running([*day(), late]) as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.step(3)
        order = await post(local, type="limit", limit_price="90")
        await local.step(100)
        _, expired = await told(peer, 2)
        assert (expired["event"], expired["order"]["id"]) == ("expired", order["id"])
        assert expired["order"]["expired_at"] == "2019-02-12T21:00:00Z"


async def test_a_brackets_legs_are_told_when_they_begin_and_end() -> None:
    """Entry filled: both legs new; target filled: the stop canceled."""
    async with running() as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.step(3)
        order = await post(
            local, order_class="bracket", take_profit={"limit_price": "105"}, stop_loss={"stop_price": "95"}
        )
        await local.step(2)
        await local.happen(quote("9:50", 106.0, 106.1))
        updates = await told(peer, 6)
        assert [one["event"] for one in updates] == ["new", "fill", "new", "new", "fill", "canceled"]
        legs = {leg["id"]: leg["type"] for leg in order["legs"]}
        assert [legs.get(one["order"]["id"], "entry") for one in updates] == [
            "entry",
            "entry",
            "stop",
            "limit",
            "limit",
            "stop",
        ]


async def test_a_stop_leg_fills_and_the_target_is_canceled() -> None:
    """The other way round, at the stop's worse price."""
    async with running() as local, connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.step(3)
        await post(local, order_class="bracket", take_profit={"limit_price": "105"}, stop_loss={"stop_price": "95"})
        await local.step(2)
        await local.happen(quote("9:50", 94.0, 94.1))
        updates = await told(peer, 6)
        assert [(one["event"], one["order"]["type"]) for one in updates[4:]] == [
            ("fill", "stop"),
            ("canceled", "limit"),
        ]
        assert updates[4]["price"] == "94"


@pytest.mark.parametrize("carried", [False, True])
async def test_what_a_replaced_order_had_filled_may_be_carried_over(carried: bool) -> None:
    """The quantity is the new total either way; `replaced_fills` says whether the new order shows the old fills."""
    async with running([quote("9:31")], replaced_fills="carried" if carried else "fresh") as local:
        await local.step()
        order = await post(local, qty="100", type="limit", limit_price="100.01")
        await local.happen(quote("9:32", size=40.0))
        _, new = await local.request("PATCH", f"/v2/orders/{order['id']}", json={"qty": "90"})
        assert new["filled_qty"] == ("40" if carried else "0")
        await local.happen(quote("9:33"))
        _, new = await local.request("GET", f"/v2/orders/{new['id']}")
        assert (new["status"], new["filled_qty"]) == ("filled", "90" if carried else "50")
        _, position = await local.request("GET", "/v2/positions/AAPL")
        assert position["qty"] == "90"
