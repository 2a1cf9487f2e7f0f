"""An order moves by its written transitions only, a fill is always booked once, and exposure comes back to zero."""

from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import count
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import orders as module
from engine.errors import InvariantError
from engine.events import CancelRequest, Denied, Fill, Intent, OrderStatus, OrderUpdate
from engine.market import ZERO
from engine.orders import CANCEL_AGAIN_NS, TERMINAL, TRANSITIONS, Order
from engine.portfolio import MONEY
from tests.engine.desk import Desk

STATUSES: tuple[OrderStatus, ...] = get_args(OrderStatus)
BRACKET = {
    "order_class": "bracket", "take_profit_limit_price": Decimal(110), "stop_loss_stop_price": Decimal(90),
}  # fmt: skip
OTO = {"order_class": "oto", "stop_loss_stop_price": Decimal(90)}
OCO = {
    "order_class": "oco", "type": "limit", "limit_price": Decimal(110), "take_profit_limit_price": Decimal(110),
    "stop_loss_stop_price": Decimal(90),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _money() -> Iterator[None]:
    """The corridor's own arithmetic."""
    with localcontext(MONEY):
        yield


def in_status(desk: Desk, status: OrderStatus) -> Order:
    """Return a registered order in any status but the two that are never registered."""
    order = desk.ask("buy", 10)
    if status != "pending_new":
        desk.update(order, status)
        if order.status != status:
            order.status = status  # only our own request leads there
    return order


def legs(order: Order) -> list[Order]:
    return list(order.legs)


def assert_exposure_is_what_the_orders_count(desk: Desk) -> None:
    """Every counter is the sum over the open orders, for the account, the strategies and the reserve."""
    opened = desk.orders.open.values()
    for market in desk.portfolio.markets.values():
        here = [order for order in opened if order.market is market]
        assert market.open_buy_qty == sum(order.counted for order in here if order.sign > 0)
        assert market.open_sell_qty == sum(order.counted for order in here if order.sign < 0)
        assert {*market.open_buys, *market.open_sells} == {order.id for order in here}
        for book in desk.portfolio.books.values():
            own = [order for order in here if order.book is book]
            position = book.position(market.symbol)
            assert position.open_qty == sum(order.sign * order.counted for order in own)
            assert position.open_sell_qty == sum(order.counted for order in own if order.sign < 0)
    for book in desk.portfolio.books.values():
        assert book.open_count == sum(order.book is book for order in opened)
    assert desk.portfolio.reserved_usd == sum(order.reserved_usd for order in opened)
    assert all(order.counted == 0 for order in desk.orders.orders.values() if not order.is_open)


def assert_nothing_is_open(desk: Desk) -> None:
    assert desk.orders.open == {}
    assert desk.portfolio.reserved_usd == 0
    for market in desk.portfolio.markets.values():
        assert (market.open_buy_qty, market.open_sell_qty) == (0, 0)
        assert (market.open_buys, market.open_sells) == ({}, {})
        assert market.long_qty == market.short_qty == float(market.position_qty)
    for book in desk.portfolio.books.values():
        assert book.open_count == 0
        assert all((one.open_qty, one.open_sell_qty) == (0, 0) for one in book.positions.values())


# --- the state machine ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", STATUSES)
@pytest.mark.parametrize("before", [status for status in STATUSES if status not in ("created", "denied")])
def test_only_a_written_transition_changes_an_order(before: OrderStatus, after: OrderStatus) -> None:
    """Every pair: legal news is taken, anything else is stale and leaves no trace."""
    desk = Desk()
    order = in_status(desk, before)
    changed = desk.orders.update(OrderUpdate(order.id, after, 7, 7, "because"))
    if after in TRANSITIONS.get(before, ()):
        assert changed is order
        assert (order.status, order.updated_ns, order.reason) == (after, 7, "because")
    else:
        assert changed is None
        assert (order.status, order.reason) == (before, "")
    assert order.is_open == (order.id in desk.orders.open) == (order.status not in TERMINAL)
    assert_exposure_is_what_the_orders_count(desk)


def test_the_transitions_name_every_status_and_nothing_follows_an_end() -> None:
    """A new status without a row here would be an order that nobody can end."""
    assert TRANSITIONS.keys() == {*STATUSES} - TERMINAL
    reached = set().union(*TRANSITIONS.values())
    assert reached == {*STATUSES} - {"created"}
    for status in TRANSITIONS.keys() - {"created"}:
        assert {"filled", "canceled", "expired", "rejected", "replaced"} <= TRANSITIONS[status]


def test_an_order_that_risk_refused_is_ended_and_in_no_book() -> None:
    """It keeps the control and the numbers, and counts nowhere."""
    desk = Desk()
    order = Order(Intent("one-1", "one", "SPY", "buy", Decimal(10), 0))
    desk.orders.deny(order, Denied(order.intent, 5, "C08 max_order_qty", "10 > 5"))
    assert (order.status, order.reason, order.updated_ns) == ("denied", "C08 max_order_qty: 10 > 5", 5)
    assert not order.is_open
    assert desk.orders.orders == {}


def test_an_id_is_used_once() -> None:
    """A second order of the same name would be booked into the first."""
    desk = Desk()
    order = desk.ask("buy", 1)
    again = Desk.ask
    desk._ids = iter([1])  # type: ignore[assignment]  # the next id is the first again
    with pytest.raises(InvariantError, match=f"order id {order.id} used twice"):
        again(desk, "buy", 1)


def test_an_update_of_a_foreign_order_is_none_of_ours() -> None:
    """Another program may trade the account."""
    assert Desk().orders.update(OrderUpdate("theirs", "canceled", 1, 1)) is None


@pytest.mark.parametrize("status", ["pending_new", "accepted", "held", "partially_filled", "pending_replace"])
def test_a_cancel_is_asked_once_for_an_open_order(status: OrderStatus) -> None:
    """The second request has nothing to ask; neither has one for an order that ended or is unknown."""
    desk = Desk()
    order = in_status(desk, status)
    assert desk.cancel(order) is True
    assert order.status == "pending_cancel"
    assert desk.cancel(order) is False
    desk.update(order, "canceled")
    assert desk.cancel(order) is False


def test_a_cancel_that_nobody_answers_may_be_asked_again() -> None:
    """A venue that refused or lost it would otherwise keep the order for ever; until then one request is enough."""
    desk = Desk()
    order = desk.ask("buy", 10)
    asked_ns = [0, CANCEL_AGAIN_NS - 1, CANCEL_AGAIN_NS, CANCEL_AGAIN_NS + 1, 2 * CANCEL_AGAIN_NS]
    told = [desk.orders.cancel(CancelRequest(order.id, ts_ns)) for ts_ns in asked_ns]
    assert told == [True, False, True, False, True]


def test_an_acknowledgement_that_crosses_a_cancel_does_not_undo_it() -> None:
    """The order stays on its way out."""
    desk = Desk()
    order = desk.ask("buy", 10)
    desk.cancel(order)
    assert desk.update(order, "accepted") is None
    assert order.status == "pending_cancel"


# --- fills ------------------------------------------------------------------------------------------------------------


def test_a_fill_before_the_acknowledgement_counts() -> None:
    """The acknowledgement that follows is stale."""
    desk = Desk()
    order = desk.ask("buy", 10)
    assert desk.fill(order, 4) == (order, False)
    assert (order.status, order.remaining_qty) == ("partially_filled", 6)
    assert desk.update(order, "accepted") is None
    assert desk.fill(order, 6, 103) == (order, False)
    assert (order.status, order.average_price) == ("filled", Decimal("101.8"))


def test_an_execution_is_booked_once() -> None:
    """Its id decides, whatever else the second copy says, and whether the order is open or not."""
    desk = Desk()
    order = desk.ask("buy", 10)
    assert desk.fill(order, 4, execution_id="x") is not None
    assert desk.fill(order, 5, execution_id="x") is None
    assert desk.fill(order, 6, execution_id="y") is not None
    assert desk.fill(order, 6, execution_id="y") is None
    assert (order.filled_qty, desk.portfolio.position_qty("SPY")) == (10, 10)


def test_an_execution_told_again_of_another_order_is_booked_once() -> None:
    """Whatever a venue calls the order: an execution has happened once."""
    desk = Desk()
    first, second = desk.ask("buy", 10), desk.ask("buy", 10)
    assert desk.fill(first, 4, execution_id="x") is not None
    assert desk.fill(second, 4, execution_id="x") is None
    assert desk.fill(second, 4, execution_id="y") is not None
    assert (first.filled_qty, second.filled_qty) == (4, 4)
    assert desk.orders.has_booked("x")
    assert not desk.orders.has_booked("z")


@pytest.mark.parametrize("end", ["canceled", "expired", "rejected", "replaced"])
def test_a_fill_that_comes_after_the_end_is_booked_and_pointed_out(end: OrderStatus) -> None:
    """The shares are ours; the order stays ended and counts no exposure again."""
    desk = Desk()
    order = desk.ask("buy", 10)
    desk.update(order, end)
    assert desk.fill(order, 4) == (order, True)
    assert (order.status, order.filled_qty, desk.portfolio.position_qty("SPY")) == (end, 4, 4)
    assert_nothing_is_open(desk)


def test_a_partial_fill_keeps_a_requested_cancel_in_sight() -> None:
    """The status still says that a cancel is on its way."""
    desk = Desk()
    order = desk.ask("buy", 10)
    desk.cancel(order)
    desk.fill(order, 4)
    assert (order.status, desk.market().open_buy_qty) == ("pending_cancel", 6)


def test_a_fill_of_a_foreign_order_is_not_booked_here() -> None:
    """Another program's execution is in no book of this run."""
    assert Desk().orders.fill(Fill("x", "theirs", "SPY", "buy", Decimal(1), Decimal(1), ZERO, 0, 0)) is None


def test_more_than_was_ordered_is_booked_because_it_has_happened() -> None:
    """11 of 10 cannot be, and yet the account holds them; the order shows it, and the corridor halts."""
    desk = Desk()
    order = desk.ask("buy", 10)
    desk.fill(order, 11)
    assert (order.status, order.filled_qty) == ("filled", 11)
    assert order.overfill == "order one-1 for 10 was filled for 11"
    assert desk.market().position_qty == 11


def test_a_notional_order_ends_when_the_venue_says_so() -> None:
    """1,000 dollars at about 100 are about 10: ten filled may be all of it, or not yet."""
    desk = Desk()
    order = desk.ask("buy", None, notional_usd=Decimal(1000))
    assert (order.qty, desk.market().open_buy_qty) == (10, 10)
    desk.fill(order, 10, 99)
    assert (order.status, desk.market().open_buy_qty) == ("partially_filled", 0)
    assert desk.fill(order, "0.101010101", 99) == (order, False)
    assert desk.update(order, "filled") is order
    assert_nothing_is_open(desk)


def test_a_notional_order_whose_quantity_has_no_end_leaves_nothing_behind() -> None:
    """1,000 / 3 is counted to nine decimals, beside an order of any size."""
    desk = Desk()
    large = desk.ask("buy", "123456789.123456789")
    order = desk.ask("buy", None, notional_usd=Decimal(1000), at=3)
    desk.update(order, "canceled")
    assert desk.market().open_buy_qty == large.qty


# --- legs -------------------------------------------------------------------------------------------------------------


def test_the_legs_of_a_bracket_count_once_and_for_what_the_entry_has_filled() -> None:
    """Entry 10: +10. Filled, in parts: -10, though there are two, and they are held yet. Target filled: nothing."""
    desk = Desk()
    entry = desk.ask("buy", 10, **BRACKET)
    target, stop = legs(entry)
    assert (target.id, stop.id) == (f"{entry.id}-tp", f"{entry.id}-sl")
    assert (target.type, stop.type, target.side, stop.side) == ("limit", "stop", "sell", "sell")
    market, position = desk.market(), desk.portfolio.book("one").position("SPY")
    assert (market.open_buy_qty, market.open_sell_qty) == (10, 0)
    desk.fill(entry, 4)
    assert (market.open_buy_qty, market.open_sell_qty) == (6, 4)
    desk.fill(entry, 6)
    assert (market.open_buy_qty, market.open_sell_qty) == (0, 10)
    desk.update(stop, "accepted")
    desk.update(target, "accepted")
    assert (market.open_sell_qty, position.open_qty, position.open_sell_qty) == (10, -10, 10)
    desk.fill(target, 10, 110)
    desk.update(stop, "canceled")
    assert desk.portfolio.position_qty("SPY") == 0
    assert_nothing_is_open(desk)


def test_legs_protect_what_was_filled_of_an_entry_that_was_canceled() -> None:
    """4 of 10 filled: the legs are for 4."""
    desk = Desk()
    entry = desk.ask("buy", 10, **BRACKET)
    desk.fill(entry, 4)
    desk.update(entry, "canceled")
    for leg in legs(entry):
        desk.update(leg, "accepted")
    assert [leg.qty for leg in legs(entry)] == [4, 4]
    assert desk.market().open_sell_qty == 4
    desk.fill(entry.legs[1], 4, 90)
    desk.update(entry.legs[0], "canceled")
    assert_nothing_is_open(desk)


@pytest.mark.parametrize("status", ["accepted", "partially_filled", "pending_cancel", "pending_replace"])
def test_a_leg_that_lives_on_alone_counts(status: OrderStatus) -> None:
    """The target is gone by itself; whatever the stop is doing, it can still fill."""
    desk = Desk()
    entry = desk.ask("buy", 10, **BRACKET)
    desk.fill(entry, 10)
    target, stop = legs(entry)
    for leg in (target, stop):
        desk.update(leg, "accepted")
    stop.status = status
    desk.update(target, "canceled")
    assert (stop.counted, desk.market().open_sell_qty) == (10, 10)
    desk.update(stop, "canceled")
    assert_nothing_is_open(desk)


def test_of_an_oco_pair_only_one_counts() -> None:
    """Both close the same 10 shares."""
    desk = Desk()
    desk.trade(10)
    target = desk.ask("sell", 10, **OCO)
    (stop,) = legs(target)
    desk.update(stop, "accepted")
    desk.update(target, "accepted")
    assert desk.market().open_sell_qty == 10
    desk.fill(stop, 10, 90)
    desk.update(target, "canceled")
    assert desk.portfolio.position_qty("SPY") == 0
    assert_nothing_is_open(desk)


@pytest.mark.parametrize("group", [BRACKET, OCO])
def test_both_exits_of_a_pair_filled_are_more_than_was_ordered(group: dict[str, object]) -> None:
    """Each is within its own size; together they have turned the position around, and the corridor halts."""
    desk = Desk()
    if group is OCO:
        desk.trade(10)
        exits = [parent := desk.ask("sell", 10, **OCO), *legs(parent)]
    else:
        parent = desk.ask("buy", 10, **BRACKET)
        desk.fill(parent, 10)
        exits = legs(parent)
    for order in exits:
        desk.update(order, "accepted")
    desk.fill(exits[0], 4, 110)
    desk.fill(exits[1], 6, 90)
    assert [order.overfill for order in exits] == ["", ""]
    desk.fill(exits[0], 6, 110)
    assert exits[0].overfill == f"of the exits of {parent.id} one may fill for 10, and together they did for 16"
    assert desk.portfolio.position_qty("SPY") == -6


def test_an_oto_has_one_leg() -> None:
    """Its stop counts when the entry has filled."""
    desk = Desk()
    entry = desk.ask("buy", 10, **OTO)
    desk.fill(entry, 10)
    (stop,) = legs(entry)
    desk.update(stop, "accepted")
    assert (stop.type, desk.market().open_sell_qty) == ("stop", 10)


def test_a_replacement_marks_the_order_it_amends_and_both_count_until_it_has() -> None:
    """Until the venue says which one lives, either may fill."""
    desk = Desk()
    old = desk.ask("buy", 10, type="limit", limit_price=Decimal(99))
    desk.update(old, "accepted")
    new = desk.ask("buy", 20, type="limit", limit_price=Decimal(98), replaces=old.id)
    assert (old.status, desk.market().open_buy_qty) == ("pending_replace", 30)
    desk.update(old, "replaced")
    assert desk.market().open_buy_qty == 20
    desk.update(new, "canceled")
    assert_nothing_is_open(desk)


@pytest.mark.parametrize("status", ["accepted", "held", "partially_filled"])
def test_an_order_whose_replacement_was_rejected_is_what_it_was(status: OrderStatus) -> None:
    """And may be replaced again."""
    desk = Desk()
    old = desk.ask("buy", 10)
    desk.update(old, status)
    new = desk.ask("buy", 20, replaces=old.id)
    desk.update(new, "rejected")
    assert desk.update(old, status) is old
    assert "pending_replace" in TRANSITIONS[old.status]


# --- anything at all --------------------------------------------------------------------------------------------------


@given(st.data())
def test_exposure_returns_to_zero_when_every_order_has_ended(data: st.DataObject) -> None:
    """Through any orders, groups, replacements, fills, late fills, duplicates and stale news, in any order."""
    desk, executions = Desk(), count()
    known: list[Order] = []
    symbols, strategies = st.sampled_from(("SPY", "BTC/USD")), st.sampled_from(("one", "two"))
    sizes = st.decimals("0.000000001", "1000", places=9)
    classes = st.sampled_from(({}, {}, {}, BRACKET, OTO, OCO))
    for _ in range(data.draw(st.integers(1, 40), "steps")):
        act = data.draw(st.sampled_from(("ask", "ask", "notional", "replace", "update", "update", "fill", "cancel")))
        order = data.draw(st.sampled_from(known)) if known else None
        if act in ("ask", "notional") or order is None:
            fields = {"strategy": data.draw(strategies), "cost_price": data.draw(st.sampled_from((0, 101)))}
            side, symbol = data.draw(st.sampled_from(("buy", "sell"))), data.draw(symbols)
            if act == "notional":
                amount, price = data.draw(st.decimals(1, 9999, places=2)), data.draw(st.integers(1, 999))
                order = desk.ask(side, None, symbol, at=price, notional_usd=amount, **fields)
            else:
                order = desk.ask(side, data.draw(sizes), symbol, **fields, **data.draw(classes))
            known += [order, *order.legs]
        elif act == "replace" and "pending_replace" in TRANSITIONS.get(order.status, ()):
            known.append(
                desk.ask(order.side, data.draw(sizes), order.symbol, strategy=order.strategy, replaces=order.id)
            )
        elif act == "update":
            desk.update(order, data.draw(st.sampled_from(STATUSES)))
        elif act == "cancel":
            desk.cancel(order)
        elif act == "fill" and order.remaining_qty > 0:
            whole = data.draw(st.booleans())
            size = order.remaining_qty if whole else min(order.remaining_qty, data.draw(sizes))
            name = f"x{next(executions)}" if data.draw(st.integers(0, 9)) else "the same"
            desk.fill(order, size, data.draw(st.integers(1, 200)), execution_id=name)
        assert_exposure_is_what_the_orders_count(desk)
    for order in known:
        desk.update(order, data.draw(st.sampled_from(("canceled", "expired", "rejected"))))
        assert not order.is_open
        assert_exposure_is_what_the_orders_count(desk)
    assert_nothing_is_open(desk)
    for symbol in desk.portfolio.markets:
        filled = sum((o.sign * Fraction(o.filled_qty) for o in known if o.symbol == symbol), Fraction(0))
        assert Fraction(desk.portfolio.position_qty(symbol)) == filled


def test_a_run_of_any_length_remembers_a_bounded_number_of_ended_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten; a fill that comes for one of those is foreign, one for a kept order is late."""
    monkeypatch.setattr(module, "ENDED_KEPT", 8)
    desk = Desk()
    desk.fill(desk.ask("buy", 1), 1, execution_id="first")
    ended = []
    for _ in range(100):
        order = desk.ask("buy", 1, **BRACKET)
        for one in (order, *order.legs):
            desk.update(one, "canceled")
        ended.append(order)
    still = desk.ask("buy", 1)
    assert len(desk.orders.orders) == 8 + 1
    assert still.id in desk.orders.orders
    assert not desk.orders.has_booked("first")
    assert desk.fill(ended[0], 1) is None
    assert desk.fill(ended[-1], 1) == (ended[-1], True)


def test_an_order_reads_as_what_it_is() -> None:
    """An author who prints one sees its state."""
    order = Order(Intent("one-1", "one", "SPY", "sell", Decimal("2.5"), 0, "limit", limit_price=Decimal(9)))
    assert repr(order) == "<Order one-1 sell 2.5 SPY limit created>"
    assert order.average_price is None
