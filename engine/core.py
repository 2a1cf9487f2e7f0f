"""The corridor: one event at a time, run to completion. Same state and same events give the same decisions.

    event ─▶ clock ─▶ simulated venue ─▶ market, portfolio ─▶ strategy ─▶ outbox ─▶ risk ─▶ orders ─▶ journal ─▶ broker

Nothing here awaits, sleeps, draws a random number or reads a clock. A strategy's wishes lie in the outbox until its
handler has returned; then each passes risk, is journaled, and only then leaves for the broker. What the broker answers
comes back as an event, so every book has one writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import localcontext
from math import inf, nan
from typing import Any, Final, get_args

from engine.clock import Sessions
from engine.events import Bar, CancelRequest, Denied, Fill, InboxEvent, LateFill, OrderUpdate, OtherEvent, Quote, Trade
from engine.journal import Journal
from engine.market import Callbacks
from engine.orders import Order, OrderBook
from engine.portfolio import MONEY, Portfolio
from engine.ports import SimulatedBroker
from engine.risk import RiskManager
from engine.schedule import Schedule
from engine.strategy import Strategy
from engine.supervisor import Supervisor
from engine.wiring import Wiring

PRICES: Final = frozenset({Bar, Quote, Trade})


class Core:
    """One run: its books, its strategies, and the walk that every event takes through them.

    Attributes:
        now_ns: the time of the event in hand, the only clock a strategy ever sees.
        due_ns: from when on somebody has something to do before an event; 0 when that has to be asked.
        outbox: what the handler in progress has asked for.
        warming_up: whether strategies only watch, to fill their windows; then nothing they ask for is taken up.
        inputs: the events that are journaled as they come in, because no tape holds them.
    """

    def __init__(
        self, *, run_id: str, seed: int, strategies: Sequence[Strategy], portfolio: Portfolio, orders: OrderBook,
        risk: RiskManager, broker: SimulatedBroker, journal: Journal, schedule: Schedule, wiring: Wiring,
        sessions: Sessions, sample_ns: int, inputs: frozenset[type] = frozenset(),
    ) -> None:  # fmt: skip
        self.run_id, self.seed, self.inputs = run_id, seed, inputs
        self.strategies = {strategy.name: strategy for strategy in strategies}
        self.portfolio, self.orders, self.risk, self.broker, self.journal = portfolio, orders, risk, broker, journal
        self.schedule, self.wiring = schedule, wiring
        self.supervisor = Supervisor(self, sessions, sample_ns)
        self.now_ns = self.due_ns = self.events = 0
        self.outbox: list[Order | CancelRequest] = []
        self._emptying = self.warming_up = False
        self._markets, self._working = portfolio.markets, broker.working
        self.walk: dict[type, Callable[[Any], None]] = {
            Bar: self._on_price, Quote: self._on_price, Trade: self._on_price,
            Fill: self._on_fill, OrderUpdate: self._on_update,
            **dict.fromkeys(get_args(OtherEvent), self.supervisor.take),
        }  # fmt: skip
        wiring.tell = self.tell

    def run(self, batches: Iterable[Sequence[InboxEvent]]) -> None:
        """Take every event of a recorded feed, in a plain loop; what no tape holds, such as scores, is kept."""
        walk, bar_type, inputs = self.walk, Bar, self.inputs
        event: Any
        with localcontext(MONEY):
            for batch in batches:
                for event in batch:
                    kind = type(event)
                    if kind is bar_type:
                        self._on_price(event)
                    else:
                        if kind in inputs:
                            self.journal.append(event)
                        walk[kind](event)
                self.events += len(batch)

    def process(self, event: InboxEvent) -> None:
        """Take one event of a live feed.

        What it makes us send is on disk before it leaves, and so is everything else when this returns; but a price that
        moved nothing waits for the next commit, because a feed that is opened again brings it again.
        """
        if event.__class__ in self.inputs:
            self.journal.append(event)
        if isinstance(event, Fill | OrderUpdate):
            self.supervisor.pass_time(event)
        self.walk[event.__class__](event)
        self.events += 1
        self.due_ns = self.due_ns or self.supervisor.next_due_ns()
        if event.__class__ not in PRICES:
            self.journal.commit()

    # --- in: what happened -----------------------------------------------------------------------------------------

    def _on_price(self, event: Bar | Quote | Trade) -> None:
        """Let time pass to a price; then it meets the simulated venue, the books and the strategies, in this order."""
        now = self.now_ns = event.ts_recv_ns
        if now >= self.due_ns:
            self.supervisor.elapse(now)
        symbol = event.symbol
        market = self._markets.get(symbol) or self.portfolio.market(symbol)
        if symbol in self._working:
            self.settle(self.broker.match(event))
        if isinstance(event, Bar):
            price = market.bar_close = event.close
            market.bar_ns = now
            if event.interval_ns != market.bar_interval_ns:
                self.wiring.route(market, event.interval_ns)
            callbacks = market.on_bar
        elif isinstance(event, Quote):
            market.quote = event
            price = (event.bid_price + event.ask_price) / 2 if 0 < event.bid_price <= event.ask_price else nan
            callbacks = market.on_quote
        else:
            market.trade = event
            price = event.price
            callbacks = market.on_trade
        if market.worst_qty:
            if self.portfolio.mark(market, price):
                self.supervisor.apply(self.risk.on_loss(now))
        elif 0.0 < price < inf:  # two strategies may hold what comes to nothing together
            market.mark = price
        self.tell(callbacks, event)

    def tell(self, callbacks: Callbacks, event: Any) -> None:
        """Call the strategies one after the other; each one's wishes are dealt with before the next one thinks."""
        for callback in callbacks:
            try:
                callback(event)
            except Exception as error:  # the author's code may raise anything; it stops only itself
                self.supervisor.halt_strategy(callback, error, event)
            if self.outbox:
                self.empty_outbox()

    # --- out: from a wish to the wire ------------------------------------------------------------------------------

    def empty_outbox(self) -> None:
        """Take each wish through risk, the journal and out, in the order they were made."""
        if self._emptying:
            return
        self._emptying = True
        for wish in self.outbox:  # grows while it is read: an answer may make a strategy ask again
            if isinstance(wish, Order):
                self._submit(wish)
            else:
                self._cancel(wish)
        self.outbox.clear()
        self._emptying = False
        self.due_ns = 0  # what is due next, the next event asks

    def _submit(self, order: Order) -> None:
        is_new = not self.journal.following  # asked before: the last record that a killed run left was sent, or may be
        if not self.warming_up:
            verdict = self.risk.review(order, self.now_ns)
            self.journal.append(verdict)
        else:
            verdict = Denied(order.intent, self.now_ns, "warm_up", "strategies only watch yet")
        if isinstance(verdict, Denied):
            self.orders.deny(order, verdict)
            self.tell(self.wiring.on_order.get(order.strategy, ()), order)
            return
        self.orders.place(order, verdict)
        self.portfolio.expose(order.market)
        self.journal.commit()  # on disk before it leaves
        self.risk.consume(verdict, self.now_ns)
        if is_new or self.broker.simulated:
            self.broker.submit(verdict)

    def _cancel(self, request: CancelRequest) -> None:
        if self.orders.cancel(request):
            is_new = not self.journal.following
            self.journal.append(request)
            self.journal.commit()
            if is_new or self.broker.simulated:
                self.broker.cancel(request.client_order_id, self.now_ns)

    # --- in again: what the venue answers --------------------------------------------------------------------------

    def settle(self, answers: Iterable[Fill | OrderUpdate]) -> None:
        """Take a simulated venue's answers, as a live one's would come through `process`."""
        for answer in answers:
            self.journal.append(answer)
            if isinstance(answer, Fill):
                self._on_fill(answer)
            else:
                self._on_update(answer)
        self.due_ns = 0  # what is due next, the next event asks

    def _on_fill(self, fill: Fill) -> None:
        booked = self.orders.fill(fill)
        if booked is None:
            return  # known already, or another program's
        order, late = booked
        self.portfolio.fill(fill, order)
        if late:
            self.journal.append(LateFill(fill.execution_id, order.id, order.status, self.now_ns))
        if reason := order.overfill:
            self.supervisor.apply([self.risk.halt(self.now_ns, "overfill", reason)])
        if events := self.risk.on_fill(order, fill, self.now_ns):
            self.supervisor.apply(events)
        self.tell(self.wiring.on_fill.get(order.strategy, ()), fill)
        self.tell(self.wiring.on_order.get(order.strategy, ()), order)

    def _on_update(self, update: OrderUpdate) -> None:
        order = self.orders.update(update)
        if order is None:
            return  # old news, or another program's
        if events := self.risk.on_update(order, update, self.now_ns):
            self.supervisor.apply(events)
        self.tell(self.wiring.on_order.get(order.strategy, ()), order)
