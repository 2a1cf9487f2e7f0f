"""C02, C03 and C35: exactly at the limit passes, one step above is denied."""

from __future__ import annotations

from typing import Any


def test_max_order_notional_usd_binds_at_one_share_more(desk: Any) -> None:
    """C02: 250 shares at 100 are 25,000 dollars; 251 are too many, and the denial shows both figures."""
    d = desk(max_order_notional_usd="25000")
    assert d.refusal("buy", "250") == ""
    assert d.refusal("buy", "251") == "C02: order notional 25,100.00 USD > 25,000.00 USD"


def test_max_order_notional_percent_is_of_the_equity_at_the_start_of_the_session(desk: Any) -> None:
    """C02: ten percent of 100,000 dollars, however the equity moves within the session."""
    d = desk(max_order_notional_percent=10)
    d.hold("buy", "100")
    d.bar(200)
    assert d.refusal("buy", "50") == ""
    assert d.refusal("buy", "51") == "C02: order notional 10,200.00 USD > 10,000.00 USD"


def test_max_order_notional_takes_the_dearest_price(desk: Any) -> None:
    """C02: a limit or stop above the reference counts, one below does not make an order smaller."""
    d = desk(max_order_notional_usd="10000")
    assert d.refusal("buy", "100", type="limit", limit_price="100") == ""
    assert "10,001.00 USD" in d.refusal("buy", "100", type="limit", limit_price="100.01")
    assert "10,100.00 USD" in d.refusal("sell", "101", type="limit", limit_price="50")
    assert "10,001.00 USD" in d.refusal("buy", "100", type="stop", stop_price="100.01")
    assert "10,200.00 USD" in d.refusal("buy", "100", type="trailing_stop", trail_percent="2")
    assert "10,000.01 USD" in d.refusal("buy", None, notional_usd="10000.01")
    assert d.refusal("buy", None, notional_usd="10000") == ""


def test_max_order_qty_and_the_limit_for_an_unknown_volume(desk: Any) -> None:
    """C03: without a known volume max_order_unknown_adv_qty binds, with one max_order_qty or the share of it."""
    d = desk(max_order_qty=200, max_order_unknown_adv_qty=50, max_order_adv_percent=1)
    assert d.refusal("buy", "50") == ""
    assert d.refusal("buy", "50.000000001") == "C03: order quantity 50.000000001 > 50"
    d.risk.adv_by_symbol["SPY"] = 10_000.0
    assert d.refusal("buy", "100") == ""
    assert d.refusal("buy", "101") == "C03: order quantity 101 > 100.0"
    d.risk.adv_by_symbol["SPY"] = 1e9
    assert d.refusal("buy", "200") == ""
    assert d.refusal("buy", "201") == "C03: order quantity 201 > 200"


def test_the_limit_for_an_unknown_volume_never_exceeds_max_order_qty(desk: Any) -> None:
    """C03: not to know is never better than to know."""
    assert desk(max_order_qty=10, max_order_unknown_adv_qty=1000).refusal("buy", "11") == "C03: order quantity 11 > 10"


ROLLOUT = {
    "rollout_sessions_count": 2, "rollout_percent": 10, "max_order_notional_usd": 20_000, "max_order_qty": 1000,
    "max_order_unknown_adv_qty": 1000, "max_position_percent": 30,
}  # fmt: skip


def test_controlled_rollout_scales_the_size_limits_of_a_new_strategy(desk: Any) -> None:
    """C35: rollout_percent of notional, quantity and position, for rollout_sessions_count sessions with orders."""
    d = desk(**ROLLOUT)
    assert d.refusal("buy", "20") == ""
    assert d.refusal("buy", "21").startswith("C35: order notional 2,100.00 USD > 2,000.00 USD (10 % in the first 2")
    d.bar(1, "QQQ")
    assert d.refusal("buy", "100", "QQQ") == ""
    assert d.refusal("buy", "101", "QQQ").startswith("C35: order quantity 101 > 100.0")
    d.hold("buy", "20")
    d.send("buy", "10")
    assert d.refusal("buy", "1").startswith("C35: worst-case position 3,100.00 USD > 3,000.00 USD")
    assert d.refusal("buy", "20", strategy="b") == ""


def test_controlled_rollout_ends_after_its_sessions_with_orders(desk: Any) -> None:
    """C35: sessions in which a strategy sent nothing do not count."""
    d = desk(**ROLLOUT)
    for _ in range(2):
        d.hold("buy", "1")
        assert d.refusal("buy", "21") != ""
        for _ in range(2):
            d.wait(86_400)
            d.bar(100)
            d.risk.on_session(d.now_ns)
    assert d.refusal("buy", "21") == ""
    assert d.refusal("buy", "21", strategy="b") != ""


def test_rollout_percent_does_nothing_when_switched_off(desk: Any) -> None:
    """C35: rollout_sessions_count 0 means that no strategy is in roll-out."""
    d = desk(**{**ROLLOUT, "rollout_sessions_count": 0})
    assert d.refusal("buy", "200") == ""
