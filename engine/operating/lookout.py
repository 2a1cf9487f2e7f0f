"""From what a daemon does to the alerts that a person needs: halts, outages, differences, a full disk.

It sees decisions as an observer and the rest once a second, and changes nothing.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engine.events import LateFill, LimitChanged, Link, Reconciliation, StrategyHalted, TradingStateChanged
from engine.operating.alerts import Alerts
from engine.operating.heartbeat import DEAD_MAN
from engine.operating.observers import Observers
from engine.risk.post_trade import PostTrade

if TYPE_CHECKING:
    from engine.live import Daemon

OPERATOR = "operator"
OWN_WORDS = (DEAD_MAN, PostTrade.label)
"""How a command begins that no person gave."""
DOWN_WARN_S, DOWN_CRITICAL_S = 10.0, 60.0
DISK_FREE_MIN_BYTES = 512 << 20
INBOX_FULL_FRACTION = 0.5


class Lookout:
    """Watches one daemon."""

    def __init__(self, daemon: Daemon, observers: Observers, alerts: Alerts) -> None:
        self._daemon, self._alerts = daemon, alerts
        self._over: dict[str, int] = {}
        self._down_since_ns: dict[str, int] = {}
        observers.observe(TradingStateChanged, self._on_state)
        observers.observe(StrategyHalted, self._on_strategy)
        observers.observe(LateFill, self._on_late_fill)
        observers.observe(LimitChanged, self._on_limit)
        observers.observe(Reconciliation, self._on_reconciliation)
        observers.observe(Link, self._on_link)

    def look(self) -> None:
        """Look at what no record tells; called once a second."""
        daemon, alerts = self._daemon, self._alerts
        for strategy, times in daemon.stopwatch.over.items():
            if times > self._over.get(strategy, 0):
                self._over[strategy] = times
                alerts.raise_alert(
                    "over_budget", "warning", f"strategy {strategy} is over its time budget", times=times
                )
        if daemon.run.is_live:
            self._link("market data", is_up=getattr(daemon.run.feed, "is_connected", True))
        self._look_at_outages()
        if len(daemon.inbox) > daemon.inbox.capacity * INBOX_FULL_FRACTION:
            alerts.raise_alert("inbox", "warning", "the corridor does not keep up", waiting=len(daemon.inbox))
        with suppress(OSError):  # a disk that is gone is told by the journal
            free = shutil.disk_usage(daemon.run.config.out_dir).free
            if free < DISK_FREE_MIN_BYTES:
                alerts.raise_alert("disk", "critical", "the disk is almost full", free_mib=free >> 20)

    def _link(self, name: str, *, is_up: bool) -> None:
        if is_up:
            self._down_since_ns.pop(name, None)
        else:
            self._down_since_ns.setdefault(name, self._daemon.clock.monotonic_ns())

    def _look_at_outages(self) -> None:
        now_ns = self._daemon.clock.monotonic_ns()
        for name, since_ns in self._down_since_ns.items():
            down_s = (now_ns - since_ns) / 1e9
            if down_s >= DOWN_CRITICAL_S:
                self._alerts.raise_alert(
                    "link", "critical", f"{name}: no connection for a minute", down_s=round(down_s)
                )
            elif down_s >= DOWN_WARN_S:
                self._alerts.raise_alert("link", "warning", f"{name}: no connection", down_s=round(down_s))

    def _on_state(self, changed: TradingStateChanged) -> None:
        word = {"active": "active", "reduce_only": "reduce-only", "halted": "halted"}[changed.state]
        why: dict[str, Any] = {"control": changed.control, "why": changed.reason}
        why["is_logged"] = changed.state != "active"
        if changed.control == OPERATOR and not changed.reason.startswith(OWN_WORDS):
            self._alerts.raise_alert("trading", "info", f"the operator made trading {word}", **why)
        elif changed.state == "halted":
            self._alerts.raise_alert("halt", "critical", "trading is halted", **why)
        elif changed.state == "reduce_only":
            self._alerts.raise_alert("reduce_only", "warning", "trading is reduce-only", **why)

    def _on_strategy(self, halted: StrategyHalted) -> None:
        text = f"strategy {halted.strategy} is halted"
        self._alerts.raise_alert(
            "strategy_halt", "critical", text, is_logged=True, control=halted.control, why=halted.reason
        )

    def _on_limit(self, changed: LimitChanged) -> None:
        fields: dict[str, Any] = {
            "before": changed.before,
            "after": changed.after,
            "who": changed.who,
            "why": changed.reason,
        }
        if changed.ts_expire_ns:
            self._alerts.raise_alert("override", "warning", f"limit {changed.limit} is overridden", **fields)
        else:
            self._alerts.raise_alert("override_end", "info", f"limit {changed.limit} is what the file says", **fields)

    def _on_late_fill(self, late: LateFill) -> None:
        text = "an execution came after its order's end, and was booked"
        fields: dict[str, Any] = {"order": late.client_order_id, "status": late.status}
        self._alerts.raise_alert("late_fill", "warning", text, is_logged=True, **fields)

    def _on_reconciliation(self, found: Reconciliation) -> None:
        if found.disagreeing:
            symbols = ", ".join(found.disagreeing)
            text = "the broker's positions differ from our books"
            self._alerts.raise_alert("mismatch", "critical", text, symbols=symbols, why=found.reason)

    def _on_link(self, link: Link) -> None:
        self._link(link.name, is_up=link.up)
