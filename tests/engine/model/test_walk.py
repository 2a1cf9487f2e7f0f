"""A walk over a tape: several files under one name, each for the days that it was tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import daemon, journal
from engine.config import from_dict
from engine.errors import ConfigError, ModelError
from engine.events import MINUTE_NS, Bar, RunStarted, Signal
from engine.model.rescore import rescore
from engine.strategy import Strategy
from tests.engine.model import nets
from tests.runs import OPEN_NS, HeldFeed, configuration, market, on_tape, replayed, strategy

EVENTS = market(3, 120, ("AAA", "BBB"))
FIRST_NS, SECOND_NS = OPEN_NS + 40 * MINUTE_NS, OPEN_NS + 80 * MINUTE_NS


class Listener(Strategy):
    def on_signal(self, signal: Signal) -> None: ...


def files(folder: Path, **over: Any) -> str:
    """Write two files that say 1 and 2, trained before what they are tested on; return the pattern that they fit."""
    for number, (begin_ns, end_ns) in enumerate(((FIRST_NS, SECOND_NS), (SECOND_NS, OPEN_NS + 120 * MINUTE_NS)), 1):
        spans = {"train_span_ns": (OPEN_NS, begin_ns - MINUTE_NS), "test_span_ns": (begin_ns, end_ns), **over}
        nets.bundle(folder, nets.Fixed(float(number)), stem=f"tiny-{number}", **spans)
    nets.bundle(folder, nets.Fixed(9.0))
    return str(folder / "tiny-[0-9].pt")


def table(pattern: str, **over: Any) -> dict[str, Any]:
    return {"name": "tiny", "file": pattern, "device": "cpu", "latency_ms": 1.0, **over}


def signals(pattern: str, **over: Any) -> list[Signal]:
    tree = configuration(HeldFeed.hold(EVENTS), models=[table(pattern, **over)], strategies=[strategy(Listener)])
    return [record for record in replayed(tree)[0] if isinstance(record, Signal)]


def test_each_file_speaks_for_the_days_that_it_was_tested_on(tmp_path: Path) -> None:
    """Nobody before the first test, the first until the second one's, and each bar once."""
    found = signals(files(tmp_path))
    assert min(one.ts_event_ns for one in found) == FIRST_NS
    assert {one.score for one in found if one.ts_event_ns < SECOND_NS} == {1.0}
    assert {one.score for one in found if one.ts_event_ns >= SECOND_NS} == {2.0}
    bars = {(one.symbol, one.ts_event_ns) for one in EVENTS if isinstance(one, Bar) and one.ts_event_ns >= FIRST_NS}
    assert {(one.symbol, one.ts_event_ns) for one in found} == bars
    assert len(found) == len(bars)


def test_a_walk_one_by_one_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instant by instant the files take the same turns."""
    from engine.model.lane import Lane

    pattern = files(tmp_path)
    bulk = signals(pattern)
    monkeypatch.setattr(Lane, "batches", Lane._by_instant)
    assert signals(pattern) == bulk


def test_a_file_that_was_trained_on_its_own_days_is_refused(tmp_path: Path) -> None:
    """The span of each is looked at for its turn alone: the second was trained on the first one's days, rightly."""
    with pytest.raises(ModelError, match="it has seen these days"):
        signals(files(tmp_path, train_span_ns=(OPEN_NS, OPEN_NS + 100 * MINUTE_NS)))


def test_one_file_may_speak_of_unseen_days_only(tmp_path: Path) -> None:
    """The tape begins within its training, to warm up; it is silent until its test begins."""
    spans = {"train_span_ns": (OPEN_NS, FIRST_NS - MINUTE_NS), "test_span_ns": (FIRST_NS, SECOND_NS)}
    file = str(nets.bundle(tmp_path, nets.Fixed(1.0), **spans))
    with pytest.raises(ModelError, match="it has seen these days"):
        signals(file)
    assert min(one.ts_event_ns for one in signals(file, unseen_days_only=True)) == FIRST_NS


def test_a_walk_without_tests_or_files_is_refused(tmp_path: Path) -> None:
    """One line says what would be right."""
    with pytest.raises(ConfigError, match=r"no file fits .*walk_forward"):
        signals(str(tmp_path / "tiny-*.pt"))
    with pytest.raises(ConfigError, match="has no test span"):
        signals(files(tmp_path, test_span_ns=(0, 0)))


def test_a_walk_is_written_down_and_verified(tmp_path: Path) -> None:
    """The journal names the files by their turns; the scores come again, and so do the decisions."""
    pattern = files(tmp_path)
    daemon.backtest(from_dict(on_tape(tmp_path, EVENTS, models=[table(pattern)], strategies=[strategy(Listener)])))
    path = tmp_path / "out" / "backtest.journal"
    started = next(iter(journal.read(path)))
    assert isinstance(started, RunStarted)
    assert sorted(started.models) == ["tiny/tiny-1", "tiny/tiny-2"]
    daemon.verify(path)
    found = rescore(path)
    assert [one.model for one in found] == ["tiny/tiny-1", "tiny/tiny-2"]
    assert min(one.scores for one in found) > 50
