"""C27: what the broker lends, what the run may take of it, and the old rule of day traders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.events import AccountTerms
from engine.portfolio import Portfolio


def terms(d: Any, multiplier: int = 2, day_trades: int | None = None) -> None:
    d.risk.on_terms(AccountTerms(d.now_ns, d.now_ns, multiplier, day_trades))


def test_max_leverage_fraction_is_measured_by_the_equity_of_the_moment(desk: Any) -> None:
    """C27: after a loss the same position is more leverage; C12 looks at the start of the session."""
    d = desk(cash="1000", multiplier=4, max_leverage_fraction="2")
    d.hold("buy", "10")
    assert d.refusal("buy", "10") == ""
    assert d.refusal("buy", "11") == "C27: worst-case positions 2,100.00 USD > 2,000.00 USD, 2 times the equity now"
    d.bar(80)
    assert d.refusal("buy", "10") == ""
    assert d.refusal("buy", "11") == "C27: worst-case positions 1,680.00 USD > 1,600.00 USD, 2 times the equity now"
    assert d.refusal("sell", "10") == ""


def test_shorts_count_as_longs_do(desk: Any) -> None:
    """C27: the worst case of either side."""
    d = desk(cash="1000", multiplier=4, max_leverage_fraction="1", shortable=frozenset({"SPY"}))
    assert d.refusal("sell", "10") == ""
    assert d.refusal("sell", "11").startswith("C27: worst-case positions 1,100.00 USD > 1,000.00 USD")


def test_an_equity_that_is_no_number_refuses(desk: Any) -> None:
    """C27: fail closed."""
    d = desk(max_leverage_fraction="1")
    d.portfolio.equity = float("nan")
    assert "C27" in {control.code for control in d.risk.controls if control.check(proposal(d)) is not None}


def proposal(d: Any) -> Any:
    from engine.risk.proposal import Pricing, Proposal

    found = Proposal(d.order("buy", "1"), d.now_ns, d.sessions.at(d.now_ns), d.portfolio, d.orders)
    found.measure(Pricing(d.risk.limits))
    return found


def test_what_the_broker_lends_is_what_it_says_now(desk: Any) -> None:
    """C13 goes by the declared multiplier from the moment it is declared, not by the one at the start."""
    d = desk(cash="1000", multiplier=1)
    assert d.refusal("buy", "11").startswith("C13")
    terms(d, 2)
    assert d.refusal("buy", "20") == ""
    assert d.refusal("buy", "21").startswith("C13: margin used by this and the open entries 2,100.00 USD > 2,000.00")
    terms(d, 1)
    assert d.refusal("buy", "11").startswith("C13")


@pytest.mark.parametrize(
    ("cash", "day_trades", "refused"),
    [
        ("24999", 3, True), ("24999", 7, True), ("24999", 2, False), ("24999", 0, False), ("24999", None, False),
        ("25000", 3, False),
    ],
)  # fmt: skip
def test_a_fourth_day_trade_is_not_begun_while_the_broker_counts_them(
    desk: Any, cash: str, day_trades: int | None, refused: bool
) -> None:
    """C27: the rule is gone; where a broker still counts, nothing is opened whose way out it might refuse."""
    d = desk(cash=cash)
    d.hold("buy", "10")
    terms(d, 1, day_trades)
    told = d.refusal("buy", "1")
    assert told.startswith(f"C27: the broker counts {day_trades} day trades >= 3 in five days") is refused
    assert d.refusal("sell", "10") == ""


def test_the_books_take_on_the_declared_multiplier(desk: Any) -> None:
    """`order_target_percent` and buying power go by it, too."""
    d = desk()
    terms(d, 4)
    books: Portfolio = d.portfolio
    assert books.multiplier == 4
    assert books.buying_power_usd() == Decimal(400_000)
