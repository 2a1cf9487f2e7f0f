"""Targets: what each label says, and that it knows how far it looks ahead."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research import targets

CLOSE = np.array([100.0, 110.0, 99.0, 99.0, 108.9])


def test_a_forward_return_ends_where_its_last_price_is_known() -> None:
    """100 to 99 in two bars is -1 %; the last two bars have no future."""
    found = targets.forward_return(CLOSE, 2)
    assert found.value[:3] == pytest.approx([-0.01, -0.1, 0.1])
    assert np.isnan(found.value[3:]).all()
    assert found.end.tolist() == [2, 3, 4, -1, -1]


def test_a_direction_is_up_only_above_zero() -> None:
    """No move at all is not up."""
    found = targets.direction(targets.forward_return(CLOSE, 1))
    assert found.value[:4].tolist() == [1, 0, 0, 1]
    assert np.isnan(found.value[4])


def test_a_direction_with_a_threshold_has_a_class_between() -> None:
    """Down, flat, up."""
    found = targets.direction(targets.forward_return(CLOSE, 1), threshold=0.05)
    assert found.value[:4].tolist() == [2, 0, 1, 2]


def test_half_of_an_instant_is_above_its_median_and_absent_symbols_do_not_count() -> None:
    """Classes balance at each instant; a symbol without a return there has no say in the median."""
    value = np.array([1.0, 2.0, 3.0, 4.0, np.nan, -1.0, 5.0])
    instant = np.array([1, 1, 1, 1, 1, 2, 2])
    found, _ = targets.above_median(value, instant + 1, instant)
    assert found[[0, 1, 2, 3, 5, 6]].tolist() == [0, 0, 1, 1, 0, 1]
    assert np.isnan(found[4])


def test_no_symbol_is_above_a_median_before_the_last_return_of_its_instant_is_known() -> None:
    """One that halts and comes back moves the median for all: they wait for it, and not for what never came."""
    value = np.array([1.0, 2.0, 3.0, np.nan, 1.0, 2.0])
    _, known_ns = targets.above_median(value, np.array([20, 50, 20, -1, 30, 30]), np.array([10, 10, 10, 10, 20, 20]))
    assert known_ns.tolist() == [50, 50, 50, -1, 30, 30]


def test_a_tape_without_any_return_has_no_median() -> None:
    """And no error."""
    found, known_ns = targets.above_median(np.full(2, np.nan), np.full(2, -1), np.array([1, 1]))
    assert np.isnan(found).all()
    assert known_ns.tolist() == [-1, -1]


def test_the_first_barrier_that_is_touched_decides() -> None:
    """Up 3 % before down 5 %: the upper one, and it was known at that bar and not at the horizon."""
    quiet = 100 * np.cumprod(np.r_[1.0, 1 + 0.01 * np.array([1, -1] * 5)])
    close = np.r_[quiet, quiet[-1] * np.array([1.03, 0.95, 0.95])]
    found = targets.triple_barrier(close, 2, 2.0, 10)
    assert (found.value[10], found.end[10]) == (2.0, 11)
    assert (found.value[11], found.end[11]) == (0.0, 12)
    assert np.isnan(found.value[:10]).all()


def test_a_barrier_untouched_by_the_end_of_the_tape_is_no_label() -> None:
    """Whether it would have been touched nobody knows."""
    close = 100 * np.cumprod(np.r_[1.0, 1 + 0.01 * np.array([1, -1] * 10)])
    found = targets.triple_barrier(close, 5, 50.0, 10)
    assert np.isnan(found.value[-5:]).all()
    assert (found.value[10:-5] == 1).all()


def test_volatility_is_of_the_bars_that_follow() -> None:
    """Log returns of one size give that size."""
    close = np.exp(np.array([0.0, 0.02, 0.0, 0.02, 0.0]))
    found = targets.volatility(close, 2)
    assert found.value[:3] == pytest.approx([0.02] * 3)
    assert targets.trailing_volatility(close, 2)[2:] == pytest.approx([0.02] * 3)


@given(st.integers(20, 60), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_no_label_looks_further_than_its_end(count: int, horizon: int, seed: int) -> None:
    """Prices after `end` may be anything; purging relies on it."""
    draw = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.02, count)))
    row = int(draw.integers(0, count))
    for label in (
        lambda prices: targets.forward_return(prices, horizon),
        lambda prices: targets.volatility(prices, horizon),
        lambda prices: targets.triple_barrier(prices, horizon, 1.5, 5),
    ):
        found = label(close)
        if found.end[row] < 0:
            continue
        changed = close.copy()
        changed[found.end[row] + 1 :] *= 3.0
        assert label(changed).value[row] == found.value[row]
