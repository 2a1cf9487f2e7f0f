"""The tables of a run's TOML as frozen models; every option's description is its line in the reference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from engine.bars import interval_ns
from engine.config.models import ModelConfig
from engine.config.models import Table as Table  # every other table is made of it too
from engine.errors import ConfigError
from engine.risk.limits import RiskLimits


def known_interval(value: str | None) -> str | None:
    """Validate the length of a bar, as it is written."""
    if value is not None:
        try:
            interval_ns(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    return value


class FeedConfig(Table):
    """Where events come from."""

    use: str = Field(
        description="The feed: a plugin's name, module:Class or path/to/file.py:Class.", examples=["replay"]
    )
    speed: float = Field(
        0.0, ge=0, allow_inf_nan=False,
        description="Simulated seconds per second in `onetape run`; 0 runs unpaced. `onetape backtest` ignores it.",
    )  # fmt: skip
    as_received: Path | None = Field(
        None,
        description="Journal of a live run whose venue played this tape: `onetape backtest` then takes events, orders "
        "and answers on the way as they went (docs/recovery.md).",
    )  # fmt: skip
    settings: SerializeAsAny[BaseModel] | None = Field(None, exclude=True)


class BrokerConfig(Table):
    """Where approved orders go."""

    use: str = Field(
        description="The broker: a plugin's name, module:Class or path/to/file.py:Class.", examples=["paper"]
    )
    settings: SerializeAsAny[BaseModel] | None = Field(None, exclude=True)


class StrategyConfig(Table):
    """One strategy with a book of its own."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,31}$", examples=["cross"],
        description="Its name in orders, journal and report: lower case, 32 characters at most.",
    )  # fmt: skip
    use: str = Field(
        description="The strategy: a plugin's name, module:Class or path/to/file.py:Class.", examples=["sma_cross"]
    )
    symbols: tuple[str, ...] = Field(
        min_length=1, examples=[["SPY"]], description='What it is told about and may trade; `"*"` is all of the feed.'
    )
    bar: str | None = Field(
        None, examples=["5min"],
        description="Its bars: `30s`, `1min`, `1h`, or `1d` for a session; unset, as the feed has them.",
    )  # fmt: skip
    params: dict[str, Any] = Field(default_factory=dict, description="Values of the strategy's own parameters.")

    @field_validator("symbols", mode="before")
    @classmethod
    def _all_symbols(cls, value: object) -> object:
        return ("*",) if value == "*" else tuple(value) if isinstance(value, list) else value

    @field_validator("symbols")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({symbol for symbol in value if value.count(symbol) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} given twice")
        if "*" in value and len(value) > 1:
            raise ValueError('"*" is all symbols already')
        return value

    _known_bar = field_validator("bar")(known_interval)


class JournalConfig(Table):
    """How the record of the run is kept."""

    durability: Literal["process", "power"] = Field(
        "process",
        description="What a sent intent has outlived: a killed `process`, or loss of `power` too (waits for the disk).",
    )


class LogConfig(Table):
    """What is told about the run while it runs."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least serious record kept. A backtest keeps warnings and errors unless this is set."
    )
    file: bool = Field(
        True,
        description="Also write `log.jsonl`, one JSON record a line, into `out_dir`. A backtest writes its "
        "`backtest.log.jsonl` only when this is set.",
    )


class MetricsConfig(Table):
    """What a monitoring system may read of the daemon."""

    port: int | None = Field(
        None, ge=1, le=65535, examples=[9464],
        description="Port on 127.0.0.1 for `/metrics` (Prometheus) and `/health`; unset, neither is served.",
    )  # fmt: skip


class AlertsConfig(Table):
    """Who is told at once when something needs a person. Every alert is in the log in any case."""

    webhook_env: str | None = Field(
        None, examples=["ONETAPE_WEBHOOK"],
        description="Variable that holds the address to which alerts are posted as JSON; unset, none are.",
    )  # fmt: skip
    repeat_after_s: float = Field(
        300.0, ge=0, allow_inf_nan=False,
        description="For how long the same alert is not told again, in seconds; the next one says how often it was.",
    )  # fmt: skip

    @field_validator("webhook_env")
    @classmethod
    def _names_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isidentifier()):  # an address would be a secret: unsaid
            raise ValueError("should be the name of an environment variable, not the address itself")
        return value


class WatchdogConfig(Table):
    """The dead man's switch: a second process that cancels entries when the daemon gives no sign of life."""

    start: bool = Field(False, description="Start it with the daemon; otherwise run `onetape watchdog` beside it.")
    alert_after_s: float = Field(
        15.0,
        ge=3,
        allow_inf_nan=False,
        description="Silence after which it alerts, in seconds. The heart beats once each.",
    )
    cancel_after_s: float = Field(
        30.0, ge=5, allow_inf_nan=False,
        description="Silence after which it cancels entries and has the daemon halt, in seconds.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _alerts_first(self) -> WatchdogConfig:
        if self.cancel_after_s < self.alert_after_s:
            raise ValueError(
                f"cancel_after_s ({self.cancel_after_s:g}) is before alert_after_s ({self.alert_after_s:g})"
            )
        return self


class RunOutline(BaseModel):
    """What it takes to reach a run from beside it, or to help when it does not answer; its other keys are not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    mode: Literal["replay", "paper", "live"] = Field(
        description="`replay`: a backtest. `paper`: the daemon without money. `live`: real money, with `--live` too.",
        examples=["replay"],
    )
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,47}$", examples=["demo"],
        description="Names the run, in its orders' ids too: letters, digits, `_` and `-`, 48 at most.",
    )  # fmt: skip
    out_dir: Path = Field(
        default_factory=lambda data: default_out_dir(data.get("name", "")),
        description="Folder of the journal, report and log; by default `runs/` and the run's name.",
    )
    broker: BrokerConfig
    alerts: AlertsConfig = AlertsConfig()
    watchdog: WatchdogConfig = WatchdogConfig()


def default_out_dir(name: str) -> Path:
    """Return where a run is written that does not say where."""
    return Path("runs") / name


class RunConfig(RunOutline):
    """One complete run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    live_profile: Path | None = Field(
        None, examples=["live.toml"],
        description="For `live`: the owner-only file that approves this run on one account (docs/live.md).",
    )  # fmt: skip
    seed: int = Field(ge=0, lt=2**63, examples=[7], description="Seeds every random draw of the run.")
    calendar: str = Field(
        "XNYS", description="Trading sessions: `24/7`, or a calendar of `exchange_calendars` such as `XNYS`."
    )
    handler_budget_ms: float = Field(
        50.0, gt=0, allow_inf_nan=False,
        description="How long a strategy's callback may take in the daemon before it is reported, in milliseconds.",
    )  # fmt: skip
    warm_up_s: float = Field(
        0.0,
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="How long, from the tape's first event, windows fill while trading is disabled, in seconds.",
    )
    feed: FeedConfig
    strategies: tuple[StrategyConfig, ...] = Field(min_length=1, description="The strategies, in order of precedence.")
    models: tuple[ModelConfig, ...] = Field((), description="The models, each hearing the signals of those before it.")
    risk: RiskLimits
    journal: JournalConfig = JournalConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()

    @field_validator("strategies")
    @classmethod
    def _distinct_names(cls, value: tuple[StrategyConfig, ...]) -> tuple[StrategyConfig, ...]:
        names = [strategy.name for strategy in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two strategies are called {', '.join(twice)}; names keep their books apart")
        return value

    @model_validator(mode="after")
    def _models_bind_strategies(self) -> RunConfig:
        known, names = {one.name for one in self.strategies}, [one.name for one in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two models are called {', '.join(twice)}; names tell their signals apart")
        for model in self.models:
            if unknown := sorted({*model.strategies} - known - {"*"}):
                raise ValueError(f"models.{model.name}.strategies: no strategy is called {', '.join(unknown)}")
        return self

    def resolved(self) -> dict[str, Any]:
        """Return the whole run in the shape of its TOML: every default written out, every path absolute."""
        tree = self.model_dump(mode="json")
        for part, config in (("feed", self.feed), ("broker", self.broker)):
            tree[part] |= config.settings.model_dump(mode="json") if config.settings else {}
        return tree

    def resolved_json(self) -> str:
        """Return what decides the run's decisions as canonical JSON, for the head of the journal.

        Left out is where the run is written, how it is kept, told, watched and paced, and where its tape lies: what the
        tape is, its hash says. No secret is in it, because a configuration may not hold one.
        """
        tree = self.resolved()
        for key in ("out_dir", "live_profile", "journal", "handler_budget_ms", "log", "metrics", "alerts", "watchdog"):
            del tree[key]
        del tree["feed"]["speed"]
        if tree["feed"].pop("as_received"):
            tree["feed"]["as_received"] = True  # by which journal, its hash says
        for model in tree["models"]:
            for key in ("file", "challenger", "latency_from", "device", "threads", "window_ms", "inline_ms"):
                del model[key]  # what scores, its hash says; how fast, the signals themselves
            del model["health"]["guard"]
        if not tree["models"]:
            del tree["models"]
        tree["feed"].pop("paths", None)  # where a tape lies; what it is, its hash says
        return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def describe(self) -> str:
        """Return the resolved run for a person, one `key = value` a line; each key is one that `--set` takes."""
        return "\n".join(f"{key} = {_toml(value)}" for key, value in flat(self.resolved()) if value is not None)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield every key of a resolved run with its value, under the dotted name that `--set` takes."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                yield from flat(item, f"{prefix}{key}.{item.get('name', index)}.")
        else:
            yield prefix + key, value


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
