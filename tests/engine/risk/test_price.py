"""C04 to C06: collar, market-order guard, data freshness."""

from __future__ import annotations

from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest

from engine.events import HOUR_NS, Approved

COLLAR = {"collar_aggressive_percent": 3, "collar_passive_percent": 20}


@pytest.mark.parametrize(
    ("side", "passes", "denied", "where"),
    [
        ("buy", "103", "103.01", "beyond"),
        ("sell", "97", "96.99", "beyond"),
        ("buy", "80", "79.99", "behind"),
        ("sell", "120", "120.01", "behind"),
    ],
)
def test_price_collar_on_both_sides_of_a_limit(desk: Any, side: str, passes: str, denied: str, where: str) -> None:
    """C04: collar_aggressive_percent beyond the reference, collar_passive_percent behind it, to the tick."""
    d = desk(**COLLAR)
    assert d.refusal(side, "1", type="limit", limit_price=passes) == ""
    refused = d.refusal(side, "1", type="limit", limit_price=denied)
    assert refused.startswith(f"C04: limit {denied} is ")
    assert f"{where} the reference" in refused


def test_price_collar_gives_a_stop_the_passive_distance_and_its_limit_the_aggressive_one(desk: Any) -> None:
    """C04: a stop waits away from the market; the limit of a stop-limit is measured from its stop."""
    d = desk(**COLLAR)
    assert d.refusal("buy", "1", type="stop", stop_price="120") == ""
    assert d.refusal("buy", "1", type="stop", stop_price="120.01").startswith("C04: stop 120.01 is 20.01 %")
    assert d.refusal("sell", "1", type="stop", stop_price="79.99").startswith("C04: stop 79.99")
    assert d.refusal("buy", "1", type="stop_limit", stop_price="110", limit_price="113.3") == ""
    assert d.refusal("buy", "1", type="stop_limit", stop_price="110", limit_price="113.31").startswith("C04: limit")
    assert d.refusal("buy", "1", type="trailing_stop", trail_percent="20") == ""
    assert d.refusal("buy", "1", type="trailing_stop", trail_price="20.01").startswith("C04: stop 120.01")


def test_price_collar_lets_a_protective_price_lie_far_away_but_never_a_reckless_exit(desk: Any) -> None:
    """C04: a reduction has no passive distance, the aggressive one it has."""
    d = desk(**COLLAR)
    d.hold("buy", "10")
    assert d.refusal("sell", "10", type="limit", limit_price="150") == ""
    assert d.refusal("sell", "10", type="stop", stop_price="50") == ""
    assert d.refusal("sell", "10", type="limit", limit_price="96.99").startswith("C04: limit 96.99")


@pytest.mark.parametrize(
    ("side", "reference", "limit"),
    [
        ("buy", 100.0, "103.00"),
        ("sell", 100.0, "97.00"),
        ("buy", 100.01, "103.01"),  # 103.0103, down to the tick
        ("sell", 100.01, "97.01"),  # 97.0097, up to the tick
        ("buy", 0.5, "0.5150"),
        ("buy", 0.98, "1.00"),  # 1.0094 crosses the dollar, where the tick is a cent
        ("sell", 1.01, "0.9797"),
    ],
)
def test_market_orders_as_limits_at_the_collar(desk: Any, side: str, reference: float, limit: str) -> None:
    """C05: the approval carries a limit order, rounded towards the reference, so never beyond the collar."""
    d = desk(**COLLAR, market_orders_as_limits=True)
    d.bar(reference)
    verdict = d.ask(side, "1")
    assert isinstance(verdict, Approved)
    assert (verdict.intent.type, verdict.intent.limit_price) == ("limit", Decimal(limit))
    assert d.refusal(side, "1", type="limit", limit_price=limit) == ""


def test_market_orders_stay_market_orders_where_a_limit_makes_no_sense(desk: Any) -> None:
    """C05: not in an auction, not by notional, not while the venue is closed, and not when switched off."""
    d = desk(**COLLAR, market_orders_as_limits=True)
    for fields in ({"time_in_force": "opg"}, {"time_in_force": "cls"}):
        assert d.ask("buy", "1", **fields).intent.type == "market"
    assert d.ask("buy", None, notional_usd="100").intent.type == "market"
    assert desk(**COLLAR).ask("buy", "1").intent.type == "market"
    closed = desk(**COLLAR, market_orders_as_limits=True, calendar="XNYS")
    closed.now_ns += 5 * HOUR_NS
    closed.bar(100)
    assert closed.ask("buy", "1").intent.type == "market"


def test_a_marketable_limit_respects_the_limit_up_limit_down_band(desk: Any) -> None:
    """C05: the band is nearer than the collar, so it becomes the limit."""
    d = desk(**COLLAR, market_orders_as_limits=True)
    d.market().limit_up_price, d.market().limit_down_price = 101.005, 98.0
    assert d.ask("buy", "1").intent.limit_price == Decimal("101.00")
    assert d.ask("sell", "1").intent.limit_price == Decimal("98.00")


def test_a_marketable_limit_of_crypto_has_nine_decimals(desk: Any) -> None:
    """C05: crypto has no cent tick."""
    d = desk(**COLLAR, market_orders_as_limits=True)
    d.bar(0.123456789, "BTC/USD")
    assert d.ask("buy", "1", "BTC/USD", time_in_force="gtc").intent.limit_price == Decimal("0.127160492")


def test_max_spread_percent_keeps_market_orders_out_of_a_wide_spread(desk: Any) -> None:
    """C05: one percent of the middle passes, a tick more does not; a limit order says its price itself."""
    d = desk(max_spread_percent=1)
    d.quote(99.5, 100.5)
    assert d.refusal("buy", "1") == ""
    d.quote(99.49, 100.5)
    assert d.refusal("buy", "1") == "C05: spread of bid 99.4900 and ask 100.5000 > 1 % of their middle"
    assert d.refusal("buy", "1", type="limit", limit_price="100") == ""
    d.quote(90, 110)  # too wide to be a reference; the bar is one, and still no market order goes
    assert d.refusal("buy", "1").startswith("C05: spread")
    d.quote(101, 100)
    assert d.refusal("buy", "1").startswith("C05: spread")


def test_market_order_guard_ignores_a_quote_that_is_not_fresh(desk: Any) -> None:
    """C05: a quote older than 5 s says nothing about the spread now."""
    d = desk(max_spread_percent=1)
    d.quote(99, 101)
    d.wait(5)
    assert d.refusal("buy", "1").startswith("C05: ")
    d.wait(0.000_000_001)
    assert d.refusal("buy", "1") == ""


def test_data_freshness_without_any_price(desk: Any) -> None:
    """C06: no quote, trade or closed bar means no entry."""
    assert desk().refusal("buy", "1", "QQQ") == (
        "C06: QQQ has no quote, trade or closed bar fresh enough to price an order"
    )


def test_data_freshness_after_two_bar_periods(desk: Any) -> None:
    """C06: the reference itself is gone after two periods, whatever the limits say."""
    d = desk()
    d.wait(120)
    assert d.refusal("buy", "1") == ""
    d.wait(0.000_000_001)
    assert d.refusal("buy", "1").startswith("C06: ")


def test_max_data_age_s_and_max_data_age_periods_count(desk: Any) -> None:
    """C06: the longer of max_data_age_s and the bar periods plus 5 s, to the nanosecond."""
    d = desk(max_data_age_s=15, max_data_age_periods_count=0)
    d.wait(15)
    assert d.refusal("buy", "1") == ""
    d.wait(0.000_000_001)
    assert d.refusal("buy", "1") == "C06: newest data of SPY is 15.0 s old > 15.0 s"
    d = desk(max_data_age_s=15, max_data_age_periods_count=1)
    d.wait(65)
    assert d.refusal("buy", "1") == ""
    d.wait(0.000_000_001)
    assert d.refusal("buy", "1") == "C06: newest data of SPY is 65.0 s old > 65.0 s"
    d.quote(99.9, 100.1)
    assert d.refusal("buy", "1") == ""


@pytest.mark.parametrize("price", [nan, inf, -inf, 0.0, -1.0, 1e12, 1e300])
def test_a_price_that_is_none_refuses(desk: Any, price: float) -> None:
    """C06: not a number, infinite, zero, negative and absurd are no prices; nothing is computed with them."""
    d = desk()
    market = d.market("QQQ")
    market.bar_ns, market.bar_close, market.bar_span_ns = d.now_ns, price, HOUR_NS
    d.market("QQQ").mark = price
    assert d.refusal("buy", "1", "QQQ").startswith("C06: ")


def test_an_infinite_ask_is_no_reference(desk: Any) -> None:
    """C06: a one-sided quote with an infinite ask prices nothing."""
    d = desk()
    d.market("QQQ").quote = d.market().quote
    d.quote(100, inf, "QQQ")
    assert d.refusal("buy", "1", "QQQ").startswith("C06: ")


def test_a_reduction_without_a_fresh_price_goes_as_it_is(desk: Any) -> None:
    """C05, C06: the exit is never locked; it is measured against the last mark and not made a limit."""
    d = desk(**COLLAR, market_orders_as_limits=True)
    d.hold("buy", "10")
    d.wait(3600)
    verdict = d.ask("sell", "10")
    assert isinstance(verdict, Approved)
    assert (verdict.intent.type, verdict.reference, verdict.reference_price) == ("market", "mark", Decimal(100))
    assert d.refusal("sell", "10", type="limit", limit_price="50") == ""
    assert d.refusal("sell", "11").startswith("C06: ")
    assert d.refusal("sell", None, notional_usd="100").startswith("C06: ")


def test_the_order_shows_what_it_became(desk: Any) -> None:
    """C05: once approved the live order is the limit order, so the self-trade control sees its price."""
    d = desk(**COLLAR, market_orders_as_limits=True)
    order = d.send("buy", "1")
    assert (order.type, order.intent.limit_price) == ("limit", Decimal("103.00"))
    assert d.refusal("sell", "1", type="limit", limit_price="103.01") == ""
    assert d.refusal("sell", "1").startswith("C21: ")
