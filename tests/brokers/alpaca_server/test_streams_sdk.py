"""The unmodified SDK's four streams, each run as its documentation does, in a thread of its own."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from alpaca.data.live import CryptoDataStream, NewsDataStream, StockDataStream
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream

from brokers.alpaca_server.data_session import DataSession
from engine.events import Status
from tests.brokers.alpaca_server.local import (
    Caught,
    Local,
    bar,
    day,
    quote,
    running,
    sdk,
    story,
    stream_of,
    streaming,
    trade,
    until,
)
from tests.brokers.paper_venue import at


async def test_stock_stream_brings_bars_quotes_trades_and_the_rest() -> None:
    """Every channel of a stock feed, parsed by the SDK's own models."""
    first = bar("9:31", 100.0)
    halted = Status("AAPL", at("9:31:04"), at("9:31:04"), "halted", "T1", limit_up_price=110.0, limit_down_price=90.0)
    events = [
        first, quote("9:31:01"), trade("9:31:02"),
        msgspec.structs.replace(first, close=101.0, revised=True, ts_recv_ns=at("9:31:03")), halted,
    ]  # fmt: skip
    async with running(events) as local:
        stream, caught = stream_of(local, StockDataStream), Caught()
        stream.subscribe_bars(caught.handler, "AAPL")
        stream.subscribe_updated_bars(caught.handler, "*")
        stream.subscribe_daily_bars(caught.handler, "AAPL")
        stream.subscribe_quotes(caught.handler, "AAPL")
        stream.subscribe_trades(caught.handler, "AAPL")
        stream.subscribe_trading_statuses(caught.handler, "AAPL")
        async with streaming(local, stream):
            await local.step(5)
            minute, daily, asked, printed, updated, again, status = [await caught.next() for _ in range(7)]
        assert (minute.timestamp, minute.close) == (datetime(2019, 2, 12, 14, 30, tzinfo=UTC), 100.0)
        assert (daily.timestamp, daily.close) == (datetime(2019, 2, 12, 5, tzinfo=UTC), 100.0)
        assert (asked.bid_price, asked.ask_price) == (99.99, 100.01)
        assert (printed.id, printed.price) == (71, 100.0)
        assert (updated.close, again.close) == (101.0, 101.0)
        assert (status.status_code, status.reason_code) == ("H", "T1")


async def test_raw_streams_keep_nanoseconds() -> None:
    """An instant is a msgpack timestamp, not a float."""
    odd = msgspec.structs.replace(quote("9:31"), ts_event_ns=at("9:31") + 123_456_789)
    async with running([odd]) as local:
        stream, caught = stream_of(local, StockDataStream, raw_data=True), Caught()
        stream.subscribe_quotes(caught.handler, "AAPL")
        async with streaming(local, stream):
            await local.step()
            message = await caught.next()
        assert message["t"].to_unix_nano() == odd.ts_event_ns


async def test_crypto_stream_has_slashes_and_fractions() -> None:
    """A pair with its slash, a fractional size."""
    async with running(
        [trade("9:31", 50_000.0, "BTC/USD", 0.25), bar("9:32", 50_000.0, "BTC/USD", volume=0.5)]
    ) as local:
        stream, caught = stream_of(local, CryptoDataStream), Caught()
        stream.subscribe_trades(caught.handler, "BTC/USD")
        stream.subscribe_bars(caught.handler, "*")
        async with streaming(local, stream):
            await local.step(2)
            printed, minute = await caught.next(), await caught.next()
        assert (printed.symbol, printed.size, minute.volume) == ("BTC/USD", 0.25, 0.5)


async def test_news_stream_brings_stories_by_symbol() -> None:
    """A story about a symbol that nobody asked for does not come; one about none goes to the star."""
    async with running([story("9:31", "other", "TSLA"), story("9:32", "ours", "AAPL", "MSFT")]) as local:
        stream, caught = stream_of(local, NewsDataStream), Caught()
        stream.subscribe_news(caught.handler, "AAPL")
        async with streaming(local, stream):
            await local.step(2)
            news = await caught.next()
        assert (news.headline, news.symbols, news.id) == ("ours", ["AAPL", "MSFT"], 24918784)
        assert news.created_at == datetime(2019, 2, 12, 14, 32, tzinfo=UTC)


async def test_trading_stream_tells_the_life_of_each_order() -> None:
    """New, fill with price and position, and cancel, the order in each as it then was."""
    async with running(day()) as local:
        stream, caught = stream_of(local, TradingStream), Caught()
        stream.subscribe_trade_updates(caught.handler)
        async with streaming(local, stream):
            await local.step(3)
            await sdk(
                local.trading.submit_order, MarketOrderRequest(symbol="AAPL", qty=3, side="buy", time_in_force="day")
            )
            await local.step(2)
            resting = LimitOrderRequest(symbol="AAPL", qty=1, side="buy", limit_price=90, time_in_force="gtc")
            order = await sdk(local.trading.submit_order, resting)
            await sdk(local.trading.cancel_order_by_id, order.id)
            new, fill, second, canceled = [await caught.next() for _ in range(4)]
        assert (new.event, new.order.status) == ("new", "new")
        assert (fill.event, fill.order.status, fill.price, fill.qty, fill.position_qty) == (
            "fill",
            "filled",
            100.01,
            3,
            3,
        )
        assert fill.execution_id is not None
        assert (second.event, canceled.event, canceled.order.id) == ("new", "canceled", order.id)


async def test_subscriptions_change_while_the_stream_runs() -> None:
    """Another symbol joins and leaves a running stream, from another thread as the SDK demands."""
    async with running([*day(), *day("MSFT")]) as local:
        stream, caught = stream_of(local, StockDataStream), Caught()
        stream.subscribe_bars(caught.handler, "AAPL")
        async with streaming(local, stream):
            await sdk(stream.subscribe_bars, caught.handler, "MSFT")
            await local.step(4)
            assert {(await caught.next()).symbol for _ in range(2)} == {"AAPL", "MSFT"}
            await sdk(stream.unsubscribe_bars, "AAPL")
            await local.happen(bar("9:50"), bar("9:50", symbol="MSFT"))
            assert (await caught.next()).symbol == "MSFT"


async def test_a_stream_comes_back_after_the_connection_broke() -> None:
    """The SDK reconnects, authenticates and subscribes again by itself."""
    async with running(day()) as local:
        stream, caught = stream_of(local, StockDataStream), Caught()
        stream._reconnect_min_backoff = 0.01
        stream.subscribe_bars(caught.handler, "AAPL")
        async with streaming(local, stream):
            first = local.venue.streams.sessions[0]
            first.socket.abort()
            await until(lambda: _is_back(local, first))
            await local.step(2)
            assert (await caught.next()).symbol == "AAPL"


def _is_back(local: Local, first: DataSession) -> bool:
    sessions = local.venue.streams.sessions
    return first not in sessions and any(one.channels["bars"] for one in sessions)
