"""From the records of a journal to plain rows: the same fold that the engine makes, kept for the page.

Orders and books are the engine's own classes, so a status or a split is not told twice. Nothing here needs a live
object, and a journal that ends in the middle gives what it held until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from typing import Any

import msgspec

from engine.errors import InvariantError
from engine.events import (
    Approved,
    CancelRequest,
    CorporateAction,
    Denied,
    Fill,
    LateFill,
    ModelStatus,
    OrderUpdate,
    Reconciliation,
    Record,
    RunEnded,
    RunStarted,
    Signal,
    Snapshot,
    StrategyHalted,
    TradingStateChanged,
)  # fmt: skip
from engine.market import ZERO
from engine.orders import Order, OrderBook
from engine.portfolio import MONEY, Portfolio
from engine.report.trips import Key, Trips

PROTECTIVE = ("stop", "stop_limit")


class Action(msgspec.Struct, frozen=True):
    """A corporate action, the snapshots that came before it, and what it paid by strategy and symbol."""

    event: CorporateAction
    snapshots: int
    paid_usd: dict[Key, Decimal]
    gain_usd: dict[Key, Decimal]


class Execution(msgspec.Struct, frozen=True):
    """A fill with its order and the price it is measured against, where there is one."""

    fill: Fill
    order: Order
    reference_price: Decimal | None


class Fold:
    """Everything that a report reads, in journal order."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.ended: RunEnded | None = None
        self.last_ns = 0
        self.snapshots: list[Snapshot] = []
        self.executions: list[Execution] = []
        self.denials: list[Denied] = []
        self.signals: list[Signal] = []
        self.states: list[TradingStateChanged] = []
        self.strategy_halts: list[StrategyHalted] = []
        self.model_statuses: list[ModelStatus] = []
        self.late: set[str] = set()
        self.actions: list[Action] = []
        self.warnings: list[str] = []
        self.foreign_fills = 0
        self.portfolio = Portfolio(ZERO)
        self.orders: list[Order] = []
        self.book = OrderBook(self.portfolio)
        self.trips = Trips()
        self._steps: dict[type, Callable[[Any], None]] = {
            RunStarted: self._run_started, RunEnded: self._run_ended, Approved: self._approved, Denied: self._denied,
            CancelRequest: self._cancel, OrderUpdate: self._update, Fill: self._fill, LateFill: self._late_fill,
            Signal: self.signals.append, TradingStateChanged: self.states.append, Snapshot: self.snapshots.append,
            StrategyHalted: self.strategy_halts.append, CorporateAction: self._act, Reconciliation: self._reconciled,
            ModelStatus: self.model_statuses.append,
        }  # fmt: skip

    def feed(self, records: Iterable[Record]) -> Fold:
        """Take in the records; those of the market are passed over."""
        steps, last_ns = self._steps, self.last_ns
        with localcontext(MONEY):
            for record in records:
                step = steps.get(type(record))
                if step is not None:
                    step(record)
                if record.ts_event_ns > last_ns:
                    last_ns = record.ts_event_ns
        self.last_ns = last_ns
        return self

    def _run_started(self, record: RunStarted) -> None:
        self.started = self.started or record

    def _run_ended(self, record: RunEnded) -> None:
        self.ended = record

    def _approved(self, record: Approved) -> None:
        order = Order(record.intent)
        try:
            self.book.place(order, record)
        except InvariantError as error:
            self.warnings.append(str(error))
            return
        self.orders += [order, *order.legs]

    def _denied(self, record: Denied) -> None:
        self.denials.append(record)
        order = Order(record.intent)
        self.book.deny(order, record)
        self.orders.append(order)

    def _cancel(self, record: CancelRequest) -> None:
        self.book.cancel(record)

    def _update(self, record: OrderUpdate) -> None:
        self.book.update(record)

    def _late_fill(self, record: LateFill) -> None:
        self.late.add(record.client_order_id)

    def _fill(self, fill: Fill) -> None:
        order = self.book.orders.get(fill.client_order_id)
        if order is None:
            self.foreign_fills += 1  # another program's: in no book of this run
            return
        if self.book.fill(fill) is None:
            return  # booked already
        if told := order.overfill:
            self.warnings.append(told)
        self.executions.append(Execution(fill, order, _reference(order)))
        self.portfolio.fill(fill, order)
        self.trips.fill(fill, order.strategy)

    def _reconciled(self, found: Reconciliation) -> None:
        books = self.portfolio.books.values()
        for symbol, qty in found.coins_charged.items():
            before = {book.name: book.position(symbol).qty for book in books}
            self.portfolio.charge(symbol, qty)
            for book in books:
                self.trips.charge((book.name, symbol), before[book.name] - book.position(symbol).qty)

    def _act(self, action: CorporateAction) -> None:
        if self.snapshots and action.symbol in self.snapshots[-1].marks:
            self.portfolio.market(action.symbol).mark = self.snapshots[-1].marks[action.symbol]
        books = self.portfolio.books.values()
        before = {book.name: book.cash_flow_usd for book in books}
        self.portfolio.act(action)
        paid = {(book.name, action.symbol): book.cash_flow_usd - before[book.name] for book in books}
        gain = dict(paid)
        if action.action == "symbol_change":
            self.trips.rename(action.symbol, action.new_symbol)
        elif action.action == "split":
            for book in books:
                key = (book.name, action.symbol)
                qty = book.position(action.symbol).qty
                gain[key] -= self.trips.split(key, action.new_shares, action.old_shares, qty, paid[key])
        self.actions.append(Action(action, len(self.snapshots), paid, gain))


def _reference(order: Order) -> Decimal | None:
    """Return what an execution is measured against.

    An order of our own: the market when risk approved it (Perold's implementation shortfall). One that waits for a
    price, a stop or a take-profit: that price, because what the market does until then is no cost of trading.
    """
    if order.type in PROTECTIVE:
        return order.intent.stop_price
    return order.reference_price if order.parent is None else order.intent.limit_price
