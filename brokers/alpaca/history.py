"""Historical market data over REST: every page of an answer, made into events in the order of the pages.

Pages come sorted by symbol and then by time, so whoever wants time order sorts. Rate limits are kept by `rest`; the
token that leads from page to page may neither repeat nor run on for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from brokers.alpaca import rows
from brokers.alpaca.rest import Query, Rest
from brokers.alpaca.rows import ActionRow, AssetRow, BarRow, NewsRow, QuoteRow, Timeframe, TradeRow
from brokers.alpaca.wire import format_ns
from engine.clock import Sessions
from engine.errors import BrokerError
from engine.events import Bar, CorporateAction, Datum, News, Quote, Trade

PAGE_ROWS, NEWS_PAGE_ROWS, ACTION_PAGE_ROWS = 10_000, 50, 1000
SYMBOLS_PER_REQUEST = 100
PAGES_MAX = 100_000

HISTORICAL_FEED = {"iex": "iex", "sip": "sip", "delayed_sip": "sip", "overnight": "boats"}
"""The feed whose history belongs to a stream's: `delayed_sip` and `overnight` have none under their own names."""


class _Page(msgspec.Struct):
    next_page_token: str | None = None


class _BarsPage(_Page):
    bars: dict[str, list[BarRow] | None] | None = None


class _TradesPage(_Page):
    trades: dict[str, list[TradeRow] | None] | None = None


class _QuotesPage(_Page):
    quotes: dict[str, list[QuoteRow] | None] | None = None


class _NewsPage(_Page):
    news: list[NewsRow] | None = None


class _ActionsPage(_Page):
    corporate_actions: dict[str, list[ActionRow] | None] | None = None


class _LatestTrades(msgspec.Struct):
    trades: dict[str, TradeRow] = {}


class _LatestQuotes(msgspec.Struct):
    quotes: dict[str, QuoteRow] = {}


class History:
    """What Alpaca remembers.

    Args:
        rest: of the data host.
        feed: a stock feed, as `AlpacaFeed.Settings.feed`.
        adjustment: raw, split, dividend, spin-off or all; of bars only.
        source: provenance on every event.
        sessions: the calendar of the stocks, for daily bars and corporate actions.
        crypto_location: the crypto venue in the paths.

    Attributes:
        left_out: rows that made no sense.
    """

    def __init__(
        self, rest: Rest, *, feed: str, source: str, sessions: Sessions, adjustment: str = "raw",
        crypto_location: str = "us", canonical: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._rest, self._source, self._sessions, self._adjustment = rest, source, sessions, adjustment
        self._feed, self._crypto = HISTORICAL_FEED.get(feed, feed), crypto_location
        self._canonical = canonical or {}
        self.left_out = 0

    async def bars(
        self, symbols: Sequence[str], start_ns: int, end_ns: int, timeframe: str = "1Min", *, adjustment: str = ""
    ) -> AsyncIterator[list[Bar]]:
        """Yield bars whose open lies in `[start_ns, end_ns]`, adjusted as always or as this once."""
        length = Timeframe(timeframe, self._sessions)
        extra = {"timeframe": timeframe, "adjustment": adjustment or self._adjustment}
        async for page in self._series("bars", _BarsPage, symbols, start_ns, end_ns, extra):
            yield self._made(page.bars, lambda symbol, row: rows.bar(symbol, row, length, self._source))

    async def trades(self, symbols: Sequence[str], start_ns: int, end_ns: int) -> AsyncIterator[list[Trade]]:
        """Yield prints in `[start_ns, end_ns]`."""
        async for page in self._series("trades", _TradesPage, symbols, start_ns, end_ns, {}):
            yield self._made(page.trades, lambda symbol, row: rows.trade(symbol, row, self._source))

    async def quotes(self, symbols: Sequence[str], start_ns: int, end_ns: int) -> AsyncIterator[list[Quote]]:
        """Yield quotes in `[start_ns, end_ns]`."""
        async for page in self._series("quotes", _QuotesPage, symbols, start_ns, end_ns, {}):
            yield self._made(page.quotes, lambda symbol, row: rows.quote(symbol, row, self._source))

    async def news(self, symbols: Sequence[str], start_ns: int, end_ns: int) -> AsyncIterator[list[News]]:
        """Yield articles updated in `[start_ns, end_ns]`, of all symbols when none is named."""
        query: dict[str, str | int] = {
            "start": format_ns(start_ns), "end": format_ns(end_ns), "limit": NEWS_PAGE_ROWS, "sort": "asc",
            "include_content": "false",
        }  # fmt: skip
        if symbols and "*" not in symbols:
            query["symbols"] = ",".join(symbol.replace("/", "") for symbol in symbols)
        async for page in self._pages("/v1beta1/news", _NewsPage, query):
            yield [rows.news(row, self._source, self._canonical) for row in page.news or ()]

    async def actions(
        self, symbols: Sequence[str], start_date: str, end_date: str
    ) -> AsyncIterator[list[CorporateAction]]:
        """Yield splits, dividends and renamings of `[start_date, end_date]`."""
        for some in _chunks(symbols):
            query: dict[str, str | int] = {
                "symbols": ",".join(some),
                "start": start_date,
                "end": end_date,
                "limit": ACTION_PAGE_ROWS,
            }
            async for page in self._pages("/v1/corporate-actions", _ActionsPage, query):
                yield self._made(
                    page.corporate_actions, lambda kind, row: rows.action(kind, row, self._sessions, self._source)
                )

    async def assets(self, now_ns: int) -> list[Datum]:
        """Return every active asset; `rest` has to be of the trading host."""
        found: list[AssetRow] = []
        for asset_class in ("us_equity", "crypto"):
            query = {"status": "active", "asset_class": asset_class}
            found += await self._rest.get("/v2/assets", list[AssetRow], query)
        return [rows.asset(row, now_ns, self._source) for row in found]

    async def latest_trades(self, symbols: Sequence[str]) -> list[Trade]:
        """Return the latest print of each symbol that has one."""
        found: list[Trade] = []
        for path, some in self._split(symbols):
            answer = await self._rest.get(
                f"{path}/{self._latest('trades', path)}", _LatestTrades, self._named(path, some)
            )
            found += self._made(
                {symbol: [row] for symbol, row in answer.trades.items()},
                lambda symbol, row: rows.trade(symbol, row, self._source),
            )
        return found

    async def latest_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        """Return the latest quote of each symbol that has one."""
        found: list[Quote] = []
        for path, some in self._split(symbols):
            answer = await self._rest.get(
                f"{path}/{self._latest('quotes', path)}", _LatestQuotes, self._named(path, some)
            )
            found += self._made(
                {symbol: [row] for symbol, row in answer.quotes.items()},
                lambda symbol, row: rows.quote(symbol, row, self._source),
            )
        return found

    # --- paths and pages -------------------------------------------------------------------------------------------

    async def _series(
        self, what: str, kind: type[Any], symbols: Sequence[str], start_ns: int, end_ns: int, extra: dict[str, str]
    ) -> AsyncIterator[Any]:
        for path, some in self._split(symbols):
            query: dict[str, str | int] = {
                **self._named(path, some), "start": format_ns(start_ns), "end": format_ns(end_ns), "limit": PAGE_ROWS,
                "sort": "asc", **extra,
            }  # fmt: skip
            if "crypto" in path:
                query.pop("adjustment", None)
            async for page in self._pages(f"{path}/{what}", kind, query):
                yield page

    async def _pages(self, path: str, kind: type[Any], query: Query) -> AsyncIterator[Any]:
        tokens: set[str] = set()
        asked: dict[str, str | int] = dict(query)
        while True:
            page = await self._rest.get(path, kind, asked)
            yield page
            token = page.next_page_token
            if not token:
                return
            if token in tokens or len(tokens) >= PAGES_MAX:
                raise BrokerError(f"GET {path}: page token {token[:40]!r} comes again; the answer has no end")
            tokens.add(token)
            asked["page_token"] = token

    def _split(self, symbols: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
        stocks = [symbol for symbol in symbols if "/" not in symbol]
        coins = [symbol for symbol in symbols if "/" in symbol]
        return [("/v2/stocks", some) for some in _chunks(stocks)] + [
            (f"/v1beta3/crypto/{self._crypto}", some) for some in _chunks(coins)
        ]

    def _named(self, path: str, symbols: Sequence[str]) -> dict[str, str]:
        query = {"symbols": ",".join(symbols)}
        return query if "crypto" in path else query | {"feed": self._feed}

    def _latest(self, what: str, path: str) -> str:
        return f"latest/{what}" if "crypto" in path else f"{what}/latest"

    def _made(self, page: Mapping[str, Any] | None, make: Callable[[str, Any], Any]) -> list[Any]:
        found = []
        for symbol, row in rows.by_symbol(page):
            try:
                event = make(symbol, row)
            except ValueError:  # an instant that is none
                event = None
            if event is None:
                self.left_out += 1
            else:
                found.append(event)
        return found


def _chunks(symbols: Sequence[str]) -> list[Sequence[str]]:
    return [symbols[first : first + SYMBOLS_PER_REQUEST] for first in range(0, len(symbols), SYMBOLS_PER_REQUEST)]
