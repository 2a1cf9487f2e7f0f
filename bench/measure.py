"""One measurement a call, in a process of its own, as one JSON line: `python -m bench.measure replay 1 500000`.

A replay is measured from an opened tape to a closed journal: decoding, corridor, all controls with wide limits, orders,
fills, books and the journal on disk. The bare loop runs beside it in the same process, in turns, and each side counts
with its best time, because a busy machine only ever adds to one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import bars
from bench.child import answer, measured

ROUNDS = 5


def run_config(tape: Path, folder: Path, *, trades: bool = True) -> dict[str, Any]:
    """Return the run that is measured."""
    return {
        "mode": "replay", "name": "bench", "seed": 7, "calendar": "24/7", "out_dir": str(folder),
        "feed": {"use": "replay", "paths": [str(tape)]},
        "broker": {
            "use": "paper", "cash_usd": "1000000000", "account": "cash", "participation": 1.0, "fees": "zero",
        },
        "strategies": [{
            "name": "cross", "use": "bench.rule:BenchCross", "symbols": "*", "params": {"trades": trades},
        }],
        "risk": {"profile": "wide"},
    }  # fmt: skip


def engine_once(tape: Path, folder: Path, *, trades: bool = True) -> dict[str, Any]:
    """Replay a tape through the engine once; return its seconds and counts."""
    from engine.config import from_dict
    from engine.journal import Journal
    from engine.run import Run

    path = folder / "bench.journal"
    path.unlink(missing_ok=True)
    run = Run(from_dict(run_config(tape, folder, trades=trades)), Journal(path, durability="batch"))
    started = time.perf_counter()
    run.replay()
    seconds = time.perf_counter() - started
    strategy: Any = run.core.strategies["cross"]
    return {
        "seconds": seconds, "bars": run.core.events, "decisions": strategy.decided,
    }  # fmt: skip


def replay(n_symbols: int, n_bars: int) -> dict[str, Any]:
    """Compare the engine with the bare loop on the same bars."""
    from bench.rule import bare_loop

    data = bars.columns(n_symbols, n_bars)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bars.write_tape(folder / "bars.parquet", data)
        best: dict[str, Any] = {}
        bare = float("inf")
        for _ in range(ROUNDS):
            bare = min(bare, _seconds(lambda: bare_loop(data)))
            once = engine_once(folder / "bars.parquet", folder)
            best = min(best or once, once, key=lambda run: run["seconds"])
        idle = min((engine_once(folder / "bars.parquet", folder, trades=False) for _ in range(ROUNDS)), key=_time)
    return {
        "symbols": n_symbols, "bars": best["bars"], "orders": best["decisions"],
        "bars_per_s": best["bars"] / best["seconds"], "bare_bars_per_s": best["bars"] / bare,
        "share_of_bare": bare / best["seconds"],
        "order_us": (best["seconds"] - idle["seconds"]) / best["decisions"] * 1e6,
    }  # fmt: skip


def scale(n_symbols: int, n_bars: int, repeat: int = 1) -> dict[str, Any]:
    """Measure the cost of a bar, to us and to the bare loop, and the memory that a long replay takes."""
    started_kb = peak_kb()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tape = folder / "bars.parquet"
        # In a process of its own, so that its memory is not counted here.
        measured("bench.measure", "tape", str(tape), n_symbols, n_bars, repeat)
        rounds = ROUNDS if repeat == 1 else 1
        best = min((engine_once(tape, folder) for _ in range(rounds)), key=_time)
    used_mb = (peak_kb() - bare_interpreter_kb()) / 1024
    found = {
        "symbols": n_symbols, "bars": best["bars"], "bar_us": best["seconds"] / best["bars"] * 1e6,
        "memory_mb": used_mb, "start_mb": started_kb / 1024,
    }  # fmt: skip
    if repeat == 1:
        from bench.rule import bare_loop

        data = bars.columns(n_symbols, n_bars)
        found["bare_us"] = min(_seconds(lambda: bare_loop(data)) for _ in range(ROUNDS)) / best["bars"] * 1e6
    return found


def tape(path: str, n_symbols: int, n_bars: int, repeat: int) -> dict[str, Any]:
    """Write a tape."""
    return {"bars": bars.write_tape(Path(path), bars.columns(n_symbols, n_bars), repeat=repeat)}


PEAK = "print(next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def bare_interpreter_kb() -> int:
    """Return the peak memory of an interpreter that does nothing."""
    import subprocess

    # Not getrusage: a child's begins with what its parent had when it forked.
    return int(subprocess.run([sys.executable, "-I", "-c", PEAK], capture_output=True, check=True, text=True).stdout)


def peak_kb() -> int:
    """Return the peak memory of this process."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _time(run: dict[str, Any]) -> float:
    return float(run["seconds"])


if __name__ == "__main__":
    answer({"replay": replay, "scale": scale, "tape": tape})
