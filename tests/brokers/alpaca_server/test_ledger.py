"""The venue's own book: exact cash, average cost, corporate actions."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from brokers.alpaca_server.ledger import Ledger
from engine.events import CorporateAction, Fill

CENTS = st.decimals(min_value="0.01", max_value="1000", places=2)


def fill(side: Literal["buy", "sell"], qty: str | Decimal, price: str | Decimal, fee: str = "0") -> Fill:
    return Fill("1", "a", "AAPL", side, Decimal(qty), Decimal(price), Decimal(fee), 1, 1)


@given(st.lists(st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 50), CENTS), max_size=30))
def test_no_cent_is_lost(trades: list[tuple[Literal["buy", "sell"], int, Decimal]]) -> None:
    """Cash is the start less what was paid; equity at cost differs from it by realized profit only."""
    ledger = Ledger(Decimal(100_000), 2)
    paid, held = Decimal(0), Decimal(0)
    for side, qty, price in trades:
        ledger.fill(fill(side, Decimal(qty), price))
        sign = 1 if side == "buy" else -1
        paid += sign * qty * price
        held += sign * qty
    assert ledger.cash_usd == 100_000 - paid
    assert ledger.position_qty("AAPL") == held
    holding = ledger.holding("AAPL")
    assert (holding.cost_usd > 0) == (held > 0)
    assert bool(holding.cost_usd) == bool(held)


def test_average_cost_survives_partial_exits_and_turns() -> None:
    """10 at 100 and 10 at 110: 105. Selling 5 keeps it; selling 20 more turns short at the new price."""
    ledger = Ledger(Decimal(10_000), 2)
    ledger.fill(fill("buy", "10", "100"))
    ledger.fill(fill("buy", "10", "110"))
    ledger.fill(fill("sell", "5", "120"))
    assert ledger.holding("AAPL").average_price == Decimal(105)
    ledger.fill(fill("sell", "20", "130"))
    holding = ledger.holding("AAPL")
    assert (holding.qty, holding.average_price, holding.cost_usd) == (Decimal(-5), Decimal(130), Decimal(-650))


def test_a_busted_trade_leaves_no_trace_in_the_cash() -> None:
    """Price and fee come back."""
    ledger = Ledger(Decimal(10_000), 2)
    trade = fill("buy", "3", "33.33", "0.07")
    ledger.fill(trade)
    ledger.reverse(trade)
    assert (ledger.cash_usd, ledger.position_qty("AAPL"), ledger.fees_usd) == (Decimal(10_000), 0, 0)


def test_a_split_pays_the_fraction_in_cash_and_changes_no_value() -> None:
    """7 shares, 3 for 2: 10 shares and half a share at 200/3 dollars."""
    ledger = Ledger(Decimal(10_000), 2)
    ledger.fill(fill("buy", "7", "100"))
    before = ledger.equity_usd()
    ledger.act(CorporateAction("AAPL", 5, 5, "split", 3, 2))
    assert ledger.position_qty("AAPL") == 10
    assert abs(ledger.equity_usd() - before) < Decimal("0.01")
    assert ledger.entries[-1].kind == "SPLIT"


def test_a_dividend_is_paid_by_shorts_and_a_new_name_keeps_the_shares() -> None:
    """Minus 5 shares at 2 dollars: 10 dollars out. The holding moves to its new symbol."""
    ledger = Ledger(Decimal(10_000), 2)
    ledger.fill(fill("sell", "5", "100"))
    ledger.act(CorporateAction("AAPL", 5, 5, "cash_dividend", amount_usd=Decimal(2)))
    assert ledger.cash_usd == Decimal(10_490)
    ledger.act(CorporateAction("AAPL", 6, 6, "symbol_change", new_symbol="NEW"))
    assert (ledger.position_qty("AAPL"), ledger.position_qty("NEW")) == (0, Decimal(-5))
    assert [entry.kind for entry in ledger.entries] == ["DIV", "NC"]


def test_buying_power_follows_the_multiplier() -> None:
    """Cash alone, or twice the equity less what is held."""
    for multiplier, power in ((1, 9_000), (2, 19_000), (4, 39_000)):
        ledger = Ledger(Decimal(10_000), multiplier)
        ledger.fill(fill("buy", "10", "100"))
        assert ledger.buying_power_usd() == power


def test_a_days_profit_begins_at_the_last_close() -> None:
    """Yesterday's shares count from yesterday's price, today's from what they cost."""
    ledger = Ledger(Decimal(10_000), 2)
    ledger.fill(fill("buy", "10", "100"))
    ledger.mark("AAPL", 110.0)
    ledger.close_day()
    ledger.fill(fill("buy", "10", "120"))
    ledger.mark("AAPL", 121.0)
    holding = ledger.holding("AAPL")
    assert holding.value_usd - holding.day_cost_usd == 10 * 11 + 10 * 1
    assert ledger.last_equity_usd == Decimal(10_100)
