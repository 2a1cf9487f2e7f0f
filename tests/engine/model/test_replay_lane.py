"""Models on a tape: signals among the events, the same whichever way they were computed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from engine import daemon, journal
from engine.config import from_dict
from engine.errors import ConfigError, Divergence, JournalError, ModelError, TradingError
from engine.events import MINUTE_NS, Bar, Fill, ModelStatus, RunStarted, Signal
from engine.journal import Journal
from engine.model.card import FeatureSpec
from engine.model.rescore import rescore
from engine.run import Run
from tests.engine.model import nets
from tests.runs import REPOSITORY, HeldFeed, bar, configuration, lines, market, on_tape, replayed, strategy
from tests.traders import Follower

SYMBOLS = ("AAA", "BBB", "CCC")
EVENTS = market(3, 120, SYMBOLS)


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


@pytest.mark.parametrize("cores", [1, 4])
def test_stretches_that_are_scored_at_once_come_out_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """However many cores there are, the journal is the same to the last bit."""
    from engine.model import lane

    file = nets.bundle(tmp_path)
    monkeypatch.setattr(lane, "PULL_EVENTS", 7)
    monkeypatch.setattr(lane, "ROWS_AHEAD", 1)
    wanted = lines(run(file, threads=2)[0])
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    found, built = run(file, threads=1)
    assert built.scoring.lanes[0].scorer.backend.callers == cores
    assert lines(found)[1:] == wanted[1:]


def test_a_network_that_remembers_sees_its_windows_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread asks it; that it writes to a buffer is seen in the file."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    _, built = run(nets.bundle(tmp_path, nets.FailsAfter(50), golden=None))
    assert built.scoring.lanes[0].scorer.backend.callers == 1


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


def test_scores_of_today_are_compared_with_those_recorded(tmp_path: Path) -> None:
    """`verify --rescore`: within the card's tolerance nothing is said; another network's score is named."""
    file = nets.bundle(tmp_path)
    config = from_dict(on_tape(tmp_path, EVENTS, models=[model(file)], strategies=[strategy(Follower)]))
    daemon.backtest(config)
    path = tmp_path / "out" / "backtest.journal"
    (found,) = rescore(path)
    assert found.scores == len([one for one in journal.read(path) if isinstance(one, Signal)])
    assert found.distance <= found.tolerance == 1e-5
    nets.bundle(tmp_path, seed=9)
    with pytest.raises(ModelError, match="the run began with another file of model 'tiny'"):
        rescore(path)


def test_a_score_that_is_another_today_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first record that differs, like any other difference."""
    from engine.model.scorer import Scorer

    file = nets.bundle(tmp_path)
    config = from_dict(on_tape(tmp_path, EVENTS, models=[model(file)], strategies=[strategy(Follower)]))
    daemon.backtest(config)
    true = Scorer.scores
    monkeypatch.setattr(Scorer, "scores", lambda self, outputs: true(self, outputs) + np.float32(1e-3))
    with pytest.raises(Divergence, match='"Signal"'):
        rescore(tmp_path / "out" / "backtest.journal")


def test_a_stopped_run_goes_on_with_the_scores_that_it_had(tmp_path: Path) -> None:
    """Restarted on its tape, it follows its journal to the end, scores included, and goes on from there."""
    file = nets.bundle(tmp_path)
    tree = on_tape(tmp_path, EVENTS, models=[model(file, latency_ms=40.0)], strategies=[strategy(Follower)])
    whole, half = tmp_path / "whole.journal", tmp_path / "half.journal"
    run = Run(from_dict(tree), Journal(whole))
    run.replay()
    records = list(journal.read(whole))
    ledger = Journal(half)
    for record in records[:400]:
        ledger.append(record)
    ledger.close()
    again = Run(from_dict(tree), Journal(half, follow=True))
    again.replay()
    assert list(journal.read(half)) == records


def test_check_tells_the_models_and_their_hashes(tmp_path: Path) -> None:
    """`onetape run --check` opens every file; the head of the journal holds the same hash."""
    file = nets.bundle(tmp_path)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    config = from_dict(on_tape(tmp_path, EVENTS, models=[model(file)], strategies=[strategy(Follower)]))
    assert f"model tiny: {file}, SHA-256 {sha256}, torchscript on cpu" in daemon.check(config)
    daemon.backtest(config)
    assert journal.header(tmp_path / "out" / "backtest.journal").models == {"tiny": sha256}


def test_a_journal_does_not_go_on_with_another_file(tmp_path: Path) -> None:
    """Its head says which file scored; the message says which model it is."""
    file = nets.bundle(tmp_path)
    tree = on_tape(tmp_path, EVENTS, models=[model(file)], strategies=[strategy(Follower)])
    run = Run(from_dict(tree), Journal(tmp_path / "run.journal"))
    run.begin()
    run.journal.close()
    nets.bundle(tmp_path, seed=2)
    with pytest.raises(JournalError, match="the file of model tiny has another content"):
        Run(from_dict(tree), Journal(tmp_path / "run.journal", follow=True)).begin()


def test_a_model_hears_the_signals_of_those_before_it(tmp_path: Path) -> None:
    """Its features take them as facts, when they are known and not before."""
    first = nets.bundle(tmp_path, name="first")
    specs = (FeatureSpec("returns"), FeatureSpec("news_score", {"of": "first", "window_s": 3600}))
    second = nets.bundle(tmp_path, nets.Linear(2, nets.LOOKBACK), name="second", specs=specs)
    models = [model(first, name="first"), model(second, name="second")]
    records, _ = run(first, models=models)
    assert len(signals(records, "second")) > 100
    alone, _ = run(second, models=[model(second, name="second")])
    assert [one.score for one in signals(alone, "second")] != [one.score for one in signals(records, "second")]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def statuses(records: list[Any]) -> list[ModelStatus]:
    return [record for record in records if isinstance(record, ModelStatus)]


def test_a_score_that_is_no_number_is_never_traded(tmp_path: Path) -> None:
    """The other symbols of the pass are; `on_failure = "last"` repeats the symbol's own last value instead."""
    net = nets.NaNAbove(0.1)
    held, ended = run(nets.bundle(tmp_path, net))
    assert all(np.isfinite(one.score) for one in signals(held))
    counts = ended.scoring.lanes[0].counts
    assert counts["not_a_number"] > 5
    repeated, _ = run(nets.bundle(tmp_path, net), on_failure="last")
    assert len(signals(held)) < len(signals(repeated)) <= counts["scored"]
    assert {one.source for one in signals(repeated)} > {"last"}


@pytest.mark.parametrize(("policy", "action"), [("hold", "none"), ("last", "none"), ("flatten", "flatten")])
def test_a_model_that_only_fails_is_declared_failed_once(tmp_path: Path, policy: str, action: str) -> None:
    """After `failures_max` passes in a row; what that leads to is its `on_failure`."""
    records, _ = run(nets.bundle(tmp_path, nets.Fixed(float("nan"))), on_failure=policy, failures_max=4)
    (status,) = statuses(records)
    assert (status.state, status.action) == ("failed", action)
    assert status.reason == "4 passes in a row: its scores are not numbers"
    assert signals(records) == []


class Refuses(nn.Module):
    """The newest return, and a `raise` where that is above a limit."""

    def forward(self, windows: Tensor) -> Tensor:
        if bool((windows[:, 0, -1] > 5.0).any()):
            raise ValueError("no such market")
        return windows[:, 0:1, -1]


@pytest.mark.parametrize("watched", [False, True])
def test_a_window_that_raises_fails_its_own_instant_whichever_way_it_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    """One price in a stretch of a hundred minutes leaps: live it costs three scores, and so it does in a replay."""
    from engine.model.lane import Lane

    file = nets.bundle(tmp_path, Refuses())
    events = [bar(s, m, 130.0 if (s, m) == ("AAA", 70) else 100.0 + m % 3 / 100) for m in range(100) for s in SYMBOLS]
    over = {"challenger": str(nets.bundle(tmp_path, name="other"))} if watched else {}
    bulk, ended = run(file, events, failures_max=2, **over)
    monkeypatch.setattr(Lane, "batches", Lane._by_instant)
    single, _ = run(file, events, failures_max=2, **over)
    assert ended.scoring.lanes[0].counts["failed"] == 3
    assert statuses(bulk) == []
    assert len(signals(bulk)) == 3 * (100 - nets.LOOKBACK - 1)
    assert lines(bulk) == lines(single)


def test_a_symbol_that_never_has_a_number_fails_no_model(tmp_path: Path) -> None:
    """It has no signals and is counted; the model fails when no symbol of its passes has a number."""
    net = nets.NaNAbove(0.1)
    events = [bar(s, m, 100.0 + m * (s == "AAA")) for m in range(60) for s in SYMBOLS]
    records, ended = run(nets.bundle(tmp_path, net, golden=None), events, on_failure="flatten", failures_max=1)
    assert ended.scoring.lanes[0].counts["not_a_number"] == len(signals(records)) / 2 > 50
    assert {one.symbol for one in signals(records)} == {"BBB", "CCC"}
    assert statuses(records) == []


def test_flatten_closes_what_the_models_strategies_hold(tmp_path: Path) -> None:
    """They hear no more signals, enter nothing until it is healthy, and what they held is closed."""
    net = nets.FailsAfter(40 * 3)
    records, ended = run(nets.bundle(tmp_path, net, golden=None), on_failure="flatten", failures_max=2)
    fills = [record for record in records if isinstance(record, Fill)]
    (status,) = statuses(records)
    assert fills
    assert all(book.positions[s].qty == 0 for book in ended.core.portfolio.books.values() for s in book.positions)
    assert all(fill.ts_event_ns <= status.ts_recv_ns + 2 * MINUTE_NS for fill in fills)


@pytest.mark.parametrize("over", [{"latency_ms": 80.0, "deadline_ms": 50.0}, {"latency_ms": 2_000.0, "ttl_s": 1.5}])
def test_a_late_score_is_not_published(tmp_path: Path, over: dict[str, Any]) -> None:
    """Later than its `deadline_ms`, or than its `ttl_s`: nothing stale is ever traded."""
    records, ended = run(nets.bundle(tmp_path), **over)
    assert signals(records) == []
    assert ended.scoring.lanes[0].counts["late"] > 100
    assert statuses(records)[0].state == "failed"


def test_on_late_last_repeats_what_was_said(tmp_path: Path) -> None:
    """Some passes of a jittering model are late; each of their symbols gets its last value again."""
    over = {"latency_ms": 0.0, "latency_jitter_ms": 100.0, "deadline_ms": 90.0, "failures_max": 50}
    records, ended = run(nets.bundle(tmp_path), on_late="last", **over)
    repeated = [one for one in signals(records) if one.source == "last"]
    assert len(repeated) == ended.scoring.lanes[0].counts["repeated"] > 0


def test_a_signal_lives_as_long_as_its_ttl(tmp_path: Path) -> None:
    """`ttl_s`, else what the card says, else one bar."""
    for over, wanted in (({"ttl_s": 7.0}, 7 * 10**9), ({}, MINUTE_NS)):
        found = signals(run(nets.bundle(tmp_path), **over)[0])
        assert {one.ts_expire_ns - one.ts_event_ns for one in found} == {wanted}
    carded = nets.bundle(tmp_path, signal_ttl_ms=2500.0)
    assert {one.ts_expire_ns - one.ts_event_ns for one in signals(run(carded)[0])} == {2_500_000_000}


def test_latency_is_drawn_from_a_recorded_session(tmp_path: Path) -> None:
    """`latency_from` takes the times between bars and their signals out of a journal."""
    ledger = Journal(tmp_path / "live.journal")
    ledger.append(RunStarted("live", "{}", "0", 1, 0))
    for number, took_ns in enumerate((3_000_000, 5_000_000, 9_000_000)):
        event = bar("AAA", number, 1.0)
        ledger.append(event)
        ts_ns = event.ts_event_ns
        ledger.append(Signal("AAA", ts_ns, ts_ns + took_ns, "tiny", 0.5))
    ledger.close()
    file = nets.bundle(tmp_path)
    found = signals(run(file, latency_from=str(ledger.path))[0])
    assert {one.ts_recv_ns - one.ts_event_ns for one in found} == {3_000_000, 5_000_000, 9_000_000}
    with pytest.raises(ModelError, match="holds no signals of 'other'"):
        run(file, models=[model(file, name="other", latency_from=str(ledger.path))])


def test_a_tape_without_what_a_feature_needs_is_refused(tmp_path: Path) -> None:
    """Quotes that never come are told, not scored as zeros and not passed over in silence."""
    specs = (FeatureSpec("spread"), FeatureSpec("returns"))
    file = nets.bundle(tmp_path, nets.Linear(2, nets.LOOKBACK), specs=specs)
    with pytest.raises(ModelError, match="model 'tiny': its features need quote, and the tape has none"):
        run(file, market(3, 60, SYMBOLS, ticks=False))


def test_a_tape_that_the_model_was_trained_on_is_refused(tmp_path: Path) -> None:
    """Unless `allow_training_span` says so."""
    first, last = EVENTS[0].ts_recv_ns, EVENTS[-1].ts_recv_ns
    file = nets.bundle(tmp_path, train_span_ns=(first, last))
    with pytest.raises(ModelError, match="it has seen these days"):
        run(file)
    assert signals(run(file, allow_training_span=True)[0])


def test_only_listed_files_run_live(tmp_path: Path) -> None:
    """`allowed_sha256` is checked wherever it is given, and has to be given where money is real."""
    file = nets.bundle(tmp_path)
    with pytest.raises(ModelError, match="is not among those allowed"):
        run(file, allowed_sha256=["0" * 64])
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert signals(run(file, allowed_sha256=[sha256])[0])
    with pytest.raises(ConfigError, match=r"models.tiny.allowed_sha256: live trading needs the list"):
        Run(
            from_dict(
                configuration(HeldFeed.hold(EVENTS), mode="live", models=[model(file)], strategies=[strategy(Follower)])
            ),
            Journal(":memory:"),
        )


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"symbols": ["AAB"]}, "models.tiny.symbols: 'AAB' is on no tape of the feed; did you mean 'AAA'?"),
        ({"strategies": ["two"]}, "models.tiny.strategies: no strategy is called two"),
        ({"allowed_sha256": ["abc"]}, "'abc' is no SHA-256"),
        ({"latency_ms": 1.0, "latency_from": "x"}, "latency_from draws from a journal"),
        ({"device": "tpu"}, "device"),
        ({"threads": 0}, "threads"),
        ({"window_ms": -1.0}, "window_ms"),
        ({"file": "gone.pt"}, "gone.pt: No such file"),
    ],
)
def test_a_wrong_table_is_told_by_its_key(tmp_path: Path, over: dict[str, Any], told: str) -> None:
    """Each in one line, before anything runs."""
    file = nets.bundle(tmp_path)
    with pytest.raises(TradingError, match=re.escape(told)):
        run(file, models=[model(file) | over])


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    """Names tell their signals apart."""
    file = nets.bundle(tmp_path)
    with pytest.raises(ConfigError, match="two models are called tiny"):
        run(file, models=[model(file), model(file)])


def test_a_run_without_models_imports_none_of_this() -> None:
    """Neither torch nor the lane: a model-less run starts as fast as before."""
    program = (
        "import sys; from tests.runs import *; from tests.traders import Everything; "
        "replayed(configuration(HeldFeed.hold(market(1, 5)), strategies=[strategy(Everything, dice='00' * 900)])); "
        "print([name for name in sys.modules if name == 'torch' or name.startswith('engine.model.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr[-500:]
