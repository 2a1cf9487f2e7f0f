"""One step of an LSTM by its cells is the step of the network, and only of a network that is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.model.backends import Floats, load_backend
from engine.model.bundle import open_bundle
from engine.model.cells import LstmCells
from engine.model.states import Due, PreRolled
from tests.engine.model import nets

FEATURES = len(nets.SPECS)


def backend_of(folder: Path, net: nn.Module) -> Any:
    return load_backend(open_bundle(nets.bundle(folder, net, golden=None), allowed=None, now_ns=0), "cpu")


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
    carrier, rows = PreRolled(backend, symbols, (FEATURES, nets.LOOKBACK)), np.arange(symbols)
    walk = random(symbols, FEATURES, nets.LOOKBACK + 4)
    for first in range(5):
        window = walk[:, :, first : first + nets.LOOKBACK].copy()
        due = Due(first, rows, rows, rows, window, window[:, :, -1])
        np.testing.assert_allclose(carrier.score(due), backend.score(window), atol=1e-6)
        carrier.settle(due)


def test_a_window_that_could_not_be_read_ahead_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of another window is never taken for its own."""
    backend = backend_of(tmp_path, nets.Recurrent(FEATURES))
    carrier, rows = PreRolled(backend, 1, (FEATURES, nets.LOOKBACK)), np.arange(1)
    walk = random(1, FEATURES, nets.LOOKBACK + 1)
    before, after = (
        Due(0, rows, rows, rows, window, window[:, :, -1]) for window in (walk[:, :, :-1].copy(), walk[:, :, 1:].copy())
    )

    def fail(*_: Any) -> Any:
        raise ModelError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(backend, "advance", fail)
        with pytest.raises(ModelError):
            carrier.settle(before)
    np.testing.assert_allclose(carrier.score(after), backend.score(after.inputs), atol=1e-6)


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
