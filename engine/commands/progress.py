"""The progress bar of a replay: how far it is, its simulated date, and its events a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from engine.clock import LiveClock, to_datetime
from engine.run import Progress as Tell


@contextmanager
def progress_bar() -> Iterator[Tell]:
    """Show how far a replay is, its simulated date and its rate, on a terminal; elsewhere nothing."""
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
