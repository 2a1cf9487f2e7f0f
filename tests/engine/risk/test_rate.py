"""C07 to C09, C17 to C19 and C28: how often, how much and how long, in event time."""

from __future__ import annotations

from typing import Any

import pytest

from engine.events import HOUR_NS, NEVER_NS, SECOND_NS, StrategyHalted, TradingStateChanged
from engine.risk.control import Window

LIMIT = {"type": "limit", "limit_price": "99"}
TICK_S = 0.000_000_001


def test_duplicate_window_s_refuses_the_same_entry_again(desk: Any) -> None:
    """C07: within two seconds the same is a duplicate, at two seconds it is a new idea."""
    d = desk(duplicate_window_s=2)
    first = d.send("buy", "10", **LIMIT)
    d.wait(2 - TICK_S)
    assert d.refusal("buy", "10", **LIMIT) == f"C07: the same order as {first.id} 2.000 s ago < 2.0 s"
    d.wait(TICK_S)
    assert d.refusal("buy", "10", **LIMIT) == ""


@pytest.mark.parametrize(
    ("qty", "fields"),
    [("11", {}), ("10", {"strategy": "b"}), ("10", {"limit_price": "98"}), ("10", {"symbol": "QQQ"})],
)
def test_duplicate_order_wants_everything_equal(desk: Any, qty: str, fields: dict[str, Any]) -> None:
    """C07: another strategy, symbol, quantity or price is another order."""
    d = desk(duplicate_window_s=2)
    d.bar(100, "QQQ")
    d.send("buy", "10", **LIMIT)
    assert d.refusal("buy", qty, **{**LIMIT, **fields}) == ""


def test_duplicate_order_also_catches_a_market_order_that_went_as_a_limit(desk: Any) -> None:
    """C07: what the strategy asked for is compared, not what it became."""
    d = desk(duplicate_window_s=2, market_orders_as_limits=True, collar_aggressive_percent=3)
    d.send("buy", "10")
    d.bar(101)
    assert d.refusal("buy", "10").startswith("C07: the same order as")


def test_duplicate_order_refuses_an_id_that_was_used_before_even_for_an_exit(desk: Any) -> None:
    """C07: an id is used once, however long ago; two equal exits are fine while there is something to close."""
    d = desk(duplicate_window_s=2)
    order = d.send("buy", "10")
    d.fill(order)
    assert d.refusal("sell", "1", client_order_id=order.id) == f"C07: order id {order.id} was used before"
    d.send("sell", "5")
    assert d.refusal("sell", "5") == ""


@pytest.mark.parametrize(
    ("limits", "span_s", "reason"),
    [
        ({"max_orders_per_min_count": 3}, 60, "C08: orders of the account in 60 s > 3"),
        ({"max_orders_per_s_count": 3}, 1, "C08: orders of the account in 1 s > 3"),
        ({"max_strategy_orders_per_min_count": 3}, 60, "C08: orders of a in 60 s > 3"),
    ],
)
def test_message_rate_of_account_and_strategy(desk: Any, limits: dict[str, int], span_s: int, reason: str) -> None:
    """C08: three orders in any window, the fourth when the first has left it."""
    d = desk(**limits)
    for _ in range(3):
        assert d.refusal("buy", "1") == ""
    d.wait(span_s - TICK_S)
    assert d.refusal("buy", "1") == reason
    assert (d.refusal("buy", "1", strategy="b") == "") == ("strategy" in str(limits))
    d.wait(TICK_S)
    d.bar(100)
    assert d.refusal("buy", "1") == ""


def test_message_rate_lets_reductions_overdraw_once(desk: Any) -> None:
    """C08: an exit is not locked by a burst of entries, and a flood of exits ends at twice the limit."""
    d = desk(max_orders_per_s_count=2)
    d.hold("buy", "10")
    d.send("buy", "1")
    assert d.refusal("buy", "1").startswith("C08: ")
    order = next(iter(d.orders.open.values()))
    d.update(order, "canceled")
    d.send("sell", "1")
    d.send("sell", "1")
    assert d.refusal("sell", "1") == "C08: orders of the account in 1 s > 4"


@pytest.mark.parametrize("limit", ["max_orders_per_min_count", "max_orders_per_s_count", "max_orders_per_day_count"])
def test_a_limit_of_zero_lets_nothing_through(desk: Any, limit: str) -> None:
    """C08, C17: zero means none, not unlimited."""
    assert desk(**{limit: 0}).refusal("buy", "1") != ""


def test_a_window_counts_exactly_and_forgets(desk: Any) -> None:
    """C08: an instant is in a window for `span_ns`, the end excluded."""
    window = Window(10)
    for instant in (0, 5, 9):
        window.add(instant)
    assert window.count(9) == 3
    assert window.count(10) == 2
    assert window.reached(2, 10, 10)
    assert not window.reached(3, 10, 10)
    assert not window.reached(2, 4, 12)
    window.add(100)
    assert window.count(100) == 1


def test_max_executions_count_halts_a_strategy_alone(desk: Any) -> None:
    """C09: the eleventh executed entry in executions_window_s halts it; partial fills count once, exits never."""
    d = desk(max_executions_count=2, executions_window_s=600)
    for _ in range(2):
        order = d.send("buy", "2")
        assert d.fill(order, "1") == []
        assert d.fill(order, "1") == []
        d.hold("sell", "2")
    d.hold("buy", "1", strategy="b")
    assert d.risk.state == "active"
    (halted,) = d.fill(d.send("buy", "1"))
    assert halted == StrategyHalted(
        "a", d.now_ns, "C09 repeated_execution", "executed entries in SPY > 2 within 600 s"
    )  # fmt: skip
    assert d.refusal("buy", "1") == "C01: strategy a is halted"
    assert d.refusal("sell", "1") == ""
    assert d.refusal("buy", "1", strategy="b") == ""


def test_executions_window_s_forgets(desk: Any) -> None:
    """C09: entries that are spread out do not add up."""
    d = desk(max_executions_count=2, executions_window_s=600)
    for _ in range(6):
        assert d.fill(d.send("buy", "1")) == []
        d.wait(300)
        d.bar(100)
    assert not d.portfolio.book("a").halted


def test_max_orders_per_day_count_and_max_strategy_orders_per_day_count(desk: Any) -> None:
    """C17: counted per session, exits too, but exits are never refused."""
    d = desk(max_orders_per_day_count=4, max_strategy_orders_per_day_count=3)
    d.hold("buy", "10")
    d.hold("sell", "1")
    assert d.refusal("buy", "1") == ""
    assert d.refusal("buy", "1") == "C17: orders of a today 4 > 3"
    assert d.refusal("buy", "1", strategy="b") == ""
    assert d.refusal("buy", "1", strategy="b") == "C17: orders of the account today 5 > 4"
    assert d.refusal("sell", "1") == ""
    d.risk.on_session(d.now_ns)
    assert d.refusal("buy", "1") == ""


def test_max_turnover_fraction_counts_fills_and_the_order_at_hand(desk: Any) -> None:
    """C18: 10,000 dollars may trade a day; 6,000 have, so 40 shares more may and 41 may not."""
    d = desk(max_turnover_fraction="0.1")
    d.hold("buy", "30")
    d.hold("sell", "30")
    assert d.refusal("buy", "40") == ""
    assert d.refusal("buy", "41") == "C18: traded today with this order 10,100.00 USD > 10,000.00 USD"
    d.hold("buy", "40")
    assert d.refusal("sell", "40") == ""
    d.risk.on_session(d.now_ns)
    assert d.refusal("buy", "60") == ""


def test_max_consecutive_rejects_count_halts_trading(desk: Any) -> None:
    """C19: two rejections in a row are allowed, an acceptance ends the row, the third in a row halts."""
    d = desk(max_consecutive_rejects_count=2, max_reject_percent=100)
    orders = [d.send("buy", "1") for _ in range(6)]
    for order in orders[:2]:
        assert d.update(order, "rejected", "no") == []
    assert d.update(orders[2], "accepted") == []
    for order in orders[3:5]:
        assert d.update(order, "rejected", "no") == []
    (halt,) = d.update(orders[5], "rejected", "insufficient buying power")
    assert halt == TradingStateChanged(
        "halted", d.now_ns, "C19 reject_breaker", "rejections in a row 3 > 2; the last one: insufficient buying power"
    )
    assert d.risk.state == "halted"


def test_max_reject_percent_needs_min_reject_sample_count_within_reject_window_s(desk: Any) -> None:
    """C19: a fifth of ten answers passes, more of them halts; answers out of the window do not count."""
    d = desk(max_reject_percent=20, min_reject_sample_count=10, reject_window_s=300)

    def answer(*statuses: str) -> list[Any]:
        return [event for status in statuses for event in d.update(d.send("buy", "1"), status)]

    assert answer("rejected", "rejected") == []
    assert answer(*["accepted"] * 7) == []
    d.wait(300)
    d.bar(100)
    assert answer(*["accepted"] * 8, "rejected", "rejected") == []
    (halt,) = answer("rejected")
    assert halt.reason.startswith("3 of 11 orders rejected > 20 %")


def test_rejected_amendments_are_rejections_in_a_row(desk: Any) -> None:
    """C19: that the old order goes on, as the venue says after each of them, is no new good answer."""
    d = desk(max_consecutive_rejects_count=2, max_reject_percent=20, min_reject_sample_count=10)
    old = d.send("buy", "1", **LIMIT)
    d.update(old, "accepted")
    told = []
    for _ in range(3):
        told += d.update(d.send("buy", "1", **LIMIT, replaces=old.id), "rejected", "no")
        told += d.update(old, "accepted", "its replacement was rejected")
    (halt,) = told
    assert halt.reason == "rejections in a row 3 > 2; the last one: no"
    assert (old.status, old.is_amended) == ("accepted", True)
    assert d.risk._rejects._answers.count(d.now_ns) == 4


def test_rejected_amendments_of_a_leg_count_and_the_leg_itself_does_not(desk: Any) -> None:
    """C19: a leg goes out with its entry, and is answered with it; what is asked for in its place goes out alone."""
    d = desk(max_consecutive_rejects_count=1, max_reject_percent=100)
    entry = d.send("buy", "1", order_class="oto", stop_loss_stop_price="90")
    d.fill(entry)
    (stop,) = entry.legs
    assert d.update(stop, "accepted") == []
    told = []
    for price in ("91", "92"):
        told += d.update(d.send("sell", "1", type="stop", stop_price=price, replaces=stop.id), "rejected", "no")
        told += d.update(stop, "accepted")
    (halt,) = told
    assert halt.reason == "rejections in a row 2 > 1; the last one: no"


def test_rejections_before_trading_begins_halt_it_once(desk: Any) -> None:
    """C19: what an earlier life has sent may be rejected while this one warms up; `activate` finds the halt."""
    d = desk()
    orders = [d.send("buy", "1") for _ in range(2)]
    d.regime(max_consecutive_rejects_count=0)
    (halt,) = d.update(orders[0], "rejected", "no")
    assert (halt.state, halt.control) == ("halted", "C19 reject_breaker")
    assert d.update(orders[1], "rejected", "no") == []
    assert d.risk.activate(d.now_ns).state == "halted"


def test_a_person_who_resumes_gets_a_fresh_count_of_rejections(desk: Any) -> None:
    """C19: the next rejection after a resume does not halt again at once."""
    d = desk(max_consecutive_rejects_count=0, max_reject_percent=100)
    assert d.update(d.send("buy", "1"), "rejected") != []
    d.risk.resume(d.now_ns, "operator", "fixed")
    d.risk.on_session(d.now_ns)
    d.update(d.send("buy", "1"), "accepted")
    assert d.risk.state == "active"


def test_max_entry_age_s_names_the_entries_that_rest_too_long(desk: Any) -> None:
    """C28: `due_ns` is when the oldest entry expires, never when none rests; exits do not expire."""
    d = desk(max_entry_age_s=600)
    assert d.risk.due_ns == NEVER_NS
    first = d.send("buy", "1", **LIMIT)
    d.wait(100)
    second = d.send("buy", "1", **LIMIT)
    assert d.risk.due_ns == first.created_ns + 600 * SECOND_NS
    assert d.risk.expired(first.created_ns + 600 * SECOND_NS - 1) == []
    assert d.risk.expired(first.created_ns + 600 * SECOND_NS) == [first.id]
    assert d.risk.due_ns == second.created_ns + 600 * SECOND_NS
    d.fill(second)
    assert d.risk.due_ns == NEVER_NS
    d.update(first, "canceled")
    d.send("sell", "1", type="limit", limit_price="110")
    d.bar(100)
    d.send("buy", "1", time_in_force="ioc", type="limit", limit_price="99")
    assert d.risk.due_ns == NEVER_NS


def test_an_entry_sent_while_the_venue_is_closed_ages_from_the_open(desk: Any) -> None:
    """C28: waiting for the open is not resting; the weekend is no time."""
    d = desk(calendar="XNYS", max_entry_age_s=600)
    noon = d.now_ns
    d.now_ns = noon + 5 * HOUR_NS  # 17:00 on Monday
    d.bar(100)
    d.send("buy", "1", **LIMIT)
    assert d.risk.due_ns == noon + 24 * HOUR_NS - 5 * HOUR_NS // 2 + 600 * SECOND_NS  # Tuesday 09:40
    d.send("buy", "1", **LIMIT, extended_hours=True)
    assert d.risk.due_ns == d.now_ns + 600 * SECOND_NS


def test_the_list_of_resting_entries_does_not_grow_behind_an_old_one(desk: Any) -> None:
    """C28: a resting entry at the front does not keep thousands of ended ones."""
    d = desk(cash="1000000000")
    d.send("buy", "1", **LIMIT)
    for _ in range(300):
        d.hold("buy", "1")
    assert len(d.risk._age._resting) < 100
