"""The proof that a network says here what it said when it was saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import ModelError

if TYPE_CHECKING:
    from engine.model.backends import Backend
    from engine.model.card import Card


def check_golden(backend: Backend, card: Card, path: Path) -> None:
    """See that a network still says what it said when it was saved, on the device that is here.

    Raises:
        ModelError: it does not, or its outputs are not the card's.
    """
    if card.golden is None:
        windows = np.zeros((1, len(card.features), card.lookback), np.float32)
        wanted, tolerance = None, 0.0
    else:
        windows, wanted = card.golden.arrays()
        if not card.golden.tolerance:
            told = "its golden outputs have no tolerance; one by device is right, as {'cpu': 1e-5}"
            raise ModelError(f"{path}: {told}")
        tolerance = card.golden.tolerance.get(backend.device.partition(" ")[0], max(card.golden.tolerance.values()))
    found = backend.score(windows)
    if found.shape[1] != len(card.outputs):
        raise ModelError(f"{path}: the network has {found.shape[1]} outputs, and its card names {len(card.outputs)}")
    if wanted is not None and not (distance := float(np.abs(found - wanted).max())) <= tolerance:
        told = f"it differs from its golden outputs by {distance:.3g}, more than {tolerance:g}"
        raise ModelError(f"{path}: {told}, on {backend.device}")
