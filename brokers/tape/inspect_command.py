"""The command `onetape inspect`: what is on a tape, and what is odd about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from brokers.tape.inspection import TapeReport

GAPS_SHOWN = 10
SYMBOLS_SHOWN = 200


def command(
    tapes: Annotated[list[Path], typer.Argument(metavar="TAPE", help="Tapes, and folders of them.")],
    calendar: Annotated[
        str, typer.Option(help="Measure gaps by these sessions (XNYS, 24/7) and not by those noted in the tape.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Look tapes through for gaps, duplicates, disorder and impossible values.

    Ends with 0 when there is nothing to find, 1 when there are findings, 2 when a file is no tape that can be read.
    """
    import json

    from rich.console import Console

    from brokers.tape.inspection import inspect_tape
    from engine.errors import TapeError

    console = Console()
    reports: list[TapeReport] = []
    unread: dict[str, str] = {}
    for path in _files(tapes):
        try:
            reports.append(inspect_tape(path, calendar))
        except TapeError as error:
            unread[str(path)] = str(error)
    if as_json:
        typer.echo(json.dumps({"tapes": [_as_json(report) for report in reports], "unreadable": unread}, indent=2))
    else:
        for report in reports:
            _show(console, report)
        for told in unread.values():
            console.print(told, style="red", soft_wrap=True, markup=False)
    if unread or any(report.findings for report in reports):
        raise typer.Exit(2 if unread else 1)


def _files(paths: list[Path]) -> list[Path]:
    from brokers.tape.reader import reading
    from brokers.tape.schema import TAPE_SUFFIXES
    from engine.errors import TapeError

    files: list[Path] = []
    for path in paths:
        with reading(path):
            is_folder = path.is_dir()
        found = sorted(file for file in path.rglob("*") if file.name.endswith(TAPE_SUFFIXES)) if is_folder else [path]
        if not found:
            raise TapeError(f"{path}: no tape in this folder; a tape ends in {', '.join(TAPE_SUFFIXES)}")
        files += found
    return files


def _as_json(report: TapeReport) -> dict[str, Any]:
    symbols = [{**vars(symbol), "longest_gap": vars(symbol.longest_gap)} for symbol in report.symbols]
    return {**vars(report), "path": str(report.path), "findings": report.findings, "symbols": symbols}


def _show(console: Console, report: TapeReport) -> None:
    from rich.table import Table

    rows = sum(symbol.rows for symbol in report.symbols)
    title = f"{report.path}: {rows:,} rows of kind {report.kind}"
    table = Table("symbol", "rows", "first (UTC)", "last (UTC)", "findings", title=title)
    table.columns[1].justify = "right"
    shown = report.symbols if len(report.symbols) <= SYMBOLS_SHOWN else [s for s in report.symbols if s.findings]
    for symbol in shown:
        told = "; ".join(f"{name} {count:,}" for name, count in symbol.findings.most_common())
        table.add_row(symbol.symbol, f"{symbol.rows:,}", _utc(symbol.first_ns), _utc(symbol.last_ns), told or "none")
    console.print(table)
    if len(shown) < len(report.symbols):
        console.print(f"and {len(report.symbols) - len(shown):,} symbols without findings")
    if report.kind == "bar" and not report.calendar:
        console.print("gaps not looked for: the tape notes no calendar; say --calendar XNYS or 24/7", soft_wrap=True)
    gaps = sorted(report.symbols, key=lambda symbol: -symbol.longest_gap.bars)[:GAPS_SHOWN]
    for symbol in (symbol for symbol in gaps if symbol.longest_gap.bars):
        gap = symbol.longest_gap
        span = f"from {_utc(gap.from_ns)} to {_utc(gap.to_ns)}"
        console.print(
            f"{symbol.symbol} misses {gap.bars:,} bar{'s in a row' if gap.bars > 1 else ''}, {span}", soft_wrap=True
        )


def _utc(ts_ns: int) -> str:
    from engine.clock import to_datetime

    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M:%S}"
