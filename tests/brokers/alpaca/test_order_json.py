"""Bodies of requests: alpaca-py, the vendor's own, builds the same from the same wish."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from alpaca.trading import requests as sdk
from alpaca.trading.enums import OrderClass, OrderSide, TimeInForce
from hypothesis import given
from hypothesis import strategies as st

from brokers.alpaca.order_json import amendment, new_order, plain
from engine.events import Intent


def intent(**fields: Any) -> Intent:
    base: dict[str, Any] = {
        "client_order_id": "o1", "strategy": "s", "symbol": "SPY", "side": "buy", "qty": Decimal(10), "ts_event_ns": 0,
    }  # fmt: skip
    return Intent(**(base | fields))


def as_numbers(value: Any) -> Any:
    """Make texts and floats of one amount equal, and enums their values."""
    if isinstance(value, dict):
        return {key: as_numbers(part) for key, part in value.items() if part is not None}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool):
        return value
    try:
        return Decimal(str(value))
    except ArithmeticError:
        return value


COMMON = {"symbol": "SPY", "side": OrderSide.BUY, "client_order_id": "o1", "time_in_force": TimeInForce.DAY}
TARGET, STOP = sdk.TakeProfitRequest(limit_price=110), sdk.StopLossRequest(stop_price=90)
STOP_LIMIT = sdk.StopLossRequest(stop_price=90, limit_price=89.5)
D = Decimal
LEGS = {"take_profit_limit_price": D(110), "stop_loss_stop_price": D(90)}

PAIRS = {
    "market": ({}, sdk.MarketOrderRequest(**COMMON, qty=10)),
    "fractional": ({"qty": D("0.123456789")}, sdk.MarketOrderRequest(**COMMON, qty=0.123456789)),
    "notional": ({"qty": None, "notional_usd": D("99.50")}, sdk.MarketOrderRequest(**COMMON, notional=99.5)),
    "limit": (
        {"type": "limit", "limit_price": D("100.10")}, sdk.LimitOrderRequest(**COMMON, qty=10, limit_price=100.1)
    ),
    "stop": ({"type": "stop", "stop_price": D(90)}, sdk.StopOrderRequest(**COMMON, qty=10, stop_price=90)),
    "stop_limit": (
        {"type": "stop_limit", "stop_price": D(90), "limit_price": D(91)},
        sdk.StopLimitOrderRequest(**COMMON, qty=10, stop_price=90, limit_price=91),
    ),
    "trailing by price": (
        {"type": "trailing_stop", "trail_price": D("1.5")},
        sdk.TrailingStopOrderRequest(**COMMON, qty=10, trail_price=1.5),
    ),
    "trailing by percent": (
        {"type": "trailing_stop", "trail_percent": D(2)},
        sdk.TrailingStopOrderRequest(**COMMON, qty=10, trail_percent=2),
    ),
    "extended hours": (
        {"type": "limit", "limit_price": D(100), "extended_hours": True},
        sdk.LimitOrderRequest(**COMMON, qty=10, limit_price=100, extended_hours=True),
    ),
    "at the open": (
        {"time_in_force": "opg"}, sdk.MarketOrderRequest(**COMMON | {"time_in_force": TimeInForce.OPG}, qty=10)
    ),
    "at the close": (
        {"time_in_force": "cls", "type": "limit", "limit_price": D(100)},
        sdk.LimitOrderRequest(**COMMON | {"time_in_force": TimeInForce.CLS}, qty=10, limit_price=100),
    ),
    "short sale": ({"side": "sell"}, sdk.MarketOrderRequest(**COMMON | {"side": OrderSide.SELL}, qty=10)),
    "coin": (
        {"symbol": "BTC/USD", "time_in_force": "gtc", "qty": D("0.001")},
        sdk.MarketOrderRequest(**COMMON | {"symbol": "BTC/USD", "time_in_force": TimeInForce.GTC}, qty=0.001),
    ),
    "bracket": (
        {"order_class": "bracket", **LEGS},
        sdk.MarketOrderRequest(**COMMON, qty=10, order_class=OrderClass.BRACKET, take_profit=TARGET, stop_loss=STOP),
    ),
    "bracket with a stop-limit": (
        {"order_class": "bracket", **LEGS, "stop_loss_limit_price": D("89.5")},
        sdk.MarketOrderRequest(
            **COMMON, qty=10, order_class=OrderClass.BRACKET, take_profit=TARGET, stop_loss=STOP_LIMIT
        ),
    ),
    "one triggers other": (
        {"order_class": "oto", "stop_loss_stop_price": D(90)},
        sdk.MarketOrderRequest(**COMMON, qty=10, order_class=OrderClass.OTO, stop_loss=STOP),
    ),
    "one cancels other": (
        {"order_class": "oco", "side": "sell", "type": "limit", "limit_price": D(110), "stop_loss_stop_price": D(90)},
        sdk.LimitOrderRequest(
            **COMMON | {"side": OrderSide.SELL}, qty=10, order_class=OrderClass.OCO, take_profit=TARGET, stop_loss=STOP
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_a_new_order_is_what_the_vendors_library_would_send(name: str) -> None:
    """Every type, class and time in force; the amounts as texts, so that no float goes over the wire."""
    fields, request = PAIRS[name]
    ours = new_order(intent(**fields))
    assert as_numbers(ours) == as_numbers(request.to_request_fields())
    amounts = [
        ours.get(key) for key in ("qty", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")
    ]
    assert all(isinstance(amount, str) for amount in amounts if amount is not None)


def test_an_amendment_says_what_changes_and_who_it_is() -> None:
    """Sending the same values again is refused by the venue; without our id the order would be lost to us."""
    old = intent(type="limit", limit_price=D(100))
    new = intent(type="limit", limit_price=D("100.5"), replaces="o1", client_order_id="o2")
    assert amendment(new, old) == {"limit_price": "100.5", "client_order_id": "o2"}
    assert amendment(new, None) == {
        "qty": "10", "limit_price": "100.5", "time_in_force": "day", "client_order_id": "o2",
    }  # fmt: skip
    trailing = intent(type="trailing_stop", trail_percent=D(2), replaces="o1", client_order_id="o2")
    assert amendment(trailing, intent(type="trailing_stop", trail_percent=D(1))) == {
        "trail": "2", "client_order_id": "o2",
    }  # fmt: skip


@given(st.decimals(min_value=0, max_value=10**12, places=9, allow_nan=False))
def test_an_amount_keeps_its_value_and_has_no_exponent(value: Decimal) -> None:
    """1E+2 and 0.30000000000000004 are both refused by a venue."""
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))
