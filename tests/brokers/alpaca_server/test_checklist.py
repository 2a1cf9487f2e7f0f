"""The protocol reference's checklist for a venue that the unmodified SDK must run against: one test a line."""

from __future__ import annotations

import asyncio

import aiohttp
import msgpack
import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.live import StockDataStream
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.enums import (
    AccountStatus,
    AssetClass,
    AssetExchange,
    AssetStatus,
    OrderClass,
    OrderSide,
    OrderStatus,
    OrderType,
    TimeInForce,
)
from alpaca.trading.requests import MarketOrderRequest

from engine.events import Bar
from tests.brokers.alpaca_server.local import (
    KEY,
    SECRET,
    Caught,
    bar,
    connected,
    day,
    quote,
    running,
    sdk,
    story,
    stream_of,
    streaming,
)  # fmt: skip

AUTH = {"action": "auth", "key": KEY, "secret": SECRET}


async def test_line_1_binary_frames_answer_a_msgpack_client() -> None:
    """Msgpack in binary frames when the upgrade asked for it, JSON in text frames when not."""
    async with running() as local:
        for packed, kind in ((True, aiohttp.WSMsgType.BINARY), (False, aiohttp.WSMsgType.TEXT)):
            async with connected(local, packed=packed) as peer:
                assert (await peer.frame()).type is kind
                await peer.say(AUTH)
                assert (await peer.frame()).type is kind


async def test_line_2_every_frame_is_an_array_of_maps_and_the_first_comes_unasked() -> None:
    """`connected` first; data are arrays too."""
    async with running() as local, connected(local) as peer:
        assert await peer.log_in(bars=["*"])
        await local.step(2)
        frame = await peer.read()
        assert isinstance(frame, list)
        assert {type(message) for message in frame} == {dict}


async def test_line_3_the_type_is_each_maps_first_key_and_control_frames_stand_alone() -> None:
    """`T` first; connected, authenticated and subscription are arrays of one."""
    async with running() as local, connected(local) as peer:
        frames = [await peer.read(), await peer.ask(AUTH), await peer.ask({"quotes": ["AAPL"], "action": "subscribe"})]
        assert [len(frame) for frame in frames] == [1, 1, 1]
        await local.step()
        frames.append(await peer.read())
        assert {next(iter(message)) for frame in frames for message in frame} == {"T"}


async def test_line_4_instants_are_msgpack_timestamps() -> None:
    """Extension type -1, for `t` and for a story's two instants."""
    async with running([bar("9:31"), story("9:32")]) as local:
        async with connected(local) as peer, connected(local, "/v1beta1/news") as reader:
            await peer.log_in(bars=["*"])
            await reader.log_in(news=["*"])
            await local.step(2)
            ((minute,), (news,)) = await peer.read(), await reader.read()
        assert {type(one) for one in (minute["t"], news["created_at"], news["updated_at"])} == {msgpack.Timestamp}


async def test_line_5_fragmented_subscriptions_are_put_together() -> None:
    """The SDK sends its list in fragments of 32 KiB, a small one as a frame and an empty continuation."""
    async with running() as local:
        symbols = [f"S{one:06d}" for one in range(8000)]
        for wanted in (["AAPL"], symbols):
            stream, caught = stream_of(local, StockDataStream), Caught()
            stream.subscribe_bars(caught.handler, *wanted)
            async with streaming(local, stream):
                assert local.venue.streams.sessions[0].channels["bars"] == set(wanted)


async def test_line_6_welcome_and_answer_come_at_once() -> None:
    """Neither waits for anything: both are there within the time-out of a test."""
    async with running() as local, connected(local) as peer:
        await peer.log_in()


async def test_line_7_authorization_is_the_first_thing_on_the_trading_stream() -> None:
    """No welcome: the first frame answers the keys."""
    async with running() as local, connected(local, "/stream", packed=False) as peer:
        answer = await peer.ask({"action": "authenticate", "data": {"key_id": KEY, "secret_key": SECRET}})
        assert answer == {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}


@pytest.mark.parametrize("binary", [True, False])
async def test_line_8_order_updates_are_json_in_text_or_binary_frames(binary: bool) -> None:
    """Binary as paper sends them (`binary_updates`), text as live does; JSON in both."""
    async with running(binary_updates=binary) as local, connected(local, "/stream", packed=False) as peer:
        assert await peer.listen() == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
        await local.step(3)
        await local.request(
            "POST",
            "/v2/orders",
            json={"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"},
        )
        frame = await peer.frame()
        assert frame.type is (aiohttp.WSMsgType.BINARY if binary else aiohttp.WSMsgType.TEXT)


async def test_line_9_frames_stay_below_a_mebibyte() -> None:
    """A full market's minute is cut into frames of `frame_messages_max` messages."""
    events = [
        Bar(f"S{one:05d}", *[bar("9:31").ts_event_ns] * 2, 1.0, 2.0, 0.5, 1.5, 1e6, 60_000_000_000)
        for one in range(11_000)
    ]
    async with running(events, frame_messages_max=500) as local, connected(local) as peer:
        await peer.log_in(bars=["*"])
        await local.step(11_000)
        sizes, seen = [], 0
        while seen < 11_000:
            frame = await peer.frame()
            sizes.append(len(frame.data))
            seen += len(msgpack.unpackb(frame.data))
        assert max(sizes) < 1 << 20
        assert len(sizes) == 22


async def test_line_10_header_authentication_takes_the_auth_message_too() -> None:
    """Authenticated by its headers at once; the SDK's message afterwards is no error, a second one is."""
    keys = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
    async with running() as local, connected(local, **keys) as peer:
        assert await peer.read() == [{"T": "success", "msg": "connected"}]
        assert await peer.read() == [{"T": "success", "msg": "authenticated"}]
        assert await peer.ask(AUTH) == [{"T": "success", "msg": "authenticated"}]
        assert await peer.ask(AUTH) == [{"T": "error", "code": 403, "msg": "already authenticated"}]


async def test_line_11_errors_have_a_code_and_a_message() -> None:
    """`APIError.code` and `.message` read the body of every refusal."""
    async with running() as local:
        with pytest.raises(APIError) as error:
            await sdk(local.trading.get_open_position, "AAPL")
        assert (error.value.code, error.value.message) == (40410000, "position does not exist")
        status, body = await local.request("GET", "/v2/nowhere")
        assert (status, set(body)) == (404, {"code", "message"})


async def test_line_12_pages_have_one_data_key_and_end_with_null() -> None:
    """One of the known keys, and `next_page_token` null at the end."""
    known = {"bars", "quotes", "trades", "news", "snapshots", "orderbooks", "corporate_actions"}
    query = {"symbols": "AAPL", "timeframe": "1Min", "start": "2019-02-12"}
    async with running() as local:
        await local.step(10)
        for path in (
            "/v2/stocks/bars",
            "/v2/stocks/quotes",
            "/v2/stocks/trades",
            "/v1beta1/news",
            "/v1/corporate-actions",
        ):
            _, body = await local.request("GET", path, params=query)
            assert len(known & set(body)) == 1
            assert body["next_page_token"] is None


async def test_line_13_empty_results_are_empty_maps() -> None:
    """`{}` and `[]`, never null: the SDK iterates over them."""
    async with running() as local:
        request = StockBarsRequest(symbol_or_symbols="NOPE", timeframe=TimeFrame.Minute)
        assert (await sdk(local.stocks.get_stock_bars, request)).data == {}
        assert (await local.request("GET", "/v1beta1/news"))[1]["news"] == []


async def test_line_14_trading_has_decimal_strings_and_data_numbers() -> None:
    """Amounts of orders, positions and the account are strings; prices of the market are numbers."""
    async with running() as local:
        await local.step(3)
        await sdk(local.trading.submit_order, MarketOrderRequest(symbol="AAPL", qty=2, side="buy", time_in_force="day"))
        await local.step(2)
        (order,) = await sdk(local.raw.get, "/orders", {"status": "all"})
        (position,) = await sdk(local.raw.get_all_positions)
        account = await sdk(local.raw.get_account)
        amounts = [order["qty"], order["filled_avg_price"], position["qty"], position["market_value"], account["cash"]]
        assert {type(one) for one in amounts} == {str}
        _, body = await local.request("GET", "/v2/stocks/quotes/latest", params={"symbols": "AAPL"})
        assert {type(body["quotes"]["AAPL"][key]) for key in ("ap", "bp")} == {float}


async def test_line_15_a_cancel_answers_204_with_an_empty_body() -> None:
    """The SDK returns None for it."""
    async with running() as local:
        await local.step(3)
        _, order = await local.request(
            "POST",
            "/v2/orders",
            json={
                "symbol": "AAPL",
                "qty": "1",
                "side": "buy",
                "type": "limit",
                "limit_price": "90",
                "time_in_force": "day",
            },
        )
        assert await local.request("DELETE", f"/v2/orders/{order['id']}") == (204, "")


async def test_line_16_every_word_is_in_the_sdks_enumerations() -> None:
    """Statuses, classes, exchanges and the rest, over a day's orders of every kind."""
    async with running([*day(), bar("9:31", symbol="BTC/USD")]) as local:
        await local.step(3)
        bodies = [
            {"type": "market"},
            {"type": "limit", "limit_price": "90", "order_class": "bracket", "take_profit": {"limit_price": "99"},
             "stop_loss": {"stop_price": "80"}},
            {"type": "stop", "stop_price": "120"},
        ]  # fmt: skip
        for body in bodies:
            status, _ = await local.request(
                "POST", "/v2/orders", json={"symbol": "AAPL", "qty": "1", "side": "buy", "time_in_force": "day"} | body
            )
            assert status == 200
        await local.step(2)
        for order in await sdk(local.raw.get, "/orders", {"status": "all"}):
            OrderStatus(order["status"]), OrderType(order["type"]), OrderSide(order["side"])
            (
                TimeInForce(order["time_in_force"]),
                AssetClass(order["asset_class"]),
                OrderClass(order["order_class"] or "simple"),
            )
        for asset in (*await sdk(local.raw.get_all_assets), await sdk(local.raw.get_asset, "BTCUSD")):
            AssetClass(asset["class"]), AssetExchange(asset["exchange"]), AssetStatus(asset["status"])
        AccountStatus((await sdk(local.raw.get_account))["status"])


async def test_line_17_calendar_times_are_hours_and_minutes() -> None:
    """`HH:MM`, which the SDK reads with `strptime`."""
    async with running() as local:
        _, rows = await local.request("GET", "/v2/calendar", params={"start": "2019-02-12", "end": "2019-02-12"})
        assert [(row["open"], row["close"]) for row in rows] == [("09:30", "16:00")]


async def test_line_18_odd_paths_and_capital_booleans_are_understood() -> None:
    """The colon, slashes of a symbol in the path, and `True` in a query."""
    async with running(
        [bar("9:31", 50_000.0, "BTC/USD"), quote("9:32", 50_000.0, 50_001.0, "BTC/USD"), bar("9:33", symbol="BTC/USD")]
    ) as local:
        await local.step()
        body = {
            "symbol": "BTC/USD",
            "qty": "0.01",
            "side": "buy",
            "type": "market",
            "time_in_force": "gtc",
            "client_order_id": "c-1",
        }
        await local.request("POST", "/v2/orders", json=body)
        await local.step()
        assert (await local.request("GET", "/v2/orders:by_client_order_id?client_order_id=c-1"))[0] == 200
        for path in ("/v2/positions/BTC/USD", "/v2/positions/BTCUSD", "/v2/assets/BTC%2FUSD"):
            assert (await local.request("GET", path))[0] == 200
        status, answers = await local.request("DELETE", "/v2/positions?cancel_orders=True")
        assert (status, [one["status"] for one in answers]) == (207, [200])


async def test_line_19_upgrades_happen_on_the_exact_path() -> None:
    """No redirect; a path that no feed has is a 404."""
    async with running() as local:
        for path in (
            "/v2/iex",
            "/v2/sip",
            "/v2/delayed_sip",
            "/v2/test",
            "/v1beta1/boats",
            "/v1beta1/news",
            "/v1beta3/crypto/us",
            "/stream",
        ):
            async with connected(local, path):
                await asyncio.sleep(0)
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with connected(local, "/v2/nowhere"):
                pass
        assert error.value.status == 404
