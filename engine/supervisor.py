"""What happens beside the walk: time passing, sessions turning, halts, snapshots, splits, a person's word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from engine.clock import Sessions
from engine.closing import Closing
from engine.events import (
    MINUTE_NS,
    SECOND_NS,
    AccountOpened,
    AccountStatement,
    AccountTerms,
    Assets,
    Backfill,
    CancelRequest,
    Command,
    CorporateAction,
    Datum,
    Event,
    InboxEvent,
    Link,
    ModelStatus,
    News,
    OtherEvent,
    Reconciliation,
    RunEnded,
    RunStarted,
    Signal,
    Snapshot,
    Status,
    StrategyHalted,
    Timer,
    TradingStateChanged,
)  # fmt: skip
from engine.journal import encode
from engine.market import ZERO, Callback
from engine.orders import Order
from engine.risk.model_health import STANDING
from engine.strategy import Strategy

if TYPE_CHECKING:
    from engine.desk import Desk

MARKS_PER_SNAPSHOT_MAX: Final = 64
LOOK_EVERY_NS: Final = 30 * MINUTE_NS


class Supervisor:
    """Keep the run in order between two events. It changes books only through the same calls as the walk.

    `sample_ns` is the interval of snapshots within a session; 0 leaves the one at each session's end.

    Attributes:
        masked: takes secrets out of a text that was written by others, before it is journaled.
    """

    def __init__(self, desk: Desk, sessions: Sessions, sample_ns: int) -> None:
        self._desk, self._sessions, self._sample_ns = desk, sessions, sample_ns
        self._closing = Closing(desk)
        desk.schedule.wake = self._wake
        self._begun = self._is_active = self._is_behind = False
        self.masked: Callable[[str], str] = str
        followed = dict.fromkeys(symbol for strategy in desk.strategies.values() for symbol in strategy.symbols)
        self._followed = set(followed)
        self._shown = tuple(followed) if len(followed) <= MARKS_PER_SNAPSHOT_MAX else ()

    def begin(self, started: RunStarted, warm_up_ns: int = 0, *, waits: bool = False) -> None:
        """Open the journal with the run's header, start the strategies, and let them trade once they are warm.

        With `waits`, once the account has been reconciled.
        """
        desk = self._desk
        desk.now_ns = started.ts_event_ns
        desk.journal.append(started)
        desk.warming_up = True
        desk.tell(desk.wiring.hearing("on_start"), started)
        desk.due_ns = 0
        if waits:
            return  # what the account is worth, and leave to trade, come with `AccountOpened` and `Reconciliation`
        if warm_up_ns:
            desk.schedule.at(started.ts_event_ns + warm_up_ns, self._activate)
        else:
            self._activate(started.ts_event_ns)
        self.snapshot(started.ts_event_ns)  # what every return is measured from

    def _activate(self, ts_ns: int) -> None:
        self._is_active, self._desk.warming_up = True, self._is_behind
        self.apply([self._desk.risk.activate(ts_ns)])

    def finish(self, *, ended: bool) -> None:
        """Stop the strategies; when the feed came to its end, close the journal's story with a last look."""
        desk = self._desk
        if ended:
            desk.wiring.check_heard()
            desk.wiring.hand_on_ended_bars(desk.now_ns)  # their last part will not come any more
            desk.tell(desk.wiring.hearing("on_stop"), None)
            self.snapshot(desk.now_ns)
            desk.journal.append(RunEnded(desk.now_ns, desk.events))
        desk.journal.close()

    def next_due_ns(self) -> int:
        """Return the next instant at which somebody has something to do without an event."""
        desk = self._desk
        return min(min(desk.schedule.due_ns, desk.broker.due_ns), desk.risk.due_ns)  # two by two is compiled to C

    def pass_time(self, event: InboxEvent) -> None:
        """Let time pass to an event that is no price: one that comes late does not turn it back."""
        desk = self._desk
        now = desk.now_ns = max(desk.now_ns, event.ts_recv_ns)
        if now >= desk.due_ns:
            self.elapse(now)

    def elapse(self, now_ns: int) -> None:
        """Let everything happen that is due by `now_ns`, in order of time, before the event in hand."""
        desk = self._desk
        if not self._begun:
            self._begin(now_ns)
        while True:
            due = self.next_due_ns()
            if due > now_ns:
                break
            desk.now_ns = due
            if desk.broker.due_ns == due:
                desk.settle(desk.broker.advance(due))
            elif desk.risk.due_ns == due:
                self.apply(desk.risk.overdue(due))
                for order_id in desk.risk.expired(due):
                    desk.outbox.append(CancelRequest(order_id, due, "C28 order_age"))
            else:
                desk.now_ns, call = desk.schedule.pop()
                call(desk.now_ns)
            if desk.outbox:
                desk.empty_outbox()
        desk.due_ns, desk.now_ns = due, now_ns

    def _begin(self, now_ns: int) -> None:
        self._begun = True
        self._open_session(now_ns)
        self._desk.schedule.at(self._next(now_ns, self._sample_ns), self._sample)
        self._desk.schedule.at(self._next(now_ns, LOOK_EVERY_NS), self._look)

    def _wake(self, due_ns: int) -> None:
        """Take note of an alarm that was set while nothing else changed what is due."""
        self._desk.due_ns = min(self._desk.due_ns, due_ns)

    def _turn_session(self, ts_ns: int) -> None:
        self.apply(self._desk.risk.check_strategies(ts_ns))  # before what they have lost counts afresh
        self._open_session(ts_ns)

    def _open_session(self, ts_ns: int) -> None:
        self.apply(self._desk.risk.on_session(ts_ns))
        session = self._sessions.at(ts_ns)
        # The next day begins for the counters with its extended hours; between two, `at` names the one to come.
        self._desk.schedule.at(session.extended_close_ns, self._turn_session)

    def _sample(self, ts_ns: int) -> None:
        self.snapshot(ts_ns)
        self._desk.schedule.at(self._next(ts_ns, self._sample_ns), self._sample)

    def _next(self, ts_ns: int, step_ns: int) -> int:
        """Return the next multiple of an interval inside a session, and each session's end in any case."""
        session = self._sessions.at(ts_ns)
        if not step_ns:
            return session.extended_close_ns
        start = max(ts_ns, session.extended_open_ns)
        return min(start - start % step_ns + step_ns, session.extended_close_ns)

    def snapshot(self, ts_ns: int) -> None:
        """Write the account as it stands into the journal."""
        desk, portfolio = self._desk, self._desk.portfolio
        values, profits = portfolio.worth()
        equity = sum(values.values(), portfolio.cash_usd)
        portfolio.value(equity)
        markets = portfolio.markets
        desk.journal.append(
            Snapshot(
                ts_event_ns=ts_ns,
                cash_usd=portfolio.cash_usd,
                equity_usd=equity,
                gross_usd=sum(map(abs, values.values()), ZERO),
                net_usd=equity - portfolio.cash_usd,
                fees_usd=portfolio.fees_usd,
                marks={
                    symbol: markets[symbol].mark
                    for symbol in dict.fromkeys((*self._shown, *values))
                    if symbol in markets and markets[symbol].mark == markets[symbol].mark
                },
                strategy_pnl_usd=profits,
            )
        )

    def _look(self, ts_ns: int) -> None:
        """Look at the strategies' losses; how often must not hang on where a tape ends, as samples do."""
        self.apply(self._desk.risk.check_strategies(ts_ns))
        self._desk.schedule.at(self._next(ts_ns, LOOK_EVERY_NS), self._look)

    def apply(self, events: Sequence[Event]) -> None:
        """Journal what risk decided, if anything, and carry it out: a halt cancels what adds risk, and latches."""
        if not events:
            return
        for event in events:
            self._desk.journal.append(event)
            if isinstance(event, TradingStateChanged):
                if event.state != "active":
                    self._cancel_entries(f"{event.control}: {event.reason}")
            elif isinstance(event, StrategyHalted):
                self._desk.portfolio.book(event.strategy).halted = True
                self._cancel_entries(f"{event.control}: {event.reason}", event.strategy)
        self._desk.journal.commit()  # a latch holds through a kill
        if self._desk.outbox:
            self._desk.empty_outbox()

    def halt_strategy(self, callback: Callback, error: BaseException, cause: Event | Order) -> None:
        """Stop a strategy whose code raised, alone; the event it was handling is kept.

        It hears nothing more, its entries are canceled, and of what it asked for in this handler only reductions pass.
        """
        desk = self._desk
        name = desk.wiring.owner(callback)
        if name is None:
            raise error  # ours, on the way to a strategy: a full disk is no fault of the author's
        desk.wiring.drop(name)
        event = cause.intent if isinstance(cause, Order) else cause
        own = {one.__module__ for one in type(desk.strategies[name]).__mro__ if issubclass(one, Strategy)}
        where, line = "", error.__traceback__
        while line is not None:  # down to the author's last line: what it called, ours or a library's, is not the place
            module = line.tb_frame.f_globals.get("__name__")
            if module in own and module != Strategy.__module__:
                where = f" at line {line.tb_lineno} of {line.tb_frame.f_code.co_name}"
            line = line.tb_next
        reason, told = self.masked(f"{_said(error)}{where}"), self.masked(encode(event).decode())
        self.apply([StrategyHalted(name, desk.now_ns, "exception", reason, told)])

    def _cancel_entries(self, reason: str, strategy: str | None = None) -> None:
        desk = self._desk
        for order in desk.orders.open.values():
            if (strategy is None or order.strategy == strategy) and not desk.risk.reduces(order):
                desk.outbox.append(CancelRequest(order.id, desk.now_ns, reason))

    # --- the rarer events ------------------------------------------------------------------------------------------

    def take(self, event: OtherEvent) -> None:
        """Take what is neither a price nor a venue's answer. Time passes to it, which is all there is to a `Tick`."""
        self.pass_time(event)
        desk = self._desk
        if isinstance(event, News):
            desk.tell(desk.wiring.hearing("on_news", event.symbols), event)
        elif isinstance(event, Datum):
            desk.tell(desk.wiring.hearing("on_datum", (event.symbol,) if event.symbol else ()), event)
        elif isinstance(event, Signal):
            if event.ts_expire_ns > desk.now_ns:
                desk.tell(desk.wiring.hearing("on_signal", (event.symbol,)), event)
        elif isinstance(event, Status):
            self._on_status(event)
        elif isinstance(event, CorporateAction):
            self._on_corporate_action(event)
        elif isinstance(event, Command):
            self._on_command(event)
        elif isinstance(event, AccountOpened):
            desk.portfolio.open(event)
            self.apply(desk.risk.on_session(desk.now_ns))  # what it is worth is known only now
            self.snapshot(desk.now_ns)
        elif isinstance(event, Assets):
            desk.risk.on_assets(event)
        elif isinstance(event, Link):
            desk.risk.on_link(event, desk.now_ns)
        elif isinstance(event, Backfill):
            self._is_behind = not event.done
            desk.warming_up = self._is_behind or not self._is_active
        elif isinstance(event, Reconciliation):
            desk.portfolio.adjust(event.cash_adjustment_usd)
            for symbol, qty in event.coins_charged.items():
                desk.portfolio.charge(symbol, qty)
            if not self._is_active:
                self._activate(desk.now_ns)
            self.apply(desk.risk.on_reconciliation(event, desk.now_ns))
        elif isinstance(event, ModelStatus):
            self._on_model(event)
        elif isinstance(event, AccountTerms):
            desk.risk.on_terms(event)
        elif isinstance(event, AccountStatement):
            self.apply(desk.risk.on_statement(event, desk.now_ns))
        if desk.outbox:  # what a person or a model's health had asked for; on a tape no one else empties it
            desk.empty_outbox()

    def _on_status(self, status: Status) -> None:
        desk = self._desk
        market = desk.portfolio.market(status.symbol)
        market.halted = status.state == "halted"
        market.limit_up_price, market.limit_down_price = status.limit_up_price, status.limit_down_price
        if desk.broker.simulated:
            desk.settle(desk.broker.notice(status))
        desk.tell(desk.wiring.hearing("on_status", (status.symbol,)), status)

    def _on_corporate_action(self, action: CorporateAction) -> None:
        # First the venue's orders, which a split cancels, then the books, then the strategies.
        desk = self._desk
        if desk.broker.simulated:
            desk.settle(desk.broker.notice(action))
        if CorporateAction not in desk.inputs and action.symbol in self._followed:
            desk.journal.append(action)  # it moves our books, so the journal must show it
        desk.portfolio.act(action)
        if action.action == "symbol_change":
            if action.symbol in self._followed:
                self._followed.add(action.new_symbol)
            desk.wiring.rename(action.symbol, action.new_symbol)
            desk.risk.rename(action.symbol, action.new_symbol)
        desk.tell(desk.wiring.hearing("on_corporate_action", (action.symbol,)), action)

    def _on_command(self, command: Command) -> None:
        if Command not in self._desk.inputs:  # no tape holds it, so the journal must, and where it came
            self._desk.journal.append(replace(command, events=self._desk.events))
        desk, risk, now = self._desk, self._desk.risk, self._desk.now_ns
        reason = command.reason or "asked for"
        if command.action == "resume":
            self._closing.give_up("operator")
            self.apply([risk.resume(now, "operator", reason)])
        elif command.action == "reduce_only":
            self.apply([risk.reduce_only(now, "operator", reason)])
        elif command.action == "halt":
            self.apply([risk.halt(now, "operator", reason)])
        elif command.action in ("override", "tighten"):
            self.apply(risk.on_override(command, now))
        else:
            for order in desk.orders.open.values():
                desk.outbox.append(CancelRequest(order.id, now, f"operator: {reason}"))
            if command.action == "flatten":
                self._closing.begin(desk.strategies.values(), "operator", reason)

    def _on_model(self, status: ModelStatus) -> None:
        desk, control = self._desk, self._desk.risk.model_health
        self.apply(desk.risk.on_model(status, desk.now_ns))
        by = f"{control.label}: model {status.model}"
        if status.state in STANDING:
            self._closing.give_up(by)
        if status.action == "flatten":
            self._closing.begin((desk.strategies[name] for name in control.bound(status.model)), by, status.reason)

    # --- alarms ----------------------------------------------------------------------------------------------------

    def set_timer(self, strategy: Strategy, name: str, span_ns: int, kind: str) -> None:
        """Schedule a strategy's alarm: `after`, `every`, `before_close` or `after_open`."""
        self._desk.schedule.at(
            self._next_alarm(self._desk.now_ns, span_ns, kind), partial(self._ring, strategy, name, span_ns, kind)
        )

    def _ring(self, strategy: Strategy, name: str, span_ns: int, kind: str, ts_ns: int) -> None:
        callback = self._desk.wiring.callback(strategy.name, "on_timer")
        if kind != "after":
            again = partial(self._ring, strategy, name, span_ns, kind)
            self._desk.schedule.at(self._next_alarm(ts_ns, span_ns, kind), again)
        if callback is not None:
            self._desk.tell((callback,), Timer(strategy.name, name, ts_ns, ts_ns))

    def _next_alarm(self, now_ns: int, span_ns: int, kind: str) -> int:
        if kind in ("after", "every"):
            return now_ns + max(span_ns, SECOND_NS // 1000)
        session = self._sessions.at(now_ns)
        while True:
            due = session.close_ns - span_ns if kind == "before_close" else session.open_ns + span_ns
            if due > now_ns:
                return due
            session = self._sessions.at(session.extended_close_ns)


def _said(error: BaseException) -> str:
    """Return what an author's exception says, in characters that a journal can hold."""
    try:
        said = str(error)
    except Exception as wrong:  # to be told is the author's code too
        said = f"(what it says raises {type(wrong).__name__})"
    return f"{type(error).__name__}: {said}".encode("utf-8", "backslashreplace").decode()
