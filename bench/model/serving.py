"""What a model adds to a live feed: around a pass, at a full market's minute, and to the lag of the event loop."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.model.desk import Desk, in_loop, minutes
from bench.model.files import LSTM, lstm_file, plain_network
from engine.model.bundle import open_bundle
from engine.model.features import FeatureSet

WARM_CALLS, CALLS = 256, 3_000
MINUTES = 10
PASS_MS, PASSES, TICK_S = 5.0, 400, 0.001


def overhead() -> dict[str, Any]:
    """Measure what the lane adds to a pass over one symbol in the event loop.

    `call` is from a bar's arrival at the stage to its published signal. `forward` is the network's own work for that
    bar, on arrays that are there: the window is pre-rolled, so it is one step and a readout by the network's cells.
    `features` is a feature set by itself on the same bar. All three are measured for each bar, one after the other.
    `lane` is what is left of the call without the other two: closing the instant, the window, its newest bar's
    normalization, whether it is the one foreseen, the verdict, the signal.
    """
    return in_loop(_overhead())


async def _overhead() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        file, told = lstm_file(Path(name)), []
        desk = Desk(file, 1, lambda _: told.append(time.perf_counter_ns()))
        scorer = desk.one.lane.scorer
        bars = minutes(1, scorer.features.warm_up_bars + WARM_CALLS + CALLS)
        features = FeatureSet.for_card(scorer.card, scorer.symbols)
        cells = scorer.backend.cells
        assert cells is not None
        newest, state, foreseen = (
            np.zeros((1, n), np.float32) for n in (LSTM.features, scorer.backend.state_size, cells.gates)
        )
        await desk.start(bars)
        took: dict[str, list[int]] = {"call": [], "features": [], "forward": []}
        for [bar] in bars:
            desk.one.inline = True  # whatever a busy machine made of its first passes
            begun_ns = time.perf_counter_ns()
            desk.stage.take(bar)
            took["call"].append(told.pop() - begun_ns)
            begun_ns = time.perf_counter_ns()
            features.take(bar)
            features.close()
            took["features"].append(time.perf_counter_ns() - begun_ns)
            begun_ns = time.perf_counter_ns()
            cells.readout(cells.step(newest, state, foreseen))
            took["forward"].append(time.perf_counter_ns() - begun_ns)
        desk.stage.shut()
    found = {f"{key}_us": float(np.median(values[WARM_CALLS:])) / 1e3 for key, values in took.items()}
    return found | {"lane_us": found["call_us"] - found["features_us"] - found["forward_us"]}


def market(n_symbols: int, device: str = "cpu") -> dict[str, Any]:
    """Measure full-market minutes: from the arrival of the last bar to the last published signal.

    `first` is a minute whose windows have all to be read whole, as after a start; the worst of those that follow
    counts. Between two minutes there is time to read ahead.
    """
    return in_loop(_market(n_symbols, device))


async def _market(n_symbols: int, device: str) -> dict[str, Any]:
    signals: list[Any] = []
    last_ms = []
    with tempfile.TemporaryDirectory() as name:
        desk = Desk(lstm_file(Path(name)), n_symbols, signals.append, device=device)
        bars = minutes(n_symbols, desk.one.lane.scorer.features.warm_up_bars + MINUTES)
        await desk.start(bars)
        for minute in bars:
            signals.clear()
            await desk.take(minute[:-1])
            begun = time.perf_counter()
            desk.stage.take(minute[-1])
            while len(signals) < n_symbols:
                await asyncio.sleep(TICK_S / 4)
            last_ms.append((time.perf_counter() - begun) * 1e3)
            await desk.one.idle.wait()
        desk.stage.shut()
    return {"first_ms": last_ms[0], "worst_ms": max(last_ms[1:]), "p50_ms": float(np.median(last_ms[1:]))}


def lag() -> dict[str, Any]:
    """Measure how late the event loop comes to a timer of 1 ms while passes of 5 ms run one after the other.

    The LSTM reads whole windows of as many symbols as it takes to be that long. Their bars come frame by frame, so the
    lag holds all that the loop has to do for the model too: features, and a signal for each symbol.
    """
    return in_loop(_lag())


async def _lag() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        file = lstm_file(Path(name), "stateless")
        n_symbols = _symbols_for(PASS_MS, plain_network(open_bundle(file, allowed=None, now_ns=0)))
        desk = Desk(file, n_symbols, lambda _: None)
        bars = minutes(n_symbols, desk.one.lane.scorer.features.warm_up_bars + PASSES)
        await desk.start(bars)
        idle_ms = await _lags_ms(asyncio.sleep(1.0))
        lags_ms = await _lags_ms(_passes(desk, bars))
        desk.stage.shut()
    return {
        "symbols": n_symbols, "passes": desk.one.counts["passes"], "p99_ms": float(np.percentile(lags_ms, 99)),
        "idle_p99_ms": float(np.percentile(idle_ms, 99)), "ticks": len(lags_ms),
    }  # fmt: skip


def _symbols_for(pass_ms: float, network: Any) -> int:
    """Return how many symbols make a pass so long on this machine."""
    windows = torch.zeros(256, LSTM.features, LSTM.lookback)
    took = []
    with torch.inference_mode():
        for _ in range(20):
            begun = time.perf_counter()
            network(windows)
            took.append(time.perf_counter() - begun)
    return round(256 * pass_ms / 1e3 / min(took))


async def _passes(desk: Desk, bars: Any) -> None:
    for minute in bars:
        await desk.take(minute)
        await desk.one.idle.wait()


async def _lags_ms(work: Any) -> list[float]:
    """Return how late a timer came while some work was done, in ms."""
    late_ms, task = [], asyncio.ensure_future(work)
    while not task.done():
        begun = time.perf_counter()
        await asyncio.sleep(TICK_S)
        late_ms.append((time.perf_counter() - begun - TICK_S) * 1e3)
    await task
    return late_ms
