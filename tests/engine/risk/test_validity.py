"""C25: the venue's own rules, each with the order that just passes and the one that just does not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine import journal
from engine.events import Denied

BRACKET = {"order_class": "bracket", "take_profit_limit_price": "110", "stop_loss_stop_price": "90"}
OTO = {"order_class": "oto", "take_profit_limit_price": "110"}

GOOD: list[tuple[str, Any, dict[str, Any]]] = [
    ("buy", "1", {}),
    ("buy", "1", {"type": "limit", "limit_price": "99.99"}),
    ("buy", "1", {"type": "stop", "stop_price": "101"}),
    ("buy", "1", {"type": "stop_limit", "stop_price": "101", "limit_price": "101.5"}),
    ("buy", "1", {"type": "trailing_stop", "trail_price": "0.01"}),
    ("buy", "1", {"type": "trailing_stop", "trail_percent": "0.1"}),
    ("buy", "1", {"time_in_force": "gtc"}),
    ("buy", "1", {"time_in_force": "ioc"}),
    ("buy", "1", {"time_in_force": "fok", "type": "limit", "limit_price": "100"}),
    ("buy", "1", {"time_in_force": "opg"}),
    ("buy", "1", {"time_in_force": "cls", "type": "limit", "limit_price": "100"}),
    ("buy", "0.000000001", {}),
    ("buy", "0.5", {"type": "limit", "limit_price": "100"}),
    ("buy", None, {"notional_usd": "1"}),
    ("buy", "1", {"type": "limit", "limit_price": "100", "extended_hours": True}),
    ("buy", "1", {"type": "limit", "limit_price": "100", "extended_hours": True, "time_in_force": "gtc"}),
    ("buy", "1", BRACKET),
    ("buy", "1", {**BRACKET, "stop_loss_limit_price": "89.5"}),
    ("buy", "1", {**BRACKET, "take_profit_limit_price": "100.01", "stop_loss_stop_price": "99.99"}),
    ("buy", "1", {**BRACKET, "type": "limit", "limit_price": "109.99"}),
    ("sell", "1", {**BRACKET, "take_profit_limit_price": "90", "stop_loss_stop_price": "110"}),
    ("buy", "1", OTO),
    ("buy", "1", {"order_class": "oto", "stop_loss_stop_price": "90", "time_in_force": "gtc"}),
    ("buy", "1", {"client_order_id": "x" * 128}),
]


@pytest.mark.parametrize(("side", "qty", "fields"), GOOD)
def test_an_order_that_the_venue_takes_is_valid(desk: Any, side: str, qty: Any, fields: dict[str, Any]) -> None:
    """Each legal combination of type, time in force, class and price passes."""
    assert desk().refusal(side, qty, **fields) == ""


BAD: list[tuple[str, Any, dict[str, Any], str]] = [
    ("hold", "1", {}, "side 'hold' is neither buy nor sell"),
    ("buy", "1", {"type": "iceberg"}, "type 'iceberg' is unknown"),
    ("buy", "1", {"time_in_force": "gtd"}, "a market order cannot be gtd"),
    ("buy", "1", {"order_class": "mleg"}, "order_class 'mleg' is unknown"),
    ("buy", "1", {"client_order_id": ""}, "client_order_id has 0 characters"),
    ("buy", "1", {"client_order_id": "x" * 129}, "client_order_id has 129 characters"),
    ("buy", None, {}, "exactly one of qty and notional_usd"),
    ("buy", "1", {"notional_usd": "100"}, "exactly one of qty and notional_usd"),
    ("buy", "0", {}, "qty 0 is not between 0 and"),
    ("buy", "-1", {}, "qty -1 is not between 0 and"),
    ("buy", "NaN", {}, "qty NaN is not finite"),
    ("buy", "sNaN", {}, "qty sNaN is not finite"),
    ("buy", "Infinity", {}, "qty Infinity is not finite"),
    ("buy", "1e12", {}, "is not between 0 and"),
    ("buy", "1e999999", {}, "is not between 0 and"),
    ("buy", 1.0, {}, "qty 1.0 is no Decimal"),
    ("buy", "0.0000000001", {}, "has more than 9 decimals"),
    ("buy", None, {"notional_usd": "0.99"}, "notional 0.99 USD < 1.00 USD"),
    ("buy", None, {"notional_usd": "NaN"}, "notional_usd NaN is not finite"),
    (
        "buy",
        None,
        {"notional_usd": "100", "type": "limit", "limit_price": "100"},
        "a notional order has to be a market",
    ),
    ("buy", None, {"notional_usd": "100", "time_in_force": "gtc"}, "a fractional or notional order has to be"),
    ("buy", "0.5", {"time_in_force": "gtc"}, "a fractional or notional order has to be a simple day order"),
    ("buy", "0.5", BRACKET, "a fractional or notional order has to be a simple day order"),
    ("buy", "0.5", {"type": "trailing_stop", "trail_price": "1"}, "a fractional or notional order has to be"),
    ("buy", "1", {"limit_price": "100"}, "a market order takes no price"),
    ("buy", "1", {"type": "limit"}, "a limit order takes limit_price"),
    ("buy", "1", {"type": "limit", "limit_price": "100", "stop_price": "99"}, "a limit order takes limit_price"),
    ("buy", "1", {"type": "stop", "limit_price": "100"}, "a stop order takes stop_price"),
    ("buy", "1", {"type": "stop_limit", "stop_price": "101"}, "takes limit_price and stop_price"),
    ("buy", "1", {"type": "trailing_stop"}, "takes trail_price or trail_percent"),
    ("buy", "1", {"type": "trailing_stop", "trail_price": "1", "trail_percent": "1"}, "exactly one of trail_price"),
    ("buy", "1", {"type": "trailing_stop", "trail_percent": "0.09"}, "trail_percent 0.09 is not between"),
    ("buy", "1", {"type": "trailing_stop", "trail_percent": "100"}, "trail_percent 100 is not between"),
    ("buy", "1", {"type": "trailing_stop", "trail_percent": "NaN"}, "trail_percent NaN is not finite"),
    ("buy", "1", {"type": "stop", "stop_price": "101", "time_in_force": "ioc"}, "a stop order cannot be ioc"),
    ("buy", "1", {"type": "stop", "stop_price": "101", "time_in_force": "opg"}, "a stop order cannot be opg"),
    ("buy", "1", {"type": "limit", "limit_price": "100.001"}, "limit_price 100.001 is not a multiple of its tick 0.01"),
    (
        "buy",
        "1",
        {"type": "limit", "limit_price": "0.99995"},
        "limit_price 0.99995 is not a multiple of its tick 0.0001",
    ),
    ("buy", "1", {"type": "limit", "limit_price": "0"}, "limit_price 0 is not between 0 and"),
    ("buy", "1", {"type": "limit", "limit_price": "NaN"}, "limit_price NaN is not finite"),
    ("buy", "1", {"type": "limit", "limit_price": 100.0}, "limit_price 100.0 is no Decimal"),
    ("buy", "1", {"type": "stop", "stop_price": "100.005"}, "stop_price 100.005 is not a multiple of its tick"),
    ("buy", "1", {"type": "trailing_stop", "trail_price": "0.00001"}, "trail_price 0.00001 is not a multiple"),
    ("buy", "1", {"extended_hours": True}, "in extended hours only simple limit orders go"),
    (
        "buy",
        "1",
        {"extended_hours": True, "type": "limit", "limit_price": "100", "time_in_force": "ioc"},
        "in extended",
    ),
    ("buy", "1", {"take_profit_limit_price": "110"}, "a simple order carries the wrong protective prices"),
    ("buy", "1", {"order_class": "bracket", "take_profit_limit_price": "110"}, "a bracket order carries the wrong"),
    ("buy", "1", {**BRACKET, "order_class": "oto"}, "a oto order carries the wrong"),
    ("buy", "1", {**OTO, "stop_loss_limit_price": "89"}, "stop_loss_limit_price without stop_loss_stop_price"),
    ("buy", "1", {**BRACKET, "time_in_force": "ioc"}, "a bracket order has to be day or gtc"),
    ("buy", "1", {**BRACKET, "type": "trailing_stop", "trail_price": "1"}, "may not trail"),
    (
        "buy",
        "1",
        {**BRACKET, "take_profit_limit_price": "100"},
        "take-profit 100 is not at least 0.01 on the profit side",
    ),
    (
        "buy",
        "1",
        {**BRACKET, "stop_loss_stop_price": "100"},
        "stop-loss 100 is not at least 0.01 on the loss side of 100",
    ),
    ("buy", "1", {**BRACKET, "stop_loss_stop_price": "90.001"}, "stop_loss_stop_price 90.001 is not a multiple"),
    ("buy", "1", {**BRACKET, "stop_loss_limit_price": "NaN"}, "stop_loss_limit_price NaN is not finite"),
    ("buy", "1", {**BRACKET, "type": "limit", "limit_price": "110"}, "take-profit 110 is not at least 0.01"),
    ("sell", "1", BRACKET, "take-profit 110 is not at least 0.01 on the profit side of 100"),
    ("sell", "1", {"order_class": "oco", "stop_loss_stop_price": "90"}, "an oco order is the take-profit limit itself"),
    ("buy", "1", {"replaces": "nobody"}, "order nobody cannot be replaced: it is not open"),
]


@pytest.mark.parametrize(("side", "qty", "fields", "reason"), BAD)
def test_an_order_that_the_venue_would_refuse_is_denied_by_order_validity(
    desk: Any, side: str, qty: Any, fields: dict[str, Any], reason: str
) -> None:
    """Each malformed sibling is refused before anything is computed with it, and told what is wrong."""
    refused = desk().refusal(side, qty, **fields)
    assert refused.startswith("C25: ")
    assert reason in refused


@pytest.mark.parametrize(("side", "qty", "fields", "reason"), BAD)
def test_the_denial_of_a_malformed_order_can_be_read_back_from_a_journal(
    desk: Any, side: str, qty: Any, fields: dict[str, Any], reason: str
) -> None:
    """Otherwise an author's typing error would keep a daemon from ever being started again."""
    denied = desk().ask(side, qty, **fields)
    again = msgspec.json.decode(journal.encode(denied), type=Denied)
    assert (again.control, again.reason) == (denied.control, denied.reason)


def test_an_unfractionable_symbol_takes_whole_shares_only(desk: Any) -> None:
    """Where the venue's list is known, a symbol that is not on it takes neither fractions nor notionals."""
    d = desk(fractionable=frozenset({"QQQ"}))
    d.bar(100, "QQQ")
    assert d.refusal("buy", "0.5", "QQQ") == ""
    assert d.refusal("buy", "2") == ""
    assert "SPY does not trade in fractions" in d.refusal("buy", "0.5")
    assert "SPY does not trade in fractions" in d.refusal("buy", None, notional_usd="100")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"time_in_force": "gtc"}, ""),
        ({"time_in_force": "ioc", "type": "limit", "limit_price": "100.000000001"}, ""),
        ({"time_in_force": "gtc", "type": "stop_limit", "stop_price": "101", "limit_price": "101.123456789"}, ""),
        ({"time_in_force": "day"}, "crypto takes market, limit and stop_limit, gtc or ioc, not market day"),
        ({"time_in_force": "gtc", "type": "stop", "stop_price": "101"}, "crypto takes market, limit and stop_limit"),
        (
            {"time_in_force": "ioc", "type": "limit", "limit_price": "100.0000000001"},
            "is not a multiple of its tick 1E-9",
        ),
        ({"time_in_force": "gtc", **BRACKET}, "crypto takes simple orders"),
        ({"time_in_force": "gtc", "type": "limit", "limit_price": "100", "extended_hours": True}, "no extended hours"),
    ],
)
def test_crypto_has_rules_of_its_own(desk: Any, fields: dict[str, Any], reason: str) -> None:
    """A symbol with a slash trades in 9 decimals, without ticks, good till canceled or immediately."""
    d = desk()
    d.bar(100, "BTC/USD")
    refused = d.refusal("buy", "0.123456789", "BTC/USD", **fields)
    assert refused == "" if not reason else reason in refused


def test_an_amendment_has_to_fit_its_order(desk: Any) -> None:
    """It names an open order of the same strategy, symbol, side and type that is not amended or canceled already."""
    d = desk()
    old = d.send("buy", "10", type="limit", limit_price="99")
    same = {"type": "limit", "limit_price": "98", "replaces": old.id}
    assert d.refusal("buy", "10", **same) == ""
    assert "is a limit order of a to buy SPY" in d.refusal("buy", "10", strategy="b", **same)
    assert "is a limit order of a to buy SPY" in d.refusal("buy", "10", replaces=old.id)
    assert "is a limit order of a to buy SPY" in d.refusal("sell", "10", **same)
    assert "cannot be replaced" in d.refusal("buy", "10", **same, order_class="oto", take_profit_limit_price="110")
    d.send("buy", "10", **same)
    assert "it is pending_replace" in d.refusal("buy", "10", **same)


@pytest.mark.parametrize("legs", [BRACKET, OTO])
def test_an_entry_with_legs_is_not_amended_and_its_legs_are(desk: Any, legs: dict[str, Any]) -> None:
    """What takes its place has none, so the venue refuses it: it is canceled, and sent anew."""
    d = desk()
    entry = d.send("buy", "10", type="limit", limit_price="99", **legs)
    refused = d.refusal("buy", "10", type="limit", limit_price="98", replaces=entry.id)
    assert refused == "C25: a notional order or one with legs cannot be replaced"
    target = entry.legs[0]
    assert d.refusal("sell", "10", type="limit", limit_price="111", replaces=target.id) == ""


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_order_that_has_filled_in_part_is_not_amended(desk: Any, side: str) -> None:
    """One rule for entries and exits, whatever the venue: what has filled already could fill a second time."""
    d = desk()
    d.hold("buy", "100")
    price = "99" if side == "buy" else "101"
    old = d.send(side, "10", type="limit", limit_price=price)
    d.fill(old, "3", price)
    refused = d.refusal(side, "10", type="limit", limit_price=price, replaces=old.id)
    assert refused == f"C25: order {old.id} has filled in part; cancel it and send a new one"


def test_a_denial_keeps_the_intent_and_names_control_and_numbers(desk: Any) -> None:
    """What the journal shows of a denial is enough to understand it."""
    verdict = desk().ask("buy", "0")
    assert isinstance(verdict, Denied)
    assert verdict.control == "C25 order_validity"
    assert verdict.intent.qty == Decimal(0)
