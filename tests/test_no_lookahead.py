"""Nothing that comes later changes what was decided before: not its prices, not its times, not that it comes at all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.config import from_dict
from engine.events import DAY_NS, Bar, MarketEvent, Quote, RunEnded, RunStarted, Snapshot, Trade
from engine.journal import encode
from engine.run import Run
from tests.runs import OPEN_NS, HeldFeed, busy, configuration, kept_journal, market

MINUTES = 90
TAPE = market(5, MINUTES)
LOSSES = {"strategy_daily_loss_percent": "0.005"}
SUMMARIES = (RunStarted, RunEnded, Snapshot)
"""They say how long the tape is, or are taken as often as suits that; nothing is decided by them."""


def decided_by(ts_ns: int, events: Sequence[MarketEvent], **over: Any) -> list[bytes]:
    """Run over events; return everything that was recorded by a time, byte for byte."""
    more = busy()
    more["strategies"][0]["params"]["busy"] = 60
    made_ns: list[int] = []  # which is not when a record says that something happened
    ledger, records = kept_journal(lambda _record: made_ns.append(run.core.now_ns))
    run = Run(from_dict(configuration(HeldFeed.hold(events), risk=LOSSES, **more, **over)), ledger)
    run.replay()
    HeldFeed.held.clear()
    made = zip(records, made_ns, strict=True)
    return [encode(record) for record, when_ns in made if when_ns <= ts_ns and not isinstance(record, SUMMARIES)]


def prices_changed(events: Sequence[MarketEvent], dice: random.Random) -> list[MarketEvent]:
    """Give every event another price, each its own."""
    changed: list[MarketEvent] = []
    for event in events:
        by = dice.uniform(0.5, 1.5)
        if isinstance(event, Bar):
            opened, close = round(event.open * by, 2), round(event.close * dice.uniform(0.5, 1.5), 2)
            high, low = max(opened, close) + 1, max(0.01, min(opened, close) - 1)
            event = replace(event, open=opened, close=close, high=high, low=low, volume=float(dice.randint(0, 9_999)))
        elif isinstance(event, Quote):
            event = replace(
                event, bid_price=round(event.bid_price * by, 2), ask_price=round(event.ask_price * by, 2) + 1
            )
        elif isinstance(event, Trade):
            event = replace(event, price=round(event.price * by, 2))
        changed.append(event)
    return changed


def shifted(events: Sequence[MarketEvent], by_ns: int) -> list[MarketEvent]:
    """Let every event happen and be known later."""
    return [
        replace(event, ts_event_ns=event.ts_event_ns + by_ns, ts_recv_ns=event.ts_recv_ns + by_ns) for event in events
    ]


@settings(max_examples=50, deadline=None)
@given(
    second=st.integers(0, MINUTES * 60 - 1),  # at the tape's last instant, time itself ends
    kind=st.sampled_from(["prices", "shift", "gone", "more"]),
    seed=st.integers(0, 2**32),
)
def test_what_comes_after_an_instant_changes_no_decision_before_it(second: int, kind: str, seed: int) -> None:
    """Other prices, all of it later by minutes or weeks, none of it, or far more: the past stays as it was."""
    dice = random.Random(seed)
    ts_ns = OPEN_NS + second * 10**9
    past = [event for event in TAPE if event.ts_recv_ns <= ts_ns]
    future = [event for event in TAPE if event.ts_recv_ns > ts_ns]
    if kind == "prices":
        future = prices_changed(future, dice)
    elif kind == "shift":
        future = shifted(future, dice.choice([1, 60, 3_600, 86_400, 40 * 86_400]) * dice.randint(1, 50) * 10**9)
    elif kind == "gone":
        future = shifted(future[-1:], DAY_NS)  # without a later event, time itself would end there
    else:
        future += shifted(prices_changed(TAPE, dice), dice.randint(1, 900) * DAY_NS)
    assert decided_by(ts_ns, [*past, *future]) == decided_by(ts_ns, TAPE)


def test_there_is_something_to_decide_on_the_tape_of_these_tests() -> None:
    """Orders, fills, denials and a strategy that is stopped for its loss, or the property would be of little."""
    text = b"\n".join(decided_by(OPEN_NS + DAY_NS, TAPE))
    for kind in (b"Approved", b"Fill", b"Denied", b"OrderUpdate", b"CancelRequest", b"StrategyHalted"):
        assert text.count(b'"event":"' + kind) >= 1, kind
