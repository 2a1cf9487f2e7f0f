"""The tables of a training's TOML: one file is one complete experiment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.config.alike import load_as
from engine.config.models import ModelConfig
from engine.config.tables import FeedConfig, Table, known_interval
from engine.model.card import FeatureSpec

Score = Literal["forward_return", "direction", "above_median", "triple_barrier", "volatility", "reconstruction"]


class FeatureConfig(Table):
    """One feature by name, with its parameters."""

    name: str = Field(description="The feature's name.", examples=["returns"])
    params: dict[str, int | float | str] = Field({}, description="Parameters that differ from its defaults.")


class DataConfig(Table):
    """What the model sees."""

    symbols: tuple[str, ...] = Field(("*",), description='Symbols to train on; `"*"` is all of the tape.')
    bar: str = Field("1d", description="Length of the tape's bars: `1min`, `1h`, or `1d` for a session.")
    hours: Literal["regular", "extended"] = Field("regular", description="Whether pre- and post-market bars count.")
    lookback: int = Field(60, ge=1, description="How many bars a window holds.")
    missing: Literal["carry", "mask", "refuse"] = Field("carry", description="What a bar is that has no value.")
    features: tuple[FeatureConfig, ...] = Field(min_length=1, description="The features, in order.")
    normalization: Literal["none", "min_max", "z_score", "robust"] = Field(
        "z_score", description="How features are scaled; fitted on the training span only."
    )
    clip: float | None = Field(5.0, gt=0, description="Inputs are cut at plus and minus this; unset, they are not.")

    @field_validator("symbols", mode="before")
    @classmethod
    def _all_symbols(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    _known_bar = field_validator("bar")(known_interval)

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """The features as a card writes them."""
        return tuple(FeatureSpec(one.name, one.params) for one in self.features)


class TargetConfig(Table):
    """What the model is to foretell."""

    use: Score = Field("direction", description="`forward_return`, `direction`, ... or `reconstruction`, for a guard.")
    horizon_bars: int = Field(1, ge=1, description="How many bars ahead.")
    threshold: float = Field(0.0, ge=0, description="For `direction`: smaller moves are a class of their own.")
    barrier_width: float = Field(2.0, gt=0, description="For `triple_barrier`: in volatilities of one bar.")
    volatility_bars: int = Field(20, ge=2, description="Bars over which past volatility is measured.")

    @property
    def values(self) -> tuple[float, ...]:
        """What the classes are worth, from the lowest; empty where the target is a number."""
        if self.use == "triple_barrier" or (self.use == "direction" and self.threshold):
            return (-1.0, 0.0, 1.0)
        return (-1.0, 1.0) if self.use in ("direction", "above_median") else ()

    @property
    def is_directional(self) -> bool:
        """Whether a higher score means a better price, so that it can be traded."""
        return self.use not in ("volatility", "reconstruction")


class SplitConfig(Table):
    """How time is cut, once."""

    train: float = Field(0.6, gt=0, lt=1, description="Share of the instants to train on, the first ones.")
    validation: float = Field(0.2, gt=0, lt=1, description="Share on which training is stopped; the rest is the test.")
    embargo_bars: int = Field(0, ge=0, description="Bars left out before each cut, beyond what purging takes.")

    @model_validator(mode="after")
    def _leaves_a_test(self) -> SplitConfig:
        if self.train + self.validation >= 0.999:
            raise ValueError("train and validation leave nothing to test on; together they should be below 1")
        return self


class WalkForwardConfig(Table):
    """How time is cut again and again: train, test on what follows, move on."""

    train_bars: int = Field(ge=10, description="Instants in each training span, validation included.")
    test_bars: int = Field(ge=1, description="Instants in each test span.")
    validation: float = Field(0.2, gt=0, lt=1, description="Last share of a training span, on which it is stopped.")
    anchored: bool = Field(False, description="Begin every training span at the first instant.")


class NetworkConfig(Table):
    """The network."""

    use: str = Field("lstm", description="`mlp`, `cnn`, `lstm`, `gru`, `cnn_lstm`, `transformer` or `autoencoder`.")
    hidden: int = Field(32, ge=1, description="Width of its layers.")
    layers: int = Field(1, ge=1, description="Number of its layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the numbers left out at random in training.")
    kernel: int = Field(3, ge=1, description="For convolutions: how many bars one sees.")
    heads: int = Field(4, ge=1, description="For `transformer`: how many things at once a bar looks for.")
    start_from: Path | None = Field(None, description="A bundle whose trunk this network begins with.")
    freeze: bool = Field(False, description="Leave that trunk as it is and train a new head only.")

    @model_validator(mode="after")
    def _freezes_something(self) -> NetworkConfig:
        if self.freeze and self.start_from is None:
            raise ValueError("freeze keeps the trunk of another bundle; name it in start_from")
        return self


class EnsembleConfig(Table):
    """Several networks as one bundle, in the place of `network`."""

    combine: Literal["mean", "vote", "stacked"] = Field("mean", description="How the members speak as one.")
    members: tuple[NetworkConfig, ...] = Field(min_length=2, description="The networks, each with a seed of its own.")


class FitConfig(Table):
    """How a network is trained."""

    epochs_max: int = Field(40, ge=1, description="Passes over the training set, at most.")
    patience: int = Field(8, ge=1, description="Passes without a better validation loss after which it stops.")
    batch_size: int = Field(512, ge=1, description="Windows in one step.")
    learning_rate: float = Field(1e-3, gt=0, description="Size of a step.")
    optimizer: Literal["adam", "rmsprop", "sgd"] = Field("adam", description="The method.")
    l1: float = Field(0.0, ge=0, description="Penalty on the sum of the weights' sizes.")
    l2: float = Field(0.0, ge=0, description="Penalty on the sum of their squares, as the optimizer's weight decay.")
    clip_norm: float | None = Field(1.0, gt=0, description="Longest gradient of a step; unset, any.")
    class_weights: Literal["none", "balanced"] = Field("balanced", description="Whether rare classes count for more.")
    precision: Literal["float32", "mixed"] = Field("float32", description="`mixed` halves the numbers on a GPU.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto` is a GPU where there is one.")
    threads: int = Field(
        1, ge=1,
        description="CPU threads. More may be quicker on an idle machine and are many times slower on a busy one, and "
        "another number may change the last digits.",
    )  # fmt: skip
    tensorboard: bool = Field(False, description="Also write the losses for TensorBoard, which has to be installed.")


class BookConfig(Table):
    """The plain book by which models and baselines are compared, after costs."""

    use: Literal["top_bottom", "long_only", "long_short"] = Field(
        "top_bottom",
        description="Hold the `k` best and sell the `k` worst; or hold what scores above zero; or go by every sign.",
    )
    k: int = Field(10, ge=1, description="For `top_bottom`: symbols on each side.")
    cost_bps: float = Field(5.0, ge=0, description="Cost of each dollar bought or sold, in basis points.")
    entry: Literal["next_open", "close"] = Field(
        "next_open",
        description="The price a decision gets: the next bar's open, as an order would, or the close it was made of.",
    )


class GateConfig(Table):
    """When `onetape retrain` puts a new model in the place of the old."""

    champion: Path | None = Field(None, description="The bundle in use; by default the one that this file makes.")
    confidence: float = Field(
        0.6, ge=0.5, lt=1,
        description="Probability, by the bootstrap, that the challenger earns more after costs on held-out data.",
    )  # fmt: skip


class TrainConfig(Table):
    """One complete training."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="Name of the model and of its file.")
    version: str = Field("1", description="Its version, for whoever reads the card.")
    seed: int = Field(ge=0, lt=2**31, description="Seeds weights, order and dropout.")
    calendar: str = Field("XNYS", description="Trading sessions: `24/7` or a calendar of `exchange_calendars`.")
    out_dir: Path = Field(Path("models"), description="Folder for the bundle, report and checkpoints.")
    ledger: Path | None = Field(
        None,
        description="Where every trial is written down, so that luck can be told from skill; by default "
        "`trials.jsonl` beside the tape.",
    )
    expires_after_days: int | None = Field(None, ge=1, description="No signals so long after the newest bar it knows.")
    feed: FeedConfig
    models: tuple[ModelConfig, ...] = Field(
        (), description="Models whose scores are features: `news_score` of their names, as `[[models]]` of a run."
    )
    data: DataConfig
    target: TargetConfig = TargetConfig()
    split: SplitConfig = SplitConfig()
    walk_forward: WalkForwardConfig | None = None
    network: NetworkConfig = NetworkConfig()
    ensemble: EnsembleConfig | None = None
    fit: FitConfig = FitConfig()
    book: BookConfig = BookConfig()
    gate: GateConfig = GateConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        guards = [one.use == "autoencoder" for one in self.members]
        if any(guards) != (self.target.use == "reconstruction"):
            raise ValueError("an autoencoder goes with target 'reconstruction' and with no other")
        if any(guards) and self.ensemble:
            raise ValueError("autoencoders make no ensemble")
        champion = self.gate.champion
        if champion and not (
            champion.suffix == ".pt" and f"{champion.stem}-".startswith(tuple(self.name + mark for mark in "-_."))
        ):
            raise ValueError(f"gate.champion is opened by the name in its card: call it {self.name}.pt")
        return self

    @property
    def mode(self) -> str:
        """What this is to the models before it: a tape is played to them."""
        return "replay"

    @property
    def trials(self) -> Path:
        """The ledger: whatever folders they write into, trials on one tape count together."""
        paths = getattr(self.feed.settings, "paths", ())
        return self.ledger or (paths[0] if paths else self.out_dir).parent / "trials.jsonl"

    @property
    def members(self) -> tuple[NetworkConfig, ...]:
        """The networks that are trained: one, or those of the ensemble."""
        return self.ensemble.members if self.ensemble else (self.network,)

    def resolved(self) -> dict[str, Any]:
        """Return the whole experiment in the shape of its TOML, every default written out."""
        tree = self.model_dump(mode="json")
        tree["feed"] |= self.feed.settings.model_dump(mode="json") if self.feed.settings else {}
        return tree

    def trial_sha256(self) -> str:
        """Return a hash of what decides the result: the same trial again is no further trial."""
        tree = self.resolved()
        for key in ("name", "version", "out_dir", "ledger", "expires_after_days", "gate"):
            del tree[key]
        for key in ("device", "threads", "tensorboard", "precision"):
            del tree["fit"][key]
        tree["feed"].pop("paths", None)  # where a tape lies; what it is, its hash says
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def load(path: Path | str, overrides: Iterable[str] = ()) -> TrainConfig:
    """Read a training's TOML.

    Raises:
        ConfigError: naming every problem with its line.
    """
    return load_as(TrainConfig, path, overrides)
