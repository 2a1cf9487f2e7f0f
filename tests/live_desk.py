"""The daemon and the local venue as processes of their own, for what only a real kill and real sockets can prove."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import msgspec

from engine import journal
from engine.daemon import RUN_JOURNAL
from engine.errors import ControlError
from engine.operating import control
from engine.operating.control import DaemonStatus, Reply
from tests.runs import REPOSITORY, toml

TRADERS = f"{REPOSITORY}/tests/traders.py"
KEY, SECRET = "PKLOCALVENUE", "local-venue-secret"
ENVIRONMENT = {**os.environ, "APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET}
SYMBOLS = ("ALFA", "BRVO", "CHLY", "DLTA")
ENDED = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
START_S, LOOK_S = 60.0, 0.005


class Venue:
    """`onetape server` on the synthetic day, from its opening bell, with a fault script.

    Attributes:
        url: where it listens.
    """

    def __init__(self, folder: Path, faults: Sequence[dict[str, Any]] = (), **server: Any) -> None:
        feed = {"use": "synthetic", "symbols": list(SYMBOLS), "news": True, "halt": False, "quotes_per_minute": 12}
        options = {
            "port": 0, "time": "tape", "history_until": "2024-03-04T14:30:00Z", "requests_per_min": 0,
            "data_requests_per_min": 0, "paper": {"account": "cash", "participation": 1.0},
        } | server  # fmt: skip
        path = folder / "server.toml"
        path.write_text(toml({"server": options, "feed": feed, "faults": list(faults)}))
        command = [sys.executable, "-m", "engine.cli", "server", str(path)]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        self.url = self._listening()
        self._stories = 1_000

    def _listening(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("REST"):
                return line.split()[1]
        raise AssertionError("the venue did not start")

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Ask the control endpoint."""
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        with urlopen(HttpRequest(f"{self.url}/control{path}", data, headers, method=method), timeout=10) as answer:
            told = answer.read()
        return msgspec.json.decode(told) if told else None

    def arm(self, use: str, **fields: Any) -> None:
        self.ask("/faults", {"use": use, **fields})

    def happen(self, **event: Any) -> None:
        """Let a market event happen that is not on the tape."""
        self.ask("/events", {"events": [event]})

    def quote(self, symbol: str, bid: float, ask: float) -> None:
        sizes = {"bid_size": 10_000.0, "ask_size": 10_000.0}
        self.happen(event="Quote", symbol=symbol, bid_price=bid, ask_price=ask, **sizes)

    def say(self, headline: str, symbol: str) -> None:
        """Let a headline appear, which the strategy `Told` obeys."""
        self._stories += 1
        self.happen(event="News", headline=headline, symbols=[symbol], news_id=str(self._stories))

    def fired(self) -> dict[str, int]:
        """Return how often each fault was done, by its name."""
        counts: dict[str, int] = {}
        for row in self.ask("/faults"):
            name = row["name"].partition("/")[0]
            counts[name] = counts.get(name, 0) + row["fired"]
        return counts

    def clear(self) -> None:
        self.ask("/faults", method="DELETE")

    def ledger(self) -> dict[str, Any]:
        return dict(self.ask("/ledger"))

    def open_orders(self) -> list[dict[str, Any]]:
        """Return what has not ended by the venue's own book."""
        return [order for order in self.ledger()["orders"] if order["status"] not in ENDED]

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


class Desk:
    """One run of the daemon in a folder: started, killed, asked, and started again."""

    def __init__(self, folder: Path, venue: Venue, strategy: dict[str, Any], **tables: Any) -> None:
        self.out, self.config, self.log = folder / "out", folder / "run.toml", folder / "daemon.log"
        endpoint = {"use": "alpaca", "server_url": venue.url}
        risk = {"profile": "small_account", "max_order_adv_percent": 1_000_000} | tables.get("risk", {})
        tree = {
            "mode": "paper", "name": "desk", "seed": 7, "calendar": "XNYS", "out_dir": str(self.out),
            "feed": endpoint | {"symbols": list(SYMBOLS), "quotes": True, "news": True},
            "broker": endpoint | {"requests_per_min": 3000} | tables.get("broker", {}),
            "strategies": [strategy], "risk": risk, "watchdog": {"start": False},
        }  # fmt: skip
        self.config.write_text(toml(tree))
        self.process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0

    # --- a life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon; what it says goes to the log."""
        command = [sys.executable, "-m", "engine.cli", "run", str(self.config)]
        self._started_s = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """Kill it as the kernel would."""
        assert self.process is not None
        assert self.process.poll() is None, f"it ended by itself: {self.told()}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def alive_s(self) -> float:
        return time.monotonic() - self._started_s

    def live(self, seconds: float) -> None:
        """Let it live for a while."""
        assert self.process is not None
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"it ended by itself with {code}: {self.told()}")

    def told(self) -> str:
        return self.log.read_text(errors="replace")[-3_000:]

    # --- the control line ------------------------------------------------------------------------------------------

    def ask(self, word: Any, *, timeout_s: float = 15.0) -> Reply:
        return control.request(self.out, control.Request(word), timeout_s=timeout_s)

    def status(self) -> DaemonStatus:
        reply = self.ask("status")
        assert reply.status is not None, reply.told
        return reply.status

    def first(self, word: Any) -> tuple[Reply, float]:
        """Ask until the daemon answers that it did, and return its answer and the time since its start, in s."""
        while True:
            try:
                reply = self.ask(word)
                ready = reply.ok and (reply.status is None or reply.status.phase != "starting")
            except ControlError:
                ready = False
            if ready:
                return reply, self.alive_s()
            assert self.alive_s() < START_S, self.told()
            self.live(LOOK_S)

    def until_trading(self) -> None:
        """Wait until the account has been reconciled and every stream stands."""
        self.first("status")
        self.until(lambda status: status.phase == "trading" and status.quiet_s is not None, START_S)

    def until(self, holds: Callable[[DaemonStatus], object], within_s: float) -> float:
        """Look until something holds of the daemon, and return how long that took, in s."""
        started_s = time.monotonic()
        while not holds(self.status()):
            assert time.monotonic() - started_s < within_s, f"not within {within_s} s: {self.told()}"
            self.live(LOOK_S)
        return time.monotonic() - started_s

    def records(self) -> Iterator[Any]:
        return journal.read(self.out / RUN_JOURNAL)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def desk_at_venue(
    folder: Path, strategy: dict[str, Any], *, faults: Sequence[dict[str, Any]] = (),
    server: dict[str, Any] | None = None, **tables: Any,
) -> Iterator[tuple[Desk, Venue]]:  # fmt: skip
    """Start a venue, and make a daemon ready to be started; both are gone at the end."""
    venue = Venue(folder, faults, **server or {})
    desk = Desk(folder, venue, strategy, **tables)
    try:
        yield desk, venue
    finally:
        desk.close()
        venue.close()


def dec(text: str | None) -> Decimal:
    return Decimal(text or 0)


def tell(words: str) -> None:
    """Print a figure; pytest shows it with `-s` or `-rP`."""
    sys.stdout.write(f"{words}\n")


def percentiles(figures: Sequence[float]) -> str:
    """Return p50, p99 and the largest of some figures, in words."""
    ordered = sorted(figures)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s, n={len(ordered)}"
