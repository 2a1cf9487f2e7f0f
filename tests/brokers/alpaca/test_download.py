"""History to a tape: every page, in order of time, resumable, with what it is in its metadata."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer import Typer
from typer.testing import CliRunner

from brokers.alpaca.archive import Archive, Extract
from brokers.alpaca.download import command
from brokers.alpaca.history import History
from brokers.alpaca.limiter import Limiter
from brokers.alpaca.rest import Refused, Rest
from brokers.alpaca.rows import ActionRow, BarRow, NewsRow, Timeframe, action, bar, news
from brokers.alpaca.wire import format_ns, parse_ns
from brokers.replay import ReplayFeed
from brokers.tape.reader import Tape
from engine.clock import Sessions
from engine.errors import BrokerError, ConfigError, TapeError
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, CorporateAction
from tests.brokers.alpaca.peers import ENVIRON, KEYS, OPEN_NS, RestPeer, Time
from tests.brokers.alpaca_server.local import KEY, SECRET, running
from tests.brokers.alpaca_server.local import bar as tape_bar

XNYS = Sessions("XNYS")
BARS = "/v2/stocks/bars"
DAY_START_NS = OPEN_NS - OPEN_NS % DAY_NS


def row(open_ns: int, close: float = 100.0) -> dict[str, Any]:
    return {
        "t": format_ns(open_ns),
        "o": close,
        "h": close + 1,
        "l": close - 1,
        "c": close,
        "v": 7,
        "n": 1,
        "vw": close,
    }


@asynccontextmanager
async def history(peer: RestPeer, **options: Any) -> AsyncIterator[History]:
    time = Time()
    limiter = Limiter(1e6, time, time.wait)
    rest = Rest(peer.url, KEYS, timeout_s=1.0, limiter=limiter, clock=time, sleep=time.wait)
    try:
        yield History(rest, **{"feed": "iex", "source": "iex", "sessions": XNYS} | options)
    finally:
        await rest.close()


def quiet(_done: int, _total: int, _rows: int) -> None:
    """No progress to be seen."""


# --- pages -----------------------------------------------------------------------------------------------------------


async def test_pages_are_followed_to_the_null_token_however_short_they_are() -> None:
    """R16: a page may hold one symbol of many, or split one; only the token says that it was the last."""
    async with RestPeer().running() as peer, history(peer) as source:
        peer.on(
            "GET", BARS,
            (200, {"bars": {"A": [row(OPEN_NS)]}, "next_page_token": "t1"}),
            (200, {"bars": {}, "next_page_token": "t2"}),
            (200, {"bars": {"A": [row(OPEN_NS + MINUTE_NS)], "B": [row(OPEN_NS)]}, "next_page_token": None}),
        )  # fmt: skip
        found = [one async for page in source.bars(["A", "B"], OPEN_NS, OPEN_NS + HOUR_NS) for one in page]
        assert [(one.symbol, one.ts_event_ns - OPEN_NS) for one in found] == [
            ("A", MINUTE_NS), ("A", 2 * MINUTE_NS), ("B", MINUTE_NS),
        ]  # fmt: skip
        tokens = [query.get("page_token") for query, _ in peer.asked("GET", BARS)]
        assert tokens == [None, "t1", "t2"]


@pytest.mark.parametrize("body", [{"bars": None, "next_page_token": ""}, {"bars": {"A": None}}, {}])
async def test_empty_answers_in_every_form_are_empty(body: Any) -> None:
    """Null, absent and an empty token mean that there is nothing and nothing more."""
    async with RestPeer().running() as peer, history(peer) as source:
        peer.on("GET", BARS, (200, body))
        assert [one async for page in source.bars(["A"], 0, 1) for one in page] == []


async def test_a_token_that_comes_again_ends_in_an_error_and_not_in_a_loop() -> None:
    """R16: a server's mistake must not hold a download for ever."""
    async with RestPeer().running() as peer, history(peer) as source:
        peer.on("GET", BARS, (200, {"bars": {}, "next_page_token": "again"}))
        with pytest.raises(BrokerError, match="page token 'again' comes again"):
            [page async for page in source.bars(["A"], 0, 1)]


async def test_coins_and_stocks_are_asked_at_their_own_paths() -> None:
    """One list of symbols, two services; adjustment and feed are the stocks' alone."""
    async with RestPeer().running() as peer, history(peer, adjustment="split", crypto_location="us-1") as source:
        peer.on("GET", BARS, (200, {"bars": {"SPY": [row(OPEN_NS)]}}))
        peer.on("GET", "/v1beta3/crypto/us-1/bars", (200, {"bars": {"BTC/USD": [row(OPEN_NS)]}}))
        found = [one.symbol async for page in source.bars(["SPY", "BTC/USD"], 0, OPEN_NS) for one in page]
        assert found == ["SPY", "BTC/USD"]
        [(stocks, _)], [(coins, _)] = peer.asked("GET", BARS), peer.asked("GET", "/v1beta3/crypto/us-1/bars")
        assert (stocks["adjustment"], stocks["feed"], stocks["sort"]) == ("split", "iex", "asc")
        assert "adjustment" not in coins
        assert "feed" not in coins


async def test_rows_that_make_no_sense_are_left_out_and_counted() -> None:
    """One bad row must not cost a day."""
    async with RestPeer().running() as peer, history(peer) as source:
        bad = [row(OPEN_NS) | change for change in ({"h": 1.0}, {"t": "yesterday"}, {"c": 0}, {"v": -1})]
        peer.on("GET", BARS, (200, {"bars": {"A": [*bad, row(OPEN_NS)]}}))
        found = [one async for page in source.bars(["A"], 0, OPEN_NS) for one in page]
        assert len(found) == 1
        assert source.left_out == 4


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeframe", "stamp", "close", "length"),
    [
        ("1Min", "2026-01-05T14:30:00Z", "2026-01-05T14:31:00Z", MINUTE_NS),
        ("15Min", "2026-01-05T14:30:00Z", "2026-01-05T14:45:00Z", 15 * MINUTE_NS),
        ("1Hour", "2026-01-05T15:00:00Z", "2026-01-05T16:00:00Z", HOUR_NS),
        ("1Day", "2026-01-05T05:00:00Z", "2026-01-05T21:00:00Z", 13 * HOUR_NS // 2),
        ("1Day", "2025-11-28T05:00:00Z", "2025-11-28T18:00:00Z", 7 * HOUR_NS // 2),
        ("1Day", "2025-07-01T04:00:00Z", "2025-07-01T20:00:00Z", 13 * HOUR_NS // 2),
    ],
)
def test_a_downloaded_bar_is_stamped_at_its_close(timeframe: str, stamp: str, close: str, length: int) -> None:
    """A daily bar, stamped at New York's midnight, closes with its session, on half days too."""
    found = bar("A", BarRow(stamp, 1, 2, 1, 2, 5), Timeframe(timeframe, XNYS), "sip")
    assert found is not None
    assert (found.ts_event_ns, found.ts_recv_ns, found.interval_ns) == (parse_ns(close), parse_ns(close), length)


@pytest.mark.parametrize("text", ["", "1min", "60Min", "24Hour", "2Day", "1Week", "0Min"])
def test_a_timeframe_that_is_none_is_refused(text: str) -> None:
    """Weeks and months have no one length."""
    with pytest.raises(ConfigError, match="write 1Min to 59Min, 1Hour to 23Hour or 1Day"):
        Timeframe(text, XNYS)


def test_an_article_is_known_when_its_version_was_out() -> None:
    """Only the latest text is kept: with the first publication's time it would be knowledge of the future."""
    found = news(NewsRow(1, "A\n headline", "2026-01-05T10:00:00Z", "2026-01-05T12:00:00Z", ["BTCUSD"]), "news", {})
    assert found.ts_recv_ns == found.ts_event_ns == parse_ns("2026-01-05T12:00:00Z")
    assert found.headline == "A headline"


@pytest.mark.parametrize(
    ("kind", "fields", "made"),
    [
        ("forward_splits", {"symbol": "A", "ex_date": "2026-01-05", "new_rate": 3, "old_rate": 2}, ("split", 3, 2)),
        ("reverse_splits", {"symbol": "A", "ex_date": "2026-01-05", "new_rate": 1, "old_rate": 50}, ("split", 1, 50)),
        ("stock_dividends", {"symbol": "A", "ex_date": "2026-01-05", "rate": 0.05}, ("split", 21, 20)),
        ("forward_splits", {"symbol": "A", "ex_date": "2026-01-05", "new_rate": 1.5, "old_rate": 1}, ("split", 3, 2)),
    ],
)
def test_splits_in_every_form_are_whole_numbers(kind: str, fields: dict[str, Any], made: tuple[str, int, int]) -> None:
    """Effective at the open of the ex-date; a stock dividend of 5 % turns 20 shares into 21."""
    found = action(kind, msgspec.convert(fields, ActionRow, strict=False), XNYS, "alpaca")
    assert found is not None
    assert (found.action, found.new_shares, found.old_shares) == made
    assert found.ts_event_ns == OPEN_NS


def test_dividends_names_and_the_rest() -> None:
    """What the engine does not know is left out; amounts are exact."""
    row_ = msgspec.json.decode(b'{"symbol":"A","ex_date":"2026-01-05","rate":0.125}', type=ActionRow)
    dividend = action("cash_dividends", row_, XNYS, "alpaca")
    assert isinstance(dividend, CorporateAction)
    assert dividend.amount_usd == Decimal("0.125")
    renamed = action(
        "name_changes", ActionRow(old_symbol="FB", new_symbol="META", process_date="2026-01-03"), XNYS, "alpaca"
    )
    assert renamed is not None
    assert (renamed.symbol, renamed.new_symbol) == ("FB", "META")
    assert renamed.ts_event_ns == OPEN_NS  # a Saturday's is Monday's
    assert action("spin_offs", ActionRow(symbol="A", ex_date="2026-01-05"), XNYS, "alpaca") is None
    assert action("cash_dividends", ActionRow(symbol="A"), XNYS, "alpaca") is None


def test_every_recorded_corporate_action_reads(shared_data: Path) -> None:
    """The vendor's own examples of every type."""
    seen: set[str] = set()
    for name in ("rest_alpaca_py_tests", "rest_go_sdk_tests", "rest_openapi_examples"):
        for line in (shared_data / "alpaca" / f"{name}.jsonl").read_text().splitlines():
            body = json.loads(line)["body"]
            page = body.get("corporate_actions") if isinstance(body, dict) else None
            for kind, found in (page or {}).items():
                seen.add(kind)
                for one in found:
                    action(kind, msgspec.convert(one, ActionRow, strict=False), XNYS, "alpaca")
    assert {"forward_splits", "reverse_splits", "cash_dividends", "name_changes"} <= seen


# --- to a tape -------------------------------------------------------------------------------------------------------


def extract(**fields: Any) -> Extract:
    base: dict[str, Any] = {
        "kind": "bars", "symbols": ("A", "B"), "start_ns": DAY_START_NS, "end_ns": DAY_START_NS + 21 * DAY_NS,
    }  # fmt: skip
    return Extract(**base | fields)


async def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Three pieces; at the second one the service fails. Again, and only what is missing is asked for."""
    out = tmp_path / "bars.parquet"
    async with RestPeer().running() as peer, history(peer) as source:
        answers: list[Any] = [
            (200, {"bars": {"B": [row(OPEN_NS)], "A": [row(OPEN_NS + MINUTE_NS), row(OPEN_NS)]}}),
            (403, {"message": "forbidden."}),
            (200, {"bars": {}}),
            (200, {"bars": {"A": [row(OPEN_NS + 14 * DAY_NS)]}}),
        ]  # fmt: skip
        peer.on("GET", BARS, *answers)
        wanted = extract()
        with pytest.raises(Refused, match="forbidden"):
            await Archive(wanted, source, out, XNYS).fetch(OPEN_NS + 30 * DAY_NS, quiet)
        assert not out.exists()
        with pytest.raises(ConfigError, match="holds the parts of another download"):
            Archive(extract(timeframe="5Min"), source, out, XNYS)
        archive = Archive(wanted, source, out, XNYS)
        seen: list[tuple[int, int, int]] = []
        await archive.fetch(OPEN_NS + 30 * DAY_NS, lambda *told: seen.append(told))
        archive.finish()
        assert seen == [(1, 3, 3), (2, 3, 3), (3, 3, 4)]
        assert len(peer.asked("GET", BARS)) == 4
        assert [path.name for path in tmp_path.iterdir()] == ["bars.parquet"]
        summary = Tape(out).summary
        assert (summary.rows, summary.symbols, summary.calendar) == (4, ("A", "B"), "XNYS")
        assert summary.note == "alpaca bars feed=iex timeframe=1Min adjustment=raw"
        events = [one for batch in ReplayFeed(ReplayFeed.Settings(paths=(out,))).batches() for one in batch]
        assert [(one.symbol, (one.ts_event_ns - OPEN_NS) // MINUTE_NS) for one in events[:3]] == [
            ("A", 1), ("B", 1), ("A", 2),
        ]  # fmt: skip


async def test_a_bar_that_is_still_forming_is_not_kept(tmp_path: Path) -> None:
    """REST serves it as if it were one; tomorrow it would be another."""
    async with RestPeer().running() as peer, history(peer) as source:
        peer.on("GET", BARS, (200, {"bars": {"A": [row(OPEN_NS), row(OPEN_NS + MINUTE_NS)]}}))
        archive = Archive(extract(end_ns=DAY_START_NS + DAY_NS), source, tmp_path / "x.parquet", XNYS)
        await archive.fetch(OPEN_NS + MINUTE_NS, quiet)
        assert archive.rows == 1


async def test_a_download_without_a_row_says_so(tmp_path: Path) -> None:
    """An empty tape would look like a quiet market."""
    async with RestPeer().running() as peer, history(peer) as source:
        peer.on("GET", BARS, (200, {"bars": {}}))
        archive = Archive(extract(), source, tmp_path / "x.parquet", XNYS)
        await archive.fetch(0, quiet)
        with pytest.raises(TapeError, match="not one row"):
            archive.finish()


async def test_nights_and_weekends_are_not_asked_for_ticks() -> None:
    """Every request counts against the limit: a Saturday has none to give."""
    pieces = extract(kind="quotes", start_ns=DAY_START_NS - 2 * DAY_NS, end_ns=DAY_START_NS + DAY_NS).pieces(XNYS)
    assert len(pieces) == 16  # Monday, 04:00 to 20:00 New York
    assert len(extract(kind="quotes", symbols=("BTC/USD",), end_ns=DAY_START_NS + DAY_NS).pieces(XNYS)) == 24
    assert len(extract(timeframe="1Day").pieces(XNYS)) == 1


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def download(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `onetape download` with keys in the environment."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    app = Typer()
    app.command()(command)
    return lambda *words: CliRunner().invoke(app, list(words), catch_exceptions=True)


async def test_every_kind_comes_from_the_local_venue_as_a_tape(download: Any, tmp_path: Path) -> None:
    """The command against the venue: bars, quotes, trades, news and the list of assets, ready to be replayed."""
    from tests.brokers.alpaca_server.local import quote, story, trade

    events = [tape_bar("9:31"), quote("9:32"), trade("9:33"), story("9:34"), tape_bar("9:35", symbol="MSFT")]
    async with running(events, requests_per_min=0, data_requests_per_min=0) as local:
        await local.step(len(events))
        for kind, symbols, tape_kind in (
            ("bars", ["AAPL", "MSFT"], "bar"), ("quotes", ["AAPL"], "quote"), ("trades", ["AAPL"], "trade"),
            ("news", [], "news"), ("assets", [], "datum"),
        ):  # fmt: skip
            out = tmp_path / f"{kind}.parquet"
            words = [kind, *symbols, "--out", str(out), "--server-url", local.url, "--requests-per-min", "100000"]
            words += [] if kind == "assets" else ["--start", "2019-02-12", "--end", "2019-02-13"]
            result = await asyncio.to_thread(download, *words)
            assert result.exit_code == 0, result.output + repr(result.exception)
            assert Tape(out).kind == tape_kind
            assert f"rows, alpaca {kind}" in result.output
        assert Tape(tmp_path / "bars.parquet").summary.rows == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bras", "SPY", "--start", "2024-01-02"], "bras: not one of bars, quotes"),
        (["bars", "--start", "2024-01-02"], "download bars: name the symbols"),
        (["bars", "spy", "--start", "2024-01-02"], "symbol 'spy': write 'SPY'"),
        (["bars", "SPY"], "--start: from when?"),
        (["bars", "SPY", "--start", "soon"], "--start soon: no ISO date or time"),
        (["bars", "SPY", "--start", "2024-01-02", "--end", "2024-01-01"], "lies after the end"),
        (["bars", "SPY", "--start", "2024-01-02", "--timeframe", "1min"], "write 1Min to 59Min"),
        (["bars", "SPY", "--start", "2024-01-02", "--calendar", "XNYZ"], "unknown calendar"),
        (
            ["bars", "SPY", "--start", "2024-01-02", "--server-url", "http://example.com"],
            "not a server of this machine",
        ),
    ],
)
def test_a_wrong_word_is_one_clear_message(download: Any, tmp_path: Path, words: list[str], told: str) -> None:
    """Before anything is asked of anybody."""
    result = download(*words, "--out", str(tmp_path / "x.parquet"))
    assert isinstance(result.exception, ConfigError)
    assert told in str(result.exception)


def test_a_tape_that_exists_is_not_overwritten_by_mistake(download: Any, tmp_path: Path) -> None:
    """It may have cost hours."""
    out = tmp_path / "x.parquet"
    out.write_bytes(b"")
    result = download("bars", "SPY", "--start", "2024-01-02", "--out", str(out))
    assert "the tape exists already; --force replaces it" in str(result.exception)


async def test_a_plan_without_recent_data_is_told_what_to_do(download: Any, tmp_path: Path) -> None:
    """The free plan has SIP data fifteen minutes old; the refusal alone does not say what helps."""
    async with RestPeer().running() as peer:
        refusal = {"code": 42210000, "message": "subscription does not permit querying recent SIP data"}
        peer.on("GET", BARS, (403, refusal))
        words = ["bars", "SPY", "--feed", "sip", "--start", "2024-01-02", "--end", "2024-01-03"]
        words += ["--server-url", peer.url, "--out", str(tmp_path / "x.parquet")]
        result = await asyncio.to_thread(download, *words)
        assert "give an earlier --end, or --feed iex" in str(result.exception)


def test_the_environment_of_these_tests_is_not_the_users() -> None:
    """The keys here are nobody's."""
    assert set(ENVIRON.values()) == {KEYS.key_id, KEYS.secret}
