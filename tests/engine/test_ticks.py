"""A price that was computed in floats lies on the tick, on the side away from the market."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.ticks import on_tick, tick_size
from tests.engine.test_strategy import joined

prices = st.floats(1e-6, 1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("price", "crypto", "down", "up"),
    [
        (100 - 0.3, False, "99.7", "99.7"),  # 99.7 in floats, or 99.69999999999999
        (0.1 + 0.2, False, "0.3", "0.3"),  # 0.30000000000000004
        (99.701, False, "99.7", "99.71"),
        (0.99996, False, "0.9999", "1"),  # across the dollar, above which the tick is a cent
        (1.00004, False, "1", "1.01"),
        (0.12341, False, "0.1234", "0.1235"),
        (61234.123456789, True, "61234.123456789", "61234.123456789"),
        (0.1234567891, True, "0.123456789", "0.123456790"),
    ],
)
def test_a_price_goes_to_the_tick_that_is_asked_for(price: float, crypto: bool, down: str, up: str) -> None:
    """Below or above it; where it is on the tick but for binary dust, it stays there."""
    assert on_tick(price, up=False, crypto=crypto) == Decimal(down)
    assert on_tick(price, up=True, crypto=crypto) == Decimal(up)


@given(prices, st.booleans(), st.booleans())
def test_the_tick_is_next_to_the_price_and_the_venue_takes_it(price: float, up: bool, crypto: bool) -> None:
    """A multiple of the step at that price, less than one away on the side asked for, but for the dust."""
    found, exact = on_tick(price, up=up, crypto=crypto), Decimal(repr(price))
    step, dust = tick_size(exact, crypto), tick_size(exact, crypto) * Decimal("1e-6")
    assert found % tick_size(found, crypto) == 0
    assert -dust <= (found - exact if up else exact - found) < step


@given(st.integers(100, 10_000_000), st.integers(1, 10_000_000), st.booleans())
def test_cents_added_and_taken_in_floats_stay_the_cents_they_are(price: int, change: int, up: bool) -> None:
    """`bar.close - 0.3` is the price that it looks like, whichever way it would be rounded."""
    assume(price - change >= 100)
    assert on_tick(price / 100 - change / 100, up=up, crypto=False) == Decimal(price - change) / 100
    assert on_tick(price / 100 + change / 100, up=up, crypto=False) == Decimal(price + change) / 100


@pytest.mark.parametrize(
    ("side", "fields", "asked"),
    [
        ("buy", {"limit_price": 99.706}, {"limit_price": "99.70"}),
        ("sell", {"limit_price": 99.702}, {"limit_price": "99.71"}),
        ("buy", {"stop_price": 99.702}, {"stop_price": "99.71"}),
        ("sell", {"stop_price": 99.706}, {"stop_price": "99.70"}),
        ("sell", {"stop_price": 99.706, "limit_price": 99.706}, {"stop_price": "99.70", "limit_price": "99.70"}),
        ("buy", {"stop_price": 99.702, "limit_price": 99.702}, {"stop_price": "99.71", "limit_price": "99.71"}),
        ("sell", {"trail_price": 1.502}, {"trail_price": "1.51"}),
        (
            "buy", {"take_profit": 110.002, "stop_loss": 90.006, "stop_loss_limit": 90.006},
            {"take_profit_limit_price": "110.01", "stop_loss_stop_price": "90.00", "stop_loss_limit_price": "90.00"},
        ),
        (
            "sell", {"take_profit": 90.006, "stop_loss": 110.002},
            {"take_profit_limit_price": "90.00", "stop_loss_stop_price": "110.01"},
        ),
        (
            "sell", {"limit_price": 110.002, "stop_loss": 90.006, "order_class": "oco"},
            {"limit_price": "110.01", "stop_loss_stop_price": "90.00"},
        ),
        ("buy", {"limit_price": Decimal("99.706")}, {"limit_price": "99.706"}),
        ("buy", {"limit_price": "99.706"}, {"limit_price": "99.706"}),
        ("buy", {"limit_price": 99}, {"limit_price": "99"}),
        ("buy", {"limit_price": -0.106}, {"limit_price": "-0.106"}),
    ],
)  # fmt: skip
def test_a_float_price_goes_to_the_tick_away_from_the_market(
    side: Any, fields: dict[str, Any], asked: dict[str, str]
) -> None:
    """Decimals, strings and what is no price are taken as they are; the controls refuse them with a reason."""
    me, _ = joined()
    intent = me.submit_order("SPY", side, 1, **fields).intent
    assert {name: str(getattr(intent, name)) for name in asked} == asked


def test_an_amendments_float_price_goes_to_the_tick_too() -> None:
    """The same ways, by the side and the type of the order that is amended."""
    me, corridor = joined()
    limit, stop = me.buy("SPY", 1, limit_price=99), me.sell("SPY", 1, stop_price=90)
    both, trail = me.sell("SPY", 1, stop_price=90, limit_price=90), me.sell("SPY", 1, trail_price=2)
    corridor.deal()
    assert str(me.replace_order(limit, limit_price=98.006).intent.limit_price) == "98.00"
    assert str(me.replace_order(stop, stop_price=91.006).intent.stop_price) == "91.00"
    assert str(me.replace_order(both, limit_price=89.006).intent.limit_price) == "89.00"
    assert str(me.replace_order(trail, trail=1.502).intent.trail_price) == "1.51"
    assert me.replace_order(limit, limit_price=0).intent.limit_price == 0
