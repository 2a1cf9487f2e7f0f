"""`onetape bench`: measure this machine and print the table that the README quotes."""

from typing import Annotated

import typer

Suite = Annotated[str, typer.Argument(help="What to measure: replay, startup, live, model, or all.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
Long = Annotated[bool, typer.Option("--long", help="Also 20 million bars, and two hours of a live session.")]
Peers = Annotated[
    list[str] | None,
    typer.Option(
        "--peer", metavar="NAME=COMMAND", show_default=False,
        help="Another engine on the same bars: a command in which {bars} is the file, and whose last line is JSON with "
        "bars_per_s.",
    ),
]  # fmt: skip


def command(suite: Suite = "all", as_json: AsJson = False, long: Long = False, peers: Peers = None) -> None:
    """Measure replay, orders, memory, start-up, the live path and models on this machine."""
    from bench.table import run

    run(suite, as_json=as_json, long=long, peers=peers or [])
