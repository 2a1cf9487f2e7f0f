"""`onetape run CONFIG`: the daemon."""

from typing import Annotated

import typer

from engine.commands.options import ConfigPath, Overrides, naming

Check = Annotated[bool, typer.Option("--check", help="Validate everything, print the resolved plan and stop.")]
Live = Annotated[bool, typer.Option("--live", help="Second key to real money: needed when the file says mode = live.")]


def command(path: ConfigPath, overrides: Overrides = None, check: Check = False, live: Live = False) -> None:
    """Trade a configuration as a daemon: a recorded tape, paper or live."""
    from engine import config
    from engine.errors import ConfigError

    run = config.load(path, overrides or ())
    if live and run.mode != "live":
        raise ConfigError(f"{path}: --live was given, but mode is {run.mode!r}")
    if run.mode == "live" and not live and not check:
        raise ConfigError(f"{path}: mode is 'live' and trades real money; say so a second time with --live")
    from engine import daemon  # a file that is wrong is told before anything else is imported

    with naming(path):
        if check:
            typer.echo(daemon.check(run))
            return
        code = daemon.run(run)
    raise typer.Exit(code)
