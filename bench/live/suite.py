"""The rows of `onetape bench live`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import ingest
from bench.figure import Figure, is_compiled
from bench.live import latency, market

BURSTS, TICKS = 10, 100
MARKET, MINUTES = 11_000, 6
SESSION_MINUTES, LONG_SESSION_MINUTES = 10, 120


def live(*, long: bool) -> Iterator[Figure]:
    """Decoding, tick to order beside two peers, a full market's minute, and a session at twice that."""
    yield from _decoding()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _tick_to_order(folder / "ticks")
        yield from _market(folder, long=long)


def _decoding() -> Iterator[Figure]:
    for size in (10, 500):
        found = ingest.compare(size)
        name = f"decode and dispatch, {size} bars a frame"
        yield Figure(name, found["ours_per_s"], "bars/s")
        yield Figure(f"{name}, ratio to alpaca-py", found["ratio_to_parsed"], "x", 10, 20, more=True)


def _tick_to_order(folder: Path) -> Iterator[Figure]:
    sides = ["onetape", "plain", "minimal"] + (["interpreted"] if is_compiled() else [])
    found = latency.compare(folder, sides, bursts=BURSTS, ticks=TICKS)
    plain, minimal = found["plain"], found["minimal"]
    for side, name in (("plain", "plain alpaca-py"), ("minimal", "three libraries, no engine")):
        for share in ("p50", "p99"):
            yield Figure(f"tick to order, {name}, {share}", getattr(found[side], f"{share}_us"), "us")
    for side in ("onetape", "interpreted"):
        if side not in found:
            continue
        ours, name = found[side], "tick to order" if side == "onetape" else "tick to order, interpreted"
        yield Figure(f"{name}, p50", ours.p50_us, "us")
        yield Figure(f"{name}, p99", ours.p99_us, "us")
        yield Figure(f"{name}, share of plain alpaca-py, p50", ours.p50_us / plain.p50_us, "", 1 / 2, 1 / 3)
        yield Figure(f"{name}, share of plain alpaca-py, p99", ours.p99_us / plain.p99_us, "", None, 1 / 2)
        yield Figure(f"{name}, over the three libraries, p50", ours.p50_us - minimal.p50_us, "us", 60, 25)
        yield Figure(f"{name}, over the three libraries, p99", ours.p99_us - minimal.p99_us, "us", None, 80)


def _market(folder: Path, *, long: bool) -> Iterator[Figure]:
    minutes = LONG_SESSION_MINUTES if long else SESSION_MINUTES
    last_ms = market.last_decision_ms(folder / "minute", MARKET, MINUTES)
    yield Figure(f"{MARKET:,} bars in a second, last frame to last order", last_ms, "ms", 250, 100)
    found = market.session(folder / "session", 2 * MARKET, minutes)
    name = f"{minutes} minutes of {2 * MARKET:,} bars"
    if long:  # ten minutes are too few for growth to say anything
        yield Figure(f"{name}, memory growth", found.memory_growth_percent, "%", 5, 2)
    yield Figure(f"{name}, order events lost of {found.orders:,} orders", found.events_lost, "", 0, 0)
    yield Figure(f"{name}, loop lag p99 at most", found.loop_lag_p99_ms, "ms", 20, 10)
