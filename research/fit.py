"""The training loop: seeded, stopped early, resumable, and stopped at once when it diverges.

On a CPU, with the same number of threads, the same seed gives the same weights bit for bit, whether it was interrupted
or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ConfigError, ModelError
from research.config import FitConfig
from research.targets import Floats, Ints

SCORE_ROWS = 4096


class Epoch(NamedTuple):
    """One pass over the training set. Losses are means over the examples, penalties not counted."""

    number: int
    train: float
    validation: float


Watch = Callable[[int, int, list[Epoch]], None]
"""Told after each step: how many of the epoch's steps are done, how many it has, and the epochs so far."""


@dataclass(frozen=True)
class Objective:
    """What the raw outputs are compared with.

    Attributes: `classes`, 0 for a value or an error; `center` and `scale` standardize a value; `weights` of classes.
    """

    kind: str
    classes: int = 0
    center: float = 0.0
    scale: float = 1.0
    weights: tuple[float, ...] = ()

    @property
    def outputs(self) -> int:
        return max(1, self.classes)

    def encode(self, labels: Floats) -> Tensor:
        """Return labels as the loss wants them."""
        if self.classes:
            return torch.from_numpy(labels.astype(np.int64))
        return torch.from_numpy(((labels - self.center) / self.scale).astype(np.float32))

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss: cross entropy, squared error, or the reconstruction error itself."""
        if self.kind == "reconstruction":
            return raw.mean()
        if self.classes:
            weights = torch.tensor(self.weights, device=raw.device) if self.weights else None
            return functional.cross_entropy(raw, labels, weight=weights)
        return functional.mse_loss(raw[:, 0], labels)


def objective(use: str, labels: Floats, classes: int, *, balanced: bool) -> Objective:
    """Fit what has to be known of the training labels, and of no others."""
    if classes:
        counts = np.bincount(labels.astype(int), minlength=classes)
        if (counts == 0).any():
            raise ModelError(f"too little data: class {int(counts.argmin())} of {classes} has no example to train on")
        weights = tuple((len(labels) / (classes * counts)).tolist()) if balanced else ()
        return Objective(use, classes, weights=weights)
    if use == "reconstruction":
        return Objective(use)
    return Objective(use, center=float(labels.mean()), scale=float(labels.std()) or 1.0)


@dataclass(frozen=True)
class Sheets:
    """Windows and labels of one set, on the device: `view[places]` are the windows."""

    view: Tensor
    places: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.view[self.places[rows]], self.labels[rows]


@dataclass
class Progress:
    """Where a training stands: what a checkpoint holds beside the tensors of network and optimizer."""

    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    done: bool = False

    @property
    def best_epoch(self) -> Epoch:
        return min(self.epochs, key=lambda epoch: (epoch.validation, epoch.number))


def pick_device(wanted: str) -> torch.device:
    """Return the device to train on; `auto` is a GPU where there is one.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError('fit.device = "cuda", and this machine shows no GPU; "auto" takes what there is')
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(wanted: str) -> str:
    """Return what `pick_device` takes, for a person."""
    return torch.cuda.get_device_name() if pick_device(wanted).type == "cuda" else "cpu"


class Fit:
    """One network with a `raw`, trained to `objective` on `train` and stopped by `validation`.

    Args:
        where: names the fold and the network in what it tells.
        checkpoint: written after each epoch; with `resume` it goes on from there.
    """

    def __init__(
        self, network: nn.Module, objective: Objective, train: Sheets, validation: Sheets, config: FitConfig, *,
        seed: int, where: str, checkpoint: Path | None = None, frozen: bool = False,
    ) -> None:  # fmt: skip
        self.network, self.objective, self.where = network, objective, where
        self._raw: Any = network.raw
        self._train, self._validation, self._config, self._frozen = train, validation, config, frozen
        self._checkpoint = checkpoint
        self._device = train.view.device
        self._order = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self._dropout = _chance(self._device)  # it draws from the global generators
        self._learned = [part for part in network.parameters() if part.requires_grad]
        self._optimizer = _optimizer(self._learned, config)
        self._mixed = config.precision == "mixed" and self._device.type == "cuda"
        self._scaler = torch.amp.GradScaler(enabled=self._mixed)
        self.progress = Progress()

    def run(self, watch: Watch = lambda done, steps, epochs: None) -> Progress:
        """Train until patience or epochs run out, and leave the best weights in the network.

        Raises:
            ModelError: the loss is no number any more.
        """
        progress = self.progress
        _set_chance(self._device, self._dropout)
        while not progress.done:
            number = len(progress.epochs) + 1
            train = self._epoch(number, watch)
            validation = self.loss(self._validation)
            if not np.isfinite(validation):
                raise ModelError(self._diverged(number, "on the validation set", validation))
            progress.epochs.append(Epoch(number, train, validation))
            best = progress.best_epoch.number
            if best == number:
                progress.best = {name: part.detach().cpu().clone() for name, part in self.network.state_dict().items()}
            progress.done = number - best >= self._config.patience or number >= self._config.epochs_max
            self.save()
            watch(0, 1, progress.epochs)
        self.network.load_state_dict(progress.best)
        self.network.eval()
        return progress

    def loss(self, sheets: Sheets) -> float:
        """Return the mean loss of a set, without dropout or penalties."""
        raw = torch.cat([part.float() for part in raw_outputs(self.network, sheets)])
        return float(self.objective.loss(raw, sheets.labels))

    def _epoch(self, number: int, watch: Watch) -> float:
        order = torch.randperm(len(self._train), generator=self._order).to(self._device)
        batches = order.split(self._config.batch_size)
        self.network.train()
        if self._frozen:
            self.network.get_submodule("trunk").eval()  # a trunk that is kept keeps its dropout off
        losses = []
        for step, rows in enumerate(batches, 1):
            losses.append(self._step(rows) * len(rows))
            watch(step, len(batches), self.progress.epochs)
        told = torch.stack(losses).cpu()  # once an epoch: asking a GPU after each step would hold it up
        if not torch.isfinite(told).all():
            step = int((~torch.isfinite(told)).int().argmax()) + 1
            raise ModelError(self._diverged(number, f"step {step} of {len(batches)}", float(told[step - 1])))
        return float(told.double().sum() / len(self._train))

    def _step(self, rows: Tensor) -> Tensor:
        windows, labels = self._train.take(rows)
        with torch.autocast("cuda", torch.float16, enabled=self._mixed):
            raw = self._raw(windows)
        loss = self.objective.loss(raw.float(), labels)
        penalized = loss
        if self._config.l1:
            penalized = loss + self._config.l1 * sum(part.abs().sum() for part in self._learned if part.dim() > 1)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(penalized).backward()
        if self._config.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._learned, self._config.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach()

    def _diverged(self, epoch: int, place: str, loss: float) -> str:
        rate = self._config.learning_rate
        return (
            f"the training diverged: {self.where}, epoch {epoch}, {place}: the loss is {loss}; lower "
            f"fit.learning_rate ({rate:g}), or set fit.clip_norm"
        )

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write all that it takes to go on from here."""
        if self._checkpoint is None:
            return
        partial = self._checkpoint.with_name(self._checkpoint.name + ".partial")
        torch.save(
            {
                "network": self.network.state_dict(), "optimizer": self._optimizer.state_dict(),
                "scaler": self._scaler.state_dict(), "order": self._order.get_state(), "dropout": _chance(self._device),
                "epochs": [tuple(epoch) for epoch in self.progress.epochs], "best": self.progress.best,
                "done": self.progress.done,
            },
            partial,
        )  # fmt: skip
        partial.replace(self._checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one; only tensors and numbers are ever read from it.

        Raises:
            ModelError: it is of another network, or damaged.
        """
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        try:
            kept: dict[str, Any] = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
            self.network.load_state_dict(kept["network"])
            self._optimizer.load_state_dict(kept["optimizer"])
            self._scaler.load_state_dict(kept["scaler"])
        except (RuntimeError, ValueError, KeyError, EOFError, OSError, UnpicklingError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{self._checkpoint}: cannot go on from it: {first}; delete it to begin anew") from None
        self._order.set_state(kept["order"])
        self._dropout = kept["dropout"]
        self.progress = Progress([Epoch(*epoch) for epoch in kept["epochs"]], kept["best"], kept["done"])


def raw_outputs(network: nn.Module, sheets: Sheets) -> list[Tensor]:
    """Return the raw outputs of a set in pieces, without gradients."""
    network.eval()
    raw: Any = network.raw
    with torch.inference_mode():
        return [raw(sheets.view[places]) for places in sheets.places.split(SCORE_ROWS)]


def outputs(module: nn.Module, view: Tensor, places: Ints) -> Floats:
    """Return what a finished module says of windows, `[n, output]`, as float64."""
    module.eval()
    with torch.inference_mode():
        said = [module(view[rows]) for rows in torch.from_numpy(places).to(view.device).split(SCORE_ROWS)]
    return torch.cat(said).float().cpu().numpy().astype(np.float64)


def _optimizer(learned: list[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(learned, config.learning_rate, momentum=0.9, weight_decay=config.l2)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.RMSprop
    return kind(learned, config.learning_rate, weight_decay=config.l2)


def _chance(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state()] if device.type == "cuda" else [])


def _set_chance(device: torch.device, kept: list[Tensor]) -> None:
    torch.set_rng_state(kept[0])
    if device.type == "cuda" and len(kept) > 1:
        torch.cuda.set_rng_state(kept[1])
