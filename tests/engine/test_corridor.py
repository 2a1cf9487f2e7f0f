"""What one part of the corridor must not do to another: small runs, each with its arithmetic in sight."""

import json
from decimal import Decimal, localcontext
from itertools import pairwise
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from engine import Bar, Fill, Order, Strategy, Timer
from engine.config import from_dict
from engine.errors import JournalWriteError
from engine.events import (
    DAY_NS,
    MINUTE_NS,
    SECOND_NS,
    Approved,
    Command,
    CorporateAction,
    Denied,
    MarketEvent,
    Quote,
    Record,
    Snapshot,
    StrategyHalted,
    Trade,
)  # fmt: skip
from engine.journal import Journal, encode, read
from engine.portfolio import MONEY
from engine.ports import Publish
from engine.run import Run
from tests.runs import OPEN_NS, HeldFeed, bar, configuration, in_order, kept_journal, lines, replayed, strategy


class Buyer(Strategy):
    """Holds `qty` of all its symbols from the first bar on."""

    qty: int = 100

    def on_bar(self, bar: Bar) -> None:
        self.order_target(bar.symbol, self.qty)


class Fails(Strategy):
    """Raises at its bar number `at`."""

    at: int = 1

    def on_start(self) -> None:
        self.seen = 0

    def on_bar(self, bar: Bar) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise RuntimeError("the author's error")


class Diary(Strategy):
    """Writes down what it hears, with the time; sets an alarm in its first bar and asks for nothing."""

    after_s: float = 90.0
    _heard: list[tuple[str, float]]

    def on_start(self) -> None:
        self._heard = []

    def on_bar(self, bar: Bar) -> None:
        if not self._heard:
            self.set_timer("once", after_s=self.after_s)
        self._heard.append(("bar", (self.now_ns - OPEN_NS) / MINUTE_NS))

    def on_timer(self, timer: Timer) -> None:
        self._heard.append((timer.name, (self.now_ns - OPEN_NS) / MINUTE_NS))


class Bracketed(Strategy):
    """Enters 100 with a bracket far away, and keeps a limit far below in the book."""

    def on_bar(self, bar: Bar) -> None:
        if not self.portfolio.position(bar.symbol).qty and not self.open_orders():
            self.buy(bar.symbol, 100, take_profit=200, stop_loss=50)

    def on_fill(self, fill: Fill) -> None:
        self.ended: list[Order] = []

    def on_order(self, order: Order) -> None:
        if not order.is_open and order.status != "denied":
            self.ended.append(order)


def run_of(events: list[MarketEvent], *strategies: dict[str, Any], journal: Any = None, **over: Any) -> Run:
    tree = configuration(HeldFeed.hold(events), strategies=list(strategies), **over)
    return Run(from_dict(tree), journal or kept_journal()[0])


def minutes(count: int, symbol: str = "AAA", price: float = 100.0) -> list[MarketEvent]:
    return [bar(symbol, minute, price) for minute in range(count)]


def of(records: list[Record], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


# --- strategies beside each other -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bars", [None, "5min"])
def test_a_strategy_that_raises_is_halted_alone_and_the_others_decide_as_before(bars: str | None) -> None:
    """Byte for byte, and in the middle of a bucket of theirs."""
    events = [bar("AAA", minute, 100.0 + minute % 3) for minute in range(40)]
    buyer = strategy(Buyer, name="buyer", bar="5min")
    alone, _ = replayed(configuration(HeldFeed.hold(events), strategies=[buyer]))
    fails = strategy(Fails, name="fails", bar=bars, at=3)
    both, run = replayed(configuration(HeldFeed.hold(events), strategies=[fails, buyer]))
    (halted,) = of(both, StrategyHalted)
    assert (halted.strategy, halted.control) == ("fails", "exception")
    assert "RuntimeError: the author's error" in halted.reason
    assert json.loads(halted.cause)["event"] == "Bar"
    decided = (Approved, Denied, Fill)
    assert lines(r for r in both if isinstance(r, decided)) == lines(r for r in alone if isinstance(r, decided))
    assert run.core.portfolio.position_qty("AAA") == 100


@pytest.mark.parametrize("bars", [None, "1min", "5min", "7min"])
def test_bars_of_another_length_halt_alone_who_has_no_use_for_them(bars: str | None) -> None:
    """A tape of minutes goes over to five minutes, which make no one and no seven; the buyers beside never notice."""
    long = [msgspec.structs.replace(bar("AAA", minute, 100.0), interval_ns=5 * MINUTE_NS) for minute in (24, 29)]
    events = [*minutes(20), *long, *(bar("AAA", minute, 101.0) for minute in range(30, 40))]
    buyers = [strategy(Buyer, name="first", qty=7), strategy(Buyer, name="last", bar="10min")]
    alone, _ = replayed(configuration(HeldFeed.hold(events), strategies=buyers))
    between = [buyers[0], strategy(Diary, name="between", bar=bars), buyers[1]]
    both, run = replayed(configuration(HeldFeed.hold(events), strategies=between))
    told = [(halted.strategy, halted.control, halted.ts_event_ns) for halted in of(both, StrategyHalted)]
    fits = bars in (None, "5min")
    assert told == ([] if fits else [("between", "exception", long[0].ts_recv_ns)])
    for halted in of(both, StrategyHalted):
        assert halted.reason == (
            f"ConfigError: strategy 'between' asks for bars of {bars}, and AAA comes in bars of 5min:"
            " ask for a multiple of those, or leave out `bar`"
        )
        assert msgspec.json.decode(halted.cause)["interval_ns"] == 5 * MINUTE_NS
    decided = (Approved, Denied, Fill)
    assert lines(r for r in both if isinstance(r, decided)) == lines(r for r in alone if isinstance(r, decided))
    assert len(of(both, Fill)) == 2
    assert run.core.risk.state == "active"


class AsksInWords(Strategy):
    """Asks for a quantity that is none, through a call of its own."""

    def on_bar(self, bar: Bar) -> None:
        self.ask(bar.symbol)

    def ask(self, symbol: str) -> None:
        self.buy(symbol, "ten")


def test_a_halt_names_the_line_of_the_author_and_not_of_what_it_called() -> None:
    """The last one in the strategy's own file, wherever below it the error came from."""
    records, _ = replayed(configuration(HeldFeed.hold(minutes(2)), strategies=[strategy(AsksInWords)]))
    (halted,) = of(records, StrategyHalted)
    first = AsksInWords.ask.__code__.co_firstlineno
    assert halted.reason == f"ValueError: qty is 'ten', which is no number at line {first + 1} of ask"


def test_strategies_that_hold_against_each_other_do_not_stop_the_run() -> None:
    """Flat together, each with its profit in every snapshot: 100 up 5 dollars, and 100 down."""
    events = [bar("AAA", minute, 100.0 if minute < 5 else 105.0) for minute in range(10)]
    strategies = [strategy(Buyer, name="long", qty=100), strategy(Buyer, name="short", qty=-100)]
    broker = {"account": "margin_2x"}
    records, run = replayed(configuration(HeldFeed.hold(events), strategies=strategies, broker=broker))
    assert run.core.portfolio.position_qty("AAA") == 0
    last = of(records, Snapshot)[-1]
    assert last.strategy_pnl_usd == {"long": 500, "short": -500}
    assert (last.equity_usd, last.gross_usd) == (100_000, 0)


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_alarm_rings_in_its_place_even_if_nothing_else_is_going_on() -> None:
    """Set at 1:00 for a minute and a half: after the bar of 2:00 and before that of 3:00, long before a snapshot is."""
    events = [*minutes(5), bar("AAA", 28 * 1440, 100.0)]
    _, run = replayed(configuration(HeldFeed.hold(events), strategies=[strategy(Diary)]))
    heard = run.core.strategies["one"]._heard  # type: ignore[attr-defined]  # a Diary
    assert heard[:6] == [("bar", 1), ("bar", 2), ("once", 2.5), ("bar", 3), ("bar", 4), ("bar", 5)]


def test_the_last_half_hour_of_a_session_counts_in_that_session() -> None:
    """A strategy that loses just before midnight is halted at midnight, and not forgiven."""
    start_ns = OPEN_NS - OPEN_NS % DAY_NS + DAY_NS
    prices = [*[100.0] * 20, *[94.0] * 40]
    feed = HeldFeed.hold([bar("BTC/USD", m - 30, price, start_ns=start_ns) for m, price in enumerate(prices)])
    over = {"profile": "small_account", "max_order_notional_usd": "1000000", "max_order_notional_percent": "1000"}
    over |= {"max_position_percent": "1000", "max_order_unknown_adv_qty": "1000"}
    strategies = [strategy(Buyer, symbols=["BTC/USD"], qty=200)]
    records, _ = replayed(configuration(feed, strategies=strategies, calendar="24/7", risk=over))
    (halted,) = of(records, StrategyHalted)
    assert (halted.control, halted.ts_event_ns) == ("C16 strategy_loss", start_ns)
    assert halted.reason.startswith("lost 1,200.00 USD in the session > 1,000.00 USD")


def test_what_a_renamed_symbol_is_paid_stays_in_the_journal() -> None:
    """It moves our books under its new name too."""
    events: list[MarketEvent] = [*minutes(3, "FB"), *(bar("META", minute, 50.0) for minute in range(6, 9))]
    for minute, fields in enumerate(
        [
            {"symbol": "FB", "action": "symbol_change", "new_symbol": "META"},
            {"symbol": "META", "action": "split", "new_shares": 2, "old_shares": 1},
            {"symbol": "META", "action": "cash_dividend", "amount_usd": Decimal(5)},
            {"symbol": "IBM", "action": "cash_dividend", "amount_usd": Decimal(5)},
        ],
        start=3,
    ):
        ts_ns = OPEN_NS + minute * MINUTE_NS + 1
        events.append(CorporateAction(ts_event_ns=ts_ns, ts_recv_ns=ts_ns, **fields))
    tree = configuration(HeldFeed.hold(in_order(events)), strategies=[strategy(Buyer, symbols=["FB"])])
    records, run = replayed(tree)
    assert [one.symbol for one in of(records, CorporateAction)] == ["FB", "META", "META"]
    # 10,000 for 100 shares, 5 a share for the 200 they became, and 5,000 for the 100 that were too many then.
    assert (run.core.portfolio.position_qty("META"), run.core.portfolio.cash_usd) == (100, 96_000)


def test_time_never_runs_backwards_for_a_strategy() -> None:
    """Alarms, late buckets and bars in one line."""
    events = [bar("AAA", minute, 100.0) for minute in (0, 1, 2, 3, 9, 10, 11, 31)]
    _, run = replayed(configuration(HeldFeed.hold(events), strategies=[strategy(Diary, bar="5min", after_s=200.0)]))
    times = [when for _, when in run.core.strategies["one"]._heard]  # type: ignore[attr-defined]  # a Diary
    assert len(times) >= 4
    assert all(earlier <= later for earlier, later in pairwise(times))


def test_a_price_that_was_stamped_before_the_brokers_last_word_turns_no_time_back() -> None:
    """A feed and a broker each have a clock; the alarm of a strategy hears neither of them run backwards."""
    run = run_of(minutes(1), strategy(Diary))
    run.begin()
    with localcontext(MONEY):
        for minute, price in ((3, 100.0), (2, 101.0), (4, 102.0)):
            run.core.process(bar("AAA", minute, price))
    heard = run.core.strategies["one"]._heard  # type: ignore[attr-defined]  # a Diary
    assert [when for _, when in heard] == sorted(when for _, when in heard)
    assert run.core.portfolio.market("AAA").mark == 102.0


# --- malformed prices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [nan, inf, -inf, 0.0, -5.0])
@pytest.mark.parametrize("kind", ["bar", "trade", "quote"])
def test_a_broken_print_leaves_the_account_and_the_journal_whole(tmp_path: Path, price: float, kind: str) -> None:
    """Held and not held: equity stays finite, loss limits stay awake, and every record reads back."""
    at_ns = OPEN_NS + 5 * MINUTE_NS + SECOND_NS
    broken: list[MarketEvent] = []
    for symbol in ("AAA", "BBB"):
        if kind == "bar":
            broken.append(Bar(symbol, at_ns, at_ns, price, price, price, price, 1.0, MINUTE_NS))
        elif kind == "trade":
            broken.append(Trade(symbol, at_ns, at_ns, price, 1.0))
        else:
            broken.append(Quote(symbol, at_ns, at_ns, price, 1.0, price, 1.0))
    events = [*minutes(6, "AAA"), *broken, *minutes(1, "BBB"), bar("AAA", 6, 90.0)]
    path = tmp_path / "run.journal"
    run = run_of(events, strategy(Buyer, symbols=["AAA"]), journal=Journal(path, durability="batch"))
    run.replay()
    portfolio = run.core.portfolio
    assert portfolio.equity == pytest.approx(100_000 - 100 * 10)
    assert isfinite(portfolio.gross)
    records = list(read(path))
    assert [encode(record) for record in records[-1:]] == lines(records[-1:])
    assert of(records, Snapshot)[-1].equity_usd == 99_000


# --- a disk that refuses ----------------------------------------------------------------------------------------------


def refuse_decisions(record: Record) -> None:
    """Be a disk that is full when the first order is approved."""
    if isinstance(record, Approved):
        raise JournalWriteError("the disk is full")


@pytest.mark.parametrize("bars", [None, "5min", "1d"])
def test_a_refused_write_ends_the_run_and_halts_nobody_for_it(bars: str | None) -> None:
    """Whatever bars the strategy asks for: the error is the disk's, and no order left."""
    ledger, records = kept_journal(refuse_decisions)
    run = run_of(minutes(400), strategy(Buyer, bar=bars), journal=ledger)
    with pytest.raises(JournalWriteError, match="the disk is full"):
        run.replay()
    assert of(records, StrategyHalted) == []
    assert of(records, Fill) == []


# --- an operator ------------------------------------------------------------------------------------------------------


def test_flatten_closes_a_position_behind_its_protection_and_cancels_what_is_open() -> None:
    """First the legs are canceled; once the venue has said so, the 100 are sold. Nothing is left."""
    run = run_of(minutes(12), strategy(Bracketed), broker={"latency_ms": 50.0})
    run.begin()
    events = [event for batch in run.feed.batches() for event in batch]
    core = run.core
    for event in events[:5]:
        core.process(event)
    assert core.portfolio.position_qty("AAA") == 100
    assert len(core.orders.open) == 2
    core.process(Command("reduce_only", core.now_ns, core.now_ns))
    core.process(Command("flatten", core.now_ns, core.now_ns))
    for event in events[5:]:
        core.process(event)
    assert core.portfolio.position_qty("AAA") == 0
    assert dict(core.orders.open) == {}
    assert core.portfolio.books["one"].positions["AAA"].realized_usd == Decimal(0)


@pytest.mark.parametrize("action", ["halt", "reduce_only", "cancel_all", "flatten"])
def test_a_word_of_the_operator_is_done_over_in_its_place(tmp_path: Path, action: Any) -> None:
    """At the price that was there when it came, not at the one after it."""
    events: list[MarketEvent] = [bar("AAA", minute, 100.0 + minute) for minute in range(12)]
    path = tmp_path / "run.journal"
    for trader, latency_ms in ((Buyer, 0.0), (Buyer, 90_000.0), (Bracketed, 50.0)):
        path.unlink(missing_ok=True)
        known = {"broker": {"latency_ms": latency_ms}}
        first = run_of(events, strategy(trader), journal=Journal(path, durability="batch"), **known)
        first.begin()
        for place, event in enumerate(events):
            if place == 5:
                first.core.process(Command(action, first.core.now_ns, first.core.now_ns))
            first.core.process(event)
        first.core.supervisor.finish(ended=True)
        again = run_of(events, strategy(trader), journal=Journal(path, follow=True, frozen=True), **known)
        again.replay()
        assert again.journal.rest() == ""


# --- a live feed on a simulated venue ---------------------------------------------------------------------------------


class Stream:
    """A live feed that a test reads out itself."""

    class Settings(BaseModel):
        symbols: tuple[str, ...] = ("AAA",)

    symbols = ("AAA",)
    fingerprint = ""

    def __init__(self, _settings: Settings, **_: object) -> None:
        pass

    async def run(self, publish: Publish) -> None:
        raise NotImplementedError


def test_paper_trading_on_a_live_feed_is_done_over_from_its_journal(tmp_path: Path) -> None:
    """The events are taken from the journal, and the venue's answers are made again and compared, not taken twice."""
    tree = configuration({"use": Stream}, strategies=[strategy(Buyer, symbols=["AAA"])], broker={"latency_ms": 50.0})
    path = tmp_path / "run.journal"
    first = Run(from_dict(tree), Journal(path, durability="batch"))
    first.begin(now_ns=OPEN_NS)
    for event in minutes(6):
        first.core.process(event)
    first.core.supervisor.finish(ended=False)
    recorded = list(read(path))
    assert first.core.portfolio.position_qty("AAA") == 100
    again = Run(from_dict(tree), Journal(path, follow=True, frozen=True), again=True)
    again.replay_inputs()
    assert again.journal.rest() == ""
    assert again.journal.seq == len(recorded)
    assert again.core.portfolio.cash_usd == first.core.portfolio.cash_usd


# --- the end ---------------------------------------------------------------------------------------------------------


class Listener(Strategy):
    """Writes down the closes of the bars that it hears, and when it is stopped."""

    def on_start(self) -> None:
        self.heard: list[tuple[str, float]] = []

    def on_bar(self, bar: Bar) -> None:
        self.heard.append((bar.symbol, bar.close))

    def on_stop(self) -> None:
        self.heard.append(("stop", 0.0))


def test_a_built_bar_that_has_ended_with_the_tape_comes_before_the_stop() -> None:
    """The tenth minute is the last of five for AAA; BBB had no trade in it, and its five minutes end then too."""
    tape: list[MarketEvent] = [bar("AAA", minute, 100.0 + minute) for minute in range(10)]
    tape += [bar("BBB", minute, 200.0 + minute) for minute in range(9)]
    tree = configuration(HeldFeed.hold(tape), strategies=[strategy(Listener, bar="5min")])
    records, run = replayed(tree)
    assert records[-1].ts_event_ns == OPEN_NS + 10 * MINUTE_NS  # no time passes after the tape
    assert run.core.strategies["one"].heard == [  # type: ignore[attr-defined]  # a Listener
        ("AAA", 104.0), ("BBB", 204.0), ("AAA", 109.0), ("BBB", 208.0), ("stop", 0.0),
    ]  # fmt: skip


def test_a_built_bar_that_has_not_ended_is_not_made_up_at_the_stop() -> None:
    """The tape is cut in the middle of five minutes: nobody knows yet what they come to."""
    tape: list[MarketEvent] = [bar("AAA", minute, 100.0 + minute) for minute in range(8)]
    _, run = replayed(configuration(HeldFeed.hold(tape), strategies=[strategy(Listener, bar="5min")]))
    assert run.core.strategies["one"].heard == [("AAA", 104.0), ("stop", 0.0)]  # type: ignore[attr-defined]
