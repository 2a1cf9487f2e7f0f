"""What models think is what they said last, on one scale, and no longer than it holds."""

from __future__ import annotations

import pytest

from engine import Opinions, RollingZScore, Signal


def signal(model: str, score: float, until_ns: int = 100, symbol: str = "SPY") -> Signal:
    return Signal(symbol, 1, 1, model, score, ts_expire_ns=until_ns)


def test_scores_are_deviations_from_what_is_usual_for_a_model_over_all_symbols() -> None:
    """A probability and a return come out on one scale, whatever their units."""
    opinions, usual = Opinions(("a", "b"), 3), RollingZScore(3)
    for number, symbol in enumerate(("SPY", "QQQ", "SPY")):
        wanted = usual.update(number**2)
        opinions.update(signal("a", number**2, symbol=symbol))
        opinions.update(signal("b", number**2 * 1e-6 + 1, symbol=symbol))
    found = opinions.fresh("SPY", 1)
    assert found["a"] == wanted
    assert found["b"] == pytest.approx(wanted, rel=1e-6)


def test_a_model_that_has_not_said_enough_counts_nothing_and_a_stranger_is_passed_over() -> None:
    """It is heard, so that nobody waits for it, and moves no sum."""
    opinions = Opinions(("a",), 3)
    opinions.update(signal("a", 5.0))
    opinions.update(signal("stranger", 5.0))
    assert opinions.fresh("SPY", 1) == {"a": 0.0}
    assert opinions.fresh("QQQ", 1) == {}


def test_an_expired_score_is_no_opinion() -> None:
    """Not even at the instant at which it expires."""
    opinions = Opinions(("a", "b"), 3)
    opinions.update(signal("a", 1.0, until_ns=10))
    opinions.update(signal("b", 1.0, until_ns=11))
    assert set(opinions.fresh("SPY", 10)) == {"b"}
