"""What the market lets a symbol's orders do: hours, halts, price bands, and which kind of event fills them."""

from __future__ import annotations

import math

from brokers.simulated.hours import Hours
from brokers.simulated.settings import PaperSettings
from brokers.simulated.working_order import Offer
from engine.events import PRICE_MAX, PRICE_MIN, Bar, Quote, Status, Trade

ANY_PRICE = (PRICE_MIN, PRICE_MAX)


class Conditions:
    """The market's state by symbol, as far as the venue has been told."""

    __slots__ = (
        "_bands", "_halted", "_hours", "_participation", "_quote_size_cap", "_quoted_ns", "_tick_life_ns", "_ticked_ns",
    )  # fmt: skip

    def __init__(self, settings: PaperSettings, hours: Hours) -> None:
        self._hours = hours
        self._participation, self._quote_size_cap = settings.participation, settings.quote_size_cap
        self._tick_life_ns = round(settings.quote_max_age_s * 1e9)
        self._quoted_ns: dict[str, int] = {}
        self._ticked_ns: dict[str, int] = {}
        self._halted: set[str] = set()
        self._bands: dict[str, tuple[float, float]] = {}

    def quoted_at(self, symbol: str, ts_ns: int) -> None:
        """Take note that the symbol had a fresh quote then."""
        self._quoted_ns[symbol] = self._ticked_ns[symbol] = ts_ns

    def halts(self, symbol: str) -> bool:
        """Tell whether trading in the symbol is halted."""
        return symbol in self._halted

    def take(self, status: Status) -> None:
        """Take note of a halt, its end, and of price bands."""
        if status.state == "halted":
            self._halted.add(status.symbol)
        else:
            self._halted.discard(status.symbol)
        low, high = status.limit_down_price, status.limit_up_price
        if low is None and high is None:
            self._bands.pop(status.symbol, None)
        else:
            self._bands[status.symbol] = (max(low or 0.0, PRICE_MIN), min(high or PRICE_MAX, PRICE_MAX))

    def band(self, symbol: str) -> tuple[float, float]:
        """Return the lowest and the highest price that the symbol may trade at now."""
        return self._bands.get(symbol, ANY_PRICE) if self._bands else ANY_PRICE

    def offer(self, event: Bar | Quote | Trade) -> Offer | None:
        """Return what an event offers its symbol's orders; None for nothing at all."""
        if event.__class__ is Bar:
            return self._offer_of_bar(event)
        symbol, ts_ns = event.symbol, event.ts_event_ns
        self._ticked_ns[symbol] = ts_ns
        if isinstance(event, Quote):
            self._quoted_ns[symbol] = ts_ns
            if symbol in self._halted:
                return None
            asked, bid = (event.ask_size, event.bid_size) if self._quote_size_cap else (math.inf, math.inf)
            regular, extended = self._hours.at_tick(ts_ns)
            return Offer(event, ts_ns, ts_ns, asked, bid, math.inf, regular, extended, "quote", True)
        if symbol in self._halted or not isinstance(event, Trade) or not 0.0 < event.price < math.inf:
            return None
        quoted_ns = self._quoted_ns.get(symbol)
        quoted = quoted_ns is not None and ts_ns - quoted_ns <= self._tick_life_ns
        left = event.size * self._participation
        regular, extended = self._hours.at_tick(ts_ns)
        return Offer(event, ts_ns, ts_ns, left, left, event.size, regular, extended, "trade", quoted, not quoted)

    def _offer_of_bar(self, bar: Bar) -> Offer | None:
        symbol = bar.symbol
        ticked_ns = self._ticked_ns.get(symbol)
        if symbol in self._halted or bar.revised:  # a revision tells of the past, in which nothing more can fill
            return None
        if ticked_ns is not None and bar.ts_event_ns - ticked_ns <= self._tick_life_ns:
            return None
        if not 0.0 < bar.open + bar.high + bar.low + bar.close < math.inf:  # one of them is no number
            return None
        regular, extended, first_ns = self._hours.of_bar(bar)
        left = bar.volume * self._participation
        return Offer(bar, first_ns, bar.ts_event_ns, left, left, bar.volume, regular, extended, "bar")
