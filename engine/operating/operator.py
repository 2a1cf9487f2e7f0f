"""What a person may ask of a running daemon: how it stands, and that it halts, resumes, cancels, closes or reloads.

A word that changes anything is published as a `Command`, journaled and taken by the corridor in its turn like every
other event; the answer comes once it was.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from decimal import localcontext
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog
from msgspec.structs import replace

from engine.clock import to_datetime
from engine.config import RunConfig, from_dict
from engine.config.tables import flat
from engine.errors import ConfigError
from engine.events import MINUTE_NS, Command
from engine.operating.control import DaemonStatus, OrderLine, PositionLine, Reply, Request
from engine.operating.observers import Observers, Tally
from engine.portfolio import MONEY, Position
from engine.risk.limits import SMALL_ACCOUNT, RiskLimits
from engine.risk.override import FIXED, changed, check_asked
from engine.risk.width import wider

if TYPE_CHECKING:
    from engine.live import Daemon

Sleep = Callable[[float], Awaitable[None]]

TAKEN_WITHIN_S, SETTLED_WITHIN_S, LOOK_EVERY_S = 5.0, 5.0, 0.05
RATE_OVER_BEATS = 5
NOT_TAKEN = Reply(
    ok=False,
    told=f"the corridor has not taken it within {TAKEN_WITHIN_S:g} s; it will when it can. Ask for the status",
)
RELOADABLE = ("log.level", "alerts.")
"""Keys, or their beginnings, that decide nothing. Beside them, limits may become narrower and models' files others."""


class Operator:
    """Answers for one daemon.

    Args:
        unacknowledged: returns how many alerts nobody has acknowledged.
        reload: refuses what a new configuration gets wrong, and returns what makes the rest take effect.
    """

    def __init__(
        self, daemon: Daemon, observers: Observers, *, unacknowledged: Callable[[], int] = lambda: 0,
        reload: Callable[[RunConfig], Callable[[], None]] = lambda config: lambda: None, sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._daemon, self._tally, self._sleep = daemon, Tally(observers), sleep
        self._unacknowledged, self._checked = unacknowledged, reload
        self._taken: dict[Command, asyncio.Event] = {}
        self._beats: deque[tuple[int, int]] = deque(maxlen=RATE_OVER_BEATS)
        self.beat()
        observers.observe(Command, self._on_command)

    def beat(self) -> None:
        """Take note of how many events there were; called once a second."""
        self._beats.append((self._daemon.clock.monotonic_ns(), self._daemon.core.events))

    async def answer(self, request: Request) -> Reply:
        """Do what is asked, and say what came of it."""
        if request.ask == "status":
            return Reply(ok=True, status=self.status())
        if request.ask == "reload":
            return await self._reload(request)
        if self._phase() == "starting":
            return Reply(ok=False, told="the daemon is starting and trades nothing yet; ask again when it has")
        if request.ask == "override":
            return await self._override(request)
        return await self._command(request)

    # --- commands --------------------------------------------------------------------------------------------------

    async def _command(self, request: Request) -> Reply:
        # Flat is only what stays flat: before positions are closed, nothing may open new ones.
        actions: tuple[Any, ...] = ("halt", "flatten") if request.ask == "flatten" else (request.ask,)
        for action in actions:
            now = self.now_ns()
            if not await self._take(Command(action, now, now, request.reason, who=request.who)):
                return NOT_TAKEN
        if request.ask in ("cancel_all", "flatten"):
            await self._settle(positions=request.ask == "flatten")
        core = self._daemon.core
        held = sum(1 for book in core.portfolio.books.values() for one in book.positions.values() if one.qty)
        told = f"trading is {core.risk.state.replace('_', '-')}, {_count(len(core.orders.open), 'open order')}"
        return Reply(ok=True, told=f"{told}, {_count(held, 'position')}", status=self.status())

    async def _override(self, request: Request) -> Reply:
        """Put another value in the place of a limit, for minutes; a live run's profile bounds that, too."""
        daemon, name = self._daemon, request.limit
        check_asked(request.who, request.reason, request.minutes, name, request.value)
        before = getattr(daemon.core.risk.file_limits, name, None)
        limits = changed(daemon.core.risk.limits, name, request.value)
        if daemon.leave is not None and (beyond := {one: most for one, _, most in wider(limits, daemon.leave.bounds)}):
            most = ", ".join(f"{one} at most {bound}" for one, bound in beyond.items())
            raise ConfigError(f"the live profile does not allow that: {most}")
        now = self.now_ns()
        until_ns = now + round(request.minutes * MINUTE_NS)
        asked = Command(
            "override", now, now, request.reason, who=request.who, limit=name, value=request.value,
            ts_expire_ns=until_ns,
        )  # fmt: skip
        if not await self._take(asked):
            return NOT_TAKEN
        if getattr(daemon.core.risk.limits, name) != getattr(limits, name):
            return Reply(ok=False, told=f"{name} stays as it is: the minutes were over when the corridor took it")
        until = f"until {to_datetime(until_ns):%H:%M:%S} UTC, and then"
        return Reply(ok=True, told=f"{name} is {getattr(limits, name)} {until} {before} again")

    async def _take(self, command: Command) -> bool:
        """Publish a command and wait until the corridor has done it; return whether it has."""
        taken = asyncio.Event()
        self._taken[command] = taken
        try:
            self._daemon.inbox.publish(command)
            async with asyncio.timeout(TAKEN_WITHIN_S):
                await taken.wait()
        except TimeoutError:
            return False
        finally:
            del self._taken[command]
        return True

    def _on_command(self, command: Command) -> None:
        if taken := self._taken.get(replace(command, events=0)):  # on a tape the journal adds its place
            taken.set()

    async def _settle(self, *, positions: bool) -> None:
        """Give the venue a moment to confirm, so that the answer can say what is left."""
        core = self._daemon.core
        for _ in range(round(SETTLED_WITHIN_S / LOOK_EVERY_S)):
            if not core.orders.open and not (positions and any(core.portfolio.held())):
                return
            await self._sleep(LOOK_EVERY_S)

    async def _reload(self, request: Request) -> Reply:
        """Take over a changed file: what decides nothing, and limits that have become narrower; else nothing at all."""
        run = self._daemon.run
        new = from_dict(request.config or {})
        before, after = dict(flat(run.config.resolved())), dict(flat(new.resolved()))
        differing = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        plain = [key for key in differing if not key.startswith("risk.")]
        limits = self._tightened(new.risk)
        if fixed := [key for key in plain if not key.startswith(RELOADABLE) and not _names_a_model_file(key)]:
            told = f"{', '.join(fixed)} cannot change while the daemon runs; nothing was changed"
            raise ConfigError(f"{told}. Stop it, and start it with the new file")
        if limits and self._phase() == "starting":
            raise ConfigError("the daemon is starting; limits change when it has")
        put_into_force = self._checked(new)
        stage, deployer = self._daemon.stage, run.scoring.deployer
        swapped = await stage.reload(deployer, new.models, run.journal) if stage is not None and deployer else []
        put_into_force()
        run.config = new.model_copy(update={"risk": run.config.risk})
        for key in plain:
            structlog.get_logger().info("reloaded", key=key, before=before.get(key), after=after.get(key))
        for name in limits:
            now, value = self.now_ns(), json.dumps(getattr(new.risk, name), default=str)
            if not await self._take(Command("tighten", now, now, "reload", who=request.who, limit=name, value=value)):
                return NOT_TAKEN
        changed_keys = [
            *plain,
            *(f"risk.{name}" for name in limits),
            *(f"the file of model {name}" for name in swapped),
        ]
        return Reply(ok=True, told=f"changed {', '.join(changed_keys)}" if changed_keys else "nothing differs")

    def _tightened(self, new: RiskLimits) -> list[str]:
        """Return the limits that a file changes, every one of which has to be narrower than before."""
        old = self._daemon.core.risk.file_limits
        names = [name for name in SMALL_ACCOUNT if getattr(new, name) != getattr(old, name)]
        if beyond := [f"risk.{name}" for name, _, _ in wider(new, old)]:
            told = "would let more through, which a running daemon takes for minutes only (onetape override)"
            raise ConfigError(f"{', '.join(beyond)} {told}; nothing was changed")
        for name in FIXED.intersection(names):
            raise ConfigError(f"risk.{name} is being counted by and cannot change while the daemon runs")
        return names

    # --- how it stands ---------------------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the instant of what comes from outside: a tape's own on a tape."""
        daemon = self._daemon
        return daemon.clock.now_ns() if daemon.run.is_live else daemon.core.now_ns

    def events_per_s(self) -> float:
        """Return the rate over the last few seconds."""
        begun_ns, events = self._beats[0]
        return (self._daemon.core.events - events) * 1e9 / max(1, self._daemon.clock.monotonic_ns() - begun_ns)

    def quiet_s(self) -> float | None:
        """Return how long ago the newest bar, quote or trade came; None on a tape, and before the first."""
        if not self._daemon.run.is_live:
            return None
        # Looked for when somebody asks, so that nothing has to be kept for each event.
        markets = self._daemon.core.portfolio.markets.values()
        ticks = chain.from_iterable((market.quote, market.trade) for market in markets)
        newest = max((tick.ts_recv_ns for tick in ticks if tick is not None), default=0)
        newest = max([newest, *(market.bar_ns for market in markets)])
        return None if not newest else max(0.0, (self._daemon.clock.now_ns() - newest) / 1e9)

    def status(self) -> DaemonStatus:
        """Return the daemon as it is now."""
        daemon, tally = self._daemon, self._tally
        core, config = daemon.core, daemon.run.config
        portfolio = core.portfolio
        with localcontext(MONEY):
            return DaemonStatus(
                name=config.name, mode=config.mode, pid=os.getpid(), version=version("onetape"), phase=self._phase(),
                state=core.risk.state, cause=core.risk.cause, now_ns=self.now_ns(), events=core.events,
                events_per_s=self.events_per_s(), quiet_s=self.quiet_s(), inbox=len(daemon.inbox),
                conflated=daemon.inbox.conflated, cash_usd=portfolio.cash_usd, equity_usd=portfolio.equity,
                pnl_usd=portfolio.equity - float(portfolio.start_cash_usd), fees_usd=portfolio.fees_usd,
                halted_strategies=[book.name for book in portfolio.books.values() if book.halted],
                positions=self._positions(), orders=self._orders(), approvals=tally.approvals, fills=tally.fills,
                late_fills=tally.late_fills, denials=dict(tally.denials), updates=dict(tally.updates),
                over_budget=dict(daemon.stopwatch.over), streams=streams(daemon),
                reconciliations=daemon.reconciler.rounds, mismatches=daemon.reconciler.mismatches,
                alerts_unacknowledged=self._unacknowledged(), models=measures(daemon),
            )  # fmt: skip

    def _phase(self) -> Literal["starting", "warming_up", "trading"]:
        core = self._daemon.core
        if core.journal.following or not core.journal.seq:
            return "starting"
        return "warming_up" if core.warming_up else "trading"

    def _positions(self) -> list[PositionLine]:
        books = self._daemon.core.portfolio.books.values()
        return [self._line(book.name, one) for book in books for one in book.positions.values() if one.qty]

    def _line(self, strategy: str, position: Position) -> PositionLine:
        mark = self._daemon.core.portfolio.market(position.symbol).mark
        pnl_usd = float(position.qty) * mark - float(position.cost_usd)
        return PositionLine(strategy, position.symbol, position.qty, position.average_price, mark, pnl_usd)

    def _orders(self) -> list[OrderLine]:
        now = self.now_ns()
        return [
            OrderLine(
                order.id, order.strategy, order.symbol, order.side, order.type, order.qty, order.filled_qty,
                order.intent.limit_price, order.status, (now - order.created_ns) / 1e9,
            )
            for order in self._daemon.core.orders.open.values()
        ]  # fmt: skip


def streams(daemon: Daemon) -> dict[str, dict[str, int]]:
    """Return what feed and broker count: their `counts`, by stream; none where they have none."""
    found: dict[str, dict[str, int]] = {}
    for end in (daemon.run.feed, daemon.core.broker, daemon.stage):
        for name, counts in getattr(end, "counts", {}).items():
            found[name] = dict(counts) if isinstance(counts, Mapping) else msgspec.structs.asdict(counts)
    return found


def measures(daemon: Daemon) -> dict[str, dict[str, float]]:
    """Return what the health of each model that is watched last measured."""
    lanes = daemon.run.scoring.lanes if daemon.stage is None else [one.lane for one in daemon.stage.lanes]
    return {lane.label: dict(lane.health.measures) for lane in lanes if lane.health is not None}


def _names_a_model_file(key: str) -> bool:
    """Tell whether a key is `models.NAME.file`, which swaps the file in."""
    parts = key.split(".")
    return parts[0] == "models" and parts[2:] == ["file"]


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
