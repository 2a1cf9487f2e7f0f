"""`onetape report JOURNAL`: the report of a run that has ended, was killed, or still goes on."""

from pathlib import Path
from typing import Annotated

import typer

Journal = Annotated[Path, typer.Argument(metavar="JOURNAL", help="The journal of a run.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write; the journal's folder by default.")
]


def command(path: Journal, out: Out = None) -> None:
    """Make the report of a journal: report.html, summary.json, trades.csv and fills.csv."""
    from engine.report import Result

    typer.echo(Result.from_journal(path).save(out or path.parent))
