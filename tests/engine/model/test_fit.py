"""Normalization: fitted on the training span, applied the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ModelError
from engine.model.fit import fit_normalization
from engine.model.normalization import Normalization

rng = np.random.default_rng(3)
WINDOWS = (rng.normal(size=(500, 3, 6)) * [[1.0], [50.0], [0.001]] + [[0.0], [9.0], [1.0]]).astype(np.float32)
TS_NS = np.arange(500)
SPAN = (100, 299)


def test_each_kind_scales_the_training_span_as_its_name_says() -> None:
    """To [0, 1]; to mean 0 and deviation 1; to median 0 and interquartile range 1."""
    newest = WINDOWS[100:300]
    scaled = fit_normalization("min_max", WINDOWS, TS_NS, SPAN).apply(newest)[:, :, -1]
    assert scaled.min(axis=0) == pytest.approx([0, 0, 0], abs=1e-4)
    assert scaled.max(axis=0) == pytest.approx([1, 1, 1], abs=1e-4)
    scaled = fit_normalization("z_score", WINDOWS, TS_NS, SPAN).apply(newest)[:, :, -1]
    assert scaled.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-3)
    assert scaled.std(axis=0) == pytest.approx([1, 1, 1], rel=1e-3)
    low, middle, high = np.quantile(
        fit_normalization("robust", WINDOWS, TS_NS, SPAN).apply(newest)[:, :, -1], [0.25, 0.5, 0.75], axis=0
    )
    assert middle == pytest.approx([0, 0, 0], abs=1e-3)
    assert high - low == pytest.approx([1, 1, 1], rel=1e-3)


@pytest.mark.parametrize("kind", ["min_max", "z_score", "robust"])
def test_what_lies_outside_the_training_span_has_no_part_in_the_fit(kind: str) -> None:
    """Change every bar after and before the span to anything: the normalization is the same to the last bit."""
    changed = WINDOWS.copy()
    changed[:100] = changed[300:] = 1e6
    one, other = (fit_normalization(kind, each, TS_NS, SPAN) for each in (WINDOWS, changed))  # type: ignore[arg-type]  # a parameter of the test
    assert one == other


def test_a_feature_that_never_changes_is_only_centered() -> None:
    """No division by nothing, and no noise blown up to one."""
    flat = np.full((50, 1, 4), 0.1, np.float32)
    for kind in ("min_max", "z_score", "robust"):
        fitted = fit_normalization(kind, flat, np.arange(50), (0, 49))  # type: ignore[arg-type]  # literals in a loop
        assert np.abs(fitted.apply(flat)).max() < 1e-6


def test_a_feature_without_a_value_in_the_span_is_named() -> None:
    """An empty span likewise."""
    holed = WINDOWS.copy()
    holed[:, 1] = np.nan
    with pytest.raises(ModelError, match="the training span holds no value of feature spread$"):
        fit_normalization("z_score", holed, TS_NS, SPAN, names=("a", "spread", "c"))
    with pytest.raises(ModelError, match="no value of feature number 1, number 2, number 3"):
        fit_normalization("z_score", WINDOWS, TS_NS, (1_000, 2_000))


def test_what_is_missing_becomes_the_middle_and_what_is_extreme_is_clipped() -> None:
    """NaN is 0 after scaling, infinities end at the clip."""
    raw = np.array([[[np.nan, np.inf, -np.inf, 3.0]]], np.float32)
    scaled = Normalization("z_score", (1.0,), (2.0,), (-5.0, 5.0)).apply(raw)
    assert scaled.tolist() == [[[0.0, 5.0, -5.0, 1.0]]]
    assert Normalization(clip=(-1.0, 1.0)).apply(raw).tolist() == [[[0.0, 1.0, -1.0, 1.0]]]


@given(n=st.integers(1, 40), cut=st.integers(0, 40))
def test_scaling_some_rows_equals_scaling_all_of_them(n: int, cut: int) -> None:
    """Bit for bit, in place or not: a batch's size is nobody's business."""
    fitted = Normalization("robust", (0.1, 7.0, -3.0), (0.3, 11.0, 1e-4), (-8.0, 8.0))
    windows = WINDOWS[:n]
    whole = fitted.apply(windows)
    parts = np.concatenate([fitted.apply(windows[:cut]), fitted.apply(windows[cut:])])
    assert parts.tobytes() == whole.tobytes()
    copy = windows.copy()
    assert fitted.apply(copy, copy) is copy
    assert copy.tobytes() == whole.tobytes()
