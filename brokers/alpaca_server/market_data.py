"""Market-data REST: history in pages, latest, snapshots, news and corporate actions, for stocks and crypto."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from brokers.alpaca_server.archive import Span, between
from brokers.alpaca_server.corporate_actions import GROUPS, adjusted, of_service, type_of
from brokers.alpaca_server.data_session import CRYPTO_SYMBOL, STOCK_SYMBOL
from brokers.alpaca_server.messages import Message, bar_fields, news_fields, quote_fields, trade_fields, whole_id
from brokers.alpaca_server.pages import page, position_of, token_of
from brokers.alpaca_server.refusals import Refusal
from brokers.alpaca_server.replies import choice, json_reply, names, whole
from brokers.alpaca_server.venue import Venue
from brokers.alpaca_server.wire import rfc3339
from engine.events import MINUTE_NS, Bar, News

LIMIT_DEFAULT, LIMIT_MAX = 1000, 10_000
NEWS_DEFAULT, NEWS_MAX = 10, 50
ACTIONS_DEFAULT, ACTIONS_MAX = 100, 1000
RECENT_NS = 15 * MINUTE_NS
TIMEFRAME = re.compile(r"(\d+)(Min|T|Hour|H|Day|D|Week|W|Month|M)")
UNITS = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}
COUNTS: dict[str, Sequence[int]] = {
    "Min": range(1, 60), "Hour": range(1, 24), "Day": (1,), "Week": (1,), "Month": (1, 2, 3, 4, 6, 12),
}  # fmt: skip
FEEDS = ("", "sip", "iex", "boats", "otc", "delayed_sip", "overnight")
ADJUSTMENTS = frozenset({"raw", "split", "dividend", "spin-off", "all"})
Query = Mapping[str, str]
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MarketData:
    """The handlers; each reads the archive as far as the tape has come."""

    def __init__(self, venue: Venue) -> None:
        self._venue, self._archive, self._clock = venue, venue.archive, venue.clock

    def routes(self) -> list[web.RouteDef]:
        """Return the paths that are served here."""
        stocks, crypto = "/v2/stocks", "/v1beta3/crypto/{loc}"
        made = [
            web.get(f"{stocks}/snapshots", self._snapshots(crypto=False)),
            web.get(f"{crypto}/snapshots", self._snapshots(crypto=True)),
            web.get(f"{crypto}/latest/orderbooks", self._orderbooks),
            web.get("/v1/corporate-actions", self._corporate_actions),
        ]
        for kind in ("bars", "quotes", "trades"):
            made += [
                web.get(f"{stocks}/{kind}", self._history(kind, crypto=False)),
                web.get(f"{stocks}/{kind}/latest", self._latest(kind, crypto=False)),
                web.get(f"{crypto}/{kind}", self._history(kind, crypto=True)),
                web.get(f"{crypto}/latest/{kind}", self._latest(kind, crypto=True)),
                web.get(f"{stocks}/{{symbol}}/{kind}", self._history(kind, crypto=False)),
                web.get(f"{stocks}/{{symbol}}/{kind}/latest", self._latest(kind, crypto=False)),
            ]
        return [*made, web.get(f"{stocks}/{{symbol}}/snapshot", self._snapshots(crypto=False))]

    # --- reading requests ------------------------------------------------------------------------------------------

    def _when(self, ts_ns: int) -> str:
        return rfc3339(ts_ns + self._clock.shift_ns)

    def _symbols(self, request: web.Request, *, crypto: bool) -> list[str]:
        one = request.match_info.get("symbol")
        found = [one] if one else names(request.query, "symbols")
        if not found:
            raise Refusal(400, None, "symbols is required")
        pattern = CRYPTO_SYMBOL if crypto else STOCK_SYMBOL
        for symbol in found:
            if not pattern.fullmatch(symbol):
                shape = "^[A-Z]+x?/[A-Z]+$" if crypto else pattern.pattern
                raise Refusal(400, None, f"invalid symbol: {symbol} does not match {shape}")
        return found

    def _span(self, query: Query) -> Span:
        """Return the asked time in the tape's terms; without a start, from the beginning of the current day."""
        now = self._clock.now_ns()
        try:
            end = self._clock.read(query["end"]) if query.get("end") else now
            midnight = self._clock.read(f"{self._clock.date(now)}T00:00:00+00:00")
            start = self._clock.read(query["start"]) if query.get("start") else min(midnight, end)
        except ValueError:
            raise Refusal(400, None, "invalid start or end: must be RFC 3339 or a date") from None
        if start > end:
            raise Refusal(400, None, "end should not be before start")
        return start, end

    def _check_feed(self, query: Query, end_ns: int) -> None:
        feed, settings = choice(query, "feed", *FEEDS), self._venue.settings
        if feed == "sip" and not settings.recent_sip and end_ns > self._clock.now_ns() - RECENT_NS:
            raise Refusal(403, settings.recent_sip_code, "subscription does not permit querying recent SIP data")

    # --- history ---------------------------------------------------------------------------------------------------

    def _history(self, kind: str, *, crypto: bool) -> Reply:
        async def reply(request: web.Request) -> web.StreamResponse:
            query = request.query
            symbols, span = self._symbols(request, crypto=crypto), self._span(query)
            if not crypto:
                self._check_feed(query, span[1])
            limit = whole(query, "limit", LIMIT_DEFAULT, LIMIT_MAX)
            descending = choice(query, "sort", "asc", "desc") == "desc"
            token = query.get("page_token", "")
            shown: dict[str, list[Message]]
            if kind == "bars":
                bars, after = page(symbols, self._bars_of(query, span), limit, token, descending=descending)
                shown = {name: [bar_fields(one, self._when) for one in items] for name, items in bars.items()}
            elif kind == "quotes":
                quotes, after = page(
                    symbols,
                    lambda name: between(self._archive.of(name).quotes, span),
                    limit,
                    token,
                    descending=descending,
                )
                shown = {name: [quote_fields(one, self._when) for one in items] for name, items in quotes.items()}
            else:
                trades, after = page(
                    symbols,
                    lambda name: between(self._archive.of(name).trades, span),
                    limit,
                    token,
                    descending=descending,
                )
                shown = {name: [trade_fields(one, self._when) for one in items] for name, items in trades.items()}
            head: Message = {kind: shown}
            if "symbol" in request.match_info:
                head = {kind: shown.get(symbols[0], []), "symbol": symbols[0]}
            return json_reply(head | {"next_page_token": after} | ({} if crypto else {"currency": "USD"}))

        return reply

    def _bars_of(self, query: Query, span: Span) -> Callable[[str], Sequence[Bar]]:
        match = TIMEFRAME.fullmatch(query.get("timeframe", ""))
        if match is None:
            raise Refusal(400, None, "invalid timeframe: must be a number and Min, Hour, Day, Week or Month")
        count, unit = int(match[1]), UNITS.get(match[2], match[2])
        if count not in COUNTS[unit]:
            raise Refusal(400, None, f"invalid timeframe: {match[0]} is not served")
        kinds = frozenset(names(query, "adjustment") or ["raw"])
        if not kinds <= ADJUSTMENTS:
            raise Refusal(400, None, "invalid adjustment")

        def bars(symbol: str) -> Sequence[Bar]:
            found = self._archive.bars(symbol, span, unit, count)
            actions = [one for one in self._archive.actions if one.symbol == symbol]
            return adjusted(found, actions, kinds) if actions and kinds != {"raw"} else found

        return bars

    # --- the latest ------------------------------------------------------------------------------------------------

    def _latest_of(self, symbol: str, kind: str) -> Message | None:
        archive, found = self._archive, None
        if kind == "bars" and (bar := archive.latest_bar(symbol)) is not None:
            found = bar_fields(bar, self._when)
        elif kind == "quotes" and (quote := archive.latest_quote(symbol)) is not None:
            found = quote_fields(quote, self._when)
        elif kind == "trades" and (trade := archive.latest_trade(symbol)) is not None:
            found = trade_fields(trade, self._when)
        return found

    def _latest(self, kind: str, *, crypto: bool) -> Reply:
        async def reply(request: web.Request) -> web.StreamResponse:
            if not crypto:
                self._check_feed(request.query, self._clock.now_ns())
            symbols = self._symbols(request, crypto=crypto)
            found = {symbol: one for symbol in symbols if (one := self._latest_of(symbol, kind)) is not None}
            currency = {} if crypto else {"currency": "USD"}
            if "symbol" not in request.match_info:
                return json_reply({kind: found} | currency)
            if not found:
                raise Refusal(404, None, f"no {kind} found for {symbols[0]}")
            return json_reply({kind[:-1]: found[symbols[0]], "symbol": symbols[0]} | currency)

        return reply

    def _snapshots(self, *, crypto: bool) -> Reply:
        async def reply(request: web.Request) -> web.StreamResponse:
            symbols = self._symbols(request, crypto=crypto)
            found = {symbol: shown for symbol in symbols if (shown := self._snapshot(symbol))}
            if "symbol" in request.match_info:
                return json_reply({"symbol": symbols[0], "currency": "USD"} | found.get(symbols[0], {}))
            return json_reply({"snapshots": found} if crypto else found)

        return reply

    def _snapshot(self, symbol: str) -> Message:
        days = self._archive.days(symbol)
        parts = {
            "latestTrade": self._latest_of(symbol, "trades"),
            "latestQuote": self._latest_of(symbol, "quotes"),
            "minuteBar": self._latest_of(symbol, "bars"),
            "dailyBar": bar_fields(days[-1], self._when) if days else None,
            "prevDailyBar": bar_fields(days[-2], self._when) if len(days) > 1 else None,
        }
        return {name: part for name, part in parts.items() if part is not None}

    async def _orderbooks(self, request: web.Request) -> web.StreamResponse:
        found = {}
        for symbol in self._symbols(request, crypto=True):
            quote = self._archive.latest_quote(symbol)
            if quote is not None:  # the tape's book has one level
                bids, asks = (
                    [{"p": quote.bid_price, "s": quote.bid_size}],
                    [{"p": quote.ask_price, "s": quote.ask_size}],
                )
                found[symbol] = {"t": self._when(quote.ts_event_ns), "b": bids, "a": asks}
        return json_reply({"orderbooks": found})

    # --- stories and actions ---------------------------------------------------------------------------------------

    async def news(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        wanted, descending = set(names(query, "symbols")), choice(query, "sort", "desc", "asc") == "desc"
        limit = whole(query, "limit", NEWS_DEFAULT, NEWS_MAX)
        now = self._clock.now_ns()
        start, end = self._span(query) if query.get("start") or query.get("end") else (-1, now)
        last: dict[int, News] = {}
        for story in self._archive.news:  # of a story that was updated, its last version
            number = whole_id(story.news_id or story.headline)
            last.pop(number, None)
            last[number] = story
        contentless = query.get("exclude_contentless", "").lower() == "true"
        found = [
            one
            for one in last.values()
            if start <= one.ts_event_ns <= end and (not wanted or wanted & {*one.symbols}) and not contentless
        ]
        found.sort(key=lambda one: one.ts_event_ns, reverse=descending)
        position = position_of(query.get("page_token", ""))
        first = position[2] if position else 0
        chosen = found[first : first + limit]
        after = token_of(("", 0, first + limit)) if first + limit < len(found) else None
        shown = [news_fields(one, self._when) | {"images": []} for one in chosen]
        return json_reply({"news": shown, "next_page_token": after})

    async def _corporate_actions(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        symbols, types, ids = names(query, "symbols"), names(query, "types"), names(query, "ids")
        limit = whole(query, "limit", ACTIONS_DEFAULT, ACTIONS_MAX)
        start, end = query.get("start", ""), query.get("end", "9999")
        rows: list[tuple[str, Message]] = []
        for action in self._archive.actions:
            action_id = self._venue.book.uuid(f"action {action.symbol} {action.ts_event_ns} {action.action}")
            date, kind = self._clock.date(action.ts_event_ns), type_of(action)
            named = not symbols or action.symbol in symbols or action.new_symbol in symbols
            if (
                named
                and (not types or kind in types)
                and (not ids or action_id in ids)
                and start[:10] <= date <= end[:10]
            ):
                rows.append((GROUPS[kind], of_service(action, self._clock, action_id)))
        rows.sort(key=lambda row: row[1]["process_date"], reverse=query.get("sort") == "desc")
        position = position_of(query.get("page_token", ""))
        first = position[2] if position else 0
        grouped: dict[str, list[Any]] = {}
        for group, row in rows[first : first + limit]:
            grouped.setdefault(group, []).append(row)
        after = token_of(("", 0, first + limit)) if first + limit < len(rows) else None
        return json_reply({"corporate_actions": grouped, "next_page_token": after})
