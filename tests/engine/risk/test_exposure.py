"""C10 to C13, C21 and C26: what the account would hold if everything filled."""

from __future__ import annotations

from decimal import Decimal
from math import nan
from typing import Any

import pytest

LIMIT = {"type": "limit"}
BRACKET = {"order_class": "bracket", "take_profit_limit_price": "110", "stop_loss_stop_price": "90"}


def test_max_open_orders_count_includes_protective_legs(desk: Any) -> None:
    """C10: a bracket is three orders; the fourth is one too many."""
    d = desk(max_open_orders_count=3)
    assert d.refusal("buy", "1", **BRACKET) == ""
    d.send("buy", "1", **BRACKET)
    d.bar(100, "QQQ")
    assert d.refusal("buy", "1", "QQQ") == "C10: open orders of the account 4 > 3"


def test_max_strategy_open_orders_count(desk: Any) -> None:
    """C10: each strategy has its own allowance, and gets it back when an order ends."""
    d = desk(max_strategy_open_orders_count=2)
    first = d.send("buy", "1")
    d.send("buy", "1")
    assert d.refusal("buy", "1") == "C10: open orders of a 3 > 2"
    assert d.refusal("buy", "1", strategy="b") == ""
    d.update(first, "canceled")
    assert d.refusal("buy", "1") == ""


def test_max_symbol_side_open_orders_count(desk: Any) -> None:
    """C10: two buys of one symbol, of whichever strategy, leave room for a sell and for another symbol."""
    d = desk(max_symbol_side_open_orders_count=2)
    d.bar(100, "QQQ")
    d.send("buy", "1", **LIMIT, limit_price="99")
    d.send("buy", "1", strategy="b", **LIMIT, limit_price="99")
    assert d.refusal("buy", "1") == "C10: open orders to buy SPY 3 > 2"
    assert d.refusal("sell", "1", **LIMIT, limit_price="101") == ""
    assert d.refusal("buy", "1", "QQQ") == ""


def test_an_amendment_takes_the_place_of_its_order(desk: Any) -> None:
    """C10, C11, C13: what the replaced order holds already is not asked for twice."""
    d = desk(max_open_orders_count=1, max_position_percent=20, cash_buffer_percent=0)
    old = d.send("buy", "200", **LIMIT, limit_price="99")
    same = {**LIMIT, "limit_price": "100", "replaces": old.id}
    assert d.refusal("buy", "200", **same) == ""
    assert d.refusal("buy", "201", **same).startswith("C11: worst-case position in SPY 20,100.00 USD")


def test_max_position_percent_counts_open_orders_and_every_strategy(desk: Any) -> None:
    """C11: 20 % of 100,000 dollars are 200 shares at 100, however they came about."""
    d = desk(max_position_percent=20)
    d.hold("buy", "50")
    d.send("buy", "50", strategy="b")
    assert d.refusal("buy", "100") == ""
    assert d.refusal("buy", "101") == "C11: worst-case position in SPY 20,100.00 USD > 20,000.00 USD"


def test_max_position_percent_holds_for_shorts(desk: Any) -> None:
    """C11: the worst case of the sells is measured likewise."""
    d = desk(max_position_percent=20)
    d.hold("sell", "150")
    assert d.refusal("sell", "50") == ""
    assert d.refusal("sell", "51").startswith("C11: worst-case position in SPY 20,100.00 USD")


def test_max_gross_fraction_adds_longs_and_shorts(desk: Any) -> None:
    """C12: 600 long and 300 short at 100 leave 10,000 of 100,000 dollars."""
    d = desk(max_gross_fraction=1, multiplier=2)
    d.bar(100, "QQQ")
    d.hold("buy", "600")
    d.hold("sell", "300", "QQQ")
    assert d.refusal("buy", "100") == ""
    assert d.refusal("buy", "101") == "C12: worst-case gross exposure 100,100.00 USD > 100,000.00 USD"
    assert d.refusal("sell", "101", "QQQ").startswith("C12: worst-case gross exposure")


def test_max_net_fraction_in_both_directions(desk: Any) -> None:
    """C12: longs less shorts may be half the equity, and so may the reverse."""
    d = desk(max_net_fraction="0.5", multiplier=4)
    d.bar(100, "QQQ")
    d.hold("sell", "500", "QQQ")
    assert d.refusal("sell", "1") == "C12: worst-case net exposure 50,100.00 USD > 50,000.00 USD"
    assert d.refusal("buy", "1000") == ""
    assert d.refusal("buy", "1001").startswith("C12: worst-case net exposure 50,100.00 USD")


def test_exposure_that_is_not_a_number_refuses(desk: Any) -> None:
    """C11 to C15: a NaN in the account's floats fails closed."""
    for name in ("gross", "net_high", "equity", "peak"):
        d = desk()
        setattr(d.portfolio, name, nan)
        assert d.refusal("buy", "1") != "", name


def test_buying_power_of_a_cash_account_reserves_open_entries(desk: Any) -> None:
    """C13: cash_buffer_percent is kept, a limit order costs its limit, another market_order_markup_percent more."""
    d = desk(cash="10100", cash_buffer_percent="0", market_order_markup_percent=1)
    assert d.refusal("buy", "100") == ""
    assert d.refusal("buy", "101").startswith("C13: cost of this and the open entries 10,201.00 USD > cash 10,100.00")
    d.send("buy", "50")  # 5,050
    assert d.refusal("buy", "50", **LIMIT, limit_price="100") == ""
    assert d.refusal("buy", "51", **LIMIT, limit_price="100").startswith(
        "C13: cost of this and the open entries 10,150"
    )
    d = desk(cash="10100", cash_buffer_percent=1)
    assert d.refusal("buy", "99") == ""
    assert d.refusal("buy", "100").startswith("C13: cost of this and the open entries 10,000.00 USD > cash 9,999.00")


def test_buying_power_is_released_when_an_entry_ends_and_spent_when_it_fills(desk: Any) -> None:
    """C13: a partial fill moves its part from reserved to spent, a cancel gives the rest back."""
    d = desk(cash="10000")
    order = d.send("buy", "80", **LIMIT, limit_price="100")
    assert d.portfolio.reserved_usd == Decimal(8000)
    d.fill(order, "30", "99")
    assert (d.portfolio.reserved_usd, d.portfolio.cash_usd) == (Decimal(5000), Decimal(7030))
    assert d.refusal("buy", "20", **LIMIT, limit_price="101") == ""
    assert d.refusal("buy", "21", **LIMIT, limit_price="101").startswith("C13: ")
    d.update(order, "canceled")
    assert d.portfolio.reserved_usd == 0
    assert d.refusal("buy", "70", **LIMIT, limit_price="100") == ""


def test_buying_power_on_margin_is_a_multiple_of_the_equity(desk: Any) -> None:
    """C13: with multiplier 2, longs and shorts together may be worth twice the equity."""
    d = desk(cash="10000", multiplier=2)
    d.bar(100, "QQQ")
    d.hold("buy", "100")
    assert d.refusal("sell", "100", "QQQ") == ""
    assert d.refusal("sell", "101", "QQQ").startswith("C13: margin used by this and the open entries 20,100.00 USD")
    d.bar(90)
    assert d.refusal("buy", "100", "QQQ").startswith("C13: margin used by this and the open entries 19,000.00 USD")


def test_a_short_in_a_cash_account_needs_equity_too(desk: Any) -> None:
    """C13: what a sale brings in is no reason to sell without end."""
    d = desk(cash="10000")
    assert d.refusal("sell", "100") == ""
    assert d.refusal("sell", "101").startswith("C13: margin used")


def test_self_trade_with_an_order_of_another_strategy(desk: Any) -> None:
    """C21: a buy at or above an own open sell is refused, a cent below it passes."""
    d = desk()
    resting = d.send("sell", "1", strategy="b", **LIMIT, limit_price="101")
    assert d.refusal("buy", "1", **LIMIT, limit_price="100.99") == ""
    refused = d.refusal("buy", "1", **LIMIT, limit_price="101")
    assert refused == f"C21: would meet {resting.id} of b to sell at 101"
    assert d.refusal("buy", "1").startswith("C21: ")
    d.update(resting, "canceled")
    assert d.refusal("buy", "1") == ""


def test_self_trade_with_an_order_without_a_limit(desk: Any) -> None:
    """C21: where either side has no limit price, nobody can say that they will not meet."""
    d = desk()
    stop = d.send("sell", "1", type="stop", stop_price="90")
    assert d.refusal("buy", "1", **LIMIT, limit_price="50") == f"C21: would meet {stop.id} of a to sell at stop"


def test_self_trade_binds_reductions(desk: Any) -> None:
    """C21: the venue refuses a wash trade whatever it is for: the resting order has to be canceled first."""
    d = desk()
    d.hold("buy", "10")
    d.send("buy", "10", **LIMIT, limit_price="99")
    assert d.refusal("sell", "10").startswith("C21: ")
    assert d.refusal("sell", "10", **LIMIT, limit_price="99.01") == ""


def test_self_trade_does_not_look_at_the_group_of_an_amendment(desk: Any) -> None:
    """C21: moving the stop of a short's bracket is not stopped by its own take-profit or entry."""
    d = desk()
    entry = d.send("sell", "1", **{**BRACKET, "take_profit_limit_price": "90", "stop_loss_stop_price": "110"})
    stop = entry.legs[1]
    assert d.refusal("buy", "1", type="stop", stop_price="108", replaces=stop.id) == ""
    assert d.refusal("buy", "1", type="stop", stop_price="108").startswith("C21: ")


def test_reduce_only_counts_open_exits(desk: Any) -> None:
    """C26: of 100 shares, 40 are on their way out, so 60 may go and 61 may not."""
    d = desk(allow_reversals=False)
    d.hold("buy", "100")
    d.send("sell", "40")
    assert d.refusal("sell", "60") == ""
    assert d.refusal("sell", "61") == "C26: exit quantity 61 > 60 (position 100 less open exits)"


def test_reduce_only_counts_the_held_legs_of_an_entry_that_has_filled_in_part(desk: Any) -> None:
    """C26: of 100 shares held before and 40 of the entry, 40 are its legs' to protect, once they are active."""
    d = desk(allow_reversals=False)
    d.hold("buy", "100")
    entry = d.send("buy", "100", **BRACKET, **LIMIT, limit_price="100")
    exit_at = {**LIMIT, "limit_price": "101"}
    d.fill(entry, "40")
    assert d.refusal("sell", "100", **exit_at) == ""
    assert d.refusal("sell", "101", **exit_at) == "C26: exit quantity 101 > 100 (position 140 less open exits)"
    d.update(entry, "canceled")
    assert d.refusal("sell", "101", **exit_at).startswith("C26: ")
    for leg in entry.legs:  # as Alpaca does with them then
        d.update(leg, "canceled")
    assert d.refusal("sell", "140", **exit_at) == ""


def test_reduce_only_is_per_strategy(desk: Any) -> None:
    """C26: one strategy cannot sell what another holds; for it that is a short."""
    d = desk(allow_reversals=False, allow_short_selling=False)
    d.hold("buy", "100")
    assert d.refusal("sell", "1", strategy="b").startswith("C23: would be short 1 SPY")


def test_allow_reversals_lets_one_order_cross_zero_as_an_entry(desk: Any) -> None:
    """C26: then it has to pass every limit, for the position that it opens."""
    d = desk(allow_reversals=True, max_position_percent=10)
    d.hold("buy", "50")
    assert d.refusal("sell", "150") == ""
    assert d.refusal("sell", "151").startswith("C11: worst-case position in SPY 10,100.00 USD")


def test_a_protective_leg_can_be_amended(desk: Any) -> None:
    """C26: the legs of a filled bracket hold the position back once, and their amendment is still an exit."""
    d = desk(allow_reversals=False, allow_short_selling=False)
    entry = d.send("buy", "100", **BRACKET)
    d.fill(entry)
    target, stop = entry.legs
    for leg in (target, stop):
        d.update(leg, "accepted")
    assert d.refusal("sell", "100").startswith("C26: exit quantity 100 > 0")
    for leg in (target, stop):
        fields = {"limit_price": "105"} if leg is target else {"stop_price": "95"}
        assert d.refusal("sell", "100", type=leg.type, replaces=leg.id, **fields) == ""


@pytest.mark.parametrize("order_class", ["bracket", "oto"])
@pytest.mark.parametrize("reversals", [True, False])
@pytest.mark.parametrize("qty", ["100", "150"])
def test_an_order_with_legs_closes_no_position(desk: Any, order_class: str, reversals: bool, qty: str) -> None:
    """C26: once it had, its legs would buy back what it sold, asked by no control and spared by a halt."""
    d = desk(allow_reversals=reversals)
    d.hold("buy", "100")
    legs = {"order_class": order_class, "stop_loss_stop_price": "110"}
    if order_class == "bracket":
        legs["take_profit_limit_price"] = "90"
    reason = f"the legs of a {order_class} order protect what it opens, and it is against position 100"
    assert d.refusal("sell", qty, **legs) == f"C26: {reason}"
    d.risk.halt(d.now_ns, "operator", "enough")
    assert d.refusal("sell", qty, **legs) == "C01: trading is halted by operator"
    assert d.refusal("sell", "100") == ""


def test_an_oco_has_to_close_a_position(desk: Any) -> None:
    """C26: two exits of which one cancels the other need something to leave."""
    d = desk()
    oco = {"type": "limit", "order_class": "oco", "limit_price": "110", "stop_loss_stop_price": "90"}
    assert d.refusal("sell", "10", **oco) == "C26: an oco order closes a position: quantity 10 > 0 left to close"
    d.hold("buy", "10")
    assert d.refusal("sell", "10", **oco) == ""
    assert d.refusal("sell", "11", **oco).startswith("C26: an oco order closes a position")
