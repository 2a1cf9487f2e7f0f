"""The three LSTMs by which the field measures inference: STAC-ML Markets (Inference).

Only their shapes are here, with fresh weights. Source: the benchmark's published reference models.
"""

from __future__ import annotations

from research.networks import Shape, Trainable, build

STAC_ML = {
    "A": Shape(features=100, lookback=50, hidden=100, layers=2),
    "B": Shape(features=250, lookback=100, hidden=200, layers=3),
    "C": Shape(features=500, lookback=100, hidden=1000, layers=4),
}


def stac_ml(letter: str) -> Trainable:
    """Return the benchmark network A, B or C, with fresh weights."""
    return build("lstm", STAC_ML[letter], outputs=1)
