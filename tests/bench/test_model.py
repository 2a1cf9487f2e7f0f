"""The model benchmark measures what it says: the same scores on both sides, known shapes, every row in its place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import bars
from bench.figure import Figure
from bench.model import backtest, serving, stac, suite
from bench.model.desk import minutes
from bench.model.files import LSTM, lstm_file, plain_network, stac_file
from engine.clock import Sessions
from engine.model.bundle import open_bundle, read_card
from engine.model.scorer import scorer_of


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few rounds that a test has the time for them."""
    torch.set_num_threads(1)
    for module, changes in (
        (backtest, {"ROUNDS": 1, "BATCHES": (64,), "SINGLE_WINDOWS": 10}),
        (serving, {"WARM_CALLS": 2, "CALLS": 10, "MINUTES": 3, "PASSES": 5}),
        (stac, {"WARM_CALLS": {"A": 2}, "CALLS": {"A": 10}, "BLOCKS": 2}),
    ):
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value)


def test_the_backtest_and_the_forwards_beside_it_score_the_same_windows(small: None) -> None:
    """A window for each bar once the warm-up has gone by; and the listener hears a signal for each."""
    found = backtest.compare(3, 100)
    warm_up_bars = 60 + 20 - 1
    assert found["scores"] == 3 * (100 - warm_up_bars + 1)
    assert found["batched_s"] <= found["one_thread_s"]
    assert min(found.values()) > 0


def test_a_backtest_that_scored_something_else_is_refused() -> None:
    """Fewer signals, or others, make an error and no figure."""
    listener, scores = backtest.Listener(), np.array([[0.5], [1.0]], np.float32)
    listener.heard, listener.total = 2, 1.5
    backtest.check_scores(listener, scores)
    for heard, total in ((1, 0.75), (2, 1.6), (0, 0.0)):
        listener.heard, listener.total = heard, total
        with pytest.raises(ValueError, match="2 scores of mean 0.75"):
            backtest.check_scores(listener, scores)


def test_the_plain_network_says_what_the_engine_says(tmp_path: Path) -> None:
    """It is the same file, so that only what stands around it is compared."""
    bundle = open_bundle(lstm_file(tmp_path), allowed=None, now_ns=0)
    windows = np.random.default_rng(1).normal(size=(300, LSTM.features, LSTM.lookback)).astype(np.float32)
    _, plain = backtest.forwards(plain_network(bundle), bundle.card.normalization.apply(windows), 128)
    ours = scorer_of(bundle, ("S",), Sessions("24/7"), device="cpu").together(windows, [len(windows)])[0]
    np.testing.assert_allclose(plain, ours, atol=1e-6)


def test_a_minute_has_a_bar_of_every_symbol(small: None) -> None:
    """The walks of the other benchmarks, a minute at a time."""
    data, [first, second] = bars.columns(4, 2), minutes(4, 2)
    assert [bar.symbol for bar in first] == bars.symbols(4)
    assert [bar.close for bar in second] == data["c"][1].tolist()
    assert second[0].ts_event_ns - first[0].ts_event_ns == bars.MINUTE_NS


def test_the_overhead_is_what_is_left_of_the_call(small: None) -> None:
    """The call holds the forward and the features, and each was measured."""
    found = serving.overhead()
    assert found["call_us"] == pytest.approx(found["lane_us"] + found["forward_us"] + found["features_us"])
    assert min(found.values()) > 0


def test_every_minute_of_a_small_market_is_scored_whole(small: None) -> None:
    """The worst of those after the first counts."""
    found = serving.market(20)
    assert 0 < found["p50_ms"] <= found["worst_ms"]
    assert found["first_ms"] > 0


def test_the_lag_is_measured_while_passes_run(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass for each minute that is left, none conflated away."""
    monkeypatch.setattr(serving, "PASS_MS", 1.0)
    found = serving.lag()
    assert found["passes"] == serving.PASSES
    assert found["ticks"] > 0


@pytest.mark.parametrize(
    ("letter", "parameters"), [("A", 161_701), ("B", 1_005_001), pytest.param("C", 30_033_001, marks=pytest.mark.long)]
)
def test_the_known_shapes_are_files_of_the_known_size(tmp_path: Path, letter: str, parameters: int) -> None:
    """Parameter counts as published, with PyTorch's second bias vector; each file opens and scores."""
    path = stac_file(tmp_path, letter)
    card, shape = read_card(path), stac.STAC_ML[letter]
    assert (len(card.features), card.lookback) == (shape.features, shape.lookback)
    network = plain_network(open_bundle(path, allowed=None, now_ns=0))
    assert stac.parameter_count(stac.stac_ml(letter)) == parameters
    assert network(torch.zeros(2, shape.features, shape.lookback)).shape == (2, 1)


def test_a_known_shape_is_measured_on_every_side(small: None) -> None:
    """Our critical path and whole windows; ONNX Runtime's where it is installed."""
    found = stac.compare("A")
    sides = {"step", "ahead", "window"} | ({"onnx"} if "onnx_p99_us" in found else set())
    assert all(0 < found[f"{side}_p50_us"] <= found[f"{side}_p99_us"] for side in sides)
    assert found["parameters"] == 161_701


def test_onnx_runtime_says_what_torch_says() -> None:
    """The network that is compared with is the same network."""
    pytest.importorskip("onnx", reason="onnx is not installed: the comparison was not run")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the comparison was not run")
    torch.manual_seed(1)
    theirs = stac.in_onnx_runtime(network := stac.stac_ml("A").eval(), (100, 50))
    [window] = stac.windows(stac.STAC_ML["A"], 1)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(window)).numpy()
    np.testing.assert_allclose(theirs(stac.due_of(0, window))[0], wanted, atol=1e-5)


# --- the rows --------------------------------------------------------------------------------------------------------


class Found(dict[str, Any]):
    """A measurement in which everything is 2."""

    def __missing__(self, key: str) -> float:
        return 2.0


def rows(monkeypatch: pytest.MonkeyPatch, *, gpu: bool, without: str = "") -> list[Figure | str]:
    made = Found()
    monkeypatch.setattr(suite, "_measured", lambda *_: made)
    monkeypatch.setattr(suite, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(Found, "__contains__", lambda self, key: key != without)
    return list(suite.model())


def test_every_line_of_the_aim_has_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Must and goal, as they were set."""
    found = [row for row in rows(monkeypatch, gpu=True) if isinstance(row, Figure)]
    bounds = [(row.must, row.goal) for row in found if row.goal is not None]
    assert bounds == [
        (1.5, 1.2), (5, 8), (60, 25), *[(1 / 5, 1 / 20)] * 3, (1000, 350), (5, 2),
        (None, 25), (None, 100), (None, 150), (None, 2000),
    ]  # fmt: skip
    assert len({row.name for row in found}) == len(found)


def test_what_could_not_be_run_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, and no ONNX Runtime: a line each, and no row that looks like a figure."""
    found = rows(monkeypatch, gpu=False, without="onnx_p99_us")
    assert [row for row in found if isinstance(row, str)] == [suite.NO_ONNX, suite.NO_GPU]
    assert not [row for row in found if isinstance(row, Figure) and ("GPU" in row.name or "ONNX" in row.name)]
