"""The live feed against a scripted peer on real sockets: greeting, refusals, gaps, silence, and its way out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from brokers.alpaca.hosts import Hosts
from brokers.alpaca.settings import FeedSettings
from brokers.alpaca.stream import AlpacaFeed
from engine.clock import Sessions
from engine.errors import ConfigError, FeedError, FeedOverrun, TradingError
from engine.events import DAY_NS, MINUTE_NS, SECOND_NS, Backfill, Bar, Trade
from tests.brokers.alpaca.peers import (
    ENVIRON,
    OPEN_NS,
    DataConnection,
    DataPeer,
    RestPeer,
    Time,
    bar,
    ended,
    settle,
    stamp,
    stopped,
    until,
)
from tests.runs import at

XNYS = Sessions("XNYS")


def row(symbol_open_ns: int, close: float = 100.0) -> dict[str, Any]:
    """A bar of a REST answer."""
    from brokers.alpaca.wire import format_ns

    prices = {"o": close, "h": close + 1, "l": close - 1, "c": close, "v": 100, "n": 5, "vw": close}
    return {"t": format_ns(symbol_open_ns)} | prices


class Rig:
    """A feed, its peers and its time."""

    def __init__(self, data: DataPeer, rest: RestPeer, feed: AlpacaFeed, time: Time) -> None:
        self.data, self.rest, self.feed, self.time = data, rest, feed, time
        self.events: list[Any] = []
        self.running = asyncio.create_task(feed.run(self.events.append))

    @property
    def bars(self) -> list[tuple[str, int, str]]:
        """Symbol, minute since the open and source of every bar, in order of publication."""
        found = [event for event in self.events if isinstance(event, Bar)]
        return [(one.symbol, (one.ts_open_ns - OPEN_NS) // MINUTE_NS, one.source) for one in found]

    async def connected(self, number: int = 1) -> DataConnection:
        await until(lambda: self.data.ready(number) or self.running.done(), "connected")
        if self.running.done():
            self.running.result()
        await settle()
        return self.data.last

    async def ended(self) -> TradingError:
        return await ended(self.running)


@asynccontextmanager
async def rigged(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Rig]:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    options.setdefault("symbols", ["SPY", "QQQ"])
    async with DataPeer().running() as data, RestPeer().running() as rest:
        time = Time()
        settings = FeedSettings.model_validate(options)
        feed = AlpacaFeed(settings, mode="paper", sessions=XNYS, seed=7, clock=time, sleep=time.wait)
        feed._hosts = Hosts(rest.url, "", rest.url, data.url, True)
        rig = Rig(data, rest, feed, time)
        try:
            yield rig
        finally:
            await stopped(rig.running)


# --- greeting --------------------------------------------------------------------------------------------------------


async def test_a_session_authenticates_subscribes_and_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of a bar, with the path of the feed and msgpack asked for."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        assert peer.socket.request is not None
        assert peer.socket.request.path == "/v2/iex"
        assert peer.socket.request.headers["Content-Type"] == "application/msgpack"
        auth, subscribe = peer.received
        assert auth == {"key": ENVIRON["APCA_API_KEY_ID"], "secret": ENVIRON["APCA_API_SECRET_KEY"]}
        assert subscribe == {"bars": ["QQQ", "SPY"], "statuses": ["QQQ", "SPY"]}
        await peer.send(bar("SPY", OPEN_NS), bar("QQQ", OPEN_NS))
        await until(lambda: len(rig.events) == 2)
        assert rig.bars == [("SPY", 0, "iex"), ("QQQ", 0, "iex")]
        assert rig.feed.is_connected
        assert rig.feed.counts["stocks"].messages == 2


async def test_stocks_coins_and_news_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three connections from one list of symbols, each event with its provenance."""
    options = {
        "symbols": ["SPY", "BTC/USD"], "news": True, "trades": True, "quotes": True, "updated_bars": True,
        "daily_bars": True, "lulds": True, "feed": "sip", "crypto_location": "us-1", "bars": True, "statuses": True,
    }  # fmt: skip
    async with rigged(monkeypatch, **options) as rig:
        await until(lambda: len(rig.data.connections) == 3 and all(c.is_ready for c in rig.data.connections))
        paths = {c.socket.request.path: c for c in rig.data.connections if c.socket.request is not None}
        assert set(paths) == {"/v2/sip", "/v1beta3/crypto/us-1", "/v1beta1/news"}
        common = {"bars", "trades", "quotes", "updatedBars", "dailyBars"}
        assert paths["/v2/sip"].received[1] == {key: ["SPY"] for key in [*common, "statuses", "lulds"]}
        assert paths["/v1beta3/crypto/us-1"].received[1] == {key: ["BTC/USD"] for key in common}
        assert paths["/v1beta1/news"].received[1] == {"news": ["BTCUSD", "SPY"]}
        await paths["/v1beta3/crypto/us-1"].send(bar("BTC/USD", OPEN_NS))
        await until(lambda: rig.events)
        assert rig.events[0].source == "crypto-us-1"


async def test_a_mute_handshake_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """W02: a peer that takes the connection and says nothing, while it answers pings, must not hang us for ever."""
    monkeypatch.setattr("brokers.alpaca.stream.GREET_S", 0.05)
    async with rigged(monkeypatch) as rig:
        rig.data.mute = True
        session = await _session(rig)
        await until(lambda: session.lost)
        rig.data.mute = False
        await rig.time.pass_s(1)
        await rig.connected(2)


async def _session(rig: Rig) -> Any:
    await until(lambda: rig.feed.lines)
    return rig.feed.lines["stocks"]


async def test_authenticated_already_counts_as_authenticated(monkeypatch: pytest.MonkeyPatch) -> None:
    """403 after the keys were in the headers is no failure."""
    async with rigged(monkeypatch) as rig:
        rig.data.answers["auth"] = [[{"T": "error", "code": 403, "msg": "already authenticated"}]]
        await rig.connected()


@pytest.mark.parametrize(
    ("code", "msg", "told"),
    [
        (402, "auth failed", "the keys were refused"),
        (409, "insufficient subscription", "the data plan does not include this feed; use feed = 'iex'"),
        (411, "insufficient scope", "no right to this stream"),
    ],
)
async def test_what_no_retry_helps_ends_the_feed_at_once(
    monkeypatch: pytest.MonkeyPatch, code: int, msg: str, told: str
) -> None:
    """W05, W06: alpaca-py retries for ever or ends in silence; here it is one clear error."""
    async with rigged(monkeypatch) as rig:
        rig.data.answers["auth"] = [[{"T": "error", "code": code, "msg": msg}]]
        error = await rig.ended()
        assert isinstance(error, FeedError)
        assert told in str(error)
        assert "canary" not in str(error).lower()
        assert len(rig.data.connections) == 1


async def test_keys_that_worked_are_given_three_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    """W05: keys are rotated in the middle of the day; a hiccup of the service is no reason to stop, three are."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        refusal = [{"T": "error", "code": 402, "msg": "auth failed"}]
        rig.data.answers["auth"] = [refusal, refusal]
        peer.abort()
        for _ in range(3):
            await settle()
            await rig.time.pass_s(31)
        peer = await rig.connected(4)
        rig.data.answers["auth"] = [refusal, refusal, refusal]
        peer.abort()
        for _ in range(3):
            await settle()
            await rig.time.pass_s(31)
        assert "the keys were refused" in str(await rig.ended())


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (405, "above the plan's symbol limit; ask for fewer symbols, or bars only"),
        (410, "this feed has no such channel"),
        (413, "takes no '*'"),
        (400, "is a symbol misspelled"),
    ],
)
async def test_a_refused_subscription_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, code: int, told: str) -> None:
    """W07: alpaca-py logs it and stays connected without any data."""
    async with rigged(monkeypatch) as rig:
        rig.data.answers["subscribe"] = [[{"T": "error", "code": code, "msg": "x"}]]
        assert told in str(await rig.ended())


async def test_a_partial_acknowledgement_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """W08: what is missing is asked for once more."""
    async with rigged(monkeypatch) as rig:
        rig.data.answers["subscribe"] = [[{"T": "subscription", "bars": ["SPY"], "statuses": ["SPY", "QQQ"]}]]
        peer = await rig.connected()
        assert peer.received[2] == {"bars": ["QQQ"]}


async def test_a_subscription_that_stays_incomplete_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """F22: authenticated, and the subscription silently missing: nobody must take that for a quiet market."""
    async with rigged(monkeypatch) as rig:
        rig.data.answers["subscribe"] = [[{"T": "subscription", "bars": ["SPY"]}]] * 2
        assert "did not confirm the subscription of bars: QQQ" in str(await rig.ended())


async def test_channels_one_can_live_without_may_stay_unconfirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed without halts is still a feed."""
    async with rigged(monkeypatch) as rig:
        rig.data.answers["subscribe"] = [[{"T": "subscription", "bars": ["SPY", "QQQ"]}]] * 2
        await until(lambda: rig.data.connections and len(rig.data.last.received) == 3)
        await settle()
        await rig.data.last.send(bar("SPY", OPEN_NS))
        await until(lambda: rig.events)


async def test_another_session_is_waited_for_like_a_ghost_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """W04: after an abrupt end the service counts our dead session for up to 90 s; longer, it is another program."""
    async with rigged(monkeypatch) as rig:
        refusal = [{"T": "error", "code": 406, "msg": "connection limit exceeded"}]
        rig.data.answers["auth"] = [refusal] * 4
        session = await _session(rig)
        for number in range(1, 5):
            await until(lambda number=number: session.lost == number and rig.time.next_s >= 5)  # never sooner
            await rig.time.pass_s(rig.time.next_s)
        await rig.connected(5)


async def test_a_session_that_never_goes_away_is_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """W04: two programs that fight for one connection would both lose."""
    async with rigged(monkeypatch) as rig:
        rig.data.answers["auth"] = [[{"T": "error", "code": 406, "msg": "connection limit exceeded"}]] * 40
        for _ in range(12):
            await settle()
            await rig.time.pass_s(31)
        assert "another program uses them" in str(await rig.ended())


# --- losing the connection -------------------------------------------------------------------------------------------


async def test_back_off_doubles_with_jitter_and_starts_over_only_after_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """W03: a server that takes connections and gives nothing must not be stormed; one that gave data is trusted."""
    async with rigged(monkeypatch) as rig:
        waits = []
        for number in range(1, 8):
            peer = await rig.connected(number)
            peer.abort()
            session = rig.feed.lines["stocks"]
            await until(lambda session=session, number=number: session.lost == number and rig.time.next_s > 0.3)
            waits.append(session.attempts)
            await rig.time.pass_s(30)
        assert waits == [1, 2, 3, 4, 5, 6, 7]
        peer = await rig.connected(8)
        await peer.send(bar("SPY", OPEN_NS))
        await until(lambda: rig.events)
        peer.abort()
        await until(lambda: session.lost == 8)
        assert session.attempts == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_the_jitter_is_drawn_from_the_seed(seed: int) -> None:
    """The same run waits the same times; no two runs wait in step."""
    from brokers.alpaca.session import Session

    class Named:
        name = "x"

    def waits(seed: int) -> list[float]:
        session = Session(Named(), seed=seed, clock=Time())  # type: ignore[arg-type]  # only its name is used
        return [session._backoff_s() for _ in range(8)]

    assert waits(seed) == waits(seed)
    assert waits(seed) != waits(seed + 1)
    bounds = [1, 2, 4, 8, 16, 30, 30, 30]
    assert all(bound / 2 <= wait <= bound for bound, wait in zip(bounds, waits(seed), strict=True))


async def test_a_gap_is_filled_with_neither_duplicate_nor_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """W12: bars missed while away come from REST before the live ones, and those of both sides come once."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        await peer.send(bar("SPY", OPEN_NS), bar("QQQ", OPEN_NS))
        await until(lambda: len(rig.events) == 2)
        rig.time.ts_ns += 185 * SECOND_NS  # into the fifth minute
        peer.abort()
        await until(lambda: rig.feed.lines["stocks"].lost)
        gate = asyncio.Event()
        minutes = [row(OPEN_NS + minute * MINUTE_NS) for minute in range(5)]  # the last one is still forming

        async def bars_when_open(_request: Any) -> tuple[int, Any]:
            await gate.wait()
            return 200, {"bars": {"SPY": minutes, "QQQ": minutes[:2]}, "next_page_token": None}

        rig.rest.on("GET", "/v2/stocks/bars", bars_when_open)
        await rig.time.pass_s(1)
        peer = await rig.connected(2)
        await peer.send(bar("SPY", OPEN_NS + 3 * MINUTE_NS), bar("QQQ", OPEN_NS + 3 * MINUTE_NS))
        await settle()
        assert len(rig.events) == 2  # held back
        gate.set()
        await until(lambda: len(rig.events) == 7)
        assert rig.bars[2:] == [
            ("QQQ", 1, "iex+rest"), ("SPY", 1, "iex+rest"), ("SPY", 2, "iex+rest"),
            ("SPY", 3, "iex"), ("QQQ", 3, "iex"),
        ]  # fmt: skip
        stamps = [event.ts_recv_ns for event in rig.events]
        assert stamps == sorted(stamps)
        [(query, _)] = rig.rest.asked("GET", "/v2/stocks/bars")
        assert (query["feed"], query["symbols"], query["timeframe"]) == ("iex", "QQQ,SPY", "1Min")
        await peer.send(bar("SPY", OPEN_NS + 2 * MINUTE_NS), bar("SPY", OPEN_NS + 4 * MINUTE_NS))
        await until(lambda: len(rig.events) == 8)
        assert rig.bars[-1] == ("SPY", 4, "iex")
        assert rig.feed.counts["stocks"].filled == 3
        assert rig.feed.counts["stocks"].reconnects == 1


async def test_a_bar_that_rest_did_not_have_yet_comes_with_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute that closed just before we were back was not streamed to us, and REST may serve it late."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        peer = await rig.connected()
        await peer.send(bar("SPY", OPEN_NS))
        await until(lambda: rig.events)
        first = [row(OPEN_NS)]
        rig.rest.on(
            "GET", "/v2/stocks/bars",
            (200, {"bars": {"SPY": first}, "next_page_token": None}),
            (200, {"bars": {"SPY": [*first, row(OPEN_NS + MINUTE_NS)]}, "next_page_token": None}),
        )  # fmt: skip
        await rig.time.pass_s(59.5)
        peer.abort()
        await until(lambda: rig.feed.lines["stocks"].lost)
        await rig.time.pass_s(1)
        await rig.connected(2)
        await until(lambda: rig.rest.asked("GET", "/v2/stocks/bars"))
        await settle()
        assert len(rig.events) == 1
        await rig.time.pass_s(11)
        await until(lambda: len(rig.events) == 2)
        assert rig.bars[-1] == ("SPY", 1, "iex+rest")


async def test_live_data_goes_on_when_the_gap_cannot_be_filled_and_the_gap_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """REST may be down with the stream; what it has later is published then."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        peer = await rig.connected()
        await peer.send(bar("SPY", OPEN_NS))
        await until(lambda: rig.events)
        rig.rest.on("GET", "/v2/stocks/bars", (403, {"message": "forbidden."}))
        peer.abort()
        await until(lambda: rig.feed.lines["stocks"].lost)
        await rig.time.pass_s(125)
        peer = await rig.connected(2)
        await peer.send(bar("SPY", OPEN_NS + 2 * MINUTE_NS))
        await until(lambda: len(rig.events) == 2)
        rig.rest.on("GET", "/v2/stocks/bars", (200, {"bars": {"SPY": [row(OPEN_NS + MINUTE_NS)]}}))
        await rig.time.pass_s(11)
        await until(lambda: len(rig.events) == 3)
        assert rig.bars == [("SPY", 0, "iex"), ("SPY", 2, "iex"), ("SPY", 1, "iex+rest")]


async def test_missed_trades_are_filled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prints at the edges of the gap, told by both sides, come once; none is lost."""
    from brokers.alpaca.wire import format_ns

    def trade(number: int, seconds: int, **fields: Any) -> dict[str, Any]:
        return {"S": "SPY", "i": number, "x": "V", "p": 100.0, "s": 1} | {"at": OPEN_NS + seconds * SECOND_NS} | fields

    def live(number: int, seconds: int) -> dict[str, Any]:
        found = trade(number, seconds, T="t")
        return found | {"t": stamp(found.pop("at"))}

    def served(number: int, seconds: int) -> dict[str, Any]:
        found = trade(number, seconds)
        return found | {"t": format_ns(found.pop("at"))}

    async with rigged(monkeypatch, symbols=["SPY"], bars=False, trades=True, statuses=False) as rig:
        peer = await rig.connected()
        await peer.send(live(1, 10), live(2, 20), live(3, 20))
        await until(lambda: len(rig.events) == 3)
        gate = asyncio.Event()

        async def trades_when_open(_request: Any) -> tuple[int, Any]:
            await gate.wait()
            numbers = [(2, 20), (3, 20), (4, 20), (5, 30), (6, 70)]
            return 200, {"trades": {"SPY": [served(*one) for one in numbers]}}

        rig.rest.on("GET", "/v2/stocks/trades", trades_when_open)
        peer.abort()
        await until(lambda: rig.feed.lines["stocks"].lost)
        await rig.time.pass_s(12)
        peer = await rig.connected(2)
        await peer.send(live(6, 59))
        await settle()
        gate.set()
        await until(lambda: len(rig.events) == 6)
        await peer.send(live(5, 30), live(7, 71))
        await until(lambda: len(rig.events) == 7)
        numbers = [event.trade_id for event in rig.events if isinstance(event, Trade)]
        assert numbers == ["V-1", "V-2", "V-3", "V-4", "V-5", "V-6", "V-7"]


async def test_the_start_can_fetch_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """With backfill_s, strategies begin warm, and trade nothing while it is being fetched."""
    async with rigged(monkeypatch, symbols=["SPY"], backfill_s=600) as rig:
        before = [row(OPEN_NS - minute * MINUTE_NS) for minute in (3, 2, 1)]
        rig.rest.on("GET", "/v2/stocks/bars", (200, {"bars": {"SPY": before}, "next_page_token": None}))
        await until(lambda: len(rig.events) == 5)
        assert rig.bars == [("SPY", -3, "iex+rest"), ("SPY", -2, "iex+rest"), ("SPY", -1, "iex+rest")]
        assert {event.ts_recv_ns for event in rig.events} == {rig.time.ts_ns}
        told = [(index, event.done) for index, event in enumerate(rig.events) if isinstance(event, Backfill)]
        assert told == [(0, False), (4, True)]


def day_row(day: str, close: float = 100.0) -> dict[str, Any]:
    """A day's bar of a REST answer, stamped at its midnight in New York."""
    return row(at(f"{day}T00:00-05:00"), close)


async def test_the_start_can_fetch_whole_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a model wants, in today's shares, the one in progress left out."""
    async with rigged(monkeypatch, symbols=["SPY"], bars=False, session_bars=True, backfill_sessions=1) as rig:
        rig.feed.want(DAY_NS, 2)
        rows = [day_row("2025-12-31", 98.0), day_row("2026-01-02", 99.0), day_row("2026-01-05")]
        rig.rest.on("GET", "/v2/stocks/bars", (200, {"bars": {"SPY": rows}, "next_page_token": None}))
        await until(lambda: any(isinstance(event, Backfill) and event.done for event in rig.events))
        ((asked, _),) = rig.rest.asked("GET", "/v2/stocks/bars")
        assert (asked["timeframe"], asked["adjustment"]) == ("1Day", "split")
        assert "2025-12-30T05:00" < asked["start"] < "2025-12-31T05:00"  # of Friday and Wednesday, by their midnights
        days = [event for event in rig.events if isinstance(event, Bar)]
        assert [(bar.ts_event_ns, bar.close) for bar in days] == [
            (at("2025-12-31T16:00-05:00"), 98.0), (at("2026-01-02T16:00-05:00"), 99.0),
        ]  # fmt: skip
        assert [event.done for event in rig.events if isinstance(event, Backfill)] == [False, True]


async def test_days_that_closed_while_nobody_listened_are_fetched_after_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the last day of the journal on, though no past is asked for; minutes of the same close are another thing."""
    async with rigged(monkeypatch, symbols=["SPY"], bars=False, session_bars=True) as rig:
        close_ns = at("2025-12-30T16:00-05:00")
        rig.feed.know([Bar("SPY", close_ns, close_ns + SECOND_NS, 9, 9, 9, 9, 1, 390 * MINUTE_NS, source="iex")])
        rows = [day_row(day) for day in ("2025-12-30", "2025-12-31", "2026-01-02")]
        rig.rest.on("GET", "/v2/stocks/bars", (200, {"bars": {"SPY": rows}, "next_page_token": None}))
        await until(lambda: any(isinstance(event, Backfill) and event.done for event in rig.events))
        assert [event.ts_event_ns for event in rig.events if isinstance(event, Bar)] == [
            at("2025-12-31T16:00-05:00"), at("2026-01-02T16:00-05:00"),
        ]  # fmt: skip


async def test_minutes_that_a_model_wants_are_fetched_from_the_session_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty of them at the open of Monday lie in Friday's session."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        rig.feed.want(MINUTE_NS, 60)
        rig.rest.on("GET", "/v2/stocks/bars", (200, {"bars": {}, "next_page_token": None}))
        await until(lambda: any(isinstance(event, Backfill) and event.done for event in rig.events))
        ((asked, _),) = rig.rest.asked("GET", "/v2/stocks/bars")
        assert asked["timeframe"] == "1Min"
        assert "2026-01-02T14:2" < asked["start"] <= "2026-01-02T14:30"


@pytest.mark.parametrize(
    ("options", "interval_ns", "told"),
    [
        ({}, DAY_NS, "it brings no bars of 86400 s, which a model wants; set `session_bars`"),
        ({"bars": False, "session_bars": True}, MINUTE_NS, "no bars of 60 s, which a model wants; set `bars`"),
        ({}, 5 * MINUTE_NS, "no bars of 300 s, which a model wants; there are those of a minute and of a session"),
    ],
)
async def test_bars_that_no_stream_brings_are_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], interval_ns: int, told: str
) -> None:
    """A model would wait for them for ever, and nobody would know why."""
    async with rigged(monkeypatch, **options) as rig:
        with pytest.raises(ConfigError, match=re.escape(told)):
            rig.feed.want(interval_ns, 10)


async def test_a_frame_of_thirty_thousand_messages_is_no_reason_to_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    """W09: the usual limit of 1 MiB would cost the whole frame."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        await peer.send(*[bar(f"S{number}", OPEN_NS) for number in range(30_000)])
        await until(lambda: len(rig.events) == 30_000)
        assert rig.feed.lines["stocks"].lost == 0


@pytest.mark.parametrize("way", ["normal close", "slow client", "bad frame"])
async def test_every_other_end_of_a_connection_leads_to_the_next(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """W10, W13, W17: a nightly close, 407 and a text frame in the greeting."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        if way == "normal close":
            await peer.socket.close(1000)
        elif way == "slow client":
            await peer.send({"T": "error", "code": 407, "msg": "slow client"})
        else:
            rig.data.answers["auth"] = [[]]
            peer.abort()
        await until(lambda: rig.feed.lines["stocks"].lost)
        if way == "bad frame":
            await rig.time.pass_s(1)
            await until(lambda: len(rig.data.connections) == 2 and rig.data.last.received)
            await rig.data.last.socket.send("text")
            await until(lambda: rig.feed.lines["stocks"].lost == 2)
            await rig.time.pass_s(2)
            await rig.connected(3)
        else:
            await rig.time.pass_s(1)
            await rig.connected(2)


# --- silence ---------------------------------------------------------------------------------------------------------


async def test_a_mute_stream_is_found_out_within_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """W01, F13: connected, answering pings and silent, while REST knows bars: a new connection fills the gap."""
    async with rigged(monkeypatch, symbols=["SPY"]) as rig:
        peer = await rig.connected()
        await peer.send(bar("SPY", OPEN_NS))
        await until(lambda: rig.events)
        rig.rest.on("GET", "/v2/stocks/bars", (200, {"bars": {"SPY": [row(OPEN_NS), row(OPEN_NS + MINUTE_NS)]}}))
        await rig.time.pass_s(70)  # 09:32:10: the bar of 09:31 is due until 09:32:12
        assert rig.feed.lines["stocks"].lost == 0
        await rig.time.pass_s(3)
        await until(lambda: rig.feed.lines["stocks"].lost == 1)
        assert rig.feed.counts["stocks"].silences == 1
        await rig.time.pass_s(1)
        await rig.connected(2)
        await until(lambda: len(rig.events) == 2)
        assert rig.bars[-1] == ("SPY", 1, "iex+rest")


async def test_a_quiet_market_is_not_mistaken_for_a_mute_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thin symbol trades once an hour; reconnecting for that would lose data instead of saving it."""
    async with rigged(monkeypatch, symbols=["THIN"]) as rig:
        rig.rest.on("GET", "/v2/stocks/bars", (200, {"bars": {}, "next_page_token": None}))
        await rig.connected()
        await rig.time.pass_s(600)
        assert rig.feed.lines["stocks"].lost == 0
        assert rig.rest.asked("GET", "/v2/stocks/bars")


async def test_nobody_asks_why_a_closed_market_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """W13: no false alarm overnight."""
    async with rigged(monkeypatch) as rig:
        rig.time.ts_ns = XNYS.at(OPEN_NS).close_ns + 3600 * SECOND_NS
        await rig.connected()
        await rig.time.pass_s(1800)
        assert rig.feed.lines["stocks"].lost == 0
        assert rig.rest.requests == []


async def test_ticks_that_stop_are_found_out_by_the_latest_trade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes and trades come all the time: fifteen seconds of silence are a question."""
    from brokers.alpaca.wire import format_ns

    async with rigged(monkeypatch, symbols=["SPY"], bars=False, quotes=True) as rig:
        await rig.connected()
        later = format_ns(rig.time.ts_ns + 10 * SECOND_NS)
        rig.rest.on("GET", "/v2/stocks/trades/latest", (200, {"trades": {"SPY": {"t": later, "p": 1.0, "s": 1}}}))
        await rig.time.pass_s(17)
        await until(lambda: rig.feed.lines["stocks"].lost == 1)
        assert rig.rest.asked("GET", "/v2/stocks/trades/latest")


async def test_one_silent_symbol_among_speaking_ones_is_filled_and_subscribed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """W19: one of the symbols is missing from the stream; what it traded comes from REST, once."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        rig.rest.on(
            "GET", "/v2/stocks/bars",
            lambda request: (200, {"bars": {"QQQ": [row(OPEN_NS + minute * MINUTE_NS) for minute in range(1, 3)]}}),
        )  # fmt: skip
        for minute in range(5):
            await peer.send(bar("SPY", OPEN_NS + minute * MINUTE_NS))
            await settle()
            await rig.time.pass_s(60)
        await until(lambda: len(peer.received) >= 3)
        assert peer.received[2] == {"bars": ["QQQ"]}
        assert [one for one in rig.bars if one[0] == "QQQ"] == [("QQQ", 1, "iex+rest"), ("QQQ", 2, "iex+rest")]
        assert rig.feed.lines["stocks"].lost == 0


# --- the way out -----------------------------------------------------------------------------------------------------


async def test_a_full_inbox_ends_the_feed_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trading on with events missing would be worse than not trading."""
    async with rigged(monkeypatch) as rig:
        peer = await rig.connected()
        rig.events = None  # type: ignore[assignment]  # the list is gone: publishing fails below

        def full(_event: object) -> None:
            raise FeedOverrun("the inbox holds 1 events that may not be dropped")

        for line in rig.feed.lines.values():
            line._line.reader.publish = full  # type: ignore[attr-defined]  # of the data line
        await peer.send(bar("SPY", OPEN_NS))
        assert isinstance(await rig.ended(), FeedOverrun)


async def test_canceling_closes_the_sockets_and_leaves_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """W14, W15: a proper close frame, so that the service keeps no ghost; fifty times in one process."""
    before = len(asyncio.all_tasks())
    for _ in range(5):
        async with rigged(monkeypatch) as rig:
            peer = await rig.connected()
            rig.running.cancel()
            with suppress(asyncio.CancelledError):
                await rig.running
            await until(lambda peer=peer: peer.socket.close_code is not None)
            assert peer.socket.close_code == 1000
    await settle()
    assert len(asyncio.all_tasks()) == before


def test_keys_and_modes_are_checked_before_anything_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local server in live mode, missing keys, a symbol that is none."""
    settings = FeedSettings(symbols=("SPY",), server_url="http://127.0.0.1:1")
    for name in ENVIRON:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="missing in the environment"):
        AlpacaFeed(settings, mode="paper", sessions=XNYS, seed=1)
    with pytest.raises(ConfigError, match="paper account only"):
        AlpacaFeed(settings, mode="live", sessions=XNYS, seed=1)
    for wrong in ("spy", "", "A B", "A,B"):
        with pytest.raises(ValueError, match="is no symbol"):
            FeedSettings(symbols=(wrong,))
    assert FeedSettings.model_validate({"symbols": "*"}).symbols == ("*",)


def test_every_option_of_the_feed_is_described() -> None:
    """keys_file, silence_max_s, rest_requests_per_min and the rest stand in the reference with a sentence each."""
    assert [name for name, field in FeedSettings.model_fields.items() if not field.description] == []
