"""Money is exact: cash, positions and profit are what the executions sum to, whatever happened in between."""

from collections.abc import Iterator
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
from math import inf, isclose, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvariantError
from engine.events import AccountOpened, CorporateAction, exact
from engine.portfolio import MONEY, Portfolio, Position, split_shares
from tests.engine.desk import Desk

BROKEN = (nan, inf, -inf, 0.0, -1.0)
SYMBOLS, STRATEGIES = ("SPY", "BRK", "BTC/USD"), ("one", "two")
PRICES = st.decimals("0.000000001", "99999", places=9)
QUANTITIES = st.decimals("-99999", "99999", places=9).filter(bool) | st.integers(-1000, 1000).filter(bool).map(Decimal)
EXECUTIONS = st.lists(
    st.tuples(
        st.sampled_from(STRATEGIES), st.sampled_from(SYMBOLS), QUANTITIES, PRICES, st.decimals("-9", "9", places=9)
    ),
    max_size=40,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _money() -> Iterator[None]:
    """The corridor's own arithmetic."""
    with localcontext(MONEY):
        yield


def split(new: int, old: int, symbol: str = "SPY") -> CorporateAction:
    return CorporateAction(symbol, 0, 0, "split", new_shares=new, old_shares=old)


def dividend(amount: str, symbol: str = "SPY") -> CorporateAction:
    return CorporateAction(symbol, 0, 0, "cash_dividend", amount_usd=Decimal(amount))


def renamed(new_symbol: str, symbol: str = "SPY") -> CorporateAction:
    return CorporateAction(symbol, 0, 0, "symbol_change", new_symbol=new_symbol)


def assert_books_add_up(portfolio: Portfolio) -> None:
    """What must hold after anything at all, in exact numbers."""
    books = portfolio.books.values()
    moved = portfolio.cash_usd - portfolio.start_cash_usd
    assert sum(book.cash_flow_usd for book in books) == moved
    assert sum(book.fees_usd for book in books) == portfolio.fees_usd
    for market in portfolio.markets.values():
        held = sum(book.positions[market.symbol].qty for book in books if market.symbol in book.positions)
        assert held == market.position_qty
    for book in books:
        positions = book.positions.values()
        assert book.cash_flow_usd + book.fees_usd == sum(one.realized_usd - one.cost_usd for one in positions)
        assert all(one.cost_usd == 0 for one in positions if not one.qty)
    profits = sum(portfolio.worth()[1].values())
    assert profits == portfolio.equity_usd() - portfolio.start_cash_usd


def assert_floats_follow(portfolio: Portfolio, scale: float) -> None:
    """The floats equal what is computed afresh from the exact books, within a millionth."""
    prices = {symbol: market.mark for symbol, market in portfolio.markets.items() if isfinite(market.mark)}
    reach = [
        (m.position_qty, m.position_qty + m.open_buy_qty, m.position_qty - m.open_sell_qty, prices.get(symbol, 0.0))
        for symbol, m in portfolio.markets.items()
    ]
    wanted = {
        "equity": float(portfolio.cash_usd) + sum(float(held) * price for held, _, _, price in reach),
        "gross": sum(float(max(abs(high), abs(low))) * price for _, high, low, price in reach),
        "net_high": sum(float(high) * price for _, high, _, price in reach),
        "net_low": sum(float(low) * price for _, _, low, price in reach),
    }
    for name, value in wanted.items():
        assert isclose(getattr(portfolio, name), value, rel_tol=1e-6, abs_tol=1e-6 * scale), name


# --- numbers ----------------------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_becomes_the_shortest_decimal_that_reads_back_as_it(value: float) -> None:
    """0.1 is one tenth and not its 55 binary digits."""
    assert float(exact(value)) == value
    assert str(exact(0.1)) == "0.1"


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_is_not_finite_is_no_money(value: float) -> None:
    """The one conversion refuses it."""
    with pytest.raises(ValueError, match=f"{value} is no price or quantity"):
        exact(value)


def test_the_corridors_arithmetic_stops_at_nonsense() -> None:
    """A division by zero or an overflow is an error and not a quiet infinity."""
    assert getcontext().prec == 38
    with pytest.raises(ArithmeticError):
        Decimal(1) / Decimal(0)


# --- executions -------------------------------------------------------------------------------------------------------


@given(EXECUTIONS)
def test_cash_is_conserved_exactly(executions: list[tuple[str, str, Decimal, Decimal, Decimal]]) -> None:
    """To the last of 18 decimals, cash is what was there, less what was bought, plus what was sold, less the fees."""
    desk, cash = Desk(), Fraction(100_000)
    for strategy, symbol, qty, price, fee in executions:
        desk.trade(qty, price, symbol, strategy=strategy, fee=fee)
        cash -= Fraction(qty) * Fraction(price) + Fraction(fee)
        assert Fraction(desk.portfolio.cash_usd) == cash
    assert Fraction(desk.portfolio.fees_usd) == sum((Fraction(fee) for *_, fee in executions), Fraction(0))


@given(EXECUTIONS)
def test_a_position_is_the_signed_sum_of_its_executions(
    executions: list[tuple[str, str, Decimal, Decimal, Decimal]],
) -> None:
    """For each strategy and for the account, through zero and back."""
    desk = Desk()
    for strategy, symbol, qty, price, fee in executions:
        desk.trade(qty, price, symbol, strategy=strategy, fee=fee)
    for symbol in SYMBOLS:
        wanted = sum((qty for _, name, qty, *_ in executions if name == symbol), Decimal(0))
        assert desk.portfolio.position_qty(symbol) == wanted
        for strategy in STRATEGIES:
            own = sum((qty for who, name, qty, *_ in executions if (who, name) == (strategy, symbol)), Decimal(0))
            assert desk.portfolio.book(strategy).position(symbol).qty == own


@given(EXECUTIONS)
def test_the_books_sum_to_the_account_and_cost_and_profit_to_the_cash_that_moved(
    executions: list[tuple[str, str, Decimal, Decimal, Decimal]],
) -> None:
    """After every single execution, exactly, though a share of a cost may be no finite decimal."""
    desk = Desk()
    for strategy, symbol, qty, price, fee in executions:
        desk.trade(qty, price, symbol, strategy=strategy, fee=fee)
        assert_books_add_up(desk.portfolio)


def test_a_third_of_a_position_takes_a_third_of_its_cost() -> None:
    """Where the third has no end, one rounding at the 18th decimal; the rest keeps what is left, exactly."""
    position = Position("SPY")
    position.book(Decimal(3), Decimal("33.333333333"))
    position.book(Decimal(-1), Decimal(40))
    assert position.realized_usd == 40 - Decimal("33.333333333")
    position = Position("SPY")
    position.book(Decimal(7), Decimal(1))
    position.book(Decimal(7), Decimal("1.000000001"))
    position.book(Decimal("-0.000000003"), Decimal(1))
    assert position.cost_usd - position.realized_usd == Decimal(14) + Decimal("0.000000007") - Decimal("0.000000003")


def test_an_execution_through_zero_closes_at_average_cost_and_opens_at_its_own_price() -> None:
    """10 at 5, then 15 sold at 8: 30 earned, and 5 short at 8."""
    position = Position("SPY")
    position.book(Decimal(10), Decimal(5))
    position.book(Decimal(-15), Decimal(8))
    assert (position.qty, position.realized_usd) == (-5, 30)
    assert (position.cost_usd, position.average_price) == (-40, 8)
    position.book(Decimal(5), Decimal(6))
    assert (position.qty, position.realized_usd, position.cost_usd) == (0, 40, 0)
    assert position.average_price is None


def test_strategies_that_hold_against_each_other_each_have_their_profit() -> None:
    """The account is flat and both are valued all the same."""
    desk = Desk()
    desk.mark(100.0)
    desk.trade(100, 100, strategy="one")
    desk.trade(-100, 100, strategy="two")
    assert desk.portfolio.position_qty("SPY") == 0
    desk.mark(103.0)
    assert desk.portfolio.worth()[1]["one"] == 300
    assert desk.portfolio.worth()[1]["two"] == -300
    assert desk.portfolio.equity_usd() == 100_000
    assert_books_add_up(desk.portfolio)


# --- prices -----------------------------------------------------------------------------------------------------------


@given(st.data())
def test_the_floats_follow_the_exact_books_through_anything(data: st.DataObject) -> None:
    """Prices, orders, partial fills and cancels in any order, on symbols that may have no price yet."""
    desk, working, scale = Desk(), [], 1e5
    for _ in range(data.draw(st.integers(1, 30), "steps")):
        act = data.draw(st.sampled_from(("mark", "ask", "fill", "cancel", "value")), "act")
        symbol = data.draw(st.sampled_from(SYMBOLS), "symbol")
        if act == "mark":
            desk.mark(data.draw(st.floats(0.01, 9999) | st.sampled_from(BROKEN), "price"), symbol)
        elif act == "ask":
            side, qty = data.draw(st.sampled_from(("buy", "sell")), "side"), data.draw(st.integers(1, 999), "qty")
            working.append(desk.ask(side, qty, symbol, strategy=data.draw(st.sampled_from(STRATEGIES), "strategy")))
        elif act == "fill" and working:
            order = data.draw(st.sampled_from(working), "order")
            qty = data.draw(st.integers(1, int(order.remaining_qty)), "filled")
            price = data.draw(st.decimals("0.01", "9999", places=2), "price")
            desk.fill(order, qty, price)
            scale += 2 * qty * float(price)
        elif act == "cancel" and working:
            desk.update(data.draw(st.sampled_from(working), "order"), "canceled")
        elif act == "value":
            desk.portfolio.value(desk.portfolio.equity_usd())
        working = [order for order in working if order.is_open]
        scale = max(scale, abs(desk.portfolio.gross), abs(desk.portfolio.equity))
        assert_floats_follow(desk.portfolio, scale)


def test_open_orders_count_as_if_all_of_one_side_filled() -> None:
    """Long 100, 50 to buy and 300 to sell: 150 or -200, so the worst is 200."""
    desk = Desk()
    desk.mark(10.0)
    desk.trade(100, 10)
    desk.ask("buy", 50)
    desk.ask("sell", 300)
    assert (desk.portfolio.gross, desk.portfolio.net_high, desk.portfolio.net_low) == (2000, 1500, -2000)
    desk.mark(20.0)
    assert (desk.portfolio.gross, desk.portfolio.net_high, desk.portfolio.net_low) == (4000, 3000, -4000)


def test_an_order_on_a_symbol_without_a_price_has_exposure_from_its_first_price_on() -> None:
    """Nothing is multiplied with a price that is not there."""
    desk = Desk()
    desk.ask("buy", 100)
    assert desk.portfolio.gross == 0
    desk.mark(10.0)
    assert (desk.portfolio.gross, desk.portfolio.equity) == (1000, 100_000)


def test_an_execution_on_a_symbol_without_a_price_is_its_first_price() -> None:
    """100 at 10 are 1,000 of exposure and no profit."""
    desk = Desk()
    desk.trade(100, 10)
    assert (desk.portfolio.gross, desk.portfolio.equity) == (1000, 100_000)


@pytest.mark.parametrize("price", BROKEN)
def test_a_broken_price_values_nothing_that_we_hold(price: float) -> None:
    """One bad print neither moves the account nor blinds its loss limit."""
    desk = Desk()
    desk.mark(100.0)
    desk.trade(100, 100)
    desk.portfolio.floor = 99_000.0
    assert desk.mark(price) is False
    assert (desk.portfolio.equity, desk.portfolio.gross, desk.market().mark) == (100_000, 10_000, 100)
    assert desk.mark(80.0) is True
    assert desk.mark(price) is True  # still below


@pytest.mark.parametrize("price", BROKEN)
def test_a_broken_price_of_what_we_did_not_hold_is_forgotten_with_the_next(price: float) -> None:
    """Exposure and equity come out as if it had never been."""
    desk = Desk()
    desk.mark(price)
    desk.trade(10, 100)
    desk.mark(101.0)
    assert (desk.portfolio.equity, desk.portfolio.gross) == (100_010, 1010)


def test_the_floor_follows_the_peak_and_never_falls() -> None:
    """A tenth below the highest equity; a price that only comes back does not lower it."""
    desk = Desk(1000)
    desk.portfolio.floor, desk.portfolio.peak_kept = 900.0, 0.9
    desk.mark(10.0)
    desk.trade(100, 10)
    assert desk.mark(20.0) is False
    assert (desk.portfolio.peak, desk.portfolio.floor) == (2000, 1800)
    assert desk.mark(18.0) is False  # at the floor is not below it
    assert desk.mark(17.99) is True
    assert (desk.portfolio.peak, desk.portfolio.floor) == (2000, 1800)


# --- corporate actions ------------------------------------------------------------------------------------------------


def test_a_split_multiplies_shares_and_divides_the_price() -> None:
    """7 for 1: 100 at 700 are 700 at 100, their cost and the equity as before."""
    desk = Desk()
    desk.mark(700.0)
    desk.trade(100, 650)
    desk.portfolio.act(split(7, 1))
    position = desk.portfolio.book("one").position("SPY")
    assert (position.qty, position.cost_usd, position.average_price) == (700, 65_000, Decimal(650) / 7)
    assert (desk.market().mark, desk.portfolio.equity, desk.portfolio.gross) == (100, 105_000, 70_000)
    assert desk.portfolio.equity_usd() == 105_000
    assert_books_add_up(desk.portfolio)


def test_a_reverse_split_pays_the_fraction_in_cash_to_the_cent() -> None:
    """1 for 3 of 100 at 10: 33 shares at 30, and a third of one, 10.00, in cash; its third of a cost is realized."""
    desk = Desk()
    desk.mark(10.0)
    desk.trade(100, 9)
    desk.portfolio.act(split(1, 3))
    position = desk.portfolio.book("one").position("SPY")
    assert (position.qty, desk.portfolio.cash_usd) == (33, 100_000 - 900 + 10)
    assert (position.cost_usd, position.realized_usd) == (891, 1)
    assert desk.portfolio.equity_usd() == 100_100
    assert_books_add_up(desk.portfolio)


def test_a_short_position_pays_for_its_fraction() -> None:
    """1 for 3 of -100 at 10: -33, and 10.00 leave the account."""
    desk = Desk()
    desk.mark(10.0)
    desk.trade(-100, 10)
    desk.portfolio.act(split(1, 3))
    assert desk.portfolio.book("one").position("SPY").qty == -33
    assert desk.portfolio.cash_usd == 101_000 - 10
    assert desk.portfolio.equity_usd() == 100_000
    assert_books_add_up(desk.portfolio)


def test_a_fractional_holding_keeps_its_fraction() -> None:
    """10.5 shares, 1 for 3, are 3.5."""
    desk = Desk()
    desk.mark(10.0)
    desk.trade("10.5", 10)
    desk.portfolio.act(split(1, 3))
    assert desk.portfolio.position_qty("SPY") == Decimal("3.5")
    assert desk.portfolio.cash_usd == 100_000 - 105


def test_strategies_that_hold_against_each_other_settle_their_fractions() -> None:
    """Long and short 100, 1 for 3: one receives what the other pays."""
    desk = Desk()
    desk.mark(10.0)
    desk.trade(100, 10, strategy="one")
    desk.trade(-100, 10, strategy="two")
    desk.portfolio.act(split(1, 3))
    flows = [desk.portfolio.book(name).cash_flow_usd for name in ("one", "two")]
    assert flows == [-1000 + 10, 1000 - 10]
    assert_books_add_up(desk.portfolio)


def test_shares_that_two_strategies_fractions_make_up_stay_in_the_account() -> None:
    """5 and 5, 1 for 2: a broker that keeps 5 of 10 is not told 2 and 2; whose it is pays the other for its half."""
    desk = Desk()
    desk.mark(10.0)
    for name in ("one", "two"):
        desk.trade(5, 8, strategy=name)
    desk.portfolio.act(split(1, 2))
    one, two = (desk.portfolio.book(name).position("SPY") for name in ("one", "two"))
    assert (one.qty, one.cost_usd, one.realized_usd) == (3, 50, 0)
    assert (two.qty, two.cost_usd, two.realized_usd) == (2, 32, 2)
    assert (desk.portfolio.position_qty("SPY"), desk.portfolio.cash_usd) == (5, 100_000 - 80)
    assert_books_add_up(desk.portfolio)


@given(st.lists(st.integers(-1000, 1000).filter(bool), min_size=1, max_size=9), st.integers(1, 40), st.integers(1, 40))
def test_the_shares_of_a_split_are_the_accounts_and_nobody_is_off_by_one(held: list[int], new: int, old: int) -> None:
    """However they are held, the account keeps what a broker keeps of their sum."""
    shares = split_shares([Decimal(qty) for qty in held], new, old)
    assert sum(shares) == int(Fraction(sum(held) * new, old))
    for qty, kept in zip(held, shares, strict=True):
        assert kept % 1 == 0
        assert abs(Fraction(qty * new, old) - Fraction(kept)) <= 1


@given(
    st.lists(st.tuples(st.sampled_from(STRATEGIES), QUANTITIES, PRICES), min_size=1, max_size=8),
    st.sampled_from([(2, 1), (3, 2), (7, 1), (1, 3), (1, 20), (1, 7), (11, 13)]),
    st.floats(0.01, 9999).map(lambda price: round(price, 4)),
)
def test_a_split_moves_the_equity_by_no_more_than_its_cents(
    trades: list[tuple[str, Decimal, Decimal]], ratio: tuple[int, int], price: float
) -> None:
    """Of any position, at any ratio: half a cent for each strategy, and the books still add up."""
    desk = Desk()
    desk.mark(price)
    for strategy, qty, paid in trades:
        desk.trade(qty, paid, strategy=strategy)
    desk.mark(price)
    before = desk.portfolio.equity_usd()
    desk.portfolio.act(split(*ratio))
    assert abs(float(desk.portfolio.equity_usd() - before)) <= 0.0051 * len(STRATEGIES) + 1e-9 * abs(float(before))
    assert_books_add_up(desk.portfolio)
    assert_floats_follow(desk.portfolio, abs(float(before)))


def test_prices_of_before_a_split_price_nothing_after_it() -> None:
    """No order is measured against seven times its price."""
    desk = Desk()
    desk.mark(700.0)
    market = desk.market()
    market.quote = market.trade = object()  # type: ignore[assignment]  # any price at all
    market.bar_ns, market.bar_close = 1, 700.0
    desk.portfolio.act(split(7, 1))
    assert (market.bar_ns, market.quote, market.trade) == (0, None, None)
    assert market.mark == 100


def test_a_dividend_is_paid_to_the_long_and_by_the_short() -> None:
    """0.47 for each share of each strategy; neither cost nor position moves."""
    desk = Desk()
    desk.mark(100.0)
    desk.trade(100, 100, strategy="one")
    desk.trade(-30, 100, strategy="two")
    cash, equity = desk.portfolio.cash_usd, desk.portfolio.equity
    desk.portfolio.act(dividend("0.47"))
    assert desk.portfolio.cash_usd == cash + 47 - Decimal("14.1")
    assert desk.portfolio.equity == pytest.approx(equity + 32.9)
    assert desk.portfolio.book("one").position("SPY").realized_usd == 47
    assert desk.portfolio.book("two").position("SPY").realized_usd == Decimal("-14.1")
    assert desk.portfolio.book("one").position("SPY").cost_usd == 10_000
    assert_books_add_up(desk.portfolio)


def test_a_new_name_takes_the_position_its_cost_and_its_price_over() -> None:
    """FB becomes META; the old name is flat, and its profit so far stays where it was made."""
    desk = Desk()
    desk.mark(200.0, "FB")
    desk.trade(20, 190, "FB")
    desk.trade(-10, 200, "FB")
    desk.portfolio.act(renamed("META", "FB"))
    book = desk.portfolio.book("one")
    assert (book.position("FB").qty, book.position("FB").realized_usd) == (0, 100)
    assert (book.position("META").qty, book.position("META").cost_usd) == (10, 1900)
    assert (desk.market("META").mark, desk.portfolio.gross) == (200, 2000)
    assert desk.portfolio.equity_usd() == 100_200
    assert desk.mark(210.0, "META") is False
    assert desk.portfolio.equity == 100_300
    assert_books_add_up(desk.portfolio)


def test_a_new_name_that_another_security_had_before_is_worth_what_the_old_name_was() -> None:
    """META was a fund at 15 once; what was known of that one prices nothing any more."""
    desk = Desk()
    desk.mark(200.0, "FB")
    desk.trade(10, 200, "FB")
    desk.mark(15.0, "META")
    market = desk.market("META")
    market.bar_ns, market.bar_close, market.bar_span_ns = 1, 15.0, 60
    desk.portfolio.act(renamed("META", "FB"))
    assert (market.mark, market.reference(2)) == (200, None)
    assert desk.portfolio.equity_usd() == 100_000
    assert_books_add_up(desk.portfolio)


def test_a_new_name_keeps_its_price_where_the_old_one_never_had_any() -> None:
    """The tape begins after the change, but for one row."""
    desk = Desk()
    desk.market("FB")
    desk.mark(200.0, "META")
    desk.portfolio.act(renamed("META", "FB"))
    assert desk.market("META").mark == 200


def test_a_fill_that_comes_after_its_symbol_changed_is_booked_under_the_old_name() -> None:
    """It was an execution of the old name; the books add up and somebody can see it."""
    desk = Desk()
    desk.mark(200.0, "FB")
    order = desk.ask("buy", 10, "FB")
    desk.fill(order, 4, 200)
    desk.portfolio.act(renamed("META", "FB"))
    desk.update(order, "canceled")
    assert desk.fill(order, 6, 200) == (order, True)
    assert desk.portfolio.book("one").position("FB").qty == 6
    assert desk.portfolio.position_qty("META") == 4
    assert_books_add_up(desk.portfolio)


def test_a_name_that_is_held_already_cannot_be_taken() -> None:
    """Not even where two strategies cancel out in it."""
    desk = Desk()
    desk.trade(10, 100, "FB")
    desk.trade(10, 100, "META", strategy="one")
    desk.trade(-10, 100, "META", strategy="two")
    with pytest.raises(InvariantError, match="FB becomes META, which one holds already"):
        desk.portfolio.act(renamed("META", "FB"))


@pytest.mark.parametrize("action", [split(2, 1, "ZZZ"), dividend("1", "ZZZ"), renamed("YYY", "ZZZ")])
def test_an_action_on_a_symbol_that_we_never_saw_does_nothing(action: CorporateAction) -> None:
    """Not even a new entry in the books."""
    desk = Desk()
    desk.portfolio.act(action)
    assert desk.portfolio.markets == {}
    assert desk.portfolio.cash_usd == 100_000


# --- buying power -----------------------------------------------------------------------------------------------------


def test_a_cash_account_spends_its_cash() -> None:
    """What is in shares cannot be spent again."""
    desk = Desk(1000)
    desk.trade(5, 100)
    desk.mark(200.0)
    assert desk.portfolio.buying_power_usd() == 500


def test_a_margin_account_holds_up_to_its_multiple_of_the_equity() -> None:
    """Twice 1,500 less the 1,000 long and the 400 short."""
    desk = Desk(1000, multiplier=2)
    desk.mark(100.0)
    desk.trade(5, 100)
    desk.mark(200.0)
    desk.mark(40.0, "BRK")
    desk.trade(-10, 40, "BRK")
    assert desk.portfolio.equity == 1500
    assert desk.portfolio.buying_power_usd() == 3000 - 1000 - 400


def test_holdings_are_listed_in_the_order_first_seen() -> None:
    """So that nothing that walks over them depends on a hash."""
    desk = Desk()
    for symbol in ("ZZZ", "AAA", "MMM"):
        desk.trade(1, 1, symbol)
    desk.trade(-1, 1, "AAA")
    assert [market.symbol for market in desk.portfolio.held()] == ["ZZZ", "MMM"]
    assert list(desk.portfolio.worth()[0]) == ["ZZZ", "MMM"]


def test_a_position_that_nobody_prices_is_worth_nothing_until_somebody_does() -> None:
    """A delisted share that the account once got does not keep the run from beginning."""
    desk = Desk()
    told = {"GONE": Decimal(7), "SPY": Decimal(2)}
    desk.portfolio.open(AccountOpened("PA1", 0, 0, Decimal(1000), 1, told, {"SPY": Decimal(100)}))
    assert (desk.portfolio.equity_usd(), desk.portfolio.position_qty("GONE")) == (1200, 7)
    desk.mark(3.0, "GONE")
    assert (desk.portfolio.equity, desk.portfolio.gross) == (1221, 221)
    assert_floats_follow(desk.portfolio, 1221)


def test_an_exposure_is_a_sum_over_symbols() -> None:
    """Two symbols, one long and one to be sold short."""
    desk = Desk()
    for symbol, price in (("SPY", 10.0), ("BRK", 7.0)):
        desk.mark(price, symbol)
    desk.trade(3, 10, "SPY")
    desk.ask("sell", 2, "BRK")
    assert (desk.portfolio.gross, desk.portfolio.net_high, desk.portfolio.net_low) == (30 + 14, 30, 30 - 14)
