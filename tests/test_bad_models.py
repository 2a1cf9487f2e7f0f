"""What a model, its file, tape or training may do wrong, by the commands: one clear line, and no score of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import cli, daemon, journal
from engine.events import MINUTE_NS, Fill, ModelStatus, Signal
from engine.model.card import FeatureSpec
from tests.engine.model import nets
from tests.research.markets import CONFIG, random_walk, write_tape
from tests.runs import market, on_tape, strategy, toml

BAD = 2
HAS_GPU = torch.cuda.is_available()
SYMBOLS = ("AAA", "BBB", "CCC")
TRADER = """
from engine import Strategy

class Trader(Strategy):
    def on_signal(self, signal):
        self.order_target(signal.symbol, 5 if signal.score > 0 else 0)
"""


class BendsAfter(nn.Module):
    """Rising scores, and of another shape once so many windows have been seen."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, windows: Tensor) -> Tensor:
        self.seen += float(windows.shape[0])
        scores = windows[:, 0:1, -1]
        return scores if float(self.seen) < self.count else torch.cat([scores, scores], 1)


class Desk:
    """A run with a model, on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config, self.out = folder, folder / "run.toml", folder / "out"
        (folder / "trader.py").write_text(TRADER)
        self.tree = on_tape(folder, market(3, 90, SYMBOLS, ticks=False))

    def write(self, net: nn.Module | None = None, *, table: dict[str, Any] | None = None, **card: Any) -> Path:
        file = nets.bundle(self.folder, net, **card)
        model = {"name": "tiny", "file": str(file), "device": "cpu", "failures_max": 3, **(table or {})}
        trader = strategy(f"{self.folder}/trader.py:Trader")
        self.config.write_text(toml({"models": [model], **self.tree, "strategies": [trader]}))
        return file

    def records(self) -> list[Any]:
        return list(journal.read(self.out / daemon.BACKTEST_JOURNAL))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def refused(command: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Run a command that has to fail; return its one line of error."""
    capfd.readouterr()
    assert cli.main(command) == BAD
    told = capfd.readouterr().err
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in told
    return line


# --- what a network says ---------------------------------------------------------------------------------------------


OUTPUTS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    # what comes out: (the network, its table, why it is told to have failed)
    "no number": (lambda: nets.Fixed(math.nan), {}, "its scores are not numbers"),
    "infinite": (lambda: nets.Fixed(math.inf), {}, "its scores are not numbers"),
    "infinite downwards": (lambda: nets.Fixed(-math.inf), {}, "its scores are not numbers"),
    "no number later on": (lambda: nets.FailsAfter(60), {}, "its scores are not numbers"),
    "of another shape later on": (lambda: BendsAfter(60), {}, "the network answers with 2 outputs"),
    "late by its deadline": (lambda: nets.Fixed(1.0), {"latency_ms": 90.0, "deadline_ms": 80.0}, "a pass took 90.0 ms"),
    "late by its time to live": (lambda: nets.Fixed(1.0), {"latency_ms": 2e3, "ttl_s": 1.0}, "a pass took 2000.0 ms"),
}  # fmt: skip


@pytest.mark.parametrize("policy", ["hold", "flatten"])
@pytest.mark.parametrize("outputs", OUTPUTS)
def test_outputs_that_are_bad_are_never_traded_and_the_report_says_why(
    desk: Desk, capfd: pytest.CaptureFixture[str], outputs: str, policy: str
) -> None:
    """The run goes on without the model: each score in the journal is a number, in time, and older than the failure."""
    make, table, why = OUTPUTS[outputs]
    desk.write(make(), table={**table, "on_failure": policy, "on_late": policy}, golden=None)
    assert cli.main(["backtest", str(desk.config)]) == 0
    told = capfd.readouterr()
    records = desk.records()
    (status,) = [one for one in records if isinstance(one, ModelStatus)]
    assert (status.state, status.action) == ("failed", "flatten" if policy == "flatten" else "none")
    assert status.reason.startswith("3 passes in a row: ")
    assert why in status.reason
    assert why in " ".join(told.out.split())
    signals = [one for one in records if isinstance(one, Signal)]
    assert all(math.isfinite(one.score) and one.ts_recv_ns < one.ts_expire_ns for one in signals)
    assert bool(signals) == (outputs == "no number later on")  # what is scored in one pass fails together
    fills = [one for one in records if isinstance(one, Fill)]
    newest_ns = max((one.ts_recv_ns for one in signals), default=0)
    assert all(fill.ts_event_ns <= max(newest_ns, status.ts_recv_ns) + 2 * MINUTE_NS for fill in fills)
    assert newest_ns <= status.ts_recv_ns


@pytest.mark.parametrize("command", ["backtest", "run"])
def test_a_network_of_another_shape_is_refused_at_the_start(
    desk: Desk, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    """Before the first event, and nothing is left on the disk."""
    desk.write(nets.Fixed(1.0, columns=3))
    line = refused([command, str(desk.config)], capfd)
    assert "tiny.pt: the network has 3 outputs, and its card names 1" in line
    assert not (desk.out / daemon.RUN_JOURNAL).exists()
    assert not (desk.out / daemon.BACKTEST_JOURNAL).exists()


# --- files, features, devices ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["backtest", "run"])
def test_a_feature_of_another_version_is_refused(
    desk: Desk, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A file from a later version names what is unknown here."""
    from engine.model import catalog

    monkeypatch.setitem(catalog.SHIPPED, "sorcery", catalog.SHIPPED["returns"])
    desk.write(nets.Linear(1, nets.LOOKBACK), specs=(FeatureSpec("sorcery"),))
    monkeypatch.undo()
    line = refused([command, str(desk.config)], capfd)
    assert "models.tiny: this version knows no feature 'sorcery'" in line


def test_a_tape_without_the_fields_of_a_feature_is_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """As soon as a window should be whole; nothing of the run is left."""
    desk.write(nets.Linear(2, nets.LOOKBACK), specs=(FeatureSpec("spread"), FeatureSpec("returns")))
    line = refused(["backtest", str(desk.config)], capfd)
    assert "model 'tiny': its features need quote, and the tape has none" in line
    assert not desk.out.exists()


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
@pytest.mark.parametrize("command", [["backtest"], ["run"], ["run", "--check"]], ids=" ".join)
def test_a_gpu_that_is_not_there_is_an_error_and_auto_says_what_it_chose(
    desk: Desk, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """`cuda` falls back to nothing; `auto` is told before a run begins, and by its check."""
    desk.write(table={"device": "cuda"})
    assert 'device = "cuda", and this machine shows no GPU' in refused([*command, str(desk.config)], capfd)
    desk.write(table={"device": "auto"})
    assert cli.main(["run", "--check", str(desk.config)]) == 0
    assert "torchscript on cpu" in " ".join(capfd.readouterr().out.split())
    assert cli.main(["backtest", str(desk.config)]) == 0
    assert "torchscript on cpu" in " ".join(capfd.readouterr().err.split())


def test_a_gpu_whose_memory_is_full_is_a_failed_model_and_no_end_of_the_run(
    desk: Desk, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later than at the start, when something else has filled it."""
    from engine.model.scorer import Scorer

    desk.write()
    scored = Scorer.together

    def full(scorer: Scorer, *inputs: Any) -> Any:
        def allocate(*_: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\n(a page more)")

        scorer.backend._module = allocate  # type: ignore[attr-defined]  # that of TorchScript
        return scored(scorer, *inputs)

    monkeypatch.setattr(Scorer, "together", full)
    assert cli.main(["backtest", str(desk.config)]) == 0
    assert "out of GPU memory with" in " ".join(capfd.readouterr().out.split())
    records = desk.records()
    assert [one.state for one in records if isinstance(one, ModelStatus)] == ["failed"]
    assert not [one for one in records if isinstance(one, Signal | Fill)]


# --- trainings -------------------------------------------------------------------------------------------------------


TRAININGS: dict[str, tuple[list[str], str]] = {
    # what is wrong: (what the configuration says instead, the line)
    "an unknown feature": (['data.features=[{name="returnz"}]'], "no feature 'returnz'; did you mean 'returns'?"),
    "a tape without quotes": (['data.features=[{name="spread"}]'], "quote"),
    "a tape of other bars": (['data.bar="1min"'], "bars"),
    "too little data": (["split.train=0.02", "split.validation=0.02"], "too little data: the train set of fold 1"),
    "a loss that is no number": (
        ["fit.learning_rate=1e30", 'fit.optimizer="sgd"', "fit.clip_norm=1e30"], "diverged: fold 1 of 1, mlp",
    ),
    **({} if HAS_GPU else {"no GPU": (['fit.device="cuda"'], "no GPU")}),
}  # fmt: skip


@pytest.mark.parametrize("wrong", TRAININGS)
def test_a_training_that_cannot_be_says_so_in_one_line_and_leaves_no_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    """Exit code 2; a model in use before stays as it is."""
    write_tape(tmp_path / "tape" / "bars.csv", random_walk())
    path = tmp_path / "train.toml"
    path.write_text(CONFIG)
    (tmp_path / "out").mkdir()
    kept = tmp_path / "out" / "tiny.pt"
    kept.write_bytes(b"a model in use")
    overrides, told = TRAININGS[wrong]
    line = refused(["train", str(path), *(part for one in overrides for part in ("--set", one))], capfd)
    assert told in line
    assert kept.read_bytes() == b"a model in use"
    assert not (tmp_path / "out" / "trials.jsonl").exists()


def test_a_training_on_a_gpu_that_is_too_small_says_what_to_lower(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not show a page of torch's allocator."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\n(a page more)")

    monkeypatch.setattr("research.fit.Fit._step", full)
    write_tape(tmp_path / "tape" / "bars.csv", random_walk())
    (tmp_path / "train.toml").write_text(CONFIG)
    line = refused(["train", str(tmp_path / "train.toml")], capfd)
    assert "out of GPU memory in fold 1: lower fit.batch_size (128) or network.hidden" in line
