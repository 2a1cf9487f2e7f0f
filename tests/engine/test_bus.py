"""The inbox keeps the order, drops only quotes that are overtaken, counts them, and says when it is full."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bus import SLICE, Inbox
from engine.errors import FeedOverrun
from engine.events import Bar, Fill, InboxEvent, OrderUpdate, Quote, Trade


def quote(number: int, symbol: str = "SPY") -> Quote:
    return Quote(symbol, number, number, 1.0, 1, 1.0, 1)


def trade(number: int, symbol: str = "SPY") -> Trade:
    return Trade(symbol, number, number, 1.0, 1)


def bar(number: int, symbol: str = "SPY") -> Bar:
    return Bar(symbol, number, number, 1, 1, 1, 1, 1, 1)


def published(events: Sequence[InboxEvent], capacity: int = 1000, *, conflates: bool = True) -> Inbox:
    inbox = Inbox(capacity, conflates=conflates)
    for event in events:
        inbox.publish(event)
    return inbox


async def drained(inbox: Inbox) -> list[InboxEvent]:
    """Close it and return all that is there."""
    inbox.close()
    return [event async for batch in inbox.batches() for event in batch]


@given(
    st.lists(
        st.tuples(st.sampled_from((quote, quote, trade, bar)), st.sampled_from(("SPY", "BRK", "QQQ"))), max_size=60
    ),
    st.integers(1, 80),
)
async def test_conflation_keeps_the_order_and_the_latest_quote(kinds: list[tuple[type, str]], capacity: int) -> None:
    """Of each symbol the newest quote stays, at its own place; everything else stays, all of it, at any capacity."""
    events = [kind(number, symbol) for number, (kind, symbol) in enumerate(kinds)]
    newest = {event.symbol: event for event in events if isinstance(event, Quote)}
    kept = [event for event in events if not isinstance(event, Quote) or newest[event.symbol] is event]
    if len(kept) > capacity:
        return
    inbox = Inbox(capacity)
    try:
        for event in events:
            inbox.publish(event)
    except FeedOverrun:
        # What is waiting may be more than what will be left: only a quote that has not come yet could make room.
        assert len(inbox) == capacity
        return
    assert inbox.conflated == len(events) - len(kept)
    assert await drained(inbox) == kept


async def test_a_tape_is_never_conflated() -> None:
    """Its journal does not repeat it, so what is done over must see what was seen."""
    events = [quote(number) for number in range(50)]
    inbox = published(events, conflates=False)
    assert inbox.conflated == 0
    assert await drained(inbox) == events


async def test_a_quote_is_conflated_only_while_the_older_one_waits() -> None:
    """What the corridor has taken is history."""
    inbox = published([quote(1)])
    reader = inbox.batches()
    assert await anext(reader) == [quote(1)]
    inbox.publish(quote(2))
    assert await anext(reader) == [quote(2)]
    assert inbox.conflated == 0


@pytest.mark.parametrize(
    "event",
    [
        trade(9), bar(9), OrderUpdate("a", "canceled", 1, 1), Fill("x", "a", "SPY", "buy", 1, 1, 0, 1, 1),  # type: ignore[arg-type]
    ],
)  # fmt: skip
async def test_what_may_not_be_dropped_overflows(event: InboxEvent) -> None:
    """The error says how many are waiting; none of those is lost."""
    events = [trade(number) for number in range(3)]
    inbox = published(events, capacity=3)
    with pytest.raises(FeedOverrun, match="the inbox holds 3 events that may not be dropped"):
        inbox.publish(event)
    assert await drained(inbox) == events


async def test_a_full_inbox_takes_a_quote_in_the_place_of_an_older_one() -> None:
    """A fast quote stream of few symbols never overflows it."""
    inbox = published([trade(1), trade(2), quote(3)], capacity=3)
    for number in range(4, 500):
        inbox.publish(quote(number))
    assert inbox.conflated == 497 - 1
    assert await drained(inbox) == [trade(1), trade(2), quote(499)]


async def test_overtaken_quotes_make_room_for_others() -> None:
    """Their places are used again, and the order is still that of arrival."""
    inbox = published([quote(1), trade(2), quote(3), quote(4), trade(5), quote(6, "BRK")], capacity=4)
    assert await drained(inbox) == [trade(2), quote(4), trade(5), quote(6, "BRK")]


async def test_a_reader_waits_for_events_and_ends_when_the_inbox_is_closed() -> None:
    """What was published before the close is read; then it is over."""
    inbox = Inbox()
    taken: list[list[InboxEvent]] = []

    async def read() -> None:
        taken.extend([batch async for batch in inbox.batches()])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    inbox.publish(trade(1))
    inbox.publish(trade(2))
    for _ in range(3):
        await asyncio.sleep(0)
    inbox.publish(trade(3))
    assert len(inbox) == 1
    inbox.close()
    await reading
    assert taken == [[trade(1), trade(2)], [trade(3)]]


async def test_an_inbox_that_was_never_used_ends_at_once() -> None:
    """Nothing comes out of nothing."""
    assert await drained(Inbox()) == []


async def test_a_burst_leaves_the_event_loop_its_turns() -> None:
    """However many events wait, something else runs between two slices of them, and none is lost or counted away."""
    events = [bar(number) for number in range(3 * SLICE + 7)]
    inbox = published(events, capacity=10 * SLICE)
    turns, taken = 0, []

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(another())
    inbox.close()
    async for batch in inbox.batches():
        assert len(batch) <= SLICE
        taken += batch
        assert len(inbox) == len(events) - len(taken)
    beside.cancel()
    assert taken == events
    assert turns >= 3
