"""A daemon with a model on a live feed: recorded, verified, scored again, restarted, reloaded."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, journal, live, plugins
from engine.clock import ManualClock
from engine.config import HealthConfig, from_dict
from engine.errors import JournalError, ModelError
from engine.events import DAY_NS, MINUTE_NS, Fill, ModelStatus, News, Signal
from engine.journal import Journal
from engine.live import Daemon
from engine.model.rescore import rescore
from engine.operating.control import Request
from engine.operating.metrics import Collector, Stages
from engine.operating.operations import Operations
from engine.run import Run
from engine.stopwatch import Stopwatch
from tests.engine.model import nets, texts

FAKES = Path(__file__).parents[1] / "fakes.py"
fakes: Any = None
TRADER = """
from engine import Strategy

class Trader(Strategy):
    def on_signal(self, signal):
        if not self.portfolio.position(signal.symbol).qty and not self.open_orders(signal.symbol):
            self.buy(signal.symbol, 5)
"""


@pytest.fixture(autouse=True)
def _fresh_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    global fakes
    feed = plugins.load(plugins.FEED, f"{FAKES}:FakeFeed")
    fakes = sys.modules[feed.__module__]
    fakes.FakeBroker.reset()
    monkeypatch.setattr(live, "RECONCILE_START_S", 0.001)


def bars(first: int, last: int) -> list[Any]:
    return [fakes.bar(minute, 100.0 + minute % 4) for minute in range(first, last)]


def config(folder: Path, file: Path) -> Any:
    (folder / "trader.py").write_text(TRADER)
    return from_dict(
        {
            "mode": "paper", "name": "live", "seed": 1, "calendar": "24/7", "out_dir": str(folder / "out"),
            "feed": {"use": f"{FAKES}:FakeFeed"}, "broker": {"use": f"{FAKES}:FakeBroker"},
            "strategies": [{"name": "trader", "use": f"{folder}/trader.py:Trader", "symbols": ["SPY"]}],
            "models": [{"name": "tiny", "file": str(file), "device": "cpu", "ttl_s": 3600.0}],
            "risk": {"profile": "wide"},
        }
    )  # fmt: skip


async def session(settings: Any, until: Any, then: Any = None) -> None:
    """Run the daemon until something holds of it, do something more with it, and stop it."""
    path = settings.out_dir / "run.journal"
    path.parent.mkdir(exist_ok=True)
    clock = ManualClock(fakes.START_NS)  # no time passes: every pass is measured as none, and runs in the loop
    run = Run(settings, Journal(path, follow=path.exists()))
    run.journal.note("config", json.dumps(settings.resolved()))
    made = Daemon(run, Stopwatch(1e9, clock), clock)
    async with Operations(made) as operations:
        task = asyncio.create_task(made.main(operations))
        async with asyncio.timeout(20):
            while not (task.done() or until(made)):
                await asyncio.to_thread(int)  # by way of a thread: a loop that never rests would starve the warm-up's
            if then is not None and not task.done():
                await then(made, operations)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            task.result()
    made.run.journal.close()


def signals(settings: Any) -> list[Signal]:
    return [record for record in journal.read(settings.out_dir / "run.journal") if isinstance(record, Signal)]


def scored(count: int) -> Any:
    return lambda made: made.stage is not None and made.stage.lanes[0].lane.counts["published"] >= count


async def test_a_live_session_is_verified_and_scored_again(tmp_path: Path) -> None:
    """Its signals are inputs of the journal: done over, nothing differs, and scored again they are the same."""
    settings = config(tmp_path, nets.bundle(tmp_path, calendar="24/7"))
    fakes.FakeFeed.script = bars(1, 25)
    await session(
        settings, lambda made: scored(24 - nets.LOOKBACK - 1)(made) and made.core.portfolio.position_qty("SPY") == 5
    )
    found = signals(settings)
    assert {one.ts_event_ns for one in found} <= {fakes.START_NS + minute * MINUTE_NS for minute in range(1, 25)}
    path = settings.out_dir / "run.journal"
    assert any(isinstance(record, Fill) for record in journal.read(path))
    daemon.verify(path)
    (compared,) = rescore(path)
    assert compared.scores == len(found)


async def test_a_live_session_of_headlines_alone_is_scored_again(tmp_path: Path) -> None:
    """Without a single bar: the symbols are those that the feed was asked for."""
    settings = config(tmp_path, texts.save(tmp_path))
    mood = settings.models[0].model_copy(update={"name": "mood", "ttl_s": None, "unseen_days_only": True})
    settings = settings.model_copy(update={"models": (mood,)})
    told = enumerate(texts.HEADLINES)
    fakes.FakeFeed.script = [News(ts := fakes.START_NS + at * MINUTE_NS, ts, text, ("SPY",)) for at, text in told]
    await session(settings, scored(5))
    daemon.verify(settings.out_dir / "run.journal")
    (compared,) = rescore(settings.out_dir / "run.journal")
    assert compared.scores == len(signals(settings)) == 5


async def test_a_restarted_daemon_scores_its_first_bar(tmp_path: Path) -> None:
    """The windows are filled from the journal; nothing that was said is said again."""
    settings = config(tmp_path, nets.bundle(tmp_path, calendar="24/7"))
    fakes.FakeFeed.script = bars(1, 12)
    await session(settings, scored(4))
    before = signals(settings)
    fakes.FakeFeed.script = bars(12, 13)
    await session(settings, scored(1))
    after = signals(settings)
    assert after[: len(before)] == before
    assert [one.ts_event_ns for one in after[len(before) :]] == [fakes.START_NS + 12 * MINUTE_NS]
    daemon.verify(settings.out_dir / "run.journal")
    rescore(settings.out_dir / "run.journal")


async def test_reload_swaps_a_model_and_the_journal_goes_on_with_it(tmp_path: Path) -> None:
    """`onetape reload` with another `file`: status, signals and a restart know which file it is."""
    old = nets.bundle(tmp_path, calendar="24/7")
    settings = config(tmp_path, old)
    new = nets.bundle(tmp_path, stem="tiny-2", seed=4, calendar="24/7")
    changed = config(tmp_path, new)
    fakes.FakeFeed.script = bars(1, 12)

    async def reload(made: Any, operations: Any) -> None:
        reply = await operations._operator.answer(Request("reload", config=changed.resolved()))
        assert reply.ok, reply.told
        assert "the file of model tiny" in reply.told
        while not [one for one in journal.read(made.run.journal.path) if isinstance(one, ModelStatus)]:
            await asyncio.to_thread(int)  # by way of a thread: a loop that never rests would starve the warm-up's

    await session(settings, scored(4), reload)
    (status,) = [r for r in journal.read(settings.out_dir / "run.journal") if isinstance(r, ModelStatus)]
    assert status.state == "swapped"
    fakes.FakeFeed.script = bars(12, 13)
    await session(changed, scored(1))
    assert signals(changed)[-1].source == status.sha256[:12]
    daemon.verify(settings.out_dir / "run.journal")
    with pytest.raises(JournalError, match="the file of model tiny has another content"):
        await session(settings, scored(1))


async def test_a_file_that_is_replaced_while_it_runs_changes_nothing_until_it_is_asked_for(tmp_path: Path) -> None:
    """What was checked goes on to score, whatever lies there now; garbage is refused by a reload and by a start."""
    file = nets.bundle(tmp_path, calendar="24/7")
    settings, before = config(tmp_path, file), file.read_bytes()
    whole = bars(1, 25)
    fakes.FakeFeed.script = whole[:12]

    async def replace(made: Any, operations: Any) -> None:
        file.write_bytes(b"PK garbage")
        for event in whole[12:]:
            made.inbox.publish(event)
            await asyncio.to_thread(int)
        with pytest.raises(ModelError, match=r"tiny\.pt: it is damaged"):
            await operations._operator.answer(Request("reload", config=settings.resolved()))

    await session(settings, scored(4), replace)
    with pytest.raises(ModelError, match=r"tiny\.pt: "):
        await session(settings, scored(1))
    file.write_bytes(before)
    daemon.verify(settings.out_dir / "run.journal")
    (again,) = rescore(settings.out_dir / "run.journal")
    assert again.scores == len(signals(settings)) > 15


async def test_the_status_counts_what_a_model_does(tmp_path: Path) -> None:
    """Metrics and status show it as a stream of its own."""
    from engine.operating.operator import streams

    settings = config(tmp_path, nets.bundle(tmp_path, calendar="24/7"))
    fakes.FakeFeed.script = bars(1, 12)
    seen: list[Any] = []

    async def look(made: Any, operations: Any) -> None:
        seen.append(streams(made))

    await session(settings, scored(4), look)
    assert seen[0]["model tiny"]["published"] >= 4
    assert {"late", "failed", "conflated", "passes"} <= seen[0]["model tiny"].keys()


async def test_a_scrape_shows_what_the_health_of_a_model_measured(tmp_path: Path) -> None:
    """By measure and model; one that nothing watches is not there."""
    file = nets.bundle(tmp_path, calendar="24/7", train_span_ns=(1, fakes.START_NS - 3 * DAY_NS))
    settings = config(tmp_path, file)
    health = HealthConfig(age_days_max=9.0, look_every_count=20)
    watched = settings.models[0].model_copy(update={"name": "watched", "health": health})
    settings = settings.model_copy(update={"models": (*settings.models, watched)})
    fakes.FakeFeed.script = bars(1, 32)
    seen: list[Any] = []

    async def look(made: Any, operations: Any) -> None:
        status = operations._operator.status()
        scraped = Collector(lambda: status, Stages(made.clock), operations.alerts).collect()
        seen.extend(sample for metric in scraped for sample in metric.samples if "model" in sample.labels)

    await session(settings, scored(24), look)
    assert [(one.name, one.labels["model"], round(one.value)) for one in seen] == [
        ("onetape_model_age_days", "watched", 3)
    ]
