"""C14 to C16: how much may be lost before trading, or a strategy, stops."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.events import AccountOpened, StrategyHalted

LOSS = {"daily_loss_reduce_only_percent": 2, "daily_loss_halt_percent": 3}


def test_daily_loss_reduce_only_percent_at_the_cent(desk: Any) -> None:
    """C14: 100 shares and 100,000 dollars: at 80.00 the loss is exactly 2 %, a cent lower it is more."""
    d = desk(**LOSS)
    d.hold("buy", "100")
    assert d.bar(80.00) == []
    assert d.risk.state == "active"
    assert d.refusal("buy", "1") == ""
    (changed,) = d.bar(79.99)
    assert (changed.state, changed.control) == ("reduce_only", "C14 daily_loss")
    assert changed.reason == "equity 97,999.00 USD is more than 2 % below 100,000.00 USD at the session's start"
    assert d.refusal("buy", "1") == "C01: trading is reduce_only by C14 daily_loss"
    assert d.refusal("sell", "100") == ""


def test_daily_loss_halt_percent_after_reduce_only_and_in_one_jump(desk: Any) -> None:
    """C14: the tripwire goes on to the next limit; a gap through both halts at once."""
    d = desk(**LOSS)
    d.hold("buy", "100")
    assert d.bar(75) != []
    assert d.bar(70.00) == []
    (changed,) = d.bar(69.99)
    assert (changed.state, changed.control) == ("halted", "C14 daily_loss")
    assert d.bar(1) == []
    assert d.refusal("sell", "100") == ""
    d = desk(**LOSS)
    d.hold("buy", "100")
    (changed,) = d.bar(60)
    assert changed.state == "halted"


@pytest.mark.parametrize("symbol", ["SPY", "QQQ"])
def test_a_loss_that_came_with_the_closing_fill_halts_at_the_next_price(desk: Any, symbol: str) -> None:
    """C14, C15: a stop that a gap went through leaves nothing held, and the loss is none the smaller for it."""
    d = desk(**LOSS)
    d.hold("buy", "100")
    d.fill(d.send("sell", "100"), price="69.99")
    (changed,) = d.bar(71, symbol)
    assert (changed.state, changed.control) == ("halted", "C14 daily_loss")
    d = desk(max_drawdown_percent=5)
    d.hold("buy", "100")
    d.fill(d.send("sell", "100"), price="200")
    d.bar(200, symbol)
    assert d.portfolio.peak == 110_000
    d.hold("buy", "100")
    d.fill(d.send("sell", "100"), price="44.99")
    (changed,) = d.bar(45, symbol)
    assert changed.control == "C15 max_drawdown"


def test_daily_loss_also_refuses_before_the_tripwire_was_seen(desk: Any) -> None:
    """C14: an order that comes between the loss and the look at it is refused by the control itself."""
    d = desk(**LOSS)
    d.hold("buy", "100")
    d.portfolio.mark(d.market(), 79.0)
    assert d.risk.state == "active"
    assert d.refusal("buy", "1").startswith("C14: equity 97,900.00 USD is more than 2 % below")


def test_a_new_session_lifts_the_reduce_only_of_a_daily_loss_but_no_halt(desk: Any) -> None:
    """C14: yesterday's loss is no reason today; a halt stays until a person resumes."""
    d = desk(**LOSS)
    d.hold("buy", "100")
    d.bar(75)
    (changed,) = d.risk.on_session(d.now_ns)
    assert (changed.state, changed.control, changed.reason) == ("active", "C14 daily_loss", "a new session")
    assert d.bar(55.50) == []
    (changed,) = d.bar(40)
    assert changed.state == "halted"
    assert list(d.risk.on_session(d.now_ns)) == []
    assert d.risk.state == "halted"


def test_a_reduce_only_of_the_operator_outlives_the_session(desk: Any) -> None:
    """C01: only what a daily loss set is lifted by the next day."""
    d = desk(**LOSS)
    d.risk.reduce_only(d.now_ns, "operator", "asked for")
    assert list(d.risk.on_session(d.now_ns)) == []
    assert d.risk.state == "reduce_only"


def test_resuming_does_not_lift_the_limit_of_the_session(desk: Any) -> None:
    """C14: while the loss is beyond its limit the next price stops trading again."""
    d = desk(**LOSS)
    d.hold("buy", "100")
    d.bar(60)
    d.risk.resume(d.now_ns, "operator", "again")
    assert d.refusal("buy", "1").startswith("C14: ")
    (changed,) = d.bar(60)
    assert changed.state == "halted"


def test_max_drawdown_percent_from_the_highest_equity(desk: Any) -> None:
    """C15: from a peak of 110,000 dollars ten percent are 11,000, to the cent, over however many sessions."""
    d = desk(max_drawdown_percent=10)
    d.hold("buy", "100")
    assert d.bar(200) == []
    d.risk.on_session(d.now_ns)
    assert d.bar(90.00) == []
    assert d.refusal("buy", "1") == ""
    (changed,) = d.bar(89.99)
    assert (changed.state, changed.control) == ("halted", "C15 max_drawdown")
    assert changed.reason == "equity 98,999.00 USD is more than 10 % below its peak 110,000.00 USD"


def test_max_drawdown_also_refuses_before_the_tripwire_was_seen(desk: Any) -> None:
    """C15: as with the daily loss, the control itself compares."""
    d = desk(max_drawdown_percent=10)
    d.hold("buy", "500")
    d.portfolio.mark(d.market(), 70.0)
    assert d.refusal("buy", "1").startswith("C15: equity 85,000.00 USD is more than 10 % below its peak 100,000.00")


def test_a_person_who_resumes_after_a_drawdown_accepts_it(desk: Any) -> None:
    """C15: the drawdown is measured from the present equity then, or trading could never go on."""
    d = desk(max_drawdown_percent=10)
    d.hold("buy", "500")
    assert d.bar(70) != []
    d.risk.resume(d.now_ns, "operator", "accepted")
    assert d.bar(69) == []
    assert d.refusal("buy", "1") == ""
    (changed,) = d.bar(52)
    assert changed.control == "C15 max_drawdown"


def test_resuming_after_another_halt_keeps_the_peak(desk: Any) -> None:
    """C15: a pause for lunch forgives no drawdown."""
    d = desk(max_drawdown_percent=10)
    d.hold("buy", "500")
    d.bar(90)
    d.risk.halt(d.now_ns, "operator", "lunch")
    d.risk.resume(d.now_ns, "operator", "back")
    assert d.portfolio.peak == 100_000.0
    assert d.bar(79.99) != []


@pytest.mark.parametrize("price", [80.0, 85.0, 97.31, 120.0])
def test_the_tripwire_never_misses_and_costs_no_look_without_need(desk: Any, price: float) -> None:
    """C14, C15: `Portfolio.mark` asks for a look exactly when an exact comparison could find a breach."""
    d = desk(**LOSS, max_drawdown_percent=10)
    d.hold("buy", "100")
    due = d.portfolio.mark(d.market(), price)
    assert due == (price <= 80.0)
    assert bool(d.risk.on_loss(d.now_ns)) == (price < 80.0)


def test_strategy_daily_loss_percent_halts_that_strategy_alone(desk: Any) -> None:
    """C16: exactly 1 % of 100,000 dollars passes, a cent a share more halts the strategy and no other."""
    d = desk(strategy_daily_loss_percent=1)
    d.hold("buy", "100")
    d.hold("buy", "10", strategy="b")
    d.bar(90.00)
    assert list(d.risk.check_strategies(d.now_ns)) == []
    d.bar(89.99)
    (halted,) = d.risk.check_strategies(d.now_ns)
    assert halted == StrategyHalted(
        "a", d.now_ns, "C16 strategy_loss", "lost 1,001.00 USD in the session > 1,000.00 USD"
    )
    assert d.refusal("buy", "1") == "C01: strategy a is halted"
    assert d.refusal("buy", "1", strategy="b") == ""
    assert list(d.risk.check_strategies(d.now_ns)) == []


def test_the_loss_of_a_strategy_starts_at_zero_every_session(desk: Any) -> None:
    """C16: what was lost yesterday counts yesterday."""
    d = desk(strategy_daily_loss_percent=1)
    d.hold("buy", "100")
    d.bar(91)
    d.risk.on_session(d.now_ns)
    d.bar(82)
    assert list(d.risk.check_strategies(d.now_ns)) == []


def test_what_the_account_held_before_is_no_strategys_loss(desk: Any) -> None:
    """C16: it counts for the account's limits, and there is nobody to halt for it."""
    d = desk(strategy_daily_loss_percent=1)
    d.portfolio.open(AccountOpened("x", 0, 0, Decimal(100_000), 1, {"QQQ": Decimal(100)}, {"QQQ": Decimal(100)}))
    d.risk.on_session(d.now_ns)
    d.bar(50, "QQQ")
    assert list(d.risk.check_strategies(d.now_ns)) == []
