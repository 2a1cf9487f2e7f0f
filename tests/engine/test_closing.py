"""What is to be closed is closed, whatever its strategy asks for meanwhile; and nothing that is opened after it."""

from typing import Any

import pytest

from engine import Bar, Order, Strategy
from engine.config import from_dict
from engine.events import (
    SECOND_NS,
    Backfill,
    Command,
    Denied,
    Fill,
    ModelStatus,
    Reconciliation,
    Record,
    StrategyHalted,
)
from engine.run import Run
from tests.runs import HeldFeed, bar, configuration, kept_journal, strategy

HALT_AND_FLATTEN = (5, "halt"), (5, "flatten")


def of(records: list[Record], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def asked(trader: dict[str, Any], *commands: tuple[int, str], latency_s: float = 0.05) -> tuple[Run, list[Any]]:
    """Play half an hour so far from the venue; before the bars of these minutes, an operator says these words."""
    ledger, records = kept_journal()
    events = [bar("AAA", minute, 100.0) for minute in range(30)]
    feed, broker = HeldFeed.hold(events), {"latency_ms": latency_s * 1000}
    run = Run(from_dict(configuration(feed, strategies=[trader], broker=broker)), ledger)
    run.begin()
    for minute, event in enumerate(events):
        for at, action in commands:
            if at == minute:
                run.core.process(Command(action, run.core.now_ns, run.core.now_ns))  # type: ignore[arg-type]  # drawn
        run.core.process(event)
    return run, records


def sold(records: list[Record]) -> list[int]:
    return [int(fill.qty) for fill in of(records, Fill) if fill.side == "sell"]


class Stubborn(Strategy):
    """Holds 10 from the first bar on, and puts an exit far away in the place of any that is canceled; so many times."""

    times: int = 1_000

    def on_start(self) -> None:
        self.exits = 0

    def on_bar(self, bar: Bar) -> None:
        if not self.exits and not self.portfolio.position(bar.symbol).qty:
            self.buy(bar.symbol, 10)

    def on_order(self, order: Order) -> None:
        held = self.portfolio.position(order.symbol).qty
        if held and not self.open_orders() and order.status != "denied" and self.exits < self.times:
            self.exits += 1
            self.submit_order(order.symbol, "sell", held, limit_price=200)


@pytest.mark.parametrize(("times", "is_halted"), [(1, False), (5, False), (1_000, True)])
def test_flatten_closes_what_a_strategy_puts_orders_in_front_of(times: int, is_halted: bool) -> None:
    """Each second it cancels the new exit too; a strategy that will not have it is halted after the tenth."""
    run, records = asked(strategy(Stubborn, times=times), *HALT_AND_FLATTEN)
    assert run.core.portfolio.position_qty("AAA") == 0
    assert dict(run.core.orders.open) == {}
    halts = [(halt.strategy, halt.control, halt.reason) for halt in of(records, StrategyHalted)]
    told = "10 times its new orders have kept AAA from being closed"
    assert halts == ([("one", "operator", told)] if is_halted else [])


class Returning(Strategy):
    """Buys 10 whenever it holds nothing, with a protection that is in the way of whoever wants to close it."""

    protects: bool = True

    def on_bar(self, bar: Bar) -> None:
        if not self.portfolio.position(bar.symbol).qty and not self.open_orders():
            self.buy(bar.symbol, 10, stop_loss=50 if self.protects else None)


@pytest.mark.parametrize(("resumed", "closed"), [([], [10]), ([(8, "resume")], [10]), ([(5, "resume")], [])])
def test_nothing_that_is_opened_after_it_is_closed(resumed: list[tuple[int, str]], closed: list[int]) -> None:
    """What is bought after a resume is the strategy's, and a person who resumes at once keeps what is held."""
    run, records = asked(strategy(Returning), *HALT_AND_FLATTEN, *resumed)
    assert sold(records) == closed
    assert run.core.portfolio.position_qty("AAA") == (10 if resumed else 0)


def test_what_trades_on_is_closed_once() -> None:
    """Nobody halted it: it buys again, and keeps that."""
    run, records = asked(strategy(Returning, protects=False), (5, "flatten"))
    assert sold(records) == [10]
    assert run.core.portfolio.position_qty("AAA") == 10


def test_what_an_entry_still_brings_is_closed() -> None:
    """Nothing was held when it was asked, and the cancel came after the fill."""
    run, records = asked(strategy(Returning, protects=False), (2, "halt"), (2, "flatten"), latency_s=70)
    assert sold(records) == [10]
    assert run.core.portfolio.position_qty("AAA") == 0


class Refused(Returning):
    """Whose way of closing asks for more than there is."""

    protects = False

    def close_position(self, symbol: str, **fields: Any) -> Order | None:
        return self.submit_order(symbol, "sell", 1_000)


def test_what_is_refused_is_asked_for_ten_times_and_then_told() -> None:
    """A second apart; then it is left to the person, who is told what is held and why."""
    run, records = asked(strategy(Refused), *HALT_AND_FLATTEN)
    times = [denied.ts_event_ns for denied in of(records, Denied) if denied.intent.side == "sell"]
    assert [(ts_ns - times[0]) // SECOND_NS for ts_ns in times] == [*range(10)]
    assert run.core.portfolio.position_qty("AAA") == 10
    (halt,) = of(records, StrategyHalted)
    assert (halt.strategy, halt.control, (halt.ts_event_ns - times[0]) // SECOND_NS) == ("one", "operator", 10)
    told = "10 AAA stay open: 10 closing orders came to nothing: C01 trading_state: trading is halted by operator"
    assert halt.reason == told


def test_a_position_on_a_symbol_that_is_frozen_stays_and_is_told() -> None:
    """The broker's account differs from our books, and C29 lets nothing through."""
    run, records = asked(strategy(Returning, protects=False), (29, "halt"))
    now = run.core.now_ns
    run.core.process(Reconciliation(now, now, disagreeing=("AAA",)))
    run.core.process(Command("flatten", now, now))
    run.core.process(bar("AAA", 31, 100.0))
    (halt,) = of(records, StrategyHalted)
    assert halt.reason.endswith("C29 position_mismatch: AAA is frozen: the broker's position differs from our books")
    assert run.core.portfolio.position_qty("AAA") == 10


@pytest.mark.parametrize("resumes", [False, True])
def test_a_flatten_while_the_feed_is_behind_waits_for_it(resumes: bool) -> None:
    """Nothing is asked for and nothing is counted, for however long; a person who resumes meanwhile keeps it."""
    run, records = asked(strategy(Returning, protects=False), (29, "halt"))
    now = run.core.now_ns
    run.core.process(Backfill(now, now, done=False))
    run.core.process(Command("flatten", now, now))
    run.core.process(bar("AAA", 34, 100.0))
    if resumes:
        run.core.process(Command("resume", run.core.now_ns, run.core.now_ns))
    run.core.process(Backfill(run.core.now_ns, run.core.now_ns, done=True))
    assert (sold(records), of(records, Denied)) == ([], [])
    run.core.process(bar("AAA", 35, 100.0))
    run.core.process(bar("AAA", 36, 100.0))
    assert sold(records) == ([] if resumes else [10])
    assert of(records, StrategyHalted) == []


@pytest.mark.parametrize(("then", "closed"), [("failed", [10]), ("swapped", [10]), ("healthy", [])])
def test_a_model_that_is_well_again_closes_no_more(then: Any, closed: list[int]) -> None:
    """What waits for the venue then stays open; a word on its file is none on its health."""

    def health(state: Any, action: Any = "none") -> None:
        run.core.process(ModelStatus("lstm", run.core.now_ns, run.core.now_ns, state, action))

    run, records = asked(strategy(Returning))
    run.core.risk.model_health._bound = {"lstm": frozenset({"one"})}
    health("failed", "flatten")
    health(then, "flatten" if then == "failed" else "none")
    run.core.process(bar("AAA", 30, 100.0))
    run.core.process(bar("AAA", 31, 100.0))
    assert sold(records) == closed


@pytest.mark.parametrize(
    ("well_again", "resumed", "closed"), [(True, False, [10]), (False, True, [10]), (True, True, [])]
)
def test_what_a_person_and_a_model_want_closed_stays_wanted_by_the_other(
    well_again: bool, resumed: bool, closed: list[int]
) -> None:
    """A model that is well again takes nothing back that a person asked for, nor a resume what a model needs."""
    run, records = asked(strategy(Returning))
    now = run.core.now_ns
    run.core.risk.model_health._bound = {"lstm": frozenset({"one"})}
    run.core.process(ModelStatus("lstm", now, now, "failed", "flatten"))
    run.core.process(Command("flatten", now, now))
    if well_again:
        run.core.process(ModelStatus("lstm", now, now, "healthy", "none"))
    if resumed:
        run.core.process(Command("resume", now, now))
    run.core.process(bar("AAA", 30, 100.0))
    run.core.process(bar("AAA", 31, 100.0))
    assert sold(records)[:1] == closed


class Late(Refused):
    """Puts an exit in the way once ten closings have been refused."""

    def on_order(self, order: Order) -> None:
        if order.status == "denied":
            self.refused = getattr(self, "refused", 0) + 1
            if self.refused == 10:
                self.submit_order(order.symbol, "sell", 10, limit_price=200)


def test_refused_closings_and_orders_in_the_way_are_counted_apart() -> None:
    """Ten refusals say nothing of the strategy's own orders: it may go on hearing, and nothing goes on for ever."""
    run, records = asked(strategy(Late), *HALT_AND_FLATTEN)
    assert len([denied for denied in of(records, Denied) if denied.intent.side == "sell"]) == 10
    assert ["came to nothing" in halt.reason for halt in of(records, StrategyHalted)] == [True]
    assert dict(run.core.orders.open) == {}
