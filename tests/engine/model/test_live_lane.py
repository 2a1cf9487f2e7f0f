"""Models on a live feed: when a pass is made, on which thread, and what is done with one that is late, bad or hung."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from engine.clock import LiveClock, ManualClock, Sessions
from engine.config import ModelConfig, from_dict
from engine.errors import ModelError
from engine.events import MINUTE_NS, Backfill, ModelStatus, RunStarted, Signal
from engine.journal import Journal
from engine.model.deploy import Deployer
from engine.model.live_lane import LiveLane
from engine.model.outlet import Verdict
from engine.model.stage import Stage
from engine.model.states import Due
from tests.engine.model import nets
from tests.runs import OPEN_NS, HeldFeed, bar, configuration, strategy
from tests.traders import Everything

SYMBOLS = ("AAA", "BBB", "CCC")


def deployer(file: Path, **over: Any) -> tuple[Deployer, ModelConfig]:
    table = {"name": "tiny", "file": str(file), "device": "cpu", **over}
    feed = HeldFeed.hold([bar("AAA", 0, 1.0)])
    config = from_dict(configuration(feed, models=[table], strategies=[strategy(Everything, dice="00" * 900)]))
    return Deployer(config, SYMBOLS, Sessions("XNYS"), span_ns=(0, 0), now_ns=OPEN_NS), config.models[0]


class Desk:
    """One live model, its clock, and what it has published."""

    def __init__(self, folder: Path, file: Path, **over: Any) -> None:
        self.deployer, model = deployer(file, **over)
        self.out: list[Any] = []
        self.clock: Any = ManualClock(OPEN_NS)
        self.one = LiveLane(self.deployer.lane(model), self.out.append, self.clock, folder)
        self.minute = 0

    def bars(self, symbols: Any = SYMBOLS, price: float = 100.0) -> None:
        for symbol in symbols:
            self.one.take(bar(symbol, self.minute, price + self.minute % 3))
        self.clock.ts_ns = OPEN_NS + (self.minute + 1) * MINUTE_NS

    def fill(self, minutes: int = nets.LOOKBACK + 2) -> None:
        for _ in range(minutes):
            self.bars()
            self.minute += 1

    def signals(self) -> list[Signal]:
        return [one for one in self.out if isinstance(one, Signal)]

    def statuses(self) -> list[ModelStatus]:
        return [one for one in self.out if isinstance(one, ModelStatus)]


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., Desk]:
    def make(net: Any = None, *, inline: bool = True, **over: Any) -> Desk:
        made = Desk(tmp_path, nets.bundle(tmp_path, net), **over)
        made.one.inline = inline
        return made

    return make


async def test_an_instant_is_scored_at_once_when_all_usual_symbols_have_come(desk: Any) -> None:
    """No wait for a window: the last bar closes the instant, and one pass serves all symbols."""
    d = desk()
    d.fill()
    passes, before = d.one.counts["passes"], len(d.out)
    d.bars(("AAA", "BBB"))
    assert len(d.out) == before
    d.bars(("CCC",))
    assert [one.symbol for one in d.signals()[-3:]] == list(SYMBOLS)
    assert d.one.counts["passes"] == passes + 1


async def test_an_instant_that_lacks_a_symbol_is_scored_when_its_window_ends(desk: Any) -> None:
    """`window_ms` after its first bar, with the symbols that came; the one that lacked is scored when it comes."""
    d = desk(window_ms=1.0)
    d.fill()
    before = len(d.signals())
    d.bars(("AAA", "BBB"))
    async with asyncio.timeout(5):
        while len(d.signals()) == before:
            await asyncio.sleep(0)
    assert [one.symbol for one in d.signals()[before:]] == ["AAA", "BBB"]
    d.bars(("CCC",))
    assert d.signals()[-1].symbol == "CCC"


async def test_nothing_is_scored_while_the_feed_is_behind(desk: Any) -> None:
    """Bars that fill a gap fill windows; the first instant after it is scored."""
    d = desk()
    d.one.take(Backfill(OPEN_NS, OPEN_NS, done=False))
    d.fill()
    assert d.out == []
    d.one.take(Backfill(OPEN_NS, OPEN_NS, done=True))
    d.bars()
    assert len(d.signals()) == 3


async def test_a_long_pass_runs_on_a_thread_and_what_comes_meanwhile_is_conflated(desk: Any) -> None:
    """The loop is free during it; two instants that became due meanwhile are one pass, with the newest bars."""
    d = desk(inline=False, ttl_s=1e6)
    backend = Held(d.one.lane.scorer)
    d.fill(nets.LOOKBACK + 1)
    assert not d.one.idle.is_set()
    d.fill(2)
    assert d.signals() == []
    backend.go.set()
    async with asyncio.timeout(5):
        while len(d.signals()) < 6:
            await asyncio.sleep(0)
    assert d.one.counts["conflated"] == 1
    ends = {one.ts_event_ns for one in d.signals()}
    assert ends == {OPEN_NS + (nets.LOOKBACK + 1) * MINUTE_NS, OPEN_NS + (nets.LOOKBACK + 3) * MINUTE_NS}
    assert backend.threads == {"model tiny_0"}
    d.one.shut()


class Held:
    """A backend whose first pass waits to be let go."""

    name, device, state_size = "held", "cpu", 0

    def __init__(self, scorer: Any) -> None:
        self.go, self.threads = threading.Event(), set[str]()
        scorer._carrier = self

    def score(self, due: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(10)
        return np.ones((len(due.rows), 1), np.float32)

    def settle(self, due: Any) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Hold nothing."""


async def test_a_pass_that_does_not_come_back_is_late_and_what_it_brings_is_thrown_away(desk: Any) -> None:
    """`deadline_ms` counts while the thread hangs; after `failures_max` the model has failed."""
    d = desk(inline=False, deadline_ms=1.0, failures_max=1)
    backend = Held(d.one.lane.scorer)
    d.fill(nets.LOOKBACK + 1)
    async with asyncio.timeout(5):
        while not d.statuses():
            await asyncio.sleep(0)
    assert (d.statuses()[0].state, d.statuses()[0].action) == ("failed", "none")
    assert "longer than its deadline" in d.statuses()[0].reason
    backend.go.set()
    async with asyncio.timeout(5):
        await d.one.idle.wait()
    assert d.signals() == []
    assert d.one.lane.counts["late"] == 3
    d.one.shut()


async def hanging(desk: Any, **over: Any) -> tuple[Any, Held]:
    """Return a desk whose model's pass was told to be late and does not come back."""
    d = desk(inline=False, deadline_ms=1.0, **over)
    backend = Held(d.one.lane.scorer)
    d.fill(nets.LOOKBACK + 1)
    async with asyncio.timeout(5):
        while not d.one._hangs:
            await asyncio.sleep(0)
    outlet = d.one.lane.outlet  # from here on no pass is late by the clock, which the bars move on
    outlet.config, outlet._deadline_ns = outlet.config.model_copy(update={"deadline_ms": None}), 0
    return d, backend


async def test_a_model_that_hangs_misses_every_instant_until_it_has_failed(desk: Any) -> None:
    """Each counts as late, so that `on_late` is carried out; when the pass comes back at last, the next is scored."""
    d, backend = await hanging(desk, failures_max=3, on_late="flatten", ttl_s=1e6)
    d.fill(1)
    assert d.statuses() == []
    d.fill(1)
    assert [state_of(one) for one in d.statuses()] == [("failed", "flatten")]
    assert "has not come back" in d.statuses()[0].reason
    assert d.one.lane.counts["late"] == 9
    backend.go.set()
    async with asyncio.timeout(5):
        await d.one.idle.wait()
        d.fill(1)
        while len(d.signals()) < 3:
            await asyncio.sleep(0)
    assert [state_of(one) for one in d.statuses()][1:] == [("healthy", "none")]
    d.one.shut()


async def test_another_file_takes_over_from_one_that_hangs(
    desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a thread of its own, without the one that hangs to go back to; what that brings at last is nobody's."""
    monkeypatch.setattr("engine.model.live_lane.PATIENCE_S", 0.001)
    d, backend = await hanging(desk, ttl_s=1e6)
    async with asyncio.timeout(5):
        await swapped(d, tmp_path)
        assert d.one._previous is None
        d.fill(1)
        backend.go.set()
        while len(d.signals()) < 3:
            await asyncio.sleep(0)
        await d.one.idle.wait()
    assert {one.source for one in d.signals()} == {d.statuses()[0].sha256[:12]}
    d.one.shut()


async def test_a_file_that_hangs_on_probation_is_rolled_back_to_one_that_scores(desk: Any, tmp_path: Path) -> None:
    """The file before gets a thread of its own."""
    d = desk(inline=False, deadline_ms=5_000.0, failures_max=2, ttl_s=1e6)
    d.fill(nets.LOOKBACK + 1)
    async with asyncio.timeout(5):
        await d.one.idle.wait()
        await swapped(d, tmp_path)
        backend = Held(d.one.lane.scorer)
        before = len(d.signals())
        d.fill(1)
        d.one._on_hung(d.one._pass, Due(OPEN_NS, *[np.zeros(0, np.int64)] * 3, *[np.zeros(0, np.float32)] * 2))
        d.fill(1)
        assert d.statuses()[-1].state == "rolled_back"
        d.fill(1)
        while len(d.signals()) < before + 3:
            await asyncio.sleep(0)
    assert d.signals()[-1].source == d.statuses()[-1].sha256[:12]
    backend.go.set()
    d.one.shut()


class Refuses(nn.Module):
    """The newest return, and a `raise` of its own where that is above a limit; scripted, that is no RuntimeError."""

    def forward(self, windows: Tensor) -> Tensor:
        if bool((windows[:, 0, -1] > 5.0).any()):
            raise ValueError("no such market")
        return windows[:, 0:1, -1]


@pytest.mark.parametrize("inline", [True, False])
async def test_a_program_that_raises_is_a_failed_pass_wherever_it_runs(desk: Any, inline: bool) -> None:
    """In the loop as on the thread; the sibling, the next price that it knows, is scored again."""
    d = desk(Refuses(), inline=inline, failures_max=1, ttl_s=1e6)
    d.fill(nets.LOOKBACK + 1)
    async with asyncio.timeout(5):
        await d.one.idle.wait()
        for price in (200.0, 100.0):  # a leap of the return, and one down
            d.bars(price=price)
            d.minute += 1
            await d.one.idle.wait()
        while len(d.statuses()) < 2:
            await asyncio.sleep(0)
    assert [one.state for one in d.statuses()] == ["failed", "healthy"]
    assert "the network fails on 3x3x5: builtins.ValueError: no such market" in d.statuses()[0].reason
    assert len(d.signals()) == 6
    d.one.shut()


@pytest.mark.parametrize("inline", [True, False])
async def test_what_cannot_be_read_ahead_costs_no_score(desk: Any, inline: bool) -> None:
    """Neither the loop nor the thread ends with it; the next bar's window is read whole."""
    d = desk(inline=inline, ttl_s=1e6)

    def fail(*_: Any) -> Any:
        raise RuntimeError("no state like this")

    d.one.lane.scorer._carrier.settle = fail
    for count in range(nets.LOOKBACK + 3):
        d.fill(1)
        async with asyncio.timeout(5):
            await d.one.idle.wait()
            while len(d.signals()) < 3 * (count - nets.LOOKBACK + 1):
                await asyncio.sleep(0)
    assert len(d.signals()) == 9
    assert d.statuses() == []
    d.one.shut()


async def test_a_state_that_cannot_be_written_costs_no_score(tmp_path: Path) -> None:
    """A full disk is told in the log, and the model goes on; its sibling writes one below."""
    (tmp_path / "file").write_text("no folder")
    made = nets.bundle(tmp_path, state_mode="streaming", reset_rule="never", lookback=2)
    d = Desk(tmp_path / "file", made)
    d.one.inline = True
    d.fill(6)
    assert d.signals()


async def test_a_challenger_that_raises_anything_is_a_failed_challenger(tmp_path: Path) -> None:
    """The champion trades on, in the event loop, whatever the other's code does."""
    other = nets.bundle(tmp_path, nets.Linear(3, nets.LOOKBACK), stem="other", name="other")
    d = Desk(tmp_path, nets.bundle(tmp_path), challenger=str(other))
    d.one.inline = True

    def fail(*_: Any) -> Any:
        raise KeyError("lost")

    d.one.lane.rivals._challenger.backend._module = fail
    d.fill(nets.LOOKBACK + 3)
    counts = d.one.lane.rivals.counts
    assert counts["challenger_failed"] == counts["challenger_passes"] == 3
    assert len(d.signals()) == 9


async def test_an_error_on_the_thread_is_a_failed_pass_and_the_next_one_is_tried(desk: Any) -> None:
    """A thread's exception is never lost, and a model that works again is healthy again."""
    d = desk(inline=False, failures_max=1, ttl_s=1e6)
    bad = [OSError("out of luck")]
    carrier = d.one.lane.scorer._carrier
    whole = carrier.score

    def score(due: Any) -> Any:
        if bad:
            raise bad.pop()
        return whole(due)

    carrier.score = score
    d.fill(nets.LOOKBACK + 1)
    async with asyncio.timeout(5):
        await d.one.idle.wait()
        while not d.statuses():
            await asyncio.sleep(0)
        d.fill(1)
        while len(d.statuses()) < 2:
            await asyncio.sleep(0)
    assert [one.state for one in d.statuses()] == ["failed", "healthy"]
    assert "out of luck" in d.statuses()[0].reason
    d.one.shut()


async def test_a_pass_is_inline_only_when_it_was_measured_to_be_short(desk: Any) -> None:
    """`inline_ms` is compared with the p99 of real passes at the start."""
    short, long = desk(inline_ms=1e6), desk(inline_ms=0.0)
    for d in (short, long):
        d.one._clock = LiveClock()
        d.one.warm()
    assert (short.one.inline, long.one.inline) == (True, False)


async def test_a_restart_fills_windows_from_the_journal_and_scores_nothing_anew(desk: Any) -> None:
    """What was said last is known again, and the next bar is scored with a whole window."""
    d = desk(on_failure="last")
    d.fill()
    said = d.signals()[-1]
    again = desk(on_failure="last")
    for minute in range(nets.LOOKBACK + 2):
        for symbol in SYMBOLS:
            again.one.follow(bar(symbol, minute, 100.0 + minute % 3))
    again.one.follow(said)
    assert again.out == []
    again.minute = nets.LOOKBACK + 2
    d.bars()
    again.bars()
    assert [one.score for one in again.signals()] == pytest.approx([one.score for one in d.signals()[-3:]], abs=1e-6)


async def test_a_streaming_state_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Written once a minute; a restart takes it over and goes through the journal's later bars only."""
    file = nets.bundle(tmp_path, state_mode="streaming", reset_rule="never", lookback=2)
    d = Desk(tmp_path, file)
    d.one.inline = True
    d.fill(6)
    streaming = d.one.lane.scorer.streaming
    assert (tmp_path / "tiny.state.npz").is_file()
    again = Desk(tmp_path, file)
    again.one.inline = True
    again.one.restore()
    for minute in range(6):
        for symbol in SYMBOLS:
            again.one.follow(bar(symbol, minute, 100.0 + minute % 3))
    again.minute = 6
    again.bars()
    d.bars()
    taken = again.one.lane.scorer.streaming
    np.testing.assert_allclose(taken.state, streaming.state, atol=1e-6)
    assert [one.score for one in again.signals()] == pytest.approx([one.score for one in d.signals()[-3:]], abs=1e-6)


# --- hot swap --------------------------------------------------------------------------------------------------------


async def swapped(d: Desk, tmp_path: Path, net: Any = None, **over: Any) -> Path:
    """Swap another file in that has seen the same minutes."""
    file = nets.bundle(tmp_path, net, stem="tiny-2", seed=2, **over)
    model = d.one.lane.outlet.config.model_copy(update={"file": file})
    lane = d.deployer.lane(model)
    for minute in range(d.minute):
        for symbol in SYMBOLS:
            lane.take(bar(symbol, minute, 100.0 + minute % 3))
    await d.one.swap(lane, [])
    return file


async def test_another_file_takes_over_between_two_events(desk: Any, tmp_path: Path) -> None:
    """The status names its hash, and every signal from there on carries it."""
    d = desk()
    d.fill()
    old = d.signals()[-1].source
    await swapped(d, tmp_path)
    status = d.statuses()[-1]
    assert (status.state, status.action) == ("swapped", "none")
    d.bars()
    assert {one.source for one in d.signals()[-3:]} == {status.sha256[:12]}
    assert status.sha256[:12] != old


async def test_a_file_that_takes_over_under_load_waits_for_one_pass_and_names_its_own_scores(
    desk: Any, tmp_path: Path
) -> None:
    """Instants are always waiting; the pass under way is the old file's, and no other begins before the swap."""
    d = desk(inline=False, ttl_s=1e6)
    backend = Held(d.one.lane.scorer)
    old = d.one.lane.scorer.bundle.sha256[:12]
    d.fill(nets.LOOKBACK + 3)
    swapping = asyncio.create_task(swapped(d, tmp_path))
    while not d.one._is_held:
        await asyncio.sleep(0)
    backend.go.set()
    await swapping
    passes = d.one.counts["passes"]
    d.bars()
    async with asyncio.timeout(5):
        while len(d.signals()) < 6:
            await asyncio.sleep(0)
    assert [one.source for one in d.signals()] == [old] * 3 + [d.statuses()[0].sha256[:12]] * 3
    assert (passes, d.one.counts["passes"]) == (1, 2)


@pytest.mark.parametrize("probation", [100, 0])
async def test_a_file_that_fails_on_probation_is_rolled_back(desk: Any, tmp_path: Path, probation: int) -> None:
    """Within `probation_count` scores the old file goes on as if nothing had been; after that the model has failed."""
    d = desk(failures_max=2, probation_count=probation)
    d.fill()
    old = d.signals()[-1].source
    await swapped(d, tmp_path, nets.Fixed(float("nan")))
    d.fill(2)
    state = d.statuses()[-1]
    if not probation:
        assert state.state == "failed"
        return
    assert state.state == "rolled_back"
    assert "on probation" in state.reason
    d.bars()
    assert {one.source for one in d.signals()[-3:]} == {old}


@pytest.mark.parametrize("policy", ["hold", "flatten"])
async def test_a_file_on_probation_that_fails_while_its_health_asks_for_more_is_rolled_back(
    desk: Any, tmp_path: Path, policy: str
) -> None:
    """A restriction that stands already hides no failure."""
    d = desk(failures_max=2, on_failure=policy, ttl_s=1e6)
    d.fill()
    await swapped(d, tmp_path, nets.Fixed(float("nan")))
    d.one._send(d.one.lane.outlet.judge("health", Verdict("degraded", "shrink", "drift"), 1))
    d.fill(2)
    assert [one.state for one in d.statuses()][:3] == ["swapped", "degraded", "rolled_back"]
    assert state_of(d.statuses()[-1]) == ("healthy", "none")  # so that the corridor lifts what the bad file asked for
    assert len(d.statuses()) == 4
    d.bars()
    assert {one.source for one in d.signals()[-3:]} == {d.statuses()[-1].sha256[:12]}
    assert d.one._previous is None


@pytest.mark.parametrize("meanwhile", [False, True])
async def test_a_roll_back_puts_back_what_the_health_of_the_file_before_asked_for(
    desk: Any, tmp_path: Path, meanwhile: bool
) -> None:
    """Whether the other file was found to be well meanwhile or not; what stands is told once."""
    d = desk(failures_max=2, ttl_s=1e6)
    d.fill()
    shrink = Verdict("degraded", "shrink", "drift")
    d.one._send(d.one.lane.outlet.judge("health", shrink, 1))
    await swapped(d, tmp_path, nets.Fixed(float("nan")))
    if meanwhile:
        d.one._send(d.one.lane.outlet.judge("health", Verdict(), 2))
    d.fill(2)
    told = ["degraded", "swapped", "healthy", "rolled_back", "degraded"]
    assert [one.state for one in d.statuses()] == (told if meanwhile else [*told[:2], "rolled_back"])
    assert state_of(d.statuses()[-1 if meanwhile else 0]) == ("degraded", "shrink")
    assert d.one.lane.outlet.judge("health", shrink, 3) == []


async def test_a_failure_is_told_with_the_action_of_whoever_asks_for_most(desk: Any) -> None:
    """And each of the two is lifted by itself, after a restart too."""
    d, again = desk(failures_max=1), desk()
    judge = d.one.lane.outlet.judge
    shrink, failed = Verdict("degraded", "shrink", "drift"), Verdict("failed", "none", "no numbers")
    told = [*judge("health", shrink, 1), *judge("breaker", failed, 2)]
    assert [state_of(one) for one in told] == [("degraded", "shrink"), ("failed", "shrink")]
    assert told[1].reason == "no numbers; drift"
    again.one.follow(told[1])
    for one in (d, again):
        outlet = one.one.lane.outlet
        (left,) = outlet.judge("health", Verdict(), 3)
        assert state_of(left) == ("failed", "none")
        (left,) = outlet.judge("breaker", Verdict(), 4)
        assert state_of(left) == ("healthy", "none")


def state_of(status: Any) -> tuple[str, str]:
    return status.state, status.action


async def test_a_probation_that_was_passed_is_over(desk: Any, tmp_path: Path) -> None:
    """The old file is let go of."""
    d = desk(probation_count=5)
    d.fill()
    await swapped(d, tmp_path)
    d.fill(2)
    assert d.one._previous is None


async def test_reload_swaps_the_files_that_are_other_ones(tmp_path: Path) -> None:
    """A stage opens, warms and shows the journal to a new file beside the loop; the same file is left alone."""
    file = nets.bundle(tmp_path)
    made, model = deployer(file)
    out: list[Any] = []
    stage = Stage([made.lane(model)], out.append, LiveClock(), tmp_path)
    ledger = Journal(tmp_path / "run.journal")
    ledger.append(RunStarted("run", "{}", "0", 1, OPEN_NS))
    for minute in range(nets.LOOKBACK + 2):
        for symbol in SYMBOLS:
            event = bar(symbol, minute, 100.0 + minute)
            ledger.append(event)
            stage.take(event)
    ledger.commit()
    assert await stage.reload(made, [model], ledger) == []
    nets.bundle(tmp_path, seed=5)
    assert await stage.reload(made, [model], ledger) == ["tiny"]
    assert out[-1].state == "swapped"
    stage.lanes[0].inline = True
    for symbol in SYMBOLS:
        stage.take(bar(symbol, nets.LOOKBACK + 2, 100.0))
    assert [one.source for one in out[-3:]] == [out[-4].sha256[:12]] * 3
    assert sum(isinstance(one, Signal) for one in out[-3:]) == 3
    file.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="tiny.pt"):
        await stage.reload(made, [model], ledger)
    stage.shut()
    ledger.close()


async def test_reload_swaps_all_files_or_none(tmp_path: Path) -> None:
    """Whichever of two is refused, the other is left alone; and each goes to its own model, in whatever order."""
    files = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        files.append(nets.bundle(tmp_path / name))
    made, model = deployer(files[0])
    models = [model.model_copy(update={"name": file.parent.name, "file": file}) for file in files]
    out: list[Any] = []
    stage = Stage([made.lane(one) for one in models], out.append, LiveClock(), tmp_path)
    ledger = Journal(tmp_path / "run.journal")
    ledger.append(RunStarted("run", "{}", "0", 1, OPEN_NS))
    ledger.commit()
    assert await stage.reload(made, models[::-1], ledger) == []
    used = [one.lane for one in stage.lanes]
    for good, bad in (files, files[::-1]):
        nets.bundle(good.parent, seed=5)
        kept = bad.read_bytes()
        bad.write_bytes(b"not a model")
        with pytest.raises(ModelError, match=str(bad)):
            await stage.reload(made, models, ledger)
        bad.write_bytes(kept)
        assert [one.lane for one in stage.lanes] == used
    assert out == []
    assert await stage.reload(made, models[::-1], ledger) == ["first", "second"]
    assert [(one.model, one.state) for one in out] == [("first", "swapped"), ("second", "swapped")]
    stage.shut()
    ledger.close()
