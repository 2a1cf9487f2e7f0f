"""From the numbers of a pass to signals, or to what the declared policy puts in their place.

A number that is none, a pass that fails and one that comes late are never traded: what happens instead is the model's
`on_failure` and `on_late`. After `failures_max` such passes in a row the model counts as failed, until one succeeds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import journal
from engine.config.models import ModelConfig
from engine.errors import ModelError
from engine.events import Bar, ModelStatus, Signal
from engine.model.backends import Floats
from engine.model.card import Card
from engine.model.states import Rows

Action = Literal["none", "shrink", "reduce_only", "halt", "flatten"]
SEVERITY: Final[Mapping[str, int]] = {"none": 0, "shrink": 1, "reduce_only": 2, "flatten": 3, "halt": 4}
HEALTHY: Final = "healthy"


class Verdict(NamedTuple):
    """What one of the judges over a model asks for: the breaker, or its health."""

    state: Literal["healthy", "degraded", "failed"] = "healthy"
    action: Action = "none"
    reason: str = ""


class Latency:
    """How long a pass takes in simulated time, drawn by the run's seed, in the order of the instants.

    Raises:
        ConfigError: the journal to draw from cannot be read.
        ModelError: it holds no signals of this model.
    """

    def __init__(self, config: ModelConfig, card: Card, seed: int) -> None:
        self._random = random.Random(f"{seed}/{config.name}")
        fixed_ms = card.latency_budget_us / 1e3 if config.latency_ms is None else config.latency_ms
        self._fixed_ns, self._jitter_ns = round(fixed_ms * 1e6), round(config.latency_jitter_ms * 1e6)
        self._recorded = recorded_ns(config.latency_from, config.name) if config.latency_from is not None else ()

    def draw_ns(self) -> int:
        """Return how long the next pass takes."""
        if self._recorded:
            return self._recorded[self._random.randrange(len(self._recorded))]
        return self._fixed_ns + (self._random.randrange(self._jitter_ns + 1) if self._jitter_ns else 0)


def recorded_ns(path: Path, model: str) -> tuple[int, ...]:
    """Return how long a live run waited for each signal, from the arrival of its bar.

    Raises:
        ModelError: its journal holds none of this model.
    """
    arrived: dict[str, int] = {}
    found = []
    for record in journal.read(path):
        if isinstance(record, Bar):
            arrived[record.symbol] = record.ts_recv_ns
        elif isinstance(record, Signal) and record.model == model and record.symbol in arrived:
            found.append(max(0, record.ts_recv_ns - arrived[record.symbol]))
    if not found:
        raise ModelError(f"models.{model}.latency_from: {path} holds no signals of '{model}' on a live feed")
    return tuple(found)


class Outlet:
    """What leaves the lane under a model's name.

    Attributes:
        counts: scored, published, not_a_number, late, failed, repeated; for metrics.
        recorded: signals that a journal holds already, by symbol and bar; they go in the place of those computed anew.
    """

    def __init__(self, config: ModelConfig, card: Card, symbols: Sequence[str], sha256: str) -> None:
        self.config, self.symbols = config, tuple(symbols)
        self.counts = dict.fromkeys(("scored", "published", "not_a_number", "late", "failed", "repeated"), 0)
        self.recorded: dict[tuple[str, int], Signal] = {}
        self._row = {symbol: row for row, symbol in enumerate(self.symbols)}
        self._misses = 0
        self._verdicts = {"breaker": Verdict(), "health": Verdict()}
        self._told = Verdict()
        self._last = np.full(len(self.symbols), np.nan)
        self._deadline_ns = round(config.deadline_ms * 1e6) if config.deadline_ms is not None else 0
        self.take_over(card, sha256)

    def take_over(self, card: Card, sha256: str) -> None:
        """Speak for another file from here on."""
        config = self.config
        ttl_ns = round(config.ttl_s * 1e9) if config.ttl_s is not None else round(card.signal_ttl_ms * 1e6)
        self.ttl_ns = ttl_ns or card.interval_ns
        self.sha256, self._source = sha256, sha256[:12]
        self._horizon_ns = card.outputs[0].horizon_ns
        self._expires_ns = card.expires_ns

    def absolve(self, health: Verdict, ts_ns: int) -> list[Signal | ModelStatus]:
        """Forget what its judges had against the file that spoke until now, for `health`, that of the one before.

        Returns what lifts, or puts in its place, what the bad file's status still asks of the corridor.
        """
        asked, self._misses, self._told = self._told.action, 0, health
        self._verdicts = {"breaker": Verdict(), "health": health}
        return [self.status(ts_ns, health)] if asked != health.action else []

    @property
    def health(self) -> Verdict:
        """What the model's health asks for."""
        return self._verdicts["health"]

    @property
    def has_failed(self) -> bool:
        return self._verdicts["breaker"].state == "failed"

    def publish(
        self, ts_ns: int, took_ns: int, rows: Rows, ts_event_ns: NDArray[np.int64], scores: Floats,
    ) -> list[Signal | ModelStatus]:  # fmt: skip
        """Return what goes out for a pass that began at `ts_ns`. Shapes: rows, times and scores are `[n]`."""
        self.counts["scored"] += len(rows)
        if took_ns >= self.ttl_ns or (self._deadline_ns and took_ns > self._deadline_ns):
            return self.late(ts_ns, took_ns, rows, ts_event_ns)
        good = np.isfinite(scores)
        if good.all():
            self._misses = 0
            found = self._signals(ts_ns, took_ns, rows, ts_event_ns, scores, self._source)
        elif good.any():
            self._misses = 0
            bad = ~good
            self.counts["not_a_number"] += int(bad.sum())
            found = self._signals(ts_ns, took_ns, rows[good], ts_event_ns[good], scores[good], self._source)
            if self.config.on_failure == "last":
                found += self._repeated(ts_ns, took_ns, rows[bad], ts_event_ns[bad])
        else:
            self.counts["not_a_number"] += len(rows)
            reason = "its scores are not numbers"
            return self._missed(ts_ns, took_ns, rows, ts_event_ns, self.config.on_failure, reason)
        if self.has_failed:
            self._verdicts["breaker"] = Verdict()
            return [*self.told(ts_ns + took_ns), *found]
        return [*found]

    def late(self, ts_ns: int, took_ns: int, rows: Rows, ts_event_ns: NDArray[np.int64]) -> list[Signal | ModelStatus]:
        """Return what goes out when a pass took longer than its deadline, or than its scores live."""
        self.counts["late"] += len(rows)
        reason = f"a pass took {took_ns / 1e6:.1f} ms, longer than its deadline or than its scores live"
        return self._missed(ts_ns, took_ns, rows, ts_event_ns, self.config.on_late, reason)

    def hung(self, ts_ns: int, rows: Rows, ts_event_ns: NDArray[np.int64]) -> list[Signal | ModelStatus]:
        """Return what goes out for an instant that comes while a pass hangs."""
        self.counts["late"] += len(rows)
        reason = "a pass has not come back, long after its deadline"
        return self._missed(ts_ns, 0, rows, ts_event_ns, self.config.on_late, reason)

    def fail(
        self, ts_ns: int, took_ns: int, rows: Rows, ts_event_ns: NDArray[np.int64], reason: str
    ) -> list[Signal | ModelStatus]:
        """Return what goes out when a pass has failed."""
        self.counts["failed"] += len(rows)
        return self._missed(ts_ns, took_ns, rows, ts_event_ns, self.config.on_failure, reason)

    def follow(self, event: Signal | ModelStatus) -> None:
        """Take note of what went out before a restart: the last values, and what still stands."""
        if isinstance(event, Signal):
            self._last[self._row[event.symbol]] = event.score
        elif event.state in ("healthy", "degraded", "failed"):
            self._told = said = Verdict(event.state, event.action, event.reason)
            by_health = said.state == "degraded" or said.action not in ("none", "flatten")  # a failure asks no more
            breaker = said._replace(action="none") if by_health else said
            self._verdicts = {
                "breaker": breaker if said.state == "failed" else Verdict(),
                "health": said._replace(state="degraded") if by_health else Verdict(),
            }

    def judge(self, who: Literal["breaker", "health"], verdict: Verdict, ts_ns: int) -> list[Signal | ModelStatus]:
        """Take a judge's verdict; return what has to be told, if that changes what the model asks for."""
        self._verdicts[who] = verdict
        return self.told(ts_ns)

    def told(self, ts_ns: int) -> list[Signal | ModelStatus]:
        """Return the status that all judges together come to, if it is another than before.

        A failure is told whatever else stands; the action is the most severe of all.
        """
        worst = max(self._verdicts.values(), key=lambda one: (SEVERITY[one.action], one.state != HEALTHY))
        if self.has_failed and worst.state != "failed":  # its health asks for more than the policy does
            worst = Verdict("failed", worst.action, f"{self._verdicts['breaker'].reason}; {worst.reason}")
        if worst[:2] == self._told[:2]:
            return []
        self._told = worst
        return [self.status(ts_ns, worst)]

    def status(self, ts_ns: int, verdict: Verdict) -> ModelStatus:
        """Return a verdict as an event."""
        fraction = self.config.health.shrink_percent / 100 if verdict.action == "shrink" else 1.0
        return ModelStatus(
            self.config.name, ts_ns, ts_ns, verdict.state, verdict.action, fraction, verdict.reason, self.sha256
        )

    def _missed(
        self, ts_ns: int, took_ns: int, rows: Rows, ts_event_ns: NDArray[np.int64], policy: str, reason: str
    ) -> list[Signal | ModelStatus]:
        self._misses += 1
        found: list[Signal | ModelStatus] = []
        if self._misses == self.config.failures_max:
            told = f"{self._misses} passes in a row: {reason}"
            verdict = Verdict("failed", "flatten" if policy == "flatten" else "none", told)
            found = self.judge("breaker", verdict, ts_ns + took_ns)
        if policy == "last":
            found += self._repeated(ts_ns, took_ns, rows, ts_event_ns)
        return found

    def _repeated(self, ts_ns: int, took_ns: int, rows: Rows, ts_event_ns: NDArray[np.int64]) -> list[Signal]:
        known = np.isfinite(self._last[rows])
        rows, ts_event_ns = rows[known], ts_event_ns[known]
        self.counts["repeated"] += len(rows)
        took_ns = min(took_ns, self.ttl_ns - 1)  # the last value was there all the time
        return self._signals(ts_ns, took_ns, rows, ts_event_ns, self._last[rows], "last")

    def _signals(
        self, ts_ns: int, took_ns: int, rows: Rows, ts_event_ns: NDArray[np.int64], scores: NDArray[np.floating],
        source: str,
    ) -> list[Signal]:  # fmt: skip
        self._last[rows] = scores
        self.counts["published"] += len(rows)
        recv_ns, expire_ns = ts_ns + took_ns, min(ts_ns + self.ttl_ns, self._expires_ns)
        symbols, name, horizon_ns = self.symbols, self.config.name, self._horizon_ns
        found = [
            Signal(symbols[row], event_ns, recv_ns, name, score, horizon_ns, expire_ns, source)
            for row, event_ns, score in zip(rows.tolist(), ts_event_ns.tolist(), scores.tolist(), strict=True)
        ]
        if self.recorded:
            return [self.recorded.pop((one.symbol, one.ts_event_ns), one) for one in found]
        return found


def is_fault(event: Signal | ModelStatus) -> bool:
    """Tell whether an event says that a file is not fit to trade by, so that one on probation has to go."""
    return isinstance(event, ModelStatus) and (
        event.state == "failed" or (event.state == "degraded" and SEVERITY[event.action] >= SEVERITY["reduce_only"])
    )
