"""A day that the daemon trades over sockets, done over from its journal, and once more as a backtest of the same tape.

The venue is `onetape server` and the daemon `onetape run`, both as processes. The venue breaks off streams, the daemon
is killed in the middle and started again, and the tape comes to its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest

from brokers.alpaca_server import launch
from engine import cli, daemon, journal
from engine.config import from_dict
from engine.errors import Divergence
from engine.events import (
    DAY_NS,
    MINUTE_NS,
    AccountOpened,
    Approved,
    Bar,
    CancelRequest,
    Denied,
    Fill,
    Link,
    MarketEvent,
    News,
    Quote,
    Record,
    Status,
)
from engine.record.compare import compare
from tests.runs import OPEN_NS, REPOSITORY, at, market, strategy, toml, write_tapes

ENVIRONMENT = {**os.environ, "APCA_API_KEY_ID": "PKLOCALVENUE", "APCA_API_SECRET_KEY": "local-venue-secret"}
WAIT_S, LOOK_S = 30.0, 0.05
STOCKS, NEWS, ORDERS = "/v2/iex", "/v1beta1/news", "/stream"
KILL = "kill"
PAPER = {"account": "margin_2x", "fees": "zero", "latency_ms": 0.0}
THREE = [
    strategy("sma_cross", name="cross", fast=2, slow=4, qty=20),
    strategy("quote_reversion", name="reversion", window=5, entry_z=0.8, exit_z=0.1),
    strategy("news_reaction", name="news", hold_s=300.0),
]


class Day:
    """A venue and a daemon at work in a folder.

    Args:
        feed: the tape, as a configuration names it.
        speed: simulated seconds a second.
    """

    def __init__(self, folder: Path, feed: dict[str, Any], strategies: Sequence[dict[str, Any]], speed: float) -> None:
        self.folder, self.feed, self.strategies = folder, feed, list(strategies)
        self.path = folder / "live" / daemon.RUN_JOURNAL
        file = folder / "server.toml"
        options = {
            "port": 0, "time": "tape", "start": "subscribed", "speed": speed, "requests_per_min": 0,
            "data_requests_per_min": 0, "paper": PAPER,
        }  # fmt: skip
        file.write_text(toml({"server": options, "feed": feed, "strategies": []}))
        self.symbols = list(launch.load(file, [], []).feed.symbols)
        self.venue = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "server", str(file)], cwd=REPOSITORY, env=ENVIRONMENT, text=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.venue.stdout is not None
        self.url = next(line for line in self.venue.stdout if line.startswith("REST")).removeprefix("REST").strip()
        self.config = folder / "live.toml"
        self.config.write_text(toml(self._live()))
        self.trading = self._start()

    def _live(self) -> dict[str, Any]:
        venue = {"use": "alpaca", "server_url": self.url}
        channels = {"quotes": True, "trades": True, "news": True, "silence_max_s": 600.0}
        return {
            "mode": "paper", "name": "day", "seed": 7, "calendar": "XNYS", "out_dir": str(self.folder / "live"),
            "feed": {**venue, "symbols": self.symbols, "rest_requests_per_min": 100_000.0, **channels},
            "broker": {**venue, "requests_per_min": 100_000.0}, "strategies": self.strategies,
            "risk": {"profile": "wide"},
        }  # fmt: skip

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "daemon.log").open("ab") as log:
            command = [sys.executable, "-m", "engine.cli", "run", str(self.config)]
            return subprocess.Popen(command, cwd=REPOSITORY, env=ENVIRONMENT, stdout=log, stderr=log)

    # --- the venue's control line ----------------------------------------------------------------------------------

    def ask(self, path: str = "", body: Any = None) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        request = Request(f"{self.url}/control{path}", data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return msgspec.json.decode(answer.read())

    def wait_for(self, clock_ns: int) -> None:
        """Let the day go on to an instant."""
        while not (state := self.ask())["ended"] and at(state["now"].partition(".")[0].rstrip("Z")) < clock_ns:
            self._look()

    def _look(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.trading.wait(timeout=LOOK_S)
            raise AssertionError((self.folder / "daemon.log").read_text()[-3_000:])

    # --- what happens ----------------------------------------------------------------------------------------------

    def suffer(self, plan: Sequence[tuple[int, str]]) -> None:
        """Break off streams at their next frame, and kill the daemon, each at its instant."""
        for ts_ns, what in plan:
            self.wait_for(ts_ns)
            if what == KILL:
                self.trading.send_signal(signal.SIGKILL)
                assert self.trading.wait(timeout=WAIT_S) == -signal.SIGKILL
                self.trading = self._start()
            else:
                name = f"{what} at {ts_ns}"
                self.ask("/faults", {"use": "ws_abort", "name": name, "where": {"endpoint": what}})

    def finish(self) -> None:
        """Let the tape end and every answer arrive, then stop the daemon, unless it has ended with its feed."""
        while not self.ask()["ended"]:
            self._look()
        for _ in range(round(WAIT_S / LOOK_S)):
            with suppress(subprocess.TimeoutExpired):
                self.trading.wait(timeout=LOOK_S)
                break
            if self.booked() == self.ledger():
                self.trading.send_signal(signal.SIGTERM)
                break
        assert self.trading.wait(timeout=WAIT_S) == 0, (self.folder / "daemon.log").read_text()[-3_000:]

    def ledger(self) -> tuple[dict[str, Decimal], Decimal]:
        """Return positions and cash as the venue has them."""
        told = self.ask("/ledger")
        return {symbol: Decimal(qty) for symbol, qty in told["positions"].items()}, Decimal(told["cash_usd"])

    def booked(self) -> tuple[dict[str, Decimal], Decimal]:
        """Return positions and cash as the executions in the journal make them."""
        positions: dict[str, Decimal] = {}
        cash_usd = Decimal(0)
        for record in journal.read(self.path):
            if isinstance(record, AccountOpened):
                cash_usd += record.cash_usd
            elif isinstance(record, Fill):
                qty = record.qty if record.side == "buy" else -record.qty
                positions[record.symbol] = positions.get(record.symbol, Decimal(0)) + qty
                cash_usd -= qty * record.price + record.fee_usd
        return {symbol: qty for symbol, qty in positions.items() if qty}, cash_usd

    def minutes(self) -> set[tuple[int, str]]:
        """Return close and symbol of every bar of the tape."""
        feed = launch.load(self.folder / "server.toml", [], []).feed
        return {(one.ts_event_ns, one.symbol) for batch in feed.batches() for one in batch if isinstance(one, Bar)}

    def again(self, **feed: Any) -> Path:
        """Backtest the tape; return the journal."""
        out = self.folder / f"again-{len(feed)}"
        tree = {**self._live(), "mode": "replay", "out_dir": str(out), "feed": {**self.feed, **feed}}
        daemon.backtest(from_dict({**tree, "broker": {"use": "paper", **PAPER}}))
        return out / daemon.BACKTEST_JOURNAL

    def close(self) -> None:
        for process in (self.trading, self.venue):
            process.kill()
            process.communicate()


@contextmanager
def trading(
    folder: Path, feed: dict[str, Any], strategies: Sequence[dict[str, Any]], speed: float
) -> Iterator[Day]:  # fmt: skip
    day = Day(folder, feed, strategies, speed)
    try:
        yield day
    finally:
        day.close()


def prove(day: Day, plan: Sequence[tuple[int, str]]) -> list[Record]:
    """Trade the day as planned and prove what has to hold of it; return the journal's records."""
    day.suffer(plan)
    day.finish()
    faults = day.ask("/faults")
    assert [fault["name"] for fault in faults if not fault["fired"]] == []
    assert len(faults) == sum(what != KILL for _, what in plan)
    assert day.booked() == day.ledger()
    records = list(journal.read(day.path))
    links = [record.up for record in records if isinstance(record, Link)]
    assert links.count(True) > sum(what == KILL for _, what in plan)
    assert links.count(False) >= 1
    assert [record for record in records if isinstance(record, Bar) and record.source.endswith("+rest")]
    bars = [(record.ts_event_ns, record.symbol) for record in records if isinstance(record, Bar)]
    assert len(bars) == len(set(bars))
    assert set(bars) >= {one for one in day.minutes() if one[0] > min(bars)[0]}
    for kind in (Approved, Fill):
        assert sum(isinstance(record, kind) for record in records) >= 15, kind

    assert daemon.verify(day.path) == (len(records), journal.digest(day.path))

    replayed = day.again(as_received=str(day.path))
    agreement = compare(day.path, replayed)
    assert agreement.apart_s == 0.0
    assert agreement.counts["orders"] == sum(isinstance(record, Approved) for record in records)
    assert agreement.counts["executions"] == sum(isinstance(record, Fill) for record in records)
    assert daemon.verify(replayed)[1] == journal.digest(replayed)
    assert cli.main(["compare", str(day.path), str(replayed)]) == 0
    with pytest.raises(Divergence):  # the tape alone decides otherwise: it knows of nothing that went wrong
        compare(day.path, day.again())
    return records


def stories(minutes: int) -> list[MarketEvent]:
    """Return a headline every few minutes, good and bad by turns."""
    made: list[MarketEvent] = []
    for number, minute in enumerate(range(3, minutes, 4)):
        ts_ns = OPEN_NS + minute * 60 * 10**9 + 7 * 10**9
        headline = f"AAA {'beats record' if number % 2 == 0 else 'cuts after probe'}"
        made.append(News(ts_ns, ts_ns, headline, ("AAA",), str(number + 1)))
    return made


def test_a_live_hour_is_done_over_and_backtested_to_the_same_decisions(tmp_path: Path) -> None:
    """Bars, quotes, prints and news; every stream broken off, the daemon killed: one journal, one set of decisions."""
    minutes = 60
    write_tapes(tmp_path / "tape", [*market(3, minutes), *stories(minutes)])
    feed = {"use": "replay", "paths": [str(tmp_path / "tape")]}
    shares = [(0.15, STOCKS), (0.3, ORDERS), (0.4, NEWS), (0.55, KILL), (0.75, STOCKS), (0.8, ORDERS)]
    plan = [(OPEN_NS + round(share * minutes * 60e9), what) for share, what in shares]
    with trading(tmp_path, feed, THREE, speed=400.0) as day:
        records = prove(day, plan)
    assert {type(record) for record in records} >= {Bar, Quote, News, CancelRequest, Denied}
    assert {record.intent.strategy for record in records if isinstance(record, Approved)} == {
        "cross", "reversion", "news",
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_made_up_day_is_done_over_and_backtested_to_the_same_decisions(tmp_path: Path) -> None:
    """The whole synthetic day, its halt and headlines included, with ten breaks and two kills."""
    breaks = [STOCKS, ORDERS, STOCKS, KILL, ORDERS, STOCKS, NEWS, ORDERS, KILL, STOCKS, ORDERS, STOCKS]
    plan = [(OPEN_NS + number * 29 * MINUTE_NS, what) for number, what in enumerate(breaks, 1)]
    plan = [(OPEN_NS, NEWS) if what == NEWS else (ts_ns, what) for ts_ns, what in plan]
    strategies = [
        strategy("sma_cross", name="cross", bar="5min", fast=2, slow=5, qty=30),
        strategy("quote_reversion", name="reversion", window=60, entry_z=2.0, fraction=0.05),
        strategy("news_reaction", name="news"),
    ]
    with trading(tmp_path, {"use": "synthetic", "seed": 3}, strategies, speed=300.0) as day:
        records = prove(day, sorted(plan))
    assert {record.intent.strategy for record in records if isinstance(record, Approved)} == {
        "cross",
        "reversion",
        "news",
    }
    assert any(isinstance(record, Status) for record in records)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_five_days_of_real_stocks_are_done_over_and_backtested_to_the_same_decisions(
    tmp_path: Path, shared_data: Path
) -> None:
    """24 real stocks and funds, 2019-02-11 to 15: breaks every day, nights in between, and two kills."""
    source = shared_data / "bars_1min" / "us_equity_1min_2019-02-11_2019-02-15.csv.gz"
    tape = tmp_path / "tape" / "us_stocks.parquet"
    stamped = ["--map", "ts_event_ns=ts_close_ns", "--stamp", "close", "--interval", "1min", "--calendar", "XNYS"]
    assert cli.main(["import", str(source), "--kind", "bar", "--out", str(tape), *stamped]) == 0
    open_ns = at("2019-02-11T09:30-05:00")
    breaks = {30: STOCKS, 100: ORDERS, 200: STOCKS, 300: ORDERS}
    plan = [(open_ns + day * DAY_NS + minute * MINUTE_NS, what) for day in range(5) for minute, what in breaks.items()]
    plan += [(open_ns + day * DAY_NS + 150 * MINUTE_NS, KILL) for day in (1, 3)]
    stocks = ["AAPL", "AMT", "AMZN", "BAC", "BK", "DFS", "JPM", "MSFT", "MU", "SBUX", "TRV", "TSLA", "V"]
    funds = ["GLD", "PPLT", "QQQ", "SLV", "SPY", "TZA", "UGA", "VOO", "VXXB", "XLP"]
    strategies = [
        strategy("sma_cross", name="stocks", symbols=stocks, bar="5min", fast=10, slow=30, qty=5),
        strategy("sma_cross", name="funds", symbols=funds, bar="15min", fast=5, slow=20, qty=20),
    ]
    with trading(tmp_path, {"use": "replay", "paths": [str(tape)]}, strategies, speed=600.0) as day:
        records = prove(day, sorted(plan))
    assert {record.intent.strategy for record in records if isinstance(record, Approved)} == {"stocks", "funds"}
