"""How often a run's account is written down between its decisions."""

from __future__ import annotations

from engine.events import DAY_NS, HOUR_NS, MINUTE_NS

SAMPLES, FEWEST_SAMPLES = 1000, 25
SAMPLE_STEPS_NS = (
    MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS, 30 * MINUTE_NS, HOUR_NS, 2 * HOUR_NS, 4 * HOUR_NS, 8 * HOUR_NS,
)  # fmt: skip
SESSIONS_WITH_SAMPLES_MAX = 400
LIVE_SAMPLE_NS = 5 * MINUTE_NS


def sample_ns(span_ns: tuple[int, int], n_symbols: int, *, always_open: bool) -> int:
    """Return the interval of snapshots that gives about `SAMPLES` of them; 0 means each session's end is enough.

    A snapshot values every position, so there are fewer of them the more symbols there are.
    """
    days = (span_ns[1] - span_ns[0]) / DAY_NS
    if days > (SESSIONS_WITH_SAMPLES_MAX if always_open else SESSIONS_WITH_SAMPLES_MAX * 1.45):
        return 0
    samples = min(SAMPLES, max(FEWEST_SAMPLES, 25 * SAMPLES // max(1, n_symbols)))
    open_ns = days * DAY_NS if always_open else days * 5 / 7 * 16 * HOUR_NS
    return next((step for step in SAMPLE_STEPS_NS if open_ns / step <= samples), SAMPLE_STEPS_NS[-1])
