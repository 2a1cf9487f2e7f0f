"""C36: who, why, which limit, to what, until when; and then it is as it was."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.errors import ConfigError
from engine.events import MINUTE_NS, NEVER_NS, Command, LimitChanged
from engine.risk.limits import SMALL_ACCOUNT, RiskLimits
from engine.risk.override import FIXED, MINUTES_MAX, attributes, changed


def override(
    d: Any, limit: str, value: Any, minutes: float = 10, who: str = "ann", why: str = "index add"
) -> list[Any]:
    until_ns = d.now_ns + round(minutes * MINUTE_NS)
    asked = Command("override", d.now_ns, d.now_ns, why, who=who, limit=limit, value=str(value), ts_expire_ns=until_ns)
    return list(d.risk.on_override(asked, d.now_ns))


def state(risk: Any) -> dict[str, dict[str, Any]]:
    """Return every number that any control goes by."""
    kinds = (bool, int, float, Decimal, tuple)
    return {
        control.code: {
            name: value for name in attributes(control) if isinstance(value := getattr(control, name), kinds)
        }
        for control in risk.controls
        if control.code != "C36"
    }


def test_an_override_is_written_down_and_ends_by_itself(desk: Any) -> None:
    """Old value, new value, who, why and until when; then a second line says that it is over."""
    d = desk(max_order_qty="10")
    assert d.refusal("buy", "20").startswith("C03")
    [told] = override(d, "max_order_qty", 25)
    assert told == LimitChanged(
        "max_order_qty", "10", "25", d.now_ns, "C36 override", "ann", "index add", d.now_ns + 10 * MINUTE_NS
    )
    assert d.refusal("buy", "20") == ""
    assert d.refusal("buy", "26").startswith("C03")
    assert d.risk.due_ns == d.now_ns + 10 * MINUTE_NS
    d.wait(599.9)
    assert list(d.risk.overdue(d.now_ns)) == []
    d.wait(0.1)
    [over] = d.risk.overdue(d.now_ns)
    assert (over.before, over.after, over.ts_expire_ns) == ("25", "10", 0)
    d.bar(100)
    assert d.refusal("buy", "20").startswith("C03")
    assert d.risk._override.due_ns == NEVER_NS


@pytest.mark.parametrize("name", sorted(set(SMALL_ACCOUNT) - FIXED))
def test_every_limit_takes_effect_and_ends(desk: Any, name: str) -> None:
    """What the controls go by is what they would have been built with, and afterwards what they were built with."""
    d = desk(profile="small_account")
    d.risk.on_session(d.now_ns)
    before = state(d.risk)
    value = getattr(d.risk.limits, name)
    other = (not value) if isinstance(value, bool) else value * 2 + 1 if name != "daily_loss_reduce_only_percent" else 1
    text = str(other).lower() if isinstance(other, bool) else str(other)
    assert len(override(d, name, text)) == 1
    limits = changed(RiskLimits(profile="small_account"), name, text)
    there = desk(**{**limits.model_dump(), "profile": "small_account"})
    there.risk.on_session(there.now_ns)
    assert state(d.risk) == state(there.risk)
    assert d.risk.limits == limits
    if name != "max_approval_age_s":
        pricing = [(one.up, one.down, one.markup, one.as_limits) for one in (d.risk._pricing, there.risk._pricing)]
        assert state(d.risk) != before or pricing[0] == pricing[1]
    d.wait(600)
    assert len(d.risk.overdue(d.now_ns)) == 1
    assert state(d.risk) == before


def test_counters_go_on_counting_through_an_override(desk: Any) -> None:
    """What was sent before it counts in it, and what was sent in it counts after it."""
    d = desk(max_orders_per_day_count=2)
    d.send("buy", "1")
    d.send("buy", "2")
    assert d.refusal("buy", "3").startswith("C17")
    override(d, "max_orders_per_day_count", 3)
    d.send("buy", "3")
    assert d.refusal("buy", "4").startswith("C17: orders of the account today 4 > 3")
    d.wait(600)
    d.risk.overdue(d.now_ns)
    d.bar(100)
    assert d.refusal("buy", "4").startswith("C17: orders of the account today 4 > 2")


def test_two_overrides_end_each_in_its_own_time(desk: Any) -> None:
    """One that ends leaves the other in force; the same limit again is the newer word."""
    d = desk(max_order_qty="10", max_open_orders_count=5)
    override(d, "max_order_qty", 20, minutes=5)
    override(d, "max_open_orders_count", 6, minutes=10)
    d.wait(300)
    assert [one.limit for one in d.risk.overdue(d.now_ns)] == ["max_order_qty"]
    assert (d.risk.limits.max_order_qty, d.risk.limits.max_open_orders_count) == (10, 6)
    override(d, "max_open_orders_count", 7, minutes=15)
    d.wait(300)
    assert list(d.risk.overdue(d.now_ns)) == []
    assert d.risk.limits.max_open_orders_count == 7


def test_a_new_session_keeps_an_override_and_its_end(desk: Any) -> None:
    """A fraction of equity is taken from the new session's equity, before and after."""
    d = desk(max_position_percent="10")
    override(d, "max_position_percent", 20)
    d.risk.on_session(d.now_ns)
    assert d.refusal("buy", "200") == ""
    d.wait(600)
    d.risk.overdue(d.now_ns)
    d.bar(100)
    assert d.refusal("buy", "101").startswith("C11")


@pytest.mark.parametrize(
    "asked",
    [
        {"who": ""}, {"why": ""}, {"minutes": 0}, {"minutes": -1}, {"minutes": MINUTES_MAX + 0.01},
        {"limit": "max_order"}, {"limit": "profile"}, {"limit": "reject_window_s"}, {"value": "many"},
        {"value": "-1"}, {"value": "nan"}, {"value": "true"}, {"value": ""},
    ],
)  # fmt: skip
def test_what_is_no_proper_override_changes_nothing(desk: Any, asked: dict[str, Any]) -> None:
    """Nameless, groundless, too long, unknown or malformed: the limits stay, and nothing waits to end."""
    d = desk(max_order_qty="10")
    before = state(d.risk)
    assert override(d, **{"limit": "max_order_qty", "value": "20", **asked}) == []
    assert (state(d.risk), d.risk.due_ns) == (before, NEVER_NS)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("max_ordre_qty", "5", "there is no limit 'max_ordre_qty'; did you mean 'max_order_qty'?"),
        ("executions_window_s", "5", "is being counted by and cannot change"),
        ("max_orders_per_day_count", "2.5", "max_orders_per_day_count cannot be '2.5'"),
        ("daily_loss_halt_percent", "1", "daily_loss_halt_percent 1 is below daily_loss_reduce_only_percent 2"),
        ("allow_short_selling", "yes", "allow_short_selling cannot be 'yes'"),
    ],
)
def test_a_limit_that_cannot_be_that_is_told(name: str, value: str, told: str) -> None:
    """One message for whoever asked."""
    with pytest.raises(ConfigError) as error:
        changed(RiskLimits(profile="small_account"), name, value)  # type: ignore[call-arg]  # the profile has the rest
    assert told in str(error.value)


def test_an_outcome_already_unknown_waits_as_long_as_the_limit_in_force(desk: Any) -> None:
    """C20 and C36: a longer wait is not cut short by the old one, nor forgotten."""
    d = desk(max_unknown_count=5, max_unknown_age_s=60.0)
    d.update(d.send("buy", "10"), "unknown")
    override(d, "max_unknown_age_s", 120, minutes=15)
    d.wait(60)
    assert list(d.risk.overdue(d.now_ns)) == []
    d.wait(60)
    assert [event.state for event in d.risk.overdue(d.now_ns)] == ["halted"]
