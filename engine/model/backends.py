"""What computes a network: TorchScript on a CPU or a GPU. The one file that calls `torch.jit`.

TorchScript is deprecated upstream without a date of removal; what replaces it unrolls recurrent networks and compiles
for minutes. Its calls and the silencing of exactly its warnings are here, so that leaving it is a change of one file.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.model.cells import LstmCells, cells_of
from engine.model.golden import check_golden

if TYPE_CHECKING:
    import torch

    from engine.model.bundle import Bundle
    from engine.model.card import Card

Floats = NDArray[np.float32]

ONNX_FILE = "model.onnx"
CHUNK: Final = 256
"""So many windows at once: a CPU's cache holds them, and no pass has to fetch its memory from the system anew."""
BUCKETS: Final = (1, 8, 32, CHUNK)
STEP: Final = 64
FEW: Final = 32
"""One step of so few symbols is four times as fast without oneDNN, which lays out the weights anew at each call."""
WARM_CALLS: Final = 30
"""TorchScript specializes itself during its first calls of each size, and oneDNN builds its kernels."""


class Backend(Protocol):
    """A network that is loaded and ready.

    Attributes:
        name: what computes it.
        device: where, as a person reads it; what `auto` chose.
        state_size: how many numbers a recurrent network remembers of a symbol; 0 for one that has to see whole windows.
        cells: a quicker way of one step, where the network is an LSTM on a CPU.
        callers: how many threads may score at once.
    """

    name: str
    device: str
    state_size: int
    cells: LstmCells | None
    callers: int

    def score(self, windows: Floats) -> Floats:
        """Return the outputs of whole windows.

        Shapes: `[n, feature, lookback]` to `[n, output]`.

        Raises:
            ModelError: it cannot; one clear line.
        """
        ...

    def advance(self, steps: Floats, state: Floats) -> Floats:
        """Return the state after some more steps: `[n, feature, k]` and `[n, state]` to `[n, state]`."""
        ...

    def readout(self, state: Floats) -> Floats:
        """Return the outputs of a state: `[n, state]` to `[n, output]`."""
        ...

    def enter_thread(self) -> None:
        """Make ready the thread that calls, once, before its first pass; it has to be the model's own."""
        ...

    def warm(self, shape: tuple[int, int], sizes: Sequence[int] = BUCKETS) -> None:
        """Have everything compiled that calls of these sizes need, for windows of `[feature, lookback]`."""
        ...

    def close(self) -> None:
        """Let go of what it holds on its device."""
        ...


def load_backend(bundle: Bundle, device: str = "auto", threads: int = 1) -> Backend:
    """Load a bundle that was opened: the bytes that were checked, whatever has become of the file since.

    Raises:
        ModelError: it cannot be loaded, its device is not there, or it does not give its golden outputs again.
    """
    path, content = Path(bundle.path), bundle.content
    if device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"{path}: device is 'auto', 'cpu' or 'cuda', not {device!r}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        inside = next((name for name in archive.namelist() if name.rpartition("/")[2] == ONNX_FILE), None)
        model = archive.read(inside) if inside is not None else b""
    if model:
        from engine.model.onnx import OnnxBackend

        backend: Backend = OnnxBackend(model, path, device, threads)
    else:
        backend = _torch_backend(content, path, device, threads)
    check_golden(backend, bundle.card, path)
    return backend


def save_bundle(
    path: Path | str, module: torch.nn.Module, card: Card, extra_files: Mapping[str, bytes] | None = None
) -> str:
    """Write a network, its card and a text model's `vocab.txt` as one TorchScript file; return its SHA-256."""
    import torch

    with _quiet():
        scripted = module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module.eval())
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer, _extra_files=dict(extra_files or {}))
    return written(Path(path), buffer.getvalue(), card)


def read_weights(bundle: Bundle) -> dict[str, torch.Tensor]:
    """Return the numbers of a network by name, on the CPU, for another network to begin with.

    Raises:
        ModelError: it is no TorchScript file.
    """
    import torch

    jit: Any = torch.jit
    try:
        with _quiet():
            return dict(jit.load(io.BytesIO(bundle.content), map_location="cpu").state_dict())
    except (RuntimeError, jit.Error) as error:
        raise ModelError(f"{bundle.path}: {first_line(error)}") from None


def written(path: Path, program: bytes, card: Card) -> str:
    """Seal a program with its card in one file, whole or not at all, and return its SHA-256."""
    from engine.model.bundle import seal

    content = seal(program, card, path.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return hashlib.sha256(content).hexdigest()


# --- TorchScript ---------------------------------------------------------------------------------------------------


def _torch_backend(content: bytes, path: Path, device: str, threads: int) -> Backend:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError(f'{path}: device = "cuda", and this machine shows no GPU to torch {torch.__version__}')
    with suppress(RuntimeError):  # it may be set once, and only before the first work
        torch.set_num_interop_threads(1)
    torch.set_num_threads(threads)
    jit: Any = torch.jit
    try:
        with _quiet():
            module = jit.load(io.BytesIO(content), map_location="cpu").eval()
            steps = {name for name in ("advance", "readout") if hasattr(module, name)}
            state_size = int(getattr(module, "state_size", 0)) if len(steps) == 2 else 0
            wanted = torch.device(
                "cuda" if device == "cuda" or (torch.cuda.is_available() and device == "auto") else "cpu"
            )
            cells = cells_of(torch, module, state_size) if state_size and wanted.type == "cpu" else None
            module = module.to(wanted)
            module = jit.freeze(module, preserved_attrs=sorted(steps) if state_size else None)
    except (RuntimeError, jit.Error) as error:
        raise ModelError(f"{path}: {first_line(error)}") from None
    if wanted.type == "cuda":
        from engine.model.cuda import CudaBackend

        return CudaBackend(module, path, state_size, threads)
    return TorchBackend(module, path, state_size, threads, cells)


class TorchBackend:
    """TorchScript on the CPU: frozen, without gradients, on the thread that calls it."""

    name = "torchscript"
    chunk = CHUNK

    def __init__(self, module: Any, path: Path, state_size: int, threads: int, cells: LstmCells | None = None) -> None:
        import torch

        self.device, self._threads = "cpu", threads
        self.state_size, self.cells = state_size, cells
        # What freezing leaves of its buffers, a network writes to: it has to see its windows in their order.
        self.callers = 1 if any(True for _ in module.buffers()) else max(1, (os.cpu_count() or 1) // threads)
        self._torch, self._module, self._path = torch, module, path
        self._errors = RuntimeError, torch.jit.Error  # the second is what a program's own `raise` becomes

    def score(self, windows: Floats) -> Floats:
        return self._in_chunks(self._module, windows)

    def advance(self, steps: Floats, state: Floats) -> Floats:
        if steps.shape[2] > 1 or len(state) > FEW:
            return self._in_chunks(self._module.advance, steps, state)
        flags = self._torch.backends.mkldnn
        flags.set_flags(_enabled=False)
        try:
            return self._in_chunks(self._module.advance, steps, state)
        finally:
            flags.set_flags(_enabled=True)

    def readout(self, state: Floats) -> Floats:
        return self._in_chunks(self._module.readout, state)

    def enter_thread(self) -> None:
        self._torch.set_num_threads(self._threads)  # OpenMP keeps it by thread: a new one would take all cores
        # What fades to nothing would take a hundred times as long; the corridor's thread keeps its small numbers.
        self._torch.set_flush_denormal(True)

    def warm(self, shape: tuple[int, int], sizes: Sequence[int] = BUCKETS) -> None:
        self._torch.set_num_threads(self._threads)
        for size in sizes:
            windows = np.zeros((min(size, self.chunk), *shape), np.float32)
            calls = WARM_CALLS if size <= 32 else 3  # by then the graph is compiled; what is left is a kernel a size
            for _ in range(calls):
                self.score(windows)
            if self.state_size:
                state = np.zeros((len(windows), self.state_size), np.float32)
                for _ in range(calls):
                    state = self.advance(windows[:, :, -1:], state)
                    self.readout(state)

    def close(self) -> None:
        self._module = None

    def _in_chunks(self, method: Callable[..., Any], *inputs: Floats) -> Floats:
        count = len(inputs[0])
        try:
            with self._torch.inference_mode():
                if count <= self.chunk:
                    return self._call(method, inputs)
                parts = [
                    self._call(method, tuple(_rounded_up(one[first : first + self.chunk]) for one in inputs))
                    for first in range(0, count, self.chunk)
                ]
        except self._torch.OutOfMemoryError:
            raise ModelError(f"{self._path}: out of GPU memory with {count} windows at once") from None
        except self._errors as error:  # torch says in a page what is wrong
            shape = "x".join(map(str, inputs[0].shape))
            raise ModelError(f"{self._path}: the network fails on {shape}: {first_line(error)}") from None
        return np.concatenate(parts)[:count]

    def _call(self, method: Callable[..., Any], inputs: Sequence[Floats]) -> Floats:
        from_numpy = self._torch.from_numpy
        found = method(*[from_numpy(np.ascontiguousarray(one)) for one in inputs])
        return checked(found, len(inputs[0]), self._path)


def _rounded_up(part: Floats) -> Floats:
    """Return a chunk with zeros up to the next of a few sizes: for each new one oneDNN builds a kernel, 10 ms long."""
    lacking = -len(part) % STEP
    return np.concatenate([part, np.zeros((lacking, *part.shape[1:]), np.float32)]) if lacking else part


def checked(found: Any, count: int, path: Path) -> Floats:
    """Return what a network answered as `[count, output]`.

    Raises:
        ModelError: it is of another shape, or of numbers that numpy does not know.
    """
    shape = tuple(getattr(found, "shape", ()))
    if len(shape) != 2 or shape[0] != count:
        given = "x".join(map(str, shape)) or type(found).__name__
        told = f"the network answers {count} windows with {given}; {count} rows of outputs are wanted"
        raise ModelError(f"{path}: {told}")
    try:
        array: Floats = found.numpy() if hasattr(found, "numpy") else found
    except TypeError:  # bfloat16, for one
        raise ModelError(f"{path}: the network answers in {found.dtype}; float32 is right") from None
    return array if array.dtype == np.float32 else array.astype(np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep TorchScript from saying, at each call, that it is deprecated: we know, and say so in docs/decisions.md."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
        yield


def first_line(error: BaseException) -> str:
    """Return the line of a long message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "Error:" in line), lines[0] if lines else type(error).__name__)
    return told[:200]
