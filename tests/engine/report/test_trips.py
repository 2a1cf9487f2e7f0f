"""Round trips: first in first out, exact, and conserved through anything that happens to a position."""

from decimal import Decimal, localcontext

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.portfolio import MONEY
from engine.report.fold import Fold
from engine.report.trips import Trips
from tests.engine.report.story import Story

ZERO = Decimal(0)


def fold(story: Story) -> Fold:
    return Fold().feed(story.end())


def test_the_oldest_lot_is_closed_first() -> None:
    """100 at 10, 100 at 11, then 150 sold at 12: 100 x 2 and 50 x 1, and 50 stay open at 11."""
    story = Story()
    for side, qty, price in (("buy", 100, 10), ("buy", 100, 11), ("sell", 150, 12)):
        story.after(60).trade("a", "SPY", side, str(qty), str(price))  # type: ignore[arg-type]  # a literal of a loop
    trips = fold(story).trips
    assert [(trip.qty, trip.pnl_usd) for trip in trips.closed] == [(100, 200), (50, 50)]
    assert [(lot.qty, lot.cost_usd) for _, lot in trips.open()] == [(50, 550)]


def test_fees_of_both_sides_are_paid_by_the_round_trip() -> None:
    """Half of an entry fee of 2 and the exit fee of 0.5: a profit of 100 becomes 98.5."""
    story = Story()
    story.trade("a", "SPY", "buy", "200", "10", fee="2")
    story.after(60).trade("a", "SPY", "sell", "100", "11", fee="0.5")
    (trip,), (_, lot) = fold(story).trips.closed, next(fold(story).trips.open())
    assert (trip.fee_usd, trip.pnl_usd, lot.fee_usd) == (Decimal("1.5"), Decimal("98.5"), 1)


def test_a_short_earns_when_the_price_falls() -> None:
    """Sold at 10, bought at 9."""
    story = Story()
    story.trade("a", "SPY", "sell", "100", "10")
    story.after(60).trade("a", "SPY", "buy", "100", "9")
    (trip,) = fold(story).trips.closed
    assert (trip.side, trip.pnl_usd, trip.exit_ns - trip.entry_ns) == ("short", 100, 60_000_000_000)


def test_an_order_through_zero_closes_one_trip_and_opens_the_other_side() -> None:
    """Long 100, sell 150: short 50, and the exit fee is split by quantity."""
    story = Story()
    story.trade("a", "SPY", "buy", "100", "10")
    story.trade("a", "SPY", "sell", "150", "11", fee="3")
    trips = fold(story).trips
    assert [(trip.side, trip.pnl_usd) for trip in trips.closed] == [("long", 98)]
    assert [(lot.qty, lot.fee_usd) for _, lot in trips.open()] == [(-50, 1)]


def test_partial_fills_of_one_order_are_one_round_trip() -> None:
    """Three executions in and two out are one decision each, so the hit rate counts one."""
    story = Story()
    entry = story.approve(story.intent("a", "SPY", "buy", "90"), "10")
    for price in ("10", "11", "12"):
        story.fill(entry, "a", "SPY", "buy", "30", price)
    leave = story.approve(story.intent("a", "SPY", "sell", "90"), "13")
    for qty, price in (("50", "13"), ("40", "14")):
        story.fill(leave, "a", "SPY", "sell", qty, price)
    (trip,) = fold(story).trips.closed
    assert (trip.qty, trip.cost_usd, trip.value_usd) == (90, 990, 1210)


def test_two_strategies_never_close_each_others_lots() -> None:
    """Each has a book of its own."""
    story = Story()
    story.trade("a", "SPY", "buy", "100", "10")
    story.trade("b", "SPY", "sell", "100", "11")
    trips = fold(story).trips
    assert trips.closed == []
    assert sorted((key[0], lot.qty) for key, lot in trips.open()) == [("a", 100), ("b", -100)]


def test_a_split_changes_quantities_and_no_profit() -> None:
    """7-for-1: 100 at 700 are 700 at 100; sold at 101 they earn 700."""
    story = Story()
    story.trade("a", "AAPL", "buy", "100", "700")
    story.snapshot()
    story.after(60).split("AAPL", 7, 1)
    story.trade("a", "AAPL", "sell", "700", "101")
    found = fold(story)
    assert [trip.pnl_usd for trip in found.trips.closed] == [700]
    assert list(found.trips.open()) == []


def test_a_fraction_paid_in_cash_leaves_with_what_it_had_cost() -> None:
    """1-for-3 of 100 at 30: 33 stay, a third at 90 is 30.00 in cash, and a third of a share had cost 30.00."""
    story = Story()
    story.trade("a", "XYZ", "buy", "100", "30")
    story.snapshot()
    story.split("XYZ", 1, 3)
    found = fold(story)
    ((_, lot),) = found.trips.open()
    (gain,) = found.actions[0].gain_usd.values()
    assert (lot.qty, round(lot.cost_usd, 9), round(gain, 9)) == (33, 2970, 0)


def test_a_fraction_that_was_bought_of_another_strategy_joins_at_what_was_paid() -> None:
    """1-for-2 of 5 and 5 at 30: three and two, and the half a share that was too few in one is bought at 60."""
    story = Story()
    for name in ("a", "b"):
        story.trade(name, "XYZ", "buy", "5", "30")
    story.snapshot()
    story.split("XYZ", 1, 2)
    found = fold(story)
    assert [(lot.qty, lot.cost_usd) for _, lot in found.trips.open()] == [(3, 180), (2, 120)]
    assert list(found.actions[0].paid_usd.values()) == [-30, 30]
    assert list(found.actions[0].gain_usd.values()) == [0, 0]


def test_a_rename_carries_the_lots_to_the_new_symbol() -> None:
    """What was bought as FB is sold as META."""
    trips, story = Trips(), Story()
    story.trade("a", "FB", "buy", "10", "100")
    found = Fold().feed(story.records)
    found.trips.rename("FB", "META")
    assert [key for key, _ in found.trips.open()] == [("a", "META")]
    trips.rename("FB", "META")
    assert list(trips.open()) == []


PRICES = st.decimals("0.01", "999", places=2)
TRADES = st.tuples(
    st.just("trade"), st.sampled_from(["a", "b"]), st.sampled_from(["X", "Y"]), st.sampled_from(["buy", "sell"]),
    st.integers(1, 40), PRICES, st.decimals("-1", "5", places=4),
)  # fmt: skip
SPLITS = st.tuples(
    st.just("split"), st.sampled_from(["X", "Y"]), st.sampled_from([(2, 1), (7, 1), (3, 2), (1, 3), (1, 10)])
)
DIVIDENDS = st.tuples(st.just("dividend"), st.sampled_from(["X", "Y"]), st.decimals("0.01", "3", places=4))
MOVES = st.tuples(st.just("move"), st.sampled_from(["X", "Y"]), st.floats(0.01, 999))


def tell(steps: list[tuple]) -> Story:
    """Let each step happen to a made-up run, with a snapshot after it."""
    story = Story(name="random")
    story.snapshot()
    for what, *rest in steps:
        story.after(600)
        if what == "trade":
            strategy, symbol, side, qty, price, fee = rest
            story.trade(strategy, symbol, side, str(qty), str(price), str(fee), reference=str(price))
            story.marks[symbol] = float(price)
        elif rest[0] in story.marks:
            if what == "split":
                story.split(rest[0], *rest[1])
            elif what == "dividend":
                story.dividend(rest[0], str(rest[1]))
            else:
                story.marks[rest[0]] = rest[1]
        story.snapshot()
    return story


@settings(deadline=None)
@given(st.lists(TRADES | SPLITS | DIVIDENDS | MOVES, max_size=40))
def test_closed_and_open_trips_and_actions_explain_every_cent_of_the_account(steps: list[tuple]) -> None:
    """Realized + open + dividends and cash in lieu = change of equity, exactly, and open lots = positions."""
    story = tell(steps)
    found = fold(story)
    with localcontext(MONEY):
        realized = sum((trip.pnl_usd for trip in found.trips.closed), ZERO)
        paid = sum((gain for act in found.actions for gain in act.gain_usd.values()), ZERO)
        held: dict[tuple[str, str], Decimal] = {}
        value = ZERO
        for key, lot in found.trips.open():
            held[key] = held.get(key, ZERO) + lot.qty
            value += story.value_usd(key[1], lot.qty) - lot.cost_usd.copy_sign(lot.qty) - lot.fee_usd
        equity = story.cash_usd + sum(story.value_usd(*item) for item in story.positions.items())
        assert realized + value + paid == equity - story.start_usd
    assert held == {key: qty for key, qty in story.held.items() if qty}


@settings(deadline=None)
@given(st.lists(TRADES, max_size=40))
def test_what_was_bought_is_sold_or_still_open(steps: list[tuple]) -> None:
    """Quantities are conserved: each trip takes as much out of a position as it takes in."""
    found = fold(tell(steps))
    bought = sum((step[4] for step in steps if step[3] == "buy"), 0)
    sold = sum((step[4] for step in steps if step[3] == "sell"), 0)
    closed = sum((trip.qty for trip in found.trips.closed), ZERO)
    long = sum((lot.qty for _, lot in found.trips.open() if lot.qty > 0), ZERO)
    short = sum((lot.qty for _, lot in found.trips.open() if lot.qty < 0), ZERO)
    assert (bought, sold) == (closed + long, closed - short)
