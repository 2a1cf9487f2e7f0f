"""The dead man's switch: it acts when the daemon gives no sign of life, only then, and until it has worked."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from engine import cli, logs
from engine.clock import ManualClock
from engine.config import AlertsConfig, RunOutline, WatchdogConfig, outline
from engine.errors import BrokerError, ConfigError, JournalError
from engine.journal import Journal
from engine.lock import locked
from engine.operating import heartbeat, watchdog
from engine.operating.alerts import Alerts
from engine.operating.control import FOLDER
from engine.operating.heartbeat import Heartbeat
from engine.operating.watchdog import Watchdog

ROOT = Path(__file__).parents[3]


class Venue:
    """A broker's own emergency line: raises what it was given, then cancels."""

    secrets = ("sk-canary-venue",)
    asked: tuple[str, str, str] = ("", "", "")

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.entries = 0
        self.on_cancel: Callable[[], object] = lambda: None

    async def cancel_entries(self) -> int:
        self.entries += 1
        self.on_cancel()
        if self.errors:
            raise self.errors.pop(0)
        return 3

    async def cancel_all(self) -> int:
        return 5

    async def close(self) -> None: ...


class LiveBroker:
    """A broker outside, as far as the watchdog needs one."""

    class Settings(BaseModel):
        server_url: str = "none"

    simulated = False

    def submit(self, approved: object) -> None: ...

    @classmethod
    def emergency(cls, settings: Settings, *, mode: str, name: str) -> Venue:
        venue = Venue()
        venue.asked = settings.server_url, mode, name
        return venue


class Post:
    """A watchdog at its post, second by second."""

    def __init__(self, folder: Path, *errors: Exception, venue: Venue | None = None, **settings: Any) -> None:
        self.clock, self.venue = ManualClock(10**18), venue or Venue(*errors)
        self.heart, self.folder = Heartbeat(folder), folder
        self.alerts = Alerts(AlertsConfig(repeat_after_s=0), self.clock, name="demo")
        self.dog = Watchdog(
            folder, WatchdogConfig(**settings), clock=self.clock, alerts=self.alerts, emergency=self.venue
        )
        self._beats = 0

    def beat(self) -> str:
        """Give a sign of life; two beats of a test may fall into one tick of the disk's clock."""
        told = self.heart.beat()
        self._beats += 1
        os.utime(self.heart.path, ns=(self._beats, self._beats))
        return told

    async def pass_time(self, seconds: int, *, alive: bool = False) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            if alive:
                self.beat()
            with capture_logs():
                await self.dog.look()

    @property
    def told(self) -> dict[str, int]:
        return dict(self.alerts.raised)


@pytest.fixture
def post(tmp_path: Path) -> Callable[..., Post]:
    return lambda *errors, **settings: Post(heartbeat.private_folder(tmp_path / FOLDER), *errors, **settings)


# --- when it acts ----------------------------------------------------------------------------------------------------


async def test_a_beating_heart_is_left_alone(post: Callable[..., Post]) -> None:
    """An hour of signs of life: no alert, nothing canceled."""
    here = post()
    await here.pass_time(3600, alive=True)
    assert (here.told, here.venue.entries) == ({}, 0)


async def test_silence_alerts_first_and_then_cancels_entries_once(post: Callable[..., Post]) -> None:
    """`alert_after_s` 15 and `cancel_after_s` 30 seconds of silence, and never before."""
    here = post()
    await here.pass_time(5, alive=True)
    await here.pass_time(14)
    assert here.told == {}
    await here.pass_time(1)
    assert (here.told, here.venue.entries) == ({"heartbeat": 1}, 0)
    await here.pass_time(14)
    assert here.venue.entries == 0
    await here.pass_time(1)
    assert (here.told, here.venue.entries) == ({"heartbeat": 1, "dead_man": 1}, 1)
    await here.pass_time(600)
    assert (here.told, here.venue.entries) == ({"heartbeat": 1, "dead_man": 1}, 1)


async def test_the_limits_are_the_configured_ones(post: Callable[..., Post]) -> None:
    """Other figures in [watchdog] are kept to the second."""
    here = post(alert_after_s=4, cancel_after_s=6)
    await here.pass_time(1, alive=True)
    await here.pass_time(4)
    assert (here.told, here.venue.entries) == ({"heartbeat": 1}, 0)
    await here.pass_time(2)
    assert here.venue.entries == 1


async def test_before_there_is_a_daemon_nothing_is_canceled(post: Callable[..., Post]) -> None:
    """A watchdog that waits for its daemon is not armed."""
    here = post()
    await here.pass_time(600)
    assert (here.told, here.venue.entries, here.dog.is_armed) == ({}, 0, False)


async def test_a_heart_that_was_still_when_it_came_counts_from_then(post: Callable[..., Post]) -> None:
    """A watchdog that starts after the crash acts all the same: somebody's entries are still open."""
    here = post()
    here.beat()
    await here.pass_time(31)
    assert here.venue.entries == 1


async def test_a_daemon_that_ended_as_it_should_needs_nobody(post: Callable[..., Post]) -> None:
    """It takes its heartbeat away; what it left open it left on purpose."""
    here = post()
    await here.pass_time(5, alive=True)
    here.heart.close()
    await here.pass_time(600)
    assert (here.told, here.venue.entries, here.dog.is_armed) == ({}, 0, False)
    await here.pass_time(1, alive=True)
    await here.pass_time(31)
    assert here.venue.entries == 1


async def test_a_daemon_that_is_back_is_told_and_watched_anew(post: Callable[..., Post]) -> None:
    """One outage is not the last."""
    here = post()
    await here.pass_time(1, alive=True)
    await here.pass_time(31)
    await here.pass_time(1, alive=True)
    assert here.told == {"heartbeat": 1, "dead_man": 1, "heartbeat_back": 1}
    await here.pass_time(31)
    assert here.venue.entries == 2


async def test_a_wall_clock_that_is_set_says_nothing(post: Callable[..., Post]) -> None:
    """What the file's time is does not matter, backwards or from the future: that it changes does."""
    here = post()
    for at_ns in (10**18, 10**9, 4 * 10**18, 5 * 10**17) * 10:
        here.heart.beat()
        os.utime(here.heart.path, ns=(at_ns, at_ns))
        await here.pass_time(10)
    assert (here.told, here.venue.entries) == ({}, 0)


async def test_a_pause_of_its_own_counts_for_nothing(post: Callable[..., Post]) -> None:
    """A machine that slept for a minute stopped both: the daemon gets its thirty seconds."""
    here = post()
    await here.pass_time(3, alive=True)
    here.clock.advance(60)
    await here.pass_time(14)
    assert here.told == {}
    await here.pass_time(1, alive=True)
    assert (here.told, here.venue.entries) == ({}, 0)


# --- what it does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [BrokerError("504"), TimeoutError(), RuntimeError("a bug in the broker")])
async def test_a_cancel_that_fails_is_tried_again_until_it_works(post: Callable[..., Post], error: Exception) -> None:
    """Whatever keeps it from canceling: nobody else is left to do it. The waits grow to fifteen seconds."""
    here = post(*[error] * 6)
    await here.pass_time(1, alive=True)
    await here.pass_time(30)
    assert (here.venue.entries, here.told) == (1, {"heartbeat": 1, "dead_man_failed": 1})
    await here.pass_time(1 + 2 + 4 + 8 + 15 + 15)
    assert (here.venue.entries, here.told["dead_man"], here.told["dead_man_failed"]) == (7, 1, 6)


async def test_a_venue_that_does_not_answer_does_not_hold_it_up(
    post: Callable[..., Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel has a time-out, and then it is tried again."""
    here = post()
    monkeypatch.setattr(watchdog, "CANCEL_WITHIN_S", 0)

    async def never() -> int:
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(here.venue, "cancel_entries", never)
    await here.pass_time(1, alive=True)
    await here.pass_time(30)
    assert here.told == {"heartbeat": 1, "dead_man_failed": 1}


async def test_a_daemon_that_comes_to_again_learns_that_it_has_to_halt(post: Callable[..., Post]) -> None:
    """The word is left before anything is canceled, and stays until the daemon has taken note of it."""
    here = post(BrokerError("504"))
    assert here.beat() == ""
    await here.pass_time(31)
    for _ in range(2):
        assert here.beat().startswith("C32 dead_man: no heartbeat for 30 s >= 30 s")
    assert stat.S_IMODE((here.folder / heartbeat.TRIPPED).stat().st_mode) == 0o600
    here.heart.resume()
    assert here.beat() == ""


HANGING = """
import os, signal, sys
from pathlib import Path
from engine.operating.heartbeat import Heartbeat
Heartbeat(Path(sys.argv[1])).open()
print("beats", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


async def test_a_daemon_that_hangs_is_ended_before_its_entries_are_canceled(post: Callable[..., Post]) -> None:
    """C32, F51: stopped for half a minute and let go again, it would send what nobody wants any more."""
    here = post()
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(here.folder)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "beats\n"
        await here.pass_time(29)
        assert process.poll() is None
        ended: list[bool] = []
        here.venue.on_cancel = lambda: ended.append(process.wait(5) == -signal.SIGKILL)
        await here.pass_time(2)
        assert ended == [True]
        assert here.told == {"heartbeat": 1, "daemon_ended": 1, "dead_man": 1}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("content", ["", "nobody", "-1", "1" * 30])
async def test_a_heartbeat_that_names_no_living_daemon_ends_nobody(post: Callable[..., Post], content: str) -> None:
    """Killed already, cut short or garbled: there is nobody to end, and entries are canceled all the same."""
    here = post()
    (here.folder / heartbeat.HEARTBEAT).write_text(content)
    await here.pass_time(31)
    assert here.told == {"heartbeat": 1, "dead_man": 1}


async def test_a_run_whose_venue_lives_inside_it_is_only_alerted(tmp_path: Path) -> None:
    """There is nothing to cancel beside a simulated venue."""
    folder, clock = heartbeat.private_folder(tmp_path / FOLDER), ManualClock()
    alerts = Alerts(AlertsConfig(), clock, name="demo")
    dog = Watchdog(folder, WatchdogConfig(), clock=clock, alerts=alerts, emergency=None)
    Heartbeat(folder).open()
    with capture_logs():
        for _ in range(40):
            clock.advance(1)
            await dog.look()
    assert alerts.raised == {"heartbeat": 1}


async def test_a_heartbeat_that_somebody_deleted_is_there_again_with_the_next_beat(post: Callable[..., Post]) -> None:
    """A sweep of the folder does not look like a clean end for longer than a second."""
    here = post()
    here.beat()
    here.heart.path.unlink()
    here.beat()
    assert heartbeat.seen(here.folder) is not None
    assert stat.S_IMODE(here.heart.path.stat().st_mode) == 0o600


async def test_a_watchdog_of_one_daemon_ends_with_it(post: Callable[..., Post]) -> None:
    """`--once`: after a clean end there is nothing left to watch."""
    here, looked = post(), 0

    async def second(seconds: float) -> None:
        nonlocal looked
        looked += 1
        here.clock.advance(seconds)
        if looked < 5:
            here.beat()
        else:
            here.heart.close()

    await watchdog.watch(here.dog, once=True, sleep=second)
    assert looked == 5


async def test_a_watchdog_of_one_daemon_does_not_wait_for_it_for_ever(post: Callable[..., Post]) -> None:
    """`--once` without a daemon ends after a few seconds."""
    here = post()

    async def second(seconds: float) -> None:
        here.clock.advance(seconds)

    await watchdog.watch(here.dog, once=True, sleep=second)
    assert here.clock.ts_ns - 10**18 == pytest.approx((watchdog.ABSENT_MAX_S + 1) * 1e9)


# --- how it is configured --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alert_s", "cancel_s"), [(30, 15), (2, 30), (15, 4), (float("inf"), float("inf"))])
def test_limits_that_make_no_sense_are_refused(alert_s: float, cancel_s: float) -> None:
    """A heart that beats once a second cannot be missed after one, and the alert comes before the cancel."""
    with pytest.raises(ValueError, match="alert_after_s|greater than or equal|finite"):
        WatchdogConfig(alert_after_s=alert_s, cancel_after_s=cancel_s)


def write(folder: Path, use: str, *options: str) -> Path:
    """Write a run whose other parts are broken."""
    path = folder / "run.toml"
    lines = ['mode = "paper"', 'name = "demo"', f'out_dir = "{folder}"', 'seed = "nonsense"']
    lines += ["[broker]", f'use = "{use}"', *options, "[[strategies]]", 'use = "gone:Gone"']
    path.write_text("\n".join(lines))
    return path


def live_outline(folder: Path) -> RunOutline:
    return outline(write(folder, f"{__file__}:LiveBroker", 'server_url = "http://127.0.0.1:1"'))


def test_the_outline_of_a_run_needs_neither_its_strategies_nor_its_feed(tmp_path: Path) -> None:
    """A strategy that does not import, or a key that is wrong elsewhere, keeps nobody from canceling orders."""
    found = live_outline(tmp_path)
    assert (found.name, found.mode, found.out_dir) == ("demo", "paper", tmp_path)
    assert found.broker.settings is not None
    assert found.broker.settings.model_dump() == {"server_url": "http://127.0.0.1:1"}


def test_the_outline_of_a_folder_is_that_of_the_run_in_it(tmp_path: Path) -> None:
    """The journal notes the whole configuration, wherever its file has gone; a folder that was moved is where it is."""
    ledger = Journal(tmp_path / "run.journal")
    ledger.note("config", json.dumps({"mode": "paper", "name": "noted", "broker": {"use": "paper"}, "seed": 5}))
    ledger.close()
    found = outline(tmp_path)
    assert (found.name, found.out_dir) == ("noted", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(JournalError, match="no journal"):
        outline(tmp_path / "empty")


def test_the_way_to_the_venue_is_made_by_the_brokers_own_class(tmp_path: Path) -> None:
    """It is given settings, mode and run, and its secrets are masked from then on."""
    venue: Any = watchdog.emergency(live_outline(tmp_path))
    assert venue.asked == ("http://127.0.0.1:1", "paper", "demo")
    assert logs.masked("a sk-canary-venue b") == f"a {logs.MASK} b"


def test_a_live_broker_without_an_emergency_line_is_refused(tmp_path: Path) -> None:
    """A dead man's switch that could not cancel would be a promise that nobody keeps."""
    (tmp_path / "plain.py").write_text("class Plain:\n    simulated = False\n    def submit(self): ...\n")
    with pytest.raises(ConfigError, match="has no `emergency`"):
        watchdog.emergency(outline(write(tmp_path, "plain.py:Plain")))


def test_cancel_all_can_go_to_the_broker_without_the_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cancel-all --direct`: a daemon that hangs keeps nobody from canceling; what lives inside it is not reached."""
    path = write(tmp_path, f"{__file__}:LiveBroker")
    assert cli.main(["cancel-all", str(path), "--direct"]) == 0
    assert "5 orders were canceled at the broker" in capsys.readouterr().out
    assert cli.main(["cancel-all", str(write(tmp_path, "paper")), "--direct"]) == 2


def test_a_simulated_venue_has_no_emergency_line() -> None:
    """It ends with its daemon."""
    assert watchdog.emergency(outline(ROOT / "config" / "demo.toml")) is None


# --- the process -----------------------------------------------------------------------------------------------------


def test_a_second_watchdog_of_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two would cancel twice and alert twice."""
    path = write(tmp_path, "paper")
    folder = heartbeat.private_folder(tmp_path / FOLDER)
    with locked(folder / watchdog.LOCK, ""):
        assert cli.main(["watchdog", str(path)]) == 2
    assert "another watchdog looks after" in capsys.readouterr().err


def test_a_watchdog_that_was_launched_ends_when_its_daemon_does(tmp_path: Path) -> None:
    """`start = true` runs this: a process that finds the run by its folder and goes when the heartbeat does."""
    ledger = Journal(tmp_path / "run.journal")
    ledger.note("config", json.dumps({"mode": "paper", "name": "noted", "broker": {"use": "paper"}}))
    ledger.close()
    heart = Heartbeat(tmp_path / FOLDER)
    heart.open()
    process = watchdog.launch(tmp_path)
    log = tmp_path / "watchdog.log"
    try:
        while "the daemon is alive" not in log.read_text():
            assert process.poll() is None, log.read_text()
        heart.close()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
