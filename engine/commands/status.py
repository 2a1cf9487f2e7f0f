"""`onetape status RUN`: how a running daemon stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.operate import RunPath

if TYPE_CHECKING:
    from rich.console import RenderableType

    from engine.operating.control import DaemonStatus

HALTED = 3
Json = Annotated[bool, typer.Option("--json", help="As one line of JSON, with everything there is.")]


def command(path: RunPath, as_json: Json = False) -> None:
    """Show how a running daemon stands; exits with 0 while it trades, 3 halted, 4 when none answers."""
    from engine import config
    from engine.errors import ControlError
    from engine.operating.control import Request, request

    reply = request(config.run_folder(path), Request("status"))
    status = reply.status
    if status is None:
        raise ControlError(reply.told)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(status))
    else:
        from rich.console import Console

        Console().print(_page(status))
    raise typer.Exit(HALTED if status.phase == "trading" and status.state == "halted" else 0)


def _page(status: DaemonStatus) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from engine.clock import to_datetime

    shown = status.state if status.phase == "trading" else status.phase
    color = {"active": "green", "halted": "bold red"}.get(shown, "yellow")
    since = f" by {status.cause}" if status.cause else ""
    quiet = "" if status.quiet_s is None else f", newest {status.quiet_s:.1f} s ago"
    lines: list[RenderableType] = [
        Text.assemble(
            (f"{status.name} ({status.mode})  ", "bold"), (f"{shown.replace('_', '-')}{since}", color),
            f"  pid {status.pid}, {to_datetime(status.now_ns):%Y-%m-%d %H:%M:%S} UTC",
        ),
        f"equity {status.equity_usd:,.2f}  P&L {status.pnl_usd:+,.2f}  cash {status.cash_usd:,.2f} USD"
        f"  fees {status.fees_usd:,.2f}",
        f"{status.events:,} events, {status.events_per_s:,.0f}/s, {status.inbox} waiting{quiet}",
        f"{status.approvals} approved, {sum(status.denials.values())} denied, {_counted(status.fills, 'fill')}",
    ]  # fmt: skip
    counted = {"denied": status.denials, "over budget": status.over_budget, **status.streams}
    for name, counts in counted.items():
        if any(counts.values()):
            lines.append(f"{name}: " + ", ".join(f"{key} {number:,}" for key, number in counts.items() if number))
    for name, measures in status.models.items():
        lines.append(f"health of {name}: " + ", ".join(f"{key} {value:.3g}" for key, value in measures.items()))
    if status.halted_strategies:
        lines.append(Text(f"halted strategies: {', '.join(status.halted_strategies)}", style="bold red"))
    if status.alerts_unacknowledged:
        waiting = _counted(status.alerts_unacknowledged, "alert")
        lines.append(Text(f"{waiting} to acknowledge: onetape acknowledge", style="bold red"))
    for title, names, rows in _tables(status):
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for name in names:
            table.add_column(name)
        for row in rows:
            table.add_row(*row)
        if rows:
            lines.append(table)
    return Group(*lines)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _tables(status: DaemonStatus) -> Iterator[tuple[str, Sequence[str], list[Sequence[str]]]]:
    names = ("strategy", "symbol", "qty", "average", "last", "P&L")
    yield "positions", names, [
        (one.strategy, one.symbol, f"{one.qty:f}", f"{one.average_price or 0:,.4f}", f"{one.mark or 0:,.4f}",
         f"{one.pnl_usd or 0:+,.2f}")
        for one in status.positions
    ]  # fmt: skip
    yield "open orders", ("id", "symbol", "side", "filled", "type", "status", "age"), [
        (one.client_order_id, one.symbol, one.side, f"{one.filled_qty:f}/{one.qty:f}", one.type, one.status,
         f"{one.age_s:,.0f} s")
        for one in status.orders
    ]  # fmt: skip
