"""`onetape server`: the local venue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG]", help="TOML with the tables server, feed and faults.")
]
Tapes = Annotated[
    list[Path] | None,
    typer.Option("--tape", help="A tape or a folder of them, in place of the one in the file.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one option, such as server.speed=60.", show_default=False),
]
Port = Annotated[int | None, typer.Option("--port", help="In place of server.port.", show_default=False)]
Faults = Annotated[bool, typer.Option("--faults", help="List the faults that it can produce, and stop.")]
Check = Annotated[bool, typer.Option("--check", help="Say what would be served, and stop.")]


def command(
    path: Config = None, tapes: Tapes = None, overrides: Overrides = None, port: Port = None, check: Check = False,
    faults: Faults = False,
) -> None:  # fmt: skip
    """Serve a venue that speaks Alpaca's protocol on this machine, without a network or a key.

    It plays a tape, by default a made-up day, matches orders against it, and answers Alpaca's REST and stream paths.
    """
    from brokers.alpaca_server import launch

    if faults:
        typer.echo(launch.faults())
        return
    chosen = launch.load(
        path, tapes or [], [*(overrides or []), *([f"server.port={port}"] if port is not None else [])]
    )
    typer.echo(launch.plan(chosen))
    if not check:
        launch.serve(chosen, typer.echo)
