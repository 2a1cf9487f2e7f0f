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
from engine.model.rescore import rescore
from engine.report import Result, summary

ROOT = Path(__file__).parents[1]
WITHOUT_DATA = {"demo", "alpaca"}
CONFIGS = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "config").glob("*.toml"))}
RUNS = [  # trainings are no runs, venues neither, and what trades at a venue has no tape
    name
    for name in CONFIGS
    if name not in WITHOUT_DATA and not name.startswith("train_") and not name.endswith(("venue", "_paper"))
]
MODEL_RUNS = [name for name in RUNS if "[[models]]" in CONFIGS[name]]
TRAININGS = ("lstm", "cnn", "transformer", "news")


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


@pytest.mark.parametrize("name", [name for name in RUNS if name not in MODEL_RUNS])
def test_a_shipped_run_trades_to_its_end(desk: Path, name: str) -> None:
    """It fills orders, halts nobody, and explains its profit to the cent."""
    result = backtest(desk, name)
    assert len(result.trades) > 0
    assert result.strategy_halts.empty
    assert result.states["state"].tolist() == ["active"]
    assert abs(result.summary["unexplained_usd"]) < 0.005


@pytest.fixture(scope="module")
def trained(desk: Path) -> Path:
    """The models of the shipped runs, taught for one epoch each."""
    onetape = str(Path(sys.executable).with_name("onetape"))
    for name in TRAININGS:
        command = [onetape, "train", f"config/train_{name}.toml", "--set", "fit.epochs_max=1"]
        done = subprocess.run(command, cwd=desk, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return desk


@pytest.mark.long
@pytest.mark.parametrize("name", MODEL_RUNS)
def test_a_shipped_run_of_models_trades_unseen_days_and_says_whether_it_beats_holding(trained: Path, name: str) -> None:
    """It fills orders, halts nobody, explains its profit to the cent; recorded scores do it over, and come again."""
    result = backtest(trained, name)
    assert len(result.trades) > 0
    assert result.strategy_halts.empty
    assert abs(result.summary["unexplained_usd"]) < 0.005
    assert "buying and holding" in next(iter(summary.notices(result)))
    assert not result.run.warnings  # such as that days were seen before
    path = trained / "runs" / name / daemon.BACKTEST_JOURNAL
    daemon.verify(path)
    assert all(one.scores for one in rescore(path))


@pytest.mark.long
@pytest.mark.parametrize(("venue", "name"), [("lstm_venue", "lstm_paper"), ("news_venue", "news_and_price_paper")])
def test_a_shipped_run_of_models_trades_at_the_local_venue(trained: Path, venue: str, name: str) -> None:
    """Two processes over sockets, months in a minute: orders fill, the journal is done over, the scores come again."""
    onetape = str(Path(sys.executable).with_name("onetape"))
    run = f"exec {onetape} run config/{name}.toml --set feed.server_url=$APCA_API_BASE_URL"
    command = [onetape, "server", f"config/{venue}.toml", "--port", "0", "--", "sh", "-c", run]
    done = subprocess.run(command, cwd=trained, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    path = trained / "runs" / name / daemon.RUN_JOURNAL
    assert len(Result.from_journal(path).fills) > 0
    daemon.verify(path)
    assert all(one.scores for one in rescore(path))


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
