"""The rows of `onetape bench model`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.child import measured
from bench.figure import Figure

_measured = partial(measured, "bench.model.measure")

SYMBOLS, BARS = 100, 5_000
MARKET = 11_000
STAC_ML_GPU_GOAL_US = {"A": 100.0, "B": 150.0, "C": 2_000.0}
NO_ONNX = "ONNX Runtime's rows are left out: pip install onnx onnxruntime"
NO_GPU = "The rows of a GPU are left out: torch sees none here, so nothing of CUDA was run"


def model() -> Iterator[Figure | str]:
    """A backtest over bare forwards, the lane around a pass, a full market's minute, known shapes, lag, and a GPU."""
    yield from _backtest()
    yield from _overhead()
    yield from _stac()
    yield from _market("cpu")
    found = _measured("lag")
    name = f"event-loop lag p99 while passes of 5 ms run, {found['symbols']} symbols"
    yield Figure(name, found["p99_ms"], "ms", 5, 2)
    yield Figure("the same without a model", found["idle_p99_ms"], "ms")
    if _has_gpu():
        yield from _market("cuda")
        yield from _stac_on_gpu()
    else:
        yield NO_GPU


def _backtest() -> Iterator[Figure]:
    found = _measured("backtest", SYMBOLS, BARS)
    ours_s, batched_s, one_thread_s = (found[key] for key in ("backtest_s", "batched_s", "one_thread_s"))
    yield Figure(f"LSTM 2 x 32 over 60 x 8, {SYMBOLS} x {BARS:,} bars: the whole backtest", ours_s, "s")
    yield Figure(f"plain forwards of the same scores, threads that suit them: {found['threads']}", batched_s, "s")
    yield Figure("the backtest over them", ours_s / batched_s, "x", 1.5, 1.2)
    yield Figure("the backtest over plain forwards on one thread", ours_s / one_thread_s, "x")
    yield Figure("plain forwards bar by bar over the backtest", found["single_s"] / ours_s, "x", 5, 8, more=True)


def _overhead() -> Iterator[Figure]:
    found = _measured("overhead")
    yield Figure("lane around a pass of one symbol, p50", found["lane_us"], "us", 60, 25)
    yield Figure("the pass itself, one step", found["forward_us"], "us")
    yield Figure("its 8 features", found["features_us"], "us")


def _stac() -> Iterator[Figure | str]:
    for letter in STAC_ML_GPU_GOAL_US:
        found, name = _measured("stac", letter), f"STAC-ML {letter}"
        step_us = found["step_p99_us"]
        yield Figure(f"{name}, critical path, p50", found["step_p50_us"], "us")
        yield Figure(f"{name}, critical path, p99", step_us, "us")
        yield Figure(f"{name}, read ahead after it, p50", found["ahead_p50_us"], "us")
        yield Figure(
            f"{name}, critical path over a whole window in TorchScript, p99", step_us / found["window_p99_us"], ""
        )
        if "onnx_p99_us" in found:
            yield Figure(f"{name}, whole window in ONNX Runtime, p99", found["onnx_p99_us"], "us")
            yield Figure(f"{name}, critical path over that, p99", step_us / found["onnx_p99_us"], "", 1 / 5, 1 / 20)
    if "onnx_p99_us" not in found:
        yield NO_ONNX


def _market(device: str) -> Iterator[Figure]:
    found = _measured("market", MARKET, device)
    where, bounds = ("", (1000.0, 350.0)) if device == "cpu" else (" on a GPU", (None, 25.0))
    name = f"{MARKET:,} symbols{where}, last bar to last signal"
    yield Figure(f"{name}, the worst minute", found["worst_ms"], "ms", *bounds)
    yield Figure(f"{name}, the first, which reads whole windows", found["first_ms"], "ms")


def _stac_on_gpu() -> Iterator[Figure]:
    for letter, goal_us in STAC_ML_GPU_GOAL_US.items():
        found = _measured("stac", letter, "cuda")
        name = f"STAC-ML {letter} on a GPU"
        yield Figure(f"{name}, critical path in a CUDA graph, p99", found["step_p99_us"], "us", None, goal_us)
        yield Figure(f"{name}, whole window in a CUDA graph, p99", found["window_p99_us"], "us")
        yield Figure(f"{name}, whole window eager, p99", found["eager_p99_us"], "us")
        yield Figure(f"{name}, eager over graph, p50", found["eager_p50_us"] / found["window_p50_us"], "x")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
