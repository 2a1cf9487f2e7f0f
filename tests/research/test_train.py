"""`onetape train`: one command from a tape to a bundle, a page and a line in the ledger."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.cli import main
from engine.errors import ConfigError, ModelError
from engine.events import HOUR_NS
from engine.model.backends import load_backend, read_weights
from engine.model.bundle import open_bundle
from research import config as configuration
from research import ledger, package
from research.config import TrainConfig
from research.outcome import Outcome
from research.train import train
from tests.research.markets import START_NS, random_walk, reversal, training


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_the_command_train_writes_bundle_report_and_trial(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its last words say plainly whether it beats buying and holding, and where everything lies."""
    training(tmp_path)
    assert main(["train", str(tmp_path / "train.toml"), "--set", "fit.epochs_max=2"]) == 0
    told, progress = capfd.readouterr()
    assert "buy and hold after costs" in told
    assert progress.startswith(f"training on {'cpu' if not torch.cuda.is_available() else ''}")
    assert f"bundle: {tmp_path / 'out' / 'tiny.pt'}" in told
    assert (tmp_path / "out" / "report.html").stat().st_size > 1_000_000
    assert (tmp_path / "trials.jsonl").read_text().count("\n") == 1


def test_a_bundle_says_what_it_was_trained_on_and_gives_its_golden_answers(tmp_path: Path) -> None:
    """Spans in order with nothing shared, normalization of the training span, and the outputs of the training."""
    outcome, path = train(training(tmp_path))
    bundle = open_bundle(path, allowed=None, now_ns=0)
    card, fold = bundle.card, outcome.folds[-1]
    assert card.train_span_ns[1] < card.valid_span_ns[0] < card.valid_span_ns[1] < card.test_span_ns[0]
    assert [output.name for output in card.outputs] == ["below", "above"]
    assert (card.score, card.interval_ns, card.lookback) == ((-1.0, 1.0), HOUR_NS, 4)
    newest = outcome.examples.columns[outcome.examples.row[fold.split.train]].astype(np.float64)
    assert card.normalization.center == pytest.approx(newest.mean(axis=0))
    assert card.golden is not None
    inputs, outputs = card.golden.arrays()
    assert np.abs(load_backend(bundle, "cpu").score(inputs) - outputs).max() < 1e-6
    assert card.reference is not None
    assert len(card.reference.feature_quantiles) == 2
    assert card.reference.distance[1] > 0


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ('target.use="direction"', ["down", "up"]), ('target.use="above_median"', ["below", "above"]),
        ('target.use="triple_barrier"', ["down", "flat", "up"]), ("target.threshold=0.1", ["down", "flat", "up"]),
    ],
)  # fmt: skip
def test_two_classes_are_called_down_and_up_only_where_a_return_tells_them(
    tmp_path: Path, target: str, names: list[str]
) -> None:
    """Health measures the calibration of these names against returns, and of no others."""
    given = ['target.use="direction"', target] if "threshold" in target else [target]
    assert [output.name for output in package._outputs(training(tmp_path, None, *given))] == names


def test_training_twice_gives_the_same_file_but_for_its_date(tmp_path: Path) -> None:
    """Bit for bit on a CPU: the network inside is the same program with the same weights."""
    sealed = []
    for name in ("one", "two"):
        bundle = open_bundle(train(training(tmp_path / name))[1], allowed=None, now_ns=0)
        sealed.append((bundle.card.program_sha256, bundle.card.golden, bundle.card.metrics))
    assert sealed[0] == sealed[1]


def test_what_can_be_learned_is_learned_and_what_cannot_does_not_pay(tmp_path: Path) -> None:
    """On moves that are half undone the score leads the returns; on a random walk nothing is left after costs."""
    learned, _ = train(training(tmp_path / "reversal", reversal(bars=800)))
    assert learned.model.ic is not None
    assert learned.model.ic > 0.2
    assert learned.model.money is not None
    assert learned.model.money.mean_after > 0
    assert learned.verdict()[0]
    lucky, _ = train(training(tmp_path / "walk", random_walk(bars=800)))
    assert lucky.model.money is not None
    assert lucky.model.money.mean_after < 0
    assert abs(lucky.model.ic or 0) < 0.08
    assert "does not beat" in lucky.verdict()[1]


def test_a_walk_forward_tests_each_bar_once_and_packs_each_fold(tmp_path: Path) -> None:
    """A bundle for each fold, so that each span can be replayed with the model that could have been in use."""
    config = training(tmp_path, None, "walk_forward.train_bars=150", "walk_forward.test_bars=80")
    outcome, path = train(config)
    cards = [open_bundle(path.parent / f"tiny-{number}.pt", allowed=None, now_ns=0).card for number in (1, 2, 3)]
    assert all(one.test_span_ns[1] < other.test_span_ns[0] for one, other in pairwise(cards))
    assert all(card.valid_span_ns[1] < card.test_span_ns[0] for card in cards)
    assert open_bundle(path, allowed=None, now_ns=0).card.test_span_ns == cards[-1].test_span_ns
    assert len(np.unique(outcome.rows)) == len(outcome.rows)
    head = (path.parent / "report.html").read_text(encoding="utf-8")
    assert "the last of 3 folds" in head  # or its training would seem to reach into its test


@pytest.mark.parametrize("combine", ["mean", "vote", "stacked"])
def test_an_ensemble_is_one_bundle(tmp_path: Path, combine: str) -> None:
    """Two kinds of network and one of them twice: one file, which says what the training said."""
    members = '[{use="mlp", hidden=8}, {use="mlp", hidden=8}, {use="gru", hidden=4}]'
    config = training(tmp_path, None, f'ensemble.combine="{combine}"', f"ensemble.members={members}")
    outcome, path = train(config)
    assert [one.use for one in outcome.folds[0].trained] == ["mlp", "mlp", "gru"]
    first, second = outcome.folds[0].trained[:2]
    assert first.epochs != second.epochs  # each member has a seed of its own
    assert _says_what_it_said(path, outcome)


@pytest.mark.parametrize(
    ("use", "meaning"),
    [
        ("forward_return", "return"),
        ("volatility", "volatility"),
        ("triple_barrier", "probability"),
        ("direction", "probability"),
    ],
)
def test_every_target_makes_a_bundle_and_a_page(tmp_path: Path, use: str, meaning: str) -> None:
    """In its own units: a return, a volatility, or probabilities of two or three classes."""
    closes = random_walk(bars=600)
    outcome, path = train(training(tmp_path, closes, f'target.use="{use}"', "target.horizon_bars=3"))
    card = open_bundle(path, allowed=None, now_ns=0).card
    assert {output.meaning for output in card.outputs} == {meaning}
    assert card.outputs[0].horizon_ns == 3 * HOUR_NS
    assert _says_what_it_said(path, outcome)
    assert outcome.trades is (use != "volatility")
    assert (path.parent / "report.html").exists()


@pytest.mark.parametrize("use", ["cnn", "lstm", "gru", "cnn_lstm", "transformer"])
def test_every_network_makes_a_bundle_that_says_what_it_said(tmp_path: Path, use: str) -> None:
    """Recurrent ones can be read bar by bar; the others are stateless."""
    outcome, path = train(training(tmp_path, None, f'network.use="{use}"', "fit.epochs_max=1"))
    assert _says_what_it_said(path, outcome)
    mode = open_bundle(path, allowed=None, now_ns=0).card.state_mode
    assert mode == ("window" if use in ("lstm", "gru") else "stateless")


def test_an_autoencoder_is_a_guard_with_its_limit_in_the_card(tmp_path: Path) -> None:
    """Its errors are larger in a market that it was not shown."""
    closes = random_walk(bars=500)
    closes[400:] = closes[400] * np.exp(8 * np.log(closes[400:] / closes[400]))  # eight times as wild
    config = training(
        tmp_path,
        closes,
        'network.use="autoencoder"',
        'target.use="reconstruction"',
        "data.clip=50.0",
        "network.hidden=8",
    )
    outcome, path = train(config)
    card = open_bundle(path, allowed=None, now_ns=0).card
    assert card.outputs[0].meaning == "reconstruction"
    assert card.reference is not None
    assert list(card.reference.reconstruction) == sorted(card.reference.reconstruction)
    calm = outcome.folds[0].validation_outputs[:, 0]
    assert np.median(outcome.score) > 5 * np.median(calm)
    assert _says_what_it_said(path, outcome)


def test_a_frozen_trunk_goes_on_with_a_new_head_and_other_symbols(tmp_path: Path) -> None:
    """Fine-tuning: the trunk's weights and the normalization are those of the first bundle, the head is not."""
    _, first = train(training(tmp_path / "one", None, 'network.use="lstm"'))
    second = training(
        tmp_path / "two", random_walk(seed=5), 'network.use="lstm"', f'network.start_from="{first}"',
        "network.freeze=true", 'target.use="forward_return"', 'data.symbols=["AA", "BB", "CC", "DD"]',
    )  # fmt: skip
    _, path = train(second)
    old, new = (open_bundle(each, allowed=None, now_ns=0) for each in (first, path))
    assert new.card.normalization == old.card.normalization
    assert new.card.universe == ("AA", "BB", "CC", "DD")
    before, after = read_weights(old), read_weights(new)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("trunk."))
    assert after["head.weight"].shape == (1, 8)


def test_a_trunk_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    """Another size, other features: what its weights mean would be another thing."""
    _, first = train(training(tmp_path / "one", None, 'network.use="lstm"'))
    start = f'network.start_from="{first}"'
    with pytest.raises(ModelError, match="its trunk has other parts or sizes"):
        train(training(tmp_path / "two", None, 'network.use="lstm"', start, "network.hidden=9"))
    with pytest.raises(ModelError, match=r"cannot start from it: its lookback is 4, here 5"):
        train(training(tmp_path / "three", None, 'network.use="lstm"', start, "data.lookback=5"))
    with pytest.raises(ModelError, match="its features is returns, range"):
        train(training(tmp_path / "four", None, 'network.use="lstm"', start, 'data.features=[{name="gap"}]'))


def test_the_same_trial_counts_once_and_another_one_counts(tmp_path: Path) -> None:
    """The number of trials on a tape goes into the card, and deflates the Sharpe ratio."""
    config = training(tmp_path)
    train(config)
    again, _ = train(config)
    assert again.luck.trials == 1
    other, path = train(training(tmp_path, None, "seed=8"))
    assert other.luck.trials == 2
    assert open_bundle(path, allowed=None, now_ns=0).card.trials == 2
    assert other.luck.deflated <= other.luck.probabilistic
    assert other.luck.overfitting is not None
    assert len(ledger.read(config.trials, other.examples.tape_sha256)) == 2


def test_a_ledger_with_a_broken_line_is_named_with_its_line(tmp_path: Path) -> None:
    """A trial that is left out in silence would flatter the next one."""
    config = training(tmp_path)
    config.trials.write_text("{}\n")
    with pytest.raises(ConfigError, match=r"trials.jsonl:1: no line of a ledger of trials"):
        train(config)


def test_checkpoints_of_another_configuration_are_not_gone_on_from(tmp_path: Path) -> None:
    """`--resume` goes on with the same experiment or not at all."""
    train(training(tmp_path))
    with pytest.raises(ConfigError, match="its checkpoints are of another configuration; train without --resume"):
        train(training(tmp_path, None, "seed=8"), resume=True)


def test_a_resumed_training_gives_the_bundle_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """From the first fold's end, with its checkpoint there and the rest to do."""
    overrides = ("walk_forward.train_bars=150", "walk_forward.test_bars=80")
    _, whole = train(training(tmp_path / "whole", None, *overrides))
    train(training(tmp_path / "broken", None, *overrides))
    for late in (tmp_path / "broken" / "out" / "checkpoints").glob("fold-[23]*"):
        late.unlink()
    _, resumed = train(training(tmp_path / "broken", None, *overrides), resume=True)
    programs = [open_bundle(path, allowed=None, now_ns=0).card.program_sha256 for path in (whole, resumed)]
    assert programs[0] == programs[1]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ('network.use="lsmt"', "no network is called 'lsmt'; did you mean 'lstm'"),
        ('fit.device="gpu"', "fit.device"),
        ("fit.learning_rat=1", r"unknown key; did you mean 'learning_rate'"),
        ("split.train=0.9", "leave nothing to test on"),
        ("network.freeze=true", "name it in start_from"),
        ('network.use="autoencoder"', "an autoencoder goes with target 'reconstruction'"),
        ("fit.tensorboard=true", "it is not installed: pip install tensorboard"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], override: str, told: str
) -> None:
    """What was wrong, where, and what would be right; the exit code is 2."""
    training(tmp_path)
    code = main(["train", str(tmp_path / "train.toml"), "--set", override, "--set", "fit.epochs_max=1"])
    assert code == 2
    assert re.search(told, capfd.readouterr().err)


def test_a_gpu_that_is_too_small_says_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in the place of a page of its allocator."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("research.fit.Fit._step", full)
    with pytest.raises(
        ModelError, match=r"out of GPU memory in fold 1: lower fit.batch_size \(128\) or network.hidden"
    ):
        train(training(tmp_path))


def test_too_little_data_for_a_set_is_told_with_its_number(tmp_path: Path) -> None:
    """Which set of which fold, how many there are, and how many are wanted."""
    config = training(tmp_path, random_walk(bars=15), 'book.use="long_only"')
    with pytest.raises(
        ModelError, match=r"too little data: the train set of fold 1 of 1 has \d+ examples; at least 50"
    ):
        train(config)


def test_expiry_is_counted_from_the_newest_bar_that_it_was_tested_on(tmp_path: Path) -> None:
    """A model of old data is old, whenever it was trained."""
    _, path = train(training(tmp_path, None, "expires_after_days=3"))
    card = open_bundle(path, allowed=None, now_ns=0).card
    assert card.expires_ns == card.test_span_ns[1] + 3 * 24 * HOUR_NS < START_NS + 500 * HOUR_NS


@pytest.mark.parametrize("name", ["train_lstm", "train_fischer_krauss"])
def test_a_shipped_training_reads(name: str) -> None:
    """Every file that the docs name is one that the command takes."""
    root = Path(__file__).parents[2]
    config = configuration.load(root / "config" / f"{name}.toml", [f'feed.paths=["{__file__}"]'])
    assert isinstance(config, TrainConfig)


def _says_what_it_said(path: Path, outcome: Outcome) -> bool:
    """Score the last fold's test windows with the bundle, as the lane would."""
    bundle, fold, examples = open_bundle(path, allowed=None, now_ns=0), outcome.folds[-1], outcome.examples
    windows = examples.windows(bundle.card.normalization).numpy()[examples.places[fold.split.test]]
    said = load_backend(bundle, "cpu").score(np.ascontiguousarray(windows))
    return bool(np.abs(said - fold.outputs).max() < 1e-5)
