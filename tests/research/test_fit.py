"""The training loop: repeatable to the last bit, resumable, and honest about its failures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ConfigError, ModelError
from research import fit, networks
from research.config import FitConfig
from research.fit import Fit, Objective, Sheets
from research.networks import Shape

SHAPE = Shape(features=2, lookback=5, hidden=6, dropout=0.2)
COUNT = 200
QUICK = FitConfig(epochs_max=6, patience=10, batch_size=32, learning_rate=0.01, threads=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def sheets(seed: int, rule: float = 1.0, device: str = "cpu") -> Sheets:
    """Windows whose class is the sign of their newest first feature, `rule` of the time."""
    draw = np.random.default_rng(seed)
    view = torch.from_numpy(draw.normal(0, 1, (COUNT, 2, 5)).astype(np.float32))
    labels = (view[:, 0, -1] > 0) ^ torch.from_numpy(draw.random(COUNT) > rule)
    return Sheets(view.to(device), torch.arange(COUNT).to(device), labels.long().to(device))


def make(config: FitConfig = QUICK, seed: int = 1, use: str = "lstm", **more: object) -> Fit:
    torch.manual_seed(seed)
    network = networks.build(use, SHAPE, outputs=2)
    objective = Objective("direction", classes=2)
    return Fit(network, objective, sheets(1), sheets(2), config, seed=seed, where="fold 1 of 1, lstm", **more)


def weights(found: Fit) -> bytes:
    return b"".join(part.numpy().tobytes() for part in found.network.state_dict().values())


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    """And another seed gives others: order, dropout and first weights all come from it."""
    one, again, other = make(), make(), make(seed=2)
    for each in (one, again, other):
        each.run()
    assert weights(one) == weights(again) != weights(other)


def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Weights, optimizer, order and dropout are all in the checkpoint."""
    whole = make()
    whole.run()

    def interrupt(step: int, steps: int, epochs: list[fit.Epoch]) -> None:
        if len(epochs) == 3 and step == 2:
            raise KeyboardInterrupt

    broken = make(checkpoint=tmp_path / "fit.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    resumed = make(checkpoint=tmp_path / "fit.checkpoint", seed=1)
    resumed.resume()
    assert len(resumed.progress.epochs) == 3
    resumed.run()
    assert weights(resumed) == weights(whole)
    assert resumed.progress.epochs == whole.progress.epochs


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    """Resumed after its end, it only hands out its weights."""
    first = make(checkpoint=tmp_path / "fit.checkpoint")
    first.run()
    again = make(checkpoint=tmp_path / "fit.checkpoint", seed=9)
    again.resume()
    again.run(lambda step, steps, epochs: pytest.fail("a step was made"))
    assert weights(again) == weights(first)


def test_a_checkpoint_of_another_network_or_a_damaged_one_is_refused_in_one_line(tmp_path: Path) -> None:
    """Nothing but tensors and numbers is ever read from it."""
    path = tmp_path / "fit.checkpoint"
    make(checkpoint=path).run()
    with pytest.raises(ModelError, match=r"fit.checkpoint: cannot go on from it: .*; delete it to begin anew"):
        make(checkpoint=path, use="mlp").resume()
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot go on from it"):
        make(checkpoint=path).resume()


def test_it_learns_and_keeps_the_best_epoch() -> None:
    """A rule that always holds is found; the weights that are kept are those of the lowest validation loss."""
    found = make(QUICK.model_copy(update={"epochs_max": 30, "patience": 30, "learning_rate": 0.03}))
    progress = found.run()
    assert progress.best_epoch.validation < 0.4
    assert found.loss(sheets(2)) == pytest.approx(progress.best_epoch.validation, abs=1e-6)


def test_it_stops_when_the_validation_loss_has_not_improved_for_patience_epochs() -> None:
    """Labels by chance: it overfits at once, and waits no longer than it was told to."""
    found = make(QUICK.model_copy(update={"epochs_max": 200, "patience": 3, "learning_rate": 0.05}), use="mlp")
    found._validation = sheets(3, rule=0.5)
    progress = found.run()
    assert len(progress.epochs) == progress.best_epoch.number + 3 < 200


@pytest.mark.parametrize("epoch_told", ["epoch 1, step 2 of 7"])
def test_a_training_that_diverges_stops_and_says_where(epoch_told: str) -> None:
    """Fold, network, epoch and step, and what to change; no model of nothing is ever written."""
    config = QUICK.model_copy(update={"learning_rate": 1e30, "clip_norm": None, "optimizer": "sgd"})
    with pytest.raises(ModelError, match=rf"the training diverged: fold 1 of 1, lstm, {epoch_told}: the loss is nan"):
        make(config, use="mlp").run()


@pytest.mark.parametrize(("key", "value"), [("l1", 0.02), ("l2", 0.1)])
def test_penalties_make_weights_smaller(key: str, value: float) -> None:
    """L1 on their sizes, L2 on their squares."""
    plain, held = make(), make(QUICK.model_copy(update={key: value}))
    for each in (plain, held):
        each.run()
    size = [sum(float(part.detach().abs().sum()) for part in each.network.parameters()) for each in (plain, held)]
    assert size[1] < size[0]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_every_optimizer_lowers_the_training_loss(optimizer: str) -> None:
    """Each is the one that its name says."""
    progress = make(QUICK.model_copy(update={"optimizer": optimizer, "learning_rate": 0.02})).run()
    assert progress.epochs[-1].train < progress.epochs[0].train


def test_rare_classes_count_for_more_when_balanced() -> None:
    """Weights are inversely proportional to the classes' numbers in the training set."""
    labels = np.array([0.0] * 90 + [1.0] * 10)
    found = fit.objective("direction", labels, 2, balanced=True)
    assert found.weights == pytest.approx((100 / 180, 5.0))
    assert fit.objective("direction", labels, 2, balanced=False).weights == ()


def test_a_class_without_an_example_is_told() -> None:
    """It could never be foretold."""
    with pytest.raises(ModelError, match="too little data: class 1 of 3 has no example to train on"):
        fit.objective("triple_barrier", np.array([0.0, 2.0]), 3, balanced=True)


def test_a_value_is_standardized_by_the_training_labels() -> None:
    """The network sees numbers around zero, whatever the target's units."""
    found = fit.objective("forward_return", np.array([1.0, 3.0]), 0, balanced=False)
    assert found.encode(np.array([1.0, 2.0, 3.0])).tolist() == [-1.0, 0.0, 1.0]


def test_a_gpu_that_is_asked_for_and_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` takes what there is; `cuda` never falls back in silence."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fit.pick_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match='fit.device = "cuda", and this machine shows no GPU'):
        fit.pick_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: mixed precision was not tried")
def test_mixed_precision_learns_on_a_gpu() -> None:
    """Half the numbers, the same rule."""
    config = QUICK.model_copy(update={"precision": "mixed", "epochs_max": 30, "learning_rate": 0.03})
    torch.manual_seed(1)
    network = networks.build("lstm", SHAPE, outputs=2).cuda()
    objective = Objective("direction", classes=2)
    train, validation = sheets(1, device="cuda"), sheets(2, device="cuda")
    found = Fit(network, objective, train, validation, config, seed=1, where="fold 1 of 1, lstm")
    assert found.run().best_epoch.validation < 0.4
