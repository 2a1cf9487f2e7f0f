"""Recorded scores against those of today: the second half of the proof that a run with models can be had again.

The first is that the run decides the same from its recorded scores. Here the models see the same market again, and
what they say has to be what they said, within the tolerance of their cards: other hardware adds in another order.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, cast, get_args

from engine import journal
from engine.clock import LiveClock, Sessions
from engine.config import ModelConfig, from_dict
from engine.errors import Divergence, ModelError
from engine.events import InboxEvent, MarketEvent, RunStarted, Signal
from engine.model.deploy import Deployer
from engine.model.lane import Lane
from engine.parts import feed_of
from engine.ports import Feed
from engine.record.placing import with_recorded
from engine.scoring import recorded

MARKET = frozenset(get_args(MarketEvent))
SLICE = 4096


class Rescored(NamedTuple):
    """What came of one model: how many scores were compared, how far apart they were, and were allowed to be."""

    model: str
    scores: int
    distance: float
    tolerance: float


def rescore(path: Path) -> list[Rescored]:
    """Let the models of a recorded run score again what they scored then.

    Scores of a file that was swapped in or out meanwhile are left to the run of that file.

    Raises:
        Divergence: naming the first signal that is farther away than its card allows, or is not made any more.
        ModelError: a file is another one now.
    """
    ledger = journal.Journal(path, follow=True, frozen=True)
    try:
        config = from_dict(json.loads(ledger.noted("config")))
    finally:
        ledger.abandon()
    started = journal.header(path)
    sessions = Sessions(config.calendar)
    feed = feed_of(config, sessions, clock=LiveClock(), again=True)
    tape = cast(Feed, feed) if hasattr(feed, "batches") else None
    span_ns = (started.ts_event_ns, started.ts_event_ns) if tape is None else tape.span_ns
    deployer = Deployer(config, feed.symbols, sessions, span_ns=span_ns, now_ns=started.ts_event_ns)
    others = {model.name for model in config.models}
    return [
        _compared(lane, path, started, _market(path, tape, others - {model.name}))
        for model in config.models
        for lane in deployer.lanes(_neutral(model, is_live=tape is None))
    ]


def _compared(lane: Lane, path: Path, started: RunStarted, market: Iterable[Sequence[InboxEvent]]) -> Rescored:
    bundle, name = lane.scorer.bundle, lane.name
    if started.models.get(lane.label) != bundle.sha256:
        raise ModelError(f"{bundle.path}: the run began with another file of model '{lane.label}' (see its journal)")
    device = lane.scorer.backend.device.partition(" ")[0]
    golden = bundle.card.golden
    tolerance = golden.tolerance.get(device, max(golden.tolerance.values())) if golden is not None else 1e-5
    kept: dict[tuple[str, int], deque[tuple[int, Signal]]] = {}
    for number, record in enumerate(journal.read(path), start=1):
        if isinstance(record, Signal) and record.model == name and record.source == bundle.sha256[:12]:
            kept.setdefault((record.symbol, record.ts_event_ns), deque()).append((number, record))
    unlike: dict[tuple[str, int], Signal] = {}
    compared, distance = 0, 0.0
    for batch in lane.batches(market):
        for event in batch:
            if not isinstance(event, Signal) or event.model != name:
                continue
            same_bar = kept.get((event.symbol, event.ts_event_ns))
            if not same_bar:
                continue  # too late then, or before the run's windows were whole
            apart = abs(event.score - same_bar[0][1].score)
            if apart <= tolerance:
                same_bar.popleft()
                compared, distance = compared + 1, max(distance, apart)
            else:  # or it is a text that another of the same time overtook while a pass was under way
                unlike[event.symbol, event.ts_event_ns] = event
    for number, before in sorted(chain.from_iterable(kept.values()), key=itemgetter(0)):
        now = unlike.get((before.symbol, before.ts_event_ns))
        raise Divergence(number, journal.encode(before).decode(), "" if now is None else journal.encode(now).decode())
    return Rescored(lane.label, compared, distance, tolerance)


def _market(path: Path, tape: Feed | None, others: set[str]) -> Iterator[Sequence[InboxEvent]]:
    """Yield the market as a model of the run saw it, with the recorded signals of the other models."""
    if tape is not None:
        yield from with_recorded(tape.batches(), recorded(path, others))
        return
    batch: list[InboxEvent] = []
    for record in journal.read(path):
        if type(record) in MARKET or (isinstance(record, Signal) and record.model in others):
            batch.append(cast(InboxEvent, record))
            if len(batch) == SLICE:
                yield batch
                batch = []
    if batch:
        yield batch


def _neutral(model: ModelConfig, *, is_live: bool) -> ModelConfig:
    """Return a model that only scores: in no time, for ever, with nobody watching; live every day was unseen."""
    return model.model_copy(
        update={
            "latency_ms": 0.0, "latency_jitter_ms": 0.0, "latency_from": None, "deadline_ms": None, "challenger": None,
            "health": type(model.health)(), "allow_training_span": True,
            "unseen_days_only": model.unseen_days_only and not is_live,
        }
    )  # fmt: skip
