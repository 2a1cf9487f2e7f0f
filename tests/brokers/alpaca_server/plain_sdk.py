"""A script of plain alpaca-py, as its documentation shows it: it touches nothing of ours but the address it is given.

Usage: plain_sdk.py 127.0.0.1:8765 STOCK COIN. It ends with 0 when everything worked.
"""

import queue
import sys
import threading
from datetime import datetime, timedelta
from typing import Any

from alpaca.common.exceptions import APIError
from alpaca.data.historical import CryptoHistoricalDataClient, NewsClient, StockHistoricalDataClient
from alpaca.data.live import CryptoDataStream, NewsDataStream, StockDataStream
from alpaca.data.requests import (
    CryptoBarsRequest,
    CryptoLatestQuoteRequest,
    NewsRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockQuotesRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)
from alpaca.trading.stream import TradingStream

WAIT_S = 20.0
PAGE = 10_000
HOST, SYMBOL, COIN = sys.argv[1:]
KEYS = "PKLOCALVENUE", "local-venue-secret"
REST = f"http://{HOST}"

trading = TradingClient(*KEYS, paper=True, url_override=REST)
stocks = StockHistoricalDataClient(*KEYS, url_override=REST)
crypto = CryptoHistoricalDataClient(*KEYS, url_override=REST)
news = NewsClient(*KEYS, url_override=REST)

updates: queue.Queue[Any] = queue.Queue()
prices: queue.Queue[Any] = queue.Queue()
coins: queue.Queue[Any] = queue.Queue()
stories: queue.Queue[Any] = queue.Queue()


async def on_update(update: Any) -> None:
    updates.put(update)


async def on_price(price: Any) -> None:
    prices.put(price)


async def on_coin(coin: Any) -> None:
    coins.put(coin)


async def on_story(story: Any) -> None:
    stories.put(story)


trade_stream = TradingStream(*KEYS, paper=True, url_override=f"ws://{HOST}/stream")
trade_stream.subscribe_trade_updates(on_update)
stock_stream = StockDataStream(*KEYS, url_override=f"ws://{HOST}/v2/iex")
stock_stream.subscribe_quotes(on_price, SYMBOL)
stock_stream.subscribe_bars(on_price, "*")
crypto_stream = CryptoDataStream(*KEYS, url_override=f"ws://{HOST}/v1beta3/crypto/us")
crypto_stream.subscribe_bars(on_coin, COIN)
news_stream = NewsDataStream(*KEYS, url_override=f"ws://{HOST}/v1beta1/news")
news_stream.subscribe_news(on_story, "*")
streams = [trade_stream, stock_stream, crypto_stream, news_stream]
threads = [threading.Thread(target=stream.run, daemon=True) for stream in streams]


def until(event: str, order_id: Any) -> Any:
    """Return the update of an order that tells of an event."""
    while True:
        update = updates.get(timeout=WAIT_S)
        if update.event == event and update.order.id == order_id:
            return update


def buy(**fields: Any) -> dict[str, Any]:
    return {"symbol": SYMBOL, "qty": 2, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY} | fields


for thread in threads:
    thread.start()
assert prices.get(timeout=WAIT_S).symbol == SYMBOL
assert coins.get(timeout=WAIT_S).symbol == COIN

account, clock = trading.get_account(), trading.get_clock()
assert account.status == "ACTIVE"
assert clock.is_open
assert trading.get_asset(SYMBOL).tradable
today = clock.timestamp.date()
assert trading.get_calendar(GetCalendarRequest(start=today, end=today))
assert SYMBOL in [asset.symbol for asset in trading.get_all_assets()]

order = trading.submit_order(MarketOrderRequest(**buy(client_order_id="plain-1")))
fill = until("fill", order.id)
assert fill.position_qty == 2
assert trading.get_open_position(SYMBOL).qty == "2"
assert trading.get_order_by_client_id("plain-1").status == "filled"

price = float(fill.price)
far, near = round(price * 0.5, 2), round(price * 2, 2)
resting = trading.submit_order(LimitOrderRequest(**buy(limit_price=far)))
until("new", resting.id)
replaced = trading.replace_order_by_id(resting.id, ReplaceOrderRequest(qty=1))
until("new", replaced.id)
trading.cancel_order_by_id(replaced.id)
until("canceled", replaced.id)
for request in (
    StopOrderRequest(**buy(stop_price=near)),
    StopLimitOrderRequest(**buy(stop_price=near, limit_price=near)),
    TrailingStopOrderRequest(**buy(trail_percent=50)),
    LimitOrderRequest(
        **buy(limit_price=far, order_class=OrderClass.BRACKET, take_profit=TakeProfitRequest(limit_price=near)),
        stop_loss=StopLossRequest(stop_price=round(far / 2, 2)),
    ),
    LimitOrderRequest(**buy(limit_price=far, order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=0.5))),
):
    trading.submit_order(request)
assert len(trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True))) == 5
assert {answer.status for answer in trading.cancel_orders()} == {200}
try:
    trading.submit_order(MarketOrderRequest(**buy(qty=10_000_000)))
    sys.exit("an order for more than the account can buy was taken on")
except APIError as error:
    if error.code != 40310000:
        sys.exit(f"an order for more than the account can buy was refused with {error}")
exits = {"take_profit": TakeProfitRequest(limit_price=near), "stop_loss": StopLossRequest(stop_price=far)}
pair = trading.submit_order(
    LimitOrderRequest(**buy(side=OrderSide.SELL, limit_price=near, order_class=OrderClass.OCO, **exits))
)
trading.cancel_order_by_id(pair.id)
until("canceled", pair.id)
for request in (MarketOrderRequest(**buy(qty=0.5)), MarketOrderRequest(**buy(qty=None, notional=100))):
    until("fill", trading.submit_order(request).id)
until(
    "fill",
    trading.submit_order(
        MarketOrderRequest(symbol=COIN, notional=100, side=OrderSide.BUY, time_in_force=TimeInForce.GTC)
    ).id,
)
assert len(trading.get_all_positions()) == 2
closed = trading.close_position(SYMBOL)
until("fill", closed.id)
assert {answer.status for answer in trading.close_all_positions(cancel_orders=True)} == {200}

now: datetime = clock.timestamp
bars = stocks.get_stock_bars(
    StockBarsRequest(symbol_or_symbols=SYMBOL, timeframe=TimeFrame.Minute, start=now - timedelta(hours=3))
)
assert len(bars[SYMBOL]) > 1
asked = StockQuotesRequest(symbol_or_symbols=SYMBOL, start=now - timedelta(days=5))
assert len(stocks.get_stock_quotes(asked)[SYMBOL]) > PAGE
assert stocks.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=SYMBOL))[SYMBOL].close > 0
assert stocks.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=SYMBOL))[SYMBOL].ask_price > 0
assert news.get_news(NewsRequest(start=now - timedelta(days=5))).data["news"]
coin_bars = crypto.get_crypto_bars(
    CryptoBarsRequest(symbol_or_symbols=COIN, timeframe=TimeFrame.Minute, start=now - timedelta(hours=3))
)
assert len(coin_bars[COIN]) > 1
assert crypto.get_crypto_latest_quote(CryptoLatestQuoteRequest(symbol_or_symbols=COIN))[COIN].bid_price > 0
assert stories.get(timeout=WAIT_S).headline
