"""The network that reads texts: an encoder of the BERT kind, small enough to be trained here, or as large as FinBERT.

One network in two sizes: what a checkpoint holds fits it as it is (`research.sentiment_checkpoint`).

**Shapes**: numbers of words as float32 `[batch, 1, length]`, as the lane hands them over, to `[batch, output]`.

Source: Devlin, J. et al. (2019), BERT: Pre-training of Deep Bidirectional Transformers, NAACL; Vaswani, A. et al.
(2017), Attention Is All You Need, NeurIPS.
"""

from __future__ import annotations

from math import sqrt
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

UNSEEN: Final = -1e9
"""Added to what stands for nothing: its share of the attention is exactly zero."""


class Size(NamedTuple):
    """How large a reader is.

    Attributes:
        mean: gather the mean of all words, which a small network learns quickly, and not, as BERT does, the first.
        epsilon: keeps the layer norms from dividing by nothing.
    """

    vocabulary: int
    length: int
    hidden: int
    layers: int
    heads: int
    inner: int
    outputs: int
    pad: int = 0
    dropout: float = 0.0
    mean: bool = False
    epsilon: float = 1e-12


class Attention(nn.Module):
    """Each word takes what it needs from all the others."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads, self.each = size.heads, size.hidden // size.heads
        self.scale = 1.0 / sqrt(self.each)
        self.query = nn.Linear(size.hidden, size.hidden)
        self.key = nn.Linear(size.hidden, size.hidden)
        self.value = nn.Linear(size.hidden, size.hidden)
        self.output = nn.Linear(size.hidden, size.hidden)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, seen: Tensor, unseen: Tensor) -> Tensor:
        batch, length, hidden = seen.shape
        shape = (batch, length, self.heads, self.each)
        query = self.query(seen).view(shape).transpose(1, 2)
        key = self.key(seen).view(shape).transpose(1, 2)
        value = self.value(seen).view(shape).transpose(1, 2)
        share = torch.softmax(query @ key.transpose(2, 3) * self.scale + unseen, dim=3)
        taken = self.dropout(share) @ value
        return self.output(taken.transpose(1, 2).reshape(batch, length, hidden))


class Layer(nn.Module):
    """Attention, then a small network on each word; each adds to what was there."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.attention = Attention(size)
        self.attention_norm = nn.LayerNorm(size.hidden, size.epsilon)
        self.inner = nn.Linear(size.hidden, size.inner)
        self.outer = nn.Linear(size.inner, size.hidden)
        self.norm = nn.LayerNorm(size.hidden, size.epsilon)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, seen: Tensor, unseen: Tensor) -> Tensor:
        seen = self.attention_norm(seen + self.dropout(self.attention(seen, unseen)))
        return self.norm(seen + self.dropout(self.outer(functional.gelu(self.inner(seen)))))


class Reader(nn.Module):
    """Reads a text and says the probability of each class."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.pad, self.unseen, self.mean = size.pad, UNSEEN, size.mean
        self.words = nn.Embedding(size.vocabulary, size.hidden)
        self.places = nn.Embedding(size.length, size.hidden)
        self.norm = nn.LayerNorm(size.hidden, size.epsilon)
        self.dropout = nn.Dropout(size.dropout)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.gather = nn.Linear(size.hidden, size.hidden)
        self.head = nn.Linear(size.hidden, size.outputs)
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=0.02)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    def raw(self, windows: Tensor) -> Tensor:
        """Return the classes' logits, on which it is trained."""
        tokens = windows[:, 0].long()
        nothing = (tokens == self.pad).to(windows.dtype)
        unseen = nothing[:, None, None, :] * self.unseen
        seen = self.dropout(self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]]))
        for layer in self.layers:
            seen = layer(seen, unseen)
        if self.mean:
            there = (1.0 - nothing)[:, :, None]
            gathered = (seen * there).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)
        else:
            gathered = seen[:, 0]
        return self.head(self.dropout(torch.tanh(self.gather(gathered))))

    def forward(self, windows: Tensor) -> Tensor:
        return torch.softmax(self.raw(windows), dim=1)
