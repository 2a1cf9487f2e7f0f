"""The autoencoder's guard on real days: it knows quiet markets, and marks those of autumn 2015 and of early 2016."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.clock import to_datetime
from engine.events import DAY_NS, Bar, MarketEvent, ModelStatus, Signal
from engine.strategy import Strategy
from research.config import load
from research.train import train
from tests.engine.model import nets
from tests.engine.model.tapes import daily
from tests.runs import HeldFeed, at, configuration, replayed, strategy, write_tapes

SYMBOLS = (
    "AAPL", "AMZN", "BA", "BAC", "C", "CAT", "CVX", "DIS", "FB", "GE", "GOOG", "JPM", "KO", "MSFT", "T", "XOM",
)  # fmt: skip
CONFIG = """
name = "guard"
seed = 7
calendar = "XNYS"
[feed]
use = "replay"
paths = ["tape"]
[data]
bar = "1d"
lookback = 30
features = [{ name = "returns" }, { name = "returns", params = { horizon = 5 } }, { name = "volatility" },
            { name = "range" }, { name = "volume_z" }]
[target]
use = "reconstruction"
[split]
train = 0.4
validation = 0.12
[network]
use = "autoencoder"
hidden = 16
[fit]
epochs_max = 8
"""


class Listener(Strategy):
    def on_signal(self, signal: Signal) -> None: ...


def test_a_guard_marks_the_wild_months_and_not_the_quiet_ones(shared_data: Path, tmp_path: Path) -> None:
    """Trained until 2014; a window of 16 days of 16 stocks, looked at every four days."""
    torch.set_num_threads(1)
    days = [event for event in daily(shared_data, SYMBOLS) if isinstance(event, Bar)]
    (tmp_path / "tape").mkdir()
    write_tapes(tmp_path / "tape", days)
    (tmp_path / "train.toml").write_text(CONFIG)
    _, guard = train(load(tmp_path / "train.toml"))
    later: list[MarketEvent] = [bar for bar in days if bar.ts_event_ns >= at("2015-05-20")]
    file = nets.bundle(tmp_path, interval_ns=DAY_NS)
    health = {"guard": str(guard), "guard_action": "reduce_only", "look_every_count": 64}
    table = {"name": "tiny", "file": str(file), "device": "cpu", "health": health}
    records, _ = replayed(
        configuration(HeldFeed.hold(later), models=[table], strategies=[strategy(Listener)], calendar="XNYS")
    )
    found = [one for one in records if isinstance(one, ModelStatus)]
    assert [one.action for one in found] == ["reduce_only", "none"] * 2
    months = [to_datetime(one.ts_event_ns).strftime("%Y-%m") for one in found]
    assert "2015-07" <= months[0] <= "2015-09" < months[1] <= "2015-11"
    assert "2016-01" <= months[2] <= "2016-02" < months[3] <= "2016-05"
