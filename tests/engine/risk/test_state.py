"""C01, C22 to C24 and C31: whether anything may go at all."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from engine.events import HOUR_NS, MINUTE_NS, SECOND_NS, Assets, ModelStatus


def test_trading_state_is_halted_until_activated(desk: Any) -> None:
    """C01: in warm-up nothing passes, not even a reduction."""
    d = desk(active=False)
    assert d.risk.state == "halted"
    assert d.refusal("buy", "1") == "C01: trading has not begun"
    changed = d.risk.activate(d.now_ns)
    assert (changed.state, changed.control, d.risk.state) == ("active", "C01 trading_state", "active")
    assert d.refusal("buy", "1") == ""


def test_a_halt_before_the_start_outlives_the_start(desk: Any) -> None:
    """C31: a journal done over ends in the halt that it recorded, and `activate` does not lift it."""
    d = desk(active=False)
    d.risk.halt(d.now_ns, "operator", "asked for")
    assert d.risk.activate(d.now_ns).state == "halted"
    assert d.refusal("buy", "1") == "C01: trading is halted by operator"


def test_a_control_that_halts_before_the_start_is_not_taken_for_the_start(desk: Any) -> None:
    """C34, C31: until `activate` nothing trades, and a reason to halt that comes meanwhile is kept, once."""
    d = desk(active=False)
    status = ModelStatus("m", d.now_ns, d.now_ns, "degraded", "halt", 1.0, "too old")
    (changed,) = d.risk.on_model(status, d.now_ns)
    assert (changed.state, changed.control) == ("halted", "C34 model_health")
    assert list(d.risk.on_model(status, d.now_ns)) == []
    assert d.risk.activate(d.now_ns).state == "halted"


@pytest.mark.parametrize("state", ["halt", "reduce_only"])
def test_reductions_pass_every_state(desk: Any, state: str) -> None:
    """C01, C26: entries are refused, an exit within the position passes, one beyond it is an entry."""
    d = desk()
    d.hold("buy", "100")
    changed = getattr(d.risk, state)(d.now_ns, "operator", "asked for")
    assert changed.reason == "asked for"
    assert d.refusal("buy", "1") == f"C01: trading is {changed.state} by operator"
    assert d.refusal("sell", "100") == ""
    assert d.refusal("sell", "101").startswith("C01: ")
    assert d.refusal("sell", "0").startswith("C25: ")


def test_the_halt_latch_survives_a_new_session_and_only_a_person_resumes(desk: Any) -> None:
    """C31: time does not lift a halt."""
    d = desk()
    d.risk.halt(d.now_ns, "operator", "asked for")
    d.wait(86_400)
    d.bar(100)
    assert list(d.risk.on_session(d.now_ns)) == []
    assert d.risk.state == "halted"
    assert d.risk.resume(d.now_ns, "operator", "looked at it").state == "active"
    assert d.refusal("buy", "1") == ""


def test_a_halted_strategy_may_only_reduce_and_the_other_goes_on(desk: Any) -> None:
    """C01: a strategy is stopped alone."""
    d = desk()
    d.hold("buy", "10")
    d.portfolio.book("a").halted = True
    assert d.refusal("buy", "1") == "C01: strategy a is halted"
    assert d.refusal("sell", "10") == ""
    assert d.refusal("buy", "1", strategy="b") == ""


def test_symbol_permission_is_an_allow_list(desk: Any) -> None:
    """C22: a symbol that is not listed, and a strategy that is not known, may enter nothing."""
    d = desk()
    d.bar(100, "IWM")
    assert d.refusal("buy", "1", "IWM") == "C22: IWM is not among the symbols of a"
    assert d.refusal("buy", "1", strategy="c") == "C22: SPY is not among the symbols of c"
    d.risk.rename("SPY", "IWM")
    assert d.refusal("buy", "1", "IWM") == ""


def test_market_state_refuses_entries_in_a_halted_symbol(desk: Any) -> None:
    """C23: a halt of the symbol stops entries and lets exits wait at the venue."""
    d = desk()
    d.hold("buy", "10")
    d.market().halted = True
    assert d.refusal("buy", "1") == "C23: SPY is halted"
    assert d.refusal("sell", "10") == ""


def test_market_state_keeps_prices_inside_the_limit_up_limit_down_band(desk: Any) -> None:
    """C23: on the band passes, a cent outside does not; without a limit the reference counts."""
    d = desk()
    d.market().limit_up_price, d.market().limit_down_price = 105.0, 95.0
    assert d.refusal("buy", "1", type="limit", limit_price="105") == ""
    assert d.refusal("buy", "1", type="limit", limit_price="105.01").startswith("C23: price 105.01 is outside")
    assert d.refusal("buy", "1", type="limit", limit_price="94.99").startswith("C23: price 94.99 is outside")
    d.market().limit_up_price = 99.0
    assert d.refusal("buy", "1").startswith("C23: price 100.0 is outside")
    d.market().limit_up_price = nan
    assert d.refusal("buy", "1").startswith("C23: ")


def test_allow_short_selling(desk: Any) -> None:
    """C23: switched off, a strategy sells no more than it holds; open sells count."""
    d = desk(allow_short_selling=False)
    assert d.refusal("sell", "1") == "C23: would be short 1 SPY, and short selling is not allowed"
    d.hold("buy", "10")
    d.send("sell", "6")
    assert d.refusal("sell", "4") == ""
    assert d.refusal("sell", "5").startswith("C23: would be short 1 SPY")


def test_a_short_needs_a_symbol_that_can_be_borrowed_and_whole_shares(desk: Any) -> None:
    """C23: where the venue's list is known it binds; fractions, notionals and crypto are never sold short."""
    d = desk(shortable=frozenset({"QQQ"}))
    d.bar(100, "QQQ")
    d.bar(100, "BTC/USD")
    assert d.refusal("sell", "1", "QQQ") == ""
    assert d.refusal("sell", "1") == "C23: would be short 1 SPY, which cannot be borrowed"
    assert d.refusal("sell", "0.5", "QQQ").startswith("C23: a fractional or notional order would be short")
    assert d.refusal("sell", None, "QQQ", notional_usd="100").startswith("C23: a fractional or notional order")
    assert desk().refusal("sell", "1", "BTC/USD", time_in_force="gtc") != ""


OPEN = 9 * HOUR_NS + 30 * MINUTE_NS
CLOSE = 16 * HOUR_NS
MIDNIGHT_NS = 1_741_021_200 * SECOND_NS - 12 * HOUR_NS  # 2025-03-03 in New York


@pytest.mark.parametrize(
    ("clock_ns", "reason"),
    [
        (OPEN - 1, "C24: the venue is closed, and entries may not wait for it to open"),
        (OPEN, ""),
        (CLOSE - 300 * SECOND_NS - 1, ""),
        (CLOSE - 300 * SECOND_NS, "C24: 300 s to the close <= 300 s"),
        (CLOSE - 1, "C24: 0 s to the close <= 300 s"),
        (CLOSE, "C24: the venue is closed, and entries may not wait for it to open"),
        (22 * HOUR_NS, "C24: the venue is closed, and entries may not wait for it to open"),
    ],
)
def test_session_gate_and_no_entry_before_close_s(desk: Any, clock_ns: int, reason: str) -> None:
    """C24: the regular session less its last no_entry_before_close_s, to the nanosecond; exits pass at any time."""
    d = desk(calendar="XNYS", no_entry_before_close_s=300, allow_extended_hours=False, allow_queued_entries=False)
    d.hold("buy", "10")
    d.now_ns = MIDNIGHT_NS + clock_ns
    d.bar(100)
    assert d.refusal("buy", "1") == reason
    assert d.refusal("sell", "10") == ""


def test_allow_extended_hours_and_allow_queued_entries(desk: Any) -> None:
    """C24: each switch opens its own way into a closed venue; an opg order waits for the open by its nature."""
    extended = {"type": "limit", "limit_price": "100", "extended_hours": True}
    closed = {"calendar": "XNYS", "now_ns": MIDNIGHT_NS + 8 * HOUR_NS}
    d = desk(**closed, allow_extended_hours=False, allow_queued_entries=False)
    assert d.refusal("buy", "1", **extended) == "C24: entries in extended hours are not allowed"
    assert d.refusal("buy", "1", time_in_force="opg") == ""
    d = desk(**closed, allow_extended_hours=True, allow_queued_entries=False)
    assert d.refusal("buy", "1", **extended) == ""
    assert d.refusal("buy", "1").startswith("C24: the venue is closed")
    d = desk(**closed, allow_extended_hours=False, allow_queued_entries=True)
    assert d.refusal("buy", "1") == ""
    assert d.refusal("buy", "1", **extended) == "C24: entries in extended hours are not allowed"


def test_session_gate_does_not_concern_crypto(desk: Any) -> None:
    """C24: crypto trades around the clock, even in a run that keeps an exchange's calendar."""
    d = desk(calendar="XNYS", now_ns=MIDNIGHT_NS, allow_queued_entries=False, no_entry_before_close_s=300)
    d.bar(100, "BTC/USD")
    assert d.refusal("buy", "1", "BTC/USD", time_in_force="gtc") == ""


def test_what_the_broker_says_of_a_symbol_binds_entries(desk: Any) -> None:
    """C23, C25: whether it trades at all, short and in fractions; not asked yet, that is left to the venue."""
    d = desk()
    assert d.refusal("buy", "0.5") == ""
    d.risk.on_assets(Assets(d.now_ns, d.now_ns, tradable=("SPY",), fractionable=(), shortable=()))
    assert d.refusal("buy", "1") == ""
    assert d.refusal("buy", "0.5").startswith("C25: SPY does not trade in fractions")
    assert d.refusal("sell", "1") == "C23: would be short 1 SPY, which cannot be borrowed"
    d.risk.on_assets(Assets(d.now_ns, d.now_ns, tradable=(), fractionable=(), shortable=()))
    assert d.refusal("buy", "1") == "C23: SPY cannot be traded at the broker"
