"""One model on a live feed: when it scores, where, and what it does with what comes back.

An instant is the bars that closed at one time. It is scored when the symbols that usually come have come, or when its
window ends; bars that come later are scored with the next that do. One pass of a model is under way at a time: what
becomes due meanwhile is scored after it, with the newest bar of each symbol. A pass that was measured to be short runs
in the event loop, a longer one on a thread, where TorchScript lets go of Python's lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import structlog

from engine.clock import Clock
from engine.events import Backfill, Bar, InboxEvent, ModelStatus, Signal
from engine.model.backends import Floats
from engine.model.lane import Lane
from engine.model.outlet import Verdict, is_fault
from engine.model.states import Due
from engine.model.switching import give_way

Publish = Callable[[InboxEvent], None]

MEASURED_CALLS: Final = 50
TOO_LONG_NS: Final = 5_000_000
"""A pass in the event loop that takes longer moves the model to a thread for good."""
HUNG_S: Final = 30.0
PATIENCE_S: Final = 1.0
"""A file that takes over waits so long for a pass that was told to be late, and then leaves it its thread."""
CHECKPOINT_S: Final = 60.0


class LiveLane:
    """One model on a live feed.

    Attributes:
        lane: what scores and speaks.
        counts: conflated instants, passes, and how they were run.
    """

    def __init__(self, lane: Lane, publish: Publish, clock: Clock, folder: Path) -> None:
        self.lane, self._publish, self._clock = lane, publish, clock
        self.counts = {"passes": 0, "conflated": 0, "moved_to_thread": 0}
        self.inline = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._state_file = folder / f"{lane.name}.state.npz"
        self._executor: ThreadPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hung: asyncio.TimerHandle | None = None
        self._instant_ns = self._arrived = self._checked_ns = self._probation = self._pass = 0
        self._again = self._is_behind = self._is_held = self._hangs = False
        self._usual = len(lane.scorer.symbols)
        self._previous: Lane | None = None
        self._health = Verdict()
        self._reads_texts = lane.scorer.card.text is not None

    # --- before it begins ------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take over the state of a streaming model, as it was last written."""
        streaming, scorer = self.lane.scorer.streaming, self.lane.scorer
        if streaming is not None:
            streaming.load(self._state_file, scorer.bundle.sha256, scorer.symbols)

    def follow(self, event: InboxEvent) -> None:
        """Take an event that a journal holds: fill windows, remember what was said, score nothing anew.

        A streaming model goes on where its written state ends.
        """
        lane = self.lane
        if isinstance(event, Signal | ModelStatus) and event.model == lane.name:
            lane.outlet.follow(event)
            return
        if type(event) is Bar and event.ts_event_ns > self._instant_ns:
            self._pass_over()
            self._instant_ns = event.ts_event_ns
        lane.take(event)

    def _pass_over(self) -> None:
        due, streaming = self.lane.scorer.due(self._instant_ns), self.lane.scorer.streaming
        if due is None or streaming is None:
            return
        newer = due.ts_event_ns > streaming.last_ns[due.rows]
        if newer.any():
            self.lane.tried(due.of(newer))  # one that failed then may fail again

    def warm(self) -> None:
        """Compile, and measure whether passes are short enough for the event loop. Takes a while."""
        lane = self.lane
        lane.scorer.warm()
        took_ns = lane.scorer.measured_ns(MEASURED_CALLS, self._clock)
        self.inline = took_ns < lane.outlet.config.inline_ms * 1e6
        structlog.get_logger().info(
            "a model is ready", model=lane.name, sha256=lane.scorer.bundle.sha256[:12],
            device=lane.scorer.backend.device, p99_ms=round(took_ns / 1e6, 3), inline=self.inline,
        )  # fmt: skip

    # --- events ----------------------------------------------------------------------------------------------------

    def take(self, event: InboxEvent) -> None:
        """Take an event that the corridor has gone through."""
        kind = type(event)
        if kind is Bar:
            self._take_bar(event)  # type: ignore[arg-type]  # its type was just asked for, the fast way
        elif kind is Backfill:
            self._is_behind = not event.done  # type: ignore[union-attr]  # likewise
        elif kind is not Signal or event.model != self.lane.name:  # type: ignore[union-attr]  # likewise
            self._show(event)
            if self._reads_texts:
                asyncio.get_running_loop().call_soon(self.close)  # once all of its instant has been taken

    def _show(self, event: InboxEvent) -> None:
        self.lane.take(event)
        if self._previous is not None:
            self._previous.take(event)

    def _take_bar(self, bar: Bar) -> None:
        if not self.lane.scorer.features.has_room_for(bar):
            self._show(bar)
            return
        if bar.ts_event_ns > self._instant_ns:
            if self._arrived:
                self._usual = max(self._arrived, self._usual * 15 // 16)  # a quiet minute is soon forgotten
                self.close()
            self._instant_ns, self._arrived = bar.ts_event_ns, 0
        self._show(bar)
        self._arrived += 1
        if self._arrived in (self._usual, len(self.lane.scorer.symbols)):
            self.close()
        elif self._timer is None:
            window_s = self.lane.outlet.config.window_ms / 1e3
            self._timer = asyncio.get_running_loop().call_later(window_s, self.close)

    def close(self) -> None:
        """Score what is due, now or as soon as the pass under way has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._hangs:
            self._miss()
            return
        if self._is_held or not self.idle.is_set():
            self.counts["conflated"] += not self._again
            self._again = True
            return
        now = self._clock.now_ns()
        due = self.lane.scorer.due(now)
        if due is None or self._is_behind:
            return
        self.counts["passes"] += 1
        began_ns = self._clock.monotonic_ns()
        if self.inline:
            self._run_inline(due, began_ns)
        else:
            self._run_on_thread(due, began_ns)

    def _run_inline(self, due: Due, began_ns: int) -> None:
        lane = self.lane
        outputs, reason = lane.tried(due)
        took_ns = self._clock.monotonic_ns() - began_ns
        self._tell(due, outputs, reason, took_ns)
        if outputs is not None:
            self._settle(lane, due)
        if self._clock.monotonic_ns() - began_ns > TOO_LONG_NS:
            self.inline = False
            self.counts["moved_to_thread"] += 1

    def _run_on_thread(self, due: Due, began_ns: int) -> None:
        loop = asyncio.get_running_loop()
        self.idle.clear()
        self._pass += 1
        if self._executor is None:
            name, enter = f"model {self.lane.name}", self.lane.scorer.backend.enter_thread
            self._executor = ThreadPoolExecutor(1, name, initializer=give_way, initargs=(enter,))
        deadline_ms = self.lane.outlet.config.deadline_ms
        wait_s = HUNG_S if deadline_ms is None else deadline_ms / 1e3
        self._hung = loop.call_later(wait_s, self._on_hung, self._pass, due)
        self._executor.submit(self._score, self.lane, due, began_ns, self._pass, loop, self._executor)

    def _score(
        self, lane: Lane, due: Due, began_ns: int, number: int, loop: asyncio.AbstractEventLoop, executor: Executor
    ) -> None:
        """Score on the thread, tell the loop, and then do what can be done ahead."""
        outputs, reason = lane.tried(due)
        with suppress(RuntimeError):  # the loop is gone, and with it whoever would want the scores
            took_ns = self._clock.monotonic_ns() - began_ns
            loop.call_soon_threadsafe(self._on_scored, due, outputs, reason, took_ns, number)
            if outputs is not None:
                self._settle(lane, due)
            loop.call_soon_threadsafe(self._on_idle, executor)

    def _settle(self, lane: Lane, due: Due) -> None:
        """Do what can be done ahead, in the loop or on the thread; write a streaming model's state once a minute."""
        lane.settle(due)
        streaming, scorer = lane.scorer.streaming, lane.scorer
        if streaming is None or lane is not self.lane or due.ts_ns - self._checked_ns < CHECKPOINT_S * 1e9:
            return
        self._checked_ns = due.ts_ns
        try:
            streaming.save(self._state_file, scorer.bundle.sha256, scorer.symbols)
        except OSError as error:  # a restart begins the state anew, and a full disk is told by others too
            structlog.get_logger().warning("a state could not be written", model=lane.name, error=str(error))

    def _on_scored(self, due: Due, outputs: Floats | None, reason: str, took_ns: int, number: int) -> None:
        if number != self._pass:
            return  # it hung, and was told to have failed
        if self._hung is not None:
            self._hung.cancel()
            self._hung = None
        self._tell(due, outputs, reason, took_ns)

    def _on_hung(self, number: int, due: Due) -> None:
        """Count a pass that has not come back by its deadline as late; what it still brings is thrown away."""
        if number == self._pass:
            self._pass += 1
            self._hangs = True
            config = self.lane.outlet.config
            took_ns = max(self._clock.now_ns() - due.ts_ns, round((config.deadline_ms or HUNG_S * 1e3) * 1e6) + 1)
            found = self.lane.outlet.late(due.ts_ns, took_ns, due.rows, due.ts_event_ns)
            self._send(found)

    def _miss(self) -> None:
        """Count an instant that comes while a pass hangs; it is scored no more, whenever that one comes back."""
        self.counts["conflated"] += 1
        features, now = self.lane.scorer.features, self._clock.now_ns()
        rows = features.close(now)
        if len(rows) and not self._is_behind:
            self._send(self.lane.outlet.hung(now, rows, features.ts_event_ns(rows)))

    def _on_idle(self, executor: Executor) -> None:
        if executor is not self._executor:
            return  # it hung, and was left behind
        self._hangs = False
        self.idle.set()
        if self._again:
            self._again = False
            self.close()

    def _leave_behind(self) -> None:
        """Go on with another thread than the one that hangs."""
        assert self._executor is not None
        self._executor.shutdown(wait=False)
        self._executor, self._hangs, self._again = None, False, False
        self.idle.set()

    def _tell(self, due: Due, outputs: Floats | None, reason: str, took_ns: int) -> None:
        lane = self.lane
        if outputs is None:
            self._send(lane.outlet.fail(due.ts_ns, took_ns, due.rows, due.ts_event_ns, reason))
            structlog.get_logger().error("a pass of a model failed", model=lane.name, error=reason)
        else:
            self._send(lane.judged(due, outputs, took_ns))
        self._probation -= len(due.rows)
        self._trust()

    def _trust(self) -> None:
        if self._previous is not None and self._probation <= 0:
            self._previous.scorer.backend.close()
            self._previous = None

    def _send(self, found: Sequence[Signal | ModelStatus]) -> None:
        if self._previous is not None and (fault := next(filter(is_fault, found), None)) is not None:
            found = self._back(fault)  # nothing of the file that is on probation is traded by any more
        for event in found:
            if isinstance(event, ModelStatus):
                structlog.get_logger().warning(
                    "a model's status", model=event.model, state=event.state, action=event.action, why=event.reason
                )
            self._publish(event)

    async def swap(self, lane: Lane, since: Sequence[InboxEvent]) -> None:
        """Let another file score from the next event on, after the pass under way; no other one begins before.

        It is shown the events `since` it was made, those that come meanwhile too. The file before stays ready through
        probation, unless it hangs: nothing goes back to that.
        """
        self._is_held = True
        try:
            comes_back = await self._comes_back()
        finally:
            self._is_held = False
        if not comes_back:
            self._leave_behind()
        for event in since:
            lane.take(event)
        lane.scorer.features.close()
        self._again, self._probation = False, 0
        self._trust()
        old, outlet = self.lane, self.lane.outlet
        self._health = outlet.health
        lane.outlet, lane.counts = outlet, outlet.counts
        swapped = self._turn_to(lane, "swapped", "reload")
        if comes_back:
            self._previous, self._probation = old, outlet.config.probation_count
        self._send([swapped])
        self._trust()

    async def _comes_back(self) -> bool:
        """Wait for the pass under way; return whether it has come back, or is late and still does not."""
        is_late = False
        while not (is_late or self.idle.is_set()):
            is_late = self._hangs
            with suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), PATIENCE_S)
        return self.idle.is_set()

    def _back(self, fault: ModelStatus | Signal) -> list[Signal | ModelStatus]:
        """Go back to the file before, and to what its health asked for."""
        assert self._previous is not None
        assert isinstance(fault, ModelStatus)
        bad, previous, self._previous = self.lane, self._previous, None
        self._pass += 1  # what is under way is of the other file
        if self._hangs:
            self._leave_behind()
        turned = self._turn_to(previous, "rolled_back", f"{bad.outlet.sha256[:12]} on probation: {fault.reason}")
        return [turned, *previous.outlet.absolve(self._health, turned.ts_recv_ns)]

    def _turn_to(self, lane: Lane, state: Literal["swapped", "rolled_back"], reason: str) -> ModelStatus:
        bundle, now = lane.scorer.bundle, self._clock.now_ns()
        self.lane = lane
        lane.outlet.take_over(bundle.card, bundle.sha256)
        return ModelStatus(lane.name, now, now, state, reason=reason, sha256=bundle.sha256)

    def shut(self) -> None:
        """Wait for nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._hung is not None:
            self._hung.cancel()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self.lane.scorer.backend.close()
