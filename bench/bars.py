"""The bars of every comparison: a seeded random walk in cents, the same numbers for each side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MINUTE_NS = 60_000_000_000
FIRST_OPEN_NS = 1_704_067_200 * 10**9
SEED = 7

Columns = dict[str, np.ndarray]


def columns(n_symbols: int, n_bars: int) -> Columns:
    """Return minute bars of `n_symbols` random walks.

    Shapes: `ts` [bar] int64, ns at the bar's open; `o h l c v` [bar, symbol] float64, dollars and shares.
    """
    rng = np.random.default_rng(SEED)
    close = np.maximum(1000, 10_000 + rng.integers(-10, 11, size=(n_bars, n_symbols)).cumsum(0))
    before = np.vstack([close[:1], close[:-1]])
    high = np.maximum(before, close) + rng.integers(0, 8, size=close.shape)
    low = np.minimum(before, close) - rng.integers(0, 8, size=close.shape)
    volume = rng.integers(100, 10_000, size=close.shape).astype(np.float64)
    ts = FIRST_OPEN_NS + np.arange(n_bars, dtype=np.int64) * MINUTE_NS
    return {"ts": ts, "o": before / 100, "h": high / 100, "l": low / 100, "c": close / 100, "v": volume}


def symbols(n_symbols: int) -> list[str]:
    """Return the names of the walks."""
    return [f"S{index:04d}" for index in range(n_symbols)]


def write_npz(path: Path, data: Columns) -> None:
    """Write the bars for the peers' scripts."""
    np.savez(path, **data)  # type: ignore[arg-type]  # numpy's stubs want the arrays one by one


def write_tape(path: Path, data: Columns, *, repeat: int = 1) -> int:
    """Write the bars as a tape, `repeat` times one after the other in time; return their number."""
    import pyarrow as pa

    from brokers.tape.writer import TapeWriter

    n_bars, n_symbols = data["c"].shape
    names = symbols(n_symbols)
    step = max(1, 65_536 // n_symbols)
    wanted = ("symbol", "ts_event_ns", "ts_recv_ns", "open", "high", "low", "close", "volume", "interval_ns")
    with TapeWriter(path, "bar", names=wanted, calendar="24/7", note="synthetic random walk") as tape:
        for again in range(repeat):
            shift = MINUTE_NS * (1 + again * n_bars)
            for first in range(0, n_bars, step):
                last = min(n_bars, first + step)
                closes = np.repeat(data["ts"][first:last] + shift, n_symbols)
                columns = {
                    "symbol": pa.array(names * (last - first)), "ts_event_ns": closes, "ts_recv_ns": closes,
                    **{name: data[name[0]][first:last].ravel() for name in wanted[3:8]},
                    "interval_ns": np.full(len(closes), MINUTE_NS),
                }  # fmt: skip
                tape.write(pa.record_batch(columns))
    return n_bars * n_symbols * repeat
