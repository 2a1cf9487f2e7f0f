"""Rules 1 to 8 of docs/paper_fills.md: at which price, when and how much a market event fills."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from engine.events import Bar, Fill, Trade
from tests.brokers.paper_venue import Venue, at

# --- 1 next event --------------------------------------------------------------------------------------------------


def test_a_market_order_fills_at_the_next_bars_open() -> None:
    """A bar that ends at 10:00 causes an order; the bar after it fills that order at its open, never the bar itself."""
    venue = Venue()
    venue.bar("10:00", 99)
    order = venue.order()
    venue.bar("10:01", 101, 102, 100, 101.5)
    assert venue.fills() == [("100", "101")]
    assert venue.states(order) == ["accepted", "fill"]
    fill = venue.answers[-1]
    assert fill.ts_event_ns == at("10:00:00.050")  # the bar was open already when the order arrived


def test_an_order_that_arrives_inside_a_bar_sees_only_its_close() -> None:
    """Sent at 10:00:30, the first price certainly later is the 10:01 bar's close; a limit looks at nothing else."""
    venue = Venue()
    venue.order(clock="10:00:30")
    venue.order(clock="10:00:30", limit_price=100, type="limit")  # the low of 99 may have been before it
    venue.bar("10:01", 101, 102, 99, 101.5)
    assert venue.fills() == [("100", "101.5")]
    assert venue.answers[-1].ts_event_ns == at("10:01")


def test_an_order_within_the_open_grace_still_fills_at_the_open() -> None:
    """By default a second after the bar's open counts as before it; without grace it does not."""
    for grace_ms, price in ((1000, "101"), (0, "102")):
        venue = Venue(open_grace_ms=grace_ms)
        venue.order(clock="10:00:00.900")
        venue.bar("10:01", 101, 102, 101, 102)
        assert venue.fills() == [("100", price)]


def test_a_bar_that_closed_before_the_arrival_fills_nothing() -> None:
    """A bar known late is no later price: the order arrived when it had ended."""
    venue = Venue()
    venue.order(clock="10:01:00.500")
    venue.bar("10:01", 101, late_s=2)
    assert venue.fills() == []
    venue.bar("10:02", 103)
    assert venue.fills() == [("100", "103")]


def test_a_tick_not_later_than_the_arrival_fills_nothing() -> None:
    """A print at the very instant of the arrival may have been before it."""
    venue = Venue()
    venue.order(clock="10:00")
    venue.trade("10:00:00.050", 100)
    assert venue.fills() == []
    venue.trade("10:00:00.051", 101)
    assert venue.fills() == [("100", "101")]


def test_a_tick_known_late_fills_nothing_that_arrived_after_it() -> None:
    """What counts is when a print happened, not when we heard of it."""
    venue = Venue()
    venue.order(clock="10:00")
    venue.see(Trade("SPY", at("10:00:00.040"), at("10:00:00.200"), 100, 1e6))
    assert venue.fills() == []


def test_a_revised_bar_fills_nothing() -> None:
    """A late print changed the minute that has been told; an order that rested through it may not fill by that."""
    venue = Venue()
    venue.order(clock="9:59", limit_price=98, type="limit")
    venue.bar("10:01", 101, 102, 99, 101.5)
    ends_ns = at("10:01")
    venue.see(Bar("SPY", ends_ns, at("10:01:30"), 101, 102, 97, 101.5, 1e6, 60 * 10**9, revised=True))
    assert venue.fills() == []
    venue.bar("10:02", 98, 98, 97, 98)
    assert venue.fills() == [("100", "98")]


# --- 2 quotes and prints -------------------------------------------------------------------------------------------


def test_market_orders_fill_at_the_bid_and_ask() -> None:
    """Buys pay the ask, sells get the bid."""
    venue = Venue(position=100)
    venue.order("buy", 10)
    venue.order("sell", 20)
    venue.quote("10:00:01", 99.98, 100.02)
    assert venue.fills() == [("10", "100.02"), ("20", "99.98")]


def test_bars_do_not_fill_while_quotes_are_fresh() -> None:
    """Once quotes come, a minute's bar says less than they do; it fills again when they have been silent too long."""
    venue = Venue(quote_max_age_s=60)
    venue.order("buy", 500)
    venue.quote("10:00:10", 99.98, 100.02, size=100)
    venue.bar("10:01", 105)
    assert venue.fills() == [("100", "100.02")]
    venue.bar("10:02", 106)
    assert venue.fills()[1:] == [("400", "106")]


@pytest.mark.parametrize("reference", ["bar", "trade"])
def test_ticks_that_met_no_order_keep_no_bar_from_filling(reference: str) -> None:
    """A print, and a quote too wide to measure an order by, ten seconds before the bar; a tick that met one does."""
    venue = Venue()
    venue.trade("10:00:50", 100)
    venue.quote("10:00:50", 90, 110)
    venue.order(clock="10:00:50", reference=reference)
    venue.bar("10:01", 105)
    assert venue.fills() == [("100", "105")]
    venue.order(clock="10:01:10", reference=reference)
    venue.trade("10:01:50", 101, size=10)
    venue.order(clock="10:01:51", reference=reference)
    venue.bar("10:02", 106)
    assert venue.fills()[1:] == [("10", "101")]


def test_an_approval_measured_by_a_quote_makes_the_symbol_quote_driven() -> None:
    """The venue sees no events of a symbol without orders; the approval tells it that there are quotes."""
    venue = Venue()
    venue.order(reference="quote")
    venue.bar("10:01", 105)
    venue.quote("10:01:01", 99, 100)
    assert venue.fills() == [("100", "100")]


def test_a_quote_fills_no_more_than_it_shows() -> None:
    """Orders share the displayed size in their order of arrival; the option lifts the cap."""
    venue = Venue()
    venue.order("buy", 80)
    venue.order("buy", 80)
    venue.quote("10:00:01", 99, 100, size=100)
    assert [qty for qty, _ in venue.fills()] == ["80", "20"]
    venue.quote("10:00:02", 99, 101, size=100)
    assert [qty for qty, _ in venue.fills()] == ["80", "20", "60"]
    venue = Venue(quote_size_cap=False)
    venue.order("buy", 10_000)
    venue.quote("10:00:01", 99, 100, size=1)
    assert [qty for qty, _ in venue.fills()] == ["10000"]


def test_both_sides_of_a_quote_are_volumes_of_their_own() -> None:
    """What a buy takes from the ask, a sell still finds at the bid."""
    venue = Venue(position=100)
    venue.order("buy", 100)
    venue.order("sell", 100)
    venue.quote("10:00:01", 99, 100, size=100)
    assert [qty for qty, _ in venue.fills()] == ["100", "100"]


def test_an_empty_side_of_the_book_fills_nothing() -> None:
    """A price of 0 means that nobody is there."""
    venue = Venue()
    venue.order()
    venue.quote("10:00:01", 99, 0)
    assert venue.fills() == []


def test_a_market_order_fills_at_the_next_print_unless_quotes_are_fresh() -> None:
    """On a tape of prints, the print fills; beside quotes, the market order waits for the next quote."""
    venue = Venue()
    venue.order()
    venue.trade("10:00:01", 101)
    assert venue.fills() == [("100", "101")]
    venue = Venue()
    venue.order(reference="quote")
    venue.trade("10:00:01", 101)
    assert venue.fills() == []
    venue.quote("10:00:02", 99, 100.5)
    assert venue.fills() == [("100", "100.5")]


def test_a_print_fills_again_when_quotes_are_stale() -> None:
    """Quotes that have been silent for longer than their age count no more."""
    venue = Venue(quote_max_age_s=30)
    venue.order(reference="quote")
    venue.trade("10:00:30", 101)
    assert venue.fills() == []
    venue.trade("10:00:31", 102)
    assert venue.fills() == [("100", "102")]


def test_a_resting_limit_needs_a_print_through_it() -> None:
    """A print at the limit is a touch, one below it goes through it; the fill is at the limit, not at the print."""
    venue = Venue()
    order = venue.order(reference="quote", type="limit", limit_price=100)
    venue.quote("10:00:01", 100, 100.1)
    venue.trade("10:00:02", 100)
    assert venue.fills() == []
    venue.trade("10:00:03", 99.9)
    assert venue.fills(order) == [("100", "100")]
    assert venue.answers[-1].liquidity == "maker"
    venue = Venue(limit_fill="touch")
    order = venue.order(reference="quote", type="limit", limit_price=100)
    venue.quote("10:00:01", 100, 100.1)
    venue.trade("10:00:02", 100)
    assert venue.fills(order) == [("100", "100")]


def test_a_quote_that_crosses_a_resting_limit_fills_it_at_the_limit() -> None:
    """Marketable on arrival pays the ask and takes; when the ask comes down to it later, it is hit at its price."""
    venue = Venue()
    venue.order("buy", 10, type="limit", limit_price=101)
    venue.quote("10:00:01", 99, 100)
    assert (venue.fills(), venue.answers[-1].liquidity) == ([("10", "100")], "taker")
    venue.order("buy", 10, type="limit", limit_price=99.5)
    venue.quote("10:00:02", 99, 100)
    venue.quote("10:00:03", 98, 99)
    assert (venue.fills()[1:], venue.answers[-1].liquidity) == ([("10", "99.5")], "maker")


def liquidity(venue: Venue) -> list[str]:
    return [fill.liquidity for fill in venue.answers if isinstance(fill, Fill)]


def test_a_marketable_limit_pays_the_quotes_until_one_is_beyond_it() -> None:
    """A market order sent as a limit 3 % away: each part pays its quote, and only what the market left behind rests."""
    venue = Venue()
    venue.order("buy", 40, type="limit", limit_price=103)
    venue.quote("10:00:01", 99.9, 100, size=10)
    venue.quote("10:00:02", 100.9, 101, size=10)
    assert venue.fills() == [("10", "100"), ("10", "101")]
    venue.quote("10:00:03", 103, 103.01, size=10)  # the market has moved beyond the limit
    venue.quote("10:00:04", 101, 102, size=10)  # and on its way back it met our order
    assert venue.fills()[2:] == [("10", "103")]
    assert liquidity(venue) == ["taker", "taker", "maker"]


def test_a_marketable_limit_waits_for_a_quote_while_they_are_fresh() -> None:
    """A print beside quotes neither fills it, as little as a market order, nor sends it to rest; a quote fills."""
    venue = Venue()
    venue.order("sell", 10, type="limit", limit_price=97, reference="quote")
    venue.trade("10:00:01", 99.9)
    venue.trade("10:00:02", 96)
    assert venue.fills() == []
    venue.quote("10:00:03", 99.8, 100)
    assert (venue.fills(), liquidity(venue)) == ([("10", "99.8")], ["taker"])


def test_a_marketable_limit_fills_at_the_prints_where_there_are_no_quotes() -> None:
    """At the print's own price, rest included, until a print is beyond the limit."""
    venue = Venue()
    venue.order("buy", 40, type="limit", limit_price=103)
    venue.trade("10:00:01", 100, size=10)
    venue.trade("10:00:02", 101, size=10)
    venue.trade("10:00:03", 104, size=10)
    venue.trade("10:00:04", 102, size=10)
    assert venue.fills() == [("10", "100"), ("10", "101"), ("10", "103")]
    assert liquidity(venue) == ["taker", "taker", "maker"]


# --- 3 latency -----------------------------------------------------------------------------------------------------


def test_an_order_arrives_after_the_latency() -> None:
    """Nothing is accepted before, and the acceptance is stamped with the arrival."""
    venue = Venue(latency_ms=250)
    order = venue.order(clock="10:00")
    assert venue.broker.due_ns == at("10:00:00.250")
    assert venue.wait_until(at("10:00:00.249")) == []
    venue.wait_until(at("10:01"))
    assert venue.states(order) == ["accepted"]
    assert venue.answers[0].ts_event_ns == at("10:00:00.250")


def test_a_fill_may_come_before_a_cancel_arrives() -> None:
    """The race is real: while the cancel travels, a print fills the order, and the cancel then finds nothing."""
    venue = Venue(latency_ms=100)
    order = venue.order(clock="10:00")
    venue.wait_until(at("10:00:01"))
    venue.cancel(order)
    venue.trade("10:00:01.050", 101)
    venue.wait_until(at("10:00:02"))
    assert venue.states(order) == ["accepted", "fill"]


def test_a_cancel_that_has_arrived_wins_against_the_event_in_hand() -> None:
    """A bar's prices cannot be dated, so a cancel that arrived before its end beats all of them."""
    venue = Venue()
    order = venue.order(type="limit", limit_price=100)
    venue.bar("10:01", 105)
    venue.now_ns = at("10:01:30")
    venue.cancel(order)
    venue.bar("10:02", 101, 101, 90, 95)
    assert venue.states(order) == ["accepted", "canceled"]


def test_cancels_and_orders_never_overtake_each_other() -> None:
    """Under a heavy jitter every message still arrives in the order in which it was sent."""
    venue = Venue(latency_jitter_ms=500, latency_jitter_sigma=2.0)
    for _ in range(50):
        venue.cancel(venue.order(type="limit", limit_price=1))
        venue.now_ns += 1_000_000
    venue.wait_until(at("15:00"))
    stamps = [answer.ts_event_ns for answer in venue.answers]
    assert stamps == sorted(stamps)
    assert [answer.status for answer in venue.answers] == ["accepted", "canceled"] * 50


def test_jitter_is_drawn_from_the_seed() -> None:
    """The same seed gives the same arrivals, another seed others."""

    def arrivals(seed: int) -> list[int]:
        venue = Venue(latency_jitter_ms=20, seed=seed)
        for _ in range(20):
            venue.order()
        return [answer.ts_event_ns for answer in venue.wait_until(at("11:00"))]

    assert arrivals(1) == arrivals(1)
    assert arrivals(1) != arrivals(2)


def test_a_cancel_of_an_unknown_or_ended_order_is_ignored() -> None:
    """The race is normal, so it says nothing."""
    venue = Venue()
    venue.cancel("nobody")
    assert venue.wait_until(at("11:00")) == []


# --- 4 stops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "bar", "price"),
    [
        ("sell", (100, 101, 95, 100), "95"),  # the low is the stop
        ("sell", (100, 101, 95.01, 100), None),
        ("buy", (100, 105, 99, 100), "105"),  # the high is the stop
        ("buy", (100, 104.99, 99, 100), None),
    ],
)
def test_a_stop_fills_at_its_price_when_the_bar_reaches_it(
    side: str, bar: tuple[float, ...], price: str | None
) -> None:
    """A sell stop triggers at a low at or below it, a buy stop at a high at or above it."""
    venue = Venue(position=100 if side == "sell" else 0)
    venue.order(side, type="stop", stop_price=95 if side == "sell" else 105)
    venue.bar("10:01", *bar)
    assert venue.fills() == ([("100", price)] if price else [])


def test_a_stop_that_gaps_fills_at_the_open() -> None:
    """The bar opens beyond the stop: nobody paid the stop's price, so the open, worse for us, it is."""
    venue = Venue(position=100)
    venue.order("sell", type="stop", stop_price=95)
    venue.bar("10:01", 90, 97, 89, 96)
    assert venue.fills() == [("100", "90")]
    venue = Venue()
    venue.order("buy", type="stop", stop_price=105)
    venue.bar("10:01", 110, 111, 104, 104)
    assert venue.fills() == [("100", "110")]


def test_a_stop_that_arrives_inside_a_bar_triggers_at_the_close_only() -> None:
    """The low of 90 may have been before it; a close beyond it is certainly later, and is the price."""
    venue = Venue(position=200)
    venue.order("sell", clock="10:00:30", type="stop", stop_price=95)
    venue.order("sell", clock="10:00:30", type="stop", stop_price=99)
    venue.bar("10:01", 100, 101, 90, 98)
    assert venue.fills() == [("100", "98")]


def test_a_stop_that_fills_in_part_goes_on_as_a_market_order() -> None:
    """Once triggered, it does not wait for its price again."""
    venue = Venue(position=100, participation=0.1)
    venue.order("sell", type="stop", stop_price=95)
    venue.bar("10:01", 100, 101, 94, 100, volume=600)
    venue.bar("10:02", 101)
    assert venue.fills() == [("60", "95"), ("40", "101")]


@pytest.mark.parametrize(
    ("stop", "limit", "bar", "price"),
    [
        (95, 94, (100, 101, 94.5, 100), "95"),  # triggers at 95, which the limit allows
        (95, 94, (94.5, 96, 93, 93), "94.5"),  # gaps, and the limit still allows the open
        (95, 94, (93, 94.5, 92, 93), "94"),  # gaps below the limit, comes back through it later
        (95, 94, (93, 94, 92, 93), None),  # comes back to it only
        (95, 96, (100, 101, 94, 97), "96"),  # a limit above the stop: only the close is certainly later
        (95, 96, (100, 101, 94, 95), None),
    ],
)
def test_a_stop_limit_becomes_a_limit_order(
    stop: float, limit: float, bar: tuple[float, ...], price: str | None
) -> None:
    """It fills where it triggered if its limit allows that, and otherwise waits as a limit."""
    venue = Venue(position=100)
    venue.order("sell", type="stop_limit", stop_price=stop, limit_price=limit)
    venue.bar("10:01", *bar)
    assert venue.fills() == ([("100", price)] if price else [])
    if price is None:
        venue.bar("10:02", 98)  # it is a limit now: the open is through it
        assert venue.fills() == [("100", "98")]


def test_a_trailing_stop_follows_the_water_mark() -> None:
    """The mark starts at the first price after the arrival and rises with the highs; the stop is $2 below it."""
    venue = Venue(position=100)
    venue.order("sell", type="trailing_stop", trail_price=2)
    venue.bar("10:01", 100, 105, 99, 104)  # mark 100 and stop 98 hold for this bar, then the mark is 105
    assert venue.fills() == []
    venue.bar("10:02", 104, 104, 103.01, 103.5)
    assert venue.fills() == []
    venue.bar("10:03", 103.5, 103.5, 102, 103)  # the low of 102 is under 105 - 2
    assert venue.fills() == [("100", "103")]


def test_a_trailing_stop_takes_the_adverse_side_of_a_bar_first() -> None:
    """A bar that falls to the old stop and rises far above it: it fell first, and the new high comes too late."""
    venue = Venue(position=100)
    venue.order("sell", type="trailing_stop", trail_percent=2)
    venue.bar("10:01", 100, 120, 98, 119)
    assert venue.fills() == [("100", "98")]


def test_a_trailing_stop_that_arrives_inside_a_bar_starts_at_its_close() -> None:
    """The high of 120 may have been before it: the mark is the close of 100, so 98 is not under its stop."""
    venue = Venue(position=100)
    venue.order("sell", clock="10:00:30", type="trailing_stop", trail_price=3)
    venue.bar("10:01", 110, 120, 99, 100)
    venue.bar("10:02", 99, 99, 98, 99)
    assert venue.fills() == []
    venue.bar("10:03", 99, 99, 97, 99)
    assert venue.fills() == [("100", "97")]


def test_a_trailing_buy_stop_follows_the_lowest_price() -> None:
    """The mirror image, with a percentage: 2 % above the lowest price so far, on the tick away from it."""
    venue = Venue()
    venue.order("buy", type="trailing_stop", trail_percent=2)
    venue.bar("10:01", 100, 101, 90.33, 95)
    venue.bar("10:02", 92.1, 93, 91, 92)  # 90.33 * 1.02 = 92.1366, up to 92.14
    assert venue.fills() == [("100", "92.14")]


def test_a_stop_is_set_off_by_a_quote_or_a_print() -> None:
    """A sell stop watches the bid and the prints; beside quotes a print sets it off and the next quote fills it."""
    venue = Venue(position=200)
    venue.order("sell", reference="quote", type="stop", stop_price=95)
    venue.quote("10:00:01", 95.5, 95.6)
    venue.trade("10:00:02", 94)
    assert venue.fills() == []
    venue.quote("10:00:03", 95.4, 95.6)
    assert venue.fills() == [("100", "95.4")]
    venue.order("sell", type="trailing_stop", trail_price=1)
    venue.quote("10:00:04", 96, 96.1)
    venue.quote("10:00:05", 97, 97.1)
    venue.quote("10:00:06", 95.9, 96.1)
    assert venue.fills()[1:] == [("100", "95.9")]


def test_a_stop_limit_set_off_by_a_tick_is_marketable_at_once() -> None:
    """The ask jumps over the stop and is still within the limit: that ask is the price, not the limit."""
    fields = {"type": "stop_limit", "stop_price": 105, "limit_price": 107}
    venue = Venue()
    venue.order(**fields)
    venue.quote("10:00:01", 103, 104)
    venue.quote("10:00:02", 105, 106)
    assert venue.fills() == [("100", "106")]
    venue = Venue()
    venue.order(**fields)
    venue.trade("10:00:01", 104)
    venue.trade("10:00:02", 106)
    assert venue.fills() == [("100", "106")]
    venue = Venue()
    venue.order(**fields)
    venue.quote("10:00:01", 103, 104)
    venue.trade("10:00:02", 105.5)
    venue.quote("10:00:03", 105, 106)
    assert venue.fills() == [("100", "106")]


def test_a_stop_limit_leg_of_a_bracket_is_no_target() -> None:
    """Set off by a bid of 94.9, a stop of 95 with a limit of 90 gets 94.9; only take-profits keep to their price."""
    legs = {"take_profit_limit_price": 110, "stop_loss_stop_price": 95, "stop_loss_limit_price": 90}
    venue = Venue()
    venue.order("buy", 10, order_class="bracket", **legs)
    venue.quote("10:00:01", 99.9, 100)
    venue.quote("10:00:02", 94.9, 95)
    assert venue.fills() == [("10", "100"), ("10", "94.9")]


# --- 5 stop and target ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bar", [(100, 111, 94, 100), (111, 112, 94, 100), (94, 111, 93, 110)])
def test_stop_and_target_in_one_bar_means_the_stop(bar: tuple[float, ...]) -> None:
    """Whatever the bar's shape, a pair whose two prices it holds fills its stop, and the target is canceled."""
    venue = Venue(position=100)
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=95)
    venue.bar("10:01", *bar)
    assert venue.states(f"{order}-sl") == ["accepted", "fill"]
    assert venue.states(order) == ["accepted", "canceled"]
    assert venue.fills() == [("100", "94" if bar[0] == 94 else "95")]


# --- 6 limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "bar", "through", "touch"),
    [
        ("buy", (101, 102, 99.99, 101), "100", "100"),
        ("buy", (101, 102, 100, 101), None, "100"),  # touched only
        ("buy", (99, 102, 98, 101), "99", "99"),  # opens through it: the open, which is better
        ("sell", (99, 100.01, 98, 99), "100", "100"),
        ("sell", (99, 100, 98, 99), None, "100"),
        ("sell", (101, 102, 98, 99), "101", "101"),
    ],
)
def test_a_limit_needs_a_trade_through_it(
    side: str, bar: tuple[float, ...], through: str | None, touch: str | None
) -> None:
    """It fills at the better of open and limit, never better than that; a touch is an option."""
    for limit_fill, price in (("through", through), ("touch", touch)):
        venue = Venue(position=100 if side == "sell" else 0, limit_fill=limit_fill)
        venue.order(side, type="limit", limit_price=100)
        venue.bar("10:01", *bar)
        assert venue.fills() == ([("100", price)] if price else [])


def test_a_limit_that_rested_is_a_maker() -> None:
    """One that the bar opens through takes; one that the bar comes to later makes."""
    venue = Venue()
    venue.order(type="limit", limit_price=101)
    venue.order(type="limit", limit_price=99)
    venue.bar("10:01", 100, 100, 98, 100)
    assert [fill.liquidity for fill in venue.answers if isinstance(fill, Fill)] == ["taker", "maker"]


def test_a_limit_inside_a_bar_fills_at_the_limit_even_when_the_close_is_better() -> None:
    """The close proves that the limit was reached, not that we got the close."""
    venue = Venue()
    venue.order(clock="10:00:30", type="limit", limit_price=100)
    venue.bar("10:01", 101, 101, 98, 99)
    assert venue.fills() == [("100", "100")]


def test_a_limit_inside_a_bar_fills_at_the_close_when_all_of_it_was_within() -> None:
    """Wherever in the bar it arrived, the market was within its limit: what came later is the close, as ever."""
    venue = Venue(position=100)
    venue.order("buy", clock="10:00:30", type="limit", limit_price=103)
    venue.order("sell", clock="10:00:30", type="limit", limit_price=97)
    venue.bar("10:01", 100, 101.5, 99, 101)
    assert venue.fills() == [("100", "101"), ("100", "101")]
    assert liquidity(venue) == ["taker", "taker"]


def test_a_marketable_limit_trades_like_a_market_order() -> None:
    """Sent beside each other before the same events, the two fill alike while the market stays within the limit."""
    for see in (
        lambda v, price, minute: v.bar(f"10:0{minute}", price, price + 2, price - 2, price + 1, volume=100),
        lambda v, price, minute: v.quote(f"10:0{minute}", price - 1, price, size=10),
        lambda v, price, minute: v.trade(f"10:0{minute}", price, size=100),
    ):
        told = []
        for fields in ({}, {"type": "limit", "limit_price": 106}):
            venue = Venue(participation=0.1, slippage="fixed_bps", slippage_params={"bps": 5})
            venue.order("buy", 30, **fields)
            for minute, price in enumerate((100, 102, 101), start=1):
                see(venue, price, minute)
            told.append((venue.fills(), liquidity(venue)))
        assert told[0] == told[1]
        assert len(told[0][0]) == 3


def test_the_rest_of_a_marketable_limit_fills_at_the_next_open_or_rests() -> None:
    """Ten percent of each bar: at its open while that is within 101.5, else at 101.5 once the bar comes back to it."""
    venue = Venue(participation=0.1)
    venue.order("buy", 40, type="limit", limit_price=101.5)
    venue.bar("10:01", 100, 101, 99, 101, volume=100)
    venue.bar("10:02", 101, 101.2, 100, 101, volume=100)
    venue.bar("10:03", 102, 103, 101.8, 103, volume=100)  # opens beyond it and stays there
    assert venue.fills() == [("10", "100"), ("10", "101")]
    venue.bar("10:04", 102, 103, 101, 102, volume=100)
    assert venue.fills()[2:] == [("10", "101.5")]
    assert liquidity(venue) == ["taker", "taker", "maker"]


def test_a_target_never_improves_on_its_limit() -> None:
    """A take-profit that the open, a quote or a print jumps over fills at its own price."""
    for see in (lambda v: v.trade("10:02", 115), lambda v: v.quote("10:02", 115, 116)):
        venue = Venue()
        venue.order("buy", order_class="bracket", take_profit_limit_price=110, stop_loss_stop_price=90)
        venue.trade("10:01", 100)
        see(venue)
        assert venue.fills() == [("100", "100"), ("100", "110")]
    venue = Venue()
    venue.order("buy", order_class="bracket", take_profit_limit_price=110, stop_loss_stop_price=90)
    venue.bar("10:01", 100)
    venue.bar("10:02", 115)
    assert venue.fills() == [("100", "100"), ("100", "110")]


# --- 7 participation -----------------------------------------------------------------------------------------------


def test_fills_take_no_more_than_their_share_of_the_volume() -> None:
    """10 % of 1,234 shares is 123, in whole shares; the rest of the order goes on with the next bar."""
    venue = Venue(participation=0.1)
    order = venue.order("buy", 200)
    venue.bar("10:01", 100, volume=1234)
    venue.bar("10:02", 101, volume=1234)
    assert venue.fills() == [("123", "100"), ("77", "101")]
    assert [fill.execution_id for fill in venue.answers if isinstance(fill, Fill)] == [f"{order}/1", f"{order}/2"]


def test_orders_share_an_events_volume_in_their_order_of_arrival() -> None:
    """The first takes what it wants, the next the rest, buys and sells from the same bar."""
    venue = Venue(position=500, participation=0.1)
    orders = [venue.order("buy", 60), venue.order("sell", 60), venue.order("buy", 60)]
    venue.bar("10:01", 100, volume=1000)
    assert [venue.fills(order) for order in orders] == [[("60", "100")], [("40", "100")], []]


def test_zero_volume_fills_nothing() -> None:
    """An index or a quiet minute has prices and no trade."""
    venue = Venue()
    venue.order()
    venue.order("buy", "0.5")
    venue.bar("10:01", 100, volume=0)
    assert venue.fills() == []


@pytest.mark.parametrize("volume", [nan, -inf])
@pytest.mark.parametrize("fields", [{}, {"time_in_force": "fok"}, {"qty": None, "notional_usd": 500}, {"qty": "0.5"}])
def test_a_volume_that_is_no_number_fills_nothing(volume: float, fields: dict[str, Any]) -> None:
    """A vendor's gap, of a bar or a print, is no reason to believe that all of it would have traded."""
    venue = Venue()
    venue.order(**fields)
    venue.bar("10:01", 100, volume=volume)
    assert venue.fills() == []
    venue = Venue()
    venue.order(**fields)
    venue.trade("10:01", 100, size=volume)
    assert venue.fills() == []


def test_an_ioc_order_ends_with_its_first_event() -> None:
    """What the first event does not fill is canceled."""
    venue = Venue(participation=0.1)
    order = venue.order("buy", 200, time_in_force="ioc")
    unfilled = venue.order("buy", 10, time_in_force="ioc", type="limit", limit_price=90)
    venue.bar("10:01", 100, volume=1000)
    assert venue.states(order) == ["accepted", "fill", "canceled"]
    assert venue.states(unfilled) == ["accepted", "canceled"]


def test_a_fok_order_fills_whole_or_not_at_all() -> None:
    """A volume that is too small for all of it cancels it; one that is large enough fills it."""
    venue = Venue(participation=0.1)
    small = venue.order("buy", 101, time_in_force="fok")
    whole = venue.order("buy", 100, time_in_force="fok")
    venue.bar("10:01", 100, volume=1000)
    assert venue.states(small) == ["accepted", "canceled"]
    assert venue.states(whole) == ["accepted", "fill"]


def test_a_print_fills_a_share_of_its_size() -> None:
    """A print of 500 shares gives 50 to an order for 80, whole shares only."""
    venue = Venue(participation=0.1)
    venue.order("buy", 80)
    venue.trade("10:00:01", 100, size=505)
    assert venue.fills() == [("50", "100")]


def test_no_queue_position_is_modeled() -> None:
    """A limit that the price goes through fills its share of the volume, however many were before it in the queue."""
    venue = Venue(participation=0.1)
    venue.order("buy", 10, type="limit", limit_price=100)
    venue.bar("10:01", 100.5, 101, 99.99, 101, volume=100)
    assert venue.fills() == [("10", "100")]


@pytest.mark.parametrize("price", [nan, inf, 0.0, -1.0, 5e-324, 1e-30, 9e-10, 1.1e12, 1e300])
@pytest.mark.parametrize("fields", [{}, {"qty": None, "notional_usd": 500}])
def test_a_price_that_is_no_price_fills_nothing(price: float, fields: dict[str, Any]) -> None:
    """NaN, infinity, zero and negative prices are errors of the tape, and so is what nothing can be reckoned with."""
    venue = Venue()
    venue.order(**fields)
    venue.see(Bar("SPY", at("10:01"), at("10:01"), price, 101, 99, 100, 1e6, 60_000_000_000))
    venue.trade("10:01:01", price)
    venue.quote("10:01:02", price, price)
    assert venue.fills() == []
