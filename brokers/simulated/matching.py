"""Price rules: at which price, if any, one market event fills one order.

Pure functions of floats, one a rule, then the fill model that puts them together. Each refers to its number in
`docs/paper_fills.md`. How much fills, what it costs and what happens next is the venue's business (`brokers.paper`).
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

from brokers.simulated.slippage import to_tick
from brokers.simulated.working_order import WorkingOrder
from engine.events import Bar, Quote, Trade

Seen = Literal["all", "inside", "close"]
"""Which of a bar's prices are certainly after an order's arrival; `inside`: its parent filled somewhere in the bar."""

Where = Literal["open", "inside", "close"]
"""Where in a bar a fill happened."""

Match = tuple[float, Where]


class FillModel(Protocol):
    """Decides whether an order fills on an event, and at which price before slippage."""

    def on_bar(self, order: WorkingOrder, bar: Bar, seen: Seen) -> Match | None: ...
    def on_quote(self, order: WorkingOrder, quote: Quote) -> float | None: ...
    def on_trade(self, order: WorkingOrder, trade: Trade, *, quoted: bool) -> float | None:
        """Return the price; `quoted` says that quotes are fresh, so a market order waits for one."""
        ...


def market_in_bar(bar: Bar, seen: Seen) -> Match:
    """Rules 1.1 and 1.2: at the open, or at the close for what arrived inside the bar."""
    return (bar.open, "open") if seen == "all" else (bar.close, "close")


def reaches(buy: bool, limit: float, price: float, touch: bool) -> bool:
    """Rule 6.1: whether a price is through the limit, or at it when a touch is enough."""
    if price == limit:
        return touch
    return price < limit if buy else price > limit


def leaves(buy: bool, limit: float, bar: Bar, touch: bool) -> bool:
    """Rule 6.6: whether a bar shows the market beyond a limit, which rests from then on."""
    return not reaches(buy, limit, bar.high if buy else bar.low, touch)


def limit_in_bar(
    buy: bool, limit: float, bar: Bar, seen: Seen, *, touch: bool, target: bool, rested: bool
) -> Match | None:
    """Rules 6.1 to 6.7: at the open or close where it is marketable there, else at the limit."""
    if seen == "all":
        if reaches(buy, limit, bar.open, touch):
            return limit if target else bar.open, "open"
        return (limit, "inside") if reaches(buy, limit, bar.low if buy else bar.high, touch) else None
    if not reaches(buy, limit, bar.close, touch):
        return None
    # Nobody knows where the market was on its arrival: it surely met a marketable price only if every one of them was.
    if target or rested or leaves(buy, limit, bar, touch):
        return (min(limit, bar.high) if buy else max(limit, bar.low)), "close"
    return bar.close, "close"


def triggers(buy: bool, stop: float, price: float) -> bool:
    """Rule 4.1: whether a price sets a stop off."""
    return price >= stop if buy else price <= stop


def stop_in_bar(buy: bool, stop: float, bar: Bar, seen: Seen) -> Match | None:
    """Rules 4.1 to 4.3: at the open when the bar gaps through the stop, else at the stop."""
    if seen == "close":
        return (bar.close, "close") if triggers(buy, stop, bar.close) else None
    if seen == "all" and triggers(buy, stop, bar.open):
        return bar.open, "open"
    if not triggers(buy, stop, bar.high if buy else bar.low):
        return None
    return (stop, "inside") if bar.low <= stop <= bar.high else (bar.close, "close")


def limit_after_stop(buy: bool, limit: float, bar: Bar, stopped: Match, *, touch: bool) -> Match | None:
    """Rule 4.4: a stop-limit fills where its stop triggered if its limit allows that price, else as a limit."""
    price, where = stopped
    if price <= limit if buy else price >= limit:
        return stopped
    # After a gap the whole bar is later than the trigger; after one inside the bar only its close certainly is.
    rest = (bar.low if buy else bar.high) if where == "open" else bar.close
    if where == "close" or not reaches(buy, limit, rest, touch):
        return None
    return limit, "inside" if where == "open" else "close"


def trailing_stop(buy: bool, mark: float, trail_usd: float, trail_fraction: float, *, crypto: bool) -> float:
    """Rule 4.5: the stop price at a water mark, on the tick away from the market."""
    trail = trail_usd if trail_usd == trail_usd else mark * trail_fraction
    return to_tick(mark + trail if buy else mark - trail, up=buy, crypto=crypto)


def at_auction(order: WorkingOrder, price: float) -> bool:
    """Rule 11.3: an auction fills every market order, and limits at its price or better."""
    return order.type == "market" or price == order.limit or (price < order.limit if order.buy else price > order.limit)


class NextEventFills:
    """The built-in fill model: the next price that is certainly after the order's arrival.

    Args:
        limit_fill: `through` needs a price strictly better than the limit, for `touch` the limit itself is enough.
        crypto: the symbols trade on crypto's finer tick.
    """

    def __init__(self, *, limit_fill: Literal["through", "touch"] = "through", crypto: bool = False) -> None:
        self._touch = limit_fill == "touch"
        self._crypto = crypto

    def on_bar(self, order: WorkingOrder, bar: Bar, seen: Seen) -> Match | None:
        kind = order.type
        if kind == "market":
            return market_in_bar(bar, seen)
        if kind == "limit":
            rested = order.resting
            order.resting = rested or leaves(order.buy, order.limit, bar, self._touch)
            return limit_in_bar(
                order.buy, order.limit, bar, seen, touch=self._touch, target=order.is_target, rested=rested
            )
        if kind == "trailing_stop":
            stopped = self._trail_in_bar(order, bar, seen)
        else:
            stopped = stop_in_bar(order.buy, order.stop, bar, seen)
        if stopped is None:
            return None
        if kind != "stop_limit":
            order.type = "market"
            return stopped
        order.type = "limit"
        order.resting = leaves(order.buy, order.limit, bar, self._touch)
        return limit_after_stop(order.buy, order.limit, bar, stopped, touch=self._touch)

    def on_quote(self, order: WorkingOrder, quote: Quote) -> float | None:
        price = quote.ask_price if order.buy else quote.bid_price
        if not 0.0 < price < math.inf:  # that side of the book is empty, or malformed
            return None
        if order.type not in ("market", "limit") and not self._set_off(order, price):
            return None
        if order.type == "market":
            return price
        if price > order.limit if order.buy else price < order.limit:
            order.resting = True
            return None
        return order.limit if order.resting or order.is_target else price

    def on_trade(self, order: WorkingOrder, trade: Trade, *, quoted: bool) -> float | None:
        price = trade.price
        if order.type not in ("market", "limit") and (not self._set_off(order, price) or quoted):
            return None  # beside quotes a print only sets a stop off, and the next quote fills it
        if quoted and not order.resting:
            return None  # rules 2.7 and 2.11: while quotes are fresh, what takes waits for one
        if order.type == "market":
            return price
        if not reaches(order.buy, order.limit, price, self._touch):
            order.resting = True
            return None
        return order.limit if order.resting or order.is_target else price

    def _trail_in_bar(self, order: WorkingOrder, bar: Bar, seen: Seen) -> Match | None:
        if order.mark != order.mark:
            order.mark = bar.open if seen == "all" else bar.close
        stop = trailing_stop(order.buy, order.mark, order.trail_usd, order.trail_fraction, crypto=self._crypto)
        stopped = stop_in_bar(order.buy, stop, bar, seen)
        if stopped is None:  # the adverse side first: the bar's best price counts from the next event on
            best = bar.close if seen != "all" else bar.low if order.buy else bar.high
            order.mark = min(order.mark, best) if order.buy else max(order.mark, best)
        return stopped

    def _set_off(self, order: WorkingOrder, price: float) -> bool:
        """Tell whether a single price triggers a stop, which then is a market or limit order that has just arrived."""
        stop = order.stop
        if order.type == "trailing_stop":
            mark = order.mark
            better = mark != mark or (price < mark if order.buy else price > mark)
            order.mark = mark = price if better else mark
            stop = trailing_stop(order.buy, mark, order.trail_usd, order.trail_fraction, crypto=self._crypto)
        if not triggers(order.buy, stop, price):
            return False
        order.type = "limit" if order.type == "stop_limit" else "market"
        return True
