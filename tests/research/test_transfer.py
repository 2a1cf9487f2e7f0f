"""Fine-tuning: what a model begins with has seen nothing of what it is tested on, and its card names its parent."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ModelError
from engine.model.bundle import open_bundle
from research import dataset, experiment
from research.train import train
from tests.research.markets import random_walk, training

QUICK = ("fit.epochs_max=1", "network.hidden=8")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("shares", [("split.train=0.9", "split.validation=0.05"), ("split.train=0.5",)])
def test_a_bundle_that_was_trained_or_stopped_on_the_test_is_not_started_from(
    tmp_path: Path, shares: tuple[str, ...]
) -> None:
    """Trained beyond its beginning, or only stopped there: it would remember what it is to foretell."""
    _, donor = train(training(tmp_path / "donor", None, *QUICK, *shares))
    tuned = training(
        tmp_path / "tuned", None, *QUICK, f'network.start_from="{donor}"', "split.train=0.3", "split.validation=0.1"
    )
    with pytest.raises(ModelError, match=r"cannot start from it: it was trained until 2023-.*but the test begins on"):
        train(tuned)


def test_a_label_of_the_bundle_to_start_from_may_not_reach_into_the_test(tmp_path: Path) -> None:
    """Its last window came before the test, and its answer, 40 bars later, would be one of the test's."""
    _, donor = train(training(tmp_path / "donor", None, *QUICK, "target.horizon_bars=40", "split.train=0.4"))
    start = f'network.start_from="{donor}"'
    with pytest.raises(ModelError, match="its labels look 40 bars ahead"):
        train(training(tmp_path / "tuned", None, *QUICK, start, "split.train=0.4", "split.validation=0.1"))
    train(training(tmp_path / "later", None, *QUICK, start, "split.train=0.4", "split.validation=0.21"))


def test_a_tuned_model_names_its_parent_and_counts_what_that_was_trained_on_as_its_own(tmp_path: Path) -> None:
    """A replay of the parent's days would be one of days that it has seen."""
    closes = random_walk()
    _, path = train(training(tmp_path / "donor", closes, *QUICK))
    donor = open_bundle(path, allowed=None, now_ns=0)
    config = training(tmp_path / "tuned", closes, *QUICK, f'network.start_from="{path}"')
    config = config.model_copy(update={"data": config.data.model_copy(update={"symbols": ("AA", "BB", "CC", "DD")})})
    examples = dataset.build(config)
    late = np.flatnonzero(examples.ts_ns > donor.card.train_span_ns[1])
    split = experiment.cut(config, examples)[0]
    split = split._replace(train=np.intersect1d(late, np.r_[split.train, split.validation]))
    (fold,) = experiment.run(config, examples, [split])
    assert fold.train_span_ns == (donor.card.train_span_ns[0], donor.card.valid_span_ns[1])
    tuned, found = train(config)
    assert open_bundle(found, allowed=None, now_ns=0).card.parent_sha256 == donor.sha256 == tuned.folds[0].parent_sha256


def test_a_model_that_begins_with_nothing_has_no_parent(tmp_path: Path) -> None:
    """And its span is that of its own examples."""
    outcome, path = train(training(tmp_path, None, *QUICK))
    card = open_bundle(path, allowed=None, now_ns=0).card
    assert card.parent_sha256 == ""
    assert card.train_span_ns == outcome.folds[0].train_span_ns
