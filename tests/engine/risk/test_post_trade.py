"""C39: after a session the broker's statement and our books say the same, or trading halts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.events import AccountStatement, Fill, Reconciliation
from engine.market import ZERO


def ended(desk: Any) -> Any:
    """Return a desk whose session has ended with ten shares and one execution in it."""
    d = desk()
    d.risk.on_reconciliation(Reconciliation(d.now_ns, d.now_ns), d.now_ns)
    d.hold("buy", "10")
    d.wait(3600)
    d.risk.on_session(d.now_ns)
    return d


def statement(d: Any, **over: Any) -> AccountStatement:
    from_ns, until_ns = d.risk.post_trade.due
    said: dict[str, Any] = {
        "cash_usd": Decimal(99_000), "positions": {"SPY": Decimal(10)}, "executions": {"x2": from_ns},
    }  # fmt: skip
    return AccountStatement(d.now_ns, d.now_ns, from_ns, until_ns, **said | over)


def test_a_session_that_agrees_ends_in_silence(desk: Any) -> None:
    """Positions exact, cash to the cent, every execution on both sides; a fraction of a cent is rounding."""
    d = ended(desk)
    assert list(d.risk.on_statement(statement(d, cash_usd=Decimal("99000.009")), d.now_ns)) == []
    assert (d.risk.state, d.risk.post_trade.due) == ("active", None)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"cash_usd": Decimal("98999.99")}, "cash: 99000.00 here, 98999.99 there"),
        ({"positions": {"SPY": Decimal(11)}}, "SPY: 10 here, 11 there"),
        ({"positions": {}}, "SPY: 10 here, 0 there"),
        ({"positions": {"SPY": Decimal(10), "QQQ": Decimal(1)}}, "QQQ: 0 here, 1 there"),
        ({"executions": {}}, "execution x2 here only"),
    ],
)
def test_each_kind_of_difference_halts(desk: Any, over: Any, told: str) -> None:
    """The halt latches and says what differs; nothing is traded to repair it."""
    d = ended(desk)
    [halt] = d.risk.on_statement(statement(d, **over), d.now_ns)
    assert (halt.state, halt.control) == ("halted", "C39 post_trade")
    assert halt.reason == f"after the session: {told}"
    assert d.risk.state == "halted"


def test_an_execution_that_the_broker_alone_lists_halts(desk: Any) -> None:
    """One inside the session; one before or after it is not of this statement."""
    d = ended(desk)
    from_ns, until_ns = d.risk.post_trade.due
    known = {"x2": from_ns}
    assert d.risk.post_trade.differences(statement(d, executions={**known, "y": from_ns - 1, "z": until_ns})) == []
    found = d.risk.post_trade.differences(statement(d, executions={**known, "y": until_ns - 1}))
    assert found == ["execution y there only"]


def test_an_execution_of_the_next_session_is_no_difference(desk: Any) -> None:
    """Around the clock, the next session has begun when the statement comes."""
    d = ended(desk)
    d.bar(100)
    d.hold("buy", "5")
    later = statement(d, cash_usd=Decimal(98_500), positions={"SPY": Decimal(15)})
    assert list(d.risk.on_statement(later, d.now_ns)) == []


def test_an_execution_that_was_booked_after_its_session_had_ended_is_not_missed_in_the_next(desk: Any) -> None:
    """It happened before the statement's span begins, and the broker lists it in the one before."""
    d = ended(desk)
    assert list(d.risk.on_statement(statement(d), d.now_ns)) == []
    late = Fill("late", "o1", "SPY", "buy", Decimal(1), Decimal(99), Decimal(0), d.now_ns - 1, d.now_ns + 1)
    inside = msgspec.structs.replace(late, execution_id="inside", ts_event_ns=d.now_ns + 1)
    for fill in (late, inside):
        d.risk.post_trade.on_fill(None, fill, d.now_ns)
    d.wait(3600)
    d.risk.on_session(d.now_ns)
    assert d.risk.post_trade.differences(statement(d, executions={})) == ["execution inside here only"]


def test_a_statement_that_never_came_is_due_of_both_sessions(desk: Any) -> None:
    """A broker out of reach over a weekend: what is compared later is all since."""
    d = ended(desk)
    first = d.risk.post_trade.due
    d.bar(100)
    d.hold("buy", "5")
    d.wait(3600)
    d.risk.on_session(d.now_ns)
    assert d.risk.post_trade.due == (first[0], d.now_ns)
    found = d.risk.post_trade.differences(statement(d, positions={"SPY": Decimal(15)}, cash_usd=Decimal(98_500)))
    assert found == ["execution x4 here only"]


def test_without_a_broker_outside_no_statement_is_due(desk: Any) -> None:
    """A simulated venue keeps no other books than ours."""
    d = desk()
    d.hold("buy", "10")
    d.risk.on_session(d.now_ns)
    assert d.risk.post_trade.due is None
    unasked = AccountStatement(d.now_ns, d.now_ns, 0, 1, ZERO, {}, {})
    assert list(d.risk.on_statement(unasked, d.now_ns)) == []


def test_many_differences_are_told_in_a_line(desk: Any) -> None:
    """Five of them and how many more there are."""
    d = ended(desk)
    there = {f"AA{number}": Decimal(1) for number in range(9)}
    [halt] = d.risk.on_statement(statement(d, positions=there), d.now_ns)
    assert halt.reason.endswith("AA4: 0 here, 1 there; and 5 more")
