"""One shipped run on real data, worked out a second time by pandas alone, and compared to the cent.

`config/spy_extended.toml`: SPY in January 2011, minute bars with pre- and post-market, a moving average cross on bars
of five minutes. Nothing of the engine decides, fills or counts here; that every shipped run comes to its end is in
`test_shipped_runs.py`.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from engine import cli, config, daemon, events, journal
from engine.report import Result
from tests.runs import REPOSITORY

SOURCE = "bars_1min/spy_1min_extended_2011-01.csv.gz"
FAST, SLOW, QTY, CASH_USD = 10, 30, 50, 100_000.0
STALE = pd.Timedelta(minutes=2)  # a last bar older than two of its periods prices no entry
OVERDUE = pd.Timedelta(seconds=5)  # a bar of five minutes whose last minute had no trade is handed on so much later
LAST_ENTRY = pd.Timedelta(minutes=5)  # before the close
SEC_PER_MILLION = {"2011-01-01": 16.90, "2011-01-21": 19.20}
TAF_PER_SHARE = 0.000075
OPEN, CLOSE = pd.Timedelta(hours=9.5), pd.Timedelta(hours=16)


class Fill(NamedTuple):
    time: pd.Timestamp
    qty: int
    price: float
    fee_usd: float


@pytest.fixture(scope="module")
def shipped(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration beside its tape, imported as `make tapes` does."""
    folder = tmp_path_factory.mktemp("spy")
    tape = ["--out", str(folder / "tapes" / "spy_extended.parquet"), "--kind", "bar", "--interval", "1min"]
    told = ["--map", "ts_event_ns=ts_close_ns", "--stamp", "close", "--calendar", "XNYS"]
    assert cli.main(["import", str(shared_data / SOURCE), *tape, *told]) == 0
    (folder / "config").mkdir()
    copy = folder / "config" / "spy_extended.toml"
    copy.write_text((REPOSITORY / "config" / "spy_extended.toml").read_text())
    return copy


@pytest.fixture(scope="module")
def result(shipped: Path) -> Result:
    """The run as the engine does it."""
    return daemon.backtest(config.load(shipped))


@pytest.fixture(scope="module")
def minutes(shared_data: Path) -> pd.DataFrame:
    """The vendor's bars, by the time at which they open in New York."""
    table = pd.read_csv(shared_data / SOURCE)
    table.index = pd.to_datetime(table["ts_open_ns"], utc=True).dt.tz_convert("America/New_York")
    table["hour"] = table.index - table.index.normalize()
    table["regular"] = (table["hour"] >= OPEN) & (table["hour"] < CLOSE)
    return table


def wanted(minutes: pd.DataFrame) -> pd.Series:
    """Return the position that the rule wants, by the end of each bar of five minutes, in whole cents to be exact."""
    closes = minutes["close"].groupby(minutes.index.floor("5min")).last()
    cents = (closes * 100).round().astype("int64")
    fast, slow = cents.rolling(FAST).sum(), cents.rolling(SLOW).sum()
    want = pd.Series(np.where(fast * SLOW > slow * FAST, QTY, 0), index=closes.index + pd.Timedelta(minutes=5))
    return want[slow.notna().to_numpy()]


def fee_usd(day: pd.Timestamp, sold: list[tuple[int, float]]) -> float:
    """Return what a day's sales cost: the SEC's share of their value, FINRA's of their number, each up to the cent."""
    rate = [rate for since, rate in SEC_PER_MILLION.items() if day >= pd.Timestamp(since, tz=day.tz)][-1]
    sec = sum(qty * price for qty, price in sold) * rate / 1e6
    taf = sum(qty for qty, _ in sold) * TAF_PER_SHARE
    return (ceil(round(sec * 100, 6)) + ceil(round(taf * 100, 6))) / 100


def traded(minutes: pd.DataFrame) -> tuple[list[Fill], int]:
    """Trade the rule bar by bar; return the fills and how many entries were refused for want of a fresh price."""
    regular = minutes[minutes["regular"]]
    closes = minutes.index + pd.Timedelta(minutes=1)
    held = pending = refused = 0
    fills: list[Fill] = []
    sold: dict[pd.Timestamp, list[tuple[int, float]]] = {}
    at = 0  # the next regular bar that has not met an order
    for now, want in wanted(minutes).items():
        while at < len(regular) and regular.index[at] + pd.Timedelta(minutes=1) <= now:
            if pending:
                price, day = regular["open"].iloc[at], regular.index[at].normalize()
                fee = 0.0
                if pending < 0:
                    before = fee_usd(day, sold.get(day, []))
                    sold.setdefault(day, []).append((-pending, price))
                    fee = fee_usd(day, sold[day]) - before
                fills.append(Fill(regular.index[at], pending, price, fee))
                held, pending = held + pending, 0
            at += 1
        missing = want - held - pending
        if not missing:
            continue
        if pending:
            pending = 0  # what is on its way would overshoot: it is canceled
            continue
        age = now - closes[closes.searchsorted(now, side="right") - 1]
        age += OVERDUE if age else pd.Timedelta(0)
        hour = now - now.normalize()
        late = CLOSE - LAST_ENTRY <= hour < CLOSE
        if missing > 0 and (age > STALE or late):
            refused += 1
            continue
        pending = missing
        at = max(at, regular.index.searchsorted(now))
    return fills, refused


def test_the_fills_of_a_shipped_run_are_those_of_an_independent_calculation(
    result: Result, minutes: pd.DataFrame
) -> None:
    """Every fill: its minute, side, quantity, the open it took, and its fee to the cent; and the refusals."""
    fills, refused = traded(minutes)
    assert len(fills) > 60
    engine = result.fills
    sign = np.where(engine["side"] == "buy", 1, -1)
    seen = [
        Fill(time.floor("min"), int(qty), price, round(fee, 2))
        for time, qty, price, fee in zip(
            engine["time"], engine["qty"] * sign, engine["price"], engine["fee_usd"], strict=True
        )
    ]
    assert seen == [Fill(fill.time, fill.qty, fill.price, round(fill.fee_usd, 2)) for fill in fills]
    assert len(result.denials) == refused


def test_the_equity_of_a_shipped_run_is_that_of_an_independent_calculation(
    result: Result, minutes: pd.DataFrame
) -> None:
    """At every snapshot, to the cent: cash after the fills so far, and the shares at the last close."""
    fills, _ = traded(minutes)
    known = minutes["close"].set_axis(minutes.index + pd.Timedelta(minutes=1))
    expected = []
    for time in result.equity.index:
        done = [fill for fill in fills if fill.time + pd.Timedelta(minutes=1) <= time]
        cash = CASH_USD - sum(fill.qty * fill.price + fill.fee_usd for fill in done)
        held = sum(fill.qty for fill in done)
        expected.append(round(cash + held * known.asof(time), 2) if held else round(cash, 2))
    assert result.equity["equity_usd"].round(2).tolist() == expected


def test_the_figures_of_a_shipped_run_are_those_of_an_independent_calculation(
    result: Result, minutes: pd.DataFrame
) -> None:
    """Return, volatility, Sharpe ratio, drawdown, hit rate, profit factor, turnover and costs by their formulas."""
    fills, _ = traded(minutes)
    summary = result.summary
    equity = result.equity["equity_usd"]
    pairs = list(zip(fills[::2], fills[1::2], strict=False))
    pnl = pd.Series([QTY * (sold.price - bought.price) - bought.fee_usd - sold.fee_usd for bought, sold in pairs])
    value = sum(abs(fill.qty) * fill.price for fill in fills)
    fees = sum(fill.fee_usd for fill in fills)
    assert summary["trades"] == len(pairs)
    assert summary["hit_rate_pct"] == pytest.approx((pnl > 0).mean() * 100)
    assert summary["profit_factor"] == pytest.approx(pnl[pnl > 0].sum() / -pnl[pnl < 0].sum())
    assert summary["realized_usd"] == pytest.approx(pnl.sum())
    assert summary["traded_usd"] == pytest.approx(value)
    assert summary["fees_usd"] == pytest.approx(fees)
    assert summary["turnover_ratio"] == pytest.approx(value / equity.mean())
    open_usd = fills[-1].qty * (minutes["close"].iloc[-1] - fills[-1].price) if len(fills) % 2 else 0.0
    assert summary["pnl_usd"] == pytest.approx(pnl.sum() + open_usd)
    assert summary["total_return_pct"] == pytest.approx((pnl.sum() + open_usd) / CASH_USD * 100)
    ends = equity.groupby((equity.index - pd.Timedelta(seconds=1)).normalize()).last()
    trading_days = minutes.index.normalize().unique()
    ends = ends[ends.index.isin(trading_days)]
    returns = pd.concat([pd.Series([CASH_USD]), ends]).pct_change().iloc[1:]
    assert len(returns) == 20
    assert summary["volatility_annual_pct"] == pytest.approx(returns.std(ddof=1) * np.sqrt(252) * 100)
    assert summary["sharpe_ratio"] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))
    assert summary["drawdown_max_pct"] == pytest.approx((equity / equity.cummax() - 1).min() * 100)


def test_the_daemon_trades_the_same_real_days_as_the_backtest(
    shipped: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty real sessions through the event loop: the journal of the backtest, and `verify` finds no difference."""
    monkeypatch.setattr(daemon, "_report", lambda _config, _path: 0)
    run = config.load(shipped)
    assert daemon.run(run) == 0
    path = run.out_dir / daemon.RUN_JOURNAL
    assert journal.digest(path) == journal.digest(run.out_dir / daemon.BACKTEST_JOURNAL)
    assert len(result.fills) == sum(isinstance(record, events.Fill) for record in journal.read(path))
    assert daemon.verify(path)[1] == journal.digest(path)
