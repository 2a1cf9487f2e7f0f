"""What goes wrong stays where it is: a strategy that raises, one that is slow, a disk that takes no more."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from structlog.testing import capture_logs

from engine import Bar, Strategy, daemon, journal
from engine.clock import ManualClock
from engine.config import from_dict
from engine.errors import JournalWriteError
from engine.events import (
    Approved,
    CancelRequest,
    Denied,
    Fill,
    OrderUpdate,
    Record,
    StrategyHalted,
)
from engine.journal import Journal
from engine.orders import Order
from engine.record import tail
from engine.run import Run
from engine.stopwatch import Stopwatch
from tests.runs import (
    REPOSITORY,
    HeldFeed,
    Room,
    bar,
    busy,
    configuration,
    kept_journal,
    lines,
    market,
    on_tape,
    replayed,
    strategy,
    toml,
)
from tests.traders import Faulty, Script

DISK = 74


def of(name: str, records: list[Record]) -> list[bytes]:
    """Return everything in a journal that concerns one strategy's orders, byte for byte."""
    found = []
    for record in records:
        if isinstance(record, Approved | Denied):
            mine = record.intent.strategy == name
        else:
            mine = isinstance(record, OrderUpdate | Fill | CancelRequest) and f"-{name}-" in record.client_order_id
        if mine:
            found.append(record)
    return lines(found)


def faulty(raises: bool, callback: str, count: int) -> dict[str, Any]:
    """Return a run in which the second of three strategies stops at one event."""
    tree = configuration(HeldFeed.hold(market(5, 120)), **busy())
    tree["broker"]["latency_jitter_ms"] = 0.0  # of which a halted strategy's cancels would draw a part
    one, two = tree["strategies"]
    middle = strategy(
        Faulty, name="middle", dice=two["params"]["dice"][40:], callback=callback, count=count, raises=raises
    )  # fmt: skip
    return {**tree, "strategies": [one, middle, two]}


@pytest.mark.parametrize(
    ("callback", "count"),
    [
        ("on_start", 1), ("on_bar", 1), ("on_bar", 63), ("on_quote", 9), ("on_trade", 5), ("on_news", 1),
        ("on_fill", 3), ("on_order", 4), ("on_order", 20), ("on_timer", 2),
    ],
)  # fmt: skip
def test_a_strategy_that_raises_is_halted_alone(callback: str, count: int) -> None:
    """The others decide, byte for byte, as beside one that had simply stopped asking; its event is kept."""
    quiet, _ = replayed(faulty(False, callback, count))
    records, run = replayed(faulty(True, callback, count))
    halts = [record for record in records if isinstance(record, StrategyHalted)]
    assert [halt.strategy for halt in halts] == ["middle"]
    assert halts[0].control == "exception"
    assert halts[0].reason.startswith(f"ZeroDivisionError: in {callback} at line ")
    assert halts[0].reason.endswith(" of meet")
    cause = json.loads(halts[0].cause)
    kinds = {
        "on_start": "RunStarted", "on_bar": "Bar", "on_quote": "Quote", "on_trade": "Trade", "on_news": "News",
        "on_fill": "Fill", "on_order": "Intent", "on_timer": "Timer",
    }  # fmt: skip
    assert cause["event"] == kinds[callback]
    assert run.core.risk.state == "active"
    place = records.index(halts[0])
    assert not [r for r in records[place:] if isinstance(r, Approved) and r.intent.strategy == "middle"]
    for name in ("one", "two"):
        expected = of(name, quiet)
        assert len(expected) > 20
        assert _without_tokens(of(name, records)) == _without_tokens(expected)


def _without_tokens(found: list[bytes]) -> list[bytes]:
    """Leave out the account's running number of approvals, which says how many there were of anybody's."""
    return [msgspec.json.encode({**json.loads(line), "token": 0}) for line in found]


class Half(Strategy):
    """Ask, and fail."""

    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, 1)
        raise RuntimeError("half-way")


class Leaves(Strategy):
    """Ends the process, as it believes, with a code of its own."""

    def on_bar(self, bar: Bar) -> None:
        self.order_target(bar.symbol, 1)
        sys.exit(0)


def test_a_strategy_that_calls_exit_ends_nobody_but_itself() -> None:
    """A run that ended with the author's code 0 would look like one that went well."""
    tree = configuration(HeldFeed.hold([bar("AAA", m, 100.0) for m in range(3)]), strategies=[strategy(Leaves)])
    records, run = replayed(tree)
    (halted,) = [record for record in records if isinstance(record, StrategyHalted)]
    assert halted.reason.startswith("SystemExit: 0 at line ")
    assert run.core.events == 3
    assert not [record for record in records if isinstance(record, Approved)]


class UnspeakableError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")


class Mutters(Strategy):
    """Raises what is hard to write down."""

    errors: ClassVar[list[Exception]] = [ValueError("\ud800"), UnspeakableError()]
    number: int = 0

    def on_bar(self, bar: Bar) -> None:
        raise self.errors[self.number]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(0, "ValueError: \\ud800 at line "), (1, "UnspeakableError: (what it says raises RuntimeError) at line ")],
)
def test_an_exception_that_cannot_be_written_halts_as_any_other(number: int, reason: str) -> None:
    """Half a character, or a text that raises in its turn, are the author's too."""
    tree = configuration(HeldFeed.hold([bar("AAA", 0, 100.0)]), strategies=[strategy(Mutters, number=number)])
    records, _ = replayed(tree)
    (halted,) = [record for record in records if isinstance(record, StrategyHalted)]
    assert halted.reason.startswith(reason)
    assert lines([halted])


def test_what_a_raising_handler_had_asked_for_does_not_go_out() -> None:
    """An author whose code fails half-way does not trade on the half."""
    tree = configuration(HeldFeed.hold([bar("AAA", m, 100.0) for m in range(3)]), strategies=[strategy(Half)])
    records, run = replayed(tree)
    assert not [record for record in records if isinstance(record, Approved | Fill)]
    assert [r.control for r in records if isinstance(r, Denied)] == ["C01 trading_state"]
    assert sum(isinstance(record, StrategyHalted) for record in records) == 1
    assert run.core.portfolio.cash_usd == 100_000


class Stubborn(Strategy):
    """Ask again whatever the answer is."""

    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, 1_000_000)

    def on_order(self, order: Order) -> None:
        if order.status == "denied":
            self.buy(order.symbol, 1_000_000)


def test_a_strategy_that_asks_for_ever_is_halted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each denial makes it ask again within the same event; the one beside it trades on."""
    monkeypatch.setattr("engine.strategy.ASKS_PER_EVENT_MAX", 200)
    both = [
        strategy(Stubborn, name="stubborn"),
        strategy(Script, name="other", script={"AAA": {"2": [["buy", {"qty": 1}]]}}),
    ]
    tree = configuration(HeldFeed.hold([bar("AAA", m, 100.0) for m in range(5)]), strategies=both)
    records, _ = replayed(tree)
    halts = [record for record in records if isinstance(record, StrategyHalted)]
    assert [halt.strategy for halt in halts] == ["stubborn"]
    assert halts[0].reason.startswith("StrategyError: more than 200 orders and cancels were asked for in one event")
    assert sum(isinstance(record, Denied) for record in records) == 200
    assert [record.client_order_id.split("-")[-2] for record in records if isinstance(record, Fill)] == ["other"]


def test_a_halted_strategy_keeps_its_exits() -> None:
    """Its entries are canceled, and what protects its position stays at the venue and works."""
    script = {
        "AAA": {
            "1": [["buy", {"qty": 10, "take_profit": 110.0, "stop_loss": 90.0}]],
            "3": [["buy", {"qty": 5, "limit_price": 95.0}], ["no_such_call", {}]],
        }
    }
    prices = [100.0, 100.0, 100.0, (100.0, 100.0, 94.0, 94.0), (94.0, 94.0, 85.0, 85.0), 85.0]
    tree = configuration(
        HeldFeed.hold(bar("AAA", minute, price) for minute, price in enumerate(prices)),
        strategies=[strategy(Script, script=script)],
    )
    records, run = replayed(tree)
    assert [r.strategy for r in records if isinstance(r, StrategyHalted)] == ["one"]
    fills = [(r.side, int(r.qty), float(r.price)) for r in records if isinstance(r, Fill)]
    assert fills == [("buy", 10, 100.0), ("sell", 10, 90.0)]
    assert not run.core.orders.open


class Slow(Strategy):
    """Take one millisecond more of the watch's time at every bar."""

    watch: ClassVar[ManualClock] = ManualClock()

    def on_start(self) -> None:
        self.bars = 0
        self.watch.advance(0.009)

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        self.watch.advance(self.bars / 1_000)


def test_a_handler_over_its_budget_is_reported_and_goes_on() -> None:
    """Of a budget of 5 ms the start takes 9, bars 6 to 10 take 6 to 10: six reports, and the run as it was."""
    watch = Stopwatch(5.0, Slow.watch)
    tree = configuration(HeldFeed.hold([bar("AAA", m, 100.0) for m in range(10)]), strategies=[strategy(Slow)])
    ledger, records = kept_journal()
    run = Run(from_dict(tree), ledger, wrap=watch.wrap)
    with capture_logs() as told:
        run.replay()
    assert watch.over == {"one": 6}
    reports = [(line["callback"], line["took_ms"]) for line in told if line["event"] == "handler over its budget"]
    assert reports == [("on_start", 9.0), *(("on_bar", float(took_ms)) for took_ms in range(6, 11))]
    assert all(line["strategy"] == "one" and line["budget_ms"] == 5.0 for line in told if "callback" in line)
    assert lines(records) == lines(replayed(tree)[0])


# --- the disk -------------------------------------------------------------------------------------------------------


class Wire:
    """The venue, and which orders have got there."""

    def __init__(self, venue: Any) -> None:
        self.venue = venue
        self.sent: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.venue, name)

    def submit(self, approved: Approved) -> None:
        self.sent.append(approved.intent.client_order_id)
        self.venue.submit(approved)


def nearly_full(folder: Path, pages: int, tree: dict[str, Any], patch: pytest.MonkeyPatch) -> tuple[Run, list[str]]:
    """Build a run whose journal may grow by some pages of the disk; return it and the orders that get out."""
    ledger = Journal(folder / "run.journal")
    (used,) = ledger._connection.execute("pragma page_count").fetchone()
    ledger._connection.execute(f"pragma max_page_count = {used + pages}")
    patch.setattr(tail, "os", Room(pages * 2_000))
    run = Run(from_dict(tree), ledger)
    wire: Any = Wire(run.core.broker)
    run.core.broker = wire
    return run, wire.sent


def walk(run: Run) -> None:
    """Take every event as the daemon does, each on disk before the next."""
    run.begin()
    for batch in run.feed.batches():  # type: ignore[union-attr]
        for event in batch:
            run.core.process(event)


@pytest.mark.parametrize("bars", [None, "5min"])
@pytest.mark.parametrize("pages", [0, 1, 5, 11, 16])
def test_a_disk_that_fills_up_halts_before_anything_is_sent(
    pages: int, bars: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one order is at the venue that is not in the journal, wherever the disk gives out."""
    more = busy()
    for table in more["strategies"]:
        table["bar"] = bars
    tree = configuration(HeldFeed.hold(market(1, 90)), tmp_path, **more)
    run, sent = nearly_full(tmp_path, pages, tree, monkeypatch)
    with pytest.raises(JournalWriteError, match="the disk refused") as told:
        walk(run)
    assert told.value.exit_code == DISK
    run.journal.abandon()
    path = tmp_path / "run.journal"
    written = {r.intent.client_order_id for r in journal.read(path) if isinstance(r, Approved)}
    assert set(sent) <= written
    assert pages < 11 or sent


def test_a_run_that_a_full_disk_stopped_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started again, it ends as the run that was never stopped."""
    monkeypatch.setattr(daemon, "_report", lambda _config, _path: 0)
    tree = on_tape(tmp_path, market(1, 60), **busy())
    undisturbed = from_dict({**tree, "out_dir": str(tmp_path / "undisturbed")})
    assert daemon.run(undisturbed) == 0
    config = from_dict(tree)
    config.out_dir.mkdir()
    with monkeypatch.context() as patch:
        run, _ = nearly_full(config.out_dir, 9, tree, patch)
        with pytest.raises(JournalWriteError):
            walk(run)
    run.journal.abandon()
    assert daemon.run(config) == 0
    ends = [journal.digest(one.out_dir / daemon.RUN_JOURNAL) for one in (config, undisturbed)]
    assert ends[0] == ends[1]


def test_a_write_that_the_system_refuses_ends_the_daemon_with_its_own_code(tmp_path: Path) -> None:
    """A real process, a real limit on its files: exit code 74, one message, and a journal that reads."""
    tree = on_tape(tmp_path, market(1, 240), **busy(), log={"file": False})
    (tmp_path / "run.toml").write_text(toml(tree))
    command = f"ulimit -f 160; exec {sys.executable} -m engine.cli run {tmp_path / 'run.toml'}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == DISK, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "run.journal: the disk refused" in done.stderr
    assert "Traceback" not in done.stderr
    path = Path(tree["out_dir"]) / daemon.RUN_JOURNAL
    assert sum(1 for _ in journal.read(path)) > 10
    assert daemon.verify(path)[0] == sum(1 for _ in journal.read(path))


def test_a_backtest_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Half a backtest is no backtest: one message, exit code 74, an empty folder."""
    tree = on_tape(tmp_path, market(1, 240), **busy())
    (tmp_path / "run.toml").write_text(toml(tree))
    command = f"ulimit -f 160; exec {sys.executable} -m engine.cli backtest {tmp_path / 'run.toml'}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == DISK, done.stderr
    assert "Traceback" not in done.stderr
    out = Path(tree["out_dir"])
    assert not out.exists() or list(out.iterdir()) == []


def test_the_full_disk_of_these_tests_is_one() -> None:
    """SQLite itself says so."""
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (x)")
    connection.execute("pragma max_page_count = 3")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        connection.executemany("insert into t values (?)", [("x" * 4_000,)] * 9)
    connection.close()
