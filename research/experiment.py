"""One experiment from a configuration to forecasts of data that no model of it had seen.

Each fold fits its normalization, its target's scale and its networks on its own training span, is stopped and
calibrated on the validation that follows, and says what it thinks of the test that follows that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from engine.clock import LiveClock
from engine.errors import ModelError
from engine.model.card import Span
from engine.model.fit import fit_normalization
from engine.model.normalization import Normalization
from research import baselines, networks, outputs, splits, transfer
from research.baselines import Baseline
from research.config import NetworkConfig, TrainConfig
from research.dataset import Examples
from research.fit import Epoch, Fit, Objective, Sheets, Watch, objective, pick_device
from research.fit import outputs as say
from research.memory import keep_memory
from research.networks import Autoencoder, Shape, Trainable
from research.splits import Split
from research.targets import Floats, Ints

TRAIN_MIN, VALIDATION_MIN, TEST_MIN = 50, 10, 5


class Trained(NamedTuple):
    """One network's way to its weights."""

    use: str
    parameters: int
    epochs: list[Epoch]
    best: Epoch


@dataclass(frozen=True)
class Fold:
    """One cut of time, the model trained before it and what it and the baselines said after it.

    Attributes:
        train_span_ns: from the first to the last instant that it learned from, through the bundles it began with too.
        parent_sha256: of these bundles, separated by spaces; empty where it began with nothing.
        outputs, validation_outputs: of the test and the validation rows, `[row, output]`.
        seconds: that it took.
    """

    split: Split
    train_span_ns: Span
    parent_sha256: str
    normalization: Normalization
    module: nn.Module
    trained: list[Trained]
    outputs: Floats
    validation_outputs: Floats
    baselines: list[Baseline]
    seconds: float


@dataclass(frozen=True)
class Told:
    """Where an experiment stands, for a progress bar."""

    fold: int
    folds: int
    network: str
    step: int
    steps: int
    epochs: list[Epoch]


Tell = Callable[[Told], None]


def cut(config: TrainConfig, examples: Examples) -> list[Split]:
    """Return the folds of an experiment.

    Raises:
        ModelError: one of their sets is too small to say anything.
    """
    ts_ns, end_ns, walk = examples.ts_ns, examples.end_ns, config.walk_forward
    embargo = config.split.embargo_bars
    if walk is None:
        shares = (config.split.train, config.split.validation, 1 - config.split.train - config.split.validation)
        folds = [splits.chronological(ts_ns, end_ns, shares, embargo)]
    else:
        folds = list(
            splits.walk_forward(
                ts_ns, end_ns, walk.train_bars, walk.test_bars, walk.validation, embargo, anchored=walk.anchored
            )
        )
    for number, fold in enumerate(folds, 1):
        for name, rows, least in zip(fold._fields, fold, (TRAIN_MIN, VALIDATION_MIN, TEST_MIN), strict=True):
            if len(rows) < least:
                raise ModelError(
                    f"too little data: the {name} set of fold {number} of {len(folds)} has {len(rows)} examples; at "
                    f"least {least} are wanted"
                )
    return folds


def run(
    config: TrainConfig, examples: Examples, folds: list[Split], *, checkpoints: Path | None = None,
    resume: bool = False, tell: Tell = lambda told: None,
) -> Iterator[Fold]:  # fmt: skip
    """Train each fold and yield it.

    Raises:
        ModelError: a training diverges, the GPU is too small, or the bundle to start from does not fit.
        ConfigError: a GPU was asked for and there is none.
    """
    torch.set_num_threads(config.fit.threads)
    keep_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)
    for number, split in enumerate(folds, 1):
        try:
            fold = _Workshop(config, examples, split, number, len(folds), tell).fold(checkpoints, resume=resume)
        except torch.OutOfMemoryError:
            size = config.fit.batch_size
            raise ModelError(
                f"out of GPU memory in fold {number}: lower fit.batch_size ({size}) or network.hidden"
            ) from None
        yield fold


def span(ts_ns: Ints) -> Span:
    """Return the first and last of some instants."""
    return int(ts_ns.min()), int(ts_ns.max())


class _Workshop:
    """What the networks of one fold share."""

    def __init__(
        self, config: TrainConfig, examples: Examples, split: Split, number: int, folds: int, tell: Tell
    ) -> None:
        self.config, self.examples, self.split = config, examples, split
        self.number, self.folds, self.tell = number, folds, tell
        self.device = pick_device(config.fit.device)
        self.donors = [transfer.donor(one.start_from) for one in config.members]
        self.normalization = self._normalization()
        self.windows = examples.windows(self.normalization)
        self.view = self.windows.to(self.device)
        self.values = config.target.values
        self.objective = objective(
            config.target.use, examples.label[split.train], len(self.values),
            balanced=config.fit.class_weights == "balanced",
        )  # fmt: skip

    def fold(self, checkpoints: Path | None, *, resume: bool) -> Fold:
        clock = LiveClock()
        begun_ns = clock.monotonic_ns()
        found = [self._train(place, checkpoints, resume=resume) for place in range(len(self.config.members))]
        module = self._combined([network for network, _ in found]).eval()
        test, validation = self.split.test, self.split.validation
        parents = {donor.sha256: donor.seen_ns for donor in self.donors if donor is not None}
        seen_ns = [span(self.examples.ts_ns[self.split.train]), *(seen for seen in parents.values() if seen[1])]
        return Fold(
            self.split, (min(first for first, _ in seen_ns), max(last for _, last in seen_ns)), " ".join(parents),
            self.normalization, module.cpu(), [trained for _, trained in found],
            say(module, self.windows, self.examples.places[test]),
            say(module, self.windows, self.examples.places[validation]),
            self._baselines(), (clock.monotonic_ns() - begun_ns) / 1e9,
        )  # fmt: skip

    def _normalization(self) -> Normalization:
        """Fit on the newest bars of the training examples, or take that of the bundle whose trunk goes on."""
        config, examples, train = self.config, self.examples, self.split.train
        donors = [donor for donor in self.donors if donor is not None]
        for donor in donors:
            donor.check(config, examples, self.split)
            if donor.card.normalization != donors[0].card.normalization:
                raise ModelError(f"{donor.path}: its inputs are scaled otherwise than those of {donors[0].path}")
        if donors:
            return donors[0].card.normalization
        newest = examples.columns[examples.row[train]][:, :, None]
        clip = None if config.data.clip is None else (-config.data.clip, config.data.clip)
        ts_ns = examples.ts_ns[train]
        names = examples.feature_names
        return fit_normalization(config.data.normalization, newest, ts_ns, span(ts_ns), clip=clip, names=names)

    def _train(self, place: int, checkpoints: Path | None, *, resume: bool) -> tuple[Trainable, Trained]:
        config, wanted = self.config, self.config.members[place]
        seed = config.seed + 1_000 * self.number + place
        network = self._network(place, wanted, seed).to(self.device)
        name = wanted.use if len(config.members) == 1 else f"{wanted.use} {place + 1}"
        fit = Fit(
            network, self.objective, self._sheets(self.split.train), self._sheets(self.split.validation), config.fit,
            seed=seed, where=f"fold {self.number} of {self.folds}, {name}", frozen=wanted.freeze,
            checkpoint=None if checkpoints is None else checkpoints / f"fold-{self.number}-{place + 1}.checkpoint",
        )  # fmt: skip
        if resume:
            fit.resume()
        progress = fit.run(self._watch(name))
        network = network.cpu()
        if not isinstance(network, Autoencoder):
            network.speak = self._speech(network, self.objective)
        count = networks.parameter_count(network)
        return network, Trained(wanted.use, count, progress.epochs, progress.best_epoch)

    def _network(self, place: int, wanted: NetworkConfig, seed: int) -> Trainable:
        torch.manual_seed(seed)
        shape = Shape(
            len(self.examples.feature_names), self.examples.lookback, wanted.hidden, wanted.layers, wanted.dropout,
            wanted.kernel, wanted.heads,
        )  # fmt: skip
        network = networks.build(wanted.use, shape, self.objective.outputs)
        donor = self.donors[place]
        if donor is not None:
            donor.give(network, freeze=wanted.freeze)
        return network

    def _sheets(self, rows: Ints) -> Sheets:
        labels = self.objective.encode(self.examples.label[rows])
        return Sheets(self.view, torch.from_numpy(self.examples.places[rows]).to(self.device), labels.to(self.device))

    def _watch(self, name: str) -> Watch:
        def watch(step: int, steps: int, epochs: list[Epoch]) -> None:
            self.tell(Told(self.number, self.folds, name, step, steps, epochs))

        return watch

    def _speech(self, network: Trainable, wanted: Objective) -> nn.Module:
        """Say what the raw numbers mean; how sure the probabilities may be is learned on the validation."""
        if not wanted.classes:
            return outputs.Scale(wanted.center, wanted.scale)
        rows = self.split.validation
        with torch.inference_mode():
            raw = torch.cat([network.raw(part) for part in self._pieces(rows)])
        return outputs.Probabilities(outputs.fit_temperature(raw.clone(), wanted.encode(self.examples.label[rows])))

    def _combined(self, members: list[Trainable]) -> nn.Module:
        if self.config.ensemble is None:
            return members[0]
        combine = outputs.combiner(self.config.ensemble.combine, len(members), self.objective.outputs)
        if isinstance(combine, outputs.Stacked):
            rows = self.split.validation
            with torch.inference_mode():
                said = [torch.cat([member(part) for part in self._pieces(rows)]) for member in members]
            outputs.fit_stacked(combine, torch.stack(said, dim=1).clone(), torch.from_numpy(self.examples.label[rows]))
        return outputs.Ensemble(members, combine)

    def _pieces(self, rows: Ints) -> Iterator[torch.Tensor]:
        places = torch.from_numpy(self.examples.places[rows])
        return (self.windows[part] for part in places.split(4096))

    def _baselines(self) -> list[Baseline]:
        use, examples, split = self.config.target.use, self.examples, self.split
        if use == "reconstruction":
            return []
        labels = examples.label[split.train], examples.label[split.validation]
        places = examples.places[split.train], examples.places[split.validation], examples.places[split.test]
        return [
            baselines.linear(self.windows, places, labels, self.values),
            *baselines.last_move(examples.moved[split.test], examples.volatility[split.test], use),
            baselines.constant(labels[0], len(self.values), len(split.test)),
        ]


def worth(outputs: Floats, values: tuple[float, ...]) -> Floats:
    """Return the one score of some outputs: the value itself, or the expected value of the classes."""
    score: Floats = outputs @ np.array(values) if values else outputs[:, 0]
    return score
