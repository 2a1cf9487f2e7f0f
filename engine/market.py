"""What is known about one symbol now: its last prices, whether it trades, and how much of it we hold or have asked for.

One `Market` exists per symbol and the corridor finds it with one dictionary look-up per event. The float fields are
what every event touches; the Decimal ones move only with our own orders and fills.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import inf, nan
from typing import TYPE_CHECKING, Any, Final, Literal

from engine.events import SECOND_NS, Bar, Quote, Trade

if TYPE_CHECKING:
    from engine.orders import Order

QUOTE_FRESH_NS: Final = 5 * SECOND_NS
TRADE_FRESH_NS: Final = 15 * SECOND_NS
BAR_FRESH_PERIODS: Final = 2
SPREAD_MAX_FRACTION: Final = 0.02
ZERO: Final = Decimal(0)

Callback = Callable[[Any], None]
Callbacks = tuple[Callback, ...]


class Market:
    """The live state of one symbol.

    Units: prices in the account's currency; quantities in shares or coins, signed where they are positions.
    `price` is the last that came, `mark` the last that values a position. `worst_qty` is the larger of the two sizes
    that the position can reach if every open buy or every open sell fills; zero means that no price of this symbol can
    move our account. `bar_ns` is when the last bar came, 0 when none has, `bar_span_ns` its length; the bar itself is
    not kept, because to let go of an old one for each new one reaches into cold memory. `bar_interval_ns` is the length
    that is routed to `on_bar`; a bar of another one goes `on_new_span`, to whoever routes it.
    """

    __slots__ = (
        "bar_close", "bar_interval_ns", "bar_ns", "bar_span_ns", "halted", "limit_down_price", "limit_up_price",
        "long_qty", "mark", "on_bar", "on_new_span", "on_quote", "on_trade", "open_buy_qty", "open_buys",
        "open_sell_qty", "open_sells", "position_qty", "price", "qty", "quote", "routes", "short_qty", "symbol",
        "trade", "worst_qty",
    )  # fmt: skip

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.price = self.mark = self.bar_close = nan
        self.bar_ns = self.bar_interval_ns = self.bar_span_ns = 0
        self.quote: Quote | None = None
        self.trade: Trade | None = None
        self.halted = False
        self.limit_up_price: float | None = None
        self.limit_down_price: float | None = None
        self.position_qty = self.open_buy_qty = self.open_sell_qty = ZERO
        self.qty = self.long_qty = self.short_qty = self.worst_qty = 0.0
        self.open_buys: dict[str, Order] = {}
        self.open_sells: dict[str, Order] = {}
        self.routes: dict[int, Callbacks] = {}
        self.on_bar: Callbacks = ()
        self.on_new_span: Callbacks = ()
        self.on_quote: Callbacks = ()
        self.on_trade: Callbacks = ()

    def observe(self, event: Bar | Quote | Trade, now_ns: int) -> Callbacks:
        """Keep what has come, its price as `price` (NaN where a quote names none), and return whom it is for."""
        if isinstance(event, Bar):
            self.price = self.bar_close = event.close
            self.bar_ns, self.bar_span_ns = now_ns, event.interval_ns
            return self.on_bar if self.bar_span_ns == self.bar_interval_ns else self.on_new_span
        if isinstance(event, Quote):
            self.quote = event
            bid, ask = event.bid_price, event.ask_price
            self.price = (bid + ask) / 2 if 0 < bid <= ask else nan
            return self.on_quote
        self.trade = event
        self.price = event.price
        return self.on_trade

    def forget_prices(self) -> None:
        """Let nothing be priced by what came before a split, or a change of name; `mark` still values positions."""
        self.quote = self.trade = None
        self.bar_ns, self.bar_close = 0, nan

    def reference(self, now_ns: int) -> tuple[float, Literal["quote", "trade", "bar"]] | None:
        """Return the freshest trustworthy price and its kind, or None: then nothing may be priced.

        The middle of a quote at most 5 s old with a spread of at most 2 %, else a trade at most 15 s old, else the
        last closed bar if it is at most two periods old.
        """
        quote = self.quote
        if quote is not None and now_ns - quote.ts_recv_ns <= QUOTE_FRESH_NS:
            bid, ask = quote.bid_price, quote.ask_price
            middle = (bid + ask) / 2
            if 0 < bid <= ask < inf and ask - bid <= SPREAD_MAX_FRACTION * middle:
                return middle, "quote"
        trade = self.trade
        if trade is not None and now_ns - trade.ts_recv_ns <= TRADE_FRESH_NS and 0 < trade.price < inf:
            return trade.price, "trade"
        if now_ns - self.bar_ns <= BAR_FRESH_PERIODS * self.bar_span_ns and 0 < self.bar_close < inf:
            return self.bar_close, "bar"
        return None
