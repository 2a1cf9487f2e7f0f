"""C20, C29 and C30: what the broker has not told, tells otherwise, or cannot tell."""

from typing import Any

from engine.events import NEVER_NS, Link, Reconciliation


def link(d: Any, *, up: bool) -> None:
    d.risk.on_link(Link("orders", up, d.now_ns, d.now_ns), d.now_ns)


def test_max_unknown_count_freezes_the_symbol_and_one_more_halts(desk: Any) -> None:
    """C20: nothing new goes where an order's outcome is open; too many open outcomes halt everything."""
    d = desk(max_unknown_count=1, max_unknown_age_s=120.0)
    first = d.send("buy", "10")
    d.update(first, "unknown")
    assert d.refusal("buy", "10").startswith("C20: SPY is frozen")
    assert d.refusal("buy", "10", "QQQ").startswith("C06") or d.refusal("buy", "10", "QQQ") == ""
    d.bar(100, "QQQ")
    second = d.send("buy", "10", "QQQ")
    assert [event.state for event in d.update(second, "unknown")] == ["halted"]


def test_an_outcome_that_becomes_known_frees_its_symbol(desk: Any) -> None:
    """C20: the venue's word ends the freeze."""
    d = desk(max_unknown_count=2)
    order = d.send("buy", "10")
    d.update(order, "unknown")
    d.update(order, "accepted")
    assert d.refusal("buy", "10") == ""
    assert d.risk._unknown.due_ns == NEVER_NS


def test_max_unknown_age_s_halts_when_nobody_ever_knows(desk: Any) -> None:
    """C20: an outcome that stays open past the limit halts trading, once."""
    d = desk(max_unknown_count=5, max_unknown_age_s=120.0)
    d.update(d.send("buy", "10"), "unknown")
    d.wait(119.9)
    assert list(d.risk.overdue(d.now_ns)) == []
    d.wait(0.1)
    assert d.risk.due_ns <= d.now_ns
    assert [event.state for event in d.risk.overdue(d.now_ns)] == ["halted"]
    assert list(d.risk.overdue(d.now_ns)) == []


def test_a_disagreeing_position_freezes_its_symbol_for_exits_too(desk: Any) -> None:
    """C29: while nobody knows the position, not even an exit is sent; agreement ends it."""
    d = desk()
    d.hold("buy", "10")
    assert list(d.risk.on_reconciliation(Reconciliation(d.now_ns, d.now_ns, disagreeing=("SPY",)), d.now_ns)) == []
    assert d.refusal("sell", "10").startswith("C29: SPY is frozen")
    d.risk.on_reconciliation(Reconciliation(d.now_ns, d.now_ns), d.now_ns)
    assert d.refusal("sell", "10") == ""


def test_a_disagreement_that_lasts_halts(desk: Any) -> None:
    """C29: the reconciler says when it has lasted; the halt latches."""
    d = desk()
    found = Reconciliation(d.now_ns, d.now_ns, disagreeing=("SPY",), halts=True, reason="SPY: 10 here, 0 there")
    assert [event.state for event in d.risk.on_reconciliation(found, d.now_ns)] == ["halted"]
    assert d.risk.state == "halted"


def test_link_down_no_entries_s_stops_entries_but_no_exits(desk: Any) -> None:
    """C30: without the order stream nobody sees fills, so nothing new is opened."""
    d = desk(link_down_no_entries_s=10.0, link_down_cancel_s=60.0)
    d.hold("buy", "10")
    link(d, up=False)
    d.wait(10.0)
    d.bar(100)
    assert d.refusal("buy", "1") == ""
    d.wait(0.1)
    d.bar(100)
    assert d.refusal("buy", "1").startswith("C30: the order stream is down for 10.1 s > 10.0 s")
    assert d.refusal("sell", "10") == ""
    link(d, up=True)
    assert d.refusal("buy", "1") == ""


def test_link_down_cancel_s_names_the_open_entries_once(desk: Any) -> None:
    """C30: entries go, exits and protective orders stay."""
    d = desk(link_down_no_entries_s=10.0, link_down_cancel_s=60.0)
    entry = d.send("buy", "10", type="limit", limit_price="99")
    link(d, up=False)
    d.wait(60.0)
    assert d.risk.due_ns <= d.now_ns
    assert d.risk.expired(d.now_ns) == [entry.id]
    d.wait(1.0)
    assert d.risk.expired(d.now_ns) == []
