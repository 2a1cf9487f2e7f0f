"""What stands beside a daemon's corridor: control line, heartbeat, alerts, metrics, and the watchdog if it is ours.

The daemon enters it before it begins and leaves it last. An end by an error is told, and leaves the heartbeat behind,
so that the watchdog takes over unless the daemon is started again in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from engine import logs
from engine.clock import LiveClock
from engine.config import RunConfig
from engine.errors import ConfigError
from engine.events import Command, OrderUpdate
from engine.operating import watchdog
from engine.operating.alerts import Alerts, unacknowledged
from engine.operating.control import FOLDER, ControlServer, private_folder
from engine.operating.heartbeat import BEAT_EVERY_S, Heartbeat
from engine.operating.lookout import Lookout
from engine.operating.metrics import Collector, MetricsServer, Process, Stages
from engine.operating.observers import DecisionLog, Observers
from engine.operating.operator import Operator

if TYPE_CHECKING:
    from engine.live import Daemon

FIRST_WORDS = frozenset({"accepted", "held", "rejected"})


def check(config: RunConfig) -> None:
    """Say what would keep a run from being operated, before there is anything of it.

    Raises:
        ConfigError: a webhook's variable is not set; a live run has none, or its alerts wait to be acknowledged.
    """
    Alerts(config.alerts, LiveClock(), name=config.name)
    if config.mode != "live":
        return
    if config.alerts.webhook_env is None:
        raise ConfigError("a live run has to have somebody to tell: set alerts.webhook_env (docs/operations.md)")
    if waiting := unacknowledged(config.out_dir / FOLDER):
        told = f"{len(waiting)} critical alerts of this run are not acknowledged"
        raise ConfigError(f"{told}; read them with: onetape acknowledge {config.out_dir}")


class Operations:
    """Everything that operates one daemon.

    Attributes:
        alerts: for what the daemon itself has to tell.

    Raises:
        ConfigError: the control folder is not its owner's alone, a port is taken, a variable is not set.
    """

    def __init__(self, daemon: Daemon) -> None:
        config = daemon.run.config
        check(config)
        folder = private_folder(config.out_dir / FOLDER)
        clock, observers = daemon.clock, Observers(daemon.run.journal)
        self._daemon, self._journal, self._clock = daemon, daemon.run.journal, clock
        self.alerts = Alerts(config.alerts, clock, name=config.name, folder=folder)
        self._operator = Operator(
            daemon, observers, unacknowledged=lambda: len(unacknowledged(folder)), reload=self._reload
        )
        DecisionLog(observers)
        self._lookout = Lookout(daemon, observers, self.alerts)
        self._control = ControlServer(folder, self._operator.answer)
        self._heartbeat = Heartbeat(folder)
        self._stages = Stages(clock)
        self._metrics: MetricsServer | None = None
        if config.metrics.port is not None:
            status = self._operator.status
            collector = Collector(status, self._stages, self.alerts)
            self._metrics = MetricsServer(config.metrics.port, collector, status, self._stages)
            observers.observe(OrderUpdate, self._on_update)
        self._stack = AsyncExitStack()

    def timed(self, process: Process) -> Process:
        """Return `process`, with a watch on it where metrics are wanted."""
        return process if self._metrics is None else self._stages.timed(process, is_live=self._daemon.run.is_live)

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self.alerts.close)
        try:
            for server in (self._control, self._metrics):
                if server is not None:
                    await server.open()
                    self._stack.push_async_callback(server.close)
            self._heartbeat.open()
            if self._daemon.run.config.watchdog.start:
                watchdog.launch(self._daemon.run.config.out_dir)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(0)  # let the observers see the last records
        if isinstance(error, Exception):
            self.alerts.raise_alert("end", "critical", "the daemon ends", why=f"{type(error).__name__}: {error}")
        has_begun = self._journal.seq > 0 or self._journal.following
        if error is None or not has_begun:
            self._heartbeat.close()
        else:
            self._heartbeat.leave()
        await self._stack.aclose()

    async def run(self) -> None:
        """Give signs of life and keep a lookout, until canceled; what goes wrong in it ends the run."""
        watching: list[asyncio.Task[None]] = []
        if self._metrics is not None:
            watching.append(asyncio.create_task(self._metrics.watch_loop(self._clock), name="loop lag"))
        try:
            while True:
                self.look()
                await asyncio.sleep(BEAT_EVERY_S)
                for task in watching:
                    if task.done():
                        task.result()  # it ends by an error alone
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    def look(self) -> None:
        """Give one sign of life, and look around once."""
        told = self._heartbeat.beat()
        if told and not self._journal.following and self._journal.seq:
            now = self._operator.now_ns()
            self._daemon.inbox.publish(Command("halt", now, now, told))
            self._heartbeat.resume()
        self._operator.beat()
        self._lookout.look()

    def _reload(self, config: RunConfig) -> Callable[[], None]:
        Alerts(config.alerts, self._clock, name=config.name)  # raises where its variable leads nowhere

        def put_into_force() -> None:
            self.alerts.reload(config.alerts)
            logs.set_level(config.log.level)

        return put_into_force

    def _on_update(self, update: OrderUpdate) -> None:
        order = self._daemon.core.orders.orders.get(update.client_order_id)
        if order is not None and update.status in FIRST_WORDS:
            self._stages.acknowledgment.observe(update.ts_recv_ns - order.created_ns)
