"""What the raw numbers of a network mean, and how several networks speak as one: part of a bundle's file.

**Shapes**: `[batch, output]`: one value in the target's own units, or the probabilities of the classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ConfigError


class Scale(nn.Module):
    """Undoes the standardization of the target, so that a return is a return again."""

    def __init__(self, center: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.center, self.scale = center, scale

    def forward(self, raw: Tensor) -> Tensor:
        return raw * self.scale + self.center


class Probabilities(nn.Module):
    """Probabilities of classes, softened by a temperature.

    Source: Guo, C. et al. (2017), On Calibration of Modern Neural Networks, ICML, for the temperature.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, raw: Tensor) -> Tensor:
        return torch.softmax(raw / self.temperature, dim=1)


class Ensemble(nn.Module):
    """Several models as one. All read the same windows."""

    def __init__(self, members: Sequence[nn.Module], combine: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.combine = combine

    def forward(self, windows: Tensor) -> Tensor:
        said: list[Tensor] = []
        for member in self.members:
            said.append(member(windows))  # noqa: PERF401 (TorchScript knows no comprehension over modules)
        return self.combine(torch.stack(said, dim=1))


class Mean(nn.Module):
    """The mean of what the members say."""

    def forward(self, said: Tensor) -> Tensor:
        return said.mean(dim=1)


class Vote(nn.Module):
    """Each member has one vote for a class; a probability is a share of the votes."""

    def forward(self, said: Tensor) -> Tensor:
        votes = functional.one_hot(said.argmax(dim=2), said.shape[2])
        return votes.to(said.dtype).mean(dim=1)


class Stacked(nn.Module):
    """A linear layer over the members, fitted on data that none of them was trained on. It begins as their mean."""

    def __init__(self, members: int, outputs: int) -> None:
        super().__init__()
        self.classes = outputs > 1
        self.mix = nn.Linear(members * outputs, outputs)
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(outputs).repeat(1, members) / members)
            self.mix.bias.zero_()

    def raw(self, said: Tensor) -> Tensor:
        """Return logits, or the value itself where there are no classes."""
        known = torch.log(said.clamp(min=1e-6)) if self.classes else said
        return self.mix(known.flatten(1))

    def forward(self, said: Tensor) -> Tensor:
        mixed = self.raw(said)
        return torch.softmax(mixed, dim=1) if self.classes else mixed


def combiner(use: str, members: int, outputs: int) -> nn.Module:
    """Return what makes one model of several: `mean`, `vote` or `stacked`.

    Raises:
        ConfigError: there is no vote without classes.
    """
    if use == "vote" and outputs == 1:
        raise ConfigError("ensemble.combine is 'vote', but this target has no classes; use 'mean' or 'stacked'")
    if use == "stacked":
        return Stacked(members, outputs)
    return Vote() if use == "vote" else Mean()


def fit_temperature(raw: Tensor, labels: Tensor) -> float:
    """Return the temperature under which logits fit labels best; by golden-section search, so to the same digit."""
    low, high = -2.0, 3.0  # of its logarithm
    ratio = (5**0.5 - 1) / 2

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(raw / torch.tensor(log_temperature).exp(), labels))

    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(torch.tensor((low + high) / 2).exp())


def fit_stacked(combine: Stacked, said: Tensor, labels: Tensor, penalty: float = 1e-2) -> None:
    """Fit a stacked ensemble to what its members said, drawn a little towards their mean."""
    begun = combine.mix.weight.detach().clone()
    optimizer = torch.optim.LBFGS(combine.parameters(), max_iter=100, line_search_fn="strong_wolfe")
    scale = 1.0 if combine.classes else float(labels.std()) or 1.0

    def closure() -> Tensor:
        optimizer.zero_grad()
        raw = combine.raw(said)
        if combine.classes:
            loss = functional.cross_entropy(raw, labels.long())
        else:
            loss = ((raw[:, 0] - labels.float()) / scale).square().mean()
        loss = loss + penalty * (combine.mix.weight - begun).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    for part in combine.parameters():
        part.requires_grad_(False)
