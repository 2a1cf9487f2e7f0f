"""Everybody hears what he asked for, in the order of the configuration, and nothing that he did not ask for."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engine import Bar, News, Quote, Strategy, Trade
from engine.clock import Sessions
from engine.errors import ConfigError, InvariantError
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from engine.market import ZERO
from engine.portfolio import Portfolio
from engine.schedule import Schedule
from engine.strategy import CALLBACKS
from engine.wiring import Wiring

AROUND = Sessions("24/7")
START_NS = 1_550_000_000 * SECOND_NS // DAY_NS * DAY_NS


class Listener(Strategy):
    """Overrides nothing; `heard` is there for the ones below, which do."""

    heard: list[Any]


class Bars(Listener):
    def on_bar(self, bar: Bar) -> None:
        self.heard.append(bar)


class Ticks(Listener):
    def on_quote(self, quote: Quote) -> None:
        self.heard.append(quote)

    def on_trade(self, trade: Trade) -> None:
        self.heard.append(trade)

    def on_news(self, news: News) -> None:
        self.heard.append(news)

    def on_start(self) -> None:
        self.heard.append("start")


def listener(cls: type[Listener], name: str, *symbols: str) -> Listener:
    made = cls()
    vars(made).update(name=name, symbols=symbols or ("SPY",), heard=[])
    return made


class Exchange:
    """A wiring with what it needs around it, fed bar by bar as the corridor does it."""

    def __init__(self, *strategies: Listener, intervals: Sequence[int] = (), sessions: Sessions = AROUND, **more: Any):
        self.portfolio, self.schedule = Portfolio(ZERO), Schedule()
        wanted = dict(zip((one.name for one in strategies), [*intervals, *[0] * len(strategies)], strict=False))
        self.wiring = Wiring(
            strategies, wanted, portfolio=self.portfolio, sessions=sessions, schedule=self.schedule, **more
        )
        self.wiring.tell = self.tell

    def tell(self, callbacks: Sequence[Callable[[Any], None]], event: Any) -> None:
        for callback in callbacks:
            callback(event)

    def bar(self, minute: int, symbol: str = "SPY", *, span_ns: int = MINUTE_NS) -> None:
        """Let the bar that ends with this minute of the day come in."""
        closed_ns = START_NS + minute * MINUTE_NS
        while self.schedule.due_ns <= closed_ns:
            ts_ns, call = self.schedule.pop()
            call(ts_ns)
        market = self.portfolio.market(symbol)
        bar = Bar(symbol, closed_ns, closed_ns, 1, 1, 1, 1, 1.0, span_ns)
        self.tell(market.observe(bar, closed_ns), bar)


# --- who hears ------------------------------------------------------------------------------------------------------


def test_a_callback_that_is_not_overridden_is_not_called() -> None:
    """Not even looked for: the tuples are empty."""
    exchange = Exchange(listener(Listener, "silent"), listener(Bars, "bars"))
    market = exchange.portfolio.market("SPY")
    assert (market.on_quote, market.on_trade) == ((), ())
    for name in CALLBACKS:
        assert exchange.wiring.callback("silent", name) is None
        assert len(exchange.wiring.hearing(name)) == (name == "on_bar")


def test_strategies_hear_their_symbols_in_the_order_of_the_configuration() -> None:
    """Two of one class are two."""
    one, two, three = (
        listener(Ticks, "one", "SPY"),
        listener(Ticks, "two", "BRK"),
        listener(Ticks, "three", "BRK", "SPY"),
    )
    exchange = Exchange(one, two, three)
    assert exchange.portfolio.market("SPY").on_quote == (one.on_quote, three.on_quote)
    assert exchange.portfolio.market("BRK").on_trade == (two.on_trade, three.on_trade)
    assert exchange.portfolio.market("QQQ").on_quote == ()


def test_news_reaches_those_it_concerns_and_without_a_symbol_everybody() -> None:
    """Each once, however many of its symbols he follows."""
    one, two = listener(Ticks, "one", "SPY", "BRK"), listener(Ticks, "two", "BRK")
    wiring = Exchange(one, two).wiring
    assert wiring.hearing("on_news", ("SPY",)) == (one.on_news,)
    assert wiring.hearing("on_news", ("SPY", "BRK")) == (one.on_news, two.on_news)
    assert wiring.hearing("on_news") == (one.on_news, two.on_news)
    assert wiring.hearing("on_news", ("QQQ",)) == ()


def test_start_and_stop_have_no_event() -> None:
    """The author's method takes none."""
    one = listener(Ticks, "one")
    exchange = Exchange(one)
    exchange.tell(exchange.wiring.hearing("on_start"), object())
    assert one.heard == ["start"]


def test_a_callback_belongs_to_one_strategy_and_a_builder_to_none() -> None:
    """So that an error of the engine on the way to a strategy is not laid at its door."""
    one, two = listener(Bars, "one"), listener(Bars, "two")
    exchange = Exchange(one, two, intervals=(0, 5 * MINUTE_NS))
    exchange.bar(1)
    callback, builder = exchange.portfolio.market("SPY").on_bar
    assert exchange.wiring.owner(callback) == "one"
    assert exchange.wiring.owner(builder) is None
    assert exchange.wiring.owner(two.on_bar) == "two"


def test_a_timekeeper_is_around_every_callback() -> None:
    """And the callback is still known as its owner's."""
    seen = []

    def wrap(callback: Callable[[Any], None], strategy: str) -> Callable[[Any], None]:
        def timed(event: Any) -> None:
            seen.append(strategy)
            callback(event)

        return timed

    one = listener(Bars, "one")
    exchange = Exchange(one, wrap=wrap)
    exchange.bar(1)
    assert (seen, len(one.heard)) == (["one"], 1)
    assert exchange.wiring.owner(exchange.portfolio.market("SPY").on_bar[0]) == "one"


# --- lengths of bars ------------------------------------------------------------------------------------------------


def test_bars_come_as_they_are_to_who_asks_for_none_or_for_that_length() -> None:
    """The tape's own bar, not a copy."""
    one, two = listener(Bars, "one"), listener(Bars, "two")
    exchange = Exchange(one, two, intervals=(0, MINUTE_NS))
    exchange.bar(1)
    assert one.heard[0] is two.heard[0]


def test_longer_bars_are_put_together_once_for_all_who_ask() -> None:
    """Two strategies of one length share one bar, a third has its own."""
    five, also, ten = (listener(Bars, name) for name in ("five", "also", "ten"))
    exchange = Exchange(five, also, ten, intervals=(5 * MINUTE_NS, 5 * MINUTE_NS, 10 * MINUTE_NS))
    for minute in range(1, 11):
        exchange.bar(minute)
    assert [bar.volume for bar in five.heard] == [5, 5]
    assert all(a is b for a, b in zip(five.heard, also.heard, strict=True))
    assert [bar.volume for bar in ten.heard] == [10]
    assert len(exchange.portfolio.market("SPY").on_bar) == 2


@pytest.mark.parametrize(
    ("wanted", "comes", "told"),
    [
        (MINUTE_NS, 5 * MINUTE_NS, "asks for bars of 1min, and SPY comes in bars of 5min: ask for a multiple"),
        (7 * MINUTE_NS, 2 * MINUTE_NS, "asks for bars of 7min, and SPY comes in bars of 2min"),
    ],
)
def test_bars_that_cannot_be_put_together_are_refused(wanted: int, comes: int, told: str) -> None:
    """Shorter than the tape's, or no multiple of them; and the refusal is the strategy's own, which it halts."""
    exchange = Exchange(listener(Bars, "one"), intervals=(wanted,))
    with pytest.raises(ConfigError, match=told):
        exchange.bar(1440, span_ns=comes)
    (refusal,) = exchange.portfolio.market("SPY").on_bar
    assert exchange.wiring.owner(refusal) == "one"
    exchange.wiring.drop("one")
    exchange.bar(2880, span_ns=comes)
    assert exchange.portfolio.market("SPY").on_bar == ()


def test_the_bars_that_each_symbol_begins_with_say_whether_a_run_may_begin(xnys: Sessions) -> None:
    """Its days are passed over, and so are a second length, which is for the run to meet, and what is no bar."""

    def begun(*lengths: tuple[str, int]) -> list[Any]:
        return [Bar(symbol, 1, 1, 1, 1, 1, 1, 1.0, span_ns) for symbol, span_ns in lengths]

    exchange = Exchange(listener(Bars, "one", "SPY", "BRK"), intervals=(5 * MINUTE_NS,), sessions=xnys)
    check, days = exchange.wiring.check_bars, DAY_NS // 2
    check([News(1, 1, "", ()), *begun(("SPY", days), ("SPY", MINUTE_NS), ("SPY", 7 * MINUTE_NS), ("QQQ", HOUR_NS))])
    for wrong in (begun(("SPY", days), ("SPY", HOUR_NS)), begun(("SPY", MINUTE_NS), ("BRK", HOUR_NS))):
        with pytest.raises(ConfigError, match="asks for bars of 5min, and (SPY|BRK) comes in bars of 1h: ask"):
            check(wrong)


def test_days_beside_minutes_are_for_those_who_ask_for_them(xnys: Sessions) -> None:
    """A model's bar of the session, the first or the last to come, ends nobody's run; days alone are a mistake."""
    for days in ((1,), (1000,)):
        short, day = listener(Bars, "short"), listener(Bars, "day")
        exchange = Exchange(short, day, intervals=(5 * MINUTE_NS, DAY_NS), sessions=xnys)
        for minute in range(990, 996) if days == (1000,) else ():
            exchange.bar(minute)
        exchange.bar(*days, span_ns=13 * HOUR_NS // 2)
        assert [bar.interval_ns for bar in day.heard][-1:] == [13 * HOUR_NS // 2]
        if days == (1000,):
            exchange.wiring.check_heard()
        else:
            with pytest.raises(ConfigError, match="'short' asks for bars of 5min, and SPY comes in bars of 1d: ask"):
                exchange.wiring.check_heard()
            exchange.wiring.drop("short")
            exchange.wiring.check_heard()  # it was stopped, and that has been told


def test_four_hours_of_a_coin_are_neither_a_day_nor_a_session() -> None:
    """Who asks for them gets them, and who asks for days gets six of them together."""
    four, day = listener(Bars, "four"), listener(Bars, "day")
    exchange = Exchange(four, day, intervals=(4 * HOUR_NS, DAY_NS))
    for number in range(1, 7):
        exchange.bar(number * 240, span_ns=4 * HOUR_NS)
    assert [bar.volume for bar in four.heard] == [1] * 6
    assert [(bar.volume, bar.interval_ns) for bar in day.heard] == [(6, DAY_NS)]


def test_a_daily_bar_of_an_early_close_is_a_daily_bar(xnys: Sessions) -> None:
    """Three and a half hours long, and still what `1d` asks for."""
    one = listener(Bars, "one")
    exchange = Exchange(one, intervals=(DAY_NS,), sessions=xnys)
    exchange.bar(1000, span_ns=13 * HOUR_NS // 2)
    exchange.bar(2440, span_ns=7 * HOUR_NS // 2)
    assert [bar.interval_ns / HOUR_NS for bar in one.heard] == [6.5, 3.5]


def test_a_bar_of_another_length_in_between_does_not_break_a_bucket() -> None:
    """The tape's five-minute bar goes its own way; the minutes before and after it are still one hour."""
    one, two = listener(Bars, "one"), listener(Bars, "two")
    exchange = Exchange(one, two, intervals=(0, HOUR_NS))
    for minute in range(1, 61):
        exchange.bar(minute)
        if minute == 30:
            exchange.bar(minute, span_ns=5 * MINUTE_NS)
    assert 60.0 in [bar.volume for bar in two.heard]


# --- comings and goings ---------------------------------------------------------------------------------------------


def test_who_is_dropped_hears_nothing_more() -> None:
    """No bar, no quote, no news, and not the bucket that was in hand for him."""
    one, two = listener(Bars, "one"), listener(Ticks, "two")
    exchange = Exchange(one, two, intervals=(5 * MINUTE_NS,))
    exchange.bar(1)
    exchange.wiring.drop("one")
    exchange.wiring.drop("two")
    for minute in (2, 5, 30):
        exchange.bar(minute)
    market = exchange.portfolio.market("SPY")
    assert (one.heard, two.heard) == ([], [])
    assert (market.on_bar, market.on_quote, market.on_trade) == ((), (), ())
    assert exchange.wiring.hearing("on_news") == ()
    assert exchange.wiring.callback("two", "on_quote") is None


@pytest.mark.parametrize("dropped_after", [1, 2, 3, 5, 6, 8, 9, 12])
@pytest.mark.parametrize("other_ns", [0, 5 * MINUTE_NS, 10 * MINUTE_NS])
def test_the_others_go_on_as_if_nobody_had_been_dropped(dropped_after: int, other_ns: int) -> None:
    """Their buckets in hand are kept whole and come once, whatever length of bars he had asked for."""
    one, two = listener(Bars, "one"), listener(Bars, "two")
    exchange = Exchange(one, two, intervals=(other_ns, 5 * MINUTE_NS))
    for minute in (1, 2, 3, 5, 6, 8, 9, 12, 30):  # minutes 4, 7 and 10 have no bar
        exchange.bar(minute)
        if minute == dropped_after:
            exchange.wiring.drop("one")
    assert [((bar.ts_event_ns - START_NS) // MINUTE_NS, bar.volume) for bar in two.heard] == [
        (5, 4),
        (10, 3),
        (15, 1),
        (30, 1),
    ]


def test_a_new_name_is_followed_by_those_who_followed_the_old_one() -> None:
    """Under both names, so that what still comes under the old one is heard too."""
    one, two = listener(Bars, "one", "FB"), listener(Bars, "two", "SPY")
    exchange = Exchange(one, two)
    exchange.bar(1, "FB")
    exchange.wiring.rename("FB", "META")
    exchange.wiring.rename("FB", "META")
    exchange.bar(2, "META")
    exchange.bar(3, "FB")
    assert [bar.symbol for bar in one.heard] == ["FB", "META", "FB"]
    assert one.symbols == ("FB", "META")
    assert (two.heard, two.symbols) == ([], ("SPY",))


def test_a_wiring_that_no_corridor_has_taken_over_does_not_swallow_a_bar() -> None:
    """It would be a bar that nobody saw."""
    one = listener(Bars, "one")
    exchange = Exchange(one, intervals=(5 * MINUTE_NS,))
    wiring = Wiring(
        [one], {"one": 5 * MINUTE_NS}, portfolio=exchange.portfolio, sessions=AROUND, schedule=exchange.schedule
    )
    exchange.wiring = wiring
    with pytest.raises(InvariantError, match="the corridor has not taken over the wiring"):
        exchange.bar(1)
