"""Tiny networks and their bundles, for tests of what carries and serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.clock import Sessions
from engine.events import MINUTE_NS
from engine.model.backends import save_bundle
from engine.model.card import Card, FeatureSpec, Golden, Output
from engine.model.features import FeatureSet
from engine.model.normalization import Normalization

torch.set_num_threads(1)

SPECS = (FeatureSpec("returns"), FeatureSpec("range"), FeatureSpec("intraday"))
LOOKBACK = 5


class Linear(nn.Module):
    """The null network: a weighted sum of the window."""

    def __init__(self, features: int, lookback: int, outputs: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(features * lookback, outputs)

    def forward(self, windows: Tensor) -> Tensor:
        return self.layer(windows.flatten(1))


class Recurrent(nn.Module):
    """An LSTM that can be carried from bar to bar."""

    def __init__(self, features: int, hidden: int = 8, layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, 1)
        self.layers, self.hidden = layers, hidden
        self.state_size = 2 * layers * hidden

    def forward(self, windows: Tensor) -> Tensor:
        return self.readout(
            self.advance(windows, torch.zeros(windows.shape[0], self.state_size, device=windows.device))
        )

    @torch.jit.export
    def advance(self, steps: Tensor, state: Tensor) -> Tensor:
        count = state.shape[0]
        both = state.view(count, 2, self.layers, self.hidden).permute(1, 2, 0, 3).contiguous()
        _, (h, c) = self.lstm(steps.transpose(1, 2), (both[0], both[1]))
        return torch.cat([h.transpose(0, 1).reshape(count, -1), c.transpose(0, 1).reshape(count, -1)], 1)

    @torch.jit.export
    def readout(self, state: Tensor) -> Tensor:
        return self.head(state[:, (self.layers - 1) * self.hidden : self.layers * self.hidden])


class Fixed(nn.Module):
    """Says one number, whatever it sees; `rows` and `columns` bend the shape of what it says."""

    def __init__(self, value: float, rows: int = 0, columns: int = 1) -> None:
        super().__init__()
        self.value, self.rows, self.columns = value, rows, columns

    def forward(self, windows: Tensor) -> Tensor:
        return torch.full((windows.shape[0] + self.rows, self.columns), self.value)


class NaNAbove(nn.Module):
    """The newest return, and no number where that is above a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, windows: Tensor) -> Tensor:
        newest = windows[:, 0:1, -1]
        return torch.where(newest > self.limit, torch.full_like(newest, float("nan")), newest)


class FailsAfter(nn.Module):
    """Rising scores, and no numbers once so many windows have been seen."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, windows: Tensor) -> Tensor:
        number = self.seen + torch.arange(windows.shape[0], dtype=torch.float32)
        self.seen += float(windows.shape[0])
        return torch.where(number < self.count, number, torch.full_like(number, float("nan"))).unsqueeze(1)


def card(name: str = "tiny", *, specs: tuple[FeatureSpec, ...] = SPECS, **over: Any) -> Card:
    """Return the card of a network over minute bars."""
    lookback = over.pop("lookback", LOOKBACK)
    features = FeatureSet(specs, ("A",), interval_ns=MINUTE_NS, lookback=lookback, sessions=Sessions("XNYS"))
    scale = tuple(0.01 for _ in specs)
    given: dict[str, Any] = {
        "version": "1", "feature_code_sha256": features.code_hash, "interval_ns": MINUTE_NS,
        "normalization": Normalization("z_score", tuple(0.0 for _ in specs), scale),
        "outputs": (Output("next", "return", MINUTE_NS),),
    }  # fmt: skip
    return Card(name=name, features=specs, lookback=lookback, **(given | over))


def bundle(folder: Path, net: nn.Module | None = None, *, name: str = "tiny", stem: str = "", **over: Any) -> Path:
    """Write a bundle with golden outputs; without a network it is a seeded LSTM."""
    torch.manual_seed(over.pop("seed", 1))
    made = card(name, **over)
    net = Recurrent(len(made.features)) if net is None else net
    inputs = np.random.default_rng(1).normal(size=(3, len(made.features), made.lookback)).astype(np.float32)
    if "golden" not in over:
        with torch.inference_mode():
            outputs = net.eval()(torch.from_numpy(inputs)).numpy()
        if outputs.shape == (3, len(made.outputs)) and np.isfinite(outputs).all():
            made = type(made)(
                **{**{key: getattr(made, key) for key in made.__struct_fields__}, "golden": Golden.of(inputs, outputs)}
            )
    path = folder / f"{stem or name}.pt"
    save_bundle(path, net, made)
    return path
