"""The dead man's switch: a process of its own that cancels entries when the daemon gives no sign of life.

It has its own way to the venue, because a daemon that hangs cannot be asked to do it. It never trades: what opens or
adds to a position is canceled, what protects one stays. It first leaves word, so that the next daemon halts before it
decides anything else, and ends the one that hangs, because what that would send when it came to is stale.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog

from engine import logs, plugins
from engine.clock import Clock, LiveClock
from engine.config.tables import RunOutline, WatchdogConfig
from engine.errors import ConfigError
from engine.lock import locked
from engine.operating import heartbeat
from engine.operating.alerts import Alerts
from engine.operating.control import FOLDER, private_folder
from engine.ports import Emergency

Sleep = Callable[[float], Awaitable[None]]

LOOK_EVERY_S = 1.0
CANCEL_WITHIN_S, RETRY_MIN_S, RETRY_MAX_S = 10.0, 1.0, 15.0
STALL_S = 5.0
"""A pause of our own that is longer counts for nothing: whatever stopped us may have stopped the daemon as well."""
ABSENT_MAX_S = 10.0
LOCK = "watchdog.lock"


class Watchdog:
    """Looks at one daemon's heartbeat.

    Args:
        emergency: the way to the venue, None where the venue lives inside the daemon: then it only alerts.

    Attributes:
        is_armed: whether a daemon was seen that has not ended as it should.
    """

    def __init__(
        self, folder: Path, settings: WatchdogConfig, *, clock: Clock, alerts: Alerts, emergency: Emergency | None
    ) -> None:
        self._folder, self._settings, self._clock = folder, settings, clock
        self._alerts, self._emergency = alerts, emergency
        self.is_armed = False
        self._seen: int | None = None
        self._since_ns = self._looked_ns = clock.monotonic_ns()
        self._has_alerted = self._has_canceled = False
        self._retry_ns, self._retry_s = 0, RETRY_MIN_S

    async def look(self) -> None:
        """Look once, and do what the length of the silence asks for."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns > STALL_S * 1e9:
            self._since_ns += now_ns - self._looked_ns
        self._looked_ns = now_ns
        seen = heartbeat.seen(self._folder)
        if seen != self._seen:
            self._on_life(seen)
            return
        silent_s = (now_ns - self._since_ns) / 1e9
        if not self.is_armed or silent_s < self._settings.alert_after_s:
            return
        if not self._has_alerted:
            self._has_alerted = True
            self._alerts.raise_alert(
                "heartbeat", "critical", "the daemon gives no sign of life", silent_s=round(silent_s)
            )
        if silent_s >= self._settings.cancel_after_s and not self._has_canceled and now_ns >= self._retry_ns:
            await self._cancel(silent_s)

    def absent_s(self) -> float:
        """Return for how long there has been no daemon to look at."""
        return 0.0 if self.is_armed else (self._clock.monotonic_ns() - self._since_ns) / 1e9

    def _on_life(self, seen: int | None) -> None:
        if self._has_alerted and seen is not None:
            self._alerts.raise_alert("heartbeat_back", "info", "the daemon is back")
        if self.is_armed != (seen is not None):
            structlog.get_logger().info(
                "the daemon is alive" if seen is not None else "the daemon has ended as it should"
            )
        self._seen, self.is_armed, self._since_ns = seen, seen is not None, self._looked_ns
        self._has_alerted = self._has_canceled = False
        self._retry_ns, self._retry_s = 0, RETRY_MIN_S

    async def _cancel(self, silent_s: float) -> None:
        told = f"{heartbeat.DEAD_MAN}: no heartbeat for {silent_s:.0f} s >= {self._settings.cancel_after_s:g} s"
        with suppress(OSError):  # a full disk does not keep orders open
            heartbeat.trip(self._folder, told)
        if self._emergency is None:
            self._has_canceled = True
            return
        if heartbeat.end_daemon(self._folder):
            self._alerts.raise_alert("daemon_ended", "critical", "the daemon hung and was ended")
        try:
            async with asyncio.timeout(CANCEL_WITHIN_S):
                canceled = await self._emergency.cancel_entries()
        except Exception as error:  # whatever it is: nobody else is left to try again
            self._retry_ns = self._clock.monotonic_ns() + round(self._retry_s * 1e9)
            self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)
            why = str(error) or type(error).__name__
            self._alerts.raise_alert("dead_man_failed", "critical", "entries cannot be canceled", why=why)
            return
        finally:
            self._looked_ns = self._clock.monotonic_ns()
        self._has_canceled = True
        self._alerts.raise_alert("dead_man", "critical", "entries were canceled, positions stay", orders=canceled)


async def watch(watchdog: Watchdog, *, once: bool, sleep: Sleep = asyncio.sleep) -> None:
    """Look every second; with `once`, until the daemon ends as it should or none has come for ten seconds."""
    was_armed = False
    while True:
        await watchdog.look()
        if once and not watchdog.is_armed and (was_armed or watchdog.absent_s() > ABSENT_MAX_S):
            return
        was_armed = watchdog.is_armed
        await sleep(LOOK_EVERY_S)


def run(outline: RunOutline, *, once: bool) -> None:
    """Be the watchdog of a run until stopped.

    Raises:
        ConfigError: another one watches it already, or the way to the venue is not configured.
    """
    folder = private_folder(outline.out_dir / FOLDER)
    clock = LiveClock()
    with locked(folder / LOCK, f"another watchdog looks after {folder.parent} already"):
        logs.configure(clock=clock)
        try:
            asyncio.run(_run(outline, folder, clock, once=once))
        finally:
            logs.close()


def emergency(outline: RunOutline) -> Emergency | None:
    """Return a run's own way to its venue, None where the venue lives inside the daemon.

    Raises:
        ConfigError: keys are missing, for example.
    """
    broker = plugins.load(plugins.BROKER, outline.broker.use)
    if broker.simulated:
        return None
    if not hasattr(broker, "emergency"):
        raise ConfigError(f"broker '{outline.broker.use}' has no `emergency`: only its daemon can cancel its orders")
    made: Emergency = broker.emergency(outline.broker.settings, mode=outline.mode, name=outline.name)
    for text in made.secrets:
        logs.mask(text)
    return made


def launch(out_dir: Path) -> subprocess.Popen[bytes]:
    """Start a watchdog that outlives us if we are killed, and ends when we end as we should."""
    with (out_dir / "watchdog.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.cli", "watchdog", str(out_dir), "--once"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


async def _run(outline: RunOutline, folder: Path, clock: Clock, *, once: bool) -> None:
    venue = emergency(outline)
    alerts = Alerts(outline.alerts, clock, name=outline.name, folder=folder)
    watchdog = Watchdog(folder, outline.watchdog, clock=clock, alerts=alerts, emergency=venue)
    watching = asyncio.create_task(watch(watchdog, once=once))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
    structlog.get_logger().info("watching", run=outline.name, cancels=venue is not None)
    try:
        with suppress(asyncio.CancelledError):
            await watching
    finally:
        await alerts.close()
        if venue is not None:
            await venue.close()
