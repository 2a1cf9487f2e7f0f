"""The moving average cross: long while the fast average is above the slow one, flat otherwise, a split survived.

The rule is fast=2 and slow=3, so it is checked by hand. Bar `m` closes at minute `m + 1`; an order fills at the next
bar's open, so a position is there one bar later.
"""

import pytest

from engine import Bar, CorporateAction
from engine.errors import ConfigError
from engine.events import MINUTE_NS, SECOND_NS, MarketEvent
from strategies.sma_cross import SmaCross
from tests.runs import OPEN_NS, bar
from tests.strategies.wishes import wishes


def closes(*prices: float, symbol: str = "AAA", first: int = 0) -> list[Bar]:
    return [bar(symbol, minute, price) for minute, price in enumerate(prices, first)]


def split(minute: int, symbol: str = "AAA") -> CorporateAction:
    ts_ns = OPEN_NS + minute * MINUTE_NS + SECOND_NS  # after the bar that closes with the minute
    return CorporateAction(symbol, ts_ns, ts_ns, "split", 10, 1)


def asked(events: list[MarketEvent], **over: object) -> list[str]:
    return wishes(SmaCross, events, **{"fast": 2, "slow": 3, "qty": 10, **over})[0]


def test_it_buys_when_the_fast_average_rises_above_the_slow_one() -> None:
    """(10 + 13) / 2 = 11.5 is above (10 + 10 + 13) / 3 = 11."""
    assert asked(closes(10, 10, 10, 13, 13)) == ["4:00 buy 10"]


def test_it_sells_when_the_fast_average_falls_below_the_slow_one() -> None:
    """(13 + 7) / 2 = 10 is below (13 + 13 + 7) / 3 = 11."""
    assert asked(closes(10, 10, 10, 13, 13, 13, 7, 7)) == ["4:00 buy 10", "6:00 sell 10"]


def test_equal_averages_hold_nothing() -> None:
    """Above means above: a flat market is no reason to be in it."""
    assert asked(closes(10, 10, 10, 10, 10)) == []


def test_nothing_is_asked_before_the_slow_average_is_full() -> None:
    """Two rising closes are no average of three."""
    assert asked(closes(10, 20)) == []


def test_it_asks_once_and_not_on_every_bar() -> None:
    """A position held is no reason to buy more."""
    assert asked(closes(10, 10, 10, 11, 12, 13, 14, 15)) == ["4:00 buy 10"]


def test_each_symbol_has_averages_of_its_own() -> None:
    """One symbol's prices never move another's averages."""
    rising, falling = closes(10, 10, 10, 13, 13), closes(30, 30, 30, 20, 20, symbol="BBB")
    assert asked([*rising, *falling]) == asked(rising) == ["4:00 buy 10"]


def test_a_split_starts_the_averages_anew_and_is_no_fall() -> None:
    """10 for 1 turns 14 into 1.4: old and new prices in one average would sell at once."""
    before, after = closes(10, 10, 10, 13, 13, 14), closes(1.4, 1.4, first=6)
    assert asked([*before, split(6), *after]) == ["4:00 buy 10"]


def test_after_a_split_it_returns_to_its_quantity() -> None:
    """Ten shares became a hundred; once the averages are full again, the target is ten as before."""
    before, after = closes(10, 10, 10, 13, 13, 14), closes(1.4, 1.4, 1.5, 1.5, first=6)
    assert asked([*before, split(6), *after]) == ["4:00 buy 10", "9:00 sell 90"]


def test_a_dividend_leaves_the_averages_alone() -> None:
    """Only a split changes the scale of prices."""
    events = closes(10, 10, 10, 13, 13)
    ts_ns = OPEN_NS + 2 * MINUTE_NS
    assert asked([*events, CorporateAction("AAA", ts_ns, ts_ns, "cash_dividend")]) == asked(events)


def test_a_new_name_is_followed() -> None:
    """A symbol change brings bars of a name that was not subscribed; the averages of the name start anew."""
    ts_ns = OPEN_NS + 3 * MINUTE_NS
    renamed = CorporateAction("AAA", ts_ns, ts_ns, "symbol_change", new_symbol="NEW")
    assert asked([*closes(10, 10, 10), renamed, *closes(10, 10, 13, 13, symbol="NEW", first=3)]) == ["6:00 buy 10"]


def test_a_close_that_is_no_number_changes_no_average() -> None:
    """A bad print is left out, as if its bar had not been."""
    assert asked(closes(10, 10, 10, float("nan"), 13, 13)) == ["5:00 buy 10"]


def test_an_average_of_no_bars_is_refused() -> None:
    """`fast = 0` halts the strategy with the reason, and nothing is traded."""
    told, run = wishes(SmaCross, closes(10, 11, 12), fast=0)
    assert told == []
    assert run.core.portfolio.book("one").halted


def test_a_parameter_of_another_type_is_refused() -> None:
    """`fast = "ten"` ends before the first event, with the parameter's name."""
    with pytest.raises(ConfigError, match="fast"):
        asked(closes(10, 11, 12), fast="ten")
