"""Beginning with what another model has learned: its trunk, its features and its scales, with a new head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from engine.clock import LiveClock, to_datetime
from engine.errors import ModelError
from engine.model.backends import read_weights
from engine.model.bundle import open_bundle
from engine.model.card import Card, Span
from research.config import TrainConfig
from research.dataset import Examples
from research.splits import Split

TRUNK = "trunk."


@dataclass(frozen=True)
class Donor:
    """A bundle whose trunk goes on in another network.

    Its normalization goes with it, since the trunk's weights are in those units.
    """

    path: Path
    sha256: str
    card: Card
    weights: dict[str, torch.Tensor]

    @property
    def seen_ns(self) -> Span:
        """What it was fitted and stopped on, and those that it began with: (0, 0) where its card does not say."""
        known = [span_ns for span_ns in (self.card.train_span_ns, self.card.valid_span_ns) if span_ns[1]]
        return (min(first for first, _ in known), max(last for _, last in known)) if known else (0, 0)

    def check(self, config: TrainConfig, examples: Examples, split: Split) -> None:
        """See that the new windows mean what the old ones did, and that none of the test was among them.

        Raises:
            ModelError: they are of other features, bars or length, or it was trained on what is to be a test.
        """
        here = (config.data.specs, config.data.lookback, examples.feature_code_sha256)
        there = (self.card.features, self.card.lookback, self.card.feature_code_sha256)
        for what, now, then in zip(("features", "lookback", "code of the features"), here, there, strict=True):
            if now != then:
                raise ModelError(f"{self.path}: cannot start from it: its {what} is {_told(then)}, here {_told(now)}")
        last_ns, begins_ns = self.seen_ns[1], int(examples.ts_ns[split.test].min())
        instants = np.unique(examples.ts_ns)
        between = np.searchsorted(instants, begins_ns) - np.searchsorted(instants, last_ns, side="right")
        ahead = max(output.horizon_ns for output in self.card.outputs) // self.card.interval_ns
        if last_ns and between < ahead:  # its last label was decided so many bars after its last window
            raise ModelError(
                f"{self.path}: cannot start from it: it was trained until {to_datetime(last_ns):%Y-%m-%d %H:%M}, and "
                f"its labels look {ahead} bars ahead, but the test begins on {to_datetime(begins_ns):%Y-%m-%d %H:%M}; "
                "start from an older one, or test on later days"
            )

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
    return Donor(path, bundle.sha256, bundle.card, read_weights(bundle))


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)[:12]
