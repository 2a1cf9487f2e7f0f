"""RiskManager as a whole: approvals, the last look before the wire, reductions, determinism."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.errors import InvariantError
from engine.events import SECOND_NS, Approved, Denied

TIGHT = {
    "max_order_notional_usd": 0, "max_order_notional_percent": 0, "max_order_qty": 0, "max_order_unknown_adv_qty": 0,
    "max_spread_percent": 0, "max_data_age_s": 0, "max_data_age_periods_count": 0, "max_open_orders_count": 0,
    "max_strategy_open_orders_count": 0, "max_symbol_side_open_orders_count": 0, "max_position_percent": 0,
    "max_gross_fraction": 0, "max_net_fraction": 0, "cash_buffer_percent": 100, "max_orders_per_day_count": 0,
    "max_strategy_orders_per_day_count": 0, "max_turnover_fraction": 0, "rollout_sessions_count": 5,
    "rollout_percent": 0, "no_entry_before_close_s": 1e9, "allow_extended_hours": False,
    "allow_queued_entries": False, "allow_short_selling": False, "allow_reversals": False,
}  # fmt: skip


def test_every_control_of_the_issue_is_there_once(desk: Any) -> None:
    """The list in docs/risk_controls.md and the list that runs are one."""
    built = [*range(1, 31), 34, 35, 36, 37, 39]
    codes = sorted(control.code for control in desk().risk.controls)
    assert codes == sorted(f"C{number:02}" for number in built)


def test_an_approval_carries_what_the_order_was_measured_against(desk: Any) -> None:
    """Intent, reference and its kind, and an expiry in event time after max_approval_age_s."""
    d = desk(max_approval_age_s=2)
    d.quote(99.5, 100.5)
    order = d.order("buy", "1")
    verdict = d.risk.review(order, d.now_ns)
    assert verdict == Approved(
        order.intent, 1, d.now_ns, d.now_ns + 2 * SECOND_NS, Decimal("100.0"), "quote"
    )  # fmt: skip


def test_reductions_pass_when_every_limit_is_tripped(desk: Any) -> None:
    """The way out is never locked: no limit on size, exposure, loss or the day, and no state, stops an exit."""
    d = desk()
    d.hold("buy", "100")
    d.regime(**TIGHT)
    d.risk.activate(d.now_ns)
    d.risk.halt(d.now_ns, "operator", "asked for")
    d.portfolio.book("a").halted = d.market().halted = True
    d.wait(1000)
    assert isinstance(d.ask("buy", "1"), Denied)
    assert d.refusal("sell", "101").startswith("C01: ")
    assert d.refusal("sell", "100") == ""


def test_an_approval_is_used_once(desk: Any) -> None:
    """C37: a second use halts trading and is our own bug."""
    d = desk()
    verdict = d.ask("buy", "1")
    d.risk.consume(verdict, d.now_ns)
    with pytest.raises(InvariantError, match="C37 egress: token 1 was used before; nothing was sent"):
        d.risk.consume(verdict, d.now_ns)
    assert d.risk.state == "halted"


def test_an_approval_that_was_never_issued_is_refused(desk: Any) -> None:
    """C37: nobody makes approvals but risk."""
    d = desk()
    verdict = d.ask("buy", "1")
    with pytest.raises(InvariantError, match="token 2 was never issued"):
        d.risk.consume(replace(verdict, token=2), d.now_ns)


@pytest.mark.parametrize(
    "change", [{"qty": Decimal(2)}, {"symbol": "QQQ"}, {"side": "sell"}, {"limit_price": Decimal(1)}, {"replaces": "x"}]
)
def test_an_approval_holds_for_the_order_it_was_given_for(desk: Any, change: dict[str, Any]) -> None:
    """C37: any other intent under a good token halts."""
    d = desk()
    verdict = d.ask("buy", "1")
    with pytest.raises(InvariantError, match="is not what token 1 was issued for"):
        d.risk.consume(replace(verdict, intent=replace(verdict.intent, **change)), d.now_ns)
    assert d.risk.state == "halted"


def test_max_approval_age_s_expires_an_approval(desk: Any) -> None:
    """C37: at its last instant it is good, a nanosecond later it is not."""
    d = desk(max_approval_age_s=2)
    early, late = d.ask("buy", "1"), d.ask("buy", "1")
    d.risk.consume(early, d.now_ns + 2 * SECOND_NS)
    with pytest.raises(InvariantError, match="token 2 expired 0.000 s ago"):
        d.risk.consume(late, d.now_ns + 2 * SECOND_NS + 1)


def test_the_last_look_counts_and_prices_by_itself(desk: Any) -> None:
    """C37: if what the controls believed and what is sent drift apart, trading halts."""
    d = desk()
    d.send("buy", "1", type="trailing_stop", trail_percent="1.5")
    d.send("buy", None, notional_usd="123.45")
    d.send("buy", "3", type="stop_limit", stop_price="101", limit_price="102")
    egress = d.risk._egress
    assert (egress.sent_count, egress.sent_usd) == (3, Decimal("101.5") + Decimal("123.45") + Decimal(306))
    verdict = d.ask("buy", "1")
    egress.approved_usd += 1
    with pytest.raises(InvariantError, match="sent are 4 orders for"):
        d.risk.consume(verdict, d.now_ns)


def test_a_denied_order_leaves_no_trace_in_the_counters(desk: Any) -> None:
    """Checks are reads: after a hundred denials the next good order passes as the first."""
    once = {"max_orders_per_min_count": 1, "max_orders_per_day_count": 1, "max_turnover_fraction": 1}
    d = desk(max_order_qty=1, duplicate_window_s=2, **once)
    for _ in range(100):
        assert d.refusal("buy", "2") != ""
    assert d.refusal("buy", "1") == ""


def test_reduces_tells_which_open_orders_a_halt_leaves(desk: Any) -> None:
    """Protective legs and exits stay, entries and what would cross zero go."""
    d = desk()
    bracket = d.send("buy", "1", order_class="bracket", take_profit_limit_price="110", stop_loss_stop_price="90")
    assert not d.risk.reduces(bracket)
    assert all(d.risk.reduces(leg) for leg in bracket.legs)
    d.update(bracket, "canceled")
    for leg in bracket.legs:
        d.update(leg, "canceled")
    d.hold("buy", "10")
    out = d.send("sell", "10", type="limit", limit_price="110")
    assert d.risk.reduces(out)
    d.update(out, "canceled")
    through = d.send("sell", "11", type="limit", limit_price="110")
    assert not d.risk.reduces(through)


def test_the_same_calls_give_the_same_answers(desk: Any) -> None:
    """Nothing but the arguments decides, so a run that is done over finds every counter as it was."""

    def story() -> list[Any]:
        d = desk(profile="small_account")
        told: list[Any] = []
        for step in range(60):
            order = d.order("buy" if step % 3 else "sell", str(1 + step % 7))
            told.append(d.submit(order))
            if isinstance(told[-1], Approved) and step % 2:
                told += d.fill(order)
            d.wait(1 + step % 5)
            told += d.bar(100 - step / 10)
        return told

    first = story()
    assert {type(one) for one in first} == {Approved, Denied}
    assert story() == first
