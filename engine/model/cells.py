"""One step of a stacked LSTM, with all that does not depend on the newest bar done ahead.

TorchScript spends most of one symbol's step between its operations. Here the recurrent half of every gate is computed
with the state, off the critical path; what is left when the bar comes is one product a layer with the input's weights.
Source of the equations: Hochreiter and Schmidhuber 1997, as in `torch.nn.LSTM`.

Gates lie in the order input, forget, output, candidate. The weights of the first three are halved, because
sigmoid(x) = (1 + tanh(x / 2)) / 2 leaves one tanh over all four.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ONE, HALF = np.float32(1.0), np.float32(0.5)
TOLERANCE: Final = 1e-5
STRAIGHT: Final = frozenset(
    f"aten::{name}" for name in (
        "add", "addmm", "contiguous", "div", "dropout", "flatten", "linear", "matmul", "mul", "reshape", "select",
        "size", "slice", "squeeze", "sub", "t", "transpose", "unsqueeze", "view",
    )
) | {"prim::Constant", "prim::GetAttr", "prim::ListConstruct"}  # fmt: skip
"""What a readout may be made of that is read off once and for all."""
MOVES: Final = frozenset(
    f"aten::{name}" for name in (
        "__getitem__", "__is__", "__isnot__", "cat", "contiguous", "dim", "flatten", "len", "lstm", "permute",
        "reshape", "select", "size", "slice", "squeeze", "stack", "t", "transpose", "unbind", "unsqueeze", "view",
    )
) | frozenset(
    f"prim::{name}" for name in (
        "GetAttr", "ListConstruct", "ListUnpack", "TupleConstruct", "TupleIndex", "TupleUnpack", "device", "dtype",
        "unchecked_cast",
    )
)  # fmt: skip
"""What may be done to numbers in a step that is an LSTM's and nothing else: they are laid out otherwise."""
SCALES: Final = (0.1, 1.0, 30.0, 1024.0)
"""How far from zero is tried: something that is cut off is not always cut off near it."""
PROBE: Final = 1024.0
"""So far from zero that the bias does not drown a weight, and a power of two, which rounds nothing."""
FEW: Final = 32
FIRST: Final = "weight_ih_l0"


class LstmCells:
    """The cells of a network, layer by layer; a state is `[hidden of all layers, cell of all layers]`.

    Attributes:
        width: how many numbers a layer shows.
        gates: how many numbers are foreseen for a symbol.
        head: the weights `[width, output]` and the bias of what reads the state, where that is linear.
    """

    def __init__(self, torch: Any, layers: list[tuple[Any, Any, Any]], width: int) -> None:
        self._torch, self._layers, self.width = torch, layers, width
        self._weights = [weights.numpy() for weights, _, _ in layers]
        self.gates = 4 * width * len(layers)
        self.head: tuple[Floats, Floats] | None = None

    def foresee(self, state: Floats) -> Floats:
        """Return the part of the next step's gates that the state decides: `[n, state]` to `[n, gates]`."""
        torch, width = self._torch, self.width
        before = torch.from_numpy(state)
        found = [
            torch.addmm(bias, before[:, number * width : (number + 1) * width], recurrent)
            for number, (_, recurrent, bias) in enumerate(self._layers)
        ]
        gates: Floats = torch.cat(found, 1).numpy()
        return gates

    def step(self, newest: Floats, state: Floats, foreseen: Floats) -> Floats:
        """Return the state after one more bar: `[n, feature]`, `[n, state]` and `[n, gates]` to `[n, state]`."""
        layers, width = len(self._layers), self.width
        after, inputs = np.empty_like(state), newest
        for number in range(layers):
            shown, at = number * width, (layers + number) * width
            gates = self._product(inputs, number)
            gates += foreseen[:, 4 * shown : 4 * (shown + width)]
            np.tanh(gates, gates)
            opened = gates[:, : 3 * width]
            opened += ONE
            opened *= HALF
            cell = np.multiply(gates[:, width : 2 * width], state[:, at : at + width], after[:, at : at + width])
            cell += gates[:, :width] * gates[:, 3 * width :]
            inputs = np.tanh(cell, after[:, shown : shown + width])
            inputs *= gates[:, 2 * width : 3 * width]
        return after

    def readout(self, state: Floats) -> Floats:
        """Return the outputs of a state, where `head` is known: `[n, state]` to `[n, output]`."""
        assert self.head is not None
        weights, bias = self.head
        outputs: Floats = self.top(state) @ weights
        outputs += bias
        return outputs

    def top(self, state: Floats) -> Floats:
        """Return what the last layer shows of a state: `[n, state]` to `[n, width]`."""
        last = len(self._layers) * self.width
        return state[:, last - self.width : last]

    def _product(self, inputs: Floats, number: int) -> Floats:
        """Multiply: few rows in numpy, where a call costs half of what it costs in torch, many on torch's threads."""
        if len(inputs) <= FEW:
            few: Floats = inputs.dot(self._weights[number])
            return few
        many: Floats = (self._torch.from_numpy(inputs) @ self._layers[number][0]).numpy()
        return many


def cells_of(torch: Any, module: Any, state_size: int) -> LstmCells | None:
    """Return the cells of a network on the CPU whose `advance` is an LSTM's step, None for any other.

    Its program may do nothing else to the numbers. That it lays them out as an LSTM does is tried, on invented bars and
    states: it has to say the same.
    """
    weights = dict(module.named_parameters())
    prefixes = [name.removesuffix(FIRST) for name in weights if name.endswith(FIRST)]
    if len(prefixes) != 1:
        return None
    named = {name.removeprefix(prefixes[0]): value for name, value in weights.items() if name.startswith(prefixes[0])}
    found = _cells(torch, named, state_size)
    if found is None or not _only_moves(module.advance.inlined_graph):
        return None
    rng = np.random.default_rng(0)
    scale = np.repeat(np.array(SCALES, np.float32), 3)[:, None]
    newest, state = (rng.normal(size=(len(scale), n)).astype(np.float32) for n in (named[FIRST].shape[1], state_size))
    newest *= scale
    with torch.inference_mode():
        wanted = module.advance(torch.from_numpy(newest[:, :, None]), torch.from_numpy(state)).numpy()
        found.head = _head(torch, module, found)
    apart = np.abs(found.step(newest, state, found.foresee(state)) - wanted)
    return found if (apart <= TOLERANCE * np.maximum(scale, ONE)).all() else None


def _only_moves(block: Any) -> bool:
    """Tell whether a program's branches all leave numbers as they are, but for the LSTM; what has none is free."""
    for node in block.nodes():
        reads = any("Tensor" in str(value.type()) for value in node.inputs())
        if (reads and node.kind() not in MOVES) or node.kind() == "prim::SetAttr":
            return False
        if not all(map(_only_moves, node.blocks())):
            return False
    return True


def _head(torch: Any, module: Any, cells: LstmCells) -> tuple[Floats, Floats] | None:
    """Return the weights and the bias of a linear `readout`, asked for one by one, None where it is not linear.

    Nothing in it may bend, by its program; and it is tried on invented states, which no product of two of them passes,
    nor one that looks at more than the last layer.
    """
    program = {node.kind() for node in module.readout.inlined_graph.nodes()}
    if not program <= STRAIGHT or any(True for _ in module.buffers()):
        return None
    asked = torch.zeros(cells.width + 1, cells.gates // 2)
    cells.top(asked)[1:] = PROBE * torch.eye(cells.width)
    said = module.readout(asked)
    if said.dim() != 2 or said.dtype != torch.float32:
        return None
    bias, weights = said[0], (said[1:] - said[0]) / PROBE
    states = torch.from_numpy(np.random.default_rng(1).normal(size=(4, cells.gates // 2)).astype(np.float32))
    states *= torch.tensor(SCALES)[:, None]
    wanted = module.readout(states)
    shown: Any = cells.top(states)
    scale = shown.abs() @ weights.abs() + bias.abs()
    same = ((shown @ weights + bias - wanted).abs() <= TOLERANCE * scale).all()
    return (weights.numpy(), bias.numpy()) if bool(same) else None


def _cells(torch: Any, named: dict[str, Any], state_size: int) -> LstmCells | None:
    """Return the cells that these weights make, None where they are not one stack of plain layers."""
    width, count = named[FIRST].shape[0] // 4, sum(name.startswith("weight_ih_l") for name in named)
    kinds = ("weight_ih_l{}", "weight_hh_l{}", "bias_ih_l{}", "bias_hh_l{}")
    wanted = {kind.format(number) for number in range(count) for kind in kinds}
    if set(named) != wanted or state_size != 2 * count * width:
        return None  # it runs both ways, has no biases, or projects its state
    order = torch.cat([torch.arange(part * width, (part + 1) * width) for part in (0, 1, 3, 2)])
    halves = torch.cat([torch.full((3 * width,), 0.5), torch.ones(width)])

    def arranged(name: str) -> Any:
        return (named[name].detach()[order].t() * halves).contiguous()  # of a bias `t` leaves all as it is

    layers = [
        (
            arranged(f"weight_ih_l{n}"),
            arranged(f"weight_hh_l{n}"),
            arranged(f"bias_ih_l{n}") + arranged(f"bias_hh_l{n}"),
        )
        for n in range(count)
    ]
    return LstmCells(torch, layers, width)
