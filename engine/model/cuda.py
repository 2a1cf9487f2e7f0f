"""TorchScript on a GPU, through CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.model.backends import Floats, TorchBackend, checked

SIZES: Final = (1, 8, 32, 128, 512, 2048)
"""A GPU takes two thousand windows in about the time of one."""


class CudaBackend(TorchBackend):
    """TorchScript on a GPU: one CUDA graph for each batch size, between pinned buffers that stay where they are.

    A launch costs more than these networks compute, so a graph replays them all at once. A batch is padded to the next
    size. Warm-up and capture run the network; what it may remember in itself is put back as it was.
    """

    chunk = SIZES[-1]

    def __init__(self, module: Any, path: Path, state_size: int, threads: int) -> None:
        super().__init__(module, path, state_size, threads)
        torch = self._torch
        torch.set_float32_matmul_precision("highest")  # the same digits as a CPU, within the card's tolerance
        torch.backends.cudnn.allow_tf32 = False
        self.callers = 1  # the staging buffers are everybody's
        self.device = f"cuda ({torch.cuda.get_device_name()})"
        self._stream = torch.cuda.Stream()
        self._graphs: dict[tuple[Any, ...], _Graph] = {}

    def warm(self, shape: tuple[int, int], sizes: Sequence[int] = SIZES) -> None:
        for size in sorted({_bucket(min(size, self.chunk)) for size in sizes}):
            windows = np.zeros((size, *shape), np.float32)
            self.score(windows)
            if self.state_size:
                self.readout(self.advance(windows[:, :, -1:], np.zeros((size, self.state_size), np.float32)))

    def advance(self, steps: Floats, state: Floats) -> Floats:
        return self._in_chunks(self._module.advance, steps, state)

    def close(self) -> None:
        self._graphs.clear()
        super().close()

    def _call(self, method: Callable[..., Any], inputs: Sequence[Floats]) -> Floats:
        count = len(inputs[0])
        key = (getattr(method, "name", "forward"), _bucket(count), *(one.shape[1:] for one in inputs))
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = self._captured(method, _bucket(count), inputs)
        return checked(graph.replay(inputs, count), count, self._path)

    def _captured(self, method: Callable[..., Any], size: int, inputs: Sequence[Floats]) -> _Graph:
        torch = self._torch
        kept = [(buffer, buffer.clone()) for buffer in self._module.buffers()]
        try:
            return _Graph(torch, self._stream, method, [(size, *one.shape[1:]) for one in inputs])
        finally:
            with torch.cuda.stream(self._stream):
                for buffer, before in kept:
                    buffer.copy_(before)
            self._stream.synchronize()


class _Graph:
    """One recorded run of a network, from pinned memory to pinned memory."""

    def __init__(self, torch: Any, stream: Any, method: Callable[..., Any], shapes: Sequence[tuple[int, ...]]) -> None:
        self._torch, self._stream = torch, stream
        self._staged = [torch.zeros(shape, pin_memory=True) for shape in shapes]
        self._inputs = [torch.zeros(shape, device="cuda") for shape in shapes]
        self._done = torch.cuda.Event()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                output = method(*self._inputs)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            output = method(*self._inputs)
        self._output = output
        self._answer = torch.zeros(output.shape, pin_memory=True)

    def replay(self, inputs: Sequence[Floats], count: int) -> Any:
        with self._torch.cuda.stream(self._stream):
            for given, staged, there in zip(inputs, self._staged, self._inputs, strict=True):
                staged[:count].numpy()[...] = given
                there.copy_(staged, non_blocking=True)
            self._graph.replay()
            self._answer.copy_(self._output, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        return self._answer[:count].clone()


def _bucket(count: int) -> int:
    return next(size for size in SIZES if size >= count)
