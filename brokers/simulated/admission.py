"""Which orders the simulated venue takes on, and in Alpaca's words why it refuses the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from brokers.simulated.execution import notional_qty
from brokers.simulated.hours import Hours
from brokers.simulated.order_table import OrderTable
from brokers.simulated.settings import PaperSettings
from brokers.simulated.working_order import ZERO, WorkingOrder
from engine.events import Approved, Intent
from engine.ports import Account

AUCTIONS: Final = frozenset({"opg", "cls"})
SHORT_MARKUP: Final = Decimal("1.03")  # Alpaca reserves a short sale at 3 % above the market


class Verdict:
    """Whether an order is taken on, and at which price in buying power.

    Attributes:
        refusal: why not; empty when it is.
        cost_usd: buying power that it holds until it fills.
        most: the quantity that it may fill at most, for an exit whose quantity is not known yet.
    """

    __slots__ = ("cost_usd", "most", "refusal")

    def __init__(self, refusal: str, cost_usd: Decimal = ZERO, most: Decimal | None = None) -> None:
        self.refusal, self.cost_usd, self.most = refusal, cost_usd, most


def order_refusal(intent: Intent, hours: Hours, ts_ns: int) -> str:
    """Say why an order with legs, for extended hours or for an auction is refused, or return an empty string."""
    lasting = intent.time_in_force in ("day", "gtc")
    if intent.order_class != "simple" and not lasting:
        return f"{intent.order_class} orders must be DAY or GTC orders"
    if intent.extended_hours and not (intent.type == "limit" and lasting):
        return "extended hours orders must be DAY or GTC limit orders"
    if intent.time_in_force in AUCTIONS:
        if intent.type not in ("market", "limit"):
            return f"{intent.time_in_force} orders must be market or limit orders"
        return hours.auction_refusal(intent.time_in_force, ts_ns)
    return ""


def entry_price(intent: Intent, reference_price: Decimal) -> Decimal:
    """Return the price per share at which an entry is reserved: its limit, else its stop, else the market's."""
    price = intent.limit_price or intent.stop_price or reference_price
    return price if intent.side == "buy" else max(price, reference_price * SHORT_MARKUP)


class Admission:
    """Positions, borrow and buying power, compared; the arithmetic of margin is the account's own."""

    def __init__(
        self, settings: PaperSettings, account: Account, table: OrderTable, hours: Hours, *, crypto: bool
    ) -> None:  # fmt: skip
        self._settings, self._account, self._table, self._hours = settings, account, table, hours
        self._crypto = crypto

    def judge(self, approved: Approved, order: WorkingOrder, replaced: WorkingOrder | None) -> Verdict:
        """Judge an order; one that replaces another also takes over what that one has filled."""
        intent = order.intent
        if intent.replaces:
            verdict = self._amend(order, replaced)
            if verdict is not None:
                return verdict
        if intent.order_class != "simple" or order.extended or order.time_in_force in AUCTIONS:
            refusal = order_refusal(intent, self._hours, order.arrival_ns)
            if refusal:
                return Verdict(refusal)
        return self._afford(approved, order, replaced)

    def _amend(self, order: WorkingOrder, replaced: WorkingOrder | None) -> Verdict | None:
        """Judge a replacement by the order that it replaces; None when it is judged like any other from there on.

        Its quantity is the new total, so what has filled already is not to fill again.
        """
        if replaced is None:
            return Verdict(f"order {order.intent.replaces} is not open")
        if replaced.symbol != order.symbol or replaced.buy is not order.buy:
            return Verdict("a replacement keeps symbol and side")
        if replaced.legs or order.intent.order_class != "simple":
            return Verdict("an order with legs cannot be replaced: cancel it and send a new one")
        if order.left is None or replaced.left is None:
            return Verdict("notional orders cannot be replaced")
        order.carried = replaced.filled + replaced.carried
        order.want(order.left - order.carried)
        if order.left <= 0:
            return Verdict(f"{order.carried} have filled already")
        if not replaced.protective:
            return None
        if not replaced.held:  # what it has left to fill was all that it may take from the position
            order.want(min(order.left, replaced.left))
        return Verdict("")

    def _afford(self, approved: Approved, order: WorkingOrder, replaced: WorkingOrder | None) -> Verdict:
        """Compare an order with the account and with the other open orders, but for the one that it replaces."""
        intent, price, qty = approved.intent, approved.reference_price, order.left
        if qty is None:
            qty = notional_qty(order, price)
        position = self._account.position_qty(intent.symbol)
        entry = qty
        if position and (position < 0) is order.buy:
            available = abs(position) - self._table.promised_qty(order, replaced)
            if qty <= available:
                return Verdict("", ZERO, available)
            if not self._settings.allow_flip:
                return Verdict(f"insufficient qty available for order (requested: {qty}, available: {available})")
            entry = qty - max(available, ZERO)
        if intent.order_class == "oco":
            return Verdict("oco orders must be exit orders")
        if not order.buy and (refusal := self._short_refusal(intent)):
            return Verdict(refusal)
        cost = entry_price(intent, price) * entry
        free = self._account.buying_power_usd() - self._table.reserved_usd
        if replaced is not None:
            free += replaced.reserved_usd
        if cost > free:
            return Verdict(f"insufficient buying power (cost basis: {cost:.2f}, buying power: {free:.2f})")
        return Verdict("", cost)

    def _short_refusal(self, intent: Intent) -> str:
        settings, symbol = self._settings, intent.symbol
        if settings.account == "cash" and not self._crypto:
            return "a cash account cannot sell short"
        borrowable = symbol in settings.shortable or (settings.easy_to_borrow and symbol not in settings.hard_to_borrow)
        if self._crypto or not borrowable:
            return f"asset {symbol} cannot be sold short"
        if intent.qty is None or intent.qty % 1:
            return "fractional orders cannot be sold short"
        return ""
