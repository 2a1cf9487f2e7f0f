"""A BERT checkpoint for sentiment, such as FinBERT, as our own network: read from a folder, nothing downloaded or run.

The folder holds what such models are published as: `config.json`, `vocab.txt` and `model.safetensors`, and maybe
`tokenizer_config.json`. A safetensors file is a length, a JSON table and plain numbers, so reading it executes nothing;
a pickle (`pytorch_model.bin`) is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.errors import ModelError
from research.news import CLASSES
from research.sentiment_network import Reader, Size

HEADER_BYTES_MAX = 100_000_000
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_PARTS = {
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm", "inner": "intermediate.dense", "outer": "output.dense",
    "norm": "output.LayerNorm",
}  # fmt: skip
"""A layer's parts by our names and by those of the checkpoint."""


class Checkpoint(NamedTuple):
    """What a folder held; its outputs are in the order of `CLASSES`."""

    reader: Reader
    vocabulary: bytes
    lower_case: bool


def load(folder: Path, length: int) -> Checkpoint:
    """Read a checkpoint that says negative, neutral and positive, for texts of `length` word pieces.

    Raises:
        ModelError: a file is missing or damaged, or the network is of another kind.
    """
    try:
        if not (folder / "model.safetensors").exists() and (folder / "pytorch_model.bin").exists():
            raise ModelError("pytorch_model.bin is a pickle, which could run anything; save it as model.safetensors")
        config = _json(folder / "config.json")
        tokenizer = folder / "tokenizer_config.json"
        lower_case = bool((_json(tokenizer) if tokenizer.exists() else {}).get("do_lower_case", True))
        vocabulary = (folder / "vocab.txt").read_bytes()
        size, order = _size(config, vocabulary, length), _order(config)
        reader = Reader(size)
        reader.load_state_dict(_state(read_safetensors(folder / "model.safetensors"), size, order))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    except OSError as error:
        raise ModelError(f"{error.filename}: {error.strerror}") from None
    return Checkpoint(reader.eval(), vocabulary, lower_case)


def read_safetensors(path: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the numbers of a safetensors file by name, as float32; whole numbers are left out.

    Raises:
        ModelError: it does not read.
    """
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(HEADER_BYTES_MAX, len(content) - 8):
        raise ModelError(f"{path.name} is no safetensors file, or is cut off")
    try:
        header = json.loads(content[8 : 8 + size])
        return dict(_tensors(header, memoryview(content)[8 + size :]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path.name} does not read: {error}") from None


def _tensors(
    header: dict[str, Any], numbers: memoryview
) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    for name, told in header.items():
        if name == "__metadata__" or told["dtype"] not in _DTYPES:
            continue
        (begin, end), shape = told["data_offsets"], tuple(int(one) for one in told["shape"])
        kind = np.dtype(_DTYPES[told["dtype"]])
        if (
            not 0 <= begin <= end <= len(numbers)
            or end - begin != prod(shape) * kind.itemsize
            or min(shape, default=0) < 0
        ):
            raise ValueError(f"{name} lies at {begin} to {end}, which is not where {shape} fits")
        found = np.frombuffer(numbers[begin:end], kind)
        if told["dtype"] == "BF16":
            found = (found.astype(np.uint32) << 16).view(np.float32)
        yield name, found.astype(np.float32).reshape(shape)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} does not read: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path.name} does not read: it is no table")
    return found


def _size(config: dict[str, Any], vocabulary: bytes, length: int) -> Size:
    kinds = {
        "model_type": ("bert", {"bert"}), "hidden_act": ("gelu", {"gelu"}),
        "position_embedding_type": ("absolute", {"absolute"}),
    }  # fmt: skip
    for key, (usual, known) in kinds.items():
        if config.get(key, usual) not in known:
            raise ModelError(f"its {key} is {config[key]!r}; {usual!r} is what this network is")
    try:
        size = Size(
            vocabulary=int(config["vocab_size"]), length=length, hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]), heads=int(config["num_attention_heads"]),
            inner=int(config["intermediate_size"]), outputs=len(CLASSES), pad=int(config.get("pad_token_id", 0)),
            dropout=float(config.get("hidden_dropout_prob", 0.1)), epsilon=float(config.get("layer_norm_eps", 1e-12)),
        )  # fmt: skip
        longest = int(config["max_position_embeddings"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"config.json lacks {error}, or it is no number") from None
    if length > longest:
        raise ModelError(f"it reads {longest} word pieces at most, and text.length = {length}")
    if min(size[:6]) < 1 or size.hidden % size.heads:
        raise ModelError(
            f"config.json: hidden_size {size.hidden}, {size.heads} heads, {size.layers} layers do not go together"
        )
    words = len(vocabulary.removesuffix(b"\n").split(b"\n"))
    if words > size.vocabulary:
        raise ModelError(f"vocab.txt holds {words} word pieces, and the network knows {size.vocabulary}")
    return size


def _order(config: dict[str, Any]) -> list[int]:
    """Return which output is negative, which neutral, which positive."""
    named = {str(name).lower(): int(number) for number, name in dict(config.get("id2label", {})).items()}
    if set(named) != set(CLASSES) or sorted(named.values()) != [0, 1, 2]:
        raise ModelError(f"its id2label names {', '.join(sorted(named)) or 'nothing'}; {', '.join(CLASSES)} is right")
    return [named[name] for name in CLASSES]


def _state(tensors: dict[str, Any], size: Size, order: list[int]) -> dict[str, torch.Tensor]:
    """Return a checkpoint's numbers under our names."""

    def take(name: str, *shape: int) -> torch.Tensor:
        older = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        for spelled in (name, older, f"bert.{name}", f"bert.{older}"):
            if spelled in tensors:
                found = tensors[spelled]
                rows = shape[0] if "position" in name or "token_type" in name else None  # of these the first will do
                if found[:rows].shape != shape:
                    raise ModelError(f"its {name} is {found.shape}; {shape} is right")
                return torch.from_numpy(found[:rows].copy())
        raise ModelError(f"model.safetensors lacks {name}")

    hidden, inner = size.hidden, size.inner
    segment = take("embeddings.token_type_embeddings.weight", 1, hidden)
    found = {
        "words.weight": take("embeddings.word_embeddings.weight", size.vocabulary, hidden),
        "places.weight": take("embeddings.position_embeddings.weight", size.length, hidden) + segment,  # one segment
        "gather.weight": take("pooler.dense.weight", hidden, hidden), "gather.bias": take("pooler.dense.bias", hidden),
        "head.weight": take("classifier.weight", 3, hidden)[order], "head.bias": take("classifier.bias", 3)[order],
    }  # fmt: skip
    for end in ("weight", "bias"):
        found[f"norm.{end}"] = take(f"embeddings.LayerNorm.{end}", hidden)
        for number in range(size.layers):
            for ours, theirs in _PARTS.items():
                rows = inner if ours == "inner" else hidden
                columns = () if end == "bias" or "norm" in ours else (inner if ours == "outer" else hidden,)
                name = f"encoder.layer.{number}.{theirs}.{end}"
                found[f"layers.{number}.{ours}.{end}"] = take(name, rows, *columns)
    return found
