"""A tiny model file, made once, and ways to spoil it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np

from engine.clock import Sessions
from engine.events import MINUTE_NS
from engine.model.card import Card, FeatureSpec, Golden, Output
from engine.model.features import FeatureSet
from engine.model.normalization import Normalization

SPECS = (FeatureSpec("returns"), FeatureSpec("rsi", {"window": 3}))
LOOKBACK = 5
NAME = "tiny"


def card(**changes: object) -> Card:
    """What the tiny network is said to be."""
    features = FeatureSet(SPECS, "A", interval_ns=MINUTE_NS, lookback=LOOKBACK, sessions=Sessions("24/7"))
    inputs = np.random.default_rng(0).normal(size=(3, 2, LOOKBACK)).astype(np.float32)
    plain = Card(
        name=NAME, version="1", features=SPECS, feature_code_sha256=features.code_hash, interval_ns=MINUTE_NS,
        lookback=LOOKBACK, calendar="24/7", normalization=Normalization("z_score", (0.0, 0.5), (1.0, 0.25)),
        outputs=(Output("next", "return", MINUTE_NS),), golden=Golden.of(inputs, inputs.mean(axis=(1, 2))[:, None]),
        train_span_ns=(1_000, 2_000), expires_ns=9_000,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def save(path: Path, told: Card | None = None) -> bytes:
    """Write the tiny model, which answers with the mean of its inputs, and return its bytes."""
    import torch

    from engine.model.backends import save_bundle

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((2 * LOOKBACK, 1), 1 / (2 * LOOKBACK)))

        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            return windows.flatten(1) @ self.weight

    torch.set_num_threads(1)
    save_bundle(path, Mean(), told or card())
    return path.read_bytes()


def rewritten(
    content: bytes, change: Callable[[str, bytes], bytes | None] = lambda name, inside: inside,
    more: Iterable[tuple[str, bytes]] = (), *, compress: bool = False,
) -> bytes:  # fmt: skip
    """Write the archive anew: `change` gets each entry's name (without its folder) and content; None leaves it out."""
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", kind) as new:
        for name in old.namelist():
            inside = change(name.partition("/")[2], old.read(name))
            if inside is not None:
                new.writestr(name, inside)
        for name, inside in more:
            new.writestr(name, inside)
    return buffer.getvalue()
