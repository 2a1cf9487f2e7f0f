"""How a daemon is stopped that does not stop when it is asked to."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import daemon, journal
from engine.operating import signals
from tests.runs import REPOSITORY, market, on_tape, strategy, toml

ENDLESS = """\
import sys
from engine import Bar, Strategy

class Endless(Strategy):
    def on_bar(self, bar: Bar) -> None:
        print("endless", flush=True)
        while True:
            pass
"""
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_a_daemon_whose_strategy_never_returns_is_ended_by_a_later_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As that signal ends any process; it says where the code was, and its journal reads."""
    (tmp_path / "author.py").write_text(ENDLESS)
    tree = on_tape(tmp_path, market(1, 5, ticks=False), strategies=[strategy(f"{tmp_path}/author.py:Endless")])
    (tmp_path / "run.toml").write_text(toml(tree))
    command = [sys.executable, "-m", "engine.cli", "run", str(tmp_path / "run.toml")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "endless\n"
    for _ in range(200):
        process.send_signal(number)
        try:
            process.wait(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            continue
    _, told = process.communicate(timeout=60)
    assert process.returncode == -number
    assert "ended by a second signal" in told
    assert f"at={tmp_path}/author.py:7" in told or f"at={tmp_path}/author.py:8" in told
    assert journal.header(tmp_path / "out" / daemon.RUN_JOURNAL).run_id == tree["name"]


@BOTH
@pytest.mark.parametrize("loop_of", ["asyncio", "uvloop"])
def test_a_signal_asks_and_its_echo_ends_nothing(
    number: signal.Signals, loop_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once are one to the process; one that comes later is its end."""
    clock = SimpleNamespace(monotonic_ns=lambda: clock.now_ns, now_ns=0)
    raised: list[int] = []
    send: Callable[[int], Any] = signal.raise_signal
    before = signal.getsignal(number)

    async def main() -> None:
        asked = asyncio.Event()
        signals.on_stop(asked.set, clock)
        send(number)
        send(number)
        async with asyncio.timeout(10):
            await asked.wait()
        assert raised == []
        clock.now_ns = int(signals.INSIST_AFTER_S * 1e9)
        send(number)
        assert raised == [number]

    monkeypatch.setattr(signal, "raise_signal", raised.append)
    try:
        with asyncio.Runner(loop_factory=pytest.importorskip(loop_of).new_event_loop) as runner:
            runner.run(main())
    finally:
        signal.signal(number, before)
