"""`onetape backtest CONFIG`: a recorded tape at full speed, with its summary and report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from engine.commands.options import ConfigPath, Overrides

if TYPE_CHECKING:
    from engine.daemon import Progress


def command(path: ConfigPath, overrides: Overrides = None) -> None:
    """Replay a configuration at full speed; write report.html, summary.json, trades.csv and the journal."""
    from engine import config

    run = config.load(path, overrides or ())
    from rich.console import Console

    from engine import daemon  # a file that is wrong is told before anything else is imported
    from engine.report import summary

    with progress_bar() as progress:
        result = daemon.backtest(run, progress)
    report = result.save(run.out_dir)
    Console().print(summary.table(result))
    typer.echo(f"report: {report}")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show how far a replay is, its simulated date and its rate, on a terminal; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from engine.clock import LiveClock, to_datetime

    console, clock = Console(stderr=True), LiveClock()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, begun_ns = bar.add_task("starting", total=None), clock.monotonic_ns()

        def tell(events: int, now_ns: int, span_ns: tuple[int, int] | None = None) -> None:
            rate = events * 1e9 / max(1, clock.monotonic_ns() - begun_ns)
            told = f"{to_datetime(now_ns):%Y-%m-%d}  {events:,} events  {rate:,.0f}/s"
            if span_ns is None:
                bar.update(task, description=told)
            else:
                first_ns, last_ns = span_ns
                bar.update(task, description=told, total=last_ns - first_ns, completed=now_ns - first_ns)

        yield tell
