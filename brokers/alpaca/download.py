"""The command `onetape download`: Alpaca's history in, one tape out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from brokers.alpaca.archive import Archive, Extract
    from brokers.alpaca.history import History
    from brokers.alpaca.rest import Rest
    from engine.clock import Clock, Sessions

KINDS = ("bars", "quotes", "trades", "news", "actions", "assets")


def command(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="bars, quotes, trades, news, actions (corporate ones) or assets.")
    ],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(metavar="SYMBOL", help="Stocks, and coins by a slash: SPY AAPL BTC/USD.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="The tape to write: .parquet, .csv or .csv.gz.")] = Path("tape.parquet"),
    start: Annotated[str, typer.Option(help="First day or instant, ISO; UTC unless it says otherwise.")] = "",
    end: Annotated[str, typer.Option(help="End, itself excluded; by default the start of today, UTC.")] = "",
    timeframe: Annotated[str, typer.Option(help="Length of a bar: 1Min to 59Min, 1Hour to 23Hour, 1Day.")] = "1Min",
    feed: Annotated[str, typer.Option(help="Stock feed: iex, sip or overnight.")] = "iex",
    adjustment: Annotated[
        str, typer.Option(help="Of bars: raw, split, dividend, spin-off or all. Adjusted prices know the future.")
    ] = "raw",
    crypto_location: Annotated[str, typer.Option(help="The crypto venue.")] = "us",
    calendar: Annotated[str, typer.Option(help="Sessions of daily bars and actions; kept in the tape.")] = "XNYS",
    requests_per_min: Annotated[float, typer.Option(help="The data plan's limit; 200 in the free one.")] = 200.0,
    keys_file: Annotated[Path | None, typer.Option(help="Owner-only file with the keys; else the environment.")] = None,
    server_url: Annotated[str, typer.Option(help="A local server in place of Alpaca.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the tape if there is one.")] = False,
) -> None:
    """Download Alpaca's history as a tape.

    An interrupted download goes on where it stopped when the same command is given again.
    Feed and adjustment are kept in the tape. Bars are stamped at their close.
    """
    import asyncio

    from brokers.alpaca.archive import Archive
    from engine.clock import LiveClock, Sessions
    from engine.errors import ConfigError

    if out.exists() and not force:
        raise ConfigError(f"--out {out}: the tape exists already; --force replaces it")
    clock = LiveClock()
    sessions = Sessions(calendar)
    extract = _extract(kind, symbols or [], start, end, timeframe, feed, adjustment, calendar, clock)
    rest, history = _history(extract, sessions, crypto_location, requests_per_min, keys_file, server_url, clock)
    archive = Archive(extract, history, out, sessions)
    asyncio.run(_run(archive, rest, clock))
    archive.finish()
    left_out = f", {history.left_out} rows left out because they make no sense" if history.left_out else ""
    typer.echo(f"{out}: {archive.rows} rows, {extract.note()}{left_out}")


def _extract(
    kind: str, symbols: list[str], start: str, end: str, timeframe: str, feed: str, adjustment: str, calendar: str,
    clock: Clock,
) -> Extract:  # fmt: skip
    import msgspec

    from brokers.alpaca.archive import Extract
    from engine.errors import ConfigError, suggestion
    from engine.events import DAY_NS

    if kind not in KINDS:
        raise ConfigError(f"{kind}: not one of {', '.join(KINDS)}{suggestion(kind, KINDS)}")
    names = tuple(dict.fromkeys(name.strip() for several in symbols for name in several.split(",") if name.strip()))
    if not names and kind not in ("news", "assets"):
        raise ConfigError(f"download {kind}: name the symbols")
    for name in names:
        if name != name.upper():
            raise ConfigError(f"symbol {name!r}: write {name.upper()!r}")
    today_ns = clock.now_ns() - clock.now_ns() % DAY_NS
    if not start and kind != "assets":
        raise ConfigError("--start: from when? Write a date such as 2024-01-02")
    end_ns = _instant_ns("--end", end) if end else today_ns
    start_ns = _instant_ns("--start", start) if start else end_ns - DAY_NS
    if start_ns >= end_ns:
        raise ConfigError(f"--start {start}: lies after the end")
    made = {
        "kind": kind, "symbols": names, "start_ns": start_ns, "end_ns": end_ns, "timeframe": timeframe, "feed": feed,
        "adjustment": adjustment, "calendar": calendar,
    }  # fmt: skip
    return msgspec.convert(made, Extract)


def _history(
    extract: Extract, sessions: Sessions, location: str, requests_per_min: float, keys_file: Path | None,
    server_url: str, clock: Clock,
) -> tuple[Rest, History]:  # fmt: skip
    from brokers.alpaca.history import History
    from brokers.alpaca.hosts import Mode, hosts
    from brokers.alpaca.keys import read_keys
    from brokers.alpaca.limiter import Limiter
    from brokers.alpaca.rest import Rest
    from brokers.alpaca.rows import Timeframe

    Timeframe(extract.timeframe, sessions)  # a wrong one is told before anything is asked
    places = hosts(Mode.PAPER, server_url)
    rest = Rest(
        places.trading if extract.kind == "assets" else places.data, read_keys(keys_file), timeout_s=60.0,
        limiter=Limiter(requests_per_min, clock), clock=clock,
    )  # fmt: skip
    source = "news" if extract.kind == "news" else extract.feed
    history = History(
        rest,
        feed=extract.feed,
        source=source,
        sessions=sessions,
        adjustment=extract.adjustment,
        crypto_location=location,
    )  # fmt: skip
    return rest, history


async def _run(archive: Archive, rest: Rest, clock: Clock) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from brokers.alpaca.archive import too_recent
    from engine.errors import BrokerError

    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
            task = bar.add_task("downloading", total=None)

            def show(done: int, total: int, rows: int) -> None:
                bar.update(task, completed=done, total=total, description=f"{rows:,} rows")

            await archive.fetch(clock.now_ns(), show)
    except BrokerError as error:
        if too_recent(error):
            hint = "this plan has SIP data that is 15 minutes old: give an earlier --end, or --feed iex"
            raise BrokerError(f"{error}; {hint}") from None
        raise
    finally:
        await rest.close()


def _instant_ns(option: str, text: str) -> int:
    from datetime import UTC, datetime

    from engine.errors import ConfigError
    from engine.events import SECOND_NS

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        told = f"{option} {text}: no ISO date or time, such as 2024-01-02 or 2024-01-02T09:30-05:00"
        raise ConfigError(told) from None
    aware = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return int(aware.timestamp()) * SECOND_NS + aware.microsecond * 1000
