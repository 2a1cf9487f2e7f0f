"""The shapes of STAC-ML Markets (Inference), one symbol: our critical path beside whole windows, here and elsewhere.

The benchmark's Tacana suite slides a window by one step an inference, and times neither the making of features nor what
is computed before the step is there. Nor do we: timed is `Scorer.outputs`, from a raw window to the network's answer,
with all but the last step read ahead. Every side sees the same windows on one thread, in turns of a tenth of them, so
that each finds its own weights in the caches and all find the same machine.
"""

from __future__ import annotations

import io
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.bars import SEED
from bench.model.files import stac_file
from engine.clock import Sessions
from engine.model.bundle import open_bundle
from engine.model.scorer import Scorer, scorer_of
from engine.model.states import Due
from research.networks import Shape, Trainable, parameter_count
from research.stac_ml import STAC_ML, stac_ml

Floats = NDArray[np.float32]
Side = Callable[[Due], Any]

WARM_CALLS = {"A": 256, "B": 256, "C": 10}
BLOCKS = 10
CALLS = {"A": 5_000, "B": 1_000, "C": 100}
"""The largest takes a good part of a second for a window on a CPU."""


def compare(letter: str, device: str = "cpu") -> dict[str, Any]:
    """Measure a network's step, what is read ahead after it, and whole windows; times are in us, p50 and p99.

    On a CPU `onnx` is ONNX Runtime, missing where it is not installed; on a GPU `eager` is without CUDA graphs.
    """
    with tempfile.TemporaryDirectory() as name:
        ahead = _scorer(stac_file(Path(name), letter), device)
        whole = _scorer(stac_file(Path(name), letter, "stateless"), device)
    sides: dict[str, Side] = {"step": ahead.outputs, "window": whole.outputs}
    if device == "cuda":
        sides["eager"] = _eager(letter)
    elif (session := in_onnx_runtime(stac_ml(letter).eval(), STAC_ML[letter][:2])) is not None:
        sides["onnx"] = session
    market = enumerate(windows(STAC_ML[letter], WARM_CALLS[letter] + CALLS[letter]))
    took: dict[str, list[int]] = {"ahead": [], **{side: [] for side in sides}}
    for number in range(BLOCKS + 1):
        count = CALLS[letter] // BLOCKS if number else WARM_CALLS[letter]
        block = list(islice(market, count))
        for name, side in sides.items():
            for at, window in block:
                took[name].append(_timed(side, due_of(at, window)))
                if name == "step":
                    took["ahead"].append(_timed(ahead.settle, due_of(at, window)))
    found: dict[str, Any] = {"parameters": parameter_count(stac_ml(letter)), "calls": CALLS[letter]}
    for name, each in took.items():
        p50, p99 = np.percentile(each[WARM_CALLS[letter] :], (50, 99)) / 1e3
        found |= {f"{name}_p50_us": float(p50), f"{name}_p99_us": float(p99)}
    return found


def windows(shape: Shape, count: int) -> Iterator[Floats]:
    """Yield a symbol's windows `[1, feature, lookback]`, each a bar later than the one before."""
    walk = np.random.default_rng(SEED).normal(size=(1, shape.features, shape.lookback + count)).astype(np.float32)
    for number in range(count):
        yield walk[:, :, number : number + shape.lookback]


def _scorer(file: Path, device: str) -> Scorer:
    scorer = scorer_of(open_bundle(file, allowed=None, now_ns=0), ("S",), Sessions("24/7"), device=device)
    scorer.warm()
    return scorer


def due_of(number: int, window: Floats) -> Due:
    """Return the window of a bar of this number as the lane hands it to a scorer."""
    zero = np.zeros(1, np.int64)
    return Due(0, zero, zero, np.array([number]), window.copy(), window[:, :, -1].copy())


def in_onnx_runtime(network: Trainable, shape: tuple[int, int]) -> Side | None:
    """Return a network over windows `[feature, lookback]` in ONNX Runtime, None where that is not installed.

    torch's newer exporter would unroll the LSTM; the one before it writes ONNX's own.
    """
    try:
        import onnx  # noqa: F401  # the exporter needs it
        import onnxruntime
    except ImportError:
        return None
    export: Any = torch.onnx.export
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(network, (torch.zeros(1, *shape),), file, dynamo=False, input_names=["windows"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda due: session.run(None, {"windows": due.windows})


def _eager(letter: str) -> Side:
    """Return the network on a GPU as a script without an engine would call it."""
    network = stac_ml(letter).eval().cuda()

    def side(due: Due) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(due.windows).cuda()).cpu()

    return side


def _timed(side: Side, due: Due) -> int:
    begun_ns = time.perf_counter_ns()
    side(due)
    return time.perf_counter_ns() - begun_ns
