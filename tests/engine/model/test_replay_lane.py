"""Models on a tape: signals among the events, the same whichever way they were computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import daemon
from engine.config import from_dict
from engine.events import Bar, Fill, Signal
from engine.strategy import Strategy
from tests.engine.model import nets
from tests.runs import HeldFeed, configuration, lines, market, on_tape, replayed, strategy

SYMBOLS = ("AAA", "BBB", "CCC")
EVENTS = market(3, 120, SYMBOLS)


class Follower(Strategy):
    """Holds ten where the score has risen, none where it has fallen."""

    def on_start(self) -> None:
        self.before: dict[str, float] = {}

    def on_signal(self, signal: Signal) -> None:
        self.order_target(signal.symbol, 10 if signal.score > self.before.get(signal.symbol, 0.0) else 0)
        self.before[signal.symbol] = signal.score


def model(file: Path, **over: Any) -> dict[str, Any]:
    return {"name": "tiny", "file": str(file), "device": "cpu", **over}


def run(file: Path, events: Any = EVENTS, **over: Any) -> tuple[list[Any], Any]:
    models = over.pop("models", None) or [model(file, **over)]
    return replayed(configuration(HeldFeed.hold(events), models=models, strategies=[strategy(Follower)]))


def signals(records: list[Any], name: str = "tiny") -> list[Signal]:
    return [record for record in records if isinstance(record, Signal) and record.model == name]


def test_every_symbol_is_scored_at_every_bar_once_its_window_is_whole(tmp_path: Path) -> None:
    """120 bars of three symbols, less the warm-up: one signal each, stamped with the bar it is of."""
    found = signals(run(nets.bundle(tmp_path))[0])
    assert {(one.symbol, one.ts_event_ns) for one in found} == {
        (event.symbol, event.ts_event_ns) for event in EVENTS if isinstance(event, Bar)
    } - {
        (event.symbol, event.ts_event_ns)
        for event in [one for one in EVENTS if isinstance(one, Bar)][: 3 * nets.LOOKBACK]
    }
    assert len(found) == len({(one.symbol, one.ts_event_ns) for one in found})


def test_bulk_and_one_by_one_score_and_decide_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many instants in one pass give the numbers of one instant after the other, and the same orders."""
    from engine.model.lane import Lane

    file = nets.bundle(tmp_path)
    bulk, _ = run(file)
    monkeypatch.setattr(Lane, "batches", Lane._by_instant)
    single, _ = run(file)
    assert [(s.symbol, s.ts_event_ns, s.ts_recv_ns) for s in signals(bulk)] == [
        (s.symbol, s.ts_event_ns, s.ts_recv_ns) for s in signals(single)
    ]
    np.testing.assert_allclose([s.score for s in signals(bulk)], [s.score for s in signals(single)], atol=1e-6)
    without = [[line for line in lines(found) if b'"Signal"' not in line] for found in (bulk, single)]
    assert without[0] == without[1]
    assert sum(isinstance(record, Fill) for record in bulk) > 100


@pytest.mark.parametrize("pull", [7, 64, 500])
def test_where_a_stretch_ends_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pull: int) -> None:
    """Stretches that cut instants in two, and batches of any size, give the same journal."""
    from engine.model import lane

    file = nets.bundle(tmp_path)
    whole = lines(run(file, latency_ms=130.0)[0])
    monkeypatch.setattr(lane, "PULL_EVENTS", pull)
    monkeypatch.setattr(lane, "ROWS_AHEAD", 1)
    monkeypatch.setattr(HeldFeed, "batch_rows", 5)
    cut = lines(run(file, latency_ms=130.0)[0])
    assert [line for line in cut if b'"Signal"' not in line] == [line for line in whole if b'"Signal"' not in line]
    assert len(cut) == len(whole)


def test_inference_takes_simulated_time(tmp_path: Path) -> None:
    """A signal is known `latency_ms` after its instant, in its place among the events, and orders come after it."""
    records, _ = run(nets.bundle(tmp_path), latency_ms=1500.0)
    assert {one.ts_recv_ns - one.ts_event_ns for one in signals(records)} == {1_500_000_000}


def test_jitter_is_drawn_by_the_seed(tmp_path: Path) -> None:
    """`latency_jitter_ms` spreads the times, the same way each time, one draw an instant."""
    file = nets.bundle(tmp_path)
    once, again = (signals(run(file, latency_ms=10.0, latency_jitter_ms=50.0)[0]) for _ in range(2))
    took = {one.ts_event_ns: one.ts_recv_ns - one.ts_event_ns for one in once}
    assert [one.ts_recv_ns for one in once] == [one.ts_recv_ns for one in again]
    assert all(10_000_000 <= ns <= 60_000_000 for ns in took.values())
    assert len(set(took.values())) > 50


def test_a_run_with_models_is_verified_from_its_recorded_scores(tmp_path: Path) -> None:
    """Zero differences, without the model's file; a changed score is a difference."""
    file = nets.bundle(tmp_path)
    config = from_dict(on_tape(tmp_path, EVENTS, models=[model(file)], strategies=[strategy(Follower)]))
    daemon.backtest(config)
    file.unlink()
    records, _ = daemon.verify(tmp_path / "out" / "backtest.journal")
    assert records > 300
