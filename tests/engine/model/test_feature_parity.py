"""Training, replay and live see the same features, bit for bit: on real tapes, however events come in."""

from __future__ import annotations

import random
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.bars import SESSION_NS
from engine.events import DAY_NS, MINUTE_NS, Bar, Datum, MarketEvent
from engine.model.card import FeatureSpec, Missing
from engine.model.features import FeatureSet
from tests.engine.model.tapes import (
    NEWS,
    PRICES,
    QUOTES,
    SESSIONS,
    Make,
    Tape,
    Windows,
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
def whole(stocks: Tape) -> Windows:
    """What the whole week of minute bars gives in one go."""
    return at_once(maker(stocks, PRICES + NEWS[2:]), stocks)


@pytest.fixture(scope="module")
def days(shared_data: Path) -> Tape:
    return daily(shared_data, DAILY_SYMBOLS)


@pytest.fixture(scope="module")
def crypto(shared_data: Path) -> Tape:
    return coins(shared_data)


@pytest.mark.parametrize("missing", ["carry", "refuse"])
def test_minute_features_of_every_instant_equal_those_of_the_whole_tape(stocks: Tape, missing: Missing) -> None:
    """24 stocks, five days, sparse funds among them, filings in between: no window differs in any bit."""
    make = maker(stocks, PRICES + NEWS[2:], missing=missing)
    whole = at_once(make, stocks)
    assert len(whole) > {"carry": 40_000, "refuse": 10_000}[missing]
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


def test_the_size_of_a_batch_and_of_a_block_changes_nothing(stocks: Tape, whole: Windows) -> None:
    """A batch may end anywhere, in the middle of an instant or days later: the last bar's window is the same."""
    make, some = maker(stocks, PRICES + NEWS[2:]), stocks[:6_000]
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
    found = at_once(make, some, block=7)
    assert len(found) > 5_000
    assert differing(found, whole, only=found) == []


def test_the_order_of_symbols_and_bars_that_come_late_change_nothing(stocks: Tape, whole: Windows) -> None:
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
    assert differing(at_once(make, shuffled), whole) == []
    found = by_instant(make, [shuffled[at : at + 24] for at in range(0, len(shuffled), 24)])
    assert len(found) > 20_000
    assert differing(found, whole, only=found) == []


def test_a_run_that_begins_anywhere_sees_the_same_once_it_is_warm(stocks: Tape, whole: Windows) -> None:
    """Live starts with a few bars of the past and training with years: the features remember no more than they say."""
    make = maker(stocks, PRICES + NEWS[2:])
    known = [event for event in stocks if isinstance(event, Datum)]
    for start in (1_234, 20_000):
        found = at_once(make, [*known, *(event for event in stocks[start:] if isinstance(event, Bar))])
        assert len(found) > 15_000
        assert differing(found, whole, only=found) == []


def test_the_company_of_other_symbols_changes_nothing(stocks: Tape, whole: Windows) -> None:
    """One symbol alone gives the same as among all the others."""
    for symbol in ("AAPL", "UGA"):
        alone = [event for event in stocks if getattr(event, "symbol", "") == symbol]
        found = at_once(maker(alone, PRICES + NEWS[2:]), alone)
        assert differing(found, whole, only=[key for key in whole if key[1] == symbol]) == []


def test_a_tape_that_goes_on_changes_nothing_of_what_was(stocks: Tape, whole: Windows) -> None:
    """What four days give is the same when another one is appended: nothing is scaled by what comes later."""
    found = at_once(maker(stocks, PRICES + NEWS[2:]), stocks[:30_000])
    assert differing(found, whole, only=found) == []


@pytest.mark.long
def test_eleven_thousand_symbols_are_computed_well_within_an_instant() -> None:
    """Eight features over 60 bars, bars taken in and windows handed out: 25 ms of a free processor, the best of ten."""
    specs = (*PRICES[:2], *PRICES[4:6], *PRICES[7:11])
    symbols = [f"S{number}" for number in range(11_000)]
    features = FeatureSet(specs, symbols, interval_ns=MINUTE_NS, lookback=60, sessions=SESSIONS["24/7"])
    out, took_ms = np.empty((len(symbols), 8, 60), np.float32), []
    for minute in range(1, 95):
        ts_ns = 19_000 * DAY_NS + minute * MINUTE_NS
        bars = [Bar(symbol, ts_ns, ts_ns, 9.0, 9.1, 8.9, 9.0 + minute % 3, 7.0, MINUTE_NS) for symbol in symbols]
        begun_ns = time.process_time_ns()
        for bar in bars:
            features.take(bar)
        rows = features.close()
        features.windows(rows, out[: len(rows)])
        took_ms.append((time.process_time_ns() - begun_ns) / 1e6)
    assert len(rows) == len(symbols)
    assert min(took_ms[-10:]) < 50
