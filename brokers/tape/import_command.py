"""The command `onetape import`: somebody else's files in, one tape out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from brokers.tape.importer import ImportReport
    from brokers.tape.recipe import Recipe
    from brokers.tape.source import Source

_UNITS_NS = {"ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


def command(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE", help="Files in their order: .csv, .txt, .jsonl (each also .gz), .parquet."),
    ],
    out: Annotated[Path, typer.Option(help="The tape to write: .parquet, .csv or .csv.gz.")],
    kind: Annotated[str, typer.Option(help="bar, quote, trade, news, status, corporate_action or datum.")],
    mapping: Annotated[
        list[str], typer.Option("--map", help="COLUMN OF THE TAPE=COLUMN OF THE SOURCE, several parted by commas.")
    ] = [],  # noqa: B006  # typer reads it and never changes it
    fill: Annotated[
        list[str],
        typer.Option(help="COLUMN=TEXT, in which {name} is a column of the source and {stem} the file's name."),
    ] = [],  # noqa: B006
    time_unit: Annotated[
        str, typer.Option(help="What times are: ns, us, ms, s, iso or date. By default as the column's name ends.")
    ] = "",
    time_format: Annotated[str, typer.Option(help="How times are written where not as ISO: '%Y%m%d %H:%M'.")] = "",
    time_zone: Annotated[str, typer.Option(help="Where local times are from: America/New_York.")] = "",
    stamp: Annotated[
        str,
        typer.Option(help="What it names: a bar's open or close; of a date's session start, open, close, next_open."),
    ] = "",
    interval: Annotated[str, typer.Option(help="How long a bar is: 1min, 5min, 1h.")] = "",
    calendar: Annotated[str, typer.Option(help="Whose sessions dates are: XNYS, 24/7; kept in the tape.")] = "",
    recv_delay: Annotated[str, typer.Option(help="How much later than it happened a row was received: 250ms.")] = "",
    delimiter: Annotated[str, typer.Option(help=r"What parts the cells of a CSV file; \t is a tab.")] = ",",
    header: Annotated[str, typer.Option(help="The columns of a CSV file without a header: time,open,high.")] = "",
    note: Annotated[str, typer.Option(help="A word to keep in the tape, such as 'prices adjusted for splits'.")] = "",
    sort: Annotated[bool, typer.Option("--sort", help="Put rows in order of time, in memory.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out bad rows and count them.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the tape if there is one.")] = False,
) -> None:
    """Turn foreign files into a tape.

    A column with the name of the tape's own needs no --map.
    Times without an offset need --time-zone, and dates need --calendar.
    The first bad row stops the import with its line, and nothing is written.
    """
    from brokers.tape.recipe import Recipe
    from brokers.tape.source import Source

    _check_out(out, sources, force=force)
    recipe = Recipe(
        kind=kind,
        mapping=_pairs("--map", (pair for several in mapping for pair in several.split(","))),
        fill=_pairs("--fill", fill),
        time_unit=time_unit,
        time_format=time_format,
        time_zone=time_zone,
        stamp=stamp,
        interval_ns=_duration_ns("--interval", interval),
        calendar=calendar,
        recv_delay_ns=_duration_ns("--recv-delay", recv_delay),
    )
    names = tuple(name.strip() for name in header.split(",")) if header else ()
    read = [Source(path, "\t" if delimiter == r"\t" else delimiter, names) for path in sources]
    _import(read, out, recipe, sort=sort, skip_bad=skip_bad, note=note)


def _import(sources: list[Source], out: Path, recipe: Recipe, *, sort: bool, skip_bad: bool, note: str) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from brokers.tape.importer import import_tape

    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task(f"importing {out.name}", total=1.0)
        report = import_tape(
            sources, out, recipe, sort=sort, skip_bad=skip_bad, note=note,
            progress=lambda share: bar.update(task, completed=share),
        )  # fmt: skip
    _show(Console(), out, report)


def _check_out(out: Path, sources: list[Path], *, force: bool) -> None:
    from os.path import exists  # which is False, and not an error, where a folder may not be searched

    from engine.errors import ConfigError

    if any(exists(path) and exists(out) and out.samefile(path) for path in sources):
        raise ConfigError(f"--out {out}: the tape would replace this source; give it another name")
    if exists(out) and not force:
        raise ConfigError(f"--out {out}: the tape exists already; --force replaces it")


def _pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    from engine.errors import ConfigError

    pairs: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or name.strip() in pairs:
            raise ConfigError(f"{option} {pair}: write COLUMN=VALUE, each column once")
        pairs[name.strip()] = value if option == "--fill" else value.strip()
    return pairs


def _duration_ns(option: str, text: str) -> int:
    import re

    from engine.errors import ConfigError

    found = re.fullmatch(r"([1-9]\d*)(ms|s|min|h|d)", text)
    if text and not found:
        raise ConfigError(f"{option} {text}: write a number and ms, s, min, h or d, such as 1min")
    found_ns = int(found[1]) * _UNITS_NS[found[2]] if found else 0
    if found_ns > 366 * _UNITS_NS["d"]:
        raise ConfigError(f"{option} {text}: longer than a year")
    return found_ns


def _show(console: Console, out: Path, report: ImportReport) -> None:
    from rich.table import Table

    from engine.clock import to_datetime

    held = report.summary
    first, last = (f"{to_datetime(ts_ns):%Y-%m-%d %H:%M:%S}" for ts_ns in (held.first_recv_ns, held.last_recv_ns))
    symbols = held.symbols[0] if len(held.symbols) == 1 else f"{len(held.symbols):,} symbols"
    console.print(f"{out}: {held.rows:,} rows of kind {held.kind}, {symbols}, {first} to {last} UTC", soft_wrap=True)
    for told, rows in report.notes.items():
        console.print(f"{told}: {rows:,}", soft_wrap=True)
    if report.skipped:
        table = Table("left out", "rows", title=f"{report.skipped.total():,} rows left out")
        table.columns[1].justify = "right"
        for reason, rows in report.skipped.most_common():
            table.add_row(reason, f"{rows:,}")
        console.print(table)
