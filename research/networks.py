"""Small networks that read a window and say a few numbers. Each can be made a TorchScript file.

A network is a `trunk` that makes features of a window and a `head` that makes outputs of those, so that a trunk can be
kept and given another head. To add one, write a trunk with a `width` and put its builder in `TRUNKS`.

**Shapes**: float32 `[batch, feature, lookback]`, normalized, newest last, to `[batch, output]`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ConfigError, suggestion


class Shape(NamedTuple):
    """What every network has to be told: the size of its windows, and how large it is itself."""

    features: int
    lookback: int
    hidden: int = 32
    layers: int = 1
    dropout: float = 0.0
    kernel: int = 3
    heads: int = 4


class Trunk(nn.Module):
    """What makes `width` features of a window."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


class Dense(Trunk):
    """A multilayer perceptron over the whole window."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape.hidden)
        sizes = [shape.features * shape.lookback] + [shape.hidden] * shape.layers
        blocks: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(sizes):
            blocks += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(shape.dropout)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, windows: Tensor) -> Tensor:
        return self.blocks(windows)


class Convolution(Trunk):
    """Patterns in time: causal convolutions, each reaching twice as far back, and the mean and the last of them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(2 * shape.hidden)
        self.stack = _convolutions(shape)

    def forward(self, windows: Tensor) -> Tensor:
        found = self.stack(windows)
        return torch.cat([found.mean(dim=2), found[:, :, -1]], dim=1)


class Lstm(Trunk):
    """A long short-term memory; what it knows after the newest bar.

    Its state is one flat row a symbol, so that a window can be read bar by bar: `readout(advance(window, zeros))` is
    what the whole window says.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape.hidden)
        between = shape.dropout if shape.layers > 1 else 0.0
        self.cells = nn.LSTM(shape.features, shape.hidden, shape.layers, batch_first=True, dropout=between)
        self.layers = shape.layers
        self.state_size: int = 2 * shape.layers * shape.hidden

    def forward(self, windows: Tensor) -> Tensor:
        found = self.cells(windows.transpose(1, 2))[0]
        return found[:, -1]

    def advance(self, steps: Tensor, state: Tensor) -> Tensor:
        """Return the state after some bars `[batch, feature, bar]` more."""
        hidden, cell = state.view(-1, 2, self.layers, self.width).permute(1, 2, 0, 3).contiguous().unbind(0)
        _, (hidden, cell) = self.cells(steps.transpose(1, 2), (hidden, cell))
        return torch.stack([hidden, cell]).permute(2, 0, 1, 3).flatten(1)

    def readout(self, state: Tensor) -> Tensor:
        """Return what `forward` would."""
        return state.view(-1, 2, self.layers, self.width)[:, 0, -1]


class Gru(Trunk):
    """A gated recurrent unit: an LSTM with one state in the place of two."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape.hidden)
        between = shape.dropout if shape.layers > 1 else 0.0
        self.cells = nn.GRU(shape.features, shape.hidden, shape.layers, batch_first=True, dropout=between)
        self.layers = shape.layers
        self.state_size: int = shape.layers * shape.hidden

    def forward(self, windows: Tensor) -> Tensor:
        found = self.cells(windows.transpose(1, 2))[0]
        return found[:, -1]

    def advance(self, steps: Tensor, state: Tensor) -> Tensor:
        """Return the state after some bars `[batch, feature, bar]` more."""
        hidden = state.view(-1, self.layers, self.width).transpose(0, 1).contiguous()
        return self.cells(steps.transpose(1, 2), hidden)[1].transpose(0, 1).flatten(1)

    def readout(self, state: Tensor) -> Tensor:
        """Return what `forward` would."""
        return state.view(-1, self.layers, self.width)[:, -1]


class ConvolutionThenLstm(Trunk):
    """Convolutions find the patterns, an LSTM their order."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape.hidden)
        self.stack = _convolutions(shape._replace(layers=1))
        self.recurrent = Lstm(shape._replace(features=shape.hidden))

    def forward(self, windows: Tensor) -> Tensor:
        return self.recurrent(self.stack(windows))


class Attention(Trunk):
    """A transformer encoder; every bar looks at every other, and the newest one is read."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape.hidden)
        if shape.hidden % shape.heads:
            raise ConfigError(f"network.hidden ({shape.hidden}) is no multiple of network.heads ({shape.heads})")
        self.enter = nn.Linear(shape.features, shape.hidden)
        self.places = nn.Parameter(torch.randn(1, shape.lookback, shape.hidden) * 0.02)
        self.blocks = nn.Sequential(*(AttentionBlock(shape) for _ in range(shape.layers)))
        self.norm = nn.LayerNorm(shape.hidden)

    def forward(self, windows: Tensor) -> Tensor:
        found = self.blocks(self.enter(windows.transpose(1, 2)) + self.places)
        return self.norm(found[:, -1])


class AttentionBlock(nn.Module):
    """Self-attention and a feed-forward layer, each normalized before and added to what came in.

    Written out, because the library's own block takes another path when it is not training, and says other numbers.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.hidden
        self.heads = shape.heads
        self.norm, self.norm_wide = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.leave = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, found: Tensor) -> Tensor:
        batch, length, width = found.shape
        split = self.project(self.norm(found)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(query @ key.transpose(-2, -1) / sqrt(width // self.heads), dim=-1)
        seen = (weights @ value).transpose(1, 2).reshape(batch, length, width)
        found = found + self.dropout(self.leave(seen))
        return found + self.dropout(self.wide(self.norm_wide(found)))


class CausalConvolution(nn.Module):
    """A convolution that sees nothing newer than the bar it speaks of."""

    def __init__(self, before: int, after: int, kernel: int, step: int) -> None:
        super().__init__()
        self.reach = (kernel - 1) * step
        self.convolve = nn.Conv1d(before, after, kernel, dilation=step)

    def forward(self, windows: Tensor) -> Tensor:
        return self.convolve(functional.pad(windows, (self.reach, 0)))


def _convolutions(shape: Shape) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for layer in range(shape.layers):
        before = shape.hidden if layer else shape.features
        blocks += [
            CausalConvolution(before, shape.hidden, shape.kernel, 2**layer),
            nn.ReLU(),
            nn.Dropout(shape.dropout),
        ]
    return nn.Sequential(*blocks)


TRUNKS: dict[str, Callable[[Shape], Trunk]] = {
    "mlp": Dense,
    "cnn": Convolution,
    "lstm": Lstm,
    "gru": Gru,
    "cnn_lstm": ConvolutionThenLstm,
    "transformer": Attention,
}


class Network(nn.Module):
    """A trunk, a linear head, and `speak`, which says what the head's numbers mean (`research.outputs`)."""

    def __init__(self, trunk: Trunk, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.width, outputs)
        self.speak: nn.Module = nn.Identity()

    def raw(self, windows: Tensor) -> Tensor:
        """Return the head's numbers, on which it is trained."""
        return self.head(self.dropout(self.trunk(windows)))

    def forward(self, windows: Tensor) -> Tensor:
        return self.speak(self.raw(windows))


class RecurrentNetwork(Network):
    """A network that can also read its window bar by bar, which leaves one step to do when the last bar comes."""

    def __init__(self, trunk: Lstm | Gru, outputs: int, dropout: float = 0.0) -> None:
        super().__init__(trunk, outputs, dropout)
        self.state_size: int = trunk.state_size

    @torch.jit.export
    def advance(self, steps: Tensor, state: Tensor) -> Tensor:
        """Return the state `[batch, state_size]` after some bars `[batch, feature, bar]` more; it begins with zeros."""
        return self.trunk.advance(steps, state)

    @torch.jit.export
    def readout(self, state: Tensor) -> Tensor:
        """Return what `forward` says of the window that led to this state."""
        return self.speak(self.head(self.trunk.readout(state)))


class Autoencoder(nn.Module):
    """Says how badly a window is rebuilt through a narrow middle: the mean squared error, one number a window.

    It learns the markets it was shown, so a large error marks one that it was not.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, middle = shape.features * shape.lookback, max(1, shape.hidden // 4)
        self.encoder = nn.Sequential(nn.Linear(size, shape.hidden), nn.Tanh(), nn.Linear(shape.hidden, middle))
        self.decoder = nn.Sequential(nn.Linear(middle, shape.hidden), nn.Tanh(), nn.Linear(shape.hidden, size))

    def raw(self, windows: Tensor) -> Tensor:
        """Return the error, which is what is trained to be small."""
        return self.forward(windows)

    def forward(self, windows: Tensor) -> Tensor:
        flat = windows.flatten(1)
        return (self.decoder(self.encoder(flat)) - flat).square().mean(dim=1, keepdim=True)


NETWORKS = (*TRUNKS, "autoencoder")


Trainable = Network | Autoencoder


def build(use: str, shape: Shape, outputs: int) -> Trainable:
    """Return a network by name, with fresh weights.

    Raises:
        ConfigError: there is none of that name.
    """
    if use == "autoencoder":
        return Autoencoder(shape)
    if use not in TRUNKS:
        hint = suggestion(use, NETWORKS) or f"; known: {', '.join(NETWORKS)}"
        raise ConfigError(f"no network is called {use!r}{hint}")
    trunk = TRUNKS[use](shape)
    if isinstance(trunk, Lstm | Gru):
        return RecurrentNetwork(trunk, outputs, shape.dropout)
    return Network(trunk, outputs, shape.dropout)


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers training may change. PyTorch's LSTM has two bias vectors where Keras has one."""
    return sum(part.numel() for part in network.parameters() if part.requires_grad)
