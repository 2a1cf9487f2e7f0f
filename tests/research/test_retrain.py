"""`onetape retrain`: a new model takes the place of the old one only when it is better, and the record says why."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cli import main
from engine.errors import ConfigError
from engine.model.bundle import open_bundle
from research.retrain import retrain
from tests.research.markets import random_walk, reversal, training


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def record(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "promotions.jsonl").read_text().splitlines()]


def test_the_command_retrain_promotes_a_first_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing is in use, anything that trains is better."""
    training(tmp_path)
    assert main(["retrain", str(tmp_path / "train.toml")]) == 0
    assert "promoted: there is no model in use yet" in capfd.readouterr().out
    assert (tmp_path / "out" / "tiny.pt").exists()
    assert record(tmp_path)[0]["promoted"] is True


def test_a_challenger_that_is_no_better_is_not_promoted_and_the_record_says_why(tmp_path: Path) -> None:
    """The same model again: the champion stays, byte for byte."""
    config = training(tmp_path)
    retrain(config)
    before = (tmp_path / "out" / "tiny.pt").read_bytes()
    decision = retrain(config)
    assert not decision.promoted
    assert (tmp_path / "out" / "tiny.pt").read_bytes() == before
    told = record(tmp_path)[-1]
    assert told["promoted"] is False
    assert "the probability that it is better is 50.0%, and 60% is wanted" in told["reason"]
    assert told["champion_sha256"] == open_bundle(tmp_path / "out" / "tiny.pt", allowed=None, now_ns=0).sha256


def test_a_walk_is_judged_by_its_last_model_where_nobody_was_trained(tmp_path: Path) -> None:
    """Those of earlier folds are not what would be traded: the same walk again is no better and no worse."""
    walk = ("walk_forward.train_bars=150", "walk_forward.test_bars=80")
    for _ in range(2):
        decision = retrain(training(tmp_path, random_walk(bars=500), *walk))
    assert decision.reason.endswith("the probability that it is better is 50.0%, and 60% is wanted")
    assert decision.challenger_mean == decision.champion_mean
    assert 60 <= decision.periods <= 80


def test_a_model_of_texts_has_no_gate(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, and not a list of keys that a model of prices would have."""
    (tmp_path / "train.toml").write_text("[text]\nreads = ['news']\n")
    assert main(["retrain", str(tmp_path / "train.toml")]) == 2
    assert "a model of texts earns nothing by itself" in capfd.readouterr().err


def test_a_better_challenger_takes_the_place_and_the_old_one_is_kept(tmp_path: Path) -> None:
    """Trained well on moves that can be foretold, against one that was hardly trained."""
    closes = reversal(bars=800)
    poor = training(tmp_path, closes, 'data.features=[{name="volume_z"}]', "data.lookback=2", "fit.epochs_max=1")
    retrain(poor)
    champion = (tmp_path / "out" / "tiny.pt").read_bytes()
    decision = retrain(training(tmp_path, closes))
    assert decision.promoted
    assert decision.challenger_mean > decision.champion_mean
    assert (tmp_path / "out" / "tiny.pt").read_bytes() != champion
    assert (tmp_path / "out" / "tiny-previous.pt").read_bytes() == champion


def test_only_periods_that_are_new_to_both_models_count(tmp_path: Path) -> None:
    """A champion that was trained on the challenger's test would win by memory."""
    closes = random_walk()
    retrain(training(tmp_path, closes, "split.train=0.8", "split.validation=0.17"))
    decision = retrain(training(tmp_path, closes))
    assert not decision.promoted
    assert "periods are new to both models; at least 60 are wanted" in decision.reason


def test_what_earns_nothing_cannot_be_compared(tmp_path: Path) -> None:
    """A volatility is no position."""
    with pytest.raises(ConfigError, match=r"target.use = 'volatility' earns nothing"):
        retrain(training(tmp_path, None, 'target.use="volatility"'))


@pytest.mark.parametrize("name", ["best.pt", "tinybest.pt", "tiny"])
def test_a_champion_of_a_name_that_its_card_does_not_have_is_refused(tmp_path: Path, name: str) -> None:
    """The first promotion would write a file that nothing opens, and every later one would stop there."""
    with pytest.raises(ConfigError, match=r"gate.champion is opened by the name in its card: call it tiny.pt"):
        training(tmp_path, None, f'gate.champion="{tmp_path / name}"')
    assert training(tmp_path, None, f'gate.champion="{tmp_path}/prod/tiny-live.pt"').gate.champion
