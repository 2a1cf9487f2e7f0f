"""The `[[models]]` tables: which file scores which symbols, how fast it has to be, and what its health may stop."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Policy = Literal["hold", "last", "flatten"]
HealthAction = Literal["none", "shrink", "reduce_only", "halt"]


class Table(BaseModel):
    """A table of the configuration: every key known, nothing changed after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HealthConfig(Table):
    """What is measured of a model while it runs, how far each measure may go, and what then happens (C34)."""

    look_every_count: int = Field(
        500, ge=20, description="Health is looked at after so many scores, over the last four times as many."
    )
    drift_psi_max: float | None = Field(
        None, gt=0, allow_inf_nan=False,
        description="Largest population stability index of any feature against the card; 0.25 is usually a shift.",
    )  # fmt: skip
    drift_ks_max: float | None = Field(
        None, gt=0, le=1, description="Largest Kolmogorov-Smirnov distance of any feature from the card."
    )
    drift_action: HealthAction = Field("shrink", description="What a drift of features leads to.")
    prediction_psi_max: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Largest population stability index of any output."
    )
    prediction_action: HealthAction = Field("shrink", description="What a drift of predictions leads to.")
    calibration_max: float | None = Field(
        None, gt=0, le=1,
        description="Largest distance between a predicted probability and how often it came true, in ten bins.",
    )  # fmt: skip
    calibration_action: HealthAction = Field("shrink", description="What bad calibration leads to.")
    age_days_max: float | None = Field(
        None, gt=0, allow_inf_nan=False,
        description="How long after the end of its training and validation a model may be used, in days.",
    )  # fmt: skip
    age_action: HealthAction = Field("reduce_only", description="What an old model, or an expired one, leads to.")
    ood_share_max: float | None = Field(
        None, gt=0, le=1,
        description="Largest share of inputs that are farther from the training's than the card's threshold.",
    )  # fmt: skip
    ood_action: HealthAction = Field("shrink", description="What inputs unlike the training's lead to.")
    guard: Path | None = Field(
        None, description="Bundle of an autoencoder; its error is how abnormal a window is to it."
    )
    guard_share_max: float = Field(
        0.05, gt=0, le=1,
        description="Share of windows with a larger error than its card's limit, which 1 % exceeded in its validation.",
    )  # fmt: skip
    guard_action: HealthAction = Field("reduce_only", description="What an abnormal market leads to.")
    shrink_percent: float = Field(
        50.0, gt=0, lt=100, description="What is left of the size limits when a measure asks to shrink, in percent."
    )


class ModelConfig(Table):
    """One model: a file that turns features of the market into signals under this name."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,31}$", examples=["lstm"],
        description="Its name in signals and journal: lower case, 32 characters at most.",
    )  # fmt: skip
    file: Path = Field(
        description="Its bundle. On a tape it may be a pattern such as `lstm-[0-9].pt`, the files of a training with "
        "`[walk_forward]`: each scores the days that it was tested on, until the next one's begin.",
        examples=["models/lstm.pt"],
    )
    challenger: Path | None = Field(
        None, description="A second bundle that scores the same events; it is compared, and nothing trades by it."
    )
    symbols: tuple[str, ...] = Field(("*",), min_length=1, description='What it scores; `"*"` is all of the feed.')
    strategies: tuple[str, ...] = Field(
        ("*",), min_length=1,
        description='Whom its health and its failure bind; `"*"` is every strategy that hears signals.',
    )  # fmt: skip
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where it runs; `auto` takes a GPU where there is one, `cuda` fails where there is none."
    )
    threads: int = Field(1, ge=1, le=64, description="Threads of one forward pass on a CPU.")
    allowed_sha256: tuple[str, ...] = Field(
        (), description="The files that may be run. Live trading needs the list; elsewhere an empty one allows any."
    )
    allow_training_span: bool = Field(
        False, description="Let a tape overlap the span that the model was trained on; the report says so."
    )
    unseen_days_only: bool = Field(
        False,
        description="On a tape, speak from the first day of the file's test span on; the tape may begin before it, "
        "to warm up.",
    )  # fmt: skip
    latency_ms: float | None = Field(
        None, ge=0, allow_inf_nan=False,
        description="Inference time charged to each signal on a tape; unset, the latency budget of the card.",
    )  # fmt: skip
    latency_jitter_ms: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Up to so much more, drawn by the run's seed for each instant."
    )
    latency_from: Path | None = Field(
        None, description="Journal of a live run: inference times are drawn from those that it holds."
    )
    deadline_ms: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="A score that takes longer is late, and not published."
    )
    ttl_s: float | None = Field(
        None, gt=0, allow_inf_nan=False,
        description="For how long a signal may be traded by; unset, as the card says, else one bar.",
    )  # fmt: skip
    window_ms: float = Field(
        250.0, ge=0, allow_inf_nan=False,
        description="How long a live instant waits for the symbols that still lack, from its first bar.",
    )  # fmt: skip
    inline_ms: float = Field(
        0.2, ge=0, allow_inf_nan=False,
        description="A pass whose measured p99 is under this runs in the event loop, a longer one on a thread.",
    )  # fmt: skip
    on_late: Policy = Field(
        "hold", description="A late score: no signal (`hold`), the `last` one again, or `flatten` what it holds."
    )
    on_failure: Policy = Field("hold", description="The same for one that is no number, or a pass that fails.")
    failures_max: int = Field(
        3, ge=1, description="Passes in a row that are late or fail until the model counts as failed."
    )
    probation_count: int = Field(
        1000, ge=0,
        description="Scores for which a swapped-in file is on probation: a failure or a halt of its health rolls back.",
    )  # fmt: skip
    health: HealthConfig = HealthConfig()

    @field_validator("symbols", "strategies", mode="before")
    @classmethod
    def _all(cls, value: object) -> object:
        return ("*",) if value == "*" else tuple(value) if isinstance(value, list) else value

    @field_validator("allowed_sha256")
    @classmethod
    def _hashes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if len(one) != 64 or set(one) - set("0123456789abcdef"):
                raise ValueError(f"{one!r} is no SHA-256: 64 hexadecimal digits in lower case")
        return value

    @model_validator(mode="after")
    def _one_latency(self) -> ModelConfig:
        if self.latency_from is not None and (self.latency_ms is not None or self.latency_jitter_ms):
            raise ValueError("latency_from draws from a journal; latency_ms and latency_jitter_ms do not go with it")
        return self
