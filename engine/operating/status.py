"""What a person sees of a running daemon: a live table in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from engine.clock import to_datetime

if TYPE_CHECKING:
    from rich.console import RenderableType

    from engine.live import Daemon

LINE_EVERY_S = 10
POSITIONS_SHOWN = 20


@contextmanager
def view(daemon: Daemon) -> Iterator[Callable[[], None]]:
    """Yield a function that shows the daemon as it is now; call it twice a second."""
    rate = Rate(daemon)
    if not sys.stdout.isatty():
        yield lambda: _tell(daemon, rate)
        return
    from rich.live import Live

    with Live(auto_refresh=False, transient=True) as live:
        yield lambda: live.update(_table(daemon, rate), refresh=True)


class Rate:
    """Events a second since it was last asked."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._events, self._ns = daemon.core.events, daemon.clock.monotonic_ns()
        self.told_ns = self._ns

    def __call__(self) -> float:
        events, now = self._daemon.core.events, self._daemon.clock.monotonic_ns()
        rate = (events - self._events) / max(1e-9, (now - self._ns) / 1e9)
        self._events, self._ns = events, now
        return rate


def _tell(daemon: Daemon, rate: Rate) -> None:
    now = daemon.clock.monotonic_ns()
    if now - rate.told_ns < LINE_EVERY_S * 1e9:
        return
    rate.told_ns = now
    core = daemon.core
    structlog.get_logger().info(
        "status", state=core.risk.state, equity_usd=round(core.portfolio.equity, 2),
        cash_usd=str(core.portfolio.cash_usd), positions=sum(1 for _ in core.portfolio.held()),
        open_orders=len(core.orders.open),
        events_per_s=round(rate()), inbox=len(daemon.inbox), conflated=daemon.inbox.conflated,
    )  # fmt: skip


def _table(daemon: Daemon, rate: Rate) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    core, config = daemon.core, daemon.run.config
    portfolio = core.portfolio
    change = portfolio.equity - float(portfolio.start_cash_usd)
    where = "local venue" if getattr(config.feed.settings, "server_url", "") else config.mode
    state = {"active": "green", "reduce_only": "yellow", "halted": "bold red"}[core.risk.state]
    head = Table.grid(padding=(0, 3))
    head.add_row(
        Text(f"{config.name} ({where})", style="bold"), Text(core.risk.state, style=state),
        f"{to_datetime(core.now_ns):%Y-%m-%d %H:%M:%S} UTC",
        f"{core.events:,} events, {rate():,.0f}/s, {len(daemon.inbox)} waiting",
    )  # fmt: skip
    head.add_row(
        f"equity {portfolio.equity:,.2f}", Text(f"{change:+,.2f} USD", style="green" if change >= 0 else "red"),
        f"cash {portfolio.cash_usd:,.2f}", f"fees {portfolio.fees_usd:,.2f}, {len(core.orders.open)} open orders",
    )  # fmt: skip
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("strategy", "symbol", "position", "average", "last", "P&L"):
        table.add_column(name, justify="left" if name in ("strategy", "symbol") else "right", style="")
    rows = [
        (book.name, position)
        for book in portfolio.books.values()
        for position in book.positions.values()
        if position.qty
    ]
    for strategy, position in rows[:POSITIONS_SHOWN]:
        mark, average = portfolio.market(position.symbol).mark, position.average_price
        pnl = float(position.qty) * mark - float(position.cost_usd)
        table.add_row(
            strategy, position.symbol, f"{position.qty:,}", f"{average or 0:,.4f}", f"{mark:,.4f}",
            Text(f"{pnl:+,.2f}", style="green" if pnl >= 0 else "red"),
        )  # fmt: skip
    hidden = len(rows) - POSITIONS_SHOWN
    return Group(head, table, Text(f"and {hidden} more" if hidden > 0 else "" if rows else "no position", style="dim"))
