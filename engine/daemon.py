"""The three ways to go through a run that `engine.run` builds: as a daemon, as a backtest, and again to verify it.

Starting and recovering are one path: a journal that exists is followed first, by doing the run over from its first
event, and what comes after its last record is new.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import interlock, journal, logs
from engine.clock import to_datetime
from engine.config import RunConfig, from_dict
from engine.errors import ConfigError, Divergence, StrategyError
from engine.events import Command, RunStarted
from engine.folder import try_out
from engine.interlock import Leave
from engine.journal import Journal
from engine.lock import locked
from engine.parts import clock_of
from engine.risk.limits import RiskLimits
from engine.risk.override import changed
from engine.run import Progress, Run, rehearsed

if TYPE_CHECKING:
    import asyncio

    from engine.report import Result

RUN_JOURNAL, BACKTEST_JOURNAL = "run.journal", "backtest.journal"
BACKTEST_LOG = "backtest.log.jsonl"
COLLECT_AFTER = 10_000, 20, 500
"""Thresholds of the garbage collector in a daemon: a look through all books halts it for a tenth of a second."""
JOURNAL_SUFFIXES = ("", "-tail", "-wal", "-shm", "-journal")


def check(config: RunConfig) -> str:
    """Build everything but a journal, and return the resolved plan for a person."""
    try_out(config.out_dir)
    feed, scoring = rehearsed(config)
    first, last = (f"{to_datetime(ts):%Y-%m-%d %H:%M:%S} UTC" for ts in feed.span_ns)
    span = f"{first} to {last}" if hasattr(feed, "batches") else "live"
    ledger = config.out_dir / RUN_JOURNAL
    start = f"goes on with {ledger}" if ledger.exists() else f"starts anew in {config.out_dir}"
    told = f"feed: {len(feed.symbols)} symbols, {span}\n{scoring.told()}".rstrip()
    plan = f"{config.describe()}\n\n{told}\nthis run {start}"
    return f"{plan}\n\n{interlock.told(config)}" if config.mode == "live" else plan


def backtest(
    config: RunConfig, progress: Progress | None = None, tell: Callable[[str], None] = lambda told: None
) -> Result:
    """Replay a run at full speed and return its result; its files appear in `out_dir` only when all went well.

    What models there are and where they run is told before it begins.
    """
    from engine.report import Result

    try_out(config.out_dir)
    target = config.out_dir / BACKTEST_JOURNAL
    partial = target.with_suffix(".partial")
    with _nothing_left_on_failure(config.out_dir, partial):
        built = Run(config, Journal(partial, durability="batch"))
        if config.models:
            tell(built.scoring.told())
        with _log_on_demand(built):
            built.replay(progress)
    _remove(target)
    partial.rename(target)
    return Result.from_journal(target)


def check_end(result: Result) -> None:
    """Refuse to call a run clean whose strategies all raised: its figures say nothing of what they would have done.

    Raises:
        StrategyError: naming the first, and where.
    """
    halts = result.strategy_halts[result.strategy_halts["control"] == "exception"]
    if 0 < len(halts) == len(result.run.config.get("strategies", ())):
        first, reason = halts["strategy"].iloc[0], " ".join(halts["reason"].iloc[0].split())
        raise StrategyError(f"every strategy was halted by an exception, '{first}' first: {reason}")


def verify(path: Path, progress: Progress | None = None) -> tuple[int, str]:
    """Do a recorded run over and compare; return the number of records and the journal's hash.

    Raises:
        Divergence: naming the first record that differs.
        JournalError: the journal cannot be read, or its tape is another one now.
    """
    logs.mask_environment()  # as when it was recorded: what a strategy raises is journaled without secrets
    journal.header(path)
    ledger = Journal(path, follow=True, frozen=True)
    run = Run(from_dict(json.loads(ledger.noted("config"))), ledger, again=True)
    try:
        with logs.on_demand(level="error", event_time_ns=lambda: run.core.now_ns):  # the rest was told the first time
            if run.is_live:
                run.replay_inputs()
            else:
                run.replay(progress)
    except Divergence as difference:
        if difference.recorded or journal.is_ended(path):
            raise  # otherwise the run was stopped before the end of its feed, and all that it holds is matched
    finally:
        ledger.abandon()
    if ledger.following:
        raise Divergence(ledger.seq + 1, ledger.rest(), "")
    return ledger.seq, journal.digest(path)


def run(config: RunConfig, leave: Leave | None = None, *, anew: bool = False) -> int:
    """Run the daemon to the end of its feed, or until it is told to stop; return the exit code.

    Go on with the journal that is there, or begin `anew` and keep it beside the new one.

    Raises:
        ConfigError: the run is live and nobody has given leave.
    """
    from engine.live import serve
    from engine.operating import operations
    from engine.stopwatch import Stopwatch

    if config.mode == "live" and leave is None:
        raise ConfigError("mode is 'live', and leave to trade real money was not asked for")
    operations.check(config)
    if config.feed.as_received is not None:
        raise ConfigError("feed.as_received: a live day is done over by `onetape backtest`, not by the daemon")
    path, clock = config.out_dir / RUN_JOURNAL, clock_of(config)
    if not path.exists():
        check(config)  # what is wrong with a new run is told before anything of it is on the disk
    taken = f"another process runs in {config.out_dir}; give this run an out_dir of its own"
    with locked(config.out_dir / "lock", taken):
        if anew and path.exists():
            _put_aside(path)
        follow = path.exists()
        if follow:
            config = _as_begun(config, path)
            _refuse_another_run(config, path)
        if follow and journal.is_ended(path):
            return _report(config, path)
        stopwatch = Stopwatch(config.handler_budget_ms, clock)
        built = Run(config, Journal(path, durability=config.journal.durability, follow=follow), wrap=stopwatch.wrap)
        logs.configure(
            level=config.log.level, file=config.out_dir / "log.jsonl" if config.log.file else None,
            event_time_ns=lambda: built.core.now_ns, clock=built.clock,
        )  # fmt: skip
        for secret in built.secrets:
            logs.mask(secret)
        try:
            with event_loop() as runner:
                code = runner.run(serve(built, stopwatch, built.clock, leave))  # the one that its feed keeps right
        finally:
            logs.close()
        if not built.journal.seq:
            return code  # stopped before it began: there is nothing to report
        return _report(config, path) or code


def _as_begun(config: RunConfig, path: Path) -> RunConfig:
    """Return a configuration with the limits that its run began with, where a reload has narrowed them to its own."""
    with closing(journal.read(path)) as records:
        started = next(records, None)
        if not isinstance(started, RunStarted):
            return config  # killed before it began
        begun: dict[str, Any] = json.loads(started.config)["risk"]
        limits = RiskLimits(**begun)
        if limits == config.risk:
            return config
        for record in records:
            if isinstance(record, Command) and record.action == "tighten":
                limits = changed(limits, record.limit, record.value)
    reloaded = limits.model_copy(update={"profile": config.risk.profile})
    return config.model_copy(update={"risk": RiskLimits(**begun)}) if reloaded == config.risk else config


@contextmanager
def event_loop() -> Iterator[asyncio.Runner]:
    """Yield what runs the event loop: uvloop, which comes sooner to what has arrived, wherever it is installed."""
    import asyncio

    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):  # not on every system
        import uvloop

        loop_factory = uvloop.new_event_loop
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what is built by now lives to the end
    gc.set_threshold(*COLLECT_AFTER)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            yield runner
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _refuse_another_run(config: RunConfig, path: Path) -> None:
    """Tell a journal that this run cannot go on with before anything starts; a live account is known only later."""
    ledger = Journal(path, follow=True, frozen=True)
    try:
        run = Run(config, ledger, again=True)
        run.header(journal.header(path).account if run.is_live and ledger.following else "")
    finally:
        ledger.abandon()


def _put_aside(path: Path) -> None:
    """Rename a journal to `run-1.journal`, or the first number that is free: it may be the only proof of its run."""
    number = 1
    while (kept := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    for suffix in JOURNAL_SUFFIXES:
        if (file := path.with_name(path.name + suffix)).exists():
            file.rename(kept.with_name(kept.name + suffix))


def _report(config: RunConfig, path: Path) -> int:
    from rich.console import Console

    from engine.report import Result, summary

    result = Result.from_journal(path)
    page = result.save(config.out_dir)
    console = Console()
    console.print(summary.table(result))
    console.print(f"report: {page}", soft_wrap=True)  # a path that is broken across lines cannot be opened
    check_end(result)
    return 0


@contextmanager
def _log_on_demand(built: Run) -> Iterator[None]:
    """Let strategies log in simulated time: warnings to the console, and more or a file when the configuration asks."""
    log = built.config.log
    file = built.config.out_dir / BACKTEST_LOG if log.file and "file" in log.model_fields_set else None
    if file is not None:
        file.unlink(missing_ok=True)  # it tells of this run alone
    level = log.level if "level" in log.model_fields_set else "warning"
    with logs.on_demand(level=level, file=file, event_time_ns=lambda: built.core.now_ns):
        yield


@contextmanager
def _nothing_left_on_failure(folder: Path, partial: Path) -> Iterator[None]:
    fresh = not folder.exists()
    _remove(partial)
    try:
        yield
    except BaseException:
        _remove(partial)
        if fresh:
            with suppress(OSError):
                folder.rmdir()
        raise


def _remove(path: Path) -> None:
    for suffix in JOURNAL_SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
