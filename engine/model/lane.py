"""The lane beside the corridor, on a recorded tape: market events go in, the same events and signals come out in order.

Windows depend on the market alone, so many instants may be scored in one pass. Threads score some stretches of the tape
while the corridor goes through those before and the features of the next are made: TorchScript lets go of Python's
lock, so a replay takes little longer than its forward passes on as many cores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.events import NEVER_NS, InboxEvent
from engine.model.backends import CHUNK, Floats
from engine.model.features import Pulled
from engine.model.health import Health
from engine.model.outlet import Latency, Outlet
from engine.model.rivals import Rivals
from engine.model.scorer import Scorer
from engine.model.states import Due, Rows
from engine.model.switching import quick_switching
from engine.record.placing import Published, merge, recv_ns

BLOCK: Final = 64
"""So many bars of one symbol are made features of at once."""
PULL_EVENTS: Final = 2048
ROWS_AHEAD: Final = 8 * CHUNK
EVENTS_AHEAD: Final = 50_000
ALWAYS_NEEDED: Final = frozenset({"quote", "vwap"})
"""What a tape has from its start or not at all; headlines may come late."""


class Scored(NamedTuple):
    """Scored windows and their newest bars as they came; what the network says, and that as one number.

    `failed` says of instants without outputs, by their first row, why.
    """

    windows: Floats
    newest: Floats
    outputs: Floats
    scores: Floats
    failed: Mapping[int, str]


class Stretch(NamedTuple):
    """A part of the tape whose scores are being computed; `ends` are where the rows of its instants end."""

    events: list[InboxEvent]
    rows: Rows
    ts_event_ns: NDArray[np.int64]
    ts_recv_ns: NDArray[np.int64]
    ends: list[int]
    scored: Future[Scored]


class Lane:
    """One model on a tape.

    Attributes:
        counts: what its outlet counts.
        label: its name, and where several files take turns under it, its file's.
        span_ns: when it speaks, the end not included.
    """

    def __init__(
        self, scorer: Scorer, outlet: Outlet, pace: Latency, *, health: Health | None = None,
        rivals: Rivals | None = None,
    ) -> None:  # fmt: skip
        self.scorer, self.outlet, self._pace = scorer, outlet, pace
        self.health, self.rivals = health, rivals
        self.counts = outlet.counts
        self.name = self.label = outlet.config.name
        self.span_ns = 0, NEVER_NS
        self._pending: list[Published] = []
        self._is_checked = False
        self._watched = 0
        self._watchers: list[Health | Rivals] = [one for one in (health, rivals) if one is not None]

    def batches(self, batches: Iterable[Sequence[InboxEvent]]) -> Iterator[Sequence[InboxEvent]]:
        """Yield the events of a tape with this model's signals among them, each where it can be known."""
        return self._together(batches) if self.scorer.bulk else self._by_instant(batches)

    # --- one instant at a time -------------------------------------------------------------------------------------

    def _by_instant(self, batches: Iterable[Sequence[InboxEvent]]) -> Iterator[Sequence[InboxEvent]]:
        now_ns = 0
        for batch in batches:
            for event in batch:
                if event.ts_recv_ns > now_ns:
                    if now_ns:
                        self._pending += self.close(now_ns)
                    now_ns = event.ts_recv_ns
                self.take(event)
            yield self._merged(batch, now_ns)
        if now_ns:
            self._pending += self.close(now_ns)
        yield self._rest()

    def close(self, ts_ns: int) -> list[Published]:
        """Score what is due at an instant; return what goes out for it, and in simulated time when."""
        due = self.scorer.due(ts_ns)
        if due is None or not self.span_ns[0] <= ts_ns < self.span_ns[1]:
            return []
        self._check()
        took_ns = self._pace.draw_ns()
        outputs, reason = self.tried(due)
        if outputs is None:
            return self.outlet.fail(ts_ns, took_ns, due.rows, due.ts_event_ns, reason)
        found = self.judged(due, outputs, took_ns)
        self.settle(due)
        return found

    def tried(self, due: Due) -> tuple[Floats | None, str]:
        """Return the outputs of an instant, or None and why there are none."""
        try:
            return self.scorer.outputs(due), ""
        except ModelError as error:
            return None, str(error)

    def settle(self, due: Due) -> None:
        """Do what can be done for the next bars; where that fails, they are read with their whole windows."""
        try:
            self.scorer.settle(due)
        except ModelError as error:
            structlog.get_logger().warning("a state could not be prepared", model=self.name, error=str(error))

    def judged(self, due: Due, outputs: Floats, took_ns: int) -> list[Published]:
        """Return what goes out for outputs, and what their health asks for before that."""
        found: list[Published] = []
        if self.health is not None and (verdict := self.health.observe(due, outputs)) is not None:
            found += self.outlet.judge("health", verdict, due.ts_ns)
        if self.rivals is not None:
            found += self.rivals.close(due, outputs)
        scores = self.scorer.scores(outputs)
        return found + self.outlet.publish(due.ts_ns, took_ns, due.rows, due.ts_event_ns, scores)

    def take(self, event: Any) -> None:
        """Take in an event of the market, or a signal of another model."""
        self.scorer.take(event)
        for watcher in self._watchers:
            watcher.take(event)

    def counted(self) -> dict[str, int]:
        """Return all that it and its watchers count."""
        return self.counts | {key: value for one in self._watchers for key, value in one.counts.items()}

    def _check(self) -> None:
        """See, once windows should be whole, that the tape has what the features cannot do without.

        Raises:
            ModelError: it has not.
        """
        if not self._is_checked:
            self._is_checked = True
            if lacking := sorted(ALWAYS_NEEDED.intersection(self.scorer.features.unmet())):
                raise ModelError(f"model '{self.name}': its features need {', '.join(lacking)}, and the tape has none")

    # --- many instants at once -------------------------------------------------------------------------------------

    def _together(self, batches: Iterable[Sequence[InboxEvent]]) -> Iterator[Sequence[InboxEvent]]:
        features = self.scorer.features
        take = features.take
        events: list[InboxEvent] = []
        parts: list[Pulled] = []
        scoring: deque[Stretch] = deque()
        staged = rows = 0
        backend, name = self.scorer.backend, f"model {self.name}"
        with quick_switching(), ThreadPoolExecutor(backend.callers, name, initializer=backend.enter_thread) as executor:
            for batch in batches:
                for event in batch:
                    take(event)  # type: ignore[arg-type]  # a tape holds market events, and signals of models before
                events += batch
                staged += len(batch)
                if staged < PULL_EVENTS:
                    continue
                parts.append(features.pull())
                staged, rows = 0, rows + len(parts[-1].rows)
                if rows >= ROWS_AHEAD or len(events) >= EVENTS_AHEAD:
                    stretch, parts = self._stretch(executor, events, parts, until_ns=batch[-1].ts_recv_ns)
                    events, rows = [], len(parts[0].rows)
                    scoring.append(stretch)
                    if len(scoring) > backend.callers:
                        yield self._finished(scoring.popleft())
            stretch, _ = self._stretch(executor, events, [*parts, features.pull()], until_ns=0)
            for each in (*scoring, stretch):
                yield self._finished(each)
        yield self._rest()

    def _stretch(
        self, executor: ThreadPoolExecutor, events: list[InboxEvent], pieces: list[Pulled], *, until_ns: int
    ) -> tuple[Stretch, list[Pulled]]:
        """Begin to score what is complete before an instant; return it, and what is left of that instant itself."""
        pulled = Pulled._make(np.concatenate(column) for column in zip(*pieces, strict=True))
        self._check()
        begin, stop, end = np.searchsorted(pulled.ts_recv_ns, (*self.span_ns, until_ns or NEVER_NS)).tolist()
        parts = slice(begin, min(stop, end)), slice(end, None)
        now, later = (Pulled._make(column[part] for column in pulled) for part in parts)
        now = _newest_of_each(now, len(self.scorer.symbols))
        ends = [*(np.flatnonzero(np.diff(now.ts_recv_ns)) + 1).tolist(), len(now.rows)] if len(now.rows) else []
        scored = executor.submit(self._score, now.windows, ends)
        return Stretch(events, now.rows, now.ts_event_ns, now.ts_recv_ns, ends, scored), [later]

    def _score(self, windows: Floats, ends: list[int]) -> Scored:
        newest = np.array(windows[:, :, -1]) if self._watchers else windows
        if not len(windows):
            return Scored(windows, newest, windows, windows, {})
        outputs, failed = self.scorer.together(windows, ends)
        return Scored(windows, newest, outputs, self.scorer.scores(outputs), failed)

    def _finished(self, stretch: Stretch) -> list[InboxEvent]:
        """Return a stretch with the signals that are known by its end."""
        rows, ts_event_ns, ts_recv_ns = stretch.rows, stretch.ts_event_ns, stretch.ts_recv_ns
        scored, begin = stretch.scored.result(), 0
        for end in stretch.ends:
            first, here, ts_ns, begin = begin, slice(begin, end), int(ts_recv_ns[begin]), end
            if self._watchers:
                self._watch(stretch.events, ts_ns)
            took_ns = self._pace.draw_ns()
            if first in scored.failed:
                reason = scored.failed[first]
                self._pending += self.outlet.fail(ts_ns, took_ns, rows[here], ts_event_ns[here], reason)
            elif self._watchers:
                due = Due(ts_ns, rows[here], ts_event_ns[here], rows[here], scored.windows[here], scored.newest[here])
                self._pending += self.judged(due, scored.outputs[here], took_ns)
            else:
                scores = scored.scores[here]
                self._pending += self.outlet.publish(ts_ns, took_ns, rows[here], ts_event_ns[here], scores)
        if not stretch.events:
            return []
        self._watch(stretch.events, NEVER_NS)
        return self._merged(stretch.events, stretch.events[-1].ts_recv_ns)

    def _watch(self, events: Sequence[InboxEvent], until_ns: int) -> None:
        """Show the watchers what came up to an instant: the features are far ahead."""
        if not self._watchers:
            return
        while self._watched < len(events) and events[self._watched].ts_recv_ns <= until_ns:
            for watcher in self._watchers:
                watcher.take(events[self._watched])
            self._watched += 1
        if until_ns == NEVER_NS:
            self._watched = 0

    # --- in order --------------------------------------------------------------------------------------------------

    def _merged(self, events: Sequence[InboxEvent], until_ns: int) -> list[InboxEvent]:
        """Return events with what is known before an instant among them; the rest waits."""
        self._pending.sort(key=recv_ns)  # stable: of one instant, in the order in which they were made
        return merge(events, self._pending, until_ns)

    def _rest(self) -> list[InboxEvent]:
        """Return what was still under way when the tape ended."""
        self._check()
        self._pending.sort(key=recv_ns)
        rest: list[InboxEvent] = [*self._pending]
        self._pending.clear()
        return rest


def _newest_of_each(pulled: Pulled, symbols: int) -> Pulled:
    """Leave of several bars of a symbol that came at one instant the newest, which is what an instant knows."""
    instants = np.cumsum(np.diff(pulled.ts_recv_ns, prepend=pulled.ts_recv_ns[:1]) != 0)
    keys = instants * symbols + pulled.rows
    _, from_end = np.unique(keys[::-1], return_index=True)
    if len(from_end) == len(keys):
        return pulled
    kept = np.sort(len(keys) - 1 - from_end)
    return Pulled._make(column[kept] for column in pulled)
