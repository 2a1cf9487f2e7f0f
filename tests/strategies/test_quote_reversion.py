"""Mean reversion on quotes: in at the bid when the mid is stretched, out at the market when it is back.

With a window of 4 quotes, three mids of 100 and one of 90 have mean 97.5 and deviation 4.33: the z-score is -1.73. That
is the lowest there is in a window of 4, so the tests enter below -1.5.
"""

import pytest

from engine import CorporateAction, Quote
from engine.events import SECOND_NS, MarketEvent
from strategies.quote_reversion import QuoteReversion
from tests.runs import OPEN_NS
from tests.strategies.wishes import wishes


def quote(second: int, bid: float, ask: float, symbol: str = "AAA", size: float = 1_000.0) -> Quote:
    ts_ns = OPEN_NS + second * SECOND_NS
    return Quote(symbol, ts_ns, ts_ns, bid, size, ask, size)


def mids(*prices: float, symbol: str = "AAA", first: int = 0) -> list[Quote]:
    """Return quotes a second apart with a spread of 1."""
    return [quote(second, price - 0.5, price + 0.5, symbol) for second, price in enumerate(prices, first)]


def asked(events: list[MarketEvent], **over: object) -> list[str]:
    return wishes(QuoteReversion, events, **{"window": 4, "entry_z": 1.5, "exit_z": 0.5, "fraction": 0.01, **over})[0]


def test_a_stretched_mid_is_bought_at_the_bid() -> None:
    """1 % of 100,000 dollars at 90 is 11 shares, rounded down, at the near side of the spread."""
    assert asked(mids(100, 100, 100, 90)) == ["0:03 buy 11 89.5"]


def test_a_mid_that_is_back_closes_the_position() -> None:
    """The ask comes down to the limit and fills it; at 100 the stretch is over, and the position goes at the market."""
    told = asked([*mids(100, 100, 100, 90), quote(4, 88, 89), *mids(100, first=5)])
    assert told == ["0:03 buy 11 89.5", "0:05 sell 11"]


def test_an_entry_that_has_not_filled_is_canceled_when_the_stretch_is_over() -> None:
    """The ask never came down to the limit."""
    assert asked(mids(100, 100, 100, 90, 100)) == ["0:03 buy 11 89.5", "0:04 cancel"]


def test_the_rest_of_an_entry_is_canceled_before_what_filled_is_closed() -> None:
    """5 of 11 shares were offered: the other 6 are canceled first, and the next quote closes the 5."""
    told = asked([*mids(100, 100, 100, 90), quote(4, 88, 89, size=5), *mids(100, 100, first=5)])
    assert told == ["0:03 buy 11 89.5", "0:05 cancel", "0:06 sell 5"]


def test_one_entry_works_at_a_time() -> None:
    """While the limit rests, further quotes at the bottom add nothing."""
    assert asked(mids(100, 100, 100, 100, 90, 88)) == ["0:04 buy 11 89.5"]


def test_a_move_upwards_is_never_sold_short() -> None:
    """Long only: a mid far above its mean closes what there is, and there is nothing."""
    assert asked(mids(100, 100, 100, 110, 120)) == []


def test_nothing_is_asked_before_the_window_is_full() -> None:
    """Three quotes are no window of four."""
    assert asked(mids(100, 100, 90)) == []


@pytest.mark.parametrize(
    "bad", [(0.0, 101.0), (99.0, 0.0), (102.0, 101.0), (float("nan"), 101.0)], ids=["bid", "ask", "crossed", "nan"]
)
def test_a_quote_without_a_mid_is_left_out(bad: tuple[float, float]) -> None:
    """An empty side would halve the mid, and that would look like the chance of a lifetime."""
    assert asked([*mids(100, 100, 100), quote(3, *bad)]) == []
    assert asked([*mids(100, 100, 100), quote(3, *bad), *mids(90, first=4)]) == ["0:04 buy 11 89.5"]


def test_a_coin_is_bought_in_parts() -> None:
    """A pair with a slash trades in fractions: 1 % of 100,000 dollars at 90,000 is 0.011111111."""
    pair = mids(100_000, 100_000, 100_000, 90_000, symbol="BTC/USD")
    assert asked(pair, broker={"fees": "zero"}) == ["0:03 buy 0.011111111 89999.5"]


def test_a_split_starts_the_window_anew() -> None:
    """2 for 1 turns 100 into 50, which is no stretch."""
    ts_ns = OPEN_NS + 3 * SECOND_NS
    split = CorporateAction("AAA", ts_ns, ts_ns, "split", 2, 1)
    assert asked([*mids(100, 100, 100), split, *mids(50, 50, first=3)]) == []
