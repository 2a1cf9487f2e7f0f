"""The daemon on a live feed and a live broker, both fakes; and recovery by the rules of docs/recovery.md."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, journal, live, plugins
from engine.account.recovery import Reconciler
from engine.clock import ManualClock
from engine.config import from_dict
from engine.errors import BrokerError, ConfigError
from engine.events import (
    AccountOpened,
    Approved,
    Command,
    Denied,
    Fill,
    Intent,
    OrderUpdate,
    Reconciliation,
    RunEnded,
    TradingStateChanged,
)  # fmt: skip
from engine.journal import Journal
from engine.market import ZERO
from engine.orders import Order
from engine.ports import Asset
from engine.record.placing import with_commands
from engine.run import Run

FAKES = Path(__file__).with_name("fakes.py")
fakes: Any = None

RUN = "live.1955cf33e80"
"""Its name, and the milliseconds of its start."""
STRATEGY = """
from engine import Strategy

class Once(Strategy):
    at: int = 1
    limit: float = 0.0
    def on_start(self):
        self.seen = 0
    def on_bar(self, bar):
        self.seen += 1
        if self.seen == self.at:
            self.buy(bar.symbol, 10, **({"limit_price": self.limit} if self.limit else {}))
"""


@pytest.fixture(autouse=True)
def _fresh_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the plugin loader makes of the file, its class attributes as new; no waiting between rounds."""
    global fakes
    feed = plugins.load(plugins.FEED, f"{FAKES}:FakeFeed")
    fakes = sys.modules[feed.__module__]
    fakes.FakeBroker.reset()
    fakes.FakeFeed.script = []
    for name in ("RECONCILE_START_S", "RECONCILE_OPEN_S", "RECONCILE_IDLE_S"):
        monkeypatch.setattr(live, name, 0.001)


def config(folder: Path, limit: float = 0.0, **broker: Any) -> Any:
    strategy = folder / "once.py"
    strategy.write_text(STRATEGY)
    return from_dict(
        {
            "mode": "paper", "name": "live", "seed": 1, "calendar": "24/7", "out_dir": str(folder),
            "feed": {"use": f"{FAKES}:FakeFeed"},
            "broker": broker or {"use": f"{FAKES}:FakeBroker"},
            "strategies": [{"name": "once", "use": f"{strategy}:Once", "symbols": ["SPY"],
                            "params": {"limit": limit}}],
            "risk": {"profile": "wide"},
        }
    )  # fmt: skip


async def session(folder: Path, until: Any, **broker: Any) -> Run:
    """Run the daemon until a condition on it holds, then stop it."""
    path = folder / "run.journal"
    clock = ManualClock(fakes.START_NS)
    settings = config(folder, **broker)
    run = Run(settings, Journal(path, follow=path.exists()))
    run.journal.note("config", json.dumps(settings.resolved()))
    task = asyncio.create_task(live.serve(run, live.Stopwatch(1e9, clock), clock))
    async with asyncio.timeout(10):
        while not (task.done() or until(run.core)):
            await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        task.result()
    return run


def records(folder: Path) -> list[Any]:
    return list(journal.read(folder / "run.journal"))


async def test_an_order_reaches_the_broker_and_its_fill_comes_back(tmp_path: Path) -> None:
    """The account is opened and reconciled before the first event, and trading begins with that."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0), fakes.bar(2, 101.0)]
    run = await session(tmp_path, lambda core: core.portfolio.position_qty("SPY") == 10)
    kinds = [type(record) for record in records(tmp_path)]
    opened, agreed = kinds.index(AccountOpened), kinds.index(Reconciliation)
    assert opened < agreed < kinds.index(TradingStateChanged) < kinds.index(Fill)
    assert run.core.portfolio.cash_usd == Decimal(9_000)
    assert fakes.FakeBroker.book["sent"] == [f"{RUN}-once-1"]


async def test_a_recorded_live_session_is_done_over_with_no_difference(tmp_path: Path) -> None:
    """Its journal holds every input, so nothing is connected and nothing is sent."""
    fakes.FakeFeed.script = [fakes.bar(minute, 100.0 + minute) for minute in range(1, 6)]
    await session(tmp_path, lambda core: core.events >= 9)
    sent = list(fakes.FakeBroker.book["sent"])
    count, _ = daemon.verify(tmp_path / "run.journal")
    assert count == len(records(tmp_path))
    assert fakes.FakeBroker.book["sent"] == sent


async def test_a_fill_that_the_stream_never_brought_is_booked_once(tmp_path: Path) -> None:
    """The account lists it; the next reading does not book it again."""
    fakes.FakeBroker.reset(silent=True)
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]

    def read_again(core: Any) -> bool:
        return core.portfolio.position_qty("SPY") and fakes.FakeBroker.book["clock"] > fakes.START_NS + 12 * 10**9

    run = await session(tmp_path, read_again)
    fills = [record for record in records(tmp_path) if isinstance(record, Fill)]
    assert len(fills) == 1
    assert run.core.portfolio.position_qty("SPY") == 10


async def test_a_fill_missed_while_down_is_booked_at_the_restart(tmp_path: Path) -> None:
    """Journal, account and position agree before anything trades again, and no order is sent twice."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]
    fakes.FakeBroker.reset(silent=True)
    await session(tmp_path, lambda core: bool(fakes.FakeBroker.book["sent"]))
    fakes.FakeFeed.script = [fakes.bar(2, 100.0)]
    run = await session(tmp_path, lambda core: core.portfolio.position_qty("SPY") == 10)
    assert fakes.FakeBroker.book["sent"] == [f"{RUN}-once-1"]
    assert run.core.portfolio.cash_usd == Decimal(9_000)
    daemon.verify(tmp_path / "run.journal")


def test_a_run_that_begins_anew_asks_under_other_ids(tmp_path: Path) -> None:
    """An account knows every id that it was ever asked under, and would take the new order for the old one."""
    ids = []
    for start_ns in (fakes.START_NS, fakes.START_NS + 1_000_000):
        run = Run(config(tmp_path), Journal(tmp_path / f"{start_ns}.journal"))
        run.begin("PA1", now_ns=start_ns)
        ids.append(run.core.strategies["once"]._next_id())
        run.journal.close()
    assert ids == [f"{RUN}-once-1", "live.1955cf33e81-once-1"]


async def test_a_long_journal_is_followed_without_holding_up_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog kills a daemon whose heart does not beat, and would kill each restart again."""
    fakes.FakeFeed.script = [fakes.bar(minute, 100.0) for minute in range(1, 60)]
    await session(tmp_path, lambda core: core.events >= 60)
    monkeypatch.setattr(live, "EVENTS_PER_TURN", 1)
    turns = []

    def ended(core: Any) -> bool:
        turns.append(core.journal.following and core.events)
        return core.events >= 60 and not core.journal.following

    await session(tmp_path, ended)
    assert {*range(1, 50)} <= {*turns}


async def test_an_order_accepted_but_unanswered_is_adopted(tmp_path: Path) -> None:
    """It stands in the account's list under our id, so it is ours and it is open."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]
    settings = config(tmp_path)
    run = Run(settings, Journal(tmp_path / "other.journal"))
    run.begin("PA1", now_ns=fakes.START_NS)
    intent = Intent(
        f"{RUN}-once-1", "once", "SPY", "buy", Decimal(10), fakes.START_NS, "limit", limit_price=Decimal(99)
    )
    run.core.orders.place(Order(intent), Approved(intent, 1, 0, 1, Decimal(100), "bar"))
    broker = fakes.FakeBroker(None)
    fakes.FakeBroker.book["open"][f"{RUN}-once-1"] = fakes.OpenOrder(
        f"{RUN}-once-1", "b", "SPY", "buy", Decimal(10), ZERO, "accepted"
    )
    found = Reconciler(run.core).compare(await broker.state(0))
    assert [(update.client_order_id, update.status) for update in found.adopted] == [(f"{RUN}-once-1", "accepted")]
    run.journal.close()


def killed_after_an_approval(folder: Path) -> Any:
    """Leave a journal whose last record is what the strategy asked for; return the broker that has it in line."""
    run = Run(config(folder), Journal(folder / "run.journal"))
    run.begin("PA1", now_ns=fakes.START_NS)
    now = fakes.START_NS + 1
    run.core.process(AccountOpened("PA1", now, now, Decimal(10_000), 1, {}, {}))
    run.core.process(Reconciliation(now, now, ZERO))
    run.core.process(fakes.bar(1, 100.0))
    run.journal.close()
    return run.core.broker


async def test_an_approval_that_is_the_last_record_of_a_killed_run_is_not_sent_again(tmp_path: Path) -> None:
    """It was sent, or may have been: the venue is asked. Where it has filled meanwhile, it would fill twice."""
    broker = killed_after_an_approval(tmp_path)
    (last,) = [record for record in records(tmp_path) if isinstance(record, Approved)]
    assert records(tmp_path)[-1] == last
    broker.take(last, lambda event: None)
    run = await session(tmp_path, lambda core: core.portfolio.position_qty("SPY") == 10)
    assert fakes.FakeBroker.book["sent"] == [f"{RUN}-once-1"]
    assert f"{RUN}-once-1" in fakes.FakeBroker.book["asked"]
    assert run.core.orders.orders[f"{RUN}-once-1"].filled_qty == 10


async def test_a_cancel_that_a_kill_may_have_swallowed_is_sent_again(tmp_path: Path) -> None:
    """Nobody asks twice for an end that is on its way, so the start does."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]
    await session(tmp_path, lambda core: bool(fakes.FakeBroker.book["sent"]), limit=90.0)
    ledger = Journal(tmp_path / "run.journal", follow=True)
    run = Run(config(tmp_path, limit=90.0), ledger, again=True)
    run.begin("PA1")
    for event in run.recorded_inputs():
        run.core.process(event)
    now = run.core.now_ns
    run.core.process(Command("cancel_all", now, now))
    assert run.core.orders.orders[f"{RUN}-once-1"].status == "pending_cancel"
    ledger.close()
    assert fakes.FakeBroker.book["canceled"] == []
    await session(tmp_path, lambda core: bool(fakes.FakeBroker.book["canceled"]), limit=90.0)
    assert fakes.FakeBroker.book["canceled"] == [f"{RUN}-once-1"]


async def test_an_order_that_had_ended_and_lives_at_the_venue_is_canceled(tmp_path: Path) -> None:
    """It would fill beside the controls. One that has just ended may still be listed; two readings are believed."""
    run = await session(tmp_path, lambda core: core.events >= 2)
    intent = Intent(
        f"{RUN}-once-9", "once", "SPY", "buy", Decimal(10), fakes.START_NS, "limit", limit_price=Decimal(99)
    )
    order = Order(intent)
    run.core.orders.place(order, Approved(intent, 1, 0, 1, Decimal(100), "bar"))
    ended_ns = fakes.FakeBroker.book["clock"]
    run.core.orders.update(OrderUpdate(f"{RUN}-once-9", "rejected", ended_ns, ended_ns))
    book = fakes.FakeBroker.book
    book["open"][f"{RUN}-once-9"] = fakes.OpenOrder(f"{RUN}-once-9", "b", "SPY", "buy", Decimal(10), ZERO, "accepted")
    reconciler, broker = Reconciler(run.core), fakes.FakeBroker(None)
    assert reconciler.compare(await broker.state(0)).undead == ()
    book["clock"] += 10 * 10**9
    assert reconciler.compare(await broker.state(0)).undead == ()
    found = reconciler.compare(await broker.state(0))
    assert found.undead == (f"{RUN}-once-9",)
    assert not found.foreign


async def test_orders_that_open_while_all_was_quiet_are_read_soon(tmp_path: Path, monkeypatch: Any) -> None:
    """The long wait of an account without orders ends with the first order."""
    monkeypatch.setattr(live, "RECONCILE_IDLE_S", 3_600.0)
    fakes.FakeBroker.reset(silent=True)
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]
    run = await session(tmp_path, lambda core: core.portfolio.position_qty("SPY") == 10)
    assert run.core.portfolio.cash_usd == Decimal(9_000)


async def test_a_foreign_position_is_taken_note_of_and_left_alone(tmp_path: Path) -> None:
    """It counts in the account's equity, belongs to no strategy, and no order touches it."""
    fakes.FakeBroker.reset(foreign={"QQQ": Decimal(7)})
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]
    run = await session(tmp_path, lambda core: core.portfolio.position_qty("SPY") == 10)
    assert run.core.portfolio.position_qty("QQQ") == 7
    assert run.core.portfolio.equity == pytest.approx(10_700)
    assert "QQQ" not in run.core.portfolio.book("once").positions
    assert fakes.FakeBroker.book["sent"] == [f"{RUN}-once-1"]


async def test_a_mismatch_that_two_readings_confirm_freezes_the_symbol(tmp_path: Path) -> None:
    """Somebody else sold our shares: the symbol is frozen, and nothing is traded to repair it."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]

    def sold(core: Any) -> bool:
        if core.portfolio.position_qty("SPY") == 10:
            fakes.FakeBroker.foreign = {"SPY": Decimal(-3)}
        return core.risk._mismatch._frozen == ("SPY",)

    await session(tmp_path, sold)
    assert fakes.FakeBroker.book["sent"] == [f"{RUN}-once-1"]
    told = [record for record in records(tmp_path) if isinstance(record, Reconciliation)]
    assert told[-1].disagreeing == ("SPY",)
    assert told[-1].reason == "SPY: 10 here, 7 there"


async def test_cash_that_two_readings_agree_on_is_booked_beside_the_strategies(tmp_path: Path) -> None:
    """Fees and dividends are no execution; they belong to the account."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]

    def charged(core: Any) -> bool:
        if core.portfolio.position_qty("SPY") == 10:
            fakes.FakeBroker.cash = Decimal("9998.75")
        return core.portfolio.cash_usd == Decimal("8998.75")

    run = await session(tmp_path, charged)
    assert run.core.portfolio.book("once").cash_flow_usd == Decimal(-1_000)
    assert run.core.portfolio.book("(foreign)").cash_flow_usd == Decimal("-1.25")


async def test_a_symbol_that_cannot_be_traded_refuses_to_start(tmp_path: Path) -> None:
    """By the key that names it, with the exit code of a wrong file; nothing has begun."""
    fakes.FakeBroker.listed = {"SPY": Asset(tradable=False, status="inactive")}
    with pytest.raises(ConfigError, match=r"'SPY' cannot be traded .*is inactive\) \(strategies\.once\.symbols\)"):
        await session(tmp_path, lambda core: False)
    fakes.FakeBroker.listed = {}
    with pytest.raises(ConfigError, match=r"'SPY' is unknown to the broker \(strategies\.once\.symbols\)"):
        await session(tmp_path, lambda core: False)
    assert records(tmp_path) == []
    assert ConfigError("").exit_code == 2


async def test_a_run_goes_on_with_a_symbol_that_no_longer_trades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold some: entries are refused by C23 from then on, and doing it over refuses them again."""
    monkeypatch.setitem(globals(), "STRATEGY", STRATEGY.replace("== self.at", "in (self.at, 2)"))
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]
    await session(tmp_path, lambda core: core.portfolio.position_qty("SPY") == 10)
    fakes.FakeBroker.listed["SPY"] = Asset(tradable=False)
    fakes.FakeFeed.script = [fakes.bar(2, 101.0)]
    await session(tmp_path, lambda core: any(isinstance(record, Denied) for record in records(tmp_path)))
    denied = next(record for record in records(tmp_path) if isinstance(record, Denied))
    assert denied.reason == "SPY cannot be traded at the broker"
    assert denied.control == "C23 market_state"
    assert daemon.verify(tmp_path / "run.journal")[0] == len(records(tmp_path))


async def test_an_account_that_is_not_active_refuses_to_start(tmp_path: Path) -> None:
    """One clear sentence, and nothing is sent."""
    fakes.FakeBroker.reset(status="ACCOUNT_CLOSED")
    with pytest.raises(BrokerError, match="account PA1 is ACCOUNT_CLOSED"):
        await session(tmp_path, lambda core: False)
    assert fakes.FakeBroker.book["sent"] == []


async def test_a_live_feed_that_ends_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a local venue's does with its tape: what has come is still taken, and the journal's story is closed."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0), fakes.bar(2, 101.0)]
    waiting = fakes.FakeFeed.run

    async def ends(feed: Any, publish: Any) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await waiting(feed, publish)

    monkeypatch.setattr(fakes.FakeFeed, "run", ends)
    run = await session(tmp_path, lambda core: False)
    assert run.core.portfolio.position_qty("SPY") == 10
    assert isinstance(records(tmp_path)[-1], RunEnded)
    assert daemon.verify(tmp_path / "run.journal")[0] == len(records(tmp_path))


def test_a_run_that_is_stopped_before_it_begins_leaves_the_report_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an empty journal there is nothing to tell."""

    async def serve(run: Run, *rest: Any) -> int:
        run.core.supervisor.finish(ended=False)
        return live.EXIT_OK

    monkeypatch.setattr(live, "serve", serve)
    (tmp_path / "report.html").write_text("of the run before")
    assert daemon.run(config(tmp_path)) == live.EXIT_OK
    assert (tmp_path / "report.html").read_text() == "of the run before"


async def test_a_tape_with_a_live_broker_is_refused(tmp_path: Path) -> None:
    """The past must not be traded for real."""
    tree = config(tmp_path).resolved()
    tree["feed"] = {"use": "synthetic"}
    with pytest.raises(ConfigError, match="a tape would have it trade on the past"):
        Run(from_dict(tree), Journal(tmp_path / "x.journal"))


async def test_a_live_feed_with_the_paper_venue_fills_as_time_passes(tmp_path: Path) -> None:
    """Arrivals and expiries come due without an event: a tick lets them, and the journal holds it."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0), fakes.bar(2, 101.0), fakes.bar(3, 102.0)]
    run = await session(
        tmp_path, lambda core: core.portfolio.position_qty("SPY") == 10, use="paper", cash_usd="10000", fees="zero"
    )
    assert run.core.portfolio.position_qty("SPY") == 10
    assert not [record for record in records(tmp_path) if isinstance(record, AccountOpened)]
    assert [record for record in records(tmp_path) if isinstance(record, OrderUpdate)]
    daemon.verify(tmp_path / "run.journal")


async def test_an_overfill_is_booked_and_halts(tmp_path: Path) -> None:
    """The books show what the account holds, and nothing more is sent until a person has looked."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0)]

    def filled_again(core: Any) -> bool:
        if core.portfolio.position_qty("SPY") == 10:
            (fill,) = fakes.FakeBroker.book["fills"]
            core.process(Fill("x-2", fill.client_order_id, "SPY", "buy", Decimal(1), Decimal(100), ZERO, 1, 1))
        return core.portfolio.position_qty("SPY") == 11

    run = await session(tmp_path, filled_again)
    assert run.core.risk.state == "halted"
    halts = [record for record in records(tmp_path) if isinstance(record, TradingStateChanged)]
    assert halts[-1].reason == f"order {RUN}-once-1 for 10 was filled for 11"


def test_a_command_on_a_tape_is_done_over_in_its_place(tmp_path: Path) -> None:
    """A halt in the middle of a batch, and one at its end, stand in the journal with the events before them."""
    events = [fakes.bar(minute, 100.0) for minute in range(1, 10)]
    halt = Command("halt", 1, 1, "asked", events=4)
    resume = Command("resume", 2, 2, "asked", events=10)
    told = list(with_commands(iter([events[:6], events[6:]]), [halt, resume]))
    flat = [event for batch in told for event in batch]
    assert [flat.index(halt), flat.index(resume), len(flat)] == [4, 10, 11]


async def test_a_halted_tape_run_verifies_and_goes_on_halted(tmp_path: Path) -> None:
    """What a person said is part of the run."""
    (tmp_path / "once.py").write_text(STRATEGY)
    tree = {
        "mode": "paper", "name": "tape", "seed": 1, "calendar": "XNYS", "out_dir": str(tmp_path),
        "feed": {"use": "synthetic"}, "broker": {"use": "paper"},
        "strategies": [{"name": "once", "use": f"{tmp_path}/once.py:Once", "symbols": "*", "params": {"at": 2}}],
        "risk": {"profile": "wide"},
    }  # fmt: skip
    settings = from_dict(tree)
    run = Run(settings, Journal(tmp_path / "run.journal"))
    run.begin()
    batches = run.batches()
    first = next(batches)
    for event in first[:50]:
        run.core.process(event)
    run.core.process(Command("halt", run.core.now_ns, run.core.now_ns, "asked"))
    for event in first[50:200]:
        run.core.process(event)
    run.journal.close()
    assert run.core.risk.state == "halted"
    daemon.verify(tmp_path / "run.journal")
    again = Run(settings, Journal(tmp_path / "run.journal", follow=True))
    again.replay()
    assert again.core.risk.state == "halted"
    assert daemon.verify(tmp_path / "run.journal")[0] > run.journal.seq
