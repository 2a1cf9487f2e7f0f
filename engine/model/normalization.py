"""How raw features become a network's inputs: a part of its file, fitted on its training span alone."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats32 = NDArray[np.float32]


class Normalization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How raw features become inputs: `(x - center) / scale`, clipped to `clip`; what is missing becomes 0.

    Attributes:
        center, scale: one number for each feature, in the features' order; empty for kind "none".
        clip: lowest and highest input, after scaling.
    """

    kind: Literal["none", "min_max", "z_score", "robust"] = "none"
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    clip: tuple[float, float] | None = None

    def apply(self, windows: Floats32, out: Floats32 | None = None) -> Floats32:
        """Return the inputs of raw windows, as `Scaling` does."""
        return Scaling(self)(windows, out)


class Scaling:
    """A normalization at work. Every number is scaled by itself, so any part of a window gives that part's inputs."""

    def __init__(self, normalization: Normalization) -> None:
        self._changes, self._clip = normalization.kind != "none", normalization.clip
        self._center = np.asarray(normalization.center, np.float32)[:, None]
        self._scale = np.asarray(normalization.scale, np.float32)[:, None]

    def __call__(self, windows: Floats32, out: Floats32 | None = None) -> Floats32:
        """Return the inputs of raw windows, written to `out` where it is given (which may be `windows` itself).

        Shapes: `[n, features, bars]`, both.
        """
        if out is None:
            out = np.empty(windows.shape, np.float32)
        if self._changes:
            np.subtract(windows, self._center, out=out)
            np.divide(out, self._scale, out=out)
        elif out is not windows:
            np.copyto(out, windows)
        if self._clip is not None:
            np.clip(out, *self._clip, out=out)
        np.copyto(out, np.float32(0.0), where=np.isnan(out))
        return out
