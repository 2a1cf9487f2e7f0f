"""An account with its order book, and short words for what happens to it in the corridor."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import Any

from engine.events import Approved, CancelRequest, Fill, Intent, OrderStatus, OrderUpdate, Side
from engine.market import Market
from engine.orders import Order, OrderBook
from engine.portfolio import Portfolio

Number = int | str | Decimal


class Desk:
    """Moves the books by the same calls as the corridor, without feed, risk or venue."""

    def __init__(self, cash_usd: Number = 100_000, *, multiplier: int = 1) -> None:
        self.portfolio = Portfolio(Decimal(cash_usd), multiplier=multiplier)
        self.orders = OrderBook(self.portfolio)
        self._ids, self._executions = count(1), count(1)

    def ask(
        self, side: Side, qty: Number | None, symbol: str = "SPY", *, strategy: str = "one", at: Number = 100,
        cost_price: Number = 0, **fields: Any,
    ) -> Order:  # fmt: skip
        """Place an order that risk has approved at this reference price; `cost_price` makes it an entry."""
        wanted = None if qty is None else Decimal(qty)
        order = Order(Intent(f"{strategy}-{next(self._ids)}", strategy, symbol, side, wanted, 0, **fields))
        order.cost_price = Decimal(cost_price)
        self.orders.place(order, Approved(order.intent, 0, 0, 0, Decimal(at), "bar"))
        self.portfolio.expose(order.market)
        return order

    def fill(
        self, order: Order, qty: Number, price: Number = 100, fee: Number = 0, execution_id: str = ""
    ) -> tuple[Order, bool] | None:
        """Let the venue execute some of an order; return what the order book says to it."""
        name = execution_id or f"x{next(self._executions)}"
        fill = Fill(name, order.id, order.symbol, order.side, Decimal(qty), Decimal(price), Decimal(fee), 0, 0)
        booked = self.orders.fill(fill)
        if booked is not None:
            self.portfolio.fill(fill, order)
        return booked

    def update(self, order: Order, status: OrderStatus) -> Order | None:
        """Let the venue say what has become of an order."""
        return self.orders.update(OrderUpdate(order.id, status, 1, 1))

    def cancel(self, order: Order) -> bool:
        """Ask for an order to be canceled; return whether there is anything to ask."""
        return self.orders.cancel(CancelRequest(order.id, 1))

    def trade(
        self, qty: Number, price: Number = 100, symbol: str = "SPY", *, strategy: str = "one", fee: Number = 0
    ) -> None:
        """Buy (or sell, when negative) and be filled at once."""
        signed = Decimal(qty)
        order = self.ask("buy" if signed > 0 else "sell", abs(signed), symbol, strategy=strategy)
        self.fill(order, abs(signed), price, fee)

    def mark(self, price: float, symbol: str = "SPY") -> bool:
        """Let a price of a symbol move the account, as the corridor does when anything depends on it."""
        market = self.market(symbol)
        if not market.worst_qty:
            market.mark = price
            return False
        return self.portfolio.mark(market, price)

    def market(self, symbol: str = "SPY") -> Market:
        return self.portfolio.market(symbol)
