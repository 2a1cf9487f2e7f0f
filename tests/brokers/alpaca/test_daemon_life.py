"""What no fault of the venue can bring about: stops and restarts, signals, a strategy that raises, on live streams."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.events import Bar, StrategyHalted
from tests.brokers.alpaca.daemon_rig import daemon
from tests.brokers.alpaca.invariants import broken, survives_a_restart

STARTS = 50
GONE_WITHIN_S = 2.0


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files where the system shows them")
async def test_fifty_starts_in_one_process_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """W14: no task, session or socket outlives its daemon, and the last one trades like the first."""
    async with daemon(monkeypatch, tmp_path) as day:
        await day.ready()
        await day.minutes(4)
        await day.stop()
        tasks, files = len(asyncio.all_tasks()), open_files()
        for _ in range(STARTS):
            day.start()
            await day.ready()
            await day.stop()
        assert len(asyncio.all_tasks()) <= tasks
        assert open_files() <= files
        assert day.local.venue.streams.sessions == []
        await day.restart()
        await day.minutes(6)
        await day.settled()
        assert broken(day, agrees=True) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_daemon_in_good_order(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """W15: it says goodbye on every stream, so that no ghost keeps the only session, and is gone within two seconds."""
    async with daemon(monkeypatch, tmp_path) as day:
        await day.ready()
        await day.minutes(3)
        sockets = [one.socket for one in day.local.venue.streams.sessions]
        sockets += [one.socket for one in day.local.venue.updates.listeners]
        started = time.monotonic()
        os.kill(os.getpid(), number)
        assert await day.task == 0
        assert time.monotonic() - started < GONE_WITHIN_S
        assert len(sockets) == 2
        async with asyncio.timeout(GONE_WITHIN_S):
            while not all(socket.ended_well for socket in sockets):
                await asyncio.sleep(0)


async def test_a_strategy_that_raises_in_the_middle_of_a_frame_loses_nothing_of_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """W16: it alone is halted; every other message of the array is taken, and the books stay right."""
    async with daemon(monkeypatch, tmp_path, params={"raises": True}) as day:
        await day.ready()
        await day.minutes(8)
        await day.settled()
        assert [one.strategy for one in day.records if isinstance(one, StrategyHalted)] == ["day"]
        await day.until(lambda: sum(isinstance(one, Bar) for one in day.records) == day.minute - 31)
        assert broken(day, agrees=True) == []
        assert await survives_a_restart(day) == []


def test_the_streams_use_nothing_that_their_library_has_deprecated() -> None:
    """W21: of `websockets` the asyncio client and no legacy; a warning would be an error here."""
    code = "import brokers.alpaca.session, brokers.alpaca.stream, brokers.alpaca.orders, sys; "
    code += "sys.exit('websockets.legacy' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
