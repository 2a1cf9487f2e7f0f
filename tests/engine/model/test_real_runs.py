"""Runs with a model on the real tapes: many instants in one pass decide like one by one, and both can be had again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine import daemon, journal
from engine.bars import interval_ns
from engine.config import from_dict
from engine.events import Bar, Signal
from engine.model.card import FeatureSpec
from engine.model.lane import Lane
from engine.model.rescore import rescore
from tests.engine.model import nets
from tests.engine.model.tapes import Tape, daily, minutes
from tests.runs import configuration, strategy, write_tapes
from tests.traders import Follower

SPECS = (
    FeatureSpec("returns"), FeatureSpec("returns", {"horizon": 5}), FeatureSpec("volatility"), FeatureSpec("volume_z"),
    FeatureSpec("rsi"), FeatureSpec("age"),
)  # fmt: skip
TAPES: dict[str, Callable[[Path], Tape]] = {
    "1min": minutes, "1d": lambda data: daily(data, ("AAPL", "AGFS", "AMZN", "BA", "C", "GMRE", "GOOG", "XOM")),
}  # fmt: skip


@pytest.mark.parametrize("bar", TAPES)
def test_bulk_decides_like_one_by_one_on_a_real_tape_and_both_are_done_over(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bar: str
) -> None:
    """All but the last digits of scores is equal; verified from recorded scores, and within the card's tolerance."""
    (tmp_path / "tape").mkdir()
    paths = write_tapes(tmp_path / "tape", [event for event in TAPES[bar](shared_data) if isinstance(event, Bar)])
    file = nets.bundle(tmp_path, specs=SPECS, lookback=30, interval_ns=interval_ns(bar))
    feed = {"use": "replay", "paths": [str(path) for path in paths]}
    model = {"name": "tiny", "file": str(file), "device": "cpu"}
    told = {}
    for way in ("bulk", "single"):
        if way == "single":
            monkeypatch.setattr(Lane, "batches", Lane._by_instant)
        tree = configuration(feed, tmp_path / way, models=[model], strategies=[strategy(Follower)], calendar="XNYS")
        daemon.backtest(from_dict(tree))
        path = tmp_path / way / daemon.BACKTEST_JOURNAL
        records = list(journal.read(path))
        scores = [one for one in records if isinstance(one, Signal)]
        told[way] = scores, [journal.encode(one) for one in records[1:] if not isinstance(one, Signal)]
        assert daemon.verify(path)[0] == len(records)
        assert [one.scores for one in rescore(path)] == [len(scores)]
    (bulk, decided), (single, again) = told["bulk"], told["single"]
    assert decided == again
    assert [(s.symbol, s.ts_event_ns, s.ts_recv_ns) for s in bulk] == [
        (s.symbol, s.ts_event_ns, s.ts_recv_ns) for s in single
    ]
    np.testing.assert_allclose([s.score for s in bulk], [s.score for s in single], atol=1e-6)
    assert len(bulk) > {"1min": 40_000, "1d": 8_000}[bar]
    assert sum(b'"Fill"' in one for one in decided) > 1_000
