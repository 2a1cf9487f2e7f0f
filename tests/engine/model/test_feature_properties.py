"""Features over invented tapes full of gaps, splits, quotes and news: the way events come in changes nothing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clock import Sessions
from engine.events import DAY_NS, MINUTE_NS, SECOND_NS, Bar, CorporateAction, Datum, MarketEvent, News, Quote
from engine.model.card import FeatureSpec, Missing
from engine.model.features import FeatureSet
from tests.engine.model.tapes import Tape, at_once, by_instant, differing

SYMBOLS = ("A", "B", "C")
SPECS = (
    FeatureSpec("returns", {"horizon": 2}), FeatureSpec("volatility", {"window": 4}), FeatureSpec("age"),
    FeatureSpec("ma_distance", {"window": 3}), FeatureSpec("volume_z", {"window": 3}), FeatureSpec("time_of_day"),
    FeatureSpec("news_count", {"window_s": 300}), FeatureSpec("filing_age", {"window_s": 600}),
    FeatureSpec("news_score", {"of": "scorer", "window_s": 400.0}),
)  # fmt: skip
WITH_QUOTES = (*SPECS, FeatureSpec("spread"), FeatureSpec("imbalance"))
ROUND_THE_CLOCK = Sessions("24/7")
START_NS = 19_000 * DAY_NS + 23 * 60 * MINUTE_NS  # midnight is an hour away

price = st.floats(0.5, 500.0)
kind = st.sampled_from(["bar"] * 8 + ["quote", "news", "filing", "score", "split", "everybody"])


@st.composite
def tapes(draw: st.DrawFn) -> Tape:
    """Bars of three symbols, each with holes of its own, and everything else in between."""
    now_ns, closed = START_NS, dict.fromkeys(SYMBOLS, START_NS)
    events: Tape = []
    for _ in range(draw(st.integers(10, 120))):
        symbol, what = draw(st.sampled_from(SYMBOLS)), draw(kind)
        now_ns += draw(st.sampled_from([0, 0, SECOND_NS, 40 * SECOND_NS]))
        one = draw(price)
        if what == "bar":
            closed[symbol] += draw(st.sampled_from([1, 1, 1, 1, 2, 3, 40])) * MINUTE_NS
            now_ns = max(now_ns, closed[symbol])
            bar = Bar(symbol, closed[symbol], now_ns, one, one * 1.1, one * 0.9, one, draw(price), MINUTE_NS)
            events.append(bar)
        elif what == "quote":
            events.append(Quote(symbol, now_ns, now_ns, one, draw(price), one * 1.01, draw(price)))
        elif what == "split":
            events.append(CorporateAction(symbol, now_ns, now_ns, "split", draw(st.integers(1, 7)), 3))
        elif what == "filing":
            events.append(Datum("filing", now_ns, now_ns, symbol, text="8-K"))
        elif what == "score":
            events.append(Datum("scorer", now_ns - 90 * SECOND_NS, now_ns, symbol, one))
        else:
            events.append(News(now_ns, now_ns, "words", () if what == "everybody" else (symbol,)))
    return events


def made(block: int, missing: Missing, specs: tuple[FeatureSpec, ...]) -> FeatureSet:
    return FeatureSet(
        specs, SYMBOLS, interval_ns=MINUTE_NS, lookback=3, missing=missing, sessions=ROUND_THE_CLOCK, block=block
    )


@settings(max_examples=40, deadline=None)
@given(
    events=tapes(), missing=st.sampled_from(["carry", "mask", "refuse"]), specs=st.sampled_from([SPECS, WITH_QUOTES]),
    block=st.integers(1, 5), cuts=st.sets(st.integers(0, 120)),
)  # fmt: skip
def test_batches_and_blocks_of_any_size_give_the_same_bits(
    events: Tape, missing: Missing, specs: tuple[FeatureSpec, ...], block: int, cuts: set[int]
) -> None:
    """Whole tape, small blocks, batches that end anywhere: also between a bar and the news that follows it."""

    def make(size: int) -> FeatureSet:
        return made(size, missing, specs)

    whole = at_once(make, events)
    assert differing(at_once(make, events, block), whole) == []
    edges = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    found = by_instant(make, [events[one:other] for one, other in pairwise(edges)])
    assert differing(found, whole, only=found) == []
    assert differing(by_instant(make, [[event] for event in events]), whole) == []


@settings(max_examples=40, deadline=None)
@given(events=tapes(), missing=st.sampled_from(["carry", "mask", "refuse"]), start=st.integers(0, 60))
def test_a_later_start_gives_the_same_bits_once_warm(events: Tape, missing: Missing, start: int) -> None:
    """Bars that the run did not see have no part in what it says; facts and quotes of before are told again."""

    def make(size: int) -> FeatureSet:
        return made(size, missing, WITH_QUOTES)

    whole = at_once(make, events)
    known = [event for event in events[:start] if not isinstance(event, Bar)]
    found = at_once(make, [*known, *events[start:]])
    assert differing(found, whole, only=found) == []


@settings(max_examples=40, deadline=None)
@given(events=tapes(), cut=st.integers(1, 119))
def test_what_comes_later_changes_nothing_of_what_was(events: Tape, cut: int) -> None:
    """The tape cut anywhere gives a part of what the whole tape gives."""

    def make(size: int) -> FeatureSet:
        return made(size, "carry", WITH_QUOTES)

    whole, found = at_once(make, events), at_once(make, events[:cut])
    assert differing(found, whole, only=found) == []
    bars = {(event.ts_event_ns, event.symbol) for event in events[:cut] if isinstance(event, Bar)}
    assert found.keys() == whole.keys() & bars


def shuffled_between_symbols(events: Tape, order: list[str]) -> Tape:
    """The same events, each symbol's in its own order, but its turns as `order` says; nothing concerns everybody."""
    queues: dict[str, list[MarketEvent]] = {symbol: [] for symbol in SYMBOLS}
    for event in events:
        if isinstance(event, News):
            if event.symbols:
                queues[event.symbols[0]].append(event)
        else:
            queues[event.symbol].append(event)
    mixed: Tape = []
    for symbol in order:
        mixed += queues[symbol][:1]
        del queues[symbol][:1]
    return mixed + [event for queue in queues.values() for event in queue]


@settings(max_examples=30, deadline=None)
@given(events=tapes(), order=st.lists(st.sampled_from(SYMBOLS), max_size=120))
def test_any_interleaving_of_symbols_gives_the_same_bits(events: Tape, order: list[str]) -> None:
    """One symbol far ahead of another, as on a slow line."""

    def make(size: int) -> FeatureSet:
        return made(size, "carry", WITH_QUOTES)

    one = at_once(make, shuffled_between_symbols(events, []))
    assert differing(at_once(make, shuffled_between_symbols(events, order)), one) == []
