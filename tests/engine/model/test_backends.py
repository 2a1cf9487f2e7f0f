"""What computes a network, and the one clear line with which each refuses."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import ModelError
from engine.events import NEVER_NS
from engine.model.backends import CHUNK, load_backend, save_bundle
from engine.model.bundle import open_bundle
from engine.model.card import Golden
from tests.engine.model import nets

HAS_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="no GPU here: the CUDA path was not run")
RANDOM = np.random.default_rng(5)


def windows(count: int, features: int = 3, lookback: int = nets.LOOKBACK) -> Any:
    return RANDOM.normal(size=(count, features, lookback)).astype(np.float32)


def loaded(path: Path, device: str = "cpu") -> Any:
    return load_backend(open_bundle(path, allowed=None, now_ns=0), device)


def eager(net: torch.nn.Module, inputs: Any) -> Any:
    with torch.inference_mode():
        return net.eval()(torch.from_numpy(inputs)).numpy()


@pytest.mark.parametrize("count", [1, 7, CHUNK, CHUNK + 5])
def test_a_saved_network_says_what_it_said_before(tmp_path: Path, count: int) -> None:
    """Frozen TorchScript gives the numbers of the Python module, in one chunk or in several."""
    torch.manual_seed(1)
    net = nets.Recurrent(3)
    backend = loaded(nets.bundle(tmp_path, net))
    inputs = windows(count)
    np.testing.assert_allclose(backend.score(inputs), eager(net, inputs), atol=1e-6)
    assert (backend.name, backend.device) == ("torchscript", "cpu")


def test_steps_and_windows_agree(tmp_path: Path) -> None:
    """All but one step ahead, then one step, is the whole window; so a pre-rolled window is exact."""
    backend = loaded(nets.bundle(tmp_path))
    inputs = windows(9)
    zeros = np.zeros((9, backend.state_size), np.float32)
    ahead = backend.advance(inputs[:, :, :-1], zeros)
    found = backend.readout(backend.advance(inputs[:, :, -1:], ahead))
    np.testing.assert_allclose(found, backend.score(inputs), atol=1e-6)


def test_no_gradient_and_no_warning_comes_from_it(tmp_path: Path) -> None:
    """TorchScript's deprecation is silenced where it is called, and nowhere else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend = loaded(nets.bundle(tmp_path))
        assert isinstance(backend.score(windows(2)), np.ndarray)
        with pytest.raises(DeprecationWarning):
            warnings.warn("`torch.jit.script` is deprecated", DeprecationWarning, stacklevel=1)


def test_what_was_checked_is_what_is_loaded(tmp_path: Path) -> None:
    """A file that is replaced after it was opened changes nothing of what runs."""
    path = nets.bundle(tmp_path, nets.Linear(3, nets.LOOKBACK))
    opened = open_bundle(path, allowed=None, now_ns=0)
    path.write_bytes(b"replaced")
    assert load_backend(opened, "cpu").score(windows(2)).shape == (2, 1)


def test_a_network_that_has_changed_its_mind_is_refused(tmp_path: Path) -> None:
    """The golden outputs are had again on the device that is here, or nothing is."""
    inputs = windows(3)
    path = nets.bundle(tmp_path, nets.Linear(3, nets.LOOKBACK), golden=Golden.of(inputs, np.zeros((3, 1), np.float32)))
    with pytest.raises(ModelError, match=r"tiny\.pt: it differs from its golden outputs by .* more than 1e-05, on cpu"):
        loaded(path)


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (nets.Fixed(1.0, rows=1), "answers 1 windows with 2x1; 1 rows of outputs are wanted"),
        (nets.Fixed(1.0, columns=2), "the network has 2 outputs, and its card names 1"),
        (nets.Linear(4, nets.LOOKBACK), "the network fails on 1x3x5: "),
    ],
)
def test_outputs_of_another_shape_are_refused_at_the_start(tmp_path: Path, net: Any, told: str) -> None:
    """A wrong shape is one line, before the first bar."""
    torch.manual_seed(1)
    path = tmp_path / "tiny.pt"
    save_bundle(path, net, nets.card())
    with pytest.raises(ModelError, match=re.escape(told)):
        loaded(path)


class Halved(torch.nn.Module):
    """Answers in another type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return windows[:, 0:1, -1].to(self.dtype)


def test_numbers_that_numpy_does_not_know_are_refused_at_the_start(tmp_path: Path) -> None:
    """With what would be right; others, as float16, are taken."""
    path = nets.bundle(tmp_path, Halved(torch.bfloat16), golden=None)
    with pytest.raises(ModelError, match=r"tiny\.pt: the network answers in torch\.bfloat16; float32 is right"):
        loaded(path)
    assert loaded(nets.bundle(tmp_path, Halved(torch.float16), golden=None)).score(windows(2)).dtype == np.float32


def test_golden_outputs_without_a_tolerance_are_refused(tmp_path: Path) -> None:
    """In a line that says what one looks like."""
    made = Golden.of(windows(3), np.full((3, 1), 5.0, np.float32))
    golden = Golden(made.shape, made.inputs, made.outputs, {})
    with pytest.raises(ModelError, match=r"have no tolerance; one by device is right, as {'cpu': 1e-5}"):
        loaded(nets.bundle(tmp_path, nets.Fixed(5.0), golden=golden))
    assert loaded(nets.bundle(tmp_path, nets.Fixed(5.0), golden=made))


class Refuses(torch.nn.Module):
    """Raises whatever it sees; scripted, what comes out is no RuntimeError."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        if windows.shape[0] > 0:
            raise ValueError("no such market")
        return windows[:, 0:1, -1]


def test_a_program_that_raises_is_refused_at_the_start(tmp_path: Path) -> None:
    """One line with the program's own words."""
    path = nets.bundle(tmp_path, Refuses(), golden=None)
    with pytest.raises(ModelError, match=r"tiny\.pt: the network fails on 1x3x5: builtins\.ValueError: no such market"):
        loaded(path)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_a_gpu_that_is_asked_for_and_absent_is_an_error(tmp_path: Path) -> None:
    """`cuda` never falls back; `auto` does, and says what it chose."""
    path = nets.bundle(tmp_path)
    with pytest.raises(ModelError, match='device = "cuda", and this machine shows no GPU to torch'):
        loaded(path, "cuda")
    assert loaded(path, "auto").device == "cpu"


def test_an_unknown_device_is_named(tmp_path: Path) -> None:
    """What may be written is said."""
    with pytest.raises(ModelError, match="device is 'auto', 'cpu' or 'cuda', not 'tpu'"):
        loaded(nets.bundle(tmp_path), "tpu")


def test_running_out_of_gpu_memory_is_one_line(tmp_path: Path) -> None:
    """Whatever torch says of its allocator, we say how many windows it was."""
    backend = loaded(nets.bundle(tmp_path))

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\n(a page more)")

    backend._module = full
    with pytest.raises(ModelError, match=r"tiny\.pt: out of GPU memory with 4 windows at once$"):
        backend.score(windows(4))


def test_warming_up_changes_no_output(tmp_path: Path) -> None:
    """Nothing of the zeros it was warmed with is left."""
    backend = loaded(nets.bundle(tmp_path))
    inputs = windows(3)
    before = backend.score(inputs)
    backend.warm((3, nets.LOOKBACK), (1, 3))
    np.testing.assert_allclose(backend.score(inputs), before, atol=1e-6)


# --- a GPU -----------------------------------------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize("count", [1, 5, 8, 600, 2051])
def test_a_cuda_graph_says_what_the_cpu_says(tmp_path: Path, count: int) -> None:
    """Padded to a bucket, replayed, and cut: within the card's tolerance for a GPU."""
    path = nets.bundle(tmp_path)
    cpu, gpu = loaded(path, "cpu"), loaded(path, "cuda")
    gpu.warm((3, nets.LOOKBACK))
    inputs = windows(count)
    for _ in range(3):
        np.testing.assert_allclose(gpu.score(inputs), cpu.score(inputs), atol=1e-3)
    zeros = np.zeros((count, gpu.state_size), np.float32)
    ahead = gpu.advance(inputs[:, :, :-1], zeros)
    np.testing.assert_allclose(gpu.readout(gpu.advance(inputs[:, :, -1:], ahead)), cpu.score(inputs), atol=1e-3)


@needs_gpu
def test_capture_leaves_what_a_network_remembers_as_it_was(tmp_path: Path) -> None:
    """Warm-up and capture run the network; a counter inside it does not see them."""

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            self.calls += 1.0
            return given[:, 0:1, -1] * 0.0 + self.calls

    path = tmp_path / "tiny.pt"
    save_bundle(path, Counting(), nets.card())
    gpu = loaded(path, "cuda")
    before = float(gpu.score(windows(1))[0, 0])
    gpu.warm((3, nets.LOOKBACK), (8, 32))
    assert float(gpu.score(windows(1))[0, 0]) == before + 1.0


# --- ONNX ------------------------------------------------------------------------------------------------------------


def onnx_bundle(folder: Path, *, outside: bool = False) -> Path:
    """Write a linear network as ONNX by hand."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: the ONNX path was not run")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the ONNX path was not run")
    from engine.model.onnx import save_onnx_bundle

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.linspace(-1, 1, 3 * nets.LOOKBACK, dtype=np.float32).reshape(-1, 1)
    tensor = onnx.numpy_helper.from_array(weights, "weights")
    if outside:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret")
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", kind, ["n", 3, nets.LOOKBACK])],
        [helper.make_tensor_value_info("y", kind, ["n", 1])],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "tiny.onnx"
    save_onnx_bundle(path, model.SerializeToString(), nets.card())
    return path


def test_an_onnx_model_scores_windows_like_any_other(tmp_path: Path) -> None:
    """The way in for TensorFlow and Keras: the same file format, the same card."""
    backend = loaded(onnx_bundle(tmp_path))
    inputs = windows(CHUNK + 2)
    weights = np.linspace(-1, 1, 3 * nets.LOOKBACK, dtype=np.float32).reshape(-1, 1)
    np.testing.assert_allclose(backend.score(inputs), inputs.reshape(len(inputs), -1) @ weights, atol=1e-4)
    assert backend.name == "onnxruntime"


def test_an_onnx_model_that_reads_another_file_is_refused(tmp_path: Path) -> None:
    """Weights outside the file could be any file of this machine."""
    with pytest.raises(ModelError, match="its weights lie in another file"):
        loaded(onnx_bundle(tmp_path, outside=True))


def test_an_onnx_model_without_the_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command."""
    import sys

    from engine.model.onnx import save_onnx_bundle

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = tmp_path / "tiny.onnx"
    save_onnx_bundle(path, b"anything", nets.card())
    with pytest.raises(ModelError, match=r"pip install 'onetape\[onnx\]'"):
        loaded(path)


def test_never_is_far_enough(tmp_path: Path) -> None:
    """A card without an expiry opens at any instant."""
    assert open_bundle(nets.bundle(tmp_path), allowed=None, now_ns=NEVER_NS - 1)
