"""One step of an LSTM by its cells is the step of the network, and only of a network that is one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.model.backends import Floats, _quiet, load_backend
from engine.model.bundle import open_bundle
from engine.model.cells import LstmCells, cells_of
from engine.model.normalization import Normalization, Scaling
from engine.model.states import Due, PreRolled
from research.outputs import Scale
from research.stac_ml import stac_ml
from tests.engine.model import nets

FEATURES = len(nets.SPECS)


def backend_of(folder: Path, net: nn.Module) -> Any:
    return load_backend(open_bundle(nets.bundle(folder, net, golden=None), allowed=None, now_ns=0), "cpu")


SCALE = Scaling(Normalization("z_score", (0.1,) * FEATURES, (2.0,) * FEATURES, (-1.0, 1.0)))


def due_of(walk: Floats, first: int) -> Due:
    """The windows that begin at some bar of a walk, of all its symbols."""
    window, rows = walk[:, :, first : first + nets.LOOKBACK].copy(), np.arange(len(walk))
    return Due(first, rows, rows, np.full(len(walk), first), window, window[:, :, -1].copy())


def whole(backend: Any, due: Due) -> Floats:
    """What the whole windows say."""
    found: Floats = backend.score(SCALE(due.windows))
    return found


def random(*shape: int) -> Floats:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("rows", "layers"), [(1, 1), (1, 3), (7, 2), (300, 2)])
def test_a_step_by_cells_is_the_step_of_the_network(tmp_path: Path, rows: int, layers: int) -> None:
    """State by state, for one symbol and many, however many layers."""
    backend = backend_of(tmp_path, nets.Recurrent(FEATURES, 8, layers))
    steps, state = random(rows, FEATURES, 1), random(rows, backend.state_size)
    found = backend.cells.step(steps[:, :, 0], state, backend.cells.foresee(state))
    np.testing.assert_allclose(found, backend.advance(steps, state), atol=1e-6)


@pytest.mark.parametrize("symbols", [1, 300])
@pytest.mark.parametrize("by_cells", [True, False])
def test_a_pre_rolled_window_says_what_the_whole_window_says(tmp_path: Path, symbols: int, by_cells: bool) -> None:
    """Bar after bar, with the cells and without them."""
    backend = backend_of(tmp_path, nets.Recurrent(FEATURES))
    if not by_cells:
        backend.cells = None
    carrier = PreRolled(backend, SCALE, symbols)
    walk = random(symbols, FEATURES, nets.LOOKBACK + 4)
    for first in range(5):
        due = due_of(walk, first)
        np.testing.assert_allclose(carrier.score(due), whole(backend, due), atol=1e-6)
        carrier.settle(due)
    assert carrier._foreseen.tolist() == [5] * symbols


def test_a_bar_that_is_not_the_next_one_is_read_with_its_whole_window(tmp_path: Path) -> None:
    """One symbol misses a bar, the other does not: each has the score of its own window."""
    backend = backend_of(tmp_path, nets.Recurrent(FEATURES))
    carrier, walk = PreRolled(backend, SCALE, 2), random(2, FEATURES, nets.LOOKBACK + 2)
    carrier.settle(due_of(walk, 0))
    after = due_of(walk, 1)._replace(numbers=np.array([1, 2]))
    after.windows[1] = walk[1, :, 2:]
    after.newest[1] = walk[1, :, -1]
    np.testing.assert_allclose(carrier.score(after), whole(backend, after), atol=1e-6)


def test_a_window_that_could_not_be_read_ahead_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of another window is never taken for its own."""
    backend = backend_of(tmp_path, nets.Recurrent(FEATURES))
    carrier, walk = PreRolled(backend, SCALE, 1), random(1, FEATURES, nets.LOOKBACK + 1)
    before, after = due_of(walk, 0), due_of(walk, 1)

    def fail(*_: Any) -> Any:
        raise ModelError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(backend, "advance", fail)
        with pytest.raises(ModelError):
            carrier.settle(before)
    np.testing.assert_allclose(carrier.score(after), whole(backend, after), atol=1e-6)


class Gated(nn.Module):
    """Some recurrent layer whose state is forgotten from bar to bar."""

    def __init__(self, cells: nn.Module) -> None:
        super().__init__()
        self.cells = cells
        self.state_size = 2 * 4
        self.head = nn.Linear(4, 1)

    def forward(self, windows: Tensor) -> Tensor:
        return self.readout(self.advance(windows, torch.zeros(windows.shape[0], self.state_size)))

    @torch.jit.export
    def advance(self, steps: Tensor, state: Tensor) -> Tensor:
        found, _ = self.cells(steps.transpose(1, 2))
        return torch.cat([found[:, -1, :4], state[:, :4]], 1)

    @torch.jit.export
    def readout(self, state: Tensor) -> Tensor:
        return self.head(state[:, :4])


@pytest.mark.parametrize(
    "cells",
    [
        nn.GRU(FEATURES, 4, batch_first=True), nn.LSTM(FEATURES, 4, batch_first=True),
        nn.LSTM(FEATURES, 4, batch_first=True, bias=False), nn.LSTM(FEATURES, 4, batch_first=True, bidirectional=True),
        nn.LSTM(FEATURES, 4, 2, batch_first=True),
    ],
    ids=["gru", "forgets its state", "no bias", "both ways", "more layers than state"],
)  # fmt: skip
def test_another_network_has_no_cells(tmp_path: Path, cells: nn.Module) -> None:
    """Whatever its weights are called: it is tried, and does not say the same."""
    backend = backend_of(tmp_path, Gated(cells))
    assert backend.state_size == 8
    assert backend.cells is None


def test_an_lstm_has_cells(tmp_path: Path) -> None:
    """The sibling of those that have none."""
    assert isinstance(backend_of(tmp_path, nets.Recurrent(FEATURES, 4, 1)).cells, LstmCells)


class Bent(nets.Recurrent):
    """An LSTM whose steps are bent, which at most of them does nothing."""

    def __init__(self, how: str) -> None:
        super().__init__(FEATURES)
        self.how = how
        self.seen = 0

    @torch.jit.export
    def advance(self, steps: Tensor, state: Tensor) -> Tensor:
        if self.how == "clamped":
            steps = torch.clamp(steps, -4.0, 4.0)
        elif self.how == "clamped far out":
            steps = torch.clamp(steps, -1e5, 1e5)
        elif self.how == "by its values":
            if bool((steps > 1e5).any()):
                steps = steps.flip(1)
        elif self.how == "by its calls":
            self.seen += 1
            if self.seen > 10:
                steps = steps[:, :, :1]
        count = state.shape[0]
        both = state.view(count, 2, self.layers, self.hidden).permute(1, 2, 0, 3).contiguous()
        _, (h, c) = self.lstm(steps.transpose(1, 2), (both[0], both[1]))
        return torch.cat([h.transpose(0, 1).reshape(count, -1), c.transpose(0, 1).reshape(count, -1)], 1)


@pytest.mark.parametrize("how", ["clamped", "clamped far out", "by its values", "by its calls"])
def test_a_step_that_bends_anywhere_stays_the_network_s(tmp_path: Path, how: str) -> None:
    """Its program is looked at: no trial finds what happens at one value in a million."""
    backend = backend_of(tmp_path, Bent(how))
    assert backend.state_size
    assert backend.cells is None


@pytest.mark.parametrize("letter", "ABC")
def test_the_field_s_networks_have_cells(letter: str) -> None:
    """And a linear head, both read from their weights: the siblings of those that bend."""
    torch.manual_seed(1)
    made = stac_ml(letter).eval()
    file = io.BytesIO()
    with _quiet():
        torch.jit.save(torch.jit.script(made), file)
        file.seek(0)
        loaded = torch.jit.load(file).eval()
    found = cells_of(torch, loaded, int(made.state_size))  # type: ignore[arg-type]  # a number, not a module
    assert found is not None
    assert found.head is not None


class Square(nn.Module):
    """Bends smoothly, by sums and products alone."""

    def forward(self, raw: Tensor) -> Tensor:
        return raw * raw


class Counting(nn.Module):
    """Remembers how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("asked", torch.zeros(1))

    def forward(self, raw: Tensor) -> Tensor:
        self.asked += 1.0
        return raw


class Spoken(nn.Module):
    """An LSTM whose readout goes through something more."""

    def __init__(self, speak: nn.Module) -> None:
        super().__init__()
        self.inner, self.speak = nets.Recurrent(FEATURES), speak
        self.state_size = self.inner.state_size

    def forward(self, windows: Tensor) -> Tensor:
        return self.readout(self.inner.advance(windows, torch.zeros(windows.shape[0], self.state_size)))

    @torch.jit.export
    def advance(self, steps: Tensor, state: Tensor) -> Tensor:
        return self.inner.advance(steps, state)

    @torch.jit.export
    def readout(self, state: Tensor) -> Tensor:
        return self.speak(self.inner.readout(state))


@pytest.mark.parametrize(
    "speak",
    [nn.Identity(), Scale(0.3, 1e-4), nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))],
    ids=["bare", "scaled", "linear"],
)
def test_a_linear_readout_is_read_from_its_weights(tmp_path: Path, speak: nn.Module) -> None:
    """To a few roundings of the largest output, also where the bias is far larger than what the weights add to it."""
    backend = backend_of(tmp_path, Spoken(speak))
    state = np.tanh(random(5, backend.state_size))
    np.testing.assert_allclose(backend.cells.readout(state), backend.readout(state), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "speak", [nn.Sigmoid(), nn.Hardtanh(-30.0, 30.0), nn.ReLU(), nn.Hardshrink(0.01), Square(), Counting()]
)
def test_a_readout_that_bends_anywhere_stays_the_network_s(tmp_path: Path, speak: nn.Module) -> None:
    """One that is linear near zero and flat far out is not taken for linear either."""
    cells = backend_of(tmp_path, Spoken(speak)).cells
    assert cells is not None
    assert cells.head is None
