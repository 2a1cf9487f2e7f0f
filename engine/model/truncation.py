"""The test for look-ahead: what a pipeline said by an instant may not change when the tape ends at that instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.clock import to_datetime
from engine.events import Bar, MarketEvent
from engine.model.features import FeatureSet
from engine.model.history import Floats

Windows = Mapping[tuple[int, str], Floats]
"""What a model would see: by instant of the bar's close and symbol, any array."""
Pipeline = Callable[[Sequence[MarketEvent]], Windows]


def first_difference(pipeline: Pipeline, events: Sequence[MarketEvent], cuts_ns: Sequence[int]) -> str:
    """Run a pipeline over a whole tape and over the tape cut at each instant; say where they first differ, or "".

    A cut keeps what was known by then: events with `ts_recv_ns <= cut`. Everything that the pipeline makes of the cut
    tape must be in what it makes of the whole one, the same to the last bit, and nothing by then may be missing.
    """
    whole = pipeline(events)
    for cut_ns in cuts_ns:
        known = [event for event in events if event.ts_recv_ns <= cut_ns]
        bars = {(event.ts_event_ns, event.symbol) for event in known if type(event) is Bar}
        cut = pipeline(known)
        wanted = {key: value for key, value in whole.items() if key in bars}
        for key in sorted(wanted.keys() | cut.keys()):
            mine, theirs = cut.get(key), wanted.get(key)
            if mine is None or theirs is None or not np.array_equal(mine, theirs, equal_nan=True):
                return (
                    f"{key[1]} at {to_datetime(key[0]):%Y-%m-%d %H:%M} UTC changes when the tape ends at "
                    f"{to_datetime(cut_ns):%Y-%m-%d %H:%M}: the pipeline looks ahead"
                )
    return ""


def as_pipeline(make: Callable[[], FeatureSet]) -> Pipeline:
    """Return features as such a pipeline: `make` gives a fresh `FeatureSet` with `block` set."""

    def run(events: Sequence[MarketEvent]) -> Windows:
        features = make()
        for event in events:
            features.take(event)
        rows, ts_event_ns, _, windows = features.pull()
        symbols = [features.symbols[row] for row in rows.tolist()]
        return dict(zip(zip(ts_event_ns.tolist(), symbols, strict=True), windows.astype(np.float64), strict=True))

    return run
