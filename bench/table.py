"""The measurements that make the table: each in a process of its own, so that none warms or burdens the next."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import typer

from bench import bars
from bench.child import measured
from bench.figure import Figure, machine
from bench.live.suite import live
from bench.model.suite import model
from engine.errors import ConfigError, suggestion

SHAPES = ((1, 500_000), (100, 5_000))
SCALES = ((1, 500_000), (10, 50_000), (100, 5_000), (1000, 500))
SCALE_TURNS = 3
"""A thousand symbols live in caches that other machines on the processor share, so all shapes are seen by turns."""
STARTS = 5


def run(suite: str, *, as_json: bool, long: bool, peers: list[str]) -> None:
    """Measure a suite and print it.

    Raises:
        ConfigError: there is no such suite, or a peer is no NAME=COMMAND.
    """
    suites: dict[str, Callable[[], Iterator[Figure | str]]] = {
        "replay": lambda: replay(peers, long=long), "startup": startup, "live": lambda: live(long=long), "model": model,
    }  # fmt: skip
    if suite not in (*suites, "all"):
        raise ConfigError(f"no suite '{suite}'{suggestion(suite, suites)}; there are {', '.join(suites)}, and all")
    chosen = [measure for name, measure in suites.items() if suite in (name, "all")]
    figures: list[Figure] = []
    notes: list[str] = []
    for found in chain.from_iterable(measure() for measure in chosen):
        if isinstance(found, str):
            notes.append(found)
        else:
            figures.append(found)
        if not as_json:
            told = found if isinstance(found, str) else f"{found.name}: {_number(found.value)} {found.unit}"
            typer.echo(f"  {told}", err=True)
    if as_json:
        rows = [{**figure._asdict(), "verdict": figure.verdict} for figure in figures]
        typer.echo(json.dumps({"machine": machine(), "figures": rows, "notes": notes}, indent=2))
    else:
        _print(figures, notes)


def replay(peers: list[str], *, long: bool) -> Iterator[Figure]:
    """Replay against the bare loop and against peers, the cost of an order, and how both scale."""
    commands = dict(_peer(text) for text in peers)
    for n_symbols, n_bars in SHAPES:
        shape = f"{n_symbols} x {n_bars:,} bars"
        found = measured("bench.measure", "replay", n_symbols, n_bars)
        yield Figure(f"replay, {shape}", found["bars_per_s"], "bars/s")
        yield Figure(f"bare loop, {shape}", found["bare_bars_per_s"], "bars/s")
        yield Figure(f"share of the bare loop, {shape}", found["share_of_bare"], "", 1 / 4, 1 / 3, more=True)
        yield Figure(f"one order's whole life, {shape}", found["order_us"], "us", 25, 12)
        for name, command in commands.items():
            rate = _peer_rate(command, n_symbols, n_bars)
            yield Figure(f"{name}, {shape}", rate, "bars/s")
            yield Figure(f"ratio to {name}, {shape}", found["bars_per_s"] / rate, "x", 25, 40, more=True)
    turns = [[measured("bench.measure", "scale", *shape) for shape in SCALES] for _ in range(SCALE_TURNS)]
    costs, bare = ([min(turn[at][key] for turn in turns) for at in range(len(SCALES))] for key in ("bar_us", "bare_us"))
    yield Figure("cost of a bar, 1 symbol", costs[0], "us")
    yield Figure("cost of a bar, 1,000 symbols", costs[-1], "us")
    yield Figure("spread of a bar's cost, 1 to 1,000 symbols", (max(costs) / min(costs) - 1) * 100, "%", 25, 10)
    yield Figure("the same spread of the bare loop", (max(bare) / min(bare) - 1) * 100, "%")
    if long:
        found = measured("bench.measure", "scale", 100, 5_000, 40)
        short = measured("bench.measure", "scale", 100, 5_000)
        spread = abs(found["bar_us"] / short["bar_us"] - 1) * 100
        yield Figure("spread of a bar's cost, 0.5 to 20 million bars", spread, "%", 25, 10)
        yield Figure("memory above the interpreter, 20 million bars", found["memory_mb"], "MB", 150, 80)


def startup() -> Iterator[Figure]:
    """How long a person waits for the first word."""
    onetape = str(Path(sys.executable).with_name("onetape"))
    yield Figure("onetape --help", _fastest([onetape, "--help"]), "s", 0.4, 0.2)
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "check.toml"
        config.write_text(CHECKED)
        yield Figure("onetape run --check", _fastest([onetape, "run", str(config), "--check"]), "s", 1.0, 0.5)


CHECKED = """mode = "paper"
name = "check"
seed = 7
[feed]
use = "synthetic"
[broker]
use = "paper"
[[strategies]]
name = "cross"
use = "sma_cross"
symbols = "*"
[risk]
profile = "small_account"
"""


def _peer(text: str) -> tuple[str, str]:
    name, equals, command = text.partition("=")
    if not equals or "{bars}" not in command:
        raise ConfigError(f"--peer {text}: write NAME=COMMAND with {{bars}} in it")
    return name, command


def _peer_rate(command: str, n_symbols: int, n_bars: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bars.npz"
        bars.write_npz(path, bars.columns(n_symbols, n_bars))
        words = [word.replace("{bars}", str(path)) for word in shlex.split(command)]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["bars_per_s"])


def _fastest(command: list[str]) -> float:
    times = []
    for _ in range(STARTS):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return min(times)


def _print(figures: list[Figure], notes: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"onetape bench, {machine()}", title_justify="left")
    for name in ("", "measured", "must", "goal", "reached"):
        table.add_column(name, justify="left" if name in ("", "reached") else "right")
    for figure in figures:
        bounds = ["" if bound is None else _number(bound) for bound in (figure.must, figure.goal)]
        table.add_row(figure.name, f"{_number(figure.value)} {figure.unit}".strip(), *bounds, figure.verdict)
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
