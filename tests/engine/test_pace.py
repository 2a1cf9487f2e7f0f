"""A paced tape arrives when its clock says, in order and whole; nights and weekends pass in a second."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import ManualClock
from engine.events import HOUR_NS, MINUTE_NS, SECOND_NS, MarketEvent, Trade
from engine.pace import EVENTS_AT_ONCE, GAP_WAIT_S, pace

START_NS = 1_700_000_000 * SECOND_NS


def trades(offsets_ns: Iterable[int]) -> list[MarketEvent]:
    return [Trade("SPY", START_NS + offset, START_NS + offset, 1.0, number) for number, offset in enumerate(offsets_ns)]


class Room:
    """A clock that moves only while somebody sleeps, and what arrived when, in seconds since the first event."""

    def __init__(self, patch: pytest.MonkeyPatch, *, work_s: float = 0.0) -> None:
        self.clock = ManualClock(123 * SECOND_NS)
        self.arrived: list[tuple[float, MarketEvent]] = []
        self.slept: list[float] = []
        self.yielded = 0
        self._work_s = work_s
        self._sleep = asyncio.sleep
        patch.setattr(asyncio, "sleep", self.nap)

    async def nap(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)
        else:
            self.yielded += 1
        self.clock.advance(seconds)
        await self._sleep(0)

    def publish(self, event: MarketEvent) -> None:
        self.arrived.append((self.clock.monotonic_ns() / SECOND_NS - 123, event))
        self.clock.advance(self._work_s)

    async def run(self, batches: Iterable[Sequence[MarketEvent]], speed: float) -> list[float]:
        await pace(batches, self.publish, speed=speed, clock=self.clock)
        return [when for when, _ in self.arrived]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    with monkeypatch.context() as patch:
        yield Room(patch)


async def test_events_arrive_at_their_distance_divided_by_the_speed(room: Room) -> None:
    """Ten minutes at 60 times are ten seconds, and the first event is there at once."""
    found = await room.run([trades([0, 30 * SECOND_NS, 10 * MINUTE_NS])], speed=60)
    assert found == pytest.approx([0, 0.5, 10])


async def test_one_second_a_second_is_the_tapes_own_pace(room: Room) -> None:
    """Speed 1."""
    found = await room.run([trades([0, SECOND_NS // 4, 90 * SECOND_NS])], speed=1)
    assert found == pytest.approx([0, 0.25, 90])


async def test_unpaced_nothing_is_waited_for(room: Room) -> None:
    """Speed 0 publishes at once, and lets the corridor run in between."""
    await room.run([trades(index * MINUTE_NS for index in range(10)), trades([HOUR_NS * 99])], speed=0)
    assert room.slept == []
    assert room.yielded == 2
    assert len(room.arrived) == 11


async def test_the_corridor_gets_its_turn_within_a_long_batch(room: Room) -> None:
    """However much is overdue, at most `EVENTS_AT_ONCE` events wait in the inbox."""
    await room.run([trades([0] * (3 * EVENTS_AT_ONCE))], speed=600)
    assert room.yielded == 3


async def test_a_gap_of_more_than_an_hour_passes_in_a_second(room: Room) -> None:
    """From the last event of a day to the first of the next; after it the pace is as before."""
    night = 17 * HOUR_NS
    found = await room.run([trades([0, MINUTE_NS, night, night + MINUTE_NS])], speed=60)
    assert found == pytest.approx([0, 1, 1 + GAP_WAIT_S, 2 + GAP_WAIT_S])


async def test_a_gap_that_the_speed_makes_shorter_than_a_second_is_that_short(room: Room) -> None:
    """Two hours at 72,000 times are a tenth of a second."""
    assert await room.run([trades([0, 2 * HOUR_NS])], speed=72_000) == pytest.approx([0, 0.1])


async def test_an_hour_is_no_gap(room: Room) -> None:
    """Exactly an hour is waited for, one nanosecond more is not."""
    assert await room.run([trades([0, HOUR_NS])], speed=60) == pytest.approx([0, 60])
    room.arrived.clear()
    assert (await room.run([trades([0, HOUR_NS + 1])], speed=60))[1] == pytest.approx(61)


async def test_time_that_the_corridor_took_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow event makes the next wait shorter, so the tape does not fall behind for good."""
    room = Room(monkeypatch, work_s=0.4)
    found = await room.run([trades(index * MINUTE_NS for index in range(5))], speed=60)
    assert found == pytest.approx([0, 1, 2, 3, 4])
    assert room.slept == pytest.approx([0.6] * 4)


async def test_what_is_overdue_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corridor that cannot keep up gets its events as fast as it takes them."""
    room = Room(monkeypatch, work_s=2.0)
    found = await room.run([trades(index * MINUTE_NS for index in range(4))], speed=60)
    assert found == pytest.approx([0, 2, 4, 6])
    assert room.slept == []


@given(st.lists(st.lists(st.integers(0, 3 * HOUR_NS), max_size=6), max_size=5), st.sampled_from((0, 1, 60, 600.5)))
async def test_every_event_arrives_once_in_order_and_never_early(steps: list[list[int]], speed: float) -> None:
    """At any speed, from batches of any size, empty ones too; between gaps to the nanosecond."""
    offsets, batches, now = [], [], 0
    for batch in steps:
        for step in batch:
            now += step
            offsets.append(now)
        batches.append(trades(offsets[len(offsets) - len(batch) :]))
    with pytest.MonkeyPatch.context() as patch:
        room = Room(patch)
        found = await room.run(batches, speed)
    assert [event for _, event in room.arrived] == [event for batch in batches for event in batch]
    assert found == sorted(found)
    if not speed:
        assert room.slept == []
        return
    wanted = 0.0
    for index in range(1, len(offsets)):
        step = offsets[index] - offsets[index - 1]
        wait_s = step / speed / SECOND_NS
        wanted += min(GAP_WAIT_S, wait_s) if step > HOUR_NS else wait_s
        assert found[index] == pytest.approx(wanted, abs=1e-6)
