"""Which run it was: what the first and the last record of a journal say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.clock import Sessions, to_datetime
from engine.errors import ConfigError
from engine.report.fold import Fold
from engine.report.summary import counted

ROUND_THE_CLOCK = "24/7"


class Run(msgspec.Struct, frozen=True):
    """The header of a report.

    Attributes:
        local_venue: the address of a venue of this machine that stood in for the real one, or nothing.
        config: the resolved configuration; empty where the journal holds none that reads as JSON.
        models: the SHA-256 of each model's file at the start.
        events: how many the run took in; None when its end is not recorded.
        warnings: what a reader must know before believing a figure.
    """

    name: str
    run_id: str
    mode: str
    calendar: str
    zone: str
    seed: int | None
    synthetic: bool
    local_venue: str
    engine_version: str
    tape_sha256: str
    account: str
    models: dict[str, str]
    events: int | None
    config: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Say what it was: of a tape a backtest, whichever mode its configuration would trade in, else the mode."""
        return "local venue" if self.local_venue else "backtest" if self.tape_sha256 else self.mode


def describe(fold: Fold) -> tuple[Run, Sessions]:
    """Return the header and the calendar of a folded journal."""
    started, warnings = fold.started, list(fold.warnings)
    config: dict[str, Any] = {}
    if started is None:
        warnings.append("The journal has no first record: which run, tape and configuration it was is not known.")
    else:
        config = _config(started.config)
        if not config:
            warnings.append("The journal's configuration does not read as JSON and is left out.")
    if fold.ended is None and fold.last_ns:
        last = f"{to_datetime(fold.last_ns):%Y-%m-%d %H:%M:%S} UTC"
        warnings.append(f"No end is recorded: the run was stopped or killed, or still goes on. Last record: {last}.")
    if fold.foreign_fills:
        warnings.append(f"Left out: {counted(fold.foreign_fills, 'execution')} of another program's orders.")
    warnings.extend(_seen_before(config))
    warnings.extend(_failed(fold))
    sessions = _sessions(str(config.get("calendar", ROUND_THE_CLOCK)), warnings)
    seed, feed = config.get("seed"), config.get("feed")
    feed = feed if isinstance(feed, dict) else {}
    run = Run(
        name=str(config.get("name") or (started.run_id if started else "unnamed run")),
        run_id=started.run_id if started else "",
        mode=str(config.get("mode", "")),
        calendar=sessions.calendar,
        zone=sessions.zone,
        seed=seed if isinstance(seed, int) else None,
        synthetic=feed.get("use") == "synthetic",
        local_venue=str(feed.get("server_url", "")),
        engine_version=started.engine_version if started else "",
        tape_sha256=started.tape_sha256 if started else "",
        account=started.account if started else "",
        models=started.models if started else {},
        events=fold.ended.events if fold.ended else None,
        config=config,
        warnings=tuple(warnings),
    )
    return run, sessions


def _seen_before(config: dict[str, Any]) -> Iterator[str]:
    """Name the models that were allowed to score days that they were trained on."""
    models = config.get("models")
    for model in models if isinstance(models, list) else []:
        if isinstance(model, dict) and model.get("allow_training_span"):
            yield (
                f"Model {model.get('name', '')!r} was allowed to score days that it was trained on: results of such "
                "days say nothing about days that it has not seen."
            )


def _failed(fold: Fold) -> Iterator[str]:
    """Name the models that gave no scores for a while, with the last reason."""
    for name, last in {one.model: one for one in fold.model_statuses if one.state == "failed"}.items():
        when = f"{to_datetime(last.ts_event_ns):%Y-%m-%d %H:%M:%S} UTC"
        yield f"Model {name!r} failed at {when}, and nothing of it was traded until it was well: {last.reason}."


def _config(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sessions(calendar: str, warnings: list[str]) -> Sessions:
    try:
        return Sessions(calendar)
    except ConfigError as error:
        warnings.append(f"{error}; days and times are UTC.")
        return Sessions(ROUND_THE_CLOCK)
