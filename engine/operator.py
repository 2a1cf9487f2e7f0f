"""What a person may ask of a running daemon: how it stands, and that it halts, resumes, cancels, closes or reloads.

A word that changes anything is published as a `Command`, journaled and taken by the corridor in its turn like every
other event; the answer comes once it was.
"""

from __future__ import annotations

import asyncio
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

from engine.config import RunConfig, from_dict
from engine.config.tables import flat
from engine.control import DaemonStatus, OrderLine, PositionLine, Reply, Request
from engine.errors import ConfigError
from engine.events import Command
from engine.observers import Observers, Tally
from engine.portfolio import MONEY, Position

if TYPE_CHECKING:
    from engine.live import Daemon

Sleep = Callable[[float], Awaitable[None]]

TAKEN_WITHIN_S, SETTLED_WITHIN_S, LOOK_EVERY_S = 5.0, 5.0, 0.05
RATE_OVER_BEATS = 5
RELOADABLE = ("log.level", "alerts.")
"""What may change under a running daemon: keys, or their beginnings. None of it decides anything."""


class Operator:
    """Answers for one daemon.

    Args:
        unacknowledged: returns how many alerts nobody has acknowledged.
        reload: makes the keys that a new configuration changes take effect.
    """

    def __init__(
        self, daemon: Daemon, observers: Observers, *, unacknowledged: Callable[[], int] = lambda: 0,
        reload: Callable[[RunConfig], None] = lambda config: None, sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._daemon, self._tally, self._sleep = daemon, Tally(observers), sleep
        self._unacknowledged, self._reload_into = unacknowledged, reload
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
            return self._reload(request.config or {})
        return await self._command(request)

    # --- commands --------------------------------------------------------------------------------------------------

    async def _command(self, request: Request) -> Reply:
        if self._phase() == "starting":
            return Reply(ok=False, told="the daemon is starting and trades nothing yet; ask again when it has")
        # Flat is only what stays flat: before positions are closed, nothing may open new ones.
        actions: tuple[Any, ...] = ("halt", "flatten") if request.ask == "flatten" else (request.ask,)
        for action in actions:
            if not await self._take(action, request.reason):
                told = f"the corridor has not taken it within {TAKEN_WITHIN_S:g} s; it will when it can"
                return Reply(ok=False, told=f"{told}. Ask for the status")
        if request.ask in ("cancel_all", "flatten"):
            await self._settle(positions=request.ask == "flatten")
        core = self._daemon.core
        held = sum(1 for book in core.portfolio.books.values() for one in book.positions.values() if one.qty)
        told = f"trading is {core.risk.state.replace('_', '-')}, {_count(len(core.orders.open), 'open order')}"
        return Reply(ok=True, told=f"{told}, {_count(held, 'position')}", status=self.status())

    async def _take(self, action: Literal["halt", "reduce_only", "resume", "cancel_all", "flatten"], why: str) -> bool:
        """Publish a command and wait until the corridor has done it; return whether it has."""
        now = self.now_ns()
        command, taken = Command(action, now, now, why), asyncio.Event()
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

    def _reload(self, tree: dict[str, Any]) -> Reply:
        run = self._daemon.run
        new = from_dict(tree)
        before, after = dict(flat(run.config.resolved())), dict(flat(new.resolved()))
        changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        fixed = [key for key in changed if not key.startswith(RELOADABLE)]
        if fixed:
            told = f"{', '.join(fixed)} cannot change while the daemon runs; nothing was changed"
            raise ConfigError(f"{told}. Stop it, and start it with the new file")
        self._reload_into(new)
        run.config = new
        for key in changed:
            structlog.get_logger().info("reloaded", key=key, before=before.get(key), after=after.get(key))
        return Reply(ok=True, told=f"changed {', '.join(changed)}" if changed else "nothing differs")

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
        known = chain.from_iterable((market.bar, market.quote, market.trade) for market in markets)
        newest = max((event.ts_recv_ns for event in known if event is not None), default=None)
        return None if newest is None else max(0.0, (self._daemon.clock.now_ns() - newest) / 1e9)

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
                alerts_unacknowledged=self._unacknowledged(),
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
    for end in (daemon.run.feed, daemon.core.broker):
        for name, counts in getattr(end, "counts", {}).items():
            found[name] = dict(counts) if isinstance(counts, Mapping) else msgspec.structs.asdict(counts)
    return found


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
