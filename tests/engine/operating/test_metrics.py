"""Metrics: what a scrape shows is what the corridor did, at no cost between scrapes but that of the histograms."""

import asyncio
import json
import re
import time
import timeit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.clock import LiveClock, ManualClock
from engine.config import AlertsConfig
from engine.errors import ConfigError
from engine.events import Denied, Intent, Tick
from engine.journal import Journal
from engine.operating import metrics
from engine.operating.alerts import Alerts
from engine.operating.metrics import Collector, Histogram, MetricsServer, Stages
from engine.operating.observers import Observers, Tally
from engine.operating.operator import Operator
from tests.engine.operating.operated import Operated


class Counts(msgspec.Struct):
    malformed: int = 2
    reconnects: int = 1


Served = tuple[Any, MetricsServer, Stages]


@asynccontextmanager
async def serving(folder: Path, bars: int = 4) -> AsyncIterator[Served]:
    daemon: Any = Operated(folder)
    operator = Operator(daemon, daemon.observers)
    stages = Stages(daemon.clock)
    alerts = Alerts(AlertsConfig(), daemon.clock, name="proof")
    server = MetricsServer(0, Collector(operator.status, stages, alerts), operator.status, stages)
    await server.open()
    try:
        await daemon.begin(bars)
        yield daemon, server, stages
    finally:
        await server.close()
        daemon.journal.close()


async def fetch(server: MetricsServer, page: str, **options: Any) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}{page}"
        async with session.request(options.pop("method", "GET"), url, **options) as answer:
            return answer.status, await answer.text()


async def scrape(server: MetricsServer) -> dict[str, float]:
    """Return every sample under the name that Prometheus shows, such as `onetape_orders{state="accepted"}`."""
    status, text = await fetch(server, "/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_a_scrape_shows_what_the_corridor_did(tmp_path: Path) -> None:
    """One position, one resting order, one denial: each is where a dashboard looks for it, the unit in its name."""
    async with serving(tmp_path) as (_, server, _):
        found = await scrape(server)
    expected = {
        "onetape_events_total": 4, "onetape_inbox_events": 0, "onetape_positions": 1, "onetape_approvals_total": 2,
        'onetape_orders{state="accepted"}': 1, "onetape_fills_total": 1, "onetape_equity_usd": 100_000,
        "onetape_cash_usd": 99_000, 'onetape_trading_state{state="active"}': 1,
        'onetape_trading_state{state="halted"}': 0, "onetape_reconciliations_total": 0, "onetape_pnl_usd": 0,
        "onetape_late_fills_total": 0, "onetape_strategies_halted": 0, "onetape_inbox_conflated_total": 0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert sum(value for name, value in found.items() if name.startswith("onetape_denials_total{control=")) == 1
    assert found['onetape_order_updates_total{status="accepted"}'] == 2
    assert any(name.startswith('onetape_run_info{mode="paper",name="proof",version=') for name in found)
    assert "onetape_feed_lag_seconds" not in found  # a tape is never late
    assert found["process_resident_memory_bytes"] > 0


async def test_what_feed_and_broker_count_is_shown_by_stream(tmp_path: Path) -> None:
    """Their `counts` need no list of names here; a malformed message is a decode error to everybody else."""
    async with serving(tmp_path) as (daemon, server, _):
        daemon.run.feed.counts = {"stocks": Counts(), "news": Counts(malformed=0)}
        daemon.core.broker.counts = {"orders": {"reconnects": 4, "fills found by REST": 1}}
        daemon.stopwatch.over["one"] = 3
        daemon.reconciler.rounds = 7
        found = await scrape(server)
    assert found['onetape_decode_errors_total{stream="stocks"}'] == 2
    assert found['onetape_reconnects_total{stream="news"}'] == 1
    assert found['onetape_reconnects_total{stream="orders"}'] == 4
    assert found['onetape_fills_found_by_rest_total{stream="orders"}'] == 1
    assert found['onetape_handler_over_budget_total{strategy="one"}'] == 3
    assert found["onetape_reconciliations_total"] == 7


async def test_the_lag_of_a_live_feed_is_the_age_of_its_newest_event(tmp_path: Path) -> None:
    """A feed that went silent is seen by whoever looks, whatever ticks go by."""
    async with serving(tmp_path) as (daemon, server, _):
        daemon.run.is_live = True
        daemon.clock.advance(7.5)
        now = daemon.clock.now_ns()
        daemon.take(Tick(now, now))
        assert (await scrape(server))["onetape_feed_lag_seconds"] == 7.5


async def test_health_says_that_the_daemon_answers_and_whether_it_trades(tmp_path: Path) -> None:
    """A halt is no reason to be restarted: the status is 200, and the state stands beside it."""
    async with serving(tmp_path) as (daemon, server, _):
        daemon.core.risk.halt(daemon.core.now_ns, "C15 drawdown", "too much")
        status, text = await fetch(server, "/health")
    told = json.loads(text)
    assert (status, told["status"], told["trading"], told["cause"]) == (200, "ok", "halted", "C15 drawdown")


async def test_every_metric_is_on_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard is built from docs/operations.md: what is served and what is promised are the same."""
    measured = {"lstm": {"drift_psi": 0.1, "guard_share": 0.0}}
    monkeypatch.setattr("engine.operating.operator.measures", lambda daemon: measured)
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
    promised = set(re.findall(r"`(onetape_\w+)", page))
    async with serving(tmp_path) as (daemon, server, _):
        daemon.run.is_live = True
        daemon.run.feed.counts = {"stocks": Counts()}
        _, text = await fetch(server, "/metrics")
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP onetape_")}
    assert served == promised


# --- who may look ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/metrics", "/health"])
async def test_a_foreign_host_name_is_refused(tmp_path: Path, page: str) -> None:
    """A page of the web whose name was pointed at this machine reads nothing."""
    async with serving(tmp_path) as (_, server, _):
        assert (await fetch(server, page, headers={"Host": "evil.example"}))[0] == 403
        assert (await fetch(server, page, headers={"Host": f"localhost:{server.port}"}))[0] == 200


@pytest.mark.parametrize(
    ("method", "page", "status"), [("POST", "/metrics", 405), ("GET", "/", 404), ("GET", "/x", 404)]
)
async def test_nothing_else_is_served(tmp_path: Path, method: str, page: str, status: int) -> None:
    """Two pages, to be read."""
    async with serving(tmp_path) as (_, server, _):
        assert (await fetch(server, page, method=method))[0] == status


async def test_only_loopback_is_listened_at(tmp_path: Path) -> None:
    """Nobody on the network sees what is traded."""
    async with serving(tmp_path) as (_, server, _):
        assert server._runner is not None
        assert {address[0] for address in server._runner.addresses} == {"127.0.0.1"}


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """Two runs on one machine need a port each, and the message says which key."""
    async with serving(tmp_path) as (_, server, stages):
        second = MetricsServer(server.port, server._collector, server._status, stages)
        with pytest.raises(ConfigError, match=rf"metrics.port: cannot listen on 127.0.0.1:{server.port}"):
            await second.open()


# --- the histograms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("took_ns", [-5, 0, 1, 999, 1024, 10**6, 10**9, 2**63, 2**80])
def test_a_sample_is_in_every_bucket_that_ends_after_it(took_ns: int) -> None:
    """Cumulative counts by upper bound, as Prometheus reads them, whatever a clock that was set makes of a sample."""
    histogram = Histogram()
    histogram.observe(took_ns)
    buckets = histogram.buckets()
    assert buckets[-1] == ("+Inf", 1.0)
    for bound, count in buckets[:-1]:
        assert count == (float(bound) * 1e9 > max(took_ns, 0))


def test_a_timed_corridor_shows_where_the_time_went() -> None:
    """Reception to corridor by the wall's clock, the walk by the monotonic one; a tape has no reception."""
    clock = ManualClock(10**9)
    stages = Stages(clock)

    def walk(event: Any) -> None:
        clock.advance(0.002)

    event = Tick(0, 10**9 - 5_000_000)
    stages.timed(walk, is_live=True)(event)
    assert (stages.inbox.total_ns, stages.corridor.total_ns) == (5_000_000, 2_000_000)
    stages.timed(walk, is_live=False)(event)
    assert (stages.inbox.total_ns, stages.corridor.total_ns) == (5_000_000, 4_000_000)


def test_timing_an_event_costs_less_than_a_microsecond() -> None:
    """Of the processor's time, so that a busy machine changes nothing; the corridor itself takes ten times that."""
    stages, event = Stages(LiveClock()), Tick(0, 10**18)

    def walk(event: Any) -> None: ...

    timed = stages.timed(walk, is_live=True)
    best = partial(timeit.repeat, timer=time.thread_time, number=2000, repeat=30)
    bare_s, timed_s = min(best(lambda: walk(event))), min(best(lambda: timed(event)))
    assert (timed_s - bare_s) / 2000 < 1e-6


async def test_the_loop_is_watched_while_metrics_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How late the event loop comes back is a stage like the others."""
    monkeypatch.setattr(metrics, "LOOP_EVERY_S", 0)
    async with serving(tmp_path) as (daemon, server, stages):
        watching = asyncio.create_task(server.watch_loop(daemon.clock))
        while sum(stages.loop.counts) < 3:
            await asyncio.sleep(0)
        watching.cancel()


# --- the observers behind it -----------------------------------------------------------------------------------------


def denial() -> Denied:
    return Denied(Intent("a-1", "one", "AAA", "buy", None, 1), 1, "C02 order_notional", "too much")


async def test_an_observer_sees_a_record_only_after_the_corridor_went_on(tmp_path: Path) -> None:
    """What it does, or fails to do, changes no decision; one that fails keeps no other from its record."""
    journal, seen = Journal(tmp_path / "run.journal"), []
    observers = Observers(journal)

    def fail(record: Denied) -> None:
        raise RuntimeError("an observer's own fault")

    observers.observe(Denied, fail)
    observers.observe(Denied, seen.append)
    journal.append(denial())
    assert seen == []
    await asyncio.sleep(0)
    assert seen == [denial()]
    journal.close()


async def test_what_is_done_over_from_a_journal_is_not_observed_again(tmp_path: Path) -> None:
    """A restart counts no denial twice and wakes nobody for yesterday's halt."""
    path = tmp_path / "run.journal"
    first = Journal(path)
    first.append(denial())
    first.close()
    again = Journal(path, follow=True)
    tally = Tally(Observers(again))
    again.append(denial())
    await asyncio.sleep(0)
    assert tally.denials == {}
    again.append(denial())
    await asyncio.sleep(0)
    assert tally.denials == {"C02 order_notional": 1}
    again.close()


def test_the_metrics_of_a_daemon_without_counts_are_there_all_the_same() -> None:
    """A feed or broker that counts nothing is none the worse for it."""
    from engine.operating.operator import streams

    daemon: Any = SimpleNamespace(run=SimpleNamespace(feed=object()), core=SimpleNamespace(broker=object()), stage=None)
    assert streams(daemon) == {}
