"""Beginning with what another model has learned: its trunk, its features and its scales, with a new head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from engine.clock import LiveClock
from engine.errors import ModelError
from engine.model.backends import read_weights
from engine.model.bundle import open_bundle
from engine.model.card import Card
from research.config import TrainConfig
from research.dataset import Examples

TRUNK = "trunk."


@dataclass(frozen=True)
class Donor:
    """A bundle whose trunk goes on in another network.

    Its normalization goes with it, since the trunk's weights are in those units.
    """

    path: Path
    card: Card
    weights: dict[str, torch.Tensor]

    def check(self, config: TrainConfig, examples: Examples) -> None:
        """See that the new windows mean what the old ones did.

        Raises:
            ModelError: they are of other features, bars or length.
        """
        here = (config.data.specs, config.data.lookback, examples.feature_code_sha256)
        there = (self.card.features, self.card.lookback, self.card.feature_code_sha256)
        for what, now, then in zip(("features", "lookback", "code of the features"), here, there, strict=True):
            if now != then:
                raise ModelError(f"{self.path}: cannot start from it: its {what} is {_told(then)}, here {_told(now)}")

    def give(self, network: nn.Module, *, freeze: bool) -> None:
        """Put the trunk's weights into a network of the same shape.

        Raises:
            ModelError: the network is of another shape.
        """
        trunk = {name[len(TRUNK) :]: part for name, part in self.weights.items() if name.startswith(TRUNK)}
        try:
            network.get_submodule("trunk").load_state_dict(trunk)
        except (AttributeError, RuntimeError):
            raise ModelError(
                f"{self.path}: cannot start from it: its trunk has other parts or sizes than this [network]"
            ) from None
        for part in network.get_submodule("trunk").parameters():
            part.requires_grad_(not freeze)


def donor(path: Path | None) -> Donor | None:
    """Open the bundle to start from, if there is one. It is a program: only start from files that you trust."""
    if path is None:
        return None
    bundle = open_bundle(path, allowed=None, now_ns=LiveClock().now_ns())
    return Donor(path, bundle.card, read_weights(bundle))


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)[:12]
