"""The data streams frame by frame: errors, limits, channels, sessions that end badly."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from engine.events import DAY_NS, Bar, Status
from tests.brokers.alpaca_server.local import KEY, SECRET, bar, connected, day, quote, running, story, trade, until
from tests.brokers.paper_venue import at

AUTH = {"action": "auth", "key": KEY, "secret": SECRET}
STOCKS = ["trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors"]


def error(code: int, message: str) -> list[dict[str, Any]]:
    return [{"T": "error", "code": code, "msg": message}]


async def test_wrong_keys_are_refused_and_the_session_ends() -> None:
    """402, then the close."""
    async with running() as local, connected(local) as peer:
        await peer.read()
        assert await peer.ask(AUTH | {"secret": "wrong"}) == error(402, "auth failed")
        assert await peer.read() is None


async def test_nothing_but_authentication_is_answered_before_it() -> None:
    """401 for a subscription, 400 for what does not read; the session stays."""
    async with running() as local, connected(local, packed=False) as peer:
        await peer.read()
        assert await peer.ask({"action": "subscribe", "bars": ["*"]}) == error(401, "not authenticated")
        assert await peer.ask({"action": "dance"}) == error(400, "invalid syntax")
        await peer.socket.send_str("{nonsense")
        assert await peer.read() == error(400, "invalid syntax")
        assert await peer.ask(AUTH) == [{"T": "success", "msg": "authenticated"}]
        assert await peer.ask(AUTH) == error(403, "already authenticated")


async def test_who_does_not_authenticate_is_sent_away() -> None:
    """404 after `auth_wait_s`."""
    async with running(auth_wait_s=0.01) as local, connected(local) as peer:
        await peer.read()
        assert await peer.read() == error(404, "auth timeout")
        assert await peer.read() is None


async def test_a_second_session_of_an_endpoint_is_one_too_many() -> None:
    """406 for the same endpoint (`connections_max`), none for another; the place is free again afterwards."""
    async with running() as local:
        async with connected(local) as first, connected(local) as second, connected(local, "/v2/sip") as other:
            await first.log_in()
            await other.log_in()
            await second.read()
            assert await second.ask(AUTH) == error(406, "connection limit exceeded")
            assert await second.read() is None
        await until(lambda: not local.venue.streams.sessions)
        async with connected(local) as again:
            await again.log_in()


async def test_a_session_that_broke_off_haunts_its_place() -> None:
    """With `ghost_s` an aborted session still counts, and so does none that said goodbye."""
    async with running(ghost_s=60.0) as local:
        async with connected(local) as peer:
            await peer.log_in()
            await peer.socket.close()
        async with connected(local) as peer:
            await peer.log_in()
            peer.socket._response.connection.transport.abort()
            await until(lambda: not local.venue.streams.sessions)
        async with connected(local) as peer:
            await peer.read()
            assert await peer.ask(AUTH) == error(406, "connection limit exceeded")


async def test_a_feed_outside_the_plan_is_refused() -> None:
    """409 where `feeds` does not have it."""
    async with running(feeds=("iex",)) as local, connected(local, "/v2/sip") as peer:
        await peer.read()
        assert await peer.ask(AUTH) == error(409, "insufficient subscription")


async def test_the_plans_symbol_limit_leaves_the_subscription_as_it_was() -> None:
    """405 above `symbols_max` of trades and quotes; bars do not count."""
    async with running(symbols_max=2) as local, connected(local) as peer:
        (before,) = await peer.log_in(trades=["A", "B"], bars=["*"])
        assert await peer.ask({"action": "subscribe", "quotes": ["C"]}) == error(405, "symbol limit exceeded")
        assert await peer.ask({"action": "subscribe", "quotes": ["*"]}) == error(405, "symbol limit exceeded")
        (after,) = await peer.ask({"action": "subscribe", "quotes": ["A"]})
        assert (after["trades"], after["quotes"]) == (before["trades"], ["A"])


async def test_subscriptions_add_up_and_are_taken_back_one_by_one() -> None:
    """Each answer is the whole list; corrections and cancels follow the trades."""
    async with running() as local, connected(local) as peer:
        (first,) = await peer.log_in(trades=["B"], quotes=["A"])
        assert list(first) == ["T", *STOCKS]
        (second,) = await peer.ask({"action": "subscribe", "trades": ["A"], "corrections": ["Z"]})
        assert (second["trades"], second["corrections"], second["cancelErrors"]) == (["A", "B"], ["A", "B"], ["A", "B"])
        (third,) = await peer.ask({"action": "unsubscribe", "trades": ["B"], "quotes": ["A", "NEVER"]})
        assert (third["trades"], third["quotes"]) == (["A"], [])


@pytest.mark.parametrize(
    ("path", "wanted", "code"),
    [
        ("/v2/iex", {"bars": ["aapl"]}, 400), ("/v2/iex", {"bars": "AAPL"}, 400), ("/v2/iex", {"candles": ["A"]}, 400),
        ("/v2/iex", {"news": ["A"]}, 410), ("/v2/iex", {"orderbooks": ["A"]}, 410),
        ("/v2/test", {"statuses": ["A"]}, 410),
        ("/v1beta3/crypto/us", {"trades": ["BTCUSD"]}, 400), ("/v1beta3/crypto/us", {"statuses": ["BTC/USD"]}, 410),
        ("/v1beta1/news", {"bars": ["AAPL"]}, 410), ("/v1beta1/news", {"news": ["BTCUSD", "BTC/USD"]}, 0),
    ],
)  # fmt: skip
async def test_malformed_and_misplaced_channels_are_refused(path: str, wanted: dict[str, Any], code: int) -> None:
    """400 for a shape or symbol that no feed has, 410 for a channel that this one has not."""
    async with running() as local, connected(local, path) as peer:
        await peer.log_in()
        (answer,) = await peer.ask({"action": "subscribe", **wanted})
        assert answer.get("code", 0) == code


async def test_only_what_was_asked_for_comes() -> None:
    """By channel and symbol; news and crypto do not leak into stocks."""
    events = [
        bar("9:31"),
        quote("9:31:01"),
        trade("9:31:02"),
        bar("9:31:03", symbol="MSFT"),
        story("9:31:04"),
        bar("9:32", symbol="BTC/USD"),
    ]
    async with running(events) as local, connected(local) as peer:
        await peer.log_in(bars=["*"], trades=["AAPL"], quotes=["MSFT"])
        await local.step(6)
        assert [(one["T"], one["S"]) for one in await peer.read()] == [("b", "AAPL"), ("t", "AAPL"), ("b", "MSFT")]


async def test_status_and_bands_have_channels_of_their_own() -> None:
    """A halt on `statuses`, its limit prices on `lulds`."""
    halt = Status("AAPL", at("9:31"), at("9:31"), "halted", "T12", 3.24, 2.65)
    async with running([halt]) as local, connected(local, packed=False) as peer:
        await peer.log_in(statuses=["AAPL"], lulds=["*"])
        await local.step()
        status, bands = await peer.read()
        assert (status["sc"], status["sm"], status["rc"], status["t"]) == (
            "H",
            "Trading Halt",
            "T12",
            "2019-02-12T14:31:00Z",
        )
        assert (bands["T"], bands["u"], bands["d"], bands["i"]) == ("l", 3.24, 2.65, "B")


async def test_a_daily_tape_streams_daily_bars() -> None:
    """A session's bar is a `d`, stamped at midnight in New York."""
    ts_ns = at("16:00")
    async with (
        running([Bar("AAPL", ts_ns, ts_ns, 1, 2, 0.5, 1.5, 1e6, DAY_NS)]) as local,
        connected(local, packed=False) as peer,
    ):
        await peer.log_in(dailyBars=["*"], bars=["*"])
        await local.step()
        (message,) = await peer.read()
        assert (message["T"], message["t"]) == ("d", "2019-02-12T05:00:00Z")


async def test_the_delayed_feed_is_a_quarter_of_an_hour_late() -> None:
    """What happened at 9:31 comes when it is 9:46."""
    async with running([bar("9:31"), bar("9:45"), bar("9:46")]) as local, connected(local, "/v2/delayed_sip") as peer:
        await peer.log_in(bars=["*"])
        await local.step(2)
        await local.step(1)
        assert [one["t"].to_unix_nano() for one in await peer.read()] == [bar("9:31").ts_open_ns]


async def test_pings_are_answered_and_sent_when_wanted() -> None:
    """A pong for a ping; with `server_ping_s` pings of the server's own."""
    async with running(server_ping_s=0.01) as local:
        headers = {"Content-Type": "application/msgpack"}
        async with local.http.ws_connect(f"ws://{local.host}/v2/iex", headers=headers, autoping=False) as socket:
            assert (await socket.receive(10.0)).type is aiohttp.WSMsgType.BINARY
            await socket.ping(b"here")
            seen = [await socket.receive(10.0) for _ in range(2)]
            assert {one.type for one in seen} == {aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG}


async def test_a_reader_that_does_not_read_is_called_slow() -> None:
    """With a pace, more than `send_buffer_bytes_max` unread bytes mean 407 and the end."""
    async with running(speed=1000.0, send_buffer_bytes_max=1 << 16) as local, connected(local) as peer:
        await peer.log_in(bars=["*"])
        session = local.venue.streams.sessions[0]
        minute = bar("9:31")
        while session.socket.is_open:
            session.parts += [session.encode({"T": "b", "S": "AAPL", "c": minute.close})] * 10_000
            local.venue.streams.flush()
        last = None
        while (frame := await peer.read()) is not None:
            last = frame
        assert last == error(407, "slow client")


async def test_the_test_stream_has_only_its_own_symbol() -> None:
    """FAKEPACA on `/v2/test`, and nowhere else."""
    tape = [quote("9:31", symbol="FAKEPACA"), quote("9:32")]
    async with running(tape) as local, connected(local, "/v2/test") as fake, connected(local) as stocks:
        await fake.log_in(quotes=["*"])
        await stocks.log_in(quotes=["*"])
        await local.step(2)
        assert [one["S"] for one in await fake.read()] == ["FAKEPACA"]
        assert [one["S"] for one in await stocks.read()] == ["AAPL"]


async def test_a_session_is_told_when_the_venue_closes() -> None:
    """1001, going away, to streams of both kinds."""
    async with running(day()) as local, connected(local) as peer, connected(local, "/stream") as other:
        await peer.log_in()
        local.venue.end_sessions()
        assert await peer.read() is None
        assert await other.read() is None
        assert (peer.socket.close_code, other.socket.close_code) == (1001, 1001)


async def test_json_in_answer_to_second_auth_is_a_switch() -> None:
    """With `second_auth` 403 the message after good headers is an error, as it may be."""
    keys = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
    async with running(second_auth="403") as local, connected(local, **keys) as peer:
        await peer.read()
        await peer.read()
        assert await peer.ask(AUTH) == error(403, "already authenticated")


async def test_an_error_closes_the_session_only_where_it_is_said_to() -> None:
    """`closing_errors` decides."""
    async with running(closing_errors=()) as local, connected(local) as peer:
        await peer.read()
        assert await peer.ask(AUTH | {"key": "x"}) == error(402, "auth failed")
        assert await peer.ask(AUTH) == [{"T": "success", "msg": "authenticated"}]
