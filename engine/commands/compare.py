"""`onetape compare JOURNAL JOURNAL`: where two runs first decided otherwise."""

from pathlib import Path
from typing import Annotated

import typer

First = Annotated[Path, typer.Argument(metavar="JOURNAL", help="The journal of a run.", show_default=False)]
Second = Annotated[Path, typer.Argument(metavar="OTHER", help="The journal of another run.", show_default=False)]


def command(first: First, second: Second) -> None:
    """Compare the orders, denials, cancels and executions of two runs; name the first that differs."""
    from engine.record.compare import compare

    typer.echo(str(compare(first, second)))
