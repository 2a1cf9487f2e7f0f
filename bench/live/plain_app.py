"""Buy one share on every print, with alpaca-py as its documentation shows: `python plain_app.py HOST:PORT`."""

import sys

from alpaca.data.live import StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

KEYS = "PKLOCALVENUE", "local-venue-secret"
host = sys.argv[1]

client = TradingClient(*KEYS, paper=True, url_override=f"http://{host}")
stream = StockDataStream(*KEYS, url_override=f"ws://{host}/v2/iex")


async def on_trade(trade):
    """Buy one share."""
    client.submit_order(
        MarketOrderRequest(symbol=trade.symbol, qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    )


stream.subscribe_trades(on_trade, "TICK")
stream.run()
