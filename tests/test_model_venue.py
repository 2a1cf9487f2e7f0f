"""A model of daily bars at the local venue: two processes over sockets, months in seconds."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from engine import daemon, journal
from engine.clock import Sessions, to_datetime
from engine.events import DAY_NS, Bar, Fill, RunEnded, Signal
from engine.model.rescore import rescore
from tests.engine.model import nets
from tests.runs import at, write_tapes

ONETAPE = str(Path(sys.executable).with_name("onetape"))
SYMBOLS, PAST_DAYS, TRADED_DAYS = ("AAA", "BBB"), 30, 25
VENUE = """
[server]
time = "tape"
speed = 345600.0
start = "subscribed"
history_until = "{begins}"
requests_per_min = 0
[server.paper]
account = "cash"
[feed]
use = "replay"
paths = ["tape"]
"""
RUN = """
mode = "paper"
name = "daily"
seed = 7
calendar = "XNYS"
out_dir = "out"
[feed]
use = "alpaca"
server_url = "http://127.0.0.1:1"
symbols = ["AAA", "BBB"]
bars = false
session_bars = true
[broker]
use = "alpaca"
requests_per_min = 60000.0
[[models]]
name = "tiny"
file = "tiny.pt"
[[strategies]]
name = "one"
use = "lstm_forecast"
symbols = "*"
params = { window = 5, enter = 0.1 }
[risk]
profile = "wide"
"""


def days(count: int) -> list[Bar]:
    """Return daily bars of random walks."""
    sessions, dice = Sessions("XNYS"), random.Random(5)
    price, found, session = dict.fromkeys(SYMBOLS, 100.0), [], sessions.at(at("2024-01-02T12:00-05:00"))
    for _ in range(count):
        length_ns = session.close_ns - session.open_ns
        for symbol in SYMBOLS:
            opened = price[symbol]
            close = price[symbol] = round(opened * (1 + dice.uniform(-0.03, 0.03)), 2)
            high, low = max(opened, close) + 0.5, min(opened, close) - 0.5
            close_ns = session.close_ns
            found.append(Bar(symbol, close_ns, close_ns, opened, high, low, close, 1e6, length_ns))
        session = sessions.at(session.extended_close_ns)
    return found


def test_a_model_of_daily_bars_trades_at_the_local_venue(tmp_path: Path) -> None:
    """It begins with the days that its windows need; then each day is a bar at its close, and a signal after it.

    Orders fill, the journal is done over, and the model says the same of it again.
    """
    (tmp_path / "tape").mkdir()
    bars = days(PAST_DAYS + TRADED_DAYS)
    write_tapes(tmp_path / "tape", bars)
    nets.bundle(tmp_path, nets.NaNAbove(99.0), interval_ns=DAY_NS)
    began_ns = bars[2 * PAST_DAYS].ts_open_ns
    (tmp_path / "venue.toml").write_text(VENUE.format(begins=to_datetime(began_ns).isoformat()))
    (tmp_path / "run.toml").write_text(RUN)
    run = f"exec {ONETAPE} run run.toml --set feed.server_url=$APCA_API_BASE_URL"
    command = [ONETAPE, "server", "venue.toml", "--port", "0", "--", "sh", "-c", run]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / "out" / daemon.RUN_JOURNAL
    records = list(journal.read(path))
    found = [one for one in records if isinstance(one, Bar)]
    needed = nets.LOOKBACK + 1  # a return looks one bar back
    assert [(one.symbol, one.ts_event_ns, one.close) for one in found] == [
        (one.symbol, one.ts_event_ns, one.close) for one in bars[2 * (PAST_DAYS - needed) :]
    ]
    assert {one.source for one in found if one.ts_event_ns < began_ns} == {"iex+rest"}
    signals = [one for one in records if isinstance(one, Signal)]
    assert min(one.ts_event_ns for one in signals) < began_ns + 3 * DAY_NS
    assert len(signals) > 45
    assert min(one.ts_recv_ns - one.ts_event_ns for one in signals) > 0
    assert sum(isinstance(one, Fill) for one in records) > 6
    assert isinstance(records[-1], RunEnded)
    assert daemon.verify(path)[0] == len(records)
    assert [one.scores for one in rescore(path)] == [len(signals)]
