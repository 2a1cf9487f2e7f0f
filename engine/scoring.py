"""The models of a run beside its corridor: put in front of a tape, or, when a run is done over, their recorded scores.

A run without models comes through here untouched, and without an import of what models need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import journal
from engine.bars import kind_ns
from engine.clock import Clock, Sessions
from engine.config import RunConfig
from engine.errors import JournalError
from engine.events import InboxEvent, ModelStatus, Signal
from engine.journal import Journal
from engine.ports import Publish
from engine.record.placing import with_recorded
from engine.strategy import Strategy

if TYPE_CHECKING:
    from engine.model.deploy import Deployer
    from engine.model.lane import Lane
    from engine.model.stage import Stage

SWAPS = frozenset({"swapped", "rolled_back"})


class Scoring:
    """The models of one run.

    With `again`, the scores are those that the journal holds, and no file is opened.

    Attributes:
        lanes: the models, in their order; each hears the signals of those before it.
        deployer: makes another when a file is swapped; None without models.
    """

    def __init__(self, config: RunConfig, feed: Any, sessions: Sessions, *, clock: Clock, again: bool = False) -> None:
        self._config, self._again = config, again
        self.lanes: list[Lane] = []
        self.deployer: Deployer | None = None
        if again or not config.models or config.feed.as_received is not None:
            return
        from engine.model.deploy import Deployer

        is_live = not hasattr(feed, "batches")
        now_ns = clock.now_ns() if is_live else feed.span_ns[0]
        self.deployer = Deployer(config, feed.symbols, sessions, span_ns=feed.span_ns, now_ns=now_ns)
        self.lanes = [lane for model in config.models for lane in self.deployer.lanes(model)]
        for scorer in (lane.scorer for lane in self.lanes if is_live):
            if count := scorer.features.warm_up_bars:
                feed.want(kind_ns(scorer.card.interval_ns, sessions), count)

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of the files that score, by model."""
        return {lane.label: lane.scorer.bundle.sha256 for lane in self.lanes}

    def told(self) -> str:
        """Return the models for a person, a line each: the file, its hash and where it runs."""
        return "\n".join(
            f"model {lane.label}: {lane.scorer.bundle.path}, SHA-256 {lane.scorer.bundle.sha256}, "
            f"{lane.scorer.backend.name} on {lane.scorer.backend.device}"
            for lane in self.lanes
        )

    def batches(self, batches: Iterator[Sequence[InboxEvent]], ledger: Journal) -> Iterator[Sequence[InboxEvent]]:
        """Yield a tape's events with the models' signals among them."""
        if not self._config.models or self._config.feed.as_received is not None:
            return batches
        names = {model.name for model in self._config.models}
        if self._again:
            return with_recorded(batches, recorded(ledger.path, names))
        if ledger.following:
            kept = [record for record in recorded(ledger.path, names) if isinstance(record, Signal)]
            for lane in self.lanes:
                lane.outlet.recorded = {(one.symbol, one.ts_event_ns): one for one in kept if one.model == lane.name}
        for lane in self.lanes:
            batches = lane.batches(batches)
        return batches

    def stage(self, publish: Publish, clock: Clock, folder: Path) -> Stage | None:
        """Return the models as a stage at a live run's inbox, None without any."""
        if not self.lanes:
            return None
        from engine.model.stage import Stage

        return Stage(self.lanes, publish, clock, folder / "models")

    def hashes_begun(self, path: Path, begun: dict[str, str]) -> dict[str, str]:
        """Return what the head of a journal says of its models.

        Raises:
            JournalError: a file of today is not the one that scored last: the first, or the newest swapped in since.
        """
        if self._again or not begun:
            return begun if self._again else self.hashes
        newest = dict(begun)
        for record in recorded(path, set(begun)):
            if isinstance(record, ModelStatus) and record.state in SWAPS:
                newest[record.model] = record.sha256
        for name, sha256 in self.hashes.items():
            if newest.get(name) != sha256:
                told = f"SHA-256 {newest.get(name, '(none)')[:12]}, now {sha256[:12]}"
                raise JournalError(f"{path} holds another run: the file of model {name} has another content ({told})")
        return begun


def recorded(path: Path, names: set[str]) -> Iterator[Signal | ModelStatus]:
    """Yield what a journal holds of these models, in order."""
    for record in journal.read(path):
        if isinstance(record, Signal | ModelStatus) and record.model in names:
            yield record


def hearing(strategies: Sequence[Strategy], config: RunConfig) -> dict[str, frozenset[str]]:
    """Return the strategies that each model binds: those that its table names, or all that hear signals."""
    listening = frozenset(
        table.name
        for table, one in zip(config.strategies, strategies, strict=True)
        if type(one).on_signal is not Strategy.on_signal
    )
    return {
        model.name: listening if "*" in model.strategies else frozenset(model.strategies) for model in config.models
    }
