"""A daemon that is killed, or told to stop, anywhere: started again, it ends as if nothing had happened.

The strategy writes a dot at every bar. The test reads as many dots as it has drawn, and kills, so that where the kill
lands does not depend on how fast the machine is.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, journal
from tests.runs import REPOSITORY, at_end, busy, market, on_tape, strategy, toml

TRADERS = f"{REPOSITORY}/tests/traders.py"
STOP_S = 2.0
MINUTES, SYMBOLS = 60, 2
DOTS = MINUTES * SYMBOLS


@dataclass
class Desk:
    """A paced run of about a second in a folder, and processes that trade it."""

    folder: Path
    config: Path = field(init=False)
    tree: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        more = busy()
        first = more["strategies"][0]
        more["strategies"][0] = strategy(f"{TRADERS}:Ticking", dice=first["params"]["dice"])
        self.tree = on_tape(self.folder, market(1, MINUTES), **more)
        self.tree["feed"]["speed"] = 3_600.0
        self.config = self.folder / "run.toml"
        self.config.write_text(toml(self.tree))

    def start(self, out: str, hash_seed: int = 0) -> subprocess.Popen[bytes]:
        """Start the daemon on a folder of its own."""
        command = [sys.executable, "-m", "engine.cli", "run", str(self.config), "--set", f"out_dir={self.folder / out}"]
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )  # fmt: skip

    def finish(self, out: str) -> Path:
        """Start the daemon and let it come to its end; return the journal."""
        _, told = (process := self.start(out)).communicate(timeout=120)
        assert process.returncode == 0, told.decode()[-2_000:]
        return self.folder / out / daemon.RUN_JOURNAL

    def stop(self, out: str, number: signal.Signals, dots: int, hash_seed: int = 0, late_s: float = 0.0) -> int:
        """Start the daemon, send it a signal a little after so many bars, and return its exit code."""
        process = self.start(out, hash_seed)
        assert process.stderr is not None
        seen = 0
        while seen < dots and (told := process.stderr.read(1)):
            seen += told == b"."
        try:
            process.wait(timeout=late_s)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        process.communicate(timeout=120)
        return process.returncode


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def undisturbed(desk: Desk) -> Path:
    """The journal of the run that nobody touches."""
    return desk.finish("undisturbed")


def kill(desk: Desk, undisturbed: Path, out: str, times: int, seed: int) -> tuple[int, int]:
    """Kill the run again and again at drawn points, and let it end; return how many kills hit and how many made way."""
    dice = random.Random(seed)
    path = desk.folder / out / daemon.RUN_JOURNAL
    hits = progress = records = 0
    for number in range(times):
        # Later and later on the whole, so that the run is not done over two hundred times from its last third.
        most = 1 + DOTS * (number + 1) // times
        code = desk.stop(out, signal.SIGKILL, dice.randint(0, most), number, dice.uniform(0.0, 0.03))
        hits += code == -signal.SIGKILL
        now = sum(1 for _ in journal.read(path)) if path.exists() else 0
        assert now >= records, "a restart took back what was written"
        progress += now > records
        records = now
    ended = desk.finish(out)
    assert journal.digest(ended) == journal.digest(undisturbed)
    assert at_end(ended) == at_end(undisturbed)
    written, _ = daemon.verify(ended)
    assert written == sum(1 for _ in journal.read(undisturbed))
    return hits, progress


def test_a_run_that_is_killed_again_and_again_ends_the_same(desk: Desk, undisturbed: Path) -> None:
    """Five kills at drawn points, each under another hash seed: the same journal, positions, cash and orders."""
    hits, progress = kill(desk, undisturbed, "killed", times=5, seed=11)
    assert hits >= 4
    assert progress >= 2


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_run_that_is_killed_two_hundred_times_ends_the_same(desk: Desk, undisturbed: Path) -> None:
    """The same with two hundred."""
    hits, progress = kill(desk, undisturbed, "killed-200", times=200, seed=12)
    assert hits >= 180
    assert progress >= 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean_and_takes_less_than_two_seconds(desk: Desk, undisturbed: Path, number: signal.Signals) -> None:
    """The journal is closed, nothing beside it is left, the exit code is 0, and the run goes on to the same end."""
    out = f"stopped-{number.name}"
    process = desk.start(out)
    assert process.stderr is not None
    seen = 0
    while seen < DOTS // 3 and (told := process.stderr.read(1)):
        seen += told == b"."
    before = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=60)
    took_s = time.monotonic() - before
    assert process.returncode == 0
    assert took_s < STOP_S
    path = desk.folder / out / daemon.RUN_JOURNAL
    for suffix in ("-wal", "-tail"):
        assert not path.with_name(path.name + suffix).exists(), "the journal was not closed"
    assert 0 < sum(1 for _ in journal.read(path)) < sum(1 for _ in journal.read(undisturbed))
    assert not journal.is_ended(path)
    assert desk.stop(out, number, dots=1) == 0, "a stop while it does over what the journal holds"
    assert journal.digest(desk.finish(out)) == journal.digest(undisturbed)
