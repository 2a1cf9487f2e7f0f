"""`onetape verify JOURNAL`: the proof that a recorded run can be had again."""

from pathlib import Path
from typing import Annotated

import typer

Journal = Annotated[Path, typer.Argument(metavar="JOURNAL", help="The journal of a run.", show_default=False)]


def command(path: Journal) -> None:
    """Replay a recorded run and name the first record that differs."""
    from engine import daemon
    from engine.commands.progress import progress_bar

    with progress_bar() as progress:
        records, digest = daemon.verify(path, progress)
    typer.echo(f"{path}: {records:,} records done over, no difference (sha256 {digest})")
