"""A run, built from its configuration: the feed, the books, the controls, the venue, the strategies and the corridor.

This is the one place that knows them all; `engine.daemon` goes through what is built here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from decimal import localcontext
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, cast, get_args

from engine import journal, logs
from engine.clock import LiveClock, Sessions
from engine.config import RunConfig
from engine.core import Core
from engine.errors import ConfigError, JournalError
from engine.events import Command, Fill, InboxEvent, ModelStatus, OrderUpdate, RunStarted, Signal
from engine.journal import Journal
from engine.market import Callback
from engine.orders import OrderBook
from engine.parts import broker_of, clock_of, feed_of, intervals_ns_of, portfolio_of, strategies_of
from engine.portfolio import MONEY, Portfolio
from engine.ports import Feed, LiveFeed, SilentBroker
from engine.record.line import Line, VenueBooks
from engine.record.placing import with_commands
from engine.risk import RiskManager
from engine.sampling import LIVE_SAMPLE_NS, sample_ns
from engine.schedule import Schedule
from engine.scoring import Scoring, hearing
from engine.wiring import Wiring

Progress = Callable[[int, int, tuple[int, int]], None]
"""Called now and then with the number of events so far, the simulated time and the feed's span, both in ns."""


class Run:
    """A run that is built and not yet begun: its feed, and a corridor with everything in it.

    With `again`, a live run is done over from what its journal holds: nothing is connected and nothing is sent.

    Attributes:
        is_live: whether the feed arrives when it arrives; then the journal holds every input.
    """

    def __init__(
        self, config: RunConfig, ledger: Journal, *, wrap: Callable[[Callback, str], Callback] | None = None,
        again: bool = False,
    ) -> None:  # fmt: skip
        self.config, self.journal = config, ledger
        sessions, portfolio = Sessions(config.calendar), portfolio_of(config)
        self.clock = LiveClock() if again else clock_of(config)
        self.feed: Feed | LiveFeed | Line = feed_of(config, sessions, clock=self.clock, again=again)
        broker: Any
        if config.feed.as_received is None:
            broker = broker_of(config, sessions, portfolio, clock=self.clock, again=again)
        elif again:
            broker = SilentBroker()
        else:
            self.feed = broker = _line(config, self.feed, sessions, portfolio)
        self.is_live = not hasattr(self.feed, "batches")
        self.scoring = Scoring(config, self.feed, sessions, clock=self.clock, again=again)
        orders, schedule = OrderBook(portfolio), Schedule()
        strategies = strategies_of(config, self.feed.symbols)
        risk = RiskManager(
            config.risk, portfolio=portfolio, orders=orders, sessions=sessions,
            symbols_by_strategy={one.name: frozenset(one.symbols) for one in strategies},
            strategies_by_model=hearing(strategies, config),
        )  # fmt: skip
        wiring = Wiring(
            strategies, intervals_ns_of(config), portfolio=portfolio, sessions=sessions, schedule=schedule, wrap=wrap
        )  # fmt: skip
        step_ns = LIVE_SAMPLE_NS
        if not self.is_live:
            step_ns = sample_ns(self.feed.span_ns, len(self.feed.symbols), always_open=sessions.always_open)
        self.core = Core(
            run_id=config.name, seed=config.seed, strategies=strategies, portfolio=portfolio, orders=orders, risk=risk,
            broker=broker, journal=ledger, schedule=schedule, wiring=wiring, sessions=sessions, sample_ns=step_ns,
            inputs=_inputs(is_live=self.is_live, simulated=broker.simulated, scores=bool(config.models)),
        )  # fmt: skip
        self.core.supervisor.masked = logs.masked

    def header(self, account: str = "", now_ns: int = 0) -> RunStarted:
        """Return the run's first record; on a journal that goes on, compare with its own.

        Raises:
            JournalError: the journal is of another configuration, account or tape.
        """
        ledger, config = self.journal, self.config
        before = journal.header(ledger.path) if ledger.following else None
        if self.is_live and before is not None:
            now_ns = before.ts_event_ns  # a live run began when it began
        started = RunStarted(
            self._run_id(now_ns), config.resolved_json(), version("onetape"), journal.SCHEMA_VERSION,
            now_ns if self.is_live else self.feed.span_ns[0], self.feed.fingerprint, account or config.broker.use,
            self.scoring.hashes if before is None else self.scoring.hashes_begun(ledger.path, before.models),
        )  # fmt: skip
        if before is not None and before != started:
            raise JournalError(_other_run(ledger.path, before, started))
        return started

    def _run_id(self, started_ns: int) -> str:
        """Return what the ids of its orders begin with, by its start: an account knows those of earlier runs, too."""
        name = self.config.name
        return name if self.core.broker.simulated else f"{name}.{started_ns // 1_000_000:x}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that no log may show, as far as feed and broker know any."""
        return (*getattr(self.feed, "secrets", ()), *getattr(self.core.broker, "secrets", ()))

    def begin(self, account: str = "", now_ns: int = 0) -> None:
        """Write the header, unless the journal has it, and start the strategies."""
        started = self.header(account, now_ns)
        self.core.run_id = started.run_id
        for strategy in self.core.strategies.values():
            strategy._join(self.core)
        if not self.journal.frozen:
            self.journal.note("config", json.dumps(self.config.resolved()))  # what `verify` will do over
        warm_up_ns = round(self.config.warm_up_s * 1e9)
        with localcontext(MONEY):
            self.core.supervisor.begin(started, warm_up_ns, waits=not self.core.broker.simulated)

    def replay(self, progress: Progress | None = None) -> None:
        """Take the whole feed in a plain loop, and finish."""
        if isinstance(self.feed, Line):
            self._replay_line(self.feed, progress)
        elif self.is_live:
            raise ConfigError(f"feed.use: '{self.config.feed.use}' is live and has no past; a backtest needs a tape")
        else:
            self.begin()
            batches = self.batches()
            self.core.run(batches if progress is None else self._told(batches, progress))
        with localcontext(MONEY):
            self.core.supervisor.finish(ended=True)

    def _replay_line(self, line: Line, progress: Progress | None) -> None:
        self.begin(line.recorded.started.account, line.recorded.started.ts_event_ns)
        with localcontext(MONEY):
            for event in line.events():
                self.core.process(event)
                if progress is not None:
                    progress(self.core.events, self.core.now_ns, line.span_ns)

    def batches(self) -> Iterator[Sequence[InboxEvent]]:
        """Yield the tape's events, the models' signals, and each command of the journal in hand in its place.

        Raises:
            ConfigError: the first bars do not add up to what a strategy asks for.
        """
        tape = cast(Feed, self.feed).batches()
        first = next(tape, ())
        self.core.wiring.check_bars(first)
        batches: Iterator[Sequence[InboxEvent]] = self.scoring.batches(chain([first], tape), self.journal)
        if not self.journal.following:
            return batches
        recorded = journal.read(self.journal.path)
        return with_commands(batches, [record for record in recorded if isinstance(record, Command)])

    def recorded_inputs(self) -> Iterator[InboxEvent]:
        """Yield the events that a live run's journal holds, in the order in which the corridor took them."""
        for record in journal.read(self.journal.path):
            if record.__class__ in self.core.inputs:
                yield cast(InboxEvent, record)

    def replay_inputs(self) -> None:
        """Do a live run over from what its journal holds."""
        self.begin(journal.header(self.journal.path).account)
        with localcontext(MONEY):
            for event in self.recorded_inputs():
                self.core.process(event)
            self.core.supervisor.finish(ended=journal.is_ended(self.journal.path))

    def _told(self, batches: Iterator[Sequence[InboxEvent]], progress: Progress) -> Iterator[Sequence[InboxEvent]]:
        for batch in batches:
            yield batch
            progress(self.core.events, self.core.now_ns, self.feed.span_ns)


def rehearsed(config: RunConfig) -> tuple[Feed | LiveFeed, Scoring]:
    """Build everything that may be wrong, short of a journal, and return the feed and the models.

    Raises:
        ConfigError: what is wrong.
    """
    sessions, clock = Sessions(config.calendar), clock_of(config)
    feed, portfolio = feed_of(config, sessions, clock=clock), portfolio_of(config)
    broker_of(config, sessions, portfolio, clock=clock)
    strategies = strategies_of(config, feed.symbols)
    if hasattr(feed, "batches"):  # do its bars, as far as they can be seen from the start, add up to those asked for?
        wiring = Wiring(
            strategies, intervals_ns_of(config), portfolio=portfolio, sessions=sessions, schedule=Schedule()
        )
        wiring.check_bars(next(iter(feed.batches()), ()))
    return feed, Scoring(config, feed, sessions, clock=clock)


def _inputs(*, is_live: bool, simulated: bool, scores: bool) -> frozenset[type]:
    """Return the events that only the journal can give back; the answers of a simulated venue are made again."""
    if not is_live:
        return frozenset({Signal, ModelStatus}) if scores else frozenset()
    return frozenset(get_args(InboxEvent)) - (frozenset({Fill, OrderUpdate}) if simulated else frozenset())


def _line(config: RunConfig, feed: Feed | LiveFeed, sessions: Sessions, portfolio: Portfolio) -> Line:
    """Put what a live run recorded of its line between a tape and a simulated venue."""
    assert config.feed.as_received is not None
    books = VenueBooks(portfolio)
    venue = broker_of(config, sessions, books, clock=LiveClock())
    for key in ("latency_ms", "latency_jitter_ms"):
        if getattr(config.broker.settings, key, 0.0):
            raise ConfigError(f"broker.{key}: orders travel as long as recorded (feed.as_received); set it to 0")
    return Line(config.feed.as_received, cast(Feed, feed), venue, books)


def _other_run(path: Path, before: RunStarted, now: RunStarted) -> str:
    told = f"{path} holds another run"
    if before.tape_sha256 != now.tape_sha256:
        return f"{told}: its tape has another content (SHA-256 {before.tape_sha256[:12]}, now {now.tape_sha256[:12]})"
    if before.account != now.account:
        return f"{told}: of account {before.account}, not {now.account}"
    if before.engine_version != now.engine_version:
        return f"{told}: of engine {before.engine_version}, not {now.engine_version}"
    old, new = json.loads(before.config), json.loads(now.config)
    changed = ", ".join(sorted(key for key in {*old, *new} if old.get(key) != new.get(key))) or "its start"
    return (
        f"{told}: {changed} differs; set the configuration back, give this run an out_dir of its own, or begin --anew"
    )
