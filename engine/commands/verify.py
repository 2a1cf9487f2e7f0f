"""`onetape verify JOURNAL`: the proof that a recorded run can be had again."""

from pathlib import Path
from typing import Annotated

import typer

Journal = Annotated[Path, typer.Argument(metavar="JOURNAL", help="The journal of a run.", show_default=False)]
Rescore = Annotated[bool, typer.Option("--rescore", help="Let the run's models score again, and compare.")]


def command(path: Journal, rescore: Rescore = False) -> None:
    """Replay a recorded run and name the first record that differs."""
    from engine import daemon
    from engine.commands.progress import progress_bar

    with progress_bar() as progress:
        records, digest = daemon.verify(path, progress)
    typer.echo(f"{path}: {records:,} records done over, no difference (sha256 {digest})")
    if rescore:
        from engine.model.rescore import rescore as scored_again

        for one in scored_again(path):
            typer.echo(
                f"model {one.model}: {one.scores:,} scores, at most {one.distance:.3g} apart of {one.tolerance:g}"
            )
