"""Positions, cash and profit, from fills and corporate actions only.

Money is exact: quantities and prices have at most 9 decimals, and the 38 digits of `MONEY` hold any sum of their
products, so cash is conserved to the last digit and the strategies' books sum to the account. Equity and exposures are
kept as floats beside it, moved by each price of a symbol that we hold or have asked for, so that a loss limit costs two
comparisons per event; `value` computes them again exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_DOWN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from math import inf
from typing import TYPE_CHECKING, Final

from engine.errors import InvariantError
from engine.events import AccountOpened, CorporateAction, Fill, exact
from engine.market import ZERO, Market
from engine.ticks import PRICE_MAX, PRICE_MIN

if TYPE_CHECKING:
    from engine.orders import Order

FOREIGN: Final = "(foreign)"
"""The book of what the account holds, earns and pays beside our strategies."""

MONEY: Final = Context(prec=38, traps=[InvalidOperation, DivisionByZero, Overflow])
"""The corridor makes it the current context, so that plain operators use it."""
WHOLE: Final = Decimal(1)
CENT: Final = Decimal("0.01")
NANO: Final = Decimal("1e-9")
COST_STEP: Final = NANO * NANO
"""What a quantity times a price is a multiple of, so that shares of a cost on this grid add up without rounding."""


def _share(cost_usd: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return what a part of a position has cost; it may be no finite decimal, so it is rounded once, to the grid."""
    return cost_usd if part == whole else (cost_usd * part / whole).quantize(COST_STEP)


def split_shares(held: list[Decimal], new: int, old: int) -> list[Decimal]:
    """Return what each of an account's holdings becomes by a split: whole shares where all of them were.

    The broker sees one position and pays out one fraction. Shares that several fractions make up go to the largest.
    """
    if any(qty % WHOLE for qty in held):
        return [(qty * new / old).quantize(NANO if qty % WHOLE else WHOLE, ROUND_DOWN) for qty in held]
    kept = [qty * new // old for qty in held]
    missing = int(sum(held, ZERO) * new // old - sum(kept, ZERO))
    step = WHOLE if missing > 0 else -WHOLE
    for at in sorted(range(len(held)), key=lambda at: held[at] * new % old * -step)[: abs(missing)]:
        kept[at] += step
    return kept


class Position:
    """What one strategy holds of one symbol.

    Units: `qty` signed; `cost_usd` is what the open quantity was bought for (negative for a short), so that
    `average_price` is derived and never stored. `open_qty` is the signed remainder of its open orders, `open_sell_qty`
    that of the sells alone, unsigned.
    """

    __slots__ = ("cost_usd", "open_qty", "open_sell_qty", "qty", "realized_usd", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.qty = self.cost_usd = self.realized_usd = self.open_qty = self.open_sell_qty = ZERO

    @property
    def average_price(self) -> Decimal | None:
        return self.cost_usd / self.qty if self.qty else None

    def book(self, qty: Decimal, price: Decimal) -> None:
        """Add a signed execution; what closes realizes profit at average cost."""
        held, value = self.qty, qty * price
        if not held or (held > 0) == (qty > 0):
            self.qty, self.cost_usd = held + qty, self.cost_usd + value
            return
        if abs(qty) <= abs(held):
            # What stays is the exact rest, so cost and realized profit still sum to the cash that moved.
            left = _share(self.cost_usd, -qty, held)
            self.qty, self.cost_usd = held + qty, self.cost_usd - left
            self.realized_usd -= value + left
            return
        self.book(-held, price)
        self.book(qty + held, price)


class StrategyBook:
    """One strategy's share of the account: its positions and every dollar its executions moved."""

    __slots__ = (
        "cash_flow_usd",
        "fees_usd",
        "halted",
        "name",
        "open_count",
        "positions",
        "session_pnl_usd",
        "traded_usd",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.positions: dict[str, Position] = {}
        self.cash_flow_usd = self.fees_usd = self.traded_usd = ZERO
        self.session_pnl_usd = ZERO
        self.halted = False
        self.open_count = 0

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol, flat when it was never traded."""
        found = self.positions.get(symbol)
        if found is None:
            found = self.positions[symbol] = Position(symbol)
        return found


class Portfolio:
    """The account and the strategies' books in it.

    Attributes:
        cash_usd: exact, the account's settled and unsettled money alike.
        equity, gross, net_high, net_low: floats in dollars, current to the last price. `gross` and the two nets are
            worst cases: they count every open order as if it filled.
        reserved_usd: what the open buys that were approved as entries may cost at most, exact.
        floor, peak: equity below `floor` means a loss limit; `peak` is the highest equity so far.
        multiplier: buying power over equity: 1 for a cash account, 2 or 4 on margin.
    """

    def __init__(self, cash_usd: Decimal, *, multiplier: int = 1) -> None:
        self.start_cash_usd = self.start_equity_usd = self.cash_usd = cash_usd
        self.reserved_usd = ZERO
        self.multiplier = multiplier
        self.markets: dict[str, Market] = {}
        self.books: dict[str, StrategyBook] = {}
        self.coins_charged: dict[str, Decimal] = {}
        self.fees_usd = ZERO
        self.equity = float(cash_usd)
        self.gross = self.net_high = self.net_low = 0.0
        self.floor, self.peak, self.peak_kept = -inf, self.equity, 0.0

    # --- reading ---------------------------------------------------------------------------------------------------

    def market(self, symbol: str) -> Market:
        """Return the state of a symbol, new when it was never seen."""
        found = self.markets.get(symbol)
        if found is None:
            found = self.markets[symbol] = Market(symbol)
        return found

    def book(self, strategy: str) -> StrategyBook:
        """Return a strategy's book, new when it never traded."""
        found = self.books.get(strategy)
        if found is None:
            found = self.books[strategy] = StrategyBook(strategy)
        return found

    def held(self) -> Iterator[Market]:
        """Yield the symbols with a position, in the order they were first seen."""
        return (market for market in self.markets.values() if market.position_qty)

    def position_qty(self, symbol: str) -> Decimal:
        market = self.markets.get(symbol)
        return market.position_qty if market is not None else ZERO

    def worth(self) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        """Return what we hold of each symbol at its mark, and each strategy's profit since the start of the run.

        A symbol of which two strategies' positions cancel out is worth 0; profits are after fees.
        """
        values: dict[str, Decimal] = {}
        profits: dict[str, Decimal] = {}
        for name, book in self.books.items():
            profit_usd = book.cash_flow_usd
            for symbol, position in book.positions.items():
                if position.qty:
                    value_usd = position.qty * exact(self.markets[symbol].mark)
                    profit_usd += value_usd
                    values[symbol] = values[symbol] + value_usd if symbol in values else value_usd
            profits[name] = profit_usd
        return values, profits

    def equity_usd(self) -> Decimal:
        """Return cash plus positions at their marks, exactly."""
        return sum(self.worth()[0].values(), self.cash_usd)

    def buying_power_usd(self) -> Decimal:
        """Return what new exposure may cost, open orders not counted.

        A cash account spends its cash. A margin account may hold `multiplier` times its equity (Regulation T: 2,
        intraday: 4), less what it holds already.
        """
        if self.multiplier == 1:
            return self.cash_usd
        held = sum((abs(market.qty) * market.mark for market in self.held()), 0.0)
        return exact(self.multiplier * self.equity - held)

    # --- prices ----------------------------------------------------------------------------------------------------

    def mark(self, market: Market, price: float) -> bool:
        """Move the account with a new price of a symbol; return whether a loss limit needs a look."""
        if PRICE_MIN <= price < PRICE_MAX:  # else it is malformed, and values nothing
            if market.worst_qty:
                change = price - market.mark
                if not -inf < change < inf:  # its first price: what was asked for had no exposure yet
                    change = price
                self.gross += market.worst_qty * change
                self.net_high += market.long_qty * change
                self.net_low += market.short_qty * change
                self.equity += market.qty * change
            market.mark = price  # also of what comes to nothing: two strategies may hold it against each other
        equity = self.equity  # compared in any case: the fill that closed a position may have moved it
        if equity > self.peak:
            self.peak = equity
            kept = equity * self.peak_kept
            if kept > self.floor:
                self.floor = kept
        return equity < self.floor

    def value(self, equity_usd: Decimal) -> None:
        """Start the floats afresh from the exact equity and the exact books, so that their error never grows old."""
        self.equity = float(equity_usd)
        self.gross = self.net_high = self.net_low = 0.0
        for market in self.markets.values():
            if market.worst_qty and -inf < market.mark < inf:
                self.gross += market.worst_qty * market.mark
                self.net_high += market.long_qty * market.mark
                self.net_low += market.short_qty * market.mark

    def expose(self, market: Market) -> None:
        """Take in a change of a symbol's position or open orders."""
        mark, position = market.mark, market.position_qty
        held = float(position) if position else 0.0  # a Decimal is slow to convert, and most of these are zero
        long = float(position + market.open_buy_qty) if market.open_buy_qty else held
        short = float(position - market.open_sell_qty) if market.open_sell_qty else held
        worst = max(abs(long), abs(short))
        if -inf < mark < inf:  # a symbol without a price has no exposure yet
            self.gross += (worst - market.worst_qty) * mark
            self.net_high += (long - market.long_qty) * mark
            self.net_low += (short - market.short_qty) * mark
        market.long_qty, market.short_qty, market.worst_qty = long, short, worst
        market.qty = held

    # --- what moves money ------------------------------------------------------------------------------------------

    def fill(self, fill: Fill, order: Order) -> None:
        """Book an execution in the account and in the book of the strategy that ordered it."""
        qty = fill.qty if fill.side == "buy" else -fill.qty
        price, fee = fill.price, fill.fee_usd
        value = qty * price
        flow = -value - fee
        self.cash_usd += flow
        self.fees_usd += fee
        book, market = order.book, order.market
        book.cash_flow_usd += flow
        book.fees_usd += fee
        book.traded_usd += abs(value)
        order.book_position.book(qty, price)
        market.position_qty += qty
        if not 0 < market.mark < inf:  # never priced: our own execution is the first price
            self.mark(market, float(price))
        held = market.qty
        self.expose(market)
        self.equity += (market.qty - held) * market.mark + float(flow)

    def open(self, opened: AccountOpened) -> None:
        """Begin with an account that has a past: its cash, and positions that belong to no strategy of ours."""
        self.start_cash_usd = self.cash_usd = opened.cash_usd
        self.multiplier = opened.multiplier
        book = self.book(FOREIGN)
        for symbol, qty in opened.positions.items():
            market, price = self.market(symbol), opened.prices.get(symbol, ZERO)  # some things nobody prices
            book.position(symbol).book(qty, price)
            book.cash_flow_usd -= qty * price  # its profit starts at nothing
            market.position_qty += qty
            market.mark = float(price)
            self.expose(market)
        equity = self.equity_usd()
        self.value(equity)
        self.start_equity_usd, self.peak = equity, self.equity

    def adjust(self, amount_usd: Decimal) -> None:
        """Book what the broker credited or charged outside executions; it belongs to no strategy."""
        self._pay(self.book(FOREIGN), amount_usd)

    def charge(self, symbol: str, qty: Decimal) -> None:
        """Take coins that the broker has kept as its fee out of the books, from the largest position first.

        What they had cost is a loss of the strategy that bought them.
        """
        market, left = self.market(symbol), qty
        held = [book.positions[symbol] for book in self.books.values() if symbol in book.positions]
        for position in sorted(held, key=lambda position: -position.qty):
            taken = max(ZERO, min(left, position.qty))
            if taken:
                cost = _share(position.cost_usd, taken, position.qty)
                position.cost_usd -= cost
                position.realized_usd -= cost
                position.qty -= taken
                left -= taken
        market.position_qty -= qty - left
        self.coins_charged[symbol] = self.coins_charged.get(symbol, ZERO) + qty
        self.expose(market)
        self.value(self.equity_usd())

    def act(self, action: CorporateAction) -> None:
        """Apply a split, dividend or symbol change to every book that holds the symbol.

        A split keeps whole shares and settles the fraction in cash at the mark, divided by the ratio; short positions
        pay dividends. Cost moves with the shares, so no profit appears on the day.

        Raises:
            InvariantError: a symbol takes the name of another one that is held.
        """
        market = self.markets.get(action.symbol)
        if market is None:
            return
        if action.action == "symbol_change":
            self._rename(market, action.new_symbol)
        elif action.action == "cash_dividend":
            self._dividend(market, action.amount_usd)
        else:
            self._split(market, action.new_shares, action.old_shares)

    def _dividend(self, market: Market, amount_usd: Decimal) -> None:
        for book in self.books.values():
            position = book.positions.get(market.symbol)
            if position is not None and position.qty:
                paid = position.qty * amount_usd
                position.realized_usd += paid
                self._pay(book, paid)

    def _split(self, market: Market, new: int, old: int) -> None:
        market.mark = market.mark * old / new
        books = [book for book in self.books.values() if market.symbol in book.positions]
        positions = [book.positions[market.symbol] for book in books]
        shares = split_shares([position.qty for position in positions], new, old)
        for book, position, kept in zip(books, positions, shares, strict=True):
            raw = position.qty * new / old
            fraction, position.qty = raw - kept, kept
            if fraction:
                cash = (fraction * exact(market.mark)).quantize(CENT)
                left = _share(position.cost_usd, fraction, raw) if abs(kept) < abs(raw) else cash
                position.cost_usd -= left
                position.realized_usd += cash - left
                self._pay(book, cash)
        market.position_qty = sum(shares, ZERO)
        market.forget_prices()
        self.expose(market)
        self.value(self.equity_usd())

    def _pay(self, book: StrategyBook, amount_usd: Decimal) -> None:
        self.cash_usd += amount_usd
        book.cash_flow_usd += amount_usd
        self.equity += float(amount_usd)

    def _rename(self, market: Market, new_symbol: str) -> None:
        for book in self.books.values():
            if (held := book.positions.get(new_symbol)) and held.qty:
                raise InvariantError(f"{market.symbol} becomes {new_symbol}, which {book.name} holds already")
        target = self.market(new_symbol)
        target.position_qty, market.position_qty = market.position_qty, ZERO
        if market.mark == market.mark:
            target.mark = market.mark
        target.forget_prices()  # of whatever had the name before
        for book in self.books.values():
            old = book.positions.get(market.symbol)
            if old is not None and old.qty:
                new = book.position(new_symbol)
                new.qty, new.cost_usd, old.qty, old.cost_usd = old.qty, old.cost_usd, ZERO, ZERO
        self.expose(market)
        self.expose(target)
        self.value(self.equity_usd())
