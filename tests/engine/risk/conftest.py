"""A desk to try the controls at: books, prices, and the steps that the corridor takes with an order."""

from __future__ import annotations

from collections.abc import Set
from decimal import Decimal
from typing import Any

import pytest

from engine.clock import Sessions
from engine.events import MINUTE_NS, SECOND_NS, Approved, Denied, Fill, Intent, OrderUpdate, Quote, Trade
from engine.market import Market
from engine.orders import Order, OrderBook
from engine.portfolio import Portfolio
from engine.risk import RiskLimits, RiskManager

NOON_NS = 1_741_021_200 * SECOND_NS
"""2025-03-03 12:00 in New York, a Monday."""


class Desk:
    """An account with two strategies, `a` and `b`; SPY has just traded at 100, and nothing binds but what is given."""

    def __init__(
        self, *, cash: str = "100000", multiplier: int = 1, calendar: str = "24/7", now_ns: int = NOON_NS,
        fractionable: Set[str] | None = None, shortable: Set[str] | None = None, active: bool = True, **limits: Any,
    ) -> None:  # fmt: skip
        self.now_ns, self.ids = now_ns, 0
        self.portfolio = Portfolio(Decimal(cash), multiplier=multiplier)
        self.orders = OrderBook(self.portfolio)
        self.sessions, self.fractionable, self.shortable = Sessions(calendar), fractionable, shortable
        self.regime(**limits)
        if active:
            self.risk.activate(now_ns)
        self.bar(100)

    def regime(self, **limits: Any) -> None:
        """Put the books under these limits, from now on."""
        self.risk = RiskManager(
            RiskLimits(**{"profile": "wide", **limits}),
            portfolio=self.portfolio, orders=self.orders, sessions=self.sessions,
            symbols_by_strategy={name: frozenset({"SPY", "QQQ", "BTC/USD"}) for name in "ab"},
            fractionable=self.fractionable, shortable=self.shortable,
        )  # fmt: skip
        self.risk.on_session(self.now_ns)

    # --- the market ------------------------------------------------------------------------------------------------

    def market(self, symbol: str = "SPY") -> Market:
        return self.portfolio.market(symbol)

    def bar(self, price: float, symbol: str = "SPY", interval_ns: int = MINUTE_NS) -> list[Any]:
        """Close a bar at this price; return what a loss limit made of it."""
        price = float(price)
        market = self.market(symbol)
        market.bar_ns, market.bar_close, market.bar_span_ns = self.now_ns, price, interval_ns
        return self.mark(price, symbol)

    def quote(self, bid: float, ask: float, symbol: str = "SPY") -> None:
        self.market(symbol).quote = Quote(symbol, self.now_ns, self.now_ns, bid, 1, ask, 1)
        self.mark((bid + ask) / 2, symbol)

    def trade(self, price: float, symbol: str = "SPY") -> None:
        self.market(symbol).trade = Trade(symbol, self.now_ns, self.now_ns, price, 1)
        self.mark(price, symbol)

    def mark(self, price: float, symbol: str = "SPY") -> list[Any]:
        return list(self.risk.on_loss(self.now_ns)) if self.portfolio.mark(self.market(symbol), price) else []

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)

    # --- orders ----------------------------------------------------------------------------------------------------

    def order(self, side: Any, qty: Any, symbol: str = "SPY", strategy: str = "a", **fields: Any) -> Order:
        """Make an order; text becomes Decimal where the field is a number."""
        self.ids += 1
        prices = ("_price", "_usd", "_percent")
        fields = {k: Decimal(v) if isinstance(v, str) and k.endswith(prices) else v for k, v in fields.items()}
        fields.setdefault("client_order_id", f"{strategy}-{self.ids}")
        size = Decimal(qty) if isinstance(qty, str | int) else qty
        return Order(Intent(strategy=strategy, symbol=symbol, side=side, qty=size, ts_event_ns=self.now_ns, **fields))

    def ask(self, side: Any, qty: Any, *args: Any, **fields: Any) -> Approved | Denied:
        """Review an order and do nothing with the answer."""
        return self.risk.review(self.order(side, qty, *args, **fields), self.now_ns)

    def refusal(self, side: Any, qty: Any, *args: Any, **fields: Any) -> str:
        """Return `code: reason`, or an empty string when the order passes."""
        verdict = self.ask(side, qty, *args, **fields)
        return f"{verdict.control[:3]}: {verdict.reason}" if isinstance(verdict, Denied) else ""

    def send(self, side: Any, qty: Any, *args: Any, **fields: Any) -> Order:
        """Take an order that has to pass all the way to the venue."""
        order = self.order(side, qty, *args, **fields)
        verdict = self.submit(order)
        assert isinstance(verdict, Approved), verdict
        return order

    def submit(self, order: Order) -> Approved | Denied:
        """Take an order as far as the controls let it go."""
        verdict = self.risk.review(order, self.now_ns)
        if isinstance(verdict, Denied):
            return verdict
        self.orders.place(order, verdict)
        self.portfolio.expose(self.market(order.symbol))
        self.risk.consume(verdict, self.now_ns)
        return verdict

    def fill(self, order: Order, qty: Any = None, price: Any = "100") -> list[Any]:
        """Execute an order, wholly unless `qty` says otherwise; return what that trips."""
        self.ids += 1
        size, now = order.remaining_qty if qty is None else Decimal(qty), self.now_ns
        fill = Fill(f"x{self.ids}", order.id, order.symbol, order.side, size, Decimal(price), Decimal(0), now, now)
        assert self.orders.fill(fill) is not None
        self.portfolio.fill(fill, order)
        self.portfolio.expose(self.market(order.symbol))
        return list(self.risk.on_fill(order, fill, self.now_ns))

    def update(self, order: Order, status: Any, reason: str = "") -> list[Any]:
        """Let the venue speak; return what that trips."""
        update = OrderUpdate(order.id, status, self.now_ns, self.now_ns, reason)
        assert self.orders.update(update) is order
        self.portfolio.expose(self.market(order.symbol))
        return list(self.risk.on_update(order, update, self.now_ns))

    def hold(self, side: Any, qty: Any, *args: Any, **fields: Any) -> None:
        """Come to a position by an order that fills at once, long ago."""
        self.fill(self.send(side, qty, *args, **fields))


@pytest.fixture(scope="session")
def desk() -> type[Desk]:
    """Give the class, so that a test, and each example of a property, builds its own."""
    return Desk
