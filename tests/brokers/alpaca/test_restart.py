"""A restart is a gap like any other: what came since the journal's last event is fetched, once, and not traded on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Backfill, Bar, News, Trade
from tests.brokers.alpaca.peers import OPEN_NS, bar, settle, until
from tests.brokers.alpaca.test_feed import Rig, rigged, row

BARS = "/v2/stocks/bars"


def known(minute: int, symbol: str = "SPY", late_s: float = 0.5) -> Bar:
    """Return the bar of a minute since the open, as a journal holds it."""
    ts_ns = OPEN_NS + (minute + 1) * MINUTE_NS
    return Bar(symbol, ts_ns, ts_ns + round(late_s * SECOND_NS), 100, 101, 99, 100, 100, MINUTE_NS, source="iex")


def told(rig: Rig) -> list[Any]:
    """Return what the feed published, bars by symbol and minute."""
    return [
        event.done if isinstance(event, Backfill) else (event.symbol, (event.ts_open_ns - OPEN_NS) // MINUTE_NS)
        for event in rig.events
    ]


async def test_what_came_since_the_last_event_of_the_journal_is_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """REST is asked from before it, and what the journal holds does not come again; live bars follow."""
    async with rigged(monkeypatch, backfill_s=3_600) as rig:
        rig.time.advance(240)
        rig.feed.know([known(0), known(0, "QQQ"), known(1)])
        minutes = [row(OPEN_NS + minute * MINUTE_NS) for minute in range(4)]
        rig.rest.on("GET", BARS, (200, {"bars": {"SPY": minutes, "QQQ": minutes}, "next_page_token": None}))
        await until(lambda: True in told(rig))
        missed = [("QQQ", 1), ("QQQ", 2), ("SPY", 2), ("QQQ", 3), ("SPY", 3)]
        assert told(rig) == [False, *missed, True]
        assert all(event.ts_recv_ns >= rig.time.ts_ns for event in rig.events)
        peer = await rig.connected()
        await peer.send(bar("SPY", OPEN_NS + 3 * MINUTE_NS), bar("SPY", OPEN_NS + 4 * MINUTE_NS))
        await until(lambda: told(rig)[-1] == ("SPY", 4))
        assert told(rig) == [False, *missed, True, ("SPY", 4)]


async def test_strategies_only_watch_until_rest_has_given_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live data goes on while REST does not answer; that nothing is missing any more is said once it is so."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        rig.time.advance(120)
        rig.feed.know([known(0)])
        rig.rest.on("GET", BARS, (500, "broken"))
        peer = await rig.connected()
        await peer.send(bar("SPY", OPEN_NS + 2 * MINUTE_NS))
        for _ in range(20):
            await rig.time.pass_s(1)
            await settle()
        assert told(rig) == [False, ("SPY", 2)]
        rig.rest.on("GET", BARS, (200, {"bars": {"SPY": [row(OPEN_NS + MINUTE_NS)]}, "next_page_token": None}))
        for _ in range(40):
            await rig.time.pass_s(1)
            await settle()
        assert told(rig) == [False, ("SPY", 2), ("SPY", 1), True]


async def test_a_gap_that_stays_open_for_an_hour_brings_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """While REST does not answer the stream goes on, and all of that is still known when it does."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        rig.time.advance(120)
        rig.feed.know([known(0)])
        rig.rest.on("GET", BARS, (500, "broken"))
        peer = await rig.connected()
        for minute in range(3, 63):
            rig.time.advance(60)
            await peer.send(bar("SPY", OPEN_NS + minute * MINUTE_NS))
        minutes = [row(OPEN_NS + minute * MINUTE_NS) for minute in range(63)]
        rig.rest.on("GET", BARS, (200, {"bars": {"SPY": minutes}, "next_page_token": None}))
        for _ in range(40):
            await rig.time.pass_s(1)
            await settle()
        bars = [one for one in told(rig) if not isinstance(one, bool)]
        assert sorted(bars) == [("SPY", minute) for minute in range(1, 63)]


async def test_after_a_long_absence_a_day_is_fetched_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weeks of prints are no gap."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        rig.feed.know([known(0)])
        rig.time.advance(10 * DAY_NS // SECOND_NS)
        rig.rest.on("GET", BARS, (200, {"bars": {}, "next_page_token": None}))
        await until(lambda: True in told(rig))
        [(query, _)] = rig.rest.asked("GET", BARS)
        assert query["start"] >= "2026-01-14T"


async def test_prints_and_articles_of_the_journal_do_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by what it is known by: exchange and number, id and version."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        seen = rig.feed._seen
        ts_ns = OPEN_NS + HOUR_NS
        rig.feed.know(
            [Trade("SPY", ts_ns, ts_ns, 100.0, 1.0, "V-7"), News(ts_ns, ts_ns, "up", ("SPY",), "24", source="x")]
        )
        assert not seen.is_new_trade("SPY", ts_ns, "V-7")
        assert seen.is_new_trade("SPY", ts_ns, "V-8")
        assert not seen.is_new_article(24, ts_ns)
        assert seen.is_new_article(24, ts_ns + 1)
        assert rig.feed._known_ns == {"stocks": ts_ns, "news": ts_ns}
        await asyncio.sleep(0)


async def test_a_run_that_misses_nothing_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first start without backfill_s trades from its first event on."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        await peer.send(bar("SPY", OPEN_NS))
        await until(lambda: rig.events)
        assert told(rig) == [("SPY", 0)]
