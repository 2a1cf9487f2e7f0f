"""Each fault of the catalogue happens when it is asked for, does what it says, and reports that it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgpack
import msgspec
import pytest

from brokers.alpaca_server.fault_catalogue import CATALOGUE
from brokers.alpaca_server.faults import Fault, Faults, edited
from engine.clock import ManualClock
from engine.errors import ConfigError
from tests.brokers.alpaca_server.local import (
    KEY,
    SECRET,
    Local,
    Peer,
    bar,
    connected,
    quote,
    running,
    story,
    trade,
    until,
)  # fmt: skip
from tests.brokers.paper_venue import at

BUY: dict[str, Any] = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}
RESTING = BUY | {"type": "limit", "limit_price": "90"}
BRACKET = BUY | {"order_class": "bracket", "take_profit": {"limit_price": "105"}, "stop_loss": {"stop_price": "95"}}
Scene = Callable[[Local], Awaitable[None]]


async def post(local: Local, body: dict[str, Any] = BUY, **fields: Any) -> tuple[int, Any]:
    return await local.request("POST", "/v2/orders", json=body | fields)


async def shown(local: Local, order: dict[str, Any]) -> dict[str, Any]:
    return (await local.request("GET", f"/v2/orders/{order['id']}"))[1]


async def events(peer: Peer, count: int) -> list[str]:
    return [(await peer.read())["data"]["event"] for _ in range(count)]


async def hold(local: Local, qty: str = "10") -> dict[str, Any]:
    _, order = await post(local, qty=qty)
    await local.happen(quote("9:35"))
    return order


# --- requests ---------------------------------------------------------------------------------------------------------


async def answered(local: Local, use: str, status: int) -> None:
    """An order is refused, and does not exist."""
    await local.arm(use)
    assert (await post(local, client_order_id="mine"))[0] == status
    assert "mine" not in local.venue.book.by_client


async def executed(local: Local, use: str, status: int) -> None:
    """An order is taken on, whatever the reply says."""
    await local.arm(use)
    answer, body = await post(local, client_order_id="mine")
    assert (answer, str(body)[:6]) == (status, "<html>")
    assert local.venue.book.by_client["mine"].status == "new"
    assert (await post(local, client_order_id="mine"))[1]["message"] == "client_order_id must be unique"


async def broken(local: Local, use: str, *, taken_on: bool) -> None:
    """The connection breaks, or nothing comes."""
    await local.arm(use)
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        await post(local, client_order_id="mine")
    assert ("mine" in local.venue.book.by_client) is taken_on


async def hung(local: Local, use: str, *, taken_on: bool, path: str = "/v2/orders") -> None:
    """No answer within any patience."""
    await local.arm(use)
    asking = asyncio.create_task(
        post(local, client_order_id="mine") if path == "/v2/orders" else local.request("GET", path)
    )
    await until(lambda: any(one.fired for one in local.venue.faults.armed["request"]))
    await local.control("")
    assert not asking.done()
    assert ("mine" in local.venue.book.by_client) is taken_on
    asking.cancel()


async def truncated(local: Local) -> None:
    await local.arm("F04")
    with pytest.raises(ValueError, match="Expecting|Unterminated|delimiter"):
        await post(local, client_order_id="mine")
    assert "mine" in local.venue.book.by_client


async def hidden(local: Local) -> None:
    await local.arm("F09")
    _, order = await post(local, client_order_id="mine")
    assert (await local.request("GET", f"/v2/orders/{order['id']}"))[0] == 404
    assert (await local.request("GET", "/v2/orders:by_client_order_id?client_order_id=mine"))[0] == 404
    assert await local.request("GET", "/v2/orders") == (200, [])


async def stormed(local: Local, use: str) -> None:
    await local.arm(use)
    for path in ("/v2/account", "/v2/orders", "/v2/stocks/bars/latest?symbols=AAPL"):
        status, body = await local.request("GET", path)
        assert (status >= 500, body[:6]) == (True, "<html>")
        if use == "R14":
            return


async def limited(local: Local) -> None:
    await local.arm("O10")
    for _ in range(3):
        headers = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
        async with local.http.post(f"{local.url}/v2/orders", json=BUY, headers=headers) as reply:
            assert (reply.status, reply.headers["X-Ratelimit-Remaining"]) == (429, "0")


async def stale(local: Local, use: str, path: str) -> None:
    await local.arm(use, times=0)
    _, before = await local.request("GET", path)
    await hold(local)
    assert await local.request("GET", path) == (200, before)


async def edited_reply(local: Local, use: str, path: str, key: str, value: Any) -> None:
    await hold(local)
    await local.arm(use)
    _, body = await local.request("GET", path)
    assert (body if isinstance(body, dict) else body[0])[key] == value


async def endless(local: Local) -> None:
    await local.arm("R16")
    for _ in range(2):
        _, body = await local.request("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=1Min&start=2019-02-12")
        assert body["next_page_token"]


async def held_hidden(local: Local) -> None:
    await post(local, BRACKET | {"type": "limit", "limit_price": "99"})
    await local.arm("O15")
    assert [one["status"] for one in (await local.request("GET", "/v2/orders"))[1]] == ["new"]


async def close_all_fails(local: Local) -> None:
    await hold(local)
    await local.arm("O23")
    status, (answer,) = await local.request("DELETE", "/v2/positions")
    assert (status, answer["status"], answer["body"]["code"]) == (207, 500, 50010000)


async def waited(local: Local) -> None:
    _, order = await post(local, RESTING)
    await local.arm("O12", **{"with": {"seconds": 0.01}})
    status, _ = await local.request("PATCH", f"/v2/orders/{order['id']}", json={"qty": "5"})
    assert status == 200


# --- data streams -----------------------------------------------------------------------------------------------------


async def auth_refused(local: Local, use: str, code: int) -> None:
    await local.arm(use)
    async with connected(local) as peer:
        await peer.read()
        (answer,) = await peer.ask({"action": "auth", "key": KEY, "secret": SECRET})
        assert answer["code"] == code


async def mute_welcome(local: Local) -> None:
    await local.arm("W02")
    async with connected(local) as peer:
        await peer.socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.socket.receive(), 0.05)


async def refused_upgrade(local: Local, use: str) -> None:
    async with connected(local) as peer:
        await peer.log_in(bars=["*"])
        await local.arm(use)
        await local.happen(bar("9:40"))
    for _ in range(3):
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            async with connected(local):
                pass
    async with connected(local) as peer:
        await peer.log_in()


async def first_frame(local: Local, use: str, check: Callable[[aiohttp.WSMessage], bool], **arm: Any) -> None:
    """Subscribe, arm, and look at the frame of the next bar."""
    async with connected(local) as peer:
        await peer.log_in(bars=["*"], quotes=["*"], trades=["*"])
        await local.arm(use, **arm)
        await local.happen(bar("9:40"))
        assert check(await peer.frame())


async def muted(local: Local) -> None:
    async with connected(local) as peer:
        await peer.log_in(bars=["*"])
        await local.arm("W01")
        await local.happen(bar("9:40"), bar("9:41"))
        await peer.socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.socket.receive(), 0.05)


async def partial_ack(local: Local, use: str, wanted: list[str]) -> None:
    await local.arm(use)
    async with connected(local) as peer:
        (answer,) = await peer.log_in(bars=["A", "B", "C", "D"])
        assert answer["bars"] == wanted


async def limit_ack(local: Local) -> None:
    await local.arm("W07")
    async with connected(local) as peer:
        (answer,) = await peer.log_in(trades=["A"])
        assert answer["code"] == 405


async def no_pong(local: Local) -> None:
    await local.arm("W11")
    async with local.http.ws_connect(f"ws://{local.host}/v2/iex", autoping=False) as socket:
        await socket.receive(10.0)
        await socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.receive(), 0.05)


async def messages(local: Local, use: str, expected: list[tuple[str, float]]) -> None:
    """Three bars; what comes of them, as type and close."""
    async with connected(local) as peer:
        await peer.log_in(bars=["*"], updatedBars=["*"])
        await local.arm(use)
        for minute in range(5):
            await local.happen(bar(f"9:4{minute}", 100.0 + minute))
        seen = []
        while len(seen) < len(expected):
            seen += [(one["T"], one["c"]) for one in await peer.read()]
        assert seen == expected


async def quirks(local: Local) -> None:
    async with connected(local) as peer, connected(local, "/v1beta1/news") as reader:
        await peer.log_in(bars=["*"], quotes=["*"])
        await reader.log_in(news=["*"])
        await local.arm("W17")
        await local.happen(trade("9:40"))  # nobody listens to trades: a fault needs its occasion
        await local.happen(quote("9:41"))
        await local.happen(quote("9:42"))
        await local.happen(bar("9:43"))
        frames = [await peer.frame() for _ in range(3)]
        assert frames[0].type is aiohttp.WSMsgType.TEXT
        told = [msgpack.unpackb(frame.data)[0] for frame in frames[1:]]
        assert ("ap" in told[0], told[1]["t"]) == (False, None)


async def news_quirks(local: Local) -> None:
    async with connected(local, "/v1beta1/news") as reader:
        await reader.log_in(news=["*"])
        await local.arm("W20")
        await local.happen(story("9:40"), story("9:41", "second", news_id="2"))
        told = await reader.read()
        assert [one["id"] for one in told] == [24918784, 24918784, 2]
        assert told[2]["symbols"] == []


async def silent_symbol(local: Local) -> None:
    async with connected(local) as peer:
        await peer.log_in(bars=["*"])
        await local.arm("W19", where={"S": "MSFT"})
        await local.happen(bar("9:40", symbol="MSFT"), bar("9:40"), bar("9:41", symbol="MSFT"), bar("9:41"))
        assert [one["S"] for one in await peer.read()] == ["AAPL", "AAPL"]


# --- order updates ----------------------------------------------------------------------------------------------------


async def told(local: Local, use: str, expected: list[str], **arm: Any) -> None:
    """A market order that fills, and the events that come of it."""
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm(use, **arm)
        await post(local)
        await local.happen(quote("9:40"))
        await local.happen(quote("9:41"))
        _, marker = await post(local, RESTING)
        seen: list[str] = []
        while True:
            update = (await peer.read())["data"]
            if update["order"]["id"] == marker["id"]:
                break
            seen.append(update["event"])
        assert seen == expected


async def update_field(local: Local, use: str, look: Callable[[dict[str, Any]], Any], value: Any) -> None:
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm(use)
        await post(local)
        assert look((await peer.read())["data"]) == value


async def overtaken(local: Local, use: str) -> None:
    """The event is there while the reply has not been read."""
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm(use)
        _, order = await post(local)
        assert (await peer.read())["data"]["order"]["id"] == order["id"]


async def not_json(local: Local) -> None:
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm("F20")
        await post(local)
        assert (await peer.frame()).data == b'{"stream":"trade_upd'


async def trading_breaks(local: Local, use: str) -> None:
    """The stream breaks off; what happened is only to be read."""
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm(use)
        _, order = await post(local)
        await local.happen(quote("9:40"))
        while (update := await peer.read()) is not None:
            assert update["data"]["event"] == "new"
        assert (await shown(local, order))["status"] == "filled"


async def trading_mute(local: Local) -> None:
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm("F13")
        await post(local)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.socket.receive(), 0.05)


async def replaced_without_successor(local: Local) -> None:
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm("O13")
        _, order = await post(local, RESTING)
        await local.request("PATCH", f"/v2/orders/{order['id']}", json={"qty": "5"})
        seen = [(await peer.read())["data"] for _ in range(3)]
        assert (seen[1]["event"], seen[1]["order"]["replaced_by"]) == ("replaced", None)


async def leg_untold(local: Local) -> None:
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await post(local, BRACKET)
        await local.happen(quote("9:40"))
        await local.arm("O14")
        await local.happen(quote("9:41", 106.0, 106.1))
        assert await events(peer, 5) == ["new", "fill", "new", "new", "fill"]
        _, orders = await local.request("GET", "/v2/orders?status=all")
        assert sorted(one["status"] for one in orders) == ["canceled", "filled", "filled"]


# --- orders -----------------------------------------------------------------------------------------------------------


async def cancel_lost(local: Local, use: str) -> None:
    """204, and the order fills all the same."""
    _, order = await post(local, RESTING)
    await local.arm(use)
    assert (await local.request("DELETE", f"/v2/orders/{order['id']}"))[0] == 204
    assert (await shown(local, order))["status"] == "pending_cancel"
    await local.happen(quote("9:40", 89.0, 89.5))
    assert (await shown(local, order))["status"] == "filled"


async def cancel_stuck(local: Local, use: str) -> None:
    _, order = await post(local, RESTING)
    await local.arm(use)
    await local.request("DELETE", f"/v2/orders/{order['id']}")
    await local.happen(quote("9:40"))
    assert (await shown(local, order))["status"] == "pending_cancel"


async def replacement_refused(local: Local, use: str) -> None:
    """The new order is rejected; the old one lives, and fills."""
    _, order = await post(local, RESTING)
    await local.arm(use)
    status, new = await local.request("PATCH", f"/v2/orders/{order['id']}", json={"qty": "5"})
    assert (status, new["replaces"]) == (200, order["id"])
    assert [(await shown(local, one))["status"] for one in (order, new)] == ["new", "rejected"]
    await local.happen(quote("9:40", 89.0, 89.5))
    assert (await shown(local, order))["status"] == "filled"


async def replacement_doubled(local: Local) -> None:
    _, order = await post(local, RESTING)
    await local.arm("F27")
    _, new = await local.request("PATCH", f"/v2/orders/{order['id']}", json={"qty": "5"})
    assert [(await shown(local, one))["status"] for one in (order, new)] == ["new", "new"]


async def rejected_later(local: Local) -> None:
    await local.arm("F10")
    status, order = await post(local)
    assert (status, order["status"]) == (200, "pending_new")
    assert (await shown(local, order))["status"] == "rejected"
    await local.arm("F10")
    _, order = await post(local, BRACKET)
    assert {(await shown(local, one))["status"] for one in (order, *order["legs"])} == {"rejected"}


async def busted(local: Local, use: str) -> None:
    """The trade never was: cash and position are as before."""
    async with connected(local, "/stream", packed=False) as peer:
        await peer.listen()
        await local.arm(use)
        await hold(local)
        seen = [(await peer.read())["data"] for _ in range(3)]
        assert [one["event"] for one in seen] == ["new", "fill", "trade_bust"]
        assert seen[2]["previous_execution_id"] == seen[1]["execution_id"]
        assert (await local.request("GET", "/v2/account"))[1]["cash"] == "100000"
        assert await local.request("GET", "/v2/positions") == (200, [])


async def both_legs(local: Local) -> None:
    await post(local, BRACKET)
    await local.happen(quote("9:40"))
    await local.arm("O17")
    await local.happen(quote("9:41", 106.0, 106.1))
    _, (position,) = await local.request("GET", "/v2/positions")
    assert position["qty"] == "-10"


async def parts(local: Local, use: str, expected: list[str], body: dict[str, Any] = BUY) -> None:
    """An order for 100 fills as the fault says."""
    await local.arm(use)
    _, order = await post(local, body, qty="100")
    for minute in range(5):
        await local.happen(quote(f"9:4{minute}"))
    _, fills = await local.request("GET", f"/v2/account/activities/FILL?direction=asc&order_id={order['id']}")
    assert [one["qty"] for one in fills] == expected


async def stalled_bracket(local: Local) -> None:
    await parts(local, "O16", ["40"], BRACKET)
    _, (entry,) = await local.request("GET", "/v2/orders?nested=true")
    assert (entry["status"], {leg["status"] for leg in entry["legs"]}) == ("partially_filled", {"held"})


async def partial_bracket(local: Local) -> None:
    await local.arm("F31")
    await post(local, BRACKET, qty="100")
    await local.happen(quote("9:40"))
    _, (entry,) = await local.request("GET", "/v2/orders?nested=true")
    assert (entry["filled_qty"], {leg["status"] for leg in entry["legs"]}) == ("40", {"held"})


async def auction_ignored(local: Local) -> None:
    await local.arm("R11")
    await local.happen(bar("16:30"), bar("19:30"))
    _, order = await post(local, time_in_force="opg")
    ts_ns = at("9:31", "2019-02-13")
    await local.happen(msgspec.structs.replace(bar("9:31"), ts_event_ns=ts_ns, ts_recv_ns=ts_ns))
    assert (await shown(local, order))["filled_qty"] == "0"


async def foreign(local: Local, use: str) -> None:
    """An order that nobody here sent, with a client id that nobody here knows."""
    await local.arm(use, **{"with": {"symbol": "AAPL"}})
    await local.happen(quote("9:40"))
    await local.happen(quote("9:41"))
    _, (order,) = await local.request("GET", "/v2/orders?status=all")
    assert (order["source"], order["status"], order["qty"]) == ("dashboard", "filled", "1")


async def account_blocked(local: Local) -> None:
    await local.arm("R10")
    assert (await local.request("GET", "/v2/account"))[1]["trading_blocked"] is True
    assert (await post(local))[0] == 403


async def asset_gone(local: Local) -> None:
    await local.arm("R09", **{"with": {"symbol": "AAPL"}})
    assert (await local.request("GET", "/v2/assets/AAPL"))[1]["tradable"] is False
    assert (await post(local))[0] == 422


async def halted(local: Local) -> None:
    await local.arm(
        "R08", **{"with": {"event": {"event": "Status", "symbol": "AAPL", "state": "halted", "reason": "T1"}}}
    )
    _, order = await post(local)
    await local.happen(quote("9:40"))
    assert (await shown(local, order))["status"] == "new"


async def split(local: Local) -> None:
    """Twice the shares, and open orders canceled."""
    await hold(local)
    _, order = await post(local, RESTING)
    action = {"event": "CorporateAction", "action": "split", "new_shares": 2, "old_shares": 1, "symbol": "AAPL"}
    await local.arm("R12", **{"with": {"event": action}})
    assert (await local.request("GET", "/v2/positions"))[1][0]["qty"] == "20"
    assert (await shown(local, order))["status"] == "canceled"


async def ids_again(local: Local) -> None:
    first = await hold(local)
    await local.arm("F35")
    _, second = await post(local)
    assert first["id"] == second["id"]


SCENES: dict[str, Scene] = {
    "W01": muted,
    "W02": mute_welcome,
    "W03": lambda on: refused_upgrade(on, "W03"),
    "W04": lambda on: auth_refused(on, "W04", 406),
    "W05": lambda on: auth_refused(on, "W05", 402),
    "W06": lambda on: auth_refused(on, "W06", 409),
    "W07": limit_ack,
    "W08": lambda on: partial_ack(on, "W08", ["A", "B"]),
    "W09": lambda on: first_frame(on, "W09", lambda frame: len(msgpack.unpackb(frame.data)) == 30_000),
    "W10": lambda on: first_frame(on, "W10", lambda frame: msgpack.unpackb(frame.data)[0]["code"] == 407),
    "W11": no_pong,
    "W12": lambda on: first_frame(on, "W12", lambda frame: frame.type is aiohttp.WSMsgType.CLOSED),
    "W13": lambda on: first_frame(on, "W13", lambda frame: frame.data == 1000),
    "W17": quirks,
    "W18": lambda on: messages(on, "W18",
        [("b", 100.0), ("b", 100.0), ("b", 103.0), ("u", 103.0), ("b", 102.0), ("b", 104.0)]),
    "W19": silent_symbol,
    "W20": news_quirks,
    "O01": lambda on: told(on, "O01", ["new"]),
    "O02": lambda on: told(on, "O02", ["new", "fill", "new", "fill", "new", "fill"]),
    "O03": lambda on: trading_breaks(on, "O03"),
    "O04": lambda on: parts(on, "O04", ["30", "30", "30", "10"]),
    "O05": lambda on: cancel_lost(on, "O05"),
    "O06": lambda on: cancel_stuck(on, "O06"),
    "O07": lambda on: overtaken(on, "O07"),
    "O08": lambda on: executed(on, "O08", 504),
    "O09": lambda on: answered(on, "O09", 422),
    "O10": limited,
    "O11": lambda on: replacement_refused(on, "O11"),
    "O12": waited,
    "O13": replaced_without_successor,
    "O14": leg_untold,
    "O15": held_hidden,
    "O16": stalled_bracket,
    "O17": both_legs,
    "O18": lambda on: update_field(on, "O18", lambda update: update["order"]["status"], "weird"),
    "O19": lambda on: update_field(on, "O19", lambda update: update["execution_id"], None),
    "O20": lambda on: told(on, "O20", ["fill"]),
    "O21": lambda on: told(on, "O21",
        ["new", "stopped", "suspended", "calculated", "restated", "done_for_day", "fill"]),
    "O22": lambda on: busted(on, "O22"),
    "O23": close_all_fails,
    "O24": lambda on: foreign(on, "O24"),
    "O25": lambda on: edited_reply(on, "O25", "/v2/positions", "symbol", "BTCUSD"),
    "R01": lambda on: answered(on, "R01", 403),
    "R02": lambda on: answered(on, "R02", 403),
    "R03": lambda on: answered(on, "R03", 403),
    "R04": lambda on: answered(on, "R04", 403),
    "R05": lambda on: answered(on, "R05", 422),
    "R06": lambda on: edited_reply(on, "R06", "/v2/positions/AAPL", "qty", "9.999999999"),
    "R08": halted,
    "R09": asset_gone,
    "R10": account_blocked,
    "R11": auction_ignored,
    "R12": split,
    "R14": lambda on: stormed(on, "R14"),
    "R15": lambda on: hung(on, "R15", taken_on=False, path="/v2/account"),
    "R16": endless,
    "R17": lambda on: stale(on, "R17", "/v2/orders?status=all"),
    "R18": lambda on: edited_reply(on, "R18", "/v2/assets/AAPL", "code", 40410000),
    "F01": lambda on: executed(on, "F01", 504),
    "F02": lambda on: hung(on, "F02", taken_on=False),
    "F03": lambda on: broken(on, "F03", taken_on=True),
    "F04": truncated,
    "F05": lambda on: answered(on, "F05", 429),
    "F06": lambda on: stormed(on, "F06"),
    "F07": lambda on: answered(on, "F07", 422),
    "F08": lambda on: hung(on, "F08", taken_on=True),
    "F09": hidden,
    "F10": rejected_later,
    "F11": lambda on: answered(on, "F11", 422),
    "F13": trading_mute,
    "F14": lambda on: told(on, "F14", ["new"]),
    "F15": lambda on: told(on, "F15", ["new", "fill", "fill", "fill"]),
    "F16": lambda on: overtaken(on, "F16"),
    "F17": lambda on: told(on, "F17", ["fill", "new"]),
    "F18": lambda on: parts(on, "F18", ["10", "10", "80"]),
    "F19": lambda on: update_field(on, "F19", lambda update: (update["event"], update["news"]), ("weird", {"a": 1})),
    "F20": not_json,
    "F21": lambda on: refused_upgrade(on, "F21"),
    "F22": lambda on: partial_ack(on, "F22", []),
    "F23": lambda on: trading_breaks(on, "F23"),
    "F24": lambda on: messages(on, "F24", [("b", 100.0), ("u", 100.0)]),
    "F25": lambda on: cancel_lost(on, "F25"),
    "F26": lambda on: replacement_refused(on, "F26"),
    "F27": replacement_doubled,
    "F28": lambda on: cancel_lost(on, "F28"),
    "F29": lambda on: cancel_stuck(on, "F29"),
    "F30": lambda on: parts(on, "F30", ["1", "99"]),
    "F31": partial_bracket,
    "F32": lambda on: busted(on, "F32"),
    "F33": lambda on: stale(on, "F33", "/v2/positions"),
    "F34": lambda on: foreign(on, "F34"),
    "F35": ids_again,
}  # fmt: skip


def test_every_fault_of_the_catalogue_has_a_scene() -> None:
    """A fault that nobody has seen happen may not be promised."""
    assert set(SCENES) == set(CATALOGUE.faults)


@pytest.mark.parametrize("use", sorted(SCENES))
async def test_the_fault_happens_and_says_so(use: str) -> None:
    """The scene asserts what it does; the report that it fired."""
    async with running([quote("9:31"), bar("9:32")]) as local:
        await local.step(2)
        await SCENES[use](local)
        assert (await local.fired())[use] >= 1


async def test_rows_and_assets_of_unknown_words_are_served() -> None:
    """The other halves of O18 and O19: an exchange that nobody knows, an order without its submission."""
    async with running([quote("9:31")]) as local:
        await local.step()
        await post(local)
        await local.arm("O18")
        assert (await local.request("GET", "/v2/assets"))[1][0]["exchange"] == "XYZ"
        await local.arm("O19")
        assert (await local.request("GET", "/v2/orders"))[1][0]["submitted_at"] is None


async def test_a_corrected_fill_changes_the_cash() -> None:
    """`fill_correct`: the trade is told again at another price."""
    async with running([quote("9:31")]) as local:
        await local.step()
        await local.arm("fill_correct", **{"with": {"price": "99"}})
        await hold(local)
        assert (await local.request("GET", "/v2/account"))[1]["cash"] == "99010"


async def test_sessions_can_be_ended_and_updates_delayed() -> None:
    """`sessions_end`, `update_wait` and `ws_bytes`, which no name of the catalogue uses."""
    async with running([quote("9:31")]) as local, connected(local, "/stream", packed=False) as peer:
        await local.step()
        await peer.listen()
        await local.arm("update_wait", **{"with": {"seconds": 0.01}})
        await post(local)
        assert await events(peer, 1) == ["new"]
        await local.arm("ws_bytes", where={"endpoint": "/stream"})
        await post(local, RESTING)
        assert (await peer.frame()).data == b"\xc1"
        await local.arm("sessions_end")
        assert await peer.read() is None


def test_a_fault_waits_for_its_occasion() -> None:
    """`skip`, `times`, `after_s`, `for_s`, `where` and `chance` say which occasions it takes."""
    clock = ManualClock()
    faults = Faults(
        clock, 1, [Fault(use="http_hang", skip=1, times=2, after_s=1.0, for_s=10.0, where={"path": "/v2/*"})]
    )
    hits = [faults.hit("request", path="/v2/orders") is not None]
    clock.advance(1.0)
    hits += [faults.hit("request", path=path) is not None for path in ("/v1/x", "/v2/a", "/v2/b", "/v2/c", "/v2/d")]
    assert hits == [False, False, False, True, True, False]
    clock.advance(20.0)
    assert faults.report()[0]["fired"] == 2
    seldom = Faults(clock, 1, [Fault(use="http_hang", times=0, chance=0.5)])
    taken = sum(seldom.hit("request") is not None for _ in range(1000))
    assert 400 < taken < 600
    seldom.clear()
    assert (seldom.hit("request"), seldom.report()) == (None, [])


def test_an_unknown_fault_is_refused_with_a_suggestion() -> None:
    """A typing error in a script is told, not ignored."""
    with pytest.raises(ConfigError, match="unknown fault 'htp_hang'; did you mean 'http_hang'"):
        Faults(ManualClock(), 0, [Fault(use="htp_hang")])


def test_a_reply_is_edited_by_paths() -> None:
    """Fields are set, made null and dropped, in each item of a list and deep inside."""
    params = {"set": {"a.b": 2}, "null": ["c"], "drop": ["d", "e.f"]}
    before = [{"a": {"b": 1}, "c": 1, "d": 1, "e": {"f": 1, "g": 2}}, 7]
    assert edited(before, params) == [{"a": {"b": 2}, "c": None, "e": {"g": 2}}, 7]
