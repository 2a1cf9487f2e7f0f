"""The live benchmark pairs, counts and compares what the venue told, and its four sides do what it says they do."""

import tomllib
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.live import latency, market
from bench.live.feeds import Bursts, Market
from bench.live.venue import toml
from engine.clock import Sessions
from engine.events import Bar, Fill, OrderUpdate, Quote, RunStarted, Trade
from engine.journal import Journal

MS = 1_000_000


def instants(prints: list[tuple[int, int]], posts: list[int]) -> dict[str, Any]:
    """Return what a venue recorded: frames of so many messages, and orders, in milliseconds."""
    return {"frames": [[at * MS, "/v2/iex", count] for at, count in prints], "posts": [[at * MS, ""] for at in posts]}


def test_each_print_is_paired_with_its_order_and_the_warm_up_is_left_out() -> None:
    """The first one took 9 ms, and does not count."""
    recorded = instants([(at, 1) for at in range(0, 100, 10)], [9, *range(12, 102, 10)])
    found = latency.latency(recorded, skip=1)
    assert (found.p50_us, found.p99_us, found.count) == (2000, 2000, 9)


def test_what_waited_for_another_print_has_waited() -> None:
    """Two prints in one frame left together, and an order that comes after the next print was that late."""
    found = latency.latency(instants([(0, 1), (10, 2), (20, 1), (30, 1)], [1, 11, 12, 34, 35]), skip=0)
    assert (found.p50_us, found.count) == (2000, 5)


@pytest.mark.parametrize("posts", [[1, 11], [1, 5, 31], [1, 12, 23, 34]], ids=["missing", "early", "too many"])
def test_a_measurement_that_is_none_is_refused(posts: list[int]) -> None:
    """An order that is missing, comes before its print or is too many makes an error and no figure."""
    with pytest.raises(ValueError):
        latency.latency(instants([(0, 1), (10, 1), (20, 1)], posts), skip=0)


def test_a_minute_is_decided_when_its_last_order_is_in() -> None:
    """Each minute counts from its last frame, whenever its orders came."""
    prints = [(0, 5), (500, 5), (6000, 8), (6900, 2), (12_000, 10)]
    recorded = instants(prints, [3, 540, 6010, 6950, 12_100, 12_003])
    assert market.decisions_ms(recorded, 10) == [40, 50, 100]
    with pytest.raises(ValueError, match="a minute of 11 symbols brought 10 bars"):
        market.decisions_ms(recorded, 11)


def test_a_percentile_is_the_upper_bound_of_its_bucket() -> None:
    """It says no less than what was measured, and counts nothing of before."""
    before = {0.001: 50.0, 0.002: 50.0, 0.004: 60.0}
    after = {0.001: 140.0, 0.002: 149.0, 0.004: 160.0}
    assert market.percentile_ms(before, after, 0.5) == 1
    assert market.percentile_ms(before, after, 0.98) == 2
    assert market.percentile_ms(before, after, 1.0) == 4


def test_what_the_venue_knows_and_the_journal_does_not_is_lost(tmp_path: Path) -> None:
    """A missing word and a missing fill count one each; what both know, nothing; what is told twice is one fill."""
    book = Journal(tmp_path / "run.journal")
    book.append(RunStarted("day", "{}", "0", 1, 0))
    for name in ("known", "unfilled"):
        book.append(OrderUpdate(name, "accepted", 1, 1))
    for ts_recv_ns in (1, 2):
        book.append(Fill("e1", "known", "S", "buy", Decimal(2), Decimal(1), Decimal(0), 1, ts_recv_ns))
    book.close()
    orders = [
        {"client_order_id": name, "filled_qty": qty} for name, qty in (("known", "2"), ("unfilled", "1"), ("new", "0"))
    ]
    assert market.events_lost(tmp_path / "run.journal", orders) == 2


def test_the_market_moves_so_that_its_last_bar_is_decided_on() -> None:
    """In every minute one of the last two symbols lies above its mean, within the market's hours, in order."""
    feed = Market(Market.Settings(n_symbols=50, minutes=4, spread_s=1.0, n_movers=5))
    minutes = list(feed.batches())
    assert [len(minute) for minute in minutes] == [50] * 4
    for before, minute in pairwise(minutes):
        bars = [bar for bar in minute if isinstance(bar, Bar)]
        assert [bar.ts_recv_ns for bar in bars] == sorted(bar.ts_recv_ns for bar in bars)
        assert any(a.close < b.close for a, b in zip(before[-2:], bars[-2:], strict=True) if isinstance(a, Bar))
    two_hours = Market(Market.Settings(n_symbols=1, minutes=120, spread_s=0))
    assert Sessions("XNYS").is_open(two_hours.span_ns[0])
    assert Sessions("XNYS").is_open(two_hours.span_ns[1])


def test_bursts_of_several_venues_never_meet() -> None:
    """Each print is followed by the quote that fills what it caused, and the next side's burst begins after it."""
    spans = []
    for place in range(3):
        settings = Bursts.Settings(bursts=2, ticks=4, every_ms=10.0, burst_every_s=3.0, offset_s=float(place))
        for burst in list(Bursts(settings).batches())[1:]:
            assert [type(event) for event in burst] == [Trade, Quote] * 4
            spans.append((burst[0].ts_recv_ns, burst[-1].ts_recv_ns))
    spans.sort()
    assert all(one[1] < after[0] for one, after in pairwise(spans))


def test_settings_are_written_as_they_are_read() -> None:
    """Texts, numbers, truths, lists and tables come back from TOML as they went in."""
    tables = {"a": {"text": 'x"y', "yes": True, "list": ["1"], "part": {"n": 1.5}}, "b": {"n": 3}}
    assert tomllib.loads(toml(tables)) == tables


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_side_answers_every_print(tmp_path: Path) -> None:
    """Ours and both peers, in front of real venues in processes of their own."""
    found = latency.compare(tmp_path, ["onetape", "plain", "minimal"], bursts=1, ticks=20)
    assert all(side.count == 20 and 0 < side.p50_us <= side.p99_us for side in found.values())


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_small_market_passes_with_nothing_lost(tmp_path: Path) -> None:
    """A minute is decided on, and a short session loses no order event."""
    assert 0 < market.last_decision_ms(tmp_path / "minute", 100, 4) < 1000
    found = market.session(tmp_path / "session", 200, 12)
    assert (found.events_lost, found.bars) == (0, 2400)
    assert found.orders > 100
    assert found.loop_lag_p99_ms > 0
