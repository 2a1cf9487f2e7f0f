"""Models of texts that a test makes in a moment: a tokenizer, a small reader with random weights, and a bundle."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from engine.events import DAY_NS, MINUTE_NS, SECOND_NS, Datum, MarketEvent, News
from engine.model.backends import save_bundle
from engine.model.bundle import Bundle, open_bundle
from engine.model.card import TOKENS, Card, Golden, Output, Text
from engine.model.text_tokens import code_sha256, learn_words, tokenizer_of
from research.sentiment_network import Reader, Size
from tests.runs import OPEN_NS, in_order, market

LENGTH, BUDGET_NS = 12, 250_000_000
HEADLINES = (
    "AAA beats estimates, shares jump 5%", "BBB cuts outlook after weak quarter", "AAA sued over patents",
    "BBB wins $2.5 bn contract", "Analysts see no change at AAA",
)  # fmt: skip
VOCABULARY = learn_words(HEADLINES, most=100, seen_count=1)
TEXT = Text(("news", "filing"), "words", sha256(VOCABULARY).hexdigest(), buckets=16, headlines=HEADLINES)


def card(**over: object) -> Card:
    """The card of a model that has learned nothing."""
    reader, tokenizer = network(), tokenizer_of(TEXT, VOCABULARY)
    inputs = np.zeros((len(HEADLINES), 1, LENGTH), np.float32)
    for row, headline in enumerate(HEADLINES):
        numbers = tokenizer.encode(headline, LENGTH)
        inputs[row, 0, : len(numbers)] = numbers
    with torch.inference_mode():
        outputs = reader(torch.from_numpy(inputs)).numpy()
    told: dict[str, object] = {
        "name": "mood", "version": "1", "features": TOKENS, "feature_code_sha256": code_sha256(), "text": TEXT,
        "interval_ns": DAY_NS, "lookback": LENGTH, "state_mode": "stateless", "calendar": "24/7",
        "outputs": tuple(Output(name, "probability", DAY_NS) for name in ("negative", "neutral", "positive")),
        "score": (-1.0, 0.0, 1.0), "latency_budget_us": BUDGET_NS / 1e3, "golden": Golden.of(inputs, outputs),
    }  # fmt: skip
    return Card(**(told | over))  # type: ignore[arg-type]  # the fields of a card


def network() -> Reader:
    """A reader with weights large enough that every word matters."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    reader = Reader(Size(tokenizer_of(TEXT, VOCABULARY).size, LENGTH, 8, 1, 2, 16, 3, mean=True))
    with torch.no_grad():
        for part in reader.parameters():
            if part.dim() > 1:
                part.mul_(25.0)
    return reader.eval()


def save(folder: Path, vocabulary: bytes | None = VOCABULARY, **over: object) -> Path:
    path = folder / "mood.pt"
    save_bundle(path, network(), card(**over), {} if vocabulary is None else {"vocab.txt": vocabulary})
    return path


def opened(folder: Path) -> Bundle:
    return open_bundle(save(folder), allowed=None, now_ns=0)


def news(second: int, headline: str, *symbols: str) -> News:
    """A headline so many seconds after the opening."""
    ts_ns = OPEN_NS + second * SECOND_NS
    return News(ts_ns, ts_ns, headline, symbols)


def tape(minutes: int = 60) -> list[MarketEvent]:
    """Bars, quotes and prints with headlines and filings among them, some at one instant, some of both symbols."""
    told = [_headline(number) for number in range(minutes * 60 // 7)]
    filed_ns = [OPEN_NS + number * 5 * MINUTE_NS for number in range(1, minutes // 5)]
    filings = [Datum("filing", ts_ns, ts_ns, "AAA", text=f"8-K 2.0{at % 5}") for at, ts_ns in enumerate(filed_ns)]
    others = [event for event in market(5, minutes) if not isinstance(event, News)]
    return in_order([*others, *told, *filings])


def _headline(number: int) -> News:
    said = f"{HEADLINES[number % 5]} {'strongly ' * (number % 3)}w{number % 40}"
    return news(7 * number + 1, said, *("AAA", "BBB")[number % 3 :])
