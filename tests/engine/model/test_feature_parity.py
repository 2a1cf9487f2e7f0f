"""Training, replay and live see the same features, bit for bit: on real tapes, however events come in."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from engine.bars import SESSION_NS
from engine.events import MINUTE_NS, Bar, MarketEvent
from engine.model.card import FeatureSpec, Missing
from engine.model.features import FeatureSet
from tests.engine.model.tapes import (
    NEWS,
    PRICES,
    QUOTES,
    SESSIONS,
    Make,
    Tape,
    at_once,
    by_instant,
    coins,
    daily,
    differing,
    instants,
    minutes,
    symbols_of,
)  # fmt: skip

LOOKBACK = 20
DAILY_SYMBOLS = ("AAPL", "AGFS", "AMZN", "C", "GMRE", "GOOG", "KO", "XOM")


def maker(
    events: Tape, specs: tuple[FeatureSpec, ...], *, interval_ns: int = MINUTE_NS, calendar: str = "XNYS",
    missing: Missing = "carry",
) -> Make:  # fmt: skip
    """How to make the same features again and again."""
    symbols = symbols_of(events)
    return lambda block: FeatureSet(
        specs, symbols, interval_ns=interval_ns, lookback=LOOKBACK, missing=missing, sessions=SESSIONS[calendar],
        block=block,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stocks(shared_data: Path) -> Tape:
    return minutes(shared_data)


@pytest.fixture(scope="module")
def days(shared_data: Path) -> Tape:
    return daily(shared_data, DAILY_SYMBOLS)


@pytest.fixture(scope="module")
def crypto(shared_data: Path) -> Tape:
    return coins(shared_data)


@pytest.mark.parametrize("missing", ["carry", "mask", "refuse"])
def test_minute_features_of_every_instant_equal_those_of_the_whole_tape(stocks: Tape, missing: Missing) -> None:
    """24 stocks, five days, sparse funds among them, filings in between: no window differs in any bit."""
    make = maker(stocks, PRICES + NEWS[2:], missing=missing)
    whole = at_once(make, stocks)
    assert len(whole) > {"carry": 40_000, "mask": 40_000, "refuse": 10_000}[missing]
    assert differing(by_instant(make, instants(stocks)), whole) == []


def test_daily_features_of_every_instant_equal_those_of_the_whole_tape(days: Tape) -> None:
    """Five years of daily bars with filings, tweets and their scores."""
    make = maker(days, PRICES + NEWS, interval_ns=SESSION_NS)
    whole = at_once(make, days)
    assert len(whole) > 7_000
    assert differing(by_instant(make, instants(days)), whole) == []


def test_quote_features_of_every_instant_equal_those_of_the_whole_tape(crypto: Tape) -> None:
    """Coins around the clock: a bar takes the last quote that was known before it, in whatever steps."""
    make = maker(crypto, QUOTES, calendar="24/7")
    whole = at_once(make, crypto)
    assert len(whole) > 10_000
    assert differing(by_instant(make, instants(crypto)), whole) == []


def test_the_size_of_a_batch_and_of_a_block_changes_nothing(stocks: Tape) -> None:
    """A batch may end anywhere, in the middle of an instant or days later: the last bar's window is the same."""
    make = maker(stocks, PRICES)
    some = stocks[:15_000]
    whole = at_once(make, some)
    dice = random.Random(4)
    for largest in (1, 30, 3_000):
        cut, batches = 0, []
        while cut < len(some):
            size = dice.randint(1, largest)
            batches.append(some[cut : cut + size])
            cut += size
        found = by_instant(make, batches)
        assert found
        assert differing(found, whole, only=found) == []
    assert differing(at_once(make, some, block=7), whole) == []


def test_the_order_of_symbols_and_bars_that_come_late_change_nothing(stocks: Tape) -> None:
    """Live, symbols interleave anyhow and some bars are minutes late; each symbol's own order is all that counts."""
    make = maker(stocks, PRICES + NEWS[2:])
    dice = random.Random(7)
    late: dict[str, int] = {}
    received: list[tuple[int, float, MarketEvent]] = []
    for event in stocks:
        moved = event
        if isinstance(event, Bar):
            delay_ns = dice.choice((0, 0, 0, 30_000_000, 61_000_000_000, 200_000_000_000))
            late[event.symbol] = max(late.get(event.symbol, 0) + 1, event.ts_recv_ns + delay_ns)
            moved = msgspec.structs.replace(event, ts_recv_ns=late[event.symbol])
        received.append((moved.ts_recv_ns, dice.random(), moved))
    received.sort(key=lambda one: one[:2])
    shuffled = [event for *_, event in received]
    whole = at_once(make, stocks)
    assert differing(at_once(make, shuffled), whole) == []
    found = by_instant(make, instants(shuffled))
    assert len(found) > 40_000
    assert differing(found, whole, only=found) == []


def test_a_run_that_begins_anywhere_sees_the_same_once_it_is_warm(stocks: Tape) -> None:
    """Live starts with a few bars of the past and training with years: the features remember no more than they say."""
    make = maker(stocks, PRICES)
    whole = at_once(make, stocks)
    for start in (1, 1_234, 20_000):
        found = at_once(make, stocks[start:])
        assert len(found) > 15_000
        assert differing(found, whole, only=found) == []


def test_the_company_of_other_symbols_changes_nothing(stocks: Tape) -> None:
    """One symbol alone gives the same as among all the others."""
    whole = at_once(maker(stocks, PRICES), stocks)
    for symbol in ("AAPL", "UGA"):
        alone = [event for event in stocks if event.symbol == symbol]  # type: ignore[union-attr]  # no news here
        found = at_once(maker(alone, PRICES), alone)
        assert differing(found, whole, only=[key for key in whole if key[1] == symbol]) == []


def test_a_tape_that_goes_on_changes_nothing_of_what_was(stocks: Tape) -> None:
    """What a week gives is the same when another day is appended: nothing is scaled by what comes later."""
    make = maker(stocks, PRICES)
    whole = at_once(make, stocks)
    found = at_once(make, stocks[:30_000])
    assert differing(found, whole, only=found) == []
