"""What a stream missed, read over REST: bars, prints and news in full, quotes by their latest.

Whatever the stream has brought, before the gap or since, is left out, so that the two together have neither a duplicate
nor a hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brokers.alpaca.history import History
from brokers.alpaca.seen import Seen
from brokers.alpaca.session_bars import LATE_NS, SessionBars
from engine.events import EVENT_CLASS, MINUTE_NS, SECOND_NS, Bar, MarketEvent, News, Quote, Trade

BAR_MARGIN_NS, TICK_MARGIN_NS = 2 * MINUTE_NS, 5 * SECOND_NS
NEWS_MARGIN_NS = 5 * MINUTE_NS


@dataclass(frozen=True)
class Wanted:
    """The symbols of each kind of event; `*` stands for all that were seen. `days` are bars of whole sessions."""

    bars: Sequence[str] = ()
    trades: Sequence[str] = ()
    quotes: Sequence[str] = ()
    news: Sequence[str] = ()
    days: Sequence[str] = ()


class Gap:
    """Fill the gaps of one stream.

    Args:
        days: knows which sessions' bars were published; without it none is fetched.
        delay_ns: how much later than it happens the stream brings an event; REST may know more, and must not tell.
    """

    def __init__(
        self, history: History, seen: Seen, wanted: Wanted, *, days: SessionBars | None = None, delay_ns: int = 0
    ) -> None:
        self._history, self._seen, self._wanted, self._delay_ns = history, seen, wanted, delay_ns
        self._days = days

    async def missed(self, since_ns: int, now_ns: int, live_ns: int) -> list[MarketEvent]:
        """Return what happened since the stream last spoke at `since_ns` and it did not bring, in order of time.

        It counts as published from then on; whatever goes wrong on the way changes nothing. `live_ns` is where the
        window of `seen` ends: later prints only the stream tells.

        Raises:
            BrokerError: REST gives no answer, or refuses.
        """
        wanted, history = self._wanted, self._history
        end_ns, since_ns = now_ns - self._delay_ns, since_ns - self._delay_ns
        ticks_end_ns = min(end_ns, live_ns)
        bars = await self.unseen_bars(wanted.bars, since_ns, now_ns)
        trades: list[Trade] = []
        if names := self._named(wanted.trades):
            async for some in history.trades(names, since_ns - TICK_MARGIN_NS, ticks_end_ns):
                trades += [one for one in some if one.ts_event_ns <= ticks_end_ns]
        articles: list[News] = []
        if wanted.news:
            async for found in history.news(wanted.news, since_ns - NEWS_MARGIN_NS, end_ns):
                articles += found
        days = await self._past_days(end_ns)
        names = self._named(wanted.quotes)
        quotes = await history.latest_quotes(names) if names else []
        # Nothing is awaited from here on: what is taken note of is also returned.
        seen = self._seen
        events: list[MarketEvent] = list(self.take(bars))
        events += [bar for bar in days if self._days is not None and self._days.is_new(bar)]
        events += [one for one in trades if seen.is_missed_trade(one.symbol, one.ts_event_ns, one.trade_id)]
        events += [one for one in articles if seen.is_new_article(int(one.news_id), one.ts_event_ns)]
        events += [one for one in quotes if one.ts_event_ns > since_ns]
        return sorted(events, key=_order)

    async def unseen_bars(self, symbols: Sequence[str], since_ns: int, now_ns: int) -> list[Bar]:
        """Return the bars since `since_ns` that are over and that the stream has not brought."""
        end_ns = now_ns - self._delay_ns
        first_ns = since_ns - since_ns % MINUTE_NS - BAR_MARGIN_NS
        found: list[Bar] = []
        if names := self._named(symbols):
            async for some in self._history.bars(names, first_ns, end_ns):
                # The minute that is still going on is served too, as if it were one.
                found += [bar for bar in some if bar.ts_event_ns <= end_ns]
        return [bar for bar in found if bar.symbol not in self._seen.minute(bar.ts_event_ns)]

    async def _past_days(self, end_ns: int) -> list[Bar]:
        """Return the bars of sessions that are over, as far back as some may be missing, in order of time.

        Their prices are those of today's shares: a split before now is no move of what is traded now.
        """
        since_ns = 0 if self._days is None else self._days.missing_since_ns(end_ns)
        found: list[Bar] = []
        if since_ns and (names := self._named(self._wanted.days)):
            async for some in self._history.bars(names, since_ns, end_ns, "1Day", adjustment="split"):
                found += [bar for bar in some if bar.ts_event_ns + LATE_NS <= end_ns]
        return sorted(found, key=_order)

    def take(self, bars: Sequence[Bar]) -> list[Bar]:
        """Count bars as published, and return those that were not yet, in order of time."""
        found = []
        for bar in sorted(bars, key=_order):
            symbols = self._seen.minute(bar.ts_event_ns)
            if bar.symbol not in symbols:
                symbols.add(bar.symbol)
                found.append(bar)
        return found

    async def has_ticks(self, symbols: Sequence[str], since_ns: int) -> bool:
        """Tell whether any of the symbols has traded after `since_ns`, or been quoted where quotes are wanted."""
        names = self._named(symbols)
        ticks: list[Trade | Quote] = [*await self._history.latest_trades(names)]
        if self._wanted.quotes:
            ticks += await self._history.latest_quotes(names)
        return any(tick.ts_event_ns > since_ns - self._delay_ns for tick in ticks)

    def _named(self, symbols: Sequence[str]) -> Sequence[str]:
        return self._seen.symbols() if "*" in symbols else symbols


def _order(event: MarketEvent) -> tuple[int, int, str]:
    return event.ts_event_ns, EVENT_CLASS[type(event)], getattr(event, "symbol", "")
