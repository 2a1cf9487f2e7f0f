"""Headlines and filings by a stated rule: good words buy, bad words and earnings close, and time does."""

import pytest

from engine import Bar, Datum, News
from engine.events import MINUTE_NS, MarketEvent
from strategies.news_reaction import NewsReaction
from tests.runs import OPEN_NS, bar
from tests.strategies.wishes import wishes

BARS = [bar("AAA", minute, 100.0) for minute in range(40)]


def news(minute: int, headline: str, *symbols: str) -> News:
    ts_ns = OPEN_NS + minute * MINUTE_NS
    return News(ts_ns, ts_ns, headline, symbols or ("AAA",))


def filing(minute: int, text: str, symbol: str = "AAA", name: str = "filing") -> Datum:
    ts_ns = OPEN_NS + minute * MINUTE_NS
    return Datum(name, ts_ns, ts_ns, symbol, text=text)


def asked(*events: MarketEvent, bars: list[Bar] = BARS, **over: object) -> list[str]:
    return wishes(NewsReaction, [*bars, *events], **{"fraction": 0.01, "hold_s": 600.0, **over})[0]


def test_a_good_headline_is_bought_and_held_for_its_time() -> None:
    """1 % of 100,000 dollars at 100 is 10 shares; ten minutes later they go."""
    assert asked(news(5, "AAA beats on revenue")) == ["5:00 buy 10", "15:00 sell 10"]


def test_words_count_whatever_their_case_and_punctuation() -> None:
    """`Beats!` is beats."""
    assert asked(news(5, 'AAA "Beats!"'))[0] == "5:00 buy 10"


@pytest.mark.parametrize("headline", ["AAA moves its office", "AAA beats, then cuts", "Upbeat at AAA", ""])
def test_a_headline_without_more_good_words_than_bad_ones_is_not_bought(headline: str) -> None:
    """No word, as many of both, and a word inside another one."""
    assert asked(news(5, headline)) == []


def test_a_bad_headline_closes_at_once() -> None:
    """It does not wait for the time, and there is nothing left for the alarm."""
    assert asked(news(5, "AAA beats"), news(8, "AAA cuts its outlook")) == ["5:00 buy 10", "8:00 sell 10"]


def test_a_bad_headline_never_sells_short() -> None:
    """Nothing is held, so nothing is sold."""
    assert asked(news(5, "AAA cuts its outlook")) == []


def test_a_second_good_headline_extends_the_time_and_buys_no_more() -> None:
    """Held until ten minutes after the last good headline."""
    assert asked(news(5, "AAA beats"), news(11, "AAA raises")) == ["5:00 buy 10", "21:00 sell 10"]


def test_an_earnings_filing_closes_and_others_do_not() -> None:
    """`8-K 2.02` is earnings at EDGAR; an item that follows it does not hide it."""
    held = news(5, "AAA beats")
    assert asked(held, filing(8, "8-K 2.02,9.01")) == ["5:00 buy 10", "8:00 sell 10"]
    assert asked(held, filing(8, "8-K 1.01")) == ["5:00 buy 10", "15:00 sell 10"]
    assert asked(held, filing(8, "8-K 2.02", name="release")) == ["5:00 buy 10", "15:00 sell 10"]


def test_news_of_the_market_or_of_others_is_not_traded() -> None:
    """A headline without symbols reaches everybody and names nobody; one of two symbols trades ours alone."""
    market = News(OPEN_NS + 5 * MINUTE_NS, OPEN_NS + 5 * MINUTE_NS, "A record surge")
    assert asked(market) == []
    assert asked(news(5, "AAA wins over ZZZ", "ZZZ", "AAA"), symbols=["AAA"])[0] == "5:00 buy 10"
    assert asked(news(5, "ZZZ wins", "ZZZ"), symbols=["AAA"]) == []


def test_without_a_price_a_headline_is_not_traded() -> None:
    """Before the first bar nobody knows what one percent buys."""
    assert asked(news(0, "AAA beats")) == []
