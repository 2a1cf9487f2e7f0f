"""The recorded line between a run and a simulated venue: what it gives back, and what it leaves to the venue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.paper import PaperBroker
from brokers.simulated.settings import PaperSettings
from engine import daemon
from engine.clock import Sessions
from engine.config import from_dict
from engine.errors import ConfigError, JournalError
from engine.events import (
    SECOND_NS,
    AccountStatement,
    Approved,
    Bar,
    CancelRequest,
    Event,
    Fill,
    InboxEvent,
    Intent,
    Link,
    MarketEvent,
    OrderUpdate,
    Quote,
    RunStarted,
)
from engine.journal import Journal
from engine.portfolio import Portfolio
from engine.record.line import Line, VenueBooks
from tests.runs import OPEN_NS, configuration, on_tape, strategy
from tests.runs import market as random_market

SYMBOL, ORDER_ID = "AAA", "day-one-1"


def ns(seconds: float) -> int:
    return OPEN_NS + round(seconds * SECOND_NS)


def quote(at_s: float, ask: float, late_s: float = 0.0) -> Quote:
    return Quote(SYMBOL, ns(at_s), ns(at_s + late_s), ask - 0.02, 1_000.0, ask, 1_000.0)


def approved(at_s: float, order_id: str = ORDER_ID, **fields: Any) -> Approved:
    intent = Intent(order_id, "one", SYMBOL, "buy", Decimal(10), ns(at_s), **fields)
    return Approved(intent, 1, ns(at_s), ns(at_s + 2), Decimal(100), "quote")


def update(status: Any, at_s: float, heard_s: float, order_id: str = ORDER_ID) -> OrderUpdate:
    return OrderUpdate(order_id, status, ns(at_s), ns(heard_s))


def fill(at_s: float, heard_s: float) -> Fill:
    """An execution as the live venue named it, at a price that nobody is to believe."""
    return Fill("live-1", ORDER_ID, SYMBOL, "buy", Decimal(10), Decimal(1), Decimal(0), ns(at_s), ns(heard_s))


class Tape:
    """What the venue played."""

    fingerprint = "tape"

    def __init__(self, events: Sequence[MarketEvent]) -> None:
        self.events, self.symbols = events, (SYMBOL,)
        self.span_ns = events[0].ts_recv_ns, events[-1].ts_recv_ns

    def batches(self) -> Iterator[Sequence[MarketEvent]]:
        yield self.events


def line_of(folder: Path, tape: Sequence[MarketEvent], *recorded: Event) -> Line:
    """Return the line that a journal of these records tells of."""
    path = folder / "run.journal"
    journal = Journal(path)
    for record in (RunStarted("day", "{}", "0", 1, ns(0)), *recorded):
        journal.append(record)
    journal.close()
    books = VenueBooks(Portfolio(Decimal(100_000), multiplier=2))
    settings = PaperSettings(latency_ms=0, fees="zero")
    return Line(path, Tape(tape), PaperBroker(settings, sessions=Sessions("XNYS"), account=books, seed=0), books)


def walked(line: Line, decide: Callable[[Line, InboxEvent], None]) -> list[InboxEvent]:
    """Go through what comes, and let `decide` send orders on the way."""
    events = []
    for event in line.events():
        events.append(event)
        decide(line, event)
    return events


def once(message: Approved) -> Callable[[Line, InboxEvent], None]:
    """Return a run that sends one order, at the market event that comes at its instant."""

    def decide(line: Line, event: InboxEvent) -> None:
        if isinstance(event, Quote) and event.ts_recv_ns == message.ts_event_ns:
            line.submit(message)

    return decide


def kinds(events: Sequence[InboxEvent]) -> list[str]:
    return [event.status if isinstance(event, OrderUpdate) else type(event).__name__ for event in events]


TICKS = [quote(1, 100.0), quote(2, 101.0), quote(3, 102.0), quote(4, 103.0)]


def test_a_statement_of_the_live_venue_is_none_of_the_simulated_one(tmp_path: Path) -> None:
    """C39 compares executions by their ids, and the venue that plays the tape again gives its own."""
    stated = AccountStatement(ns(3), ns(3), ns(0), ns(3), Decimal(1), {}, {"live-1": ns(1)})
    events = walked(line_of(tmp_path, TICKS, TICKS[0], stated, TICKS[1]), lambda line, event: None)
    assert kinds(events) == ["Quote", "Quote"]


@pytest.mark.parametrize(("arrival_s", "price"), [(1.5, "101.0"), (2.0, "102.0"), (2.5, "102.0")])
def test_an_order_meets_the_market_of_its_recorded_arrival(arrival_s: float, price: str, tmp_path: Path) -> None:
    """The instant is the record's, the price the venue's; the answers come where the record heard them."""
    order = approved(1)
    recorded = [
        TICKS[0], order, TICKS[1], update("accepted", arrival_s, 2.6), TICKS[2], TICKS[3], fill(3, 4.5),
        Link("orders", False, ns(5), ns(5)),
    ]  # fmt: skip
    events = walked(line_of(tmp_path, TICKS, *recorded), once(order))
    assert kinds(events) == ["Quote", "Quote", "accepted", "Quote", "Quote", "Fill", "Link"]
    executed = next(event for event in events if isinstance(event, Fill))
    assert (executed.price, executed.ts_recv_ns) == (Decimal(price), ns(4.5))
    assert executed.execution_id == "live-1", "what the account's statements call it"


def test_an_order_may_arrive_by_the_venues_clock_before_it_was_decided(tmp_path: Path) -> None:
    """The run's clock is ahead: it decides at 3 on the quote of 1, and the venue has the order at 1.5 of its own."""
    late = quote(1, 100.0, late_s=2)
    order = approved(3)
    recorded = [late, order, update("accepted", 1.5, 3.2), fill(2, 3.3), TICKS[1]]
    events = walked(line_of(tmp_path, TICKS, *recorded), once(order))
    executed = next(event for event in events if isinstance(event, Fill))
    assert (executed.price, executed.ts_event_ns) == (Decimal("101.0"), ns(2))


def test_an_answer_may_be_heard_by_the_runs_clock_before_the_bar_that_gives_it_is_over(tmp_path: Path) -> None:
    """The run's clock is behind: it hears of a fill at the bar's open when, by its clock, the bar has only opened."""
    order = approved(1)
    bar = Bar(SYMBOL, ns(180), ns(180), 105.0, 106.0, 104.0, 105.5, 10_000.0, 60 * SECOND_NS)
    recorded = [TICKS[0], order, update("accepted", 1.5, 1.6), fill(120, 120), Link("orders", False, ns(121), ns(121))]
    events = walked(line_of(tmp_path, [TICKS[0], bar], *recorded), once(order))
    assert kinds(events) == ["Quote", "accepted", "Fill", "Link"]
    executed = next(event for event in events if isinstance(event, Fill))
    assert (executed.price, executed.ts_recv_ns) == (Decimal("105.0"), ns(120))


def test_an_order_that_the_record_awaits_and_nobody_sends_holds_nothing_up(tmp_path: Path) -> None:
    """A run that decides otherwise goes on, and what the venue would have said of the missing order is not said."""
    recorded = [TICKS[0], approved(1), update("accepted", 1.5, 1.6), TICKS[1], fill(2, 2.1), TICKS[2]]
    events = walked(line_of(tmp_path, TICKS, *recorded), lambda line, event: None)
    assert kinds(events) == ["Quote", "Quote", "Quote"]


def test_an_order_that_the_record_lacks_travels_and_is_answered_all_the_same(tmp_path: Path) -> None:
    """Decided otherwise, it takes as long as the one before it; its answers come with the next event."""
    order, other = approved(1), approved(2, "day-one-2")
    recorded = [TICKS[0], order, update("accepted", 1.5, 1.6), TICKS[1], fill(2, 2.1), TICKS[2], TICKS[3]]

    def decide(line: Line, event: InboxEvent) -> None:
        once(order)(line, event)
        once(other)(line, event)

    events = walked(line_of(tmp_path, TICKS, *recorded), decide)
    executed = {event.client_order_id: event for event in events if isinstance(event, Fill)}
    assert executed["day-one-2"].price == Decimal("102.0")
    assert events.index(executed["day-one-2"]) < events.index(TICKS[2])


def test_an_order_that_was_refused_or_lost_is_not_sent_again(tmp_path: Path) -> None:
    """The record says so when it said so; unknown in between, it freezes its symbol as it did."""
    order = approved(1)
    recorded = [TICKS[0], order, update("unknown", 1.2, 1.2), TICKS[1], update("rejected", 2.5, 2.5), TICKS[2]]
    events = walked(line_of(tmp_path, TICKS, *recorded), once(order))
    assert kinds(events) == ["Quote", "unknown", "Quote", "rejected", "Quote"]


@pytest.mark.parametrize(("lost", "told"), [(False, ["accepted", "canceled"]), (True, ["accepted", "Fill"])])
def test_a_cancel_arrives_when_it_did_or_loses_its_race_again(lost: bool, told: list[str], tmp_path: Path) -> None:
    """Without a recorded end it never arrived in time."""
    order = approved(1, type="limit", limit_price=Decimal("99.99"))
    cheap = [TICKS[0], TICKS[1], quote(3, 99.5), quote(4, 99.4)]
    end = fill(3, 3.1) if lost else update("canceled", 2.5, 2.6)
    recorded = [TICKS[0], order, update("accepted", 1.1, 1.2), TICKS[1], CancelRequest(ORDER_ID, ns(2)), end, cheap[3]]

    def decide(line: Line, event: InboxEvent) -> None:
        once(order)(line, event)
        if event == TICKS[1]:
            line.cancel(ORDER_ID, ns(2))

    events = walked(line_of(tmp_path, cheap, *recorded), decide)
    assert [kind for kind in kinds(events) if kind != "Quote"] == told


def test_what_has_filled_has_arrived_though_nobody_said_when(tmp_path: Path) -> None:
    """Killed before the acceptance: the execution alone tells that the order was there before it."""
    order = approved(1)
    recorded = [TICKS[0], order, TICKS[1], fill(3, 3.5), TICKS[3]]
    events = walked(line_of(tmp_path, TICKS, *recorded), once(order))
    executed = next(event for event in events if isinstance(event, Fill))
    assert (executed.price, executed.ts_event_ns) == (Decimal("102.0"), ns(3))


def test_the_venue_knows_of_a_position_before_the_run_hears_of_it(tmp_path: Path) -> None:
    """An exit that arrives between an execution and its news is an exit, for which a cash account needs no borrow."""
    line = line_of(tmp_path, TICKS, TICKS[0])
    books = line._books
    books.trade(fill(1, 2))
    assert books.position_qty(SYMBOL) == 10
    books.hear(fill(1, 2))
    assert books.position_qty(SYMBOL) == 0


# --- what is no line -------------------------------------------------------------------------------------------------


def test_a_tape_of_another_time_is_told(tmp_path: Path) -> None:
    """A venue that plays in the present leaves no instants that its tape knows."""
    bar = Bar(SYMBOL, ns(-90_000), ns(-90_000), 1, 1, 1, 1, 1, 60 * SECOND_NS)
    with pytest.raises(ConfigError, match='feed.as_received: .*is of another time than the tape.*time = "tape"'):
        line_of(tmp_path, [bar], TICKS[0])


def test_a_live_feed_is_nothing_to_backtest_with_or_without_a_line(tmp_path: Path) -> None:
    """It has no past; the tape that its venue played has."""
    live = {"use": "tests.engine.fakes:FakeFeed", "symbols": ["SPY"]}
    tree = configuration(live, tmp_path / "out", strategies=[strategy("sma_cross")])
    with pytest.raises(ConfigError, match="feed.use: .* is live and has no past; a backtest needs a tape"):
        daemon.backtest(from_dict(tree))
    tree["feed"]["as_received"] = str(tmp_path / "none.journal")
    with pytest.raises(ConfigError, match="feed.as_received: .* is no tape; name the feed that the venue played"):
        daemon.backtest(from_dict(tree))


@pytest.mark.parametrize(
    ("over", "error", "words"),
    [
        ({}, JournalError, "no journal at"),
        ({"broker": {"latency_ms": 50.0}}, ConfigError, "broker.latency_ms: orders travel as long as recorded"),
        ({"broker": {"latency_jitter_ms": 5.0}}, ConfigError, "broker.latency_jitter_ms: orders travel as long"),
    ],
)
def test_a_line_that_cannot_be_is_told_before_anything_is_written(
    over: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    """No journal, or a latency on top of the recorded one."""
    tree = on_tape(tmp_path, random_market(1, 5), strategies=[strategy("sma_cross")], **over)
    tree["feed"]["as_received"] = str(tmp_path / "none.journal")
    with pytest.raises(error, match=words):
        daemon.backtest(from_dict(tree))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="by `onetape backtest`, not by the daemon"):
        daemon.run(from_dict(tree))
