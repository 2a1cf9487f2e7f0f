"""An `onetape server` in a process of its own, and what a benchmark asks of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

WAIT_S, LOOK_EVERY_S = 60.0, 0.05
KEY_ID, SECRET_KEY = "PKLOCALVENUE", "local-venue-secret"
ONETAPE = [sys.executable, "-P", str(Path(sys.executable).with_name("onetape"))]


class Venue:
    """A venue that is listening."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str = "", body: object = None) -> Any:
        """Ask the control endpoint."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/control{path}", data=data), timeout=WAIT_S) as answer:
            found = answer.read()
        return json.loads(found) if found else None

    def wait_for(self, holds: Callable[[dict[str, Any]], object], *, within_s: float = WAIT_S) -> None:
        """Wait until the venue's state is as wanted."""
        wait_until(lambda: holds(self.ask()), within_s=within_s)

    def start(self) -> None:
        """Let the tape move."""
        self.ask("/start", {})

    def record(self) -> None:
        """Begin to record when frames leave and orders come in."""
        self.ask("/instants", {"on": True})


def wait_until(holds: Callable[[], object], *, within_s: float = WAIT_S) -> None:
    """Look again and again, seldom enough to be no load.

    Raises:
        TimeoutError: it did not come to hold.
    """
    ends = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(f"the benchmark waited {within_s:g} s in vain")
        time.sleep(LOOK_EVERY_S)


@contextmanager
def venue(folder: Path, feed: str, feed_settings: Mapping[str, object], **settings: object) -> Iterator[Venue]:
    """Serve a feed of `bench.live.feeds` on a free port."""
    chosen = {
        "port": 0, "time": "tape", "start": "control", "requests_per_min": 0,
        "paper": {"cash_usd": "1000000000", "participation": 1.0}, **settings,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "venue.toml"
    tables = {"server": chosen, "feed": {"use": f"bench.live.feeds:{feed}", **feed_settings}}
    path.write_text(toml(tables))
    with process([*ONETAPE, "server", str(path)], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("REST"):
                yield Venue(line.split()[1])
                return
    raise RuntimeError("the venue did not start")


@contextmanager
def process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a command until the context ends."""
    running = subprocess.Popen(command, **options)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        if running.stdout is not None:
            running.stdout.close()


def toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Write tables of plain values."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)  # of texts, numbers, truths and lists, JSON is TOML
