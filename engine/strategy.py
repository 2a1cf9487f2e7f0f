"""The author's page: subclass `Strategy`, write the idea, and nothing else.

Calls such as `buy` only put a wish into an outbox; the corridor takes it through risk when the handler returns. A
callback that is not overridden is not called. Parameters are annotated class attributes, which the configuration may
override.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from functools import cached_property
from inspect import iscoroutinefunction
from math import floor, inf
from typing import TYPE_CHECKING, Any, ClassVar, get_origin, get_type_hints

import msgspec

from engine.clock import to_datetime
from engine.errors import ConfigError, StrategyError, suggestion
from engine.events import (
    SECOND_NS,
    Bar,
    CancelRequest,
    CorporateAction,
    Datum,
    Fill,
    Intent,
    News,
    Quote,
    Side,
    Signal,
    Status,
    TimeInForce,
    Timer,
    Trade,
    exact,
)  # fmt: skip
from engine.given import PLAIN, Number, decimal, flag, optional, plain, price, text
from engine.market import ZERO
from engine.orders import Order
from engine.portfolio import Portfolio, Position, StrategyBook
from engine.ticks import PRICE_MAX, PRICE_MIN

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from engine.core import Core

ASKS_PER_EVENT_MAX = 100_000
LEGS = frozenset({"order_class", "take_profit", "stop_loss", "stop_loss_limit"})
STOPS = frozenset({"stop", "stop_limit", "trailing_stop"})
CALLBACKS = (
    "on_start", "on_stop", "on_bar", "on_quote", "on_trade", "on_news", "on_datum", "on_status",
    "on_corporate_action", "on_signal",
    "on_order", "on_fill", "on_timer",
)  # fmt: skip


def _structlog(**bound: Any) -> FilteringBoundLogger:
    import structlog  # only a strategy that logs pays for it

    log: FilteringBoundLogger = structlog.get_logger().bind(**bound)
    return log


class Holdings:
    """What a strategy sees of the money: its own positions and profit, the account's cash and equity."""

    __slots__ = ("_book", "_portfolio")

    def __init__(self, portfolio: Portfolio, book: StrategyBook) -> None:
        self._portfolio = portfolio
        self._book = book

    def position(self, symbol: str) -> Position:
        """Return this strategy's position; its `qty` is 0 where it has none."""
        return self._book.position(symbol)

    @property
    def positions(self) -> dict[str, Position]:
        """This strategy's open positions by symbol."""
        return {symbol: position for symbol, position in self._book.positions.items() if position.qty}

    @property
    def cash(self) -> Decimal:
        """The account's cash in dollars."""
        return self._portfolio.cash_usd

    @property
    def equity(self) -> float:
        """The account's cash and positions at the last prices, in dollars."""
        return self._portfolio.equity

    @property
    def pnl(self) -> Decimal:
        """This strategy's profit since the start of the run, in dollars, after fees."""
        return self._portfolio.worth()[1][self._book.name]


class Strategy:
    """A trading idea. Override the callbacks it needs; keep each short, since nothing else moves while one runs.

    Attributes:
        name: as configured; part of every order's id.
        symbols: what the configuration subscribed it to, in its order.
        portfolio: its positions and the account's equity.
        now: the engine's time, never the wall clock; `now_ns` is the same in nanoseconds.
        log: a logger that knows the strategy and the engine's time.
        rng: a generator seeded by the run, for ideas that need chance.
    """

    name: ClassVar[str] = ""
    symbols: ClassVar[tuple[str, ...]] = ()
    portfolio: ClassVar[Holdings]
    _logger: ClassVar[Callable[..., Any]] = staticmethod(_structlog)

    # --- callbacks -------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Once, before the first event."""

    def on_bar(self, bar: Bar) -> None:
        """A completed bar of the configured interval."""

    def on_quote(self, quote: Quote) -> None:
        """The best bid or ask changed."""

    def on_trade(self, trade: Trade) -> None:
        """A print on the tape: somebody's trade. Our own executions come to `on_fill`."""

    def on_news(self, news: News) -> None:
        """A headline on one of our symbols, or on the market as a whole."""

    def on_datum(self, datum: Datum) -> None:
        """A filing, an economic release or any other timed fact."""

    def on_status(self, status: Status) -> None:
        """One of our symbols was halted, or trades again."""

    def on_corporate_action(self, action: CorporateAction) -> None:
        """A split, dividend or symbol change; positions are adjusted already, open orders are canceled on a split."""

    def on_signal(self, signal: Signal) -> None:
        """A model's score."""

    def on_order(self, order: Order) -> None:
        """One of our orders changed its status, denials included; `order.reason` says why."""

    def on_fill(self, fill: Fill) -> None:
        """Our own execution; the position includes it already."""

    def on_timer(self, timer: Timer) -> None:
        """An alarm of `set_timer`."""

    def on_stop(self) -> None:
        """Once, after the last event."""

    # --- orders ----------------------------------------------------------------------------------------------------

    def buy(self, symbol: str, qty: Number | None = None, **fields: Any) -> Order:
        """Ask to buy; `fields` are those of `submit_order`. Return the live order."""
        if fields or qty is None or text("symbol", symbol) is not symbol or "/" in symbol:
            return self.submit_order(symbol, "buy", qty, **fields)
        return self._ask(Intent(self._next_id(), self.name, symbol, "buy", decimal("qty", qty), self._core.now_ns))

    def sell(self, symbol: str, qty: Number | None = None, **fields: Any) -> Order:
        """Ask to sell; `fields` are those of `submit_order`. Return the live order."""
        if fields or qty is None or text("symbol", symbol) is not symbol or "/" in symbol:
            return self.submit_order(symbol, "sell", qty, **fields)
        return self._ask(Intent(self._next_id(), self.name, symbol, "sell", decimal("qty", qty), self._core.now_ns))

    def submit_order(
        self,
        symbol: str,
        side: Side,
        qty: Number | None = None,
        *,
        type: str = "",  # noqa: A002  # Alpaca's own field name
        time_in_force: TimeInForce | None = None,
        notional: Number | None = None,
        limit_price: Number | None = None,
        stop_price: Number | None = None,
        trail_price: Number | None = None,
        trail_percent: Number | None = None,
        extended_hours: bool = False,
        order_class: str = "",
        take_profit: Number | None = None,
        stop_loss: Number | None = None,
        stop_loss_limit: Number | None = None,
    ) -> Order:
        """Ask for an order, in Alpaca's field names; type and class follow from the prices given.

        A take-profit and a stop-loss make a bracket, one of them an OTO; `order_class="oco"` makes two exits of which
        one cancels the other. Unless told, an order lives for the day, and one on a crypto pair until it is canceled.
        Return the live order: it is `denied` or `pending_new` when the handler has returned.

        A price given as a float goes to the tick away from the market: a limit down to buy and up to sell, a stop, its
        limit and a trail the other way. Decimals, strings and whole numbers are taken as they are.

        Units: `qty` in shares or coins, `notional` in dollars, `trail_percent` in percent.

        Raises:
            TypeError: something is of no type that its field takes. Another library's numbers are numbers.
            ValueError: a text that is to be a number says none, or has a character that cannot be written.
        """
        symbol, word, kind, group = text("symbol", symbol), text("side", side), type, order_class
        if not kind:
            if trail_price is not None or trail_percent is not None:
                kind = "trailing_stop"
            elif stop_price is not None:
                kind = "stop" if limit_price is None else "stop_limit"
            else:
                kind = "market" if limit_price is None else "limit"
        if not group:
            exits = (take_profit is not None) + (stop_loss is not None)
            group = ("simple", "oto", "bracket")[exits]
        lasts = time_in_force or ("gtc" if "/" in symbol else "day")
        buys = word == "buy"
        exit_buys = buys if group == "oco" else not buys
        intent = Intent(
            self._next_id(), self.name, symbol, word, optional("qty", qty), self._core.now_ns, text("type", kind),
            text("time_in_force", lasts), optional("notional", notional),
            price("limit_price", limit_price, symbol, up=buys == (kind == "stop_limit")),
            price("stop_price", stop_price, symbol, up=buys), price("trail_price", trail_price, symbol, up=True),
            optional("trail_percent", trail_percent),
            extended_hours is not False and flag("extended_hours", extended_hours), text("order_class", group),
            price("take_profit", take_profit, symbol, up=not exit_buys),
            price("stop_loss", stop_loss, symbol, up=exit_buys),
            price("stop_loss_limit", stop_loss_limit, symbol, up=exit_buys),
        )  # fmt: skip
        return self._ask(intent)

    def replace_order(
        self,
        order: Order,
        *,
        qty: Number | None = None,
        limit_price: Number | None = None,
        stop_price: Number | None = None,
        trail: Number | None = None,
    ) -> Order:
        """Ask to amend an open order; what is not given stays. Return the new order that takes the old one's place."""
        old = _sound(order).intent
        symbol, buys, trailing = old.symbol, old.side == "buy", old.trail_percent is None
        intent = Intent(
            self._next_id(), self.name, symbol, old.side, order.qty if qty is None else decimal("qty", qty),
            self._core.now_ns, old.type, old.time_in_force, None,
            old.limit_price if limit_price is None
            else price("limit_price", limit_price, symbol, up=buys == (old.type == "stop_limit")),
            old.stop_price if stop_price is None else price("stop_price", stop_price, symbol, up=buys),
            price("trail", trail, symbol, up=True) if trail is not None and trailing else old.trail_price,
            decimal("trail", trail) if trail is not None and not trailing else old.trail_percent,
            old.extended_hours, replaces=order.id,
        )  # fmt: skip
        return self._ask(intent)

    def cancel_order(self, order: Order) -> None:
        """Ask for one order to be canceled; a fill may still come first."""
        if _sound(order).is_open:
            self._put(CancelRequest(order.id, self._core.now_ns))

    def cancel_all_orders(self, symbol: str | None = None) -> None:
        """Ask for all our open orders, or those of one symbol, to be canceled."""
        for order in self.open_orders(symbol):
            self.cancel_order(order)

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Return our orders that the venue may still fill, oldest first."""
        symbol = None if symbol is None else text("symbol", symbol)
        return [
            order
            for order in self._core.orders.open.values()
            if order.strategy == self.name and (symbol is None or order.symbol == symbol)
        ]

    def order_target(self, symbol: str, qty: Number, **fields: Any) -> Order | None:
        """Ask for what is missing to a position of `qty`, open orders counted; None when nothing is.

        A position never changes its side in one order: towards the other side it is closed first, and the next call
        opens the new one. Open orders that would overshoot the target are canceled instead, and None is returned too.
        Exits that only protect the position (stops, the legs of a bracket, an OCO) are neither counted nor canceled.
        A take-profit and a stop-loss go with an order that leads away from zero; one that only closes goes without.

        Raises:
            ValueError: `qty` is not finite.
        """
        symbol = text("symbol", symbol)
        if type(qty) not in PLAIN:
            qty = plain("qty", qty)
        position = self._positions.get(symbol) or self._book.position(symbol)
        coming = self._coming(symbol, position)
        ordered = sum((order.sign * order.counted for order in coming), ZERO) if coming else ZERO
        expected = position.qty + ordered if coming else position.qty
        for asked in self._core.outbox:  # what this very handler has asked for already
            if isinstance(asked, Order) and asked.symbol == symbol and asked.strategy == self.name:
                expected += ZERO if _protects(asked, position) else asked.sign * asked.qty
        if expected == qty:
            return None
        target = decimal("qty", qty)
        if not target.is_finite():
            raise ValueError(f"a position of {qty} {symbol} is no target")
        if position.qty and (position.qty > 0) != (target > 0) and target:
            target = ZERO
        missing = target - expected
        if not missing:
            return None
        if missing * ordered < 0:  # what is on its way goes too far: it is canceled, not traded against
            for order in coming:
                if order.sign * missing < 0:
                    self.cancel_order(order)
            return None
        if fields and missing * target <= 0 and fields.get("order_class") != "oco":  # it closes; legs would open again
            fields = {name: value for name, value in fields.items() if name not in LEGS}
        return self.submit_order(symbol, "buy" if missing > 0 else "sell", abs(missing), **fields)

    def order_target_percent(
        self, symbol: str, fraction: float, *, fractional: bool = False, **fields: Any
    ) -> Order | None:
        """Ask for what is missing to a position worth `fraction` of the account's equity (0.1 is ten percent).

        The quantity is rounded towards zero, to whole shares or, when `fractional`, to 9 decimals. None when nothing
        is missing or the symbol has no price yet.

        Raises:
            ValueError: the fraction is not finite or beyond what the account may ever hold.
        """
        symbol = text("symbol", symbol)
        if type(fraction) is not float:
            fraction = float(plain("fraction", fraction))
        most = max(1, self._core.portfolio.multiplier)
        if not -most <= fraction <= most:
            raise ValueError(f"fraction {fraction} of equity is outside -{most} to {most}; 0.1 means ten percent")
        mark = self._core.portfolio.market(symbol).mark
        if not PRICE_MIN <= mark < PRICE_MAX:
            return None
        raw = exact(fraction * self._core.portfolio.equity / mark)
        qty = raw.quantize(Decimal("1e-9") if fractional else Decimal(1), ROUND_DOWN)
        return self.order_target(symbol, qty, **fields)

    def close_position(self, symbol: str, **fields: Any) -> Order | None:
        """Ask to close what we hold of a symbol; None when that is nothing."""
        return self.order_target(symbol, 0, **fields)

    # --- time ------------------------------------------------------------------------------------------------------

    def set_timer(
        self,
        name: str,
        *,
        after_s: float | None = None,
        every_s: float | None = None,
        before_close_s: float | None = None,
        after_open_s: float | None = None,
    ) -> None:
        """Ask for `on_timer`: once after a while, again and again, or at each session's close or open.

        Raises:
            ValueError: not exactly one of the four is given, or it is not positive (zero is fine at the open).
        """
        spans_s = {"after": after_s, "every": every_s, "before_close": before_close_s, "after_open": after_open_s}
        given = [(kind, float(plain(f"{kind}_s", span))) for kind, span in spans_s.items() if span is not None]
        if len(given) != 1 or not 0 <= given[0][1] < inf or (given[0][1] == 0 and after_open_s is None):
            raise ValueError("give exactly one of after_s, every_s, before_close_s, after_open_s, and a positive one")
        kind, span_s = given[0]
        self._core.supervisor.set_timer(self, text("name", name), floor(span_s * SECOND_NS), kind)

    @property
    def now_ns(self) -> int:
        return self._core.now_ns

    @property
    def now(self) -> datetime:
        return to_datetime(self._core.now_ns)

    @cached_property
    def rng(self) -> random.Random:
        return random.Random(f"{self._core.seed}/{self.name}")

    @cached_property
    def log(self) -> FilteringBoundLogger:
        log: FilteringBoundLogger = self._logger(strategy=self.name)
        return log

    # --- wiring, by the engine -------------------------------------------------------------------------------------

    def _join(self, core: Core) -> None:
        """Take a place in the corridor; before this a strategy is only its name, symbols and parameters."""
        self._core = core
        self._book = core.portfolio.book(self.name)
        self._positions = self._book.positions
        vars(self)["portfolio"] = Holdings(core.portfolio, self._book)
        self._id_prefix = f"{core.run_id}-{self.name}-"
        self._id_seq = 0

    def _next_id(self) -> str:
        self._id_seq += 1
        return self._id_prefix + str(self._id_seq)

    def _coming(self, symbol: str, position: Position) -> Sequence[Order]:
        """Return our open orders that will move a position, without those that another one is about to replace."""
        market = self._core.portfolio.market(symbol)
        if not market.open_buys and not market.open_sells:
            return ()
        return [
            order
            for order in self.open_orders(symbol)
            if order.status != "pending_replace" and not _protects(order, position)
        ]

    def _ask(self, intent: Intent) -> Order:
        order = Order(intent)
        self._put(order)
        return order

    def _put(self, wish: Order | CancelRequest) -> None:
        outbox = self._core.outbox
        if len(outbox) >= ASKS_PER_EVENT_MAX:  # an answer makes it ask again, and so on for ever
            raise StrategyError(f"more than {ASKS_PER_EVENT_MAX:,} orders and cancels were asked for in one event")
        outbox.append(wish)


def _sound(order: Order) -> Order:
    if not isinstance(order, Order):
        raise TypeError(f"{order!r} is no order; it must be one that a call such as buy has returned")
    return order


def _protects(order: Order, position: Position) -> bool:
    """Tell whether an order only waits to close the position if the market turns, or to take its profit beside that."""
    if order.parent is not None or order.intent.order_class == "oco":
        return True
    return order.type in STOPS and order.sign * position.qty < 0


def parameters(cls: type[Strategy]) -> dict[str, Any]:
    """Return a strategy's parameters and their defaults, in the order they are written.

    Raises:
        ConfigError: a parameter has no default.
    """
    found: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for owner in reversed(cls.__mro__[: cls.__mro__.index(Strategy)]):
        for name in vars(owner).get("__annotations__", {}):
            if name.startswith("_") or ClassVar in (hints[name], get_origin(hints[name])):
                continue
            if not hasattr(cls, name):
                raise ConfigError(f"parameter '{name}' needs a default; write one behind it: {name}: int = 10")
            found[name] = getattr(cls, name)
    return found


def _check_callbacks(cls: type[Strategy]) -> None:
    """Refuse what looks like a callback and would be called by nobody, or awaited by nobody."""
    for name in dir(cls):
        if name.startswith("on_") and callable(getattr(cls, name)):
            if name not in CALLBACKS:
                hint = suggestion(name, CALLBACKS) or f"; the engine calls {', '.join(CALLBACKS)}"
                raise ConfigError(f"nothing calls {cls.__name__}.{name}{hint}")
            if iscoroutinefunction(getattr(cls, name)):
                raise ConfigError(f"{cls.__name__}.{name} is async, and nobody awaits it: write def, not async def")


def configure(cls: type[Strategy], params: Mapping[str, Any]) -> Strategy:
    """Make a strategy with its parameters set.

    Raises:
        ConfigError: a parameter is unknown (with a suggestion) or of another type, or a callback would never be called.
    """
    _check_callbacks(cls)
    known, hints = parameters(cls), get_type_hints(cls)
    strategy = cls()
    for name, value in params.items():
        if name not in known:
            hint = f"{suggestion(name, known)} (it has: {', '.join(known) or 'none'})"
            if name in vars(cls) and name not in hints and not callable(vars(cls)[name]):
                hint = f"; an attribute is one when it says its type, as in {name}: int = 10"
            raise ConfigError(f"{cls.__name__} has no parameter '{name}'{hint}")
        wanted = hints[name]
        try:
            setattr(strategy, name, msgspec.convert(value, wanted))
        except msgspec.ValidationError:
            told = wanted.__name__ if isinstance(wanted, type) else str(wanted).replace("typing.", "")
            raise ConfigError(f"{cls.__name__}.{name} is {value!r}; it must be {told}") from None
    return strategy
