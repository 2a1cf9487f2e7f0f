"""What one run has in hand, and the two ways in for its events: a recorded feed in one loop, a live one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from decimal import localcontext
from typing import Any, Final

from engine.clock import Sessions
from engine.events import Bar, CancelRequest, Fill, InboxEvent, OrderUpdate, Quote, Trade
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


class Desk(ABC):
    """The books, the strategies, the venue and the clock of one run. `engine.core` says what is done with them.

    Attributes:
        now_ns: the time of the event in hand, the only clock a strategy ever sees.
        due_ns: from when on somebody has something to do before an event; 0 when that has to be asked.
        events: how many have been taken.
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
        self.schedule, self.wiring, self.working = schedule, wiring, broker.working
        self.now_ns = self.due_ns = self.events = 0
        self.outbox: list[Order | CancelRequest] = []
        self.emptying = self.warming_up = False
        self.supervisor = Supervisor(self, sessions, sample_ns)
        wiring.tell = self.tell

    def run(self, batches: Iterable[Sequence[InboxEvent]]) -> None:
        """Take every event of a recorded feed; what no tape holds, such as scores, is kept."""
        bar_type, inputs = Bar, self.inputs
        event: Any
        with localcontext(MONEY):
            for batch in batches:
                for event in batch:
                    kind = type(event)
                    if kind is bar_type:
                        self.on_price(event)
                    else:
                        if kind in inputs:
                            self.journal.append(event)
                        self._take(event)
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
        self._take(event)
        self.events += 1
        self.due_ns = self.due_ns or self.supervisor.next_due_ns()
        if event.__class__ not in PRICES:
            self.journal.commit()

    def _take(self, event: InboxEvent) -> None:
        if isinstance(event, Bar | Quote | Trade):
            self.on_price(event)
        elif isinstance(event, Fill):
            self.on_fill(event)
        elif isinstance(event, OrderUpdate):
            self.on_update(event)
        else:
            self.supervisor.take(event)

    # --- what is done with it, in engine/core.py -------------------------------------------------------------------

    @abstractmethod
    def on_price(self, event: Bar | Quote | Trade) -> None: ...

    @abstractmethod
    def on_fill(self, fill: Fill) -> None: ...

    @abstractmethod
    def on_update(self, update: OrderUpdate) -> None: ...

    @abstractmethod
    def tell(self, callbacks: Callbacks, event: Any) -> None: ...

    @abstractmethod
    def settle(self, answers: Iterable[Fill | OrderUpdate]) -> None: ...

    @abstractmethod
    def empty_outbox(self) -> None: ...
