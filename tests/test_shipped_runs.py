"""The runs in `config/` on the real data that they name: imported as `make tapes` does, replayed, checked by hand."""

import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from engine import config, daemon
from engine.report import Result

ROOT = Path(__file__).parents[1]
WITHOUT_DATA = {"demo", "alpaca", "venue"}
RUNS = sorted(
    path.stem
    for path in (ROOT / "config").glob("*.toml")
    if path.stem not in WITHOUT_DATA and not path.stem.startswith("train_")  # those are trained, not run
)


@pytest.fixture(scope="module")
def desk(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone's `config/`, and beside it the tapes that `make tapes` makes."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "config", folder / "config")
    told = {**os.environ, "ONETAPE": str(Path(sys.executable).with_name("onetape"))}
    command = ["sh", str(folder / "config" / "tapes.sh"), str(shared_data), str(folder / "tapes")]
    done = subprocess.run(command, capture_output=True, text=True, env=told)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def backtest(desk: Path, name: str) -> Result:
    return daemon.backtest(config.load(desk / "config" / f"{name}.toml"))


@pytest.mark.parametrize("name", RUNS)
def test_a_shipped_run_trades_to_its_end(desk: Path, name: str) -> None:
    """It fills orders, halts nobody, and explains its profit to the cent."""
    result = backtest(desk, name)
    assert len(result.trades) > 0
    assert result.strategy_halts.empty
    assert result.states["state"].tolist() == ["active"]
    assert abs(result.summary["unexplained_usd"]) < 0.005


@pytest.mark.parametrize(
    ("name", "prices", "symbol", "day", "held"),
    [
        ("aapl_split", "wiki_eod*", "AAPL", "2014-06-09", 14),
        ("nflx_split", "us_equity_daily_point_in_time*", "NFLX", "2015-07-15", 10),
    ],
)
def test_equity_is_continuous_across_the_split(
    desk: Path, shared_data: Path, name: str, prices: str, symbol: str, day: str, held: int
) -> None:
    """Seven for one: the day's profit is that of seven times the shares at the new close, by the vendor's own file."""
    table = pd.read_csv(next((shared_data / "daily").glob(prices)), dtype=str)
    closes = table[table["symbol"] == symbol].set_index("session_date")["close"].map(Decimal)
    before = closes.index[closes.index.get_loc(day) - 1]
    expected = 7 * held * closes[day] - held * closes[before]

    equity = backtest(desk, name).equity["equity_usd"]
    ends = equity.groupby(equity.index.strftime("%Y-%m-%d")).last()
    assert ends[day] - ends[before] == pytest.approx(float(expected), abs=0.005)


def test_dividends_are_paid_on_the_shares_held_at_the_ex_date(desk: Path) -> None:
    """AAPL 2014, 14 shares each time: $3.29 in May, $0.47 in August, sold at that day's open, and in November."""
    paid = backtest(desk, "aapl_split").summary["actions_usd"]
    assert paid == pytest.approx(14 * 3.29 + 14 * 0.47 + 14 * 0.47)
