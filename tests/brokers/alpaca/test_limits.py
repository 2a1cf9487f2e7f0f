"""The rate limit, the watch over silence, and the memory of what was published."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.alpaca.limiter import Limiter, Purpose
from brokers.alpaca.seen import ARTICLES_KEPT, MINUTES_KEPT, Seen
from brokers.alpaca.watch import Watch
from engine.clock import Sessions
from engine.events import HOUR_NS, MINUTE_NS, SECOND_NS
from tests.brokers.alpaca.peers import OPEN_NS, Time, settle

XNYS = Sessions("XNYS")


@given(st.lists(st.tuples(st.sampled_from(["cancel", "order", "read"]), st.floats(0, 3)), max_size=80))
async def test_no_minute_sees_more_requests_than_the_limit(asks: list[tuple[Purpose, float]]) -> None:
    """Whatever is asked for and when: a 429 would cost a cancel."""
    time = Time(0)
    limiter = Limiter(60, time, time.wait)
    left: list[int] = []

    async def ask(purpose: Purpose) -> None:
        await limiter.acquire(purpose)
        left.append(time.ts_ns)

    tasks = []
    for purpose, wait_s in asks:
        tasks.append(asyncio.create_task(ask(purpose)))
        await time.pass_s(wait_s)
    await time.pass_s(600)
    assert len(left) == len(asks)
    assert all(sum(at <= other < at + 60 * SECOND_NS for other in left) <= 60 for at in left)
    await asyncio.gather(*tasks)


async def test_cancels_pass_when_orders_and_reads_have_used_the_rest() -> None:
    """The last fifth of the bucket is the way out of a position."""
    time = Time(0)
    limiter = Limiter(200, time, time.wait)
    waiting = [asyncio.create_task(limiter.acquire("read")) for _ in range(100)]
    waiting += [asyncio.create_task(limiter.acquire("order")) for _ in range(100)]
    await settle()
    assert sum(task.done() for task in waiting[:100]) == 25  # reads leave half of 50
    assert sum(task.done() for task in waiting[100:]) == 15  # orders leave a fifth
    for _ in range(10):
        await asyncio.wait_for(limiter.acquire("cancel"), 1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_many_cancels_at_once_may_use_all_that_the_minute_has_left() -> None:
    """Fifty orders are to end within seconds, right after fifty were sent; others wait until that is made up for."""
    time = Time(0)
    limiter = Limiter(200, time, time.wait)
    for _ in range(40):
        await asyncio.wait_for(limiter.acquire("order"), 1)
    for _ in range(160):
        await asyncio.wait_for(limiter.acquire("cancel"), 1)
    waiting = [asyncio.create_task(limiter.acquire(purpose)) for purpose in ("cancel", "order")]
    await time.pass_s(59.9)
    assert not any(task.done() for task in waiting)
    await time.pass_s(0.2)
    assert waiting[0].done()
    await time.pass_s(60)
    assert waiting[1].done()


async def test_the_limiter_heeds_what_answers_say() -> None:
    """After a 429 it is still until the reset, and it never counts on more than the venue has left."""
    time = Time(0)
    limiter = Limiter(200, time, time.wait)
    limiter.heed(None, pause_s=30)
    waiting = asyncio.create_task(limiter.acquire("cancel"))
    await time.pass_s(29.9)
    assert not waiting.done()
    await time.pass_s(0.2)
    assert waiting.done()
    limiter.heed(0)
    waiting = asyncio.create_task(limiter.acquire("cancel"))
    await settle()
    assert not waiting.done()
    await time.pass_s(1)
    assert waiting.done()


def test_bars_are_due_a_grace_after_their_minute_and_not_before() -> None:
    """The first minute of a session counts from the open; a closed market owes nothing."""
    watch = Watch(XNYS, silence_max_s=15, bars_only=True)
    assert not watch.is_overdue(OPEN_NS - SECOND_NS, OPEN_NS - HOUR_NS)
    assert not watch.is_overdue(OPEN_NS + 74 * SECOND_NS, OPEN_NS - HOUR_NS)
    assert watch.is_overdue(OPEN_NS + 75 * SECOND_NS, OPEN_NS - HOUR_NS)
    heard_ns = OPEN_NS + 60 * SECOND_NS + 300_000_000
    assert not watch.is_overdue(OPEN_NS + 134 * SECOND_NS, heard_ns)
    assert watch.is_overdue(OPEN_NS + 135 * SECOND_NS, heard_ns)
    close_ns = XNYS.at(OPEN_NS).close_ns
    assert watch.is_overdue(close_ns - SECOND_NS, heard_ns)
    assert not watch.is_overdue(close_ns + HOUR_NS, heard_ns)


def test_ticks_are_due_within_the_grace_itself() -> None:
    """A stream with trades or quotes speaks all the time while the market is open."""
    watch = Watch(XNYS, silence_max_s=15, bars_only=False)
    assert not watch.is_overdue(OPEN_NS + 100 * SECOND_NS, OPEN_NS + 86 * SECOND_NS)
    assert watch.is_overdue(OPEN_NS + 101 * SECOND_NS, OPEN_NS + 86 * SECOND_NS)


def test_a_delayed_feed_is_given_its_delay() -> None:
    """Fifteen minutes late, the session opens and closes later too."""
    watch = Watch(XNYS, silence_max_s=15, bars_only=True, delay_ns=15 * MINUTE_NS)
    assert not watch.is_overdue(OPEN_NS + 15 * MINUTE_NS + 74 * SECOND_NS, OPEN_NS)
    assert watch.is_overdue(OPEN_NS + 15 * MINUTE_NS + 75 * SECOND_NS, OPEN_NS)


def test_a_silent_symbol_is_asked_about_ever_more_seldom() -> None:
    """A thin stock may well be quiet; the questions must not eat the rate limit."""
    watch, seen = Watch(XNYS, silence_max_s=15, bars_only=True), Seen()
    asked = []
    for minute in range(240):
        now_ns = OPEN_NS + minute * MINUTE_NS + 20 * SECOND_NS
        seen.minute(OPEN_NS + minute * MINUTE_NS).add("SPY")
        if watch.silent(now_ns, ["SPY", "THIN"], seen, OPEN_NS):
            asked.append(minute)
    assert asked[:6] == [2, 3, 5, 9, 17, 33]
    assert all(late - early >= 64 for early, late in itertools.pairwise(asked[7:]))


def test_a_symbol_that_speaks_again_is_watched_afresh() -> None:
    """What it once missed says nothing about now."""
    watch, seen = Watch(XNYS, silence_max_s=15, bars_only=True), Seen()
    assert watch.silent(OPEN_NS + 3 * MINUTE_NS, ["A"], seen, OPEN_NS) == ["A"]
    assert watch.silent(OPEN_NS + 3 * MINUTE_NS + SECOND_NS, ["A"], seen, OPEN_NS) == []
    seen.minute(OPEN_NS + 4 * MINUTE_NS).add("A")
    assert watch.silent(OPEN_NS + 5 * MINUTE_NS, ["A"], seen, OPEN_NS) == []
    assert watch.silent(OPEN_NS + 7 * MINUTE_NS, ["A"], seen, OPEN_NS) == ["A"]


def test_minutes_are_remembered_for_as_long_as_a_symbol_may_be_silent() -> None:
    """A question looks that far back, and what it no longer knew would seem to have been left out."""
    seen = Seen(grace_s=360.0)
    for minute in range(100):
        seen.minute(minute).add("A")
    assert [minute for minute in range(100) if seen.minute(minute)] == list(range(86, 100))


def test_no_minute_is_forgotten_while_rest_is_asked_about_it() -> None:
    """An answer may take longer than minutes are kept; what came meanwhile would else seem to have been left out."""
    seen = Seen()
    seen.minute(0).add("A")
    with seen.remembering():
        for minute in range(1, 100):
            seen.minute(minute).add("B")
        assert seen.minute(0) == {"A"}
    assert seen.minute(0) == set()
    assert seen.symbols() == ["A", "B"]


def test_the_memory_of_what_was_published_is_bounded() -> None:
    """A daemon runs for weeks."""
    seen = Seen()
    for minute in range(1000):
        seen.minute(minute).add("A")
        for number in range(10):
            seen.is_new_trade("A", minute, f"{minute}-{number}")
    for number in range(5 * ARTICLES_KEPT):
        assert seen.is_new_article(number, 0)
    assert len(seen._minutes) == MINUTES_KEPT
    assert len(seen._articles) <= ARTICLES_KEPT
    assert {len(ids) for ids in seen._trade_ids.values()} == {10}
    assert not seen._window


def test_a_symbol_whose_minutes_are_forgotten_is_still_known_by_name() -> None:
    """Who subscribes to all symbols has the gap of each one filled, however seldom it trades."""
    seen = Seen()
    seen.minute(0).add("THIN")
    for minute in range(1, 100):
        seen.minute(minute).add("A")
    assert seen.symbols() == ["A", "THIN"]


@pytest.mark.parametrize("order", ["held first", "filled first"])
def test_a_print_counts_once_whether_stream_or_filling_tells_it_first(order: str) -> None:
    """While a gap is filled both may bring the same print, in either order, and prints at the gap's very edge."""
    seen = Seen()
    assert seen.is_new_trade("A", 10, "D-1")
    seen.open_window("stocks", 100)
    if order == "held first":
        assert seen.is_new_trade("A", 50, "D-3")
        assert not seen.is_missed_trade("A", 50, "D-3")
    else:
        assert seen.is_missed_trade("A", 50, "D-3")
        assert not seen.is_new_trade("A", 50, "D-3")
    assert not seen.is_missed_trade("A", 10, "D-1")
    assert not seen.is_missed_trade("A", 9, "D-0")
    assert seen.is_missed_trade("A", 10, "D-2")
    assert seen.is_missed_trade("A", 30, "D-2b")
    seen.open_window("stocks", 200)  # the connection broke again before the gap was closed: it only grows
    assert not seen.is_new_trade("A", 30, "D-2b")
    seen.close_window("stocks")
    assert seen.is_new_trade("A", 30, "D-2b")  # long past; a print that late would be news


def test_a_gap_that_breaks_again_has_two_holes_and_what_came_between_them_is_known() -> None:
    """REST tells all of it when it answers at last; only what lies in a hole was missed."""
    seen = Seen()
    assert seen.is_new_trade("A", 10, "D-1")
    seen.open_window("stocks", 100)
    assert seen.is_new_trade("A", 150, "D-4")  # live, after the first hole
    seen.open_window("stocks", 300)
    told = {number: seen.is_missed_trade("A", ts_ns, f"D-{number}") for number, ts_ns in ((1, 10), (2, 50), (4, 150))}
    assert told == {1: False, 2: True, 4: False}
    assert seen.is_missed_trade("A", 200, "D-5")


def test_one_stream_that_is_filled_closes_no_other_streams_gap() -> None:
    """Streams of one feed share what was seen, and news are filled sooner than bars."""
    seen = Seen()
    seen.open_window("stocks", 100)
    seen.open_window("news", 100)
    for minute in range(2 * MINUTES_KEPT):
        seen.minute(minute).add("A")
    assert seen.is_missed_trade("A", 50, "D-1")
    seen.close_window("news")
    assert not seen.is_new_trade("A", 50, "D-1")
    assert len(seen._minutes) == 2 * MINUTES_KEPT
    seen.close_window("stocks")
    assert len(seen._minutes) == MINUTES_KEPT
