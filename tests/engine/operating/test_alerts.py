"""Alerts: what a person has to know is told once, in time or counted as late, and never with a secret in it."""

import asyncio
import json
import re
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from engine import logs
from engine.clock import ManualClock
from engine.config import AlertsConfig
from engine.errors import ConfigError
from engine.events import Command, LateFill, Link, Reconciliation
from engine.operating import alerts
from engine.operating.alerts import Alerts
from engine.operating.lookout import DOWN_CRITICAL_S, DOWN_WARN_S, Lookout
from tests.engine.operating.operated import Operated

WALL_NS = 1_700_000_000_000_000_000
PATH = "/hook/sk-canary-hook"


class Webhook:
    """A server that answers with the statuses it was given, then with 200, and keeps what it took."""

    def __init__(self, statuses: Sequence[int]) -> None:
        self.statuses = list(statuses)
        self.taken: list[dict[str, Any]] = []
        self.tries = 0
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.tries += 1
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.taken.append(json.loads(await request.read()))
        headers = {"Location": "http://127.0.0.1:9/elsewhere"} if status == 302 else {}
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def listening(*statuses: int) -> AsyncIterator[Webhook]:
    hook = Webhook(statuses)
    app = web.Application()
    app.router.add_post(PATH, hook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
    try:
        yield hook
    finally:
        await runner.cleanup()


class Desk:
    """Alerts whose time passes only by what they wait."""

    def __init__(self, url: str = "", folder: Path | None = None, **settings: Any) -> None:
        self.clock = ManualClock(WALL_NS)
        self.waits: list[float] = []
        chosen = AlertsConfig(webhook_env="HOOK" if url else None, **settings)
        self.alerts = Alerts(
            chosen, self.clock, name="demo", folder=folder, sleep=self.wait, environ={"HOOK": url} if url else {}
        )

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)

    async def settle(self) -> None:
        """Wait until every delivery has come to its end."""
        while self.alerts._deliveries:
            await asyncio.wait(self.alerts._deliveries)
        await self.alerts.close()


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_an_alert_is_posted_with_all_that_it_says() -> None:
    """A person reads the text; a program reads run, name, severity, time and fields."""
    async with listening() as hook:
        desk = Desk(hook.url)
        desk.alerts.raise_alert("halt", "critical", "trading is halted", control="C14 daily_loss", loss_usd=-3.5)
        await desk.settle()
    assert hook.taken == [
        {
            "text": "critical: demo: trading is halted", "run": "demo", "alert": "halt", "severity": "critical",
            "ts": "2023-11-14T22:13:20+00:00", "fields": {"control": "C14 daily_loss", "loss_usd": -3.5},
        }
    ]  # fmt: skip
    assert (desk.alerts.delivered, desk.alerts.failed) == (1, 0)


@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
def test_every_alert_is_in_the_log_with_its_severity(severity: Any) -> None:
    """Without a webhook the log is where alerts are."""
    with capture_logs() as lines:
        Desk().alerts.raise_alert("disk", severity, "the disk is almost full", free_mib=5)
    assert lines == [
        {"event": "the disk is almost full", "log_level": severity, "alert": "disk", "free_mib": 5}
    ]  # fmt: skip


async def test_the_same_alert_is_told_again_only_after_a_while() -> None:
    """`repeat_after_s`: what goes on all the time is told once, and then how often it was."""
    async with listening() as hook:
        desk = Desk(hook.url, repeat_after_s=60)
        for _ in range(3):
            desk.alerts.raise_alert("link", "warning", "no connection", down_s=1)
        desk.alerts.raise_alert("link", "warning", "no connection to news", down_s=1)
        desk.clock.advance(60)
        desk.alerts.raise_alert("link", "warning", "no connection", down_s=61)
        await desk.settle()
    assert [one["fields"] for one in hook.taken] == [{"down_s": 1}, {"down_s": 1}, {"down_s": 61, "repeated": 2}]
    assert desk.alerts.raised == {"link": 5}


def test_what_was_told_is_not_remembered_without_end() -> None:
    """Texts that never repeat take no more memory after a thousand."""
    desk = Desk()
    with capture_logs():
        for number in range(alerts.REMEMBERED_MAX + 500):
            desk.alerts.raise_alert("odd", "info", f"text {number}")
    assert len(desk.alerts._told) == alerts.REMEMBERED_MAX


# --- whether it arrives ----------------------------------------------------------------------------------------------


async def test_a_webhook_that_fails_is_tried_again_within_the_five_seconds() -> None:
    """A hiccup costs a quarter of a second, then half of one."""
    async with listening(500, 429) as hook:
        desk = Desk(hook.url)
        desk.alerts.raise_alert("halt", "critical", "trading is halted")
        await desk.settle()
    assert desk.waits == [0.25, 0.5]
    assert (hook.tries, desk.alerts.delivered, desk.alerts.failed) == (3, 1, 0)


async def test_what_is_not_delivered_within_five_seconds_counts_as_failed_and_goes_on() -> None:
    """Late is better than never, and is counted as what it is; the log says so once."""
    async with listening(*[503] * 9) as hook:
        desk = Desk(hook.url)
        with capture_logs() as lines:
            desk.alerts.raise_alert("halt", "critical", "trading is halted")
            await desk.settle()
    assert (desk.alerts.delivered, desk.alerts.failed) == (1, 1)
    assert [line["event"] for line in lines].count("an alert was not delivered in time") == 1
    assert desk.waits[:5] == [0.25, 0.5, 1.0, 2.0, 1.25]  # the fifth try is at five seconds, and then it is late
    assert max(desk.waits) <= alerts.WAIT_MAX_S


async def test_a_webhook_that_stays_down_is_given_up_in_the_end() -> None:
    """Nothing is tried for ever; back-off grows to half a minute and no further."""
    desk = Desk("http://127.0.0.1:9/none")
    with capture_logs():
        desk.alerts.raise_alert("halt", "critical", "trading is halted")
        await desk.settle()
    assert (desk.alerts.delivered, desk.alerts.failed) == (0, 1)
    assert alerts.GIVE_UP_S <= sum(desk.waits) < alerts.GIVE_UP_S + 2 * alerts.WAIT_MAX_S


@pytest.mark.parametrize("status", [302, 400, 401, 404])
async def test_an_address_that_is_wrong_is_not_tried_again(status: int) -> None:
    """A refusal stays one, and a redirect is not followed: it could lead anywhere."""
    async with listening(status) as hook:
        desk = Desk(hook.url)
        with capture_logs() as lines:
            desk.alerts.raise_alert("halt", "critical", "trading is halted")
            await desk.settle()
    assert (hook.tries, desk.alerts.delivered, desk.alerts.failed) == (1, 0, 1)
    assert lines[-1]["webhook"] == f"HTTP {status}"


async def test_raising_an_alert_never_waits_for_the_webhook() -> None:
    """A flood is bounded: what does not fit is counted as failed, and nothing blocks."""
    async with listening() as hook:
        desk = Desk(hook.url)
        with capture_logs():
            for number in range(alerts.IN_FLIGHT_MAX + 3):
                desk.alerts.raise_alert("flood", "info", f"text {number}")
        assert (hook.tries, desk.alerts.failed) == (0, 3)
        await desk.settle()
    assert desk.alerts.delivered == alerts.IN_FLIGHT_MAX


async def test_closing_lets_go_of_what_is_under_way() -> None:
    """The end of a run does not hang on a webhook."""
    desk = Desk("http://127.0.0.1:9/none")
    desk.alerts._sleep = asyncio.sleep
    with capture_logs():
        desk.alerts.raise_alert("end", "critical", "the daemon ends")
        await desk.alerts.close(within_s=0)
    assert desk.alerts._deliveries == set()


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_no_secret_leaves_in_an_alert(tmp_path: Path) -> None:
    """Neither in a text, a field's value or under a telling key, nor in what is kept on the disk."""
    logs.mask("sk-canary-key")
    async with listening() as hook:
        desk = Desk(hook.url, tmp_path)
        with capture_logs():
            desk.alerts.raise_alert(
                "end", "critical", "401 for sk-canary-key", why="GET /?key=sk-canary-key", secret_key="plain canary"
            )
            await desk.settle()
    told = json.dumps(hook.taken) + (tmp_path / alerts.UNACKNOWLEDGED).read_text()
    assert "canary" not in told
    assert told.count(logs.MASK) == 6


async def test_the_address_of_the_webhook_is_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has it can post in our name: it is masked from the moment it is read."""
    desk = Desk("https://127.0.0.1:9/hook/sk-canary-url")
    with capture_logs() as lines:
        desk.alerts.raise_alert("halt", "critical", "cannot post to https://127.0.0.1:9/hook/sk-canary-url")
        await desk.settle()
    shown = logs.masked(json.dumps(lines) + caplog.text)
    assert "canary" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        "hooks.example.com/x",
        "ftp://hooks.example.com/x",
        "http://hooks.example.com/x",
        "https://",
        "http://[/x",
    ],
)
def test_an_address_that_is_not_safe_to_post_to_is_refused(url: str) -> None:
    """Without TLS only to this machine; and the message holds no part of the address."""
    with pytest.raises(ConfigError) as caught:
        Alerts(AlertsConfig(webhook_env="HOOK"), ManualClock(), name="demo", environ={"HOOK": url})
    assert "HOOK" in str(caught.value)
    assert "example" not in str(caught.value)


def test_a_variable_that_is_not_set_is_named() -> None:
    """`webhook_env` says where the address is; when nothing is there, the run does not start."""
    with pytest.raises(ConfigError, match="alerts.webhook_env names HOOK, which is not set"):
        Alerts(AlertsConfig(webhook_env="HOOK"), ManualClock(), name="demo", environ={})


@pytest.mark.parametrize("given", ["https://hooks.example.com/sk-canary", "MY HOOK", ""])
def test_an_address_in_the_file_itself_is_refused_unseen(given: str) -> None:
    """A secret that was pasted into the configuration is not echoed by the message that refuses it."""
    with pytest.raises(ValueError, match="should be the name of an environment variable") as caught:
        AlertsConfig(webhook_env=given)
    assert "canary" not in caught.value.errors()[0]["msg"]  # type: ignore[attr-defined]  # pydantic's


async def test_a_reload_that_is_wrong_changes_nothing() -> None:
    """New settings take effect whole or not at all."""
    async with listening() as hook:
        desk = Desk(hook.url)
        with pytest.raises(ConfigError):
            desk.alerts.reload(AlertsConfig(webhook_env="OTHER"))
        desk.alerts.raise_alert("halt", "critical", "trading is halted")
        await desk.settle()
        assert desk.alerts.delivered == 1
        desk.alerts.reload(AlertsConfig())
        desk.alerts.raise_alert("halt", "critical", "again")
        await desk.settle()
    assert hook.tries == 1


def test_every_alert_is_on_its_page() -> None:
    """Whoever is woken by one finds it in docs/operations.md, and what the page names is raised somewhere."""
    root = Path(__file__).parents[3]
    raised = set()
    for path in (root / "engine").rglob("*.py"):
        raised |= set(re.findall(r'raise_alert\(\s*"(\w+)"', path.read_text("utf-8")))
    page = (root / "docs" / "operations.md").read_text("utf-8")
    rows = re.search(r"\| alert \|.*?\n\n", page, re.DOTALL)
    assert rows is not None
    promised = {name for row in rows[0].strip().splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert raised == promised


# --- acknowledgment --------------------------------------------------------------------------------------------------


async def test_critical_alerts_wait_until_a_person_acknowledges_them(tmp_path: Path) -> None:
    """They survive the process, in a file of the owner's, and only the critical ones do."""
    desk = Desk(folder=tmp_path)
    with capture_logs():
        desk.alerts.raise_alert("link", "warning", "no connection")
        desk.alerts.raise_alert("halt", "critical", "trading is halted", control="C15 drawdown")
        desk.alerts.raise_alert("end", "critical", "the daemon ends")
    path = tmp_path / alerts.UNACKNOWLEDGED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(path.read_bytes() + b'{"text": "cut o')
    assert [one["alert"] for one in alerts.unacknowledged(tmp_path)] == ["halt", "end"]
    alerts.acknowledge(tmp_path)
    assert alerts.unacknowledged(tmp_path) == []
    alerts.acknowledge(tmp_path)


def test_a_disk_that_refuses_does_not_keep_an_alert_from_being_told(tmp_path: Path) -> None:
    """Raising one never fails: a full disk is among the things that it has to tell."""
    desk = Desk(folder=tmp_path / "gone")
    with capture_logs() as lines:
        desk.alerts.raise_alert("disk", "critical", "the disk is almost full", odd=object(), text_2="\udcff")
    assert lines[0]["event"] == "the disk is almost full"


# --- what a daemon does that needs a person --------------------------------------------------------------------------


class Heard:
    """Stands for `Alerts`, and keeps what was raised."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def raise_alert(self, name: str, severity: str, text: str, **fields: Any) -> None:
        self.told.append((name, severity))


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[tuple[Any, Lookout, Heard]]:
    daemon: Any = Operated(tmp_path)
    heard = Heard()
    lookout = Lookout(daemon, daemon.observers, heard)  # type: ignore[arg-type]  # what it says of alerts is kept
    await daemon.begin(3)
    yield daemon, lookout, heard
    daemon.journal.close()


Watched = tuple[Any, Lookout, Heard]


async def test_a_halt_is_alerted_and_an_operators_is_only_told(watched: Watched) -> None:
    """Who stops trading himself need not be woken for it."""
    daemon, _, heard = watched
    now = daemon.core.now_ns
    daemon.take(Command("halt", now, now))
    await asyncio.sleep(0)
    assert heard.told == [("trading", "info")]
    for reason in ("C32 dead_man: no heartbeat for 31 s >= 30 s", "C39 post_trade: the account cannot be read"):
        daemon.take(Command("halt", now, now, reason))
        await asyncio.sleep(0)
        assert heard.told.pop() == ("halt", "critical")
    daemon.core.supervisor.apply([daemon.core.risk.halt(now, "C15 drawdown", "too much")])
    daemon.core.supervisor.apply([daemon.core.risk.reduce_only(now, "C14 daily_loss", "enough")])
    await asyncio.sleep(0)
    assert heard.told[1:] == [("halt", "critical"), ("reduce_only", "warning")]


async def test_an_overridden_limit_is_alerted_and_its_end_told(watched: Watched) -> None:
    """C36: others have to know by what the run goes, and for how long."""
    daemon, _, heard = watched
    now = daemon.core.now_ns
    daemon.take(
        Command("override", now, now, "why", who="ann", limit="max_order_qty", value="5", ts_expire_ns=now + 60 * 10**9)
    )
    await daemon.play(2)
    assert heard.told == [("override", "warning"), ("override_end", "info")]


async def test_a_strategy_that_is_halted_is_alerted(watched: Watched) -> None:
    """The others go on, and somebody has to look at this one."""
    daemon, _, heard = watched
    await daemon.play(12)
    assert ("strategy_halt", "critical") in heard.told


async def test_a_difference_to_the_brokers_account_is_alerted(watched: Watched) -> None:
    """Positions that differ are never traded away, so a person has to; agreement is no news."""
    _, lookout, heard = watched
    lookout._on_reconciliation(Reconciliation(1, 1))
    assert heard.told == []
    lookout._on_reconciliation(Reconciliation(1, 1, disagreeing=("AAA",), reason="AAA: 10 here, 9 there"))
    lookout._on_late_fill(LateFill("x", "proof-one-1", "canceled", 1))
    assert heard.told == [("mismatch", "critical"), ("late_fill", "warning")]


async def test_a_connection_that_stays_away_is_alerted_twice(watched: Watched) -> None:
    """A reconnect is routine; ten seconds without one are worth a word, and a minute is worth waking somebody."""
    daemon, lookout, heard = watched
    lookout._on_link(Link("orders", False, 1, 1))
    lookout.look()
    assert heard.told == []
    daemon.clock.advance(DOWN_WARN_S)
    lookout.look()
    daemon.clock.advance(DOWN_CRITICAL_S)
    lookout.look()
    assert heard.told == [("link", "warning"), ("link", "critical")]
    lookout._on_link(Link("orders", True, 1, 1))
    lookout.look()
    assert len(heard.told) == 2


async def test_a_handler_over_its_budget_is_alerted_by_its_strategy(watched: Watched) -> None:
    """Each time that it grew since the last look, and not while it stays."""
    daemon, lookout, heard = watched
    lookout.look()
    daemon.stopwatch.over["one"] = 2
    lookout.look()
    lookout.look()
    assert heard.told == [("over_budget", "warning")]


async def test_a_disk_and_an_inbox_that_fill_up_are_alerted(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both end in a halt; this is the word before."""
    daemon, lookout, heard = watched
    monkeypatch.setattr("engine.operating.lookout.DISK_FREE_MIN_BYTES", 1 << 62)
    daemon.inbox.capacity = 1
    daemon.inbox.publish(Command("halt", 1, 1))
    lookout.look()
    assert heard.told == [("inbox", "warning"), ("disk", "critical")]
