"""One tape, one journal: however a run is paced, cut into batches or started, it decides the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import daemon, journal
from engine.config import from_dict
from engine.events import MINUTE_NS, Approved, Denied, RunEnded, TradingStateChanged
from tests.runs import OPEN_NS, HeldFeed, busy, configuration, lines, market, on_tape, replayed

WARM_UP_S = 600.0


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out: it has tests of its own, and takes longer than the run."""
    monkeypatch.setattr(daemon, "_report", lambda _config, _path: 0)


def run(tree: dict[str, Any], speed: float) -> Path:
    """Let the daemon run to the end of its tape; return the journal."""
    config = from_dict({**tree, "feed": {**tree["feed"], "speed": speed}})
    assert daemon.run(config) == 0
    return config.out_dir / daemon.RUN_JOURNAL


def test_the_daemon_paced_or_not_and_the_backtest_write_the_same_journal(tmp_path: Path) -> None:
    """The corridor cannot tell a loop from an event loop, nor a slow tape from a fast one; warm-up included."""
    tree = on_tape(tmp_path, market(1, 90), warm_up_s=WARM_UP_S, **busy())
    daemon.backtest(from_dict({**tree, "out_dir": str(tmp_path / "backtest")}))
    digests = {
        "backtest": journal.digest(tmp_path / "backtest" / daemon.BACKTEST_JOURNAL),
        "unpaced": journal.digest(run({**tree, "out_dir": str(tmp_path / "unpaced")}, speed=0.0)),
        "paced": journal.digest(run({**tree, "out_dir": str(tmp_path / "paced")}, speed=9_000.0)),
    }
    assert len(set(digests.values())) == 1, digests
    records = list(journal.read(tmp_path / "paced" / daemon.RUN_JOURNAL))
    assert isinstance(records[-1], RunEnded)
    assert sum(isinstance(record, Approved) for record in records) > 50
    assert sum(isinstance(record, Denied) for record in records) > 50


def test_a_run_over_several_days_is_the_same_paced_and_not(tmp_path: Path) -> None:
    """The night is passed in a second, and is a night for orders and sessions all the same."""
    days = [event for day in (0, 1) for event in market(day, 20, start_ns=OPEN_NS + day * 86_400 * 10**9)]
    tree = on_tape(tmp_path, days, **busy())
    paced = run({**tree, "out_dir": str(tmp_path / "paced")}, speed=30_000.0)
    daemon.backtest(from_dict({**tree, "out_dir": str(tmp_path / "backtest")}))
    assert journal.digest(paced) == journal.digest(tmp_path / "backtest" / daemon.BACKTEST_JOURNAL)


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_where_a_batch_ends_is_nothing_to_a_run(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are how a tape is read, not what happened."""
    tree = configuration(HeldFeed.hold(market(2, 60)), **busy())
    expected, _ = replayed(tree)
    monkeypatch.setattr(HeldFeed, "batch_rows", rows)
    records, _ = replayed(tree)
    assert lines(records) == lines(expected)


def test_warm_up_fills_windows_and_trades_nothing() -> None:
    """Nothing is asked of risk before the end of warm-up, and what comes after is what full windows decide."""
    tree = configuration(HeldFeed.hold(market(3, 120)), **busy())
    cold, _ = replayed(tree)
    warm, _ = replayed({**tree, "warm_up_s": WARM_UP_S})
    began = [record for record in warm if isinstance(record, TradingStateChanged)]
    assert [record.state for record in began] == ["active"]
    warm_from_ns = OPEN_NS + MINUTE_NS + round(WARM_UP_S * 1e9)
    assert began[0].ts_event_ns <= warm_from_ns
    assert not [r for r in warm if isinstance(r, Approved | Denied) and r.ts_event_ns < began[0].ts_event_ns]
    assert [r for r in cold if isinstance(r, Approved) and r.ts_event_ns < began[0].ts_event_ns]
    assert [r for r in warm if isinstance(r, Approved)]
