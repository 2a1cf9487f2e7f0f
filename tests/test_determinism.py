"""The same run gives the same journal, byte for byte: in another process, another folder, under another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engine import daemon, journal
from engine.config import from_dict
from tests.runs import REPOSITORY, HeldFeed, busy, configuration, lines, market, on_tape, replayed, toml


def test_two_processes_with_different_hash_seeds_write_the_same_journal(tmp_path: Path) -> None:
    """No order of a set, no address and no clock finds its way into a decision."""
    tree = on_tape(tmp_path, market(1, 60), **busy())
    config = tmp_path / "run.toml"
    config.write_text(toml(tree))
    started = []
    for seed in ("0", "1", "4711"):
        told = ["--set", f"out_dir={tmp_path / seed}"]
        command = [sys.executable, "-m", "engine.cli", "backtest", str(config), *told]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Kolkata" if seed == "1" else "UTC"}
        started.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL))
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]
    daemon.backtest(from_dict({**tree, "out_dir": str(tmp_path / "here")}))
    digests = {journal.digest(tmp_path / name / daemon.BACKTEST_JOURNAL) for name in ("0", "1", "4711", "here")}
    assert len(digests) == 1


def test_a_run_leaves_nothing_behind_for_the_next_one() -> None:
    """Two runs in one process do not know of each other."""
    tree = configuration(HeldFeed.hold(market(2, 60)), **busy())
    first, _ = replayed(tree)
    replayed(configuration(HeldFeed.hold(market(3, 30)), **busy(seed=8)))
    second, _ = replayed(tree)
    assert lines(first) == lines(second)


def test_another_seed_is_another_run() -> None:
    """The seed is what the venue's jitter is drawn from; were it not used, the tests above would prove less."""
    tree = configuration(HeldFeed.hold(market(2, 60)), **busy())
    first, _ = replayed(tree)
    other, _ = replayed({**tree, "seed": 8})
    assert lines(first)[1:] != lines(other)[1:]
