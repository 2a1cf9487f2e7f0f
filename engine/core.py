"""The corridor: one event at a time, run to completion. Same state and same events give the same decisions.

    event ─▶ clock ─▶ simulated venue ─▶ market, portfolio ─▶ strategy ─▶ outbox ─▶ risk ─▶ orders ─▶ journal ─▶ broker

Nothing here awaits, sleeps, draws a random number or reads a clock. A strategy's wishes lie in the outbox until its
handler has returned; then each passes risk, is journaled, and only then leaves for the broker. What the broker answers
comes back as an event, so every book has one writer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.desk import Desk
from engine.events import Approved, Bar, CancelRequest, Denied, Fill, LateFill, OrderUpdate, Quote, Trade
from engine.market import Callbacks
from engine.orders import Order


class Core(Desk):
    """The walk that every event of a run takes."""

    def on_price(self, event: Bar | Quote | Trade) -> None:
        """Let time pass to a price; then it meets the simulated venue, the books and the strategies, in this order."""
        now, symbol = event.ts_recv_ns, event.symbol
        if now < self.now_ns:
            now = self.now_ns  # the feed's clock and the broker's are two
        self.now_ns = now
        if now >= self.due_ns:
            self.supervisor.elapse(now)
        market = self.portfolio.market(symbol)
        if symbol in self.working:
            self.settle(self.broker.match(event))
        callbacks = market.observe(event, now)
        if self.portfolio.mark(market, market.price):
            self.supervisor.apply(self.risk.on_loss(now))
        self.tell(callbacks, event)

    def tell(self, callbacks: Callbacks, event: Any) -> None:
        """Call the strategies one after the other; each one's wishes are dealt with before the next one thinks."""
        for callback in callbacks:
            try:
                callback(event)
            except (Exception, SystemExit) as error:  # the author's code may raise anything; it stops only itself
                self.supervisor.halt_strategy(callback, error, event)
            if self.outbox:
                self.empty_outbox()

    # --- out: from a wish to the wire ------------------------------------------------------------------------------

    def empty_outbox(self) -> None:
        """Take each wish through risk, the journal and out, in the order they were made."""
        if self.emptying:
            return
        self.emptying = True
        for wish in self.outbox:  # grows while it is read: an answer may make a strategy ask again
            if isinstance(wish, Order):
                self._submit(wish)
            else:
                self._cancel(wish)
        self.outbox.clear()
        self.emptying = False
        self.due_ns = 0  # what is due next, the next event asks

    def _submit(self, order: Order) -> None:
        leaves = not self.journal.following or self.broker.simulated  # what a killed run told was sent, or may be
        verdict: Approved | Denied
        if self.warming_up:
            verdict = Denied(order.intent, self.now_ns, "warm_up", "strategies only watch yet")
        else:
            verdict = self.risk.review(order, self.now_ns)
            self.journal.append(verdict)
        if isinstance(verdict, Denied):
            self.orders.deny(order, verdict)
            self.tell(self.wiring.on_order.get(order.strategy, ()), order)
            return
        self.orders.place(order, verdict)
        self.portfolio.expose(order.market)
        self.journal.commit()  # on disk before it leaves
        self.risk.consume(verdict, self.now_ns)
        if leaves:
            self.broker.submit(verdict)

    def _cancel(self, request: CancelRequest) -> None:
        leaves = not self.journal.following or self.broker.simulated
        if self.orders.cancel(request):
            self.journal.append(request)
            self.journal.commit()
            if leaves:
                self.broker.cancel(request.client_order_id, self.now_ns)

    # --- in again: what the venue answers --------------------------------------------------------------------------

    def settle(self, answers: Iterable[Fill | OrderUpdate]) -> None:
        """Take a simulated venue's answers, as a live one's would come through `process`."""
        for answer in answers:
            self.journal.append(answer)
            if isinstance(answer, Fill):
                self.on_fill(answer)
            else:
                self.on_update(answer)
        self.due_ns = 0  # what is due next, the next event asks

    def on_fill(self, fill: Fill) -> None:
        """Book an execution, and tell whoever ordered it."""
        if booked := self.orders.fill(fill):  # else it is known already, or another program's
            order, is_late = booked
            self.portfolio.fill(fill, order)
            if is_late:
                self.journal.append(LateFill(fill.execution_id, order.id, order.status, self.now_ns))
            self.supervisor.apply(self.risk.on_fill(order, fill, self.now_ns))
            self.tell(self.wiring.on_fill.get(order.strategy, ()), fill)
            self.tell(self.wiring.on_order.get(order.strategy, ()), order)

    def on_update(self, update: OrderUpdate) -> None:
        """Take note of what became of an order."""
        if order := self.orders.update(update):  # else it is old news, or another program's
            self.supervisor.apply(self.risk.on_update(order, update, self.now_ns))
            self.tell(self.wiring.on_order.get(order.strategy, ()), order)
