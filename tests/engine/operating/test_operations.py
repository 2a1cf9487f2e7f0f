"""What stands beside a daemon's corridor opens and closes as one, and an end that was not meant is not a quiet one."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.errors import ConfigError, JournalWriteError
from engine.events import SECOND_NS, Command, OrderUpdate
from engine.operating import alerts, control, heartbeat, operations, watchdog
from engine.operating.control import FOLDER, Request
from engine.operating.metrics import MetricsServer
from engine.operating.operations import Operations
from tests.engine.operating.operated import Operated


@asynccontextmanager
async def operating(folder: Path, bars: int = 3, **over: Any) -> AsyncIterator[tuple[Any, Operations]]:
    daemon: Any = Operated(folder, **over)
    try:
        async with Operations(daemon) as found:
            await daemon.begin(bars)
            yield daemon, found
    finally:
        daemon.journal.close()


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_an_operated_daemon_answers_beats_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Socket and heartbeat are there while it runs, and gone after an end that was meant."""
    async with operating(tmp_path) as (_, here):
        here.look()
        reply = await asyncio.to_thread(control.request, tmp_path, Request("status"))
        assert reply.status is not None
        assert reply.status.events == 3
        assert heartbeat.seen(tmp_path / FOLDER) is not None
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {control.LOCK}


async def test_an_end_by_an_error_is_alerted_and_leaves_the_heartbeat(tmp_path: Path) -> None:
    """The watchdog takes over from what is left, unless the daemon is started again in time."""
    with capture_logs() as lines, pytest.raises(JournalWriteError):
        async with operating(tmp_path):
            raise JournalWriteError("the disk refused records 1 to 5")
    assert lines[-1]["why"] == "JournalWriteError: the disk refused records 1 to 5"
    assert heartbeat.seen(tmp_path / FOLDER) is not None
    assert [one["alert"] for one in alerts.unacknowledged(tmp_path / FOLDER)] == ["end"]


async def test_a_start_that_fails_leaves_no_heartbeat(tmp_path: Path) -> None:
    """Nothing has traded, so nobody has to cancel anything."""
    daemon: Any = Operated(tmp_path)
    with capture_logs(), pytest.raises(ConfigError):
        async with Operations(daemon):
            raise ConfigError("the account is closed")
    assert heartbeat.seen(tmp_path / FOLDER) is None
    daemon.journal.close()


async def test_what_was_opened_is_closed_when_the_rest_does_not_open(tmp_path: Path, port: int) -> None:
    """A port that is taken leaves no socket at which nobody answers."""
    async with operating(tmp_path / "first", metrics={"port": port}):
        daemon: Any = Operated(tmp_path / "second", metrics={"port": port})
        with pytest.raises(ConfigError, match="metrics.port"):
            await Operations(daemon).__aenter__()
        assert not (tmp_path / "second" / FOLDER / control.SOCKET).exists()
        daemon.journal.close()


async def test_a_word_of_the_watchdog_halts_before_anything_else(tmp_path: Path) -> None:
    """The daemon hung, and its entries were canceled from outside: it must not go on as if nothing had been."""
    async with operating(tmp_path) as (daemon, here):
        heartbeat.trip(tmp_path / FOLDER, "C32 dead_man: no heartbeat for 31 s >= 30 s")
        here.look()
        here.look()
        daemon.inbox.close()
        with capture_logs():
            await daemon.walk()
        assert daemon.core.risk.state == "halted"
        assert daemon.core.risk.cause == "operator"
        assert not (tmp_path / FOLDER / heartbeat.TRIPPED).exists()


async def test_while_the_journal_is_followed_the_word_waits(tmp_path: Path) -> None:
    """A halt that fell into the past would make another run of it."""
    daemon: Any = Operated(tmp_path)
    async with Operations(daemon) as here:
        heartbeat.trip(tmp_path / FOLDER, "C32 dead_man")
        here.look()
        assert len(daemon.inbox) == 0
        await daemon.begin()
        here.look()
        assert len(daemon.inbox) == 1
    daemon.journal.close()


async def test_without_a_port_the_corridor_is_not_timed(tmp_path: Path) -> None:
    """What nobody reads costs nothing: the very same function is called."""
    async with operating(tmp_path) as (daemon, here):
        process = daemon.core.process
        assert here.timed(process) is process


async def test_with_a_port_orders_and_events_are_timed(tmp_path: Path, port: int) -> None:
    """From the decision to the venue's first word, in the run's own time."""
    async with operating(tmp_path, metrics={"port": port}) as (daemon, here):
        assert here.timed(daemon.core.process) is not daemon.core.process
        order = next(iter(daemon.core.orders.open.values()))
        before = here._stages.acknowledgment.total_ns
        later = order.created_ns + SECOND_NS
        here._on_update(OrderUpdate(order.id, "accepted", later, later))
        here._on_update(OrderUpdate("another program's", "accepted", later, later))
        here._on_update(OrderUpdate(order.id, "canceled", later, later))
        assert here._stages.acknowledgment.total_ns - before == SECOND_NS


async def test_an_operated_daemon_beats_until_it_is_stopped(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` is the task that gives the signs of life; canceled, it takes its own tasks with it."""
    monkeypatch.setattr(operations, "BEAT_EVERY_S", 0)
    async with operating(tmp_path, metrics={"port": port}) as (_, here):
        looked: list[int] = []
        monkeypatch.setattr(here, "look", lambda: looked.append(1))
        beating = asyncio.create_task(here.run())
        while len(looked) < 3:
            await asyncio.sleep(0)
        beating.cancel()
        await asyncio.wait([beating])
        assert beating.cancelled()


async def test_a_look_at_the_loop_that_fails_ends_the_run(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error comes out of `run`, at the next beat, and is not lost in a task that nobody awaits."""
    monkeypatch.setattr(operations, "BEAT_EVERY_S", 0)

    async def fails(*_: object) -> None:
        raise ZeroDivisionError("loop lag")

    monkeypatch.setattr(MetricsServer, "watch_loop", fails)
    async with operating(tmp_path, metrics={"port": port}) as (_, here):
        with pytest.raises(ZeroDivisionError, match="loop lag"):
            await here.run()


async def test_the_watchdog_is_started_with_the_daemon_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`watchdog.start`: after the first heartbeat, so that it finds somebody to look after."""
    launched: list[tuple[Path, bool]] = []

    def launch(out_dir: Path) -> None:
        launched.append((out_dir, heartbeat.seen(out_dir / FOLDER) is not None))

    monkeypatch.setattr(watchdog, "launch", launch)
    async with operating(tmp_path / "without"):
        assert launched == []
    async with operating(tmp_path / "with", watchdog={"start": True}):
        assert launched == [(tmp_path / "with", True)]


async def test_a_reload_reaches_the_alerts(tmp_path: Path) -> None:
    """What the control line takes over is in force at once."""
    async with operating(tmp_path) as (daemon, here):
        tree = daemon.config.resolved()
        tree["alerts"]["repeat_after_s"] = 7.0
        with capture_logs():
            reply = await asyncio.to_thread(control.request, tmp_path, Request("reload", config=tree))
        assert reply.told == "changed alerts.repeat_after_s"
        assert here.alerts.settings.repeat_after_s == 7.0


async def test_a_reload_of_a_webhook_that_leads_nowhere_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the alerts nor the log's level, which is named beside it."""
    monkeypatch.delenv("NOT_SET", raising=False)
    async with operating(tmp_path) as (daemon, here):
        tree = daemon.config.resolved()
        tree["alerts"] |= {"repeat_after_s": 7.0, "webhook_env": "NOT_SET"}
        tree["log"]["level"] = "debug"
        before = here.alerts.settings
        reply = await asyncio.to_thread(control.request, tmp_path, Request("reload", config=tree))
        assert (reply.ok, reply.told) == (False, "alerts.webhook_env names NOT_SET, which is not set")
        assert here.alerts.settings is before
        assert daemon.run.config.log.level == "info"


async def test_a_halt_at_the_very_end_is_still_alerted(tmp_path: Path) -> None:
    """The observers see the last record too."""
    with capture_logs() as lines:
        async with operating(tmp_path) as (daemon, here):
            now = daemon.core.now_ns
            daemon.core.supervisor.apply([daemon.core.risk.halt(now, "C15 drawdown", "too much")])
    assert here.alerts.raised == {"halt": 1}
    assert [line["log_level"] for line in lines if line["event"] == "trading is halted"] == ["critical"]


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_real_money_waits_until_alerts_are_acknowledged(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C38: a live run does not start over the head of what nobody has read; paper does."""
    monkeypatch.setenv("ONETAPE_TEST_WEBHOOK", "https://127.0.0.1/hook")
    daemon: Any = Operated(tmp_path, mode=mode, alerts={"webhook_env": "ONETAPE_TEST_WEBHOOK"})
    operations.check(daemon.config)
    heartbeat.private_folder(tmp_path / FOLDER)
    (tmp_path / FOLDER / alerts.UNACKNOWLEDGED).write_text(json.dumps({"alert": "halt", "text": "halted"}) + "\n")
    if mode == "live":
        with pytest.raises(ConfigError, match=f"1 critical alerts .* onetape acknowledge {tmp_path}"):
            operations.check(daemon.config)
    else:
        operations.check(daemon.config)
    daemon.journal.close()


def test_real_money_needs_somebody_to_tell(tmp_path: Path) -> None:
    """C38: an alert that goes nowhere is none; a live run has a webhook, or does not start."""
    daemon: Any = Operated(tmp_path, mode="live")
    with pytest.raises(ConfigError, match="has to have somebody to tell: set alerts.webhook_env"):
        operations.check(daemon.config)
    daemon.journal.close()


def test_a_missing_webhook_is_told_before_there_is_anything_of_the_run(tmp_path: Path) -> None:
    """`check` writes nothing."""
    daemon: Any = Operated(tmp_path, alerts={"webhook_env": "ONETAPE_TEST_NO_SUCH_VARIABLE"})
    with pytest.raises(ConfigError, match="ONETAPE_TEST_NO_SUCH_VARIABLE, which is not set"):
        operations.check(daemon.config)
    assert not (tmp_path / FOLDER).exists()
    daemon.journal.close()


def test_a_command_of_a_person_is_no_alarm() -> None:
    """The word that the supervisor writes for a person's commands is the one that alerts know."""
    from engine import supervisor
    from engine.operating import lookout

    source = Path(supervisor.__file__).read_text()
    assert f'risk.halt(now, "{lookout.OPERATOR}", reason)' in source
    assert Command.__name__ in source
