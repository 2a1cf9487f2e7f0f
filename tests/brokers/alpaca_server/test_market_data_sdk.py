"""The unmodified SDK's market-data clients: history in pages, the latest, snapshots, news and corporate actions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment
from alpaca.data.requests import (
    CorporateActionsRequest,
    CryptoBarsRequest,
    CryptoLatestOrderbookRequest,
    CryptoLatestQuoteRequest,
    CryptoSnapshotRequest,
    NewsRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from engine.events import DAY_NS, Bar, CorporateAction, MarketEvent
from tests.brokers.alpaca_server.local import bar, quote, running, sdk, story, trade
from tests.brokers.paper_venue import at

OPEN = datetime(2019, 2, 12, 14, 30, tzinfo=UTC)


def minutes(symbol: str, count: int = 30, price: float = 100.0) -> list[MarketEvent]:
    """Return bars that rise by a dollar a minute."""
    return [
        bar(f"9:{30 + one}", price + one, symbol, open=price + one - 1, high=price + one + 1, low=price + one - 2)
        for one in range(1, count + 1)
    ]


async def test_bars_come_with_their_start_and_no_future() -> None:
    """A bar is stamped at its open; what the tape has not played is not there."""
    async with running(minutes("AAPL")) as local:
        await local.step(3)
        bars = await sdk(
            local.stocks.get_stock_bars,
            StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=OPEN),
        )
        assert [one.timestamp for one in bars["AAPL"]] == [OPEN + timedelta(minutes=one) for one in range(3)]
        assert [one.close for one in bars["AAPL"]] == [101.0, 102.0, 103.0]
        assert bars["AAPL"][0].trade_count == 7


async def test_pages_hold_symbols_in_order_and_no_item_twice() -> None:
    """Sorted by symbol then time; a symbol may be split; ascending and descending give the same bars."""
    async with running([*minutes("AAPL"), *minutes("MSFT"), *minutes("TSLA", 4)]) as local:
        await local.step(100)
        query = {"symbols": "TSLA,MSFT,AAPL", "timeframe": "1Min", "start": "2019-02-12T14:30:00Z", "limit": "7"}
        for sort in ("asc", "desc"):
            found: dict[str, list[Any]] = {}
            token, pages = "", 0
            while token is not None:
                status, body = await local.request(
                    "GET", "/v2/stocks/bars", params=query | {"sort": sort, "page_token": token}
                )
                assert status == 200
                assert sum(len(one) for one in body["bars"].values()) <= 7
                for symbol, bars in body["bars"].items():
                    found.setdefault(symbol, []).extend(one["t"] for one in bars)
                token, pages = body["next_page_token"], pages + 1
            assert pages == 10
            assert list(found) == ["AAPL", "MSFT", "TSLA"]
            assert {symbol: len(set(times)) for symbol, times in found.items()} == {"AAPL": 30, "MSFT": 30, "TSLA": 4}
            assert all(times == sorted(times, reverse=sort == "desc") for times in found.values())


async def test_a_page_that_ends_with_a_symbol_leads_to_the_next_one() -> None:
    """A full page is not the end when another symbol is still to come."""
    async with running([*minutes("AAPL", 2), *minutes("MSFT", 2)]) as local:
        await local.step(4)
        query = {"symbols": "AAPL,MSFT", "timeframe": "1Min", "start": "2019-02-12T14:30:00Z", "limit": "2"}
        _, first = await local.request("GET", "/v2/stocks/bars", params=query)
        assert list(first["bars"]) == ["AAPL"]
        _, second = await local.request(
            "GET", "/v2/stocks/bars", params=query | {"page_token": first["next_page_token"]}
        )
        assert (list(second["bars"]), second["next_page_token"]) == (["MSFT"], None)


async def test_longer_bars_are_put_together_from_minutes() -> None:
    """Five minutes, an hour and a day: first open, highest high, lowest low, last close, all volume."""
    async with running(minutes("AAPL")) as local:
        await local.step(30)

        async def bars(frame: TimeFrame) -> list[Any]:
            request = StockBarsRequest(
                symbol_or_symbols="AAPL", timeframe=frame, start=datetime(2019, 2, 11, tzinfo=UTC)
            )
            return (await sdk(local.stocks.get_stock_bars, request))["AAPL"]

        fives = await bars(TimeFrame(5, TimeFrameUnit.Minute))
        assert len(fives) == 6
        first = fives[0]
        assert (first.open, first.high, first.low, first.close, first.volume) == (100.0, 106.0, 99.0, 105.0, 50_000.0)
        (hour,) = await bars(TimeFrame.Hour)
        assert hour.timestamp == OPEN.replace(minute=0)
        (whole,) = await bars(TimeFrame.Day)
        assert whole.timestamp == datetime(2019, 2, 12, 5, tzinfo=UTC)
        assert (whole.open, whole.close, whole.volume) == (100.0, 130.0, 300_000.0)
        for unit, start in ((TimeFrameUnit.Week, "2019-02-11T05:00"), (TimeFrameUnit.Month, "2019-02-01T05:00")):
            request = StockBarsRequest(
                symbol_or_symbols="AAPL", timeframe=TimeFrame(1, unit), start=datetime(2019, 1, 1, tzinfo=UTC)
            )
            (longer,) = (await sdk(local.stocks.get_stock_bars, request))["AAPL"]
            assert longer.timestamp == datetime.fromisoformat(f"{start}:00+00:00")


async def test_quotes_and_trades_come_back_as_they_were() -> None:
    """Sizes in shares, ids and conditions, ask and bid."""
    async with running([quote("9:31"), trade("9:31:30"), quote("9:32")]) as local:
        await local.step(3)
        request = StockQuotesRequest(symbol_or_symbols="AAPL", start=OPEN)
        quotes = (await sdk(local.stocks.get_stock_quotes, request))["AAPL"]
        assert [(one.bid_price, one.ask_price, one.ask_size) for one in quotes] == [(99.99, 100.01, 10_000.0)] * 2
        (print_,) = (
            await sdk(local.stocks.get_stock_trades, StockTradesRequest(symbol_or_symbols="AAPL", start=OPEN))
        )["AAPL"]
        assert (print_.id, print_.price, print_.size, print_.conditions) == (71, 100.0, 1000.0, ["@", "I"])


async def test_the_latest_of_everything_is_the_last_played() -> None:
    """Latest bar, quote and trade, and snapshots with the day so far and the day before."""
    before = Bar("AAPL", at("16:00", "2019-02-11"), at("16:00", "2019-02-11"), 90, 95, 89, 94, 1e6, DAY_NS // 24 * 7)
    async with running([before, *minutes("AAPL", 3), quote("9:34"), trade("9:34:30", 104.0)]) as local:
        await local.step(6)
        names = {"symbol_or_symbols": "AAPL"}
        assert (await sdk(local.stocks.get_stock_latest_bar, StockLatestBarRequest(**names)))["AAPL"].close == 103.0
        assert (await sdk(local.stocks.get_stock_latest_quote, StockLatestQuoteRequest(**names)))[
            "AAPL"
        ].ask_price == 100.01
        assert (await sdk(local.stocks.get_stock_latest_trade, StockLatestTradeRequest(**names)))["AAPL"].price == 104.0
        snapshot = (await sdk(local.stocks.get_stock_snapshot, StockSnapshotRequest(**names)))["AAPL"]
        assert snapshot.daily_bar.close == 103.0
        assert snapshot.previous_daily_bar.close == 94.0
        assert snapshot.previous_daily_bar.timestamp == datetime(2019, 2, 11, 5, tzinfo=UTC)
        assert snapshot.latest_trade.price == 104.0


async def test_unknown_symbols_are_absent_and_malformed_ones_refused() -> None:
    """200 without the symbol; 400 with the reason."""
    async with running(minutes("AAPL")) as local:
        await local.step(3)
        request = StockBarsRequest(symbol_or_symbols=["AAPL", "NOPE"], timeframe=TimeFrame.Minute, start=OPEN)
        assert list((await sdk(local.stocks.get_stock_bars, request)).data) == ["AAPL"]
        none = StockBarsRequest(symbol_or_symbols="NOPE", timeframe=TimeFrame.Minute, start=OPEN)
        assert (await sdk(local.stocks.get_stock_bars, none)).data == {}
        with pytest.raises(APIError, match="invalid symbol"):
            await sdk(
                local.stocks.get_stock_bars, StockBarsRequest(symbol_or_symbols="aa pl", timeframe=TimeFrame.Minute)
            )
        with pytest.raises(APIError, match="BTCUSD does not match"):
            await sdk(
                local.crypto.get_crypto_bars, CryptoBarsRequest(symbol_or_symbols="BTCUSD", timeframe=TimeFrame.Minute)
            )
        for wrong in (
            {"timeframe": "7Week"},
            {"timeframe": "1Min", "limit": "10001"},
            {"timeframe": "1Min", "start": "soon"},
        ):
            status, body = await local.request("GET", "/v2/stocks/bars", params={"symbols": "AAPL", **wrong})
            assert (status, body["message"][:7]) == (400, "invalid")


async def test_crypto_has_its_own_paths_and_slashes() -> None:
    """Fractional volumes, one level of the book, snapshots in a wrapper; no keys are needed, wrong ones are refused."""
    coins = [bar("9:31", 50_000.5, "BTC/USD", volume=1.25), quote("9:31:30", 50_000.0, 50_001.0, "BTC/USD", 0.5)]
    async with running(coins) as local:
        await local.step(2)
        request = CryptoBarsRequest(symbol_or_symbols="BTC/USD", timeframe=TimeFrame.Minute, start=OPEN)
        (found,) = (await sdk(local.crypto.get_crypto_bars, request))["BTC/USD"]
        assert (found.close, found.volume) == (50_000.5, 1.25)
        names = {"symbol_or_symbols": "BTC/USD"}
        assert (await sdk(local.crypto.get_crypto_latest_quote, CryptoLatestQuoteRequest(**names)))[
            "BTC/USD"
        ].ask_size == 0.5
        book = await sdk(local.crypto.get_crypto_latest_orderbook, CryptoLatestOrderbookRequest(**names))
        assert [(one.price, one.size) for one in book["BTC/USD"].bids] == [(50_000.0, 0.5)]
        snapshot = (await sdk(local.crypto.get_crypto_snapshot, CryptoSnapshotRequest(**names)))["BTC/USD"]
        assert snapshot.minute_bar.close == 50_000.5
        url = f"{local.url}/v1beta3/crypto/us/latest/bars?symbols=BTC/USD"
        async with local.http.get(url) as reply:
            assert reply.status == 200
        async with local.http.get(url, headers={"APCA-API-KEY-ID": "x", "APCA-API-SECRET-KEY": "y"}) as reply:
            assert reply.status == 401


async def test_news_is_sorted_newest_first_and_an_update_replaces_its_story() -> None:
    """By symbol, by number, with pages; one entry a story id."""
    stories = [
        story("9:31", "first", news_id="1"), story("9:32", "second", "MSFT", news_id="2"),
        story("9:33", "first, corrected", news_id="1"),
    ]  # fmt: skip
    async with running(stories) as local:
        await local.step(3)
        found = await sdk(local.news.get_news, NewsRequest())
        assert [one.headline for one in found.data["news"]] == ["first, corrected", "second"]
        mine = await sdk(local.news.get_news, NewsRequest(symbols="MSFT"))
        assert [one.headline for one in mine.data["news"]] == ["second"]
        _, body = await local.request("GET", "/v1beta1/news", params={"limit": "1", "sort": "asc"})
        assert body["news"][0]["headline"] == "second"
        _, body = await local.request(
            "GET", "/v1beta1/news", params={"limit": "1", "sort": "asc", "page_token": body["next_page_token"]}
        )
        assert (body["news"][0]["headline"], body["next_page_token"]) == ("first, corrected", None)


async def test_corporate_actions_are_grouped_and_adjust_prices_when_asked() -> None:
    """A 2-for-1 split halves the prices before it; a dividend lowers them by its share."""
    ts_ns = at("9:32")
    split = CorporateAction("AAPL", ts_ns, ts_ns, "split", 2, 1)
    paid = CorporateAction("AAPL", ts_ns, ts_ns, "cash_dividend", amount_usd=Decimal(1))
    renamed = CorporateAction("OLD", ts_ns, ts_ns, "symbol_change", new_symbol="NEW")
    async with running([*minutes("AAPL", 3), split, paid, renamed]) as local:
        await local.step(6)
        found = await sdk(local.actions.get_corporate_actions, CorporateActionsRequest(start=OPEN.date()))
        assert sorted(found.data) == ["cash_dividends", "forward_splits", "name_changes"]
        assert (found.data["forward_splits"][0].new_rate, found.data["cash_dividends"][0].rate) == (2, 1)

        async def closes(adjustment: Adjustment) -> list[float]:
            request = StockBarsRequest(
                symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=OPEN, adjustment=adjustment
            )
            return [one.close for one in (await sdk(local.stocks.get_stock_bars, request))["AAPL"]]

        assert await closes(Adjustment.RAW) == [101.0, 102.0, 103.0]
        assert await closes(Adjustment.SPLIT) == [50.5, 51.0, 103.0]
        assert await closes(Adjustment.DIVIDEND) == pytest.approx([101 * 101 / 102, 101.0, 103.0])


async def test_recent_sip_data_is_refused_on_the_basic_plan() -> None:
    """With `recent_sip` off, the last quarter of an hour of the consolidated tape is not served."""
    async with running(minutes("AAPL"), recent_sip=False, recent_sip_code=40010001) as local:
        await local.step(30)
        query = {"symbols": "AAPL", "timeframe": "1Min", "start": "2019-02-12T14:30:00Z", "feed": "sip"}
        status, body = await local.request("GET", "/v2/stocks/bars", params=query)
        assert (status, body["code"]) == (403, 40010001)
        status, _ = await local.request("GET", "/v2/stocks/bars", params=query | {"end": "2019-02-12T14:40:00Z"})
        assert status == 200


async def test_a_correction_replaces_its_bar_in_history() -> None:
    """A revised bar counts once, in the minute and in the day."""
    first, *rest = minutes("AAPL", 3)
    revised = msgspec.structs.replace(first, close=200.0, high=200.0, revised=True, ts_recv_ns=at("9:34"))
    async with running([first, *rest, revised]) as local:
        await local.step(4)
        request = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=OPEN)
        bars = (await sdk(local.stocks.get_stock_bars, request))["AAPL"]
        assert [one.close for one in bars] == [200.0, 102.0, 103.0]
        request = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Day, start=OPEN - timedelta(days=1))
        (whole,) = (await sdk(local.stocks.get_stock_bars, request))["AAPL"]
        assert (whole.high, whole.volume) == (200.0, 30_000.0)
