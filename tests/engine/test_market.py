"""A price is fresh and plausible, or there is none: nothing is priced by a stale, crossed or infinite one."""

from math import inf, nan

import pytest

from engine.events import DAY_NS, MINUTE_NS, SECOND_NS, Bar, Quote, Trade
from engine.market import Market

NOW = 1_000 * SECOND_NS
BROKEN = (nan, inf, -inf, 0.0, -1.0)


def quote(bid: float = 100.0, ask: float = 100.2, *, age_ns: int = 0) -> Quote:
    return Quote("SPY", NOW - age_ns, NOW - age_ns, bid, 1, ask, 1)


def trade(price: float = 101.0, *, age_ns: int = 0) -> Trade:
    return Trade("SPY", NOW - age_ns, NOW - age_ns, price, 1)


def bar(close: float = 102.0, *, age_ns: int = 0, interval_ns: int = MINUTE_NS) -> Bar:
    return Bar("SPY", NOW - age_ns, NOW - age_ns, close, close, close, close, 1, interval_ns)


def market(*events: Quote | Trade | Bar) -> Market:
    made = Market("SPY")
    for event in events:
        if isinstance(event, Bar):
            made.bar_ns, made.bar_close, made.bar_span_ns = event.ts_recv_ns, event.close, event.interval_ns
        else:
            setattr(made, type(event).__name__.lower(), event)
    return made


def test_a_symbol_that_was_never_seen_has_no_price_and_no_exposure() -> None:
    """Its mark is not a number, so nothing can be computed with it unnoticed."""
    made = Market("SPY")
    assert made.reference(NOW) is None
    assert made.mark != made.mark
    assert made.worst_qty == 0


def test_a_quote_is_preferred_to_a_trade_and_a_trade_to_a_bar() -> None:
    """The middle of the quote, then the print, then the close."""
    assert market(quote(), trade(), bar()).reference(NOW) == (pytest.approx(100.1), "quote")
    assert market(trade(), bar()).reference(NOW) == (101.0, "trade")
    assert market(bar()).reference(NOW) == (102.0, "bar")


@pytest.mark.parametrize(
    ("event", "fresh_ns"),
    [
        (quote, 5 * SECOND_NS),
        (trade, 15 * SECOND_NS),
        (bar, 2 * MINUTE_NS),
    ],
)
def test_each_kind_of_price_has_its_own_age_limit(event: type, fresh_ns: int) -> None:
    """The limit itself is fresh, one nanosecond more is not."""
    assert market(event(age_ns=fresh_ns)).reference(NOW) is not None
    assert market(event(age_ns=fresh_ns + 1)).reference(NOW) is None


def test_a_bar_is_fresh_for_two_of_its_own_periods() -> None:
    """A daily bar prices the next day."""
    assert market(bar(age_ns=2 * DAY_NS, interval_ns=DAY_NS)).reference(NOW) == (102.0, "bar")


def test_age_counts_from_when_we_could_know() -> None:
    """A bar that came late is not old by that."""
    late = Bar("SPY", NOW - 10 * MINUTE_NS, NOW - SECOND_NS, 1, 1, 1, 1, 1, MINUTE_NS)
    assert market(late).reference(NOW) == (1, "bar")


def test_a_spread_of_two_percent_is_a_price_and_a_wider_one_is_none() -> None:
    """Two percent of the middle, at most."""
    assert market(quote(99.0, 101.0)).reference(NOW) == (100.0, "quote")
    assert market(quote(98.99, 101.0), trade()).reference(NOW) == (101.0, "trade")


@pytest.mark.parametrize("side", ["bid", "ask"])
@pytest.mark.parametrize("price", BROKEN)
def test_a_quote_with_a_broken_side_falls_back(side: str, price: float) -> None:
    """Not a number, infinite, zero or negative: the next best price is taken."""
    assert market(quote(**{side: price}), trade()).reference(NOW) == (101.0, "trade")


def test_a_crossed_quote_falls_back() -> None:
    """A bid above the ask is an error or a moment that is over."""
    assert market(quote(100.2, 100.0), bar()).reference(NOW) == (102.0, "bar")


def test_a_quote_that_is_infinite_on_both_sides_is_no_price() -> None:
    """Infinity minus infinity is not a spread."""
    assert market(quote(inf, inf)).reference(NOW) is None


@pytest.mark.parametrize("price", BROKEN)
def test_a_broken_print_falls_back_to_the_bar_and_a_broken_bar_to_nothing(price: float) -> None:
    """No order is ever measured against a price that cannot be one."""
    assert market(trade(price), bar()).reference(NOW) == (102.0, "bar")
    assert market(bar(price)).reference(NOW) is None
