"""`onetape run CONFIG`: the daemon."""

import sys
from functools import partial
from typing import Annotated

import typer

from engine.commands.options import ConfigPath, Overrides, naming

Check = Annotated[bool, typer.Option("--check", help="Validate everything, print the resolved plan and stop.")]
Live = Annotated[bool, typer.Option("--live", help="Second key to real money: needed when the file says mode = live.")]
Anew = Annotated[bool, typer.Option("--anew", help="Begin a new run; the journal that is there is kept beside it.")]

Account = Annotated[
    str,
    typer.Option(
        "--account",
        metavar="NUMBER",
        help="Third key to real money: its account, where nobody can type that at a terminal.",
    ),
]


def command(
    path: ConfigPath, overrides: Overrides = None, check: Check = False, anew: Anew = False, live: Live = False,
    account: Account = "",
) -> None:  # fmt: skip
    """Trade a configuration as a daemon: a recorded tape, paper or live."""
    from engine import config

    run = config.load(path, overrides or ())
    from engine import daemon, interlock  # a file that is wrong is told before anything else is imported
    from engine.clock import LiveClock

    with naming(path, overrides):
        if check:
            typer.echo(daemon.check(run))
            return
        ask = partial(_account, run.name) if sys.stdin.isatty() else None
        leave = interlock.unlock(run, live=live, account=account, ask=ask, clock=LiveClock())
        code = daemon.run(run, leave, anew=anew)
    raise typer.Exit(code)


def _account(name: str) -> str:
    """Have a person type the account's number: a line recalled from the shell's history must not trade."""
    typed: str = typer.prompt(f"{name} trades real money. Type the number of its account")
    return typed
