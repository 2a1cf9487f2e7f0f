"""Averages in constant time are the averages of the window, after any number of values."""

from math import inf, isclose, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import RollingMean, RollingZScore

PRICES = st.floats(0.01, 1e5)
LENGTHS = st.integers(1, 12)


@given(st.lists(PRICES, min_size=1, max_size=200), LENGTHS)
def test_the_mean_is_that_of_the_window(values: list[float], length: int) -> None:
    """And None until the window is full."""
    mean = RollingMean(length)
    for index, value in enumerate(values, start=1):
        found = mean.update(value)
        assert found == mean.value
        if index < length:
            assert found is None
        else:
            assert found == pytest.approx(np.mean(values[index - length : index]))


@given(st.lists(PRICES, min_size=1, max_size=200), LENGTHS.filter(lambda length: length > 1))
def test_the_z_score_is_that_of_the_window(values: list[float], length: int) -> None:
    """By the population's standard deviation; where the window hardly varies, what there is of it is noise."""
    score = RollingZScore(length)
    for index, value in enumerate(values, start=1):
        found = score.update(value)
        assert found == score.value
        window = np.array(values[max(0, index - length) : index])
        if index < length:
            assert found is None
        elif window.std() > 1e-5 * window.max():
            assert found == pytest.approx((value - window.mean()) / window.std(), rel=1e-3, abs=1e-3)


@given(st.lists(PRICES, max_size=30), PRICES, LENGTHS.filter(lambda length: length > 1))
def test_equal_values_have_a_z_score_of_zero(before: list[float], value: float, length: int) -> None:
    """Nothing is divided by the rounding of a variance that is none."""
    score = RollingZScore(length)
    for earlier in before:
        score.update(earlier)
    for _ in range(3 * length):
        score.update(value)
    assert score.value == 0.0


@pytest.mark.parametrize("price", [1e-8, 1.0, 1e5])
def test_a_z_score_does_not_depend_on_the_unit_of_the_price(price: float) -> None:
    """A coin that costs a hundred-millionth of a dollar varies as much as a share."""
    shape = [1.0, 1.1, 0.9, 1.2, 1.05]
    score, plain = RollingZScore(5), np.array(shape)
    for value in shape:
        score.update(value * price)
    assert score.value == pytest.approx((plain[-1] - plain.mean()) / plain.std())


@pytest.mark.parametrize("kind", [RollingMean, RollingZScore])
@pytest.mark.parametrize("bad", [1e15, nan, inf])
def test_a_bad_print_is_forgotten(kind: type, bad: float) -> None:
    """Two windows after it nothing is left of it, not even its rounding."""
    disturbed, clean = kind(5), kind(5)
    values = [100.0 + 0.01 * (index % 7) for index in range(20)]
    disturbed.update(bad)
    for value in values:
        disturbed.update(value)
        clean.update(value)
    assert isclose(disturbed.value, clean.value, rel_tol=1e-9)


def test_a_long_run_does_not_drift() -> None:
    """A million values at a changing level: the last window is as exact as the first."""
    rng = np.random.default_rng(7)
    values = (100 + np.cumsum(rng.normal(0, 1, 200_000))).tolist()
    mean, score = RollingMean(10), RollingZScore(10)
    for value in values:
        mean.update(value)
        score.update(value)
    window = np.array(values[-10:])
    assert mean.value == pytest.approx(window.mean(), rel=1e-13)
    assert score.value == pytest.approx((window[-1] - window.mean()) / window.std(), rel=1e-9)


@pytest.mark.parametrize("length", [0, -3])
def test_a_window_without_a_value_is_refused(length: int) -> None:
    """There is no average of nothing."""
    with pytest.raises(ValueError, match=f"length {length} is not positive"):
        RollingMean(length)


def test_one_value_has_no_deviation() -> None:
    """A z-score needs two."""
    with pytest.raises(ValueError, match="length 1 is less than 2"):
        RollingZScore(1)


@pytest.mark.parametrize("kind", [RollingMean, RollingZScore])
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_what_is_no_number_is_left_out(kind: type, bad: float) -> None:
    """The value stays what it was, and the window holds numbers only."""
    window = kind(3)
    for value in (1.0, 2.0, 4.0):
        window.update(value)
    before = window.value
    assert window.update(bad) == window.value == before
    assert list(window._values) == [1.0, 2.0, 4.0]
