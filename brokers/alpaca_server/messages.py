"""Market events as the data API writes them: on a stream with type and symbol, in a REST answer without.

An instant is written by whoever knows the codec (`When`): a msgpack timestamp, or RFC 3339 text. Fields that a tape
does not have take the commonest value: exchange `V`, tape `C`, condition `@` or `R`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from brokers.alpaca_server.archive import DAILY_FROM_NS, as_daily, vwap
from engine.events import DAY_NS, Bar, MarketEvent, News, Quote, Status, Trade

When = Callable[[int], Any]
Message = dict[str, Any]
CHANNELS = {
    "t": "trades", "q": "quotes", "b": "bars", "u": "updatedBars", "d": "dailyBars", "s": "statuses", "l": "lulds",
    "n": "news", "c": "corrections", "x": "cancelErrors", "o": "orderbooks",
}  # fmt: skip
HALT, RESUME = ("H", "Trading Halt"), ("T", "Trading Resumption")


def bar_fields(bar: Bar, when: When) -> Message:
    """Return a bar; its instant is its start, and stocks have whole volumes."""
    volume = bar.volume if "/" in bar.symbol else int(bar.volume)
    return {
        "o": bar.open, "h": bar.high, "l": bar.low, "c": bar.close, "v": volume, "t": when(bar.ts_open_ns),
        "n": bar.trade_count, "vw": vwap(bar),
    }  # fmt: skip


def quote_fields(quote: Quote, when: When) -> Message:
    """Return a quote; a price of 0 means that nobody stands on that side."""
    bid, ask, t = quote.bid_price, quote.ask_price, when(quote.ts_event_ns)
    if "/" in quote.symbol:
        return {"bp": bid, "bs": quote.bid_size, "ap": ask, "as": quote.ask_size, "t": t}
    return {
        "ax": "V", "ap": ask, "as": int(quote.ask_size), "bx": "V", "bp": bid, "bs": int(quote.bid_size),
        "c": ["R"], "t": t, "z": "C",
    }  # fmt: skip


def trade_fields(trade: Trade, when: When) -> Message:
    """Return a print."""
    t, number = when(trade.ts_event_ns), whole_id(trade.trade_id or str(trade.ts_event_ns))
    if "/" in trade.symbol:
        return {"p": trade.price, "s": trade.size, "t": t, "i": number, "tks": "B"}
    conditions = trade.conditions.split(",") if trade.conditions else ["@"]
    return {"i": number, "x": "V", "p": trade.price, "s": int(trade.size), "c": conditions, "t": t, "z": "C"}


def news_fields(news: News, when: When) -> Message:
    """Return a story; one that comes a second time has its first `created_at` and a later `updated_at`."""
    return {
        "id": whole_id(news.news_id or news.headline), "headline": news.headline, "summary": news.summary,
        "author": news.author, "created_at": when(news.ts_event_ns), "updated_at": when(news.ts_event_ns),
        "url": news.url or "https://example.com/", "content": "", "symbols": list(news.symbols),
        "source": news.source or "onetape",
    }  # fmt: skip


def stream_messages(event: MarketEvent, when: When) -> list[Message]:
    """Return what an event is on a stream: type and symbol first. Empty for what the streams do not carry."""
    if isinstance(event, Bar):
        event = as_daily(event) if event.interval_ns >= DAILY_FROM_NS else event
        kind = "d" if event.interval_ns >= DAY_NS else "u" if event.revised else "b"
        return [{"T": kind, "S": event.symbol, **bar_fields(event, when)}]
    if isinstance(event, Quote):
        return [{"T": "q", "S": event.symbol, **quote_fields(event, when)}]
    if isinstance(event, Trade):
        return [{"T": "t", "S": event.symbol, **trade_fields(event, when)}]
    if isinstance(event, News):
        return [{"T": "n", **news_fields(event, when)}]
    return _status_messages(event, when) if isinstance(event, Status) else []


def _status_messages(status: Status, when: When) -> list[Message]:
    code, text = HALT if status.state == "halted" else RESUME
    t = when(status.ts_event_ns)
    reason = status.reason or "T1"
    made: list[Message] = [
        {"T": "s", "S": status.symbol, "sc": code, "sm": text, "rc": reason, "rm": reason, "t": t, "z": "C"}
    ]
    if status.limit_up_price is not None or status.limit_down_price is not None:
        made.append(
            {"T": "l", "S": status.symbol, "u": status.limit_up_price or 0.0, "d": status.limit_down_price or 0.0,
             "i": "B", "t": t, "z": "C"}
        )  # fmt: skip
    return made


def whole_id(text: str) -> int:
    """Return an id as the integer that the protocol wants: itself, or a checksum of it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else zlib.crc32(text.encode())
