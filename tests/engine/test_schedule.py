"""What is due is called in order of time and, at one instant, in the order in which it was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import NEVER_NS
from engine.schedule import Schedule


@given(st.lists(st.integers(0, 20)))
def test_entries_come_off_in_order_of_time_and_then_of_asking(instants: list[int]) -> None:
    """A stable sort, whatever the order of asking."""
    schedule, called = Schedule(), []
    for number, ts_ns in enumerate(instants):
        schedule.at(ts_ns, lambda at_ns, number=number: called.append((at_ns, number)))
    for ts_ns in sorted(instants):
        assert schedule.due_ns == ts_ns + 1
        due_ns, call = schedule.pop()
        assert due_ns == ts_ns
        call(due_ns)
    assert called == sorted((ts_ns, number) for number, ts_ns in enumerate(instants))
    assert schedule.due_ns == NEVER_NS


def test_market_events_of_an_instant_come_before_its_alarms() -> None:
    """An alarm is overdue only once time has passed it, by a nanosecond."""
    schedule = Schedule()
    assert schedule.due_ns == NEVER_NS
    schedule.at(100, print)
    assert schedule.due_ns == 101


def test_an_entry_may_ask_for_another_one() -> None:
    """An alarm that rings again and again is one that asks again each time."""
    schedule, rung = Schedule(), []

    def ring(ts_ns: int) -> None:
        rung.append(ts_ns)
        schedule.at(ts_ns + 10, ring)

    schedule.at(0, ring)
    while schedule.due_ns <= 31:
        ts_ns, call = schedule.pop()
        call(ts_ns)
    assert rung == [0, 10, 20, 30]


def test_entries_of_one_instant_need_not_compare() -> None:
    """Two calls at the same time are told apart by the order of asking alone."""
    schedule = Schedule()
    schedule.at(1, lambda _: None)
    schedule.at(1, lambda _: None)
    assert schedule.pop()[0] == schedule.pop()[0] == 1


def test_nothing_can_be_taken_off_an_empty_schedule() -> None:
    """Whoever looks at `due_ns` first never comes here."""
    with pytest.raises(IndexError):
        Schedule().pop()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=30))
def test_whoever_waits_is_told_of_everything_that_comes_earlier(steps: list[tuple[bool, int]]) -> None:
    """The least of what was told since the last look is never later than what is due."""
    schedule = Schedule()
    told = [NEVER_NS]
    schedule.wake = told.append
    for takes, ts_ns in steps:
        if takes and schedule.due_ns < NEVER_NS:
            schedule.pop()
            told = [schedule.due_ns]
            schedule.wake = told.append
        else:
            schedule.at(ts_ns, print)
        assert min(told) == schedule.due_ns
