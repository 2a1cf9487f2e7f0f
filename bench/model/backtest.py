"""A whole backtest with a model, beside bare forward passes of the same file over the same windows.

The backtest is the one that a user runs: tape, decoding, features, lane, corridor, a strategy that hears every signal,
and the journal. Timed is the run, from its first event to the closed journal. It has all cores, and so have the plain
forwards: they run in such batches and on as many threads as are fastest here. In turns, and each side counts with its
best round.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import bars
from bench.model.files import lstm_file, plain_network
from engine import Signal, Strategy
from engine.config import from_dict
from engine.journal import Journal
from engine.model.bundle import Bundle, open_bundle
from engine.model.features import FeatureSet
from engine.run import Run

Floats = NDArray[np.float32]

ROUNDS = 3
BATCHES = (256, 1024, 4096)
TRIED_WINDOWS = 40_960
SINGLE_WINDOWS = 10_000
"""So many bars are scored one by one; the time of all of them follows from theirs."""
TOLERANCE = 1e-4


class Listener(Strategy):
    """Hears every signal, and adds up what it hears."""

    def on_start(self) -> None:
        self.heard, self.total = 0, 0.0

    def on_signal(self, signal: Signal) -> None:
        self.heard += 1
        self.total += signal.score


def compare(n_symbols: int, n_bars: int) -> dict[str, Any]:
    """Measure the backtest, batched forwards, and forwards of one window each.

    Raises:
        ValueError: the backtest did not come to the scores of the forwards.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, tape = lstm_file(folder), folder / "bars.parquet"
        bars.write_tape(tape, bars.columns(n_symbols, n_bars))
        bundle = open_bundle(file, allowed=None, now_ns=0)
        network, windows = plain_network(bundle), windows_of(run_of(tape, file, folder), bundle)
        size, threads = fastest(network, windows[:TRIED_WINDOWS])
        one_thread_s = batched_s = single_s = backtest_s = float("inf")
        for _ in range(ROUNDS):
            one_thread_s = min(one_thread_s, forwards(network, windows, BATCHES[0])[0])
            seconds, scores = forwards(network, windows, size, threads)
            batched_s = min(batched_s, seconds)
            single_s = min(single_s, forwards(network, windows[:SINGLE_WINDOWS], 1)[0])
            seconds, heard = backtest(run_of(tape, file, folder))
            backtest_s = min(backtest_s, seconds)
            check_scores(heard, scores)
    batched_s, single_s = min(batched_s, one_thread_s), single_s * len(windows) / len(windows[:SINGLE_WINDOWS])
    return {
        "scores": len(windows), "backtest_s": backtest_s, "batched_s": batched_s, "one_thread_s": one_thread_s,
        "single_s": single_s, "threads": threads,
    }  # fmt: skip


def run_of(tape: Path, file: Path, folder: Path) -> Run:
    """Return the backtest of a model file on a tape, ready to begin."""
    path = folder / "bench.journal"
    path.unlink(missing_ok=True)
    tree = {
        "mode": "replay", "name": "bench", "seed": bars.SEED, "calendar": "24/7", "out_dir": str(folder),
        "feed": {"use": "replay", "paths": [str(tape)]}, "broker": {"use": "paper", "cash_usd": "100000"},
        "models": [{"name": "lstm", "file": str(file), "device": "cpu"}],
        "strategies": [{"name": "listener", "use": "bench.model.backtest:Listener", "symbols": "*"}],
        "risk": {"profile": "wide"},
    }  # fmt: skip
    return Run(from_dict(tree), Journal(path, durability="batch"))


def backtest(run: Run) -> tuple[float, Listener]:
    """Go through a run; return its seconds and its strategy."""
    started = time.perf_counter()
    run.replay()
    seconds = time.perf_counter() - started
    listener: Any = run.core.strategies["listener"]
    return seconds, listener


def windows_of(run: Run, bundle: Bundle) -> Floats:
    """Return every window that a run's tape has for a model, normalized: `[n, feature, lookback]`."""
    features = FeatureSet.for_card(bundle.card, run.feed.symbols, block=64)
    feed: Any = run.feed
    for batch in feed.batches():
        for event in batch:
            features.take(event)
    windows = features.pull().windows
    return bundle.card.normalization.apply(windows, windows)


def fastest(network: Any, windows: Floats) -> tuple[int, int]:
    """Return the size of batches and the number of threads with which a network is fastest."""
    tried = [(size, threads) for threads in (1, os.cpu_count() or 1) for size in BATCHES]
    return min(tried, key=lambda one: forwards(network, windows, *one)[0])


def forwards(network: Any, windows: Floats, size: int, threads: int = 1) -> tuple[float, Floats]:
    """Score windows in batches with nothing around the network; return the seconds and the outputs."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as the lane's threads do
    started = time.perf_counter()
    with torch.inference_mode():
        found = [network(torch.from_numpy(windows[i : i + size])) for i in range(0, len(windows), size)]
    seconds = time.perf_counter() - started
    torch.set_flush_denormal(False)
    return seconds, torch.cat(found).numpy()


def check_scores(listener: Listener, scores: Floats) -> None:
    """See that a backtest scored what the forwards did.

    Raises:
        ValueError: it did not.
    """
    mean, wanted = listener.total / max(1, listener.heard), float(scores.mean(dtype=np.float64))
    if listener.heard != len(scores) or abs(mean - wanted) > TOLERANCE * float(np.abs(scores).mean()):
        raise ValueError(f"{listener.heard:,} signals of mean {mean}, and {len(scores):,} scores of mean {wanted}")
