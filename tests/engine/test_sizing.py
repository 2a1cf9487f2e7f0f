"""Positions of equal risk: the arithmetic of `VolatilityTarget` by hand.

A price that goes up and down by a log return of 0.01 has a volatility of 0.01, whatever the weights.
"""

from math import exp, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Bar, CorporateAction, VolatilityTarget
from tests.runs import OPEN_NS, bar


def sized(*moves: float, span: int = 2, symbol: str = "AAA", **over: float) -> VolatilityTarget:
    """Return the sizing after closes at these log distances from 100."""
    sizing = VolatilityTarget(over.get("risk", 0.001), over.get("fraction_max", 0.5), span=span)
    for minute, move in enumerate(moves):
        sizing.update(bar(symbol, minute, 100 * exp(move)))
    return sizing


UP_AND_DOWN = (0.0, 0.01, 0.0, 0.01)


def test_a_whole_position_moves_equity_by_the_risk() -> None:
    """At a volatility of 1 % a tenth of equity moves it by 0.1 %."""
    assert sized(*UP_AND_DOWN).fraction("AAA", 1.0) == pytest.approx(0.1)


def test_twice_as_wild_is_half_as_large() -> None:
    """At 2 % it is a twentieth."""
    assert sized(0.0, 0.02, 0.0, 0.02).fraction("AAA", 1.0) == pytest.approx(0.05)


def test_strength_scales_and_keeps_its_side() -> None:
    """Half as sure is half as large; the other way is short; surer than sure is nothing more."""
    sizing = sized(*UP_AND_DOWN)
    assert sizing.fraction("AAA", 0.5) == pytest.approx(0.05)
    assert sizing.fraction("AAA", -0.5) == pytest.approx(-0.05)
    assert sizing.fraction("AAA", 7.0) == pytest.approx(0.1)


def test_no_position_is_larger_than_its_limit() -> None:
    """A symbol that hardly moves would be the whole account."""
    assert sized(*UP_AND_DOWN, fraction_max=0.04).fraction("AAA", 1.0) == pytest.approx(0.04)


def test_what_is_not_known_is_not_held() -> None:
    """Before `span` returns, of a symbol never seen, of one that stands still, and on a strength that is no number."""
    assert sized(0.0, 0.01).fraction("AAA", 1.0) == 0.0
    assert sized(*UP_AND_DOWN).fraction("BBB", 1.0) == 0.0
    assert sized(0.0, 0.0, 0.0, 0.0).fraction("AAA", 1.0) == 0.0
    assert sized(*UP_AND_DOWN).fraction("AAA", nan) == 0.0


def test_the_newest_returns_count_most() -> None:
    """With a span of 3 the weight is 1/2: squares of 1, 1 and 4 (e-4) come to 1, 1 and 2.5."""
    sizing = sized(0.0, 0.01, 0.0, 0.02, span=3)
    assert sizing.volatility("AAA") == pytest.approx(0.01 * 2.5**0.5)


def test_a_split_is_no_return() -> None:
    """10 for 1 after the third bar: the fourth is a tenth of what it would have been, and the volatility the same."""
    sizing = sized(*UP_AND_DOWN[:3])
    sizing.update(CorporateAction("AAA", OPEN_NS, OPEN_NS, "split", 10, 1))
    sizing.update(bar("AAA", 3, 10 * exp(0.01)))
    assert sizing.volatility("AAA") == pytest.approx(0.01)


def test_a_dividend_changes_nothing() -> None:
    """Only a split changes the scale of prices."""
    sizing = sized(*UP_AND_DOWN)
    sizing.update(CorporateAction("AAA", OPEN_NS, OPEN_NS, "cash_dividend"))
    assert sizing.volatility("AAA") == pytest.approx(0.01)


@pytest.mark.parametrize("close", [nan, 0.0, -1.0, float("inf")])
def test_a_close_that_is_no_price_is_left_out(close: float) -> None:
    """As if its bar had not been."""
    sizing = sized(*UP_AND_DOWN)
    sizing.update(bar("AAA", 9, close))
    assert sizing.volatility("AAA") == pytest.approx(0.01)


def test_a_revised_bar_is_left_out() -> None:
    """It is an old one once more."""
    sizing = sized(*UP_AND_DOWN)
    sizing.update(Bar("AAA", OPEN_NS, OPEN_NS, 1.0, 1.0, 1.0, 1.0, 1.0, 1, revised=True))
    assert sizing.volatility("AAA") == pytest.approx(0.01)


def test_a_band_lies_its_width_around_the_last_close() -> None:
    """Two volatilities of 1 % around 100."""
    assert sized(0.0, 0.01, 0.0).band("AAA", 2.0) == (pytest.approx(98.0), pytest.approx(102.0))


@pytest.mark.parametrize(
    ("risk", "fraction_max", "span", "said"),
    [(0.0, 0.1, 20, "risk_fraction"), (0.1, 0.0, 20, "fraction_max"), (0.1, 0.1, 1, "span")],
)
def test_numbers_that_size_nothing_are_refused(risk: float, fraction_max: float, span: int, said: str) -> None:
    """Each is named."""
    with pytest.raises(ValueError, match=said):
        VolatilityTarget(risk, fraction_max, span=span)


@given(
    st.lists(st.floats(0.01, 1e6), min_size=3, max_size=40), st.floats(-10, 10), st.floats(1e-6, 1.0),
    st.floats(0.01, 2.0),
)  # fmt: skip
def test_it_is_never_larger_than_risk_and_limit_allow(
    prices: list[float], strength: float, risk: float, fraction_max: float
) -> None:
    """Whatever the prices: on the side of the strength, within both."""
    sizing = VolatilityTarget(risk, fraction_max, span=2)
    for minute, price in enumerate(prices):
        sizing.update(bar("AAA", minute, price))
    found = sizing.fraction("AAA", strength)
    assert abs(found) <= fraction_max
    assert found * strength >= 0
    assert abs(found) * (sizing.volatility("AAA") or 0.0) <= risk * (1 + 1e-9)
