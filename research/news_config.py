"""The tables of a TOML that trains a model of texts: the one with a `[text]` table."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from engine.config.alike import load_as
from engine.config.tables import FeedConfig, Table, known_interval
from research.config import FitConfig, SplitConfig

Stage = Literal["lexicon", "returns"]


class TextConfig(Table):
    """What is read, and how it becomes words."""

    reads: tuple[str, ...] = Field(
        ("news",), min_length=1,
        description='`"news"` for headlines, and the names of data whose text is read, such as `"filing"`.',
    )  # fmt: skip
    symbols: tuple[str, ...] = Field(("*",), description='Whose texts; `"*"` is all of the tape.')
    length: int = Field(48, ge=3, le=512, description="So many words or word pieces of a text are read.")
    vocabulary_max: int = Field(8_000, ge=1, description="Words that have a number of their own, the most used ones.")
    seen_count: int = Field(2, ge=1, description="How often the training span has to use a word for that.")
    buckets: int = Field(512, ge=0, description="Numbers that all other words share, by their hash.")
    counts_for_h: float = Field(24.0, gt=0, allow_inf_nan=False, description="For how long a score may be traded by.")
    checkpoint: Path | None = Field(
        None,
        description="Folder of a BERT checkpoint for sentiment (config.json, vocab.txt, model.safetensors), such as "
        "FinBERT's; its words and weights are taken, and `network` is not used.",
    )  # fmt: skip


class LabelConfig(Table):
    """What the network learns, one stage after the other."""

    stages: tuple[Stage, ...] = Field(
        ("lexicon",),
        description="`lexicon`: the sign that our lexicon gives a text. `returns`: lower, middle or upper return from "
        "the first open after it. With both, the second goes on from the first. None leaves a checkpoint as it is.",
    )  # fmt: skip
    bar: str = Field("1d", description="Length of the bars that returns are taken from: `1min`, `1h`, `1d`.")
    horizon_bars: int = Field(1, ge=1, description="Bars from the open of the first to the close of the last.")
    neutral: float = Field(
        0.33, ge=0, lt=1, description="Share of the training span's returns, the smallest, that count as neutral."
    )

    _known_bar = field_validator("bar")(known_interval)


class ReaderConfig(Table):
    """The transformer."""

    hidden: int = Field(48, ge=1, description="Width of its layers.")
    layers: int = Field(2, ge=1, description="Number of its layers.")
    heads: int = Field(4, ge=1, description="For how many things at once a word looks at the others.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of the numbers left out at random in training.")

    @model_validator(mode="after")
    def _divides(self) -> ReaderConfig:
        if self.hidden % self.heads:
            raise ValueError(f"hidden = {self.hidden} does not divide among {self.heads} heads")
        return self


class NewsTrainConfig(Table):
    """One complete training of a model of texts."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="Name of the model and of its file.")
    version: str = Field("1", description="Its version, for whoever reads the card.")
    seed: int = Field(ge=0, lt=2**31, description="Seeds weights, order and dropout.")
    calendar: str = Field("XNYS", description="Trading sessions: `24/7` or a calendar of `exchange_calendars`.")
    out_dir: Path = Field(Path("models"), description="Folder for the bundle and its report.")
    expires_after_days: int | None = Field(None, ge=1, description="No signals so long after the newest text it knows.")
    latency_budget_ms: float = Field(20.0, ge=0, allow_inf_nan=False, description="Charged to a score on a tape.")
    feed: FeedConfig
    text: TextConfig = TextConfig()
    labels: LabelConfig = LabelConfig()
    split: SplitConfig = SplitConfig()
    network: ReaderConfig = ReaderConfig()
    fit: FitConfig = FitConfig()

    @model_validator(mode="after")
    def _has_learned(self) -> NewsTrainConfig:
        if not self.labels.stages and self.text.checkpoint is None:
            raise ValueError("labels.stages is empty, so nothing is learned; that goes with text.checkpoint only")
        return self


def is_about_texts(path: Path | str) -> bool:
    """Tell whether a training's TOML is one of these; whatever else is wrong with it is said when it is loaded."""
    try:
        return "text" in tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def load(path: Path | str, overrides: Iterable[str] = ()) -> NewsTrainConfig:
    """Read such a TOML.

    Raises:
        ConfigError: naming every problem with its line.
    """
    return load_as(NewsTrainConfig, path, overrides)
