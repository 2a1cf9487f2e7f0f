"""What an author asks for is what the corridor is asked: the call is short and its meaning is exact."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from math import inf, nan
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Strategy
from engine.errors import ConfigError
from engine.events import SECOND_NS, Approved, CancelRequest, OrderType
from engine.orders import Order
from engine.portfolio import MONEY
from engine.strategy import configure, parameters
from tests.engine.desk import Desk

NOW_NS = 1_700_000_000 * SECOND_NS


@pytest.fixture(autouse=True, scope="module")
def _money() -> Iterator[None]:
    """The corridor's own arithmetic."""
    with localcontext(MONEY):
        yield


class Corridor:
    """What a strategy sees of the core; `deal` does with the outbox what the core would, risk left out."""

    def __init__(self, *, multiplier: int = 1, seed: int = 7) -> None:
        self.desk = Desk(multiplier=multiplier)
        self.portfolio, self.orders = self.desk.portfolio, self.desk.orders
        self.run_id, self.seed, self.now_ns = "demo", seed, NOW_NS
        self.outbox: list[Order | CancelRequest] = []
        self.supervisor = self
        self.timers: list[tuple[str, int, str]] = []

    def set_timer(self, _strategy: Strategy, name: str, span_ns: int, kind: str) -> None:
        self.timers.append((name, span_ns, kind))

    def deal(self) -> list[Order | CancelRequest]:
        asked, self.outbox[:] = [*self.outbox], []
        for item in asked:
            if isinstance(item, CancelRequest):
                self.orders.cancel(item)
            else:
                self.orders.place(item, Approved(item.intent, 0, 0, 0, Decimal(100), "bar"))
                self.portfolio.expose(item.market)
        return asked

    def fill(self, order: Order | None, qty: int | None = None, price: int = 100) -> None:
        assert order is not None
        self.desk.fill(order, order.remaining_qty if qty is None else qty, price)


def joined(cls: type[Strategy] = Strategy, *, name: str = "one", **options: Any) -> tuple[Any, Corridor]:
    """Return a strategy in its place, and the corridor around it."""
    corridor, strategy = Corridor(**options), cls()
    vars(strategy).update(name=name, symbols=("SPY", "BRK"))
    core: Any = corridor
    strategy._join(core)
    return strategy, corridor


# --- orders -----------------------------------------------------------------------------------------------------------


def test_a_call_puts_one_wish_into_the_outbox_and_returns_its_live_order() -> None:
    """Nothing is sent from a handler; ids are the run, the strategy and a number."""
    me, corridor = joined()
    first, second = me.buy("SPY", 100), me.sell("BRK", 5, limit_price=40.5)
    assert corridor.outbox == [first, second]
    assert (first.id, second.id) == ("demo-one-1", "demo-one-2")
    assert (first.side, first.qty, first.type, first.symbol, first.status) == ("buy", 100, "market", "SPY", "created")
    assert (second.side, second.qty, second.type, second.intent.limit_price) == ("sell", 5, "limit", Decimal("40.5"))
    assert first.intent.ts_event_ns == NOW_NS


@pytest.mark.parametrize(("qty", "wanted"), [(1, "1"), (0.1, "0.1"), ("0.30", "0.30"), (Decimal("1.5"), "1.5")])
def test_a_quantity_of_any_kind_is_taken_exactly(qty: Any, wanted: str) -> None:
    """0.1 is one tenth."""
    me, _ = joined()
    assert me.buy("SPY", qty).qty == Decimal(wanted)
    assert me.submit_order("SPY", "buy", qty).qty == Decimal(wanted)


@pytest.mark.parametrize("qty", [nan, inf, -inf])
def test_a_quantity_that_is_no_number_reaches_the_controls(qty: float) -> None:
    """They refuse it with a reason, which an author can read in `on_order`."""
    me, _ = joined()
    assert not me.buy("SPY", qty).qty.is_finite()


@pytest.mark.parametrize(
    ("fields", "kind", "order_class"),
    [
        ({}, "market", "simple"),
        ({"limit_price": 99}, "limit", "simple"),
        ({"stop_price": 99}, "stop", "simple"),
        ({"stop_price": 99, "limit_price": 98}, "stop_limit", "simple"),
        ({"trail_price": 1}, "trailing_stop", "simple"),
        ({"trail_percent": 1.5}, "trailing_stop", "simple"),
        ({"take_profit": 110, "stop_loss": 90}, "market", "bracket"),
        ({"take_profit": 110}, "market", "oto"),
        ({"stop_loss": 90, "stop_loss_limit": 89}, "market", "oto"),
        ({"limit_price": 110, "take_profit": 110, "stop_loss": 90, "order_class": "oco"}, "limit", "oco"),
        ({"type": "limit", "limit_price": 99, "time_in_force": "opg"}, "limit", "simple"),
    ],
)
def test_type_and_class_follow_from_the_prices_given(fields: dict[str, Any], kind: OrderType, order_class: str) -> None:
    """An author writes what he wants to pay, not what that is called."""
    me, _ = joined()
    for order in (me.buy("SPY", 1, **fields), me.submit_order("SPY", "buy", 1, **fields)):
        assert (order.type, order.intent.order_class) == (kind, order_class)


def test_a_notional_order_has_dollars_and_no_quantity() -> None:
    """Exactly one of the two goes to the controls."""
    me, _ = joined()
    intent = me.buy("SPY", notional=1000).intent
    assert (intent.qty, intent.notional_usd) == (None, 1000)


def test_a_replacement_keeps_what_is_not_given() -> None:
    """Only the limit moves; a trailing order's trail is amended in its own unit."""
    me, corridor = joined()
    old = me.buy("SPY", 100, limit_price=99, time_in_force="gtc", extended_hours=True)
    corridor.deal()
    new = me.replace_order(old, limit_price=98)
    assert (new.intent.qty, new.intent.limit_price, new.intent.time_in_force) == (100, 98, "gtc")
    assert (new.intent.extended_hours, new.intent.replaces) == (True, old.id)
    trailing = me.sell("SPY", 100, trail_percent=2)
    amended = me.replace_order(trailing, trail=3, qty=50)
    assert (amended.intent.trail_percent, amended.intent.trail_price, amended.intent.qty) == (3, None, 50)
    trailing = me.sell("SPY", 100, trail_price=2)
    amended = me.replace_order(trailing, trail=3)
    assert (amended.intent.trail_percent, amended.intent.trail_price) == (None, 3)


def test_canceling_asks_for_open_orders_of_our_own_only() -> None:
    """All, those of a symbol, or one; an order that has ended is left alone."""
    me, corridor = joined()
    other = corridor.desk.ask("buy", 1, strategy="two")
    spy, brk, ended = me.buy("SPY", 1), me.buy("BRK", 1), me.buy("SPY", 2)
    corridor.deal()
    corridor.fill(ended)
    assert me.open_orders() == [spy, brk]
    assert me.open_orders("BRK") == [brk]
    me.cancel_order(ended)
    me.cancel_all_orders("BRK")
    assert corridor.deal() == [CancelRequest(brk.id, NOW_NS)]
    me.cancel_all_orders()
    assert [item.client_order_id for item in corridor.outbox if isinstance(item, CancelRequest)] == [spy.id, brk.id]
    assert other.status == "pending_new"


# --- targets ----------------------------------------------------------------------------------------------------------


def test_a_target_asks_for_what_is_missing() -> None:
    """Held and on its way count, from this handler too."""
    me, corridor = joined()
    first = me.order_target("SPY", 100)
    assert (first.side, first.qty) == ("buy", 100)
    more = me.order_target("SPY", 130)
    assert (more.side, more.qty) == ("buy", 30)
    corridor.deal()
    corridor.fill(first, 60)
    assert me.order_target("SPY", 130) is None
    assert me.order_target("SPY", 150).qty == 20


@given(st.data())
def test_asking_for_the_same_target_again_asks_for_nothing(data: st.DataObject) -> None:
    """In the same handler, with the order on its way, and with any part of it filled."""
    me, corridor = joined()
    working: list[Order] = []
    for _ in range(data.draw(st.integers(1, 12))):
        target = data.draw(st.integers(-200, 200) | st.decimals("-9", "9", places=9))
        me.order_target("SPY", target)
        before = [item for item in corridor.outbox if isinstance(item, Order)]
        me.order_target("SPY", target)
        assert [item for item in corridor.outbox if isinstance(item, Order)] == before
        corridor.deal()
        assert me.order_target("SPY", target) is None
        corridor.deal()
        working = [order for order in [*working, *before] if order.is_open]
        for order in working:
            if order.status == "pending_cancel":
                corridor.desk.update(order, "canceled")
            elif data.draw(st.booleans()):
                corridor.fill(order)


@given(st.lists(st.integers(-200, 200), min_size=1, max_size=8))
def test_the_position_comes_to_the_target_and_never_changes_its_side_in_one_order(targets: list[int]) -> None:
    """Through zero it takes two calls: out first, then in."""
    me, corridor = joined()
    for target in targets:
        for _ in range(2):
            held = me.portfolio.position("SPY").qty
            order = me.order_target("SPY", target)
            if order is not None:
                assert (held + order.sign * order.qty) * held >= 0
                corridor.deal()
                corridor.fill(order)
        assert me.portfolio.position("SPY").qty == target
        assert me.order_target("SPY", target) is None


def test_what_is_on_its_way_too_far_is_canceled_and_not_traded_against() -> None:
    """100 are coming and 40 wanted: the order is canceled, and the next call asks anew."""
    me, corridor = joined()
    order = me.order_target("SPY", 100)
    corridor.deal()
    assert me.order_target("SPY", 40) is None
    assert corridor.deal() == [CancelRequest(order.id, NOW_NS)]
    assert me.order_target("SPY", 40) is None  # not yet gone
    corridor.outbox.clear()
    corridor.desk.update(order, "canceled")
    assert me.order_target("SPY", 40).qty == 40


PROTECTION: dict[str, dict[str, Any]] = {
    "stop": {"stop_price": 90},
    "stop limit": {"stop_price": 90, "limit_price": 89},
    "trail": {"trail_percent": 5},
    "oco": {"limit_price": 110, "take_profit": 110, "stop_loss": 90, "order_class": "oco"},
}


@pytest.mark.parametrize("kind", PROTECTION)
def test_an_exit_that_only_protects_a_position_is_neither_counted_nor_canceled(kind: str) -> None:
    """100 held with a stop below are 100 held, however often the target is asked for."""
    me, corridor = joined()
    corridor.desk.trade(100)
    me.sell("SPY", 100, **PROTECTION[kind])
    assert me.order_target("SPY", 100) is None  # from the same handler
    corridor.deal()
    assert me.order_target("SPY", 100) is None
    assert me.order_target("SPY", 150).qty == 50
    assert me.open_orders("SPY")[0].status == "pending_new"
    assert [item for item in corridor.outbox if isinstance(item, CancelRequest)] == []


def test_the_legs_of_a_bracket_are_not_counted() -> None:
    """A target with a bracket may be asked for on every bar."""
    me, corridor = joined()
    for _ in range(3):
        me.order_target("SPY", 100, take_profit=110, stop_loss=90)
        corridor.deal()
    (entry,) = [order for order in corridor.orders.open.values() if order.parent is None]
    corridor.fill(entry)
    for leg in entry.legs:
        corridor.desk.update(leg, "accepted")
    assert corridor.desk.market().open_sell_qty == 100
    assert me.order_target("SPY", 100, take_profit=110, stop_loss=90) is None
    assert me.order_target("SPY", 130).qty == 30
    corridor.outbox.clear()
    closing = me.close_position("SPY")
    assert (closing.side, closing.qty) == ("sell", 100)  # the controls say whether it may go beside its legs


@pytest.mark.parametrize(("held", "target"), [(100, 0), (-100, 0), (100, 40), (-100, -40), (100, -50), (-100, 50)])
@pytest.mark.parametrize(
    "exits", [{"take_profit": 95, "stop_loss": 105, "stop_loss_limit": 106}, {"stop_loss": 105, "order_class": "oto"}]
)
def test_an_order_that_only_closes_goes_without_legs(held: int, target: int, exits: dict[str, Any]) -> None:
    """They would open a position anew; what opens the other side in a later call has them."""
    me, corridor = joined()
    corridor.desk.trade(held)
    closing = me.order_target("SPY", target, limit_price=100, **exits)
    assert (closing.intent.order_class, closing.intent.limit_price, closing.intent.legs()) == ("simple", 100, ())
    corridor.deal()
    corridor.fill(closing)
    opening = me.order_target("SPY", target, **exits)
    assert (opening is None) == (held * target >= 0)
    assert opening is None or opening.intent.legs()


@pytest.mark.parametrize(("held", "target"), [(0, 100), (0, -100), (50, 100), (-50, -100)])
def test_an_order_that_leads_away_from_zero_goes_with_its_legs(held: int, target: int) -> None:
    """Whether it opens or adds."""
    me, corridor = joined()
    if held:
        corridor.desk.trade(held)
    assert me.order_target("SPY", target, take_profit=110, stop_loss=90).intent.order_class == "bracket"


def test_a_target_of_zero_may_be_an_oco() -> None:
    """Its two exits close, and one cancels the other."""
    me, corridor = joined()
    corridor.desk.trade(100)
    order = me.close_position("SPY", limit_price=110, stop_loss=90, order_class="oco")
    assert (order.intent.order_class, [leg.side for leg in order.intent.legs()]) == ("oco", ["sell"])


def test_a_stop_that_opens_a_position_is_on_its_way() -> None:
    """Flat, and a stop to buy: it counts, for that is what it is for."""
    me, corridor = joined()
    me.buy("SPY", 100, stop_price=110)
    corridor.deal()
    assert me.order_target("SPY", 100) is None


def test_an_order_and_its_replacement_count_once() -> None:
    """While the venue decides, 100 are coming and not 200."""
    me, corridor = joined()
    old = me.order_target("SPY", 100, limit_price=99)
    corridor.deal()
    corridor.desk.update(old, "accepted")
    me.replace_order(old, limit_price=98)
    corridor.deal()
    assert old.status == "pending_replace"
    assert me.order_target("SPY", 100) is None
    assert corridor.outbox == []


def test_other_strategies_do_not_count() -> None:
    """Each has its own book."""
    me, corridor = joined()
    corridor.desk.trade(100, strategy="two")
    corridor.desk.ask("buy", 50, strategy="two")
    assert me.close_position("SPY") is None
    assert me.order_target("SPY", 10).qty == 10


def test_closing_asks_for_the_way_back_to_zero() -> None:
    """Long or short; None where nothing is held."""
    me, corridor = joined()
    assert me.close_position("SPY") is None
    corridor.desk.trade("-2.5")
    order = me.close_position("SPY", time_in_force="cls")
    assert (order.side, order.qty, order.intent.time_in_force) == ("buy", Decimal("2.5"), "cls")


@pytest.mark.parametrize("target", [nan, inf, -inf, "NaN"])
@pytest.mark.parametrize("held", [0, 100])
def test_a_target_that_is_no_number_is_the_authors_error(target: Any, held: int) -> None:
    """It says so, and nothing is asked for."""
    me, corridor = joined()
    if held:
        corridor.desk.trade(held)
    with pytest.raises(ValueError, match="SPY is no target"):
        me.order_target("SPY", target)
    assert corridor.outbox == []


# --- percent ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "price", "fractional", "wanted"),
    [
        (0.1, 333.0, False, "30"), (-0.1, 333.0, False, "-30"), (0.1, 333.0, True, "30.030030030"),
        (-0.1, 333.0, True, "-30.030030030"), (1.0, 100.0, False, "1000"), (0.0009, 100.0, False, None),
        (0.0, 100.0, False, None),
    ],
)  # fmt: skip
def test_a_percentage_is_rounded_towards_zero(fraction: float, price: float, fractional: bool, wanted: str) -> None:
    """To whole shares, or to nine decimals; what rounds to nothing asks for nothing."""
    me, corridor = joined()
    corridor.desk.mark(price)
    order = me.order_target_percent("SPY", fraction, fractional=fractional)
    assert (order and order.sign * order.qty) == (wanted and Decimal(wanted))


@pytest.mark.parametrize("price", [nan, inf, 0.0, -1.0, 1e-30, 5e-324, 1e12, 1e300])
def test_a_symbol_without_a_price_has_no_percentage(price: float) -> None:
    """None, whatever is held: a missing price is no reason to sell."""
    me, corridor = joined()
    corridor.desk.trade(10)
    corridor.desk.market().mark = price
    assert me.order_target_percent("SPY", 0.1) is None


@pytest.mark.parametrize("fraction", [1.01, -1.01, 10, nan, inf])
def test_a_fraction_that_looks_like_a_percentage_is_refused(fraction: float) -> None:
    """10 means a thousand percent, and the message says what ten percent is."""
    me, _ = joined()
    with pytest.raises(ValueError, match=r"outside -1 to 1; 0.1 means ten percent"):
        me.order_target_percent("SPY", fraction)


def test_a_margin_account_may_hold_its_multiple() -> None:
    """Two times the equity at a multiplier of two."""
    me, corridor = joined(multiplier=2)
    corridor.desk.mark(100.0)
    assert me.order_target_percent("SPY", 2.0).qty == 2000
    with pytest.raises(ValueError, match="outside -2 to 2"):
        me.order_target_percent("SPY", 2.01)


# --- what a strategy sees ---------------------------------------------------------------------------------------------


def test_a_strategy_sees_its_own_positions_and_the_accounts_money() -> None:
    """Another strategy's shares are not its to see."""
    me, corridor = joined()
    corridor.desk.mark(100.0)
    corridor.desk.trade(10, fee=1)
    corridor.desk.trade(5, symbol="BRK", strategy="two")
    corridor.desk.mark(110.0)
    assert {symbol: position.qty for symbol, position in me.portfolio.positions.items()} == {"SPY": 10}
    assert me.portfolio.position("QQQ").qty == 0
    assert (me.portfolio.cash, me.portfolio.equity, me.portfolio.pnl) == (100_000 - 1501, 100_099, 99)


def test_now_is_the_engines_time() -> None:
    """Aware, and UTC."""
    me, corridor = joined()
    assert (me.now_ns, me.now) == (NOW_NS, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))
    corridor.now_ns += SECOND_NS
    assert me.now_ns == NOW_NS + SECOND_NS


def test_chance_is_seeded_by_the_run_and_the_strategy() -> None:
    """The same in every process, and another one for another strategy or seed."""
    draws = [
        joined(name=name, seed=seed)[0].rng.random() for name, seed in (("one", 7), ("one", 7), ("two", 7), ("one", 8))
    ]
    assert draws[0] == draws[1] == random.Random("7/one").random()
    assert len({*draws}) == 3


# --- timers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ({"after_s": 1.5}, (3 * SECOND_NS // 2, "after")),
        ({"every_s": 60}, (60 * SECOND_NS, "every")),
        ({"before_close_s": 300}, (300 * SECOND_NS, "before_close")),
        ({"after_open_s": 0}, (0, "after_open")),
    ],
)
def test_an_alarm_is_set_in_one_of_four_ways(given_: dict[str, float], wanted: tuple[int, str]) -> None:
    """Seconds become nanoseconds."""
    me, corridor = joined()
    me.set_timer("wake", **given_)
    assert corridor.timers == [("wake", *wanted)]


@pytest.mark.parametrize(
    "given_",
    [
        {}, {"after_s": 0}, {"every_s": 0}, {"before_close_s": 0}, {"after_s": -1}, {"after_open_s": -1},
        {"after_s": 1, "every_s": 1}, {"after_s": nan}, {"every_s": inf},
    ],
)  # fmt: skip
def test_an_alarm_that_could_not_ring_is_refused(given_: dict[str, float]) -> None:
    """None, two, zero, negative or no number at all."""
    me, corridor = joined()
    with pytest.raises(ValueError, match="give exactly one of after_s, every_s, before_close_s, after_open_s"):
        me.set_timer("wake", **given_)
    assert corridor.timers == []


# --- parameters -------------------------------------------------------------------------------------------------------


class Tuned(Strategy):
    fast: int = 10
    ratio: float = 0.5
    size: Decimal = Decimal(1)
    label: str = "x"
    eager: bool = False
    mode: Literal["calm", "wild"] = "calm"
    levels: tuple[int, ...] = ()
    most: int | None = None
    _private: int = 3
    untyped = 4


class Retuned(Tuned):
    fast: int = 20
    more: int = 1


def test_parameters_are_the_annotated_attributes_in_their_order() -> None:
    """Inherited ones first; private and unannotated ones are none."""
    assert list(parameters(Tuned)) == ["fast", "ratio", "size", "label", "eager", "mode", "levels", "most"]
    assert parameters(Retuned) == {**parameters(Tuned), "fast": 20, "more": 1}
    assert parameters(Strategy) == {}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("fast", 5, 5), ("ratio", 2, 2.0), ("ratio", 0.1, 0.1), ("size", 0.1, Decimal("0.1")),
        ("size", 2, Decimal(2)), ("size", "1.50", Decimal("1.50")), ("label", "y", "y"), ("eager", True, True),
        ("mode", "wild", "wild"), ("levels", [1, 2], (1, 2)), ("most", 3, 3),
    ],
)  # fmt: skip
def test_a_parameter_is_set_as_the_type_it_has(name: str, value: Any, wanted: Any) -> None:
    """On this strategy alone."""
    made = getattr(configure(Tuned, {name: value}), name)
    assert made == wanted
    assert type(made) is type(wanted)
    assert getattr(Tuned, name) == parameters(Tuned)[name]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("fast", "ten", "Tuned.fast is 'ten'; it must be int"),
        ("fast", True, "Tuned.fast is True; it must be int"),
        ("fast", False, "Tuned.fast is False; it must be int"),
        ("fast", 1.5, "Tuned.fast is 1.5; it must be int"),
        ("ratio", "0.5", "Tuned.ratio is '0.5'; it must be float"),
        ("ratio", True, "Tuned.ratio is True; it must be float"),
        ("size", "much", "Tuned.size is 'much'; it must be Decimal"),
        ("size", True, "Tuned.size is True; it must be Decimal"),
        ("label", 5, "Tuned.label is 5; it must be str"),
        ("eager", 1, "Tuned.eager is 1; it must be bool"),
        ("mode", "bold", "Tuned.mode is 'bold'; it must be Literal['calm', 'wild']"),
        ("levels", ["a"], "Tuned.levels is ['a']; it must be tuple[int, ...]"),
        ("most", "3", "Tuned.most is '3'; it must be int | None"),
    ],
)
def test_a_parameter_of_another_type_is_refused(name: str, value: Any, told: str) -> None:
    """The message says what it is and what it must be."""
    with pytest.raises(ConfigError) as caught:
        configure(Tuned, {name: value})
    assert str(caught.value) == told


def test_an_unknown_parameter_is_refused_with_a_suggestion() -> None:
    """And with all that there are."""
    with pytest.raises(
        ConfigError, match=r"Tuned has no parameter 'fats'; did you mean 'fast'\? \(it has: fast, ratio,"
    ):
        configure(Tuned, {"fats": 1})
    with pytest.raises(ConfigError, match=r"Strategy has no parameter 'fast' \(it has: none\)"):
        configure(Strategy, {"fast": 1})
    with pytest.raises(ConfigError, match="Tuned has no parameter '_private'"):
        configure(Tuned, {"_private": 1})

    class Untyped(Strategy):
        fast = 3

    with pytest.raises(ConfigError, match="no parameter 'fast'; an attribute is one when .* fast: int = 10"):
        configure(Untyped, {"fast": 1})


def test_a_callback_that_nobody_would_call_or_await_is_refused() -> None:
    """It would be silence, a whole run long; methods of the author's own go by any other name."""

    class Misspelt(Strategy):
        def on_bars(self, bar: Any) -> None: ...

    class Waits(Strategy):
        async def on_bar(self, bar: Any) -> None: ...  # type: ignore[override]  # what is to be refused

    class Own(Strategy):
        def once(self) -> None: ...

    with pytest.raises(ConfigError, match=r"nothing calls Misspelt.on_bars; did you mean 'on_bar'\?"):
        configure(Misspelt, {})
    with pytest.raises(ConfigError, match="Waits.on_bar is async, and nobody awaits it: write def"):
        configure(Waits, {})
    assert configure(Own, {})


def test_a_parameter_without_a_default_is_refused() -> None:
    """A run that forgets it would fail in the middle of a day."""

    class Bare(Strategy):
        fast: int

    with pytest.raises(ConfigError, match="parameter 'fast' needs a default; .* fast: int = 10"):
        configure(Bare, {"fast": 1})
