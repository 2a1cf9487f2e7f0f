"""`onetape server`: the local venue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

BEHIND = "onetape.command"


class Accompanied(TyperCommand):
    """Keep what follows `--` for the command that runs beside the venue; the parser would drop the dashes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            ctx.meta[BEHIND], args = args[place + 1 :], args[:place]
            if not ctx.meta[BEHIND]:
                ctx.fail("no command behind the two dashes")
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


app = typer.Typer(add_completion=False)

Config = Annotated[Path | None, typer.Argument(metavar="CONFIG", help="TOML with the tables server, feed and faults.")]
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


@app.command("server", cls=Accompanied)
def command(
    context: typer.Context, path: Config = None, tapes: Tapes = None, overrides: Overrides = None, port: Port = None,
    check: Check = False, faults: Faults = False,
) -> None:  # fmt: skip
    """Serve a venue that speaks Alpaca's protocol on this machine, without a network or a key.

    It plays a tape, by default a made-up day, matches orders against it, and answers Alpaca's REST and stream paths.
    With a COMMAND behind two dashes it runs that beside it, and ends with it.
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
        raise typer.Exit(launch.serve(chosen, typer.echo, context.meta.get(BEHIND, ())))
