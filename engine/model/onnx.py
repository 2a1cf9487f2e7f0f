"""ONNX Runtime, the way in for TensorFlow, Keras and whatever else writes ONNX; an extra: `onetape[onnx]`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import ModelError
from engine.model.backends import BUCKETS, CHUNK, ONNX_FILE, Floats, checked, first_line, written

if TYPE_CHECKING:
    from engine.model.card import Card
    from engine.model.cells import LstmCells


class OnnxBackend:
    """ONNX Runtime on the CPU. Whole windows only.

    The model comes from bytes and may name no other file, so nothing beside the bundle is ever read.
    """

    name = "onnxruntime"
    state_size = 0
    cells: LstmCells | None = None
    callers = 1

    def __init__(self, model: bytes, path: Path, device: str, threads: int) -> None:
        if device == "cuda":
            raise ModelError(f'{path}: device = "cuda", and ONNX models run on the CPU here')
        if b"\x0a\x08location\x12" in model:
            raise ModelError(f"{path}: its weights lie in another file; only a model in one piece is loaded")
        try:
            import onnxruntime
        except ImportError:
            raise ModelError(f"{path}: an ONNX model needs ONNX Runtime: pip install 'onetape[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch's threads starve beside it
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base but this one
            raise ModelError(f"{path}: {first_line(error)}") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"{path}: the network wants {len(inputs)} inputs; one, the windows, is what there is")
        self._input, self._path, self.device = inputs[0].name, path, "cpu"

    def score(self, windows: Floats) -> Floats:
        parts = []
        for first in range(0, len(windows), CHUNK):
            part = np.ascontiguousarray(windows[first : first + CHUNK])
            try:
                found = self._session.run(None, {self._input: part})[0]
            except Exception as error:  # as above
                shape = "x".join(map(str, part.shape))
                raise ModelError(f"{self._path}: the network fails on {shape}: {first_line(error)}") from None
            parts.append(checked(found, len(part), self._path))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def advance(self, steps: Floats, state: Floats) -> Floats:
        raise ModelError(f"{self._path}: an ONNX model sees whole windows only")

    def readout(self, state: Floats) -> Floats:
        raise ModelError(f"{self._path}: an ONNX model sees whole windows only")

    def enter_thread(self) -> None:
        """Have nothing to make ready: its threads are its own."""

    def warm(self, shape: tuple[int, int], sizes: Sequence[int] = BUCKETS) -> None:
        for size in sizes:
            for _ in range(3):
                self.score(np.zeros((min(size, CHUNK), *shape), np.float32))

    def close(self) -> None:
        del self._session


def save_onnx_bundle(path: Path | str, model: bytes, card: Card) -> str:
    """Write an ONNX model, of whichever framework, and its card as one file, and return its SHA-256."""
    buffer, stem = io.BytesIO(), Path(path).stem
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{stem}/{ONNX_FILE}", model)
    return written(Path(path), buffer.getvalue(), card)
