"""Training a model of texts, judging it against the lexicon, and writing it as a bundle.

The words, the classes and the weights are learned from the training span alone; the newest text of the validation span
is older than the oldest of the test, and no return of one reaches into the next.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.bars import interval_ns
from engine.clock import LiveClock, to_datetime
from engine.errors import ModelError
from engine.events import DAY_NS, HOUR_NS, NEVER_NS
from engine.model.backends import save_bundle
from engine.model.card import TOKENS, Card, Golden, Output, Reference, Text
from engine.model.text_lexicon import WORTH, lexicon_score
from engine.model.text_tokens import Tokenizer, code_sha256, learn_words, tokenizer_of
from research import news, sentiment_checkpoint
from research.evaluate import rank_correlation
from research.experiment import span
from research.fit import Epoch, Fit, Objective, Sheets, Watch, objective, pick_device
from research.fit import outputs as say
from research.memory import keep_memory
from research.news import CLASSES, VALUES, TextExamples
from research.news_config import NewsTrainConfig
from research.sentiment_network import Reader, Size
from research.splits import Split, chronological
from research.targets import Floats, Ints

GOLDEN_TEXTS, QUANTILES = 8, 21
PRIMER = tuple(sorted(WORTH))
"""Each word of the lexicon, as a text of its own: a year of headlines uses too few of them to learn them from."""
INNER = 4
"""The network on each word is so many times as wide as a layer, as in BERT."""

Tell = Callable[[str, list[Epoch]], None]


class Sentiment(NamedTuple):
    """A trained reader with all that its file and its report say of it. `tokens` are those of all examples."""

    config: NewsTrainConfig
    examples: TextExamples
    split: Split
    reader: Reader
    text: Text
    vocabulary: bytes
    tokens: Tensor
    outputs: Floats
    epochs: dict[str, list[Epoch]]

    @property
    def score(self) -> Floats:
        """What a signal would carry for each example, from -1 to 1."""
        return self.outputs @ np.array(VALUES)


def train(config: NewsTrainConfig, tell: Tell = lambda stage, epochs: None) -> Sentiment:
    """Train what a configuration describes.

    Raises:
        ConfigError, TapeError, ModelError: one clear line each.
    """
    examples = news.build(config)
    shares = config.split.train, config.split.validation, 1.0 - config.split.train - config.split.validation
    split = chronological(examples.ts_ns, examples.end_ns, shares, config.split.embargo_bars)
    for name, rows in zip(split._fields, split, strict=True):
        if not len(rows):
            raise ModelError(f"too little data: of {len(examples.texts)} texts none is left for the {name} span")
    device = pick_device(config.fit.device)
    if config.fit.threads:
        torch.set_num_threads(config.fit.threads)
    torch.manual_seed(config.seed)
    keep_memory()
    reader, text, vocabulary = _reader(config, [examples.texts[row] for row in split.train])
    tokens = encode(tokenizer_of(text, vocabulary), examples.texts + PRIMER, config.text.length).to(device)
    reader = reader.to(device)
    epochs: dict[str, list[Epoch]] = {}
    for stage in config.labels.stages:
        labels, rows = classes(config, stage, examples, split), split.train
        if stage == "lexicon":
            labels = np.r_[labels, news.lexicon_classes(np.array([lexicon_score(word) for word in PRIMER]))]
            rows = np.r_[rows, np.arange(len(examples.texts), len(labels))]
        aim = objective(stage, labels[rows], len(CLASSES), balanced=config.fit.class_weights == "balanced")
        learned, held = (_sheets(tokens, each, labels, aim) for each in (rows, split.validation))
        fit = Fit(reader, aim, learned, held, config.fit, seed=config.seed, where=f"stage {stage}")
        epochs[stage] = fit.run(_each_epoch(stage, tell)).epochs
    reader, tokens = reader.cpu(), tokens[: len(examples.texts)].cpu()
    outputs = say(reader, tokens, np.arange(len(tokens)))
    return Sentiment(config, examples, split, reader, text, vocabulary, tokens, outputs, epochs)


def _each_epoch(stage: str, tell: Tell) -> Watch:
    def watch(done: int, steps: int, epochs: list[Epoch]) -> None:
        if done == 0:
            tell(stage, epochs)

    return watch


def classes(config: NewsTrainConfig, stage: str, examples: TextExamples, split: Split) -> Floats:
    """Return what a stage wants to hear of each text: 0, 1 or 2."""
    if stage == "lexicon":
        return news.lexicon_classes(examples.lexicon)
    return news.return_classes(examples.gain, split.train, config.labels.neutral)


def encode(tokenizer: Tokenizer, texts: tuple[str, ...], length: int) -> Tensor:
    """Return texts as the network reads them, `[text, 1, length]`."""
    found = np.full((len(texts), 1, length), tokenizer.pad, np.float32)
    for row, text in enumerate(texts):
        numbers = tokenizer.encode(text, length)
        found[row, 0, : len(numbers)] = numbers
    return torch.from_numpy(found)


def _reader(config: NewsTrainConfig, texts: list[str]) -> tuple[Reader, Text, bytes]:
    """Return a network and its words: fresh, with the words of the training texts, or those of a checkpoint."""
    wanted, size = config.text, config.network
    if wanted.checkpoint is not None:
        found = sentiment_checkpoint.load(wanted.checkpoint, wanted.length)
        told = Text(wanted.reads, "word_pieces", sha256(found.vocabulary).hexdigest(), found.lower_case)
        return found.reader, told, found.vocabulary
    primer = list(PRIMER) * wanted.seen_count if "lexicon" in config.labels.stages else []
    vocabulary = learn_words(texts + primer, most=wanted.vocabulary_max, seen_count=wanted.seen_count)
    told = Text(wanted.reads, "words", sha256(vocabulary).hexdigest(), buckets=wanted.buckets)
    shape = Size(
        tokenizer_of(told, vocabulary).size, wanted.length, size.hidden, size.layers, size.heads, INNER * size.hidden,
        len(CLASSES), dropout=size.dropout, mean=True,
    )  # fmt: skip
    return Reader(shape), told, vocabulary


def _sheets(tokens: Tensor, rows: Ints, labels: Floats, aim: Objective) -> Sheets:
    places = torch.from_numpy(rows).to(tokens.device)
    return Sheets(tokens, places, aim.encode(labels[rows]).to(tokens.device))


# --- what it is worth ------------------------------------------------------------------------------------------------


class Worth(NamedTuple):
    """What a score told of texts.

    Attributes:
        agreement: how often its sign is the lexicon's.
        right, moves: share of its signs that the return had too, among the `moves` texts to which it gave one.
        rank: Spearman's correlation, over `spans`, of the mean score with the return; texts of a symbol that are
            followed by the same return count once, together.
        noise: what the rank of a score that knows nothing strays by.
    """

    texts: int
    agreement: float
    right: float
    moves: int
    rank: float
    spans: int
    noise: float


def worth(score: Floats, examples: TextExamples, rows: Ints) -> Worth:
    """Judge the scores of some examples."""
    score, gain, lexicon = score[rows], examples.gain[rows], examples.lexicon[rows]
    signed = np.flatnonzero((score != 0.0) & (gain != 0.0))
    spans, place = np.unique(np.stack([examples.symbol[rows], examples.end_ns[rows]]), axis=1, return_inverse=True)
    place = place.reshape(-1)
    counts = np.bincount(place)
    mean_score, mean_gain = np.bincount(place, score) / counts, np.bincount(place, gain) / counts
    return Worth(
        len(rows),
        float((np.sign(score) == np.sign(lexicon)).mean()),
        float((np.sign(score[signed]) == np.sign(gain[signed])).mean()) if len(signed) else float("nan"),
        len(signed),
        rank_correlation(mean_score, mean_gain) if len(counts) > 2 else float("nan"),
        spans.shape[1],
        float(1.0 / np.sqrt(max(spans.shape[1] - 1, 1))),
    )


def signs(outputs: Floats) -> Floats:
    """Return -1, 0 or 1 by the likeliest class."""
    return np.array(VALUES)[outputs.argmax(axis=1)]


# --- the file --------------------------------------------------------------------------------------------------------


def pack(path: Path, found: Sentiment, metrics: dict[str, float], now_ns: int) -> str:
    """Write a trained reader as a bundle and return its SHA-256."""
    return save_bundle(path, found.reader, _card(found, metrics, now_ns), {"vocab.txt": found.vocabulary})


def _card(found: Sentiment, metrics: dict[str, float], now_ns: int) -> Card:
    config, examples, split = found.config, found.examples, found.split
    spans = [span(examples.ts_ns[rows]) for rows in split]
    taught = ", then ".join(config.labels.stages) or "the checkpoint alone"
    horizon_ns, days = config.labels.horizon_bars * interval_ns(config.labels.bar), config.expires_after_days
    text, golden = _golden(found)
    return Card(
        name=config.name, version=config.version, created_utc=f"{to_datetime(now_ns):%Y-%m-%dT%H:%M:%SZ}",
        torch_version=str(torch.__version__), engine_version=version("onetape"),
        notes=f"texts; taught by {taught}; tape {examples.tape_sha256[:16]}, seed {config.seed}",
        features=TOKENS, feature_code_sha256=code_sha256(), lookback=config.text.length, text=text,
        interval_ns=round(config.text.counts_for_h * HOUR_NS), calendar=config.calendar, state_mode="stateless",
        outputs=tuple(Output(name, "probability", horizon_ns) for name in CLASSES), score=VALUES,
        universe=examples.symbols, train_span_ns=spans[0] if config.labels.stages else (0, 0),
        valid_span_ns=spans[1], test_span_ns=spans[2], metrics=metrics,
        expires_ns=NEVER_NS if days is None else spans[2][1] + days * DAY_NS,
        latency_budget_us=config.latency_budget_ms * 1e3, golden=golden,
        reference=Reference(output_quantiles=_quantiles(found.outputs[split.validation])),
    )  # fmt: skip


def _golden(found: Sentiment) -> tuple[Text, Golden]:
    """Take texts spread over the test, with the scores that they were given."""
    rows = found.split.test[np.linspace(0, len(found.split.test) - 1, GOLDEN_TEXTS).astype(int)]
    texts = found.text
    told = Text(
        texts.reads, texts.tokenizer, texts.vocabulary_sha256, texts.lower_case, texts.buckets,
        tuple(found.examples.texts[row] for row in rows),
    )  # fmt: skip
    tokens = found.tokens[torch.from_numpy(rows)]
    return told, Golden.of(tokens.numpy(), say(found.reader, tokens, np.arange(len(rows))).astype(np.float32))


def _quantiles(outputs: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.quantile(outputs, np.linspace(0, 1, QUANTILES), axis=0).T.tolist())


def now_ns() -> int:
    """Return the machine's time, for the card."""
    return LiveClock().now_ns()
