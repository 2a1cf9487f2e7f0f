"""What a monitoring system reads: `/metrics` for Prometheus and `/health`, on this machine's loopback only.

Nothing is counted twice: a scrape reads what the corridor, its observers and the streams keep anyway. Only the latency
histograms cost anything between scrapes, less than a microsecond per event, and nothing where no port is configured.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec

from engine.clock import Clock
from engine.errors import ConfigError
from engine.events import InboxEvent
from engine.operating.alerts import Alerts
from engine.operating.control import DaemonStatus

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

HOST = "127.0.0.1"
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost"})
BITS_FIRST, BITS_LAST = 10, 35
"""Buckets end at powers of two nanoseconds, from a microsecond to half a minute."""
LOOP_EVERY_S = 0.1
STATES = ("active", "reduce_only", "halted")
RENAMED = {"malformed": "decode_errors", "filled": "backfilled"}

Process = Callable[[InboxEvent], None]


class Histogram:
    """How long something took, how often. Ten instructions a sample: the bucket is the length of the number."""

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * 65
        self.total_ns = 0

    def observe(self, took_ns: int) -> None:
        """Count one sample; what a clock that was set back makes negative counts as nothing."""
        if took_ns < 0:
            took_ns = 0
        self.counts[min(took_ns.bit_length(), 64)] += 1
        self.total_ns += took_ns

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts by upper bound in seconds, as Prometheus wants them."""
        sums = list(accumulate(self.counts))
        found = [(repr(2**bits / 1e9), float(sums[bits])) for bits in range(BITS_FIRST, BITS_LAST + 1)]
        return [*found, ("+Inf", float(sums[-1]))]


class Stages:
    """Where the time goes, from the wire in to the venue's answer.

    Attributes:
        inbox: from reception to the corridor's taking the event; live feeds only.
        corridor: one event's whole walk, strategies included.
        acknowledgment: from the decision to the venue's first word on the order.
        loop: how much later than asked the event loop came back to us.
    """

    def __init__(self, clock: Clock) -> None:
        self.inbox, self.corridor, self.acknowledgment, self.loop = (Histogram() for _ in range(4))
        self._clock = clock

    def timed(self, process: Process, *, is_live: bool) -> Process:
        """Return `process` with a watch on it."""
        now_ns, monotonic_ns = self._clock.now_ns, self._clock.monotonic_ns
        waits, takes = self.inbox.observe, self.corridor.observe

        def timed(event: InboxEvent) -> None:
            if is_live:
                waits(now_ns() - event.ts_recv_ns)
            begun_ns = monotonic_ns()
            process(event)
            takes(monotonic_ns() - begun_ns)

        return timed

    def by_name(self) -> Mapping[str, Histogram]:
        return {
            "inbox": self.inbox, "corridor": self.corridor, "acknowledgment": self.acknowledgment, "loop": self.loop,
        }  # fmt: skip


class Collector:
    """Makes the metrics of a scrape when it comes."""

    def __init__(self, status: Callable[[], DaemonStatus], stages: Stages, alerts: Alerts) -> None:
        self._status, self._stages, self._alerts = status, stages, alerts

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield from _gauges(status)
        yield from _counters(status)
        yield from _by_stream(status.streams)
        yield from _by_model(status.models)
        yield from self._own()

    def _own(self) -> Iterator[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        alerts = self._alerts
        yield _counter("alerts", "Alerts raised, by name.", alerts.raised, "alert")
        yield _counter("alerts_delivered", "Alerts that the webhook took.", alerts.delivered)
        yield _counter("alerts_failed", "Alerts that the webhook had not taken within 5 s.", alerts.failed)
        stages = HistogramMetricFamily(
            "onetape_stage_seconds", "How long a stage of an event's or an order's way took.", labels=["stage"]
        )
        for name, histogram in self._stages.by_name().items():
            stages.add_metric([name], histogram.buckets(), histogram.total_ns / 1e9)
        yield stages


def _gauges(status: DaemonStatus) -> Iterator[Metric]:
    from prometheus_client.core import InfoMetricFamily

    told = {"name": status.name, "mode": status.mode, "version": status.version}
    yield InfoMetricFamily("onetape_run", "The run, and the version of the engine.", value=told)
    states = {state: float(status.state == state) for state in STATES}
    yield _gauge("trading_state", "1 for the state that trading is in.", states, "state")
    if status.quiet_s is not None:
        yield _gauge("feed_lag_seconds", "Seconds since the newest bar, quote or trade was received.", status.quiet_s)
    yield _gauge("inbox_events", "Events that wait for the corridor.", status.inbox)
    orders = Counter(order.status for order in status.orders)
    yield _gauge("orders", "Open orders, by state.", orders, "state")
    yield _gauge("positions", "Positions of strategies.", len(status.positions))
    yield _gauge("strategies_halted", "Strategies that were stopped alone.", len(status.halted_strategies))
    yield _gauge("equity_usd", "Cash and positions at their last prices.", status.equity_usd)
    yield _gauge("cash_usd", "Cash.", float(status.cash_usd))
    yield _gauge("pnl_usd", "Profit and loss since the start of the run.", status.pnl_usd)
    yield _gauge("fees_usd", "Fees paid since the start of the run, rebates deducted.", float(status.fees_usd))
    waiting = status.alerts_unacknowledged
    yield _gauge("alerts_unacknowledged", "Critical alerts that no person has acknowledged.", waiting)


def _counters(status: DaemonStatus) -> Iterator[Metric]:
    yield _counter("events", "Events that the corridor took.", status.events)
    yield _counter("inbox_conflated", "Quotes that a newer one overtook in the inbox.", status.conflated)
    yield _counter("approvals", "Orders that risk let pass.", status.approvals)
    yield _counter("denials", "Orders that risk refused, by control.", status.denials, "control")
    yield _counter("order_updates", "The venue's words on orders, by status.", status.updates, "status")
    yield _counter("fills", "Executions booked.", status.fills)
    yield _counter("late_fills", "Executions of orders that had ended.", status.late_fills)
    over = "Callbacks over their time budget, by strategy."
    yield _counter("handler_over_budget", over, status.over_budget, "strategy")
    yield _counter("reconciliations", "Comparisons of the account with the books.", status.reconciliations)
    yield _counter("reconciliation_mismatches", "Comparisons that confirmed a difference.", status.mismatches)


def _by_stream(streams: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    """Yield what feeds and brokers count, a metric for each thing they count."""
    kinds = dict.fromkeys(kind for counts in streams.values() for kind in counts)
    for kind in kinds:
        found = {name: counts[kind] for name, counts in streams.items() if kind in counts}
        name = RENAMED.get(kind, kind).replace(" ", "_").lower()  # a broker counts in words
        yield _counter(name, f"{name.replace('_', ' ').capitalize()}, by stream.", found, "stream")


def _by_model(models: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
    """Yield what the health of models last measured, a metric for each measure."""
    for measure in dict.fromkeys(measure for measures in models.values() for measure in measures):
        found = {name: measures[measure] for name, measures in models.items() if measure in measures}
        yield _gauge(f"model_{measure}", f"{measure.replace('_', ' ').capitalize()} at the last look.", found, "model")


def _gauge(name: str, told: str, value: float | Mapping[str, float], label: str = "") -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily, name, told, value, label)


def _counter(name: str, told: str, value: float | Mapping[str, float], label: str = "") -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily, name, told, value, label)


def _filled(family: Any, name: str, told: str, value: float | Mapping[str, float], label: str) -> Metric:
    metric = family(f"onetape_{name}", told, labels=[label] if label else None)
    for key, number in value.items() if isinstance(value, Mapping) else (((), value),):
        metric.add_metric([key] if label else [], number)
    found: Metric = metric
    return found


class MetricsServer:
    """Serves the two pages on 127.0.0.1; port 0 takes any that is free.

    Attributes:
        port: the one that is listened at.
    """

    def __init__(self, port: int, collector: Collector, status: Callable[[], DaemonStatus], stages: Stages) -> None:
        self.port = port
        self._collector, self._status, self._loop_lag = collector, status, stages.loop
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigError: the port is taken.
        """
        from aiohttp import web
        from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self._collector)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._page(registry))
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port)
        try:
            await site.start()
        except OSError as error:
            await self.close()
            raise ConfigError(f"metrics.port: cannot listen on {HOST}:{self.port}: {error.strerror}") from None
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def watch_loop(self, clock: Clock) -> None:
        """Measure how late the event loop comes back, until canceled."""
        while True:
            begun_ns = clock.monotonic_ns()
            await asyncio.sleep(LOOP_EVERY_S)
            self._loop_lag.observe(clock.monotonic_ns() - begun_ns - round(LOOP_EVERY_S * 1e9))

    def _page(self, registry: CollectorRegistry) -> Callable[[web.Request], Any]:
        from aiohttp import web
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        async def page(request: web.Request) -> web.Response:
            _check_host(request)
            return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

        return page

    async def _health(self, request: web.Request) -> web.Response:
        from aiohttp import web

        _check_host(request)
        status = self._status()
        # That it answers is its health; whether it trades is a matter of its own, and no reason to restart it.
        told = {
            "status": "ok", "run": status.name, "phase": status.phase, "trading": status.state, "cause": status.cause,
            "events": status.events, "feed_lag_s": status.quiet_s,
        }  # fmt: skip
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")


def _check_host(request: web.Request) -> None:
    """Refuse a page of the web that had its name point at this machine."""
    from aiohttp import web

    if request.host.partition(":")[0] not in LOCAL_NAMES:
        raise web.HTTPForbidden(text="ask by the name localhost or 127.0.0.1\n")
