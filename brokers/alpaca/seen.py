"""What a stream has delivered already, so that a gap can be filled with no duplicate and no hole.

A bar is known by its symbol and minute, a print by its symbol, exchange and number, an article by its id and version.
Memory is bounded: minutes and articles by number, prints to those of each symbol's latest instant. Who looks back for
what a stream left out looks minutes back, not hours; while a gap is open all of its minutes are kept, however long it
takes until REST has filled it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from math import ceil
from typing import NamedTuple

from engine.events import Bar, MarketEvent, News, Trade

MINUTES_KEPT = 8
ARTICLES_KEPT = 4096


class Hole(NamedTuple):
    """A time without a stream: after the last print of each symbol, with the prints of that instant, until an end."""

    last: dict[str, tuple[int, set[str]]]
    end_ns: int

    def has(self, symbol: str, ts_ns: int, trade_id: str) -> bool:
        """Tell whether the stream cannot have brought a print before the hole."""
        last_ns, ids = self.last.get(symbol, (-1, set()))
        return last_ns <= ts_ns <= self.end_ns and (ts_ns > last_ns or trade_id not in ids)


class Seen:
    """The last things that were published.

    Args:
        grace_s: for how long a silent symbol is not yet asked about; its minutes are remembered so much longer.

    Attributes:
        recv_ns: the latest time of reception that any event was given.
    """

    def __init__(self, grace_s: float = 0.0) -> None:
        self.recv_ns = 0
        self._minutes_kept = MINUTES_KEPT + ceil(grace_s / 60)
        self._minutes: dict[int, set[str]] = {}
        self._heard: set[str] = set()
        self._articles: dict[tuple[int, int], None] = {}
        self._trade_ids: dict[str, set[str]] = {}
        self._last_trade_ns: dict[str, int] = {}
        self._gaps: set[str] = set()
        self._asking = 0
        self._holes: list[Hole] = []
        self._window: set[tuple[str, str]] = set()
        self._window_end_ns = -1

    def receive(self, now_ns: int) -> int:
        """Return the time of reception for what comes now: the clock's, but never before what came already."""
        if now_ns > self.recv_ns:
            self.recv_ns = now_ns
        return self.recv_ns

    def know(self, event: MarketEvent) -> None:
        """Take note of what an earlier life of the run was given."""
        self.receive(event.ts_recv_ns)
        if isinstance(event, Bar) and not event.revised:
            self.minute(event.ts_event_ns).add(event.symbol)
        elif isinstance(event, Trade):
            self.is_new_trade(event.symbol, event.ts_event_ns, event.trade_id)
        elif isinstance(event, News) and event.news_id.isdecimal():
            self.is_new_article(int(event.news_id), event.ts_event_ns)

    def minute(self, close_ns: int) -> set[str]:
        """Return the symbols whose bar of this minute has come; the caller adds to it."""
        found = self._minutes.get(close_ns)
        if found is None:
            found = self._minutes[close_ns] = set()
            self._forget()
        return found

    def symbols_since(self, close_ns: int, of: Iterable[str]) -> set[str]:
        """Return those of some symbols that have had a bar with this close or a later one."""
        missing = set(of)
        heard: set[str] = set()
        for close in sorted(self._minutes, reverse=True):
            if close < close_ns or not missing:
                break
            heard |= missing & self._minutes[close]
            missing -= heard
        return heard

    def symbols(self) -> list[str]:
        """Return every symbol that has had a bar or a print, sorted."""
        return sorted(self._heard.union(self._last_trade_ns, *self._minutes.values()))

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Forget no minute while REST is asked what the stream left out, however long the answer takes."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            self._forget()

    def _forget(self) -> None:
        if self._gaps or self._asking:
            return
        for close_ns in sorted(self._minutes)[: -self._minutes_kept]:
            self._heard |= self._minutes.pop(close_ns)

    def is_new_trade(self, symbol: str, ts_ns: int, trade_id: str) -> bool:
        """Take note of a live print. One with an older instant than its symbol's last counts as new: it came late."""
        if ts_ns <= self._window_end_ns:
            key = (symbol, trade_id)
            if key in self._window:
                return False
            self._window.add(key)
        last_ns = self._last_trade_ns.get(symbol, -1)
        if ts_ns > last_ns:
            self._last_trade_ns[symbol] = ts_ns
            self._trade_ids[symbol] = {trade_id}
        elif ts_ns == last_ns:
            ids = self._trade_ids[symbol]
            if trade_id in ids:
                return False
            ids.add(trade_id)
        return True

    # --- a gap in the prints ---------------------------------------------------------------------------------------

    def open_window(self, stream: str, end_ns: int) -> None:
        """Begin to fill a stream's gap that reaches to `end_ns`: prints of before then are known one by one now.

        A gap that is still open when its stream breaks again has two holes, and between them all came.
        """
        self._gaps.add(stream)
        last = {symbol: (ts_ns, self._trade_ids[symbol]) for symbol, ts_ns in self._last_trade_ns.items()}
        self._holes.append(Hole(last, end_ns))
        self._window_end_ns = max(end_ns, self._window_end_ns)

    def close_window(self, stream: str) -> None:
        """A stream's gap is filled; once none is open, what is older than usual need not be known any more."""
        self._gaps.discard(stream)
        if not self._gaps:
            self._holes, self._window, self._window_end_ns = [], set(), -1
            self._forget()

    def is_missed_trade(self, symbol: str, ts_ns: int, trade_id: str) -> bool:
        """Take note of a print of a REST answer; tell whether the stream brought it neither before nor since."""
        key = (symbol, trade_id)
        if key in self._window or not any(hole.has(symbol, ts_ns, trade_id) for hole in self._holes):
            return False
        self._window.add(key)
        return True

    def is_new_article(self, news_id: int, updated_ns: int) -> bool:
        """Take note of an article; an update of it is new."""
        key = (news_id, updated_ns)
        if key in self._articles:
            return False
        self._articles[key] = None
        if len(self._articles) > ARTICLES_KEPT:
            for old in list(islice(self._articles, ARTICLES_KEPT // 4)):
                del self._articles[old]
        return True
