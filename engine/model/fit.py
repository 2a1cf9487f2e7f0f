"""Fitting a normalization: only what closed within the training span has a part in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from engine.errors import ModelError
from engine.model.card import Floats32, Span
from engine.model.history import Floats, Ints
from engine.model.normalization import Normalization


def fit_normalization(
    kind: Literal["none", "min_max", "z_score", "robust"], windows: Floats32, ts_ns: Ints, span_ns: Span,
    *, clip: tuple[float, float] | None = None, names: Sequence[str] = (),
) -> Normalization:  # fmt: skip
    """Return how to scale features, from the newest column of the windows whose bars closed in `span_ns`.

    "min_max" leads to [0, 1], "z_score" to mean 0 and standard deviation 1, "robust" to median 0 and an interquartile
    range of 1. A feature that never changes is only centered. Windows outside the span are not looked at.

    Shapes: `[n, features, lookback]` and `[n]`.

    Raises:
        ModelError: nothing lies in the span, or a feature has no value there.
    """
    if kind == "none":
        return Normalization(clip=clip)
    inside = (span_ns[0] <= ts_ns) & (ts_ns <= span_ns[1])
    newest: Floats = windows[inside, :, -1].astype(np.float64)
    known = np.isfinite(newest).any(axis=0) if len(newest) else np.zeros(windows.shape[1], np.bool_)
    if not known.all():
        named = [names[index] if names else f"number {index + 1}" for index in np.flatnonzero(~known).tolist()]
        raise ModelError(f"the training span holds no value of feature {', '.join(named)}")
    center: Floats
    scale: Floats
    if kind == "min_max":
        center, high = np.nanmin(newest, axis=0), np.nanmax(newest, axis=0)
        scale = high - center
    elif kind == "z_score":
        center, scale = np.nanmean(newest, axis=0), np.nanstd(newest, axis=0)
    else:
        low, center, high = np.nanquantile(newest, [0.25, 0.5, 0.75], axis=0)
        scale = high - low
    # What is smaller than float32 can tell from the center's rounding is no change at all.
    scale = np.where(scale > 1e-6 * np.abs(center) + 1e-12, scale, 1.0)
    return Normalization(kind, tuple(center.tolist()), tuple(scale.tolist()), clip)
