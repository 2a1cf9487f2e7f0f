"""The commands that speak to a running daemon: halt, resume, flatten, override, reload and the like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.options import ConfigPath, Overrides

if TYPE_CHECKING:
    from engine.operating.control import Ask, DaemonStatus, Reply

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run's TOML file, or the folder it writes to.", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the journal.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask back.")]
ReduceOnly = Annotated[bool, typer.Option("--reduce-only", help="Only stop new entries.")]
Direct = Annotated[
    bool, typer.Option("--direct", help="Go to the broker without the daemon: for when it does not answer.")
]
Once = Annotated[
    bool, typer.Option("--once", help="End with a daemon that ends as it should, not with one that is killed.")
]


def halt(path: RunPath, reason: Reason = "", reduce_only: ReduceOnly = False) -> None:
    """Stop trading at once: entries are canceled, only reductions pass until you resume."""
    _tell(_ask(path, "reduce_only" if reduce_only else "halt", reason))


def resume(path: RunPath, reason: Reason = "", yes: Yes = False) -> None:
    """Let a halted run trade again."""
    status = _status(path)
    why = f" by {status.cause}" if status.cause else ""
    _confirm(f"{status.name} ({status.mode}) is {status.state}{why}, and will trade again.", status, yes=yes)
    _tell(_ask(path, "resume", reason))


def cancel_all(path: RunPath, reason: Reason = "", direct: Direct = False) -> None:
    """Cancel every open order of the run; trading goes on."""
    if direct:
        typer.echo(_cancel_directly(path))
        return
    _tell(_ask(path, "cancel_all", reason))


def flatten(path: RunPath, reason: Reason = "", yes: Yes = False) -> None:
    """Halt, cancel every open order, and close every position at the market."""
    status = _status(path)
    closing = [f"{'sell' if one.qty > 0 else 'buy back'} {abs(one.qty):f} {one.symbol}" for one in status.positions]
    told = [f"{status.name} ({status.mode}) is halted", f"open orders are canceled ({len(status.orders)} now)"]
    _confirm("\n  ".join([*told, *(f"{words} at the market" for words in closing)]), status, yes=yes)
    _tell(_ask(path, "flatten", reason))


def override(
    path: RunPath,
    limit: Annotated[
        str,
        typer.Argument(metavar="LIMIT", help="A limit of the table [risk], such as max_order_qty.", show_default=False),
    ],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What it is to be meanwhile.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the journal.")],
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", help="For how long, 15 at most.")] = 15.0,
    yes: Yes = False,
) -> None:
    """Change one limit of a running daemon for some minutes; who, why and both values go into the journal."""
    from engine.operating.control import Request, request
    from engine.risk.override import check_asked

    who = _who()
    check_asked(who, reason, minutes, limit, value)  # before anybody is asked to agree to it
    status = _status(path)
    _confirm(f"{status.name} ({status.mode}) will go by {limit} = {value} for {minutes:g} minutes.", status, yes=yes)
    folder = _folder(path)
    _tell(request(folder, Request("override", reason, who=who, limit=limit, value=value, minutes=minutes)))


def reload(path: ConfigPath, overrides: Overrides = None) -> None:
    """Take over from the file what may change under a running daemon: log level, alerts, narrower limits, models."""
    from engine import config
    from engine.operating.control import Request, request

    run = config.load(path, overrides or ())
    _tell(request(run.out_dir, Request("reload", config=run.resolved(), who=_who())))


def acknowledge(path: RunPath, yes: Yes = False) -> None:
    """Show the critical alerts of a run that nobody has acknowledged yet, and acknowledge them."""
    from engine import config
    from engine.operating import alerts
    from engine.operating.control import FOLDER

    folder = config.run_folder(path) / FOLDER
    waiting = alerts.unacknowledged(folder)
    for alert in waiting:
        fields = ", ".join(f"{key}: {value}" for key, value in alert.get("fields", {}).items())
        typer.echo(f"{alert.get('ts')}  {alert.get('text')}{fields and f' ({fields})'}")
    if not waiting:
        typer.echo("no alert waits")
        return
    if not yes:
        typer.confirm("Acknowledge them?", abort=True)
    alerts.acknowledge(folder)


def watchdog(path: RunPath, once: Once = False) -> None:
    """Watch a run's heartbeat, and cancel its entries when it stops."""
    from engine import config
    from engine.operating import watchdog as dead_man

    dead_man.run(config.outline(path), once=once)


def _ask(path: Path, ask: Ask, reason: str = "") -> Reply:
    from engine.operating.control import Request, request

    return request(_folder(path), Request(ask, reason, who=_who()))


def _folder(path: Path) -> Path:
    from engine import config

    return config.run_folder(path)


def _who() -> str:
    """Return the name of the person at the keyboard, behind sudo too."""
    import getpass
    import os

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        return str(os.getuid())


def _status(path: Path) -> DaemonStatus:
    from engine.errors import ControlError

    reply = _ask(path, "status")
    if reply.status is None:
        raise ControlError(reply.told or "the daemon did not say how it stands")
    return reply.status


def _tell(reply: Reply) -> None:
    from engine.errors import ControlError

    if not reply.ok:
        raise ControlError(reply.told)
    typer.echo(reply.told)


def _confirm(told: str, status: DaemonStatus, *, yes: bool) -> None:
    """Say what will happen and ask back; real money wants the run's name typed."""
    typer.echo(told)
    if yes:
        return
    if status.mode != "live":
        typer.confirm("Go on?", abort=True)
    elif typer.prompt("This is real money. Type the run's name to go on") != status.name:
        typer.echo("That is not its name; nothing was done.", err=True)
        raise typer.Exit(1)


def _cancel_directly(path: Path) -> str:
    import asyncio

    from engine import config
    from engine.errors import ConfigError
    from engine.operating.watchdog import emergency

    outline = config.outline(path)
    venue = emergency(outline)
    if venue is None:
        raise ConfigError(
            f"broker '{outline.broker.use}' lives inside the daemon; there is nothing to cancel outside it"
        )

    async def cancel() -> int:
        try:
            return await venue.cancel_all()
        finally:
            await venue.close()

    canceled = asyncio.run(cancel())
    return f"{canceled} orders were canceled at the broker; the daemon, if it lives, was not asked"
