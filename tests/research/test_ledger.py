"""The ledger of trials: what was tried on the same data counts, wherever it was written."""

from pathlib import Path

import pytest
import torch

from engine.errors import ConfigError
from research import config as configuration
from research.train import train
from tests.research.markets import random_walk, training

SHIPPED = sorted((Path(__file__).parents[2] / "config").glob("train_*.toml"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_trials_on_one_tape_count_together_whatever_folders_they_write_into(tmp_path: Path) -> None:
    """A new folder or name is no new beginning; another tape is."""
    for number in range(3):
        given = (f'out_dir="{tmp_path / str(number)}"', f'name="n{number}"', f"seed={number}", "fit.epochs_max=1")
        outcome, _ = train(training(tmp_path, None, *given))
        assert outcome.luck.trials == number + 1
    other, _ = train(training(tmp_path, random_walk(seed=2), *given))
    assert other.luck.trials == 1


def test_the_ledger_is_beside_a_tape_of_one_file_or_of_a_folder_unless_it_is_named(tmp_path: Path) -> None:
    """Never within the folder, which is searched for tapes."""
    assert training(tmp_path).trials == tmp_path / "trials.jsonl"
    assert training(tmp_path, None, f'feed.paths=["{tmp_path}/tape/bars.csv"]').trials == tmp_path / "tape/trials.jsonl"
    assert training(tmp_path, None, f'ledger="{tmp_path}/mine"').trials == tmp_path / "mine"
    given = ('feed={use="synthetic", symbols=["AA"]}', f'out_dir="{tmp_path}/models/a"')
    assert training(tmp_path, None, *given).trials == tmp_path / "models" / "trials.jsonl"


def test_the_shipped_trainings_on_one_tape_share_a_ledger() -> None:
    """Four networks that are tried on the same 64 stocks are four trials."""
    prices = [path for path in SHIPPED if "[data]" in path.read_text("utf-8")]
    assert len(prices) == 4
    assert len({configuration.load(path).trials for path in prices}) == 1


def test_a_ledger_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path) -> None:
    """One line, and the training is not lost."""
    given = (f'ledger="{tmp_path}/train.toml/trials.jsonl"', "fit.epochs_max=1")
    with pytest.raises(ConfigError, match=r"trials.jsonl: .*; name another file in `ledger`, and go on with --resume"):
        train(training(tmp_path, None, *given))
    outcome, _ = train(training(tmp_path, None, "fit.epochs_max=1"), resume=True)
    assert outcome.luck.trials == 1
