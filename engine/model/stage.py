"""The models of a live run as a stage at the inbox: it takes events after the corridor, and publishes signals."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args

from engine import journal
from engine.clock import Clock
from engine.config import ModelConfig
from engine.errors import ModelError
from engine.events import InboxEvent, MarketEvent, Signal
from engine.model.deploy import Deployer
from engine.model.lane import Lane
from engine.model.live_lane import LiveLane, Publish
from engine.model.switching import quick_switching

SHOWN: Final = frozenset({*get_args(MarketEvent), Signal})


class Stage:
    """The models of a live run, in their order.

    Attributes:
        lanes: one for each model.
    """

    def __init__(self, lanes: Sequence[Lane], publish: Publish, clock: Clock, folder: Path) -> None:
        self.lanes = [LiveLane(lane, publish, clock, folder) for lane in lanes]
        self._stack = ExitStack()
        self._since: list[InboxEvent] | None = None

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """What the models count, by model."""
        return {f"model {one.lane.name}": {**one.counts, **one.lane.counted()} for one in self.lanes}

    def restore(self) -> None:
        """Take over written states, before a journal is followed."""
        for one in self.lanes:
            one.restore()

    def follow(self, event: InboxEvent) -> None:
        """Take an event that a journal holds."""
        for one in self.lanes:
            one.follow(event)

    async def start(self) -> None:
        """Warm up off the event loop."""
        loop = asyncio.get_running_loop()
        for one in self.lanes:
            await loop.run_in_executor(None, one.warm)
        if any(not one.inline for one in self.lanes):
            self._stack.enter_context(quick_switching())

    def take(self, event: Any) -> None:
        """Take an event that the corridor has gone through."""
        if self._since is not None:
            self._since.append(event)
        for one in self.lanes:
            one.take(event)

    async def reload(self, deployer: Deployer, models: Sequence[ModelConfig], ledger: journal.Journal) -> list[str]:
        """Swap in the files that are other ones now; return the names of their models.

        New files are opened, loaded, warmed and shown what the journal holds beside the loop; once all are ready, each
        takes over between two events, and the old one stays ready until probation is over.

        Raises:
            ModelError: a file is refused; then nothing was changed.
        """
        by_name = {model.name: model for model in models}
        others = [
            (one, model)
            for one in self.lanes
            if await asyncio.to_thread(_sha256, (model := by_name[one.lane.name]).file) != one.lane.scorer.bundle.sha256
        ]
        if not others:
            return []
        if self._since is not None:
            raise ModelError(f"model '{others[0][1].name}': another file is being swapped in; ask again when it is")
        self._since, records = [], ledger.seq
        ready: list[tuple[LiveLane, Lane]] = []
        try:
            for one, model in others:
                ready.append((one, await asyncio.to_thread(_prepared, deployer, model, ledger.path, records)))
            while ready:
                one, lane = ready[0]
                await one.swap(lane, self._since)
                del ready[0]
        finally:
            self._since = None
            for _, lane in ready:  # prepared for nothing: another file was refused
                lane.scorer.backend.close()
        return [model.name for _, model in others]

    def shut(self) -> None:
        """Let go of threads and devices."""
        for one in self.lanes:
            one.shut()
        self._stack.close()


def _prepared(deployer: Deployer, model: ModelConfig, path: Path, records: int) -> Lane:
    """Return a lane that has seen what a journal's first records hold of the market."""
    lane = deployer.lane(model)
    for record in islice(journal.read(path), records):
        if type(record) in SHOWN and getattr(record, "model", "") != model.name:
            lane.take(record)
    lane.scorer.features.close()
    lane.scorer.warm()
    return lane


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
