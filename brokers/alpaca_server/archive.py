"""What has happened so far, for the market-data endpoints: bars, quotes, trades, news and corporate actions.

It grows as the tape moves, so no answer knows the future. Longer bars are put together from shorter ones when asked
for. Instants are the tape's own; a series is in the order of its bars' starts, or its ticks' instants.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TypeVar

import msgspec

from brokers.alpaca_server.clock import NEW_YORK
from engine.clock import to_datetime
from engine.events import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Bar,
    CorporateAction,
    MarketEvent,
    News,
    Quote,
    Status,
    Trade,
)

TICKS_MAX = 500_000
DAILY_FROM_NS = (
    6 * HOUR_NS
)  # a bar of a whole session, of which the shortest is three and a half hours, has a day's stamp
SHORTEST_DAY_NS = 23 * HOUR_NS
T = TypeVar("T", Bar, Quote, Trade)
Span = tuple[int, int]


class Tally(msgspec.Struct):
    """A longer bar in the making."""

    start_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int
    value: float

    def add(self, bar: Bar) -> None:
        self.high, self.low, self.close = max(self.high, bar.high), min(self.low, bar.low), bar.close
        self.volume += bar.volume
        self.trade_count += bar.trade_count
        self.value += bar.volume * vwap(bar)

    def bar(self, symbol: str, interval_ns: int) -> Bar:
        end_ns, mean = self.start_ns + interval_ns, self.value / self.volume if self.volume else self.close
        return Bar(
            symbol, end_ns, end_ns, self.open, self.high, self.low, self.close, self.volume, interval_ns,
            round(mean, 6), self.trade_count,
        )  # fmt: skip


def tally(bars: Iterable[Bar], start_ns: int) -> Tally:
    """Put bars together to one that starts at `start_ns`."""
    total: Tally | None = None
    for bar in bars:
        if total is None:
            total = Tally(start_ns, bar.open, bar.high, bar.low, bar.close, 0.0, 0, 0.0)
        total.add(bar)
    assert total is not None
    return total


def vwap(bar: Bar) -> float:
    """Return the bar's own, or where the tape has none the mean of high, low and close."""
    return bar.vwap if bar.vwap is not None else round((bar.high + bar.low + bar.close) / 3, 6)


class Series(msgspec.Struct):
    """One symbol's past; `today` is the daily bar in the making."""

    bars: list[Bar] = []
    daily: list[Bar] = []
    quotes: list[Quote] = []
    trades: list[Trade] = []
    today: Tally | None = None


class Archive:
    """The past of every symbol.

    Attributes:
        series: by symbol.
        news: in order of reception; an update of a story is an entry of its own.
        actions: corporate actions, in the order in which they became known.
        halted: symbols that do not trade.
    """

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}
        self.news: list[News] = []
        self.actions: list[CorporateAction] = []
        self.halted: set[str] = set()

    def add(self, event: MarketEvent) -> None:
        """Take an event in."""
        if isinstance(event, Bar):
            self._add_bar(event)
        elif isinstance(event, Quote):
            _append(self.of(event.symbol).quotes, event)
        elif isinstance(event, Trade):
            _append(self.of(event.symbol).trades, event)
        elif isinstance(event, News):
            self.news.append(event)
        elif isinstance(event, CorporateAction):
            self.actions.append(event)
        elif isinstance(event, Status):
            (self.halted.add if event.state == "halted" else self.halted.discard)(event.symbol)

    def of(self, symbol: str) -> Series:
        """Return a symbol's past, empty when nothing has happened."""
        found = self.series.get(symbol)
        if found is None:
            found = self.series[symbol] = Series()
        return found

    def _add_bar(self, bar: Bar) -> None:
        series = self.of(bar.symbol)
        if bar.interval_ns >= DAILY_FROM_NS:
            _insert(series.daily, as_daily(bar))
            return
        _insert(series.bars, bar)
        opened_ns, today = bar.ts_open_ns, series.today
        if today is not None and today.start_ns <= opened_ns < today.start_ns + SHORTEST_DAY_NS:
            start_ns = today.start_ns  # nearly always; working out a midnight is slow
        else:
            start_ns = day_start_ns(bar.symbol, opened_ns)
        if today is None or today.start_ns < start_ns:
            if today is not None and not (series.daily and series.daily[-1].ts_open_ns >= today.start_ns):
                series.daily.append(today.bar(bar.symbol, DAY_NS))
            series.today = tally((bar,), start_ns)
        elif bar.revised and today.start_ns == start_ns:  # the day is added up anew
            series.today = tally(series.bars[bisect_left(series.bars, start_ns, key=place_ns) :], start_ns)
        elif today.start_ns == start_ns:
            today.add(bar)

    # --- reading ---------------------------------------------------------------------------------------------------

    def bars(self, symbol: str, span: Span, unit: str, count: int) -> Sequence[Bar]:
        """Return the bars of `count` units that start within the span, the one in the making too."""
        series = self.series.get(symbol)
        if series is None:
            return ()
        if unit in ("Min", "Hour"):
            interval_ns = count * (MINUTE_NS if unit == "Min" else HOUR_NS)
            if not series.bars or interval_ns < series.bars[0].interval_ns:
                return ()
            if interval_ns == series.bars[0].interval_ns:
                return between(series.bars, span)
            source = between(series.bars, (span[0], span[1] + interval_ns))
            return list(_grouped(source, symbol, lambda ts_ns: ts_ns - ts_ns % interval_ns, interval_ns, span))
        days = self.days(symbol)
        if unit == "Day":
            return between(days, span)
        if unit == "Week":
            return list(_grouped(days, symbol, _week_start_ns, 7 * DAY_NS, span))
        return list(_grouped(days, symbol, lambda ts_ns: _month_start_ns(ts_ns, count), 30 * count * DAY_NS, span))

    def days(self, symbol: str) -> list[Bar]:
        """Return the daily bars, the last of them perhaps in the making."""
        series = self.of(symbol)
        today = series.today
        if today is None or (series.daily and series.daily[-1].ts_open_ns >= today.start_ns):
            return series.daily
        return [*series.daily, today.bar(symbol, DAY_NS)]

    def latest_bar(self, symbol: str) -> Bar | None:
        series = self.of(symbol)
        bars = series.bars or series.daily
        return bars[-1] if bars else None

    def latest_quote(self, symbol: str) -> Quote | None:
        quotes = self.of(symbol).quotes
        return quotes[-1] if quotes else None

    def latest_trade(self, symbol: str) -> Trade | None:
        trades = self.of(symbol).trades
        return trades[-1] if trades else None


def between(events: Sequence[T], span: Span) -> Sequence[T]:
    """Return the events within a span, both ends included."""
    return events[bisect_left(events, span[0], key=place_ns) : bisect_right(events, span[1], key=place_ns)]


def as_daily(bar: Bar) -> Bar:
    """Return a session's bar with the stamps of its day, from midnight in New York, or UTC for crypto."""
    end_ns = day_start_ns(bar.symbol, bar.ts_event_ns - 1) + DAY_NS
    return msgspec.structs.replace(bar, ts_event_ns=end_ns, interval_ns=DAY_NS)


def day_start_ns(symbol: str, ts_ns: int) -> int:
    """Return the midnight that begins the symbol's day."""
    zone = UTC if "/" in symbol else NEW_YORK
    local = to_datetime(ts_ns).astimezone(zone)
    return _ns(local.replace(hour=0, minute=0, second=0, microsecond=0))


def _week_start_ns(ts_ns: int) -> int:
    local = to_datetime(ts_ns).astimezone(NEW_YORK)
    return _ns((local - timedelta(days=local.weekday())).replace(hour=0, minute=0, second=0, microsecond=0))


def _month_start_ns(ts_ns: int, count: int) -> int:
    local = to_datetime(ts_ns).astimezone(NEW_YORK)
    month = local.month - (local.month - 1) % count
    return _ns(local.replace(month=month, day=1, hour=0, minute=0, second=0, microsecond=0))


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS


def _grouped(
    bars: Iterable[Bar], symbol: str, start: Callable[[int], int], interval_ns: int, span: Span
) -> Iterator[Bar]:
    for start_ns, members in groupby(bars, key=lambda bar: start(bar.ts_open_ns)):
        if span[0] <= start_ns <= span[1]:
            yield tally(members, start_ns).bar(symbol, interval_ns)


def place_ns(event: Bar | Quote | Trade) -> int:
    """Return the instant by which an event is filed: a bar's start, a tick's own."""
    return event.ts_event_ns - event.interval_ns if isinstance(event, Bar) else event.ts_event_ns


def _insert(bars: list[Bar], bar: Bar) -> None:
    if not bars or bar.ts_open_ns > bars[-1].ts_open_ns:
        bars.append(bar)
        return
    place = bisect_left(bars, bar.ts_open_ns, key=place_ns)
    if place < len(bars) and bars[place].ts_open_ns == bar.ts_open_ns:
        bars[place] = bar
    else:
        bars.insert(place, bar)


def _append(ticks: list[T], tick: T) -> None:
    if ticks and tick.ts_event_ns < ticks[-1].ts_event_ns:
        ticks.insert(bisect_right(ticks, tick.ts_event_ns, key=place_ns), tick)
    else:
        ticks.append(tick)
    if len(ticks) > TICKS_MAX:
        del ticks[: TICKS_MAX // 2]
