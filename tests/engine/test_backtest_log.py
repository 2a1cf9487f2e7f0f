"""What a strategy logs in a backtest: in simulated time, warnings by default, more or a file when asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from engine import Strategy, backtest
from engine.daemon import verify
from tests.runs import OPEN_NS, HeldFeed, bar, configuration, strategy

OPENED = datetime.fromtimestamp(OPEN_NS / 1e9, UTC)


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    """What other tests have made of structlog is undone."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Talker(Strategy):
    """Says one thing of each level on every bar."""

    def on_bar(self, event: Any) -> None:
        self.log.info("seen", close=event.close)
        self.log.warning("odd", symbol=event.symbol)


def run(folder: Path, **over: Any) -> None:
    feed = HeldFeed.hold([bar("AAA", minute, 100.0) for minute in range(2)])
    backtest(configuration(feed, folder, strategies=[strategy(Talker, symbols=["AAA"])], mode="replay", **over))


def test_a_backtest_shows_warnings_with_the_time_of_the_tape(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each line has the bar's own time and the strategy's name; what is less than a warning is not there."""
    run(tmp_path)
    lines = capfd.readouterr().err.splitlines()
    assert [line[:24] for line in lines] == [f"{OPENED:%Y-%m-%d %H}:{minute}:00.000 " for minute in (31, 32)]
    assert all("odd" in line and "strategy=one" in line and "symbol=AAA" in line for line in lines)
    assert {path.name for path in tmp_path.iterdir()} == {"backtest.journal"}


def test_a_backtest_shows_what_the_configuration_asks_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`log.level` and `log.file`, where they are set; the file tells of the last run alone."""
    for _ in range(2):
        run(tmp_path, log={"level": "info", "file": True})
    assert len(capfd.readouterr().err.splitlines()) == 8
    records = [json.loads(line) for line in (tmp_path / "backtest.log.jsonl").read_text().splitlines()]
    assert [(record["event"], record["ts_event"][11:19]) for record in records] == [
        ("seen", f"{OPENED:%H}:31:00"), ("odd", f"{OPENED:%H}:31:00"),
        ("seen", f"{OPENED:%H}:32:00"), ("odd", f"{OPENED:%H}:32:00"),
    ]  # fmt: skip


def test_a_backtest_leaves_logging_as_it_was(tmp_path: Path) -> None:
    """A program that runs one finds its own handlers, its level and structlog's defaults afterwards."""
    before = list(logging.root.handlers), logging.root.level
    run(tmp_path)
    assert (list(logging.root.handlers), logging.root.level) == before
    assert not structlog.is_configured()


def test_a_backtest_keeps_the_logging_that_a_program_has_configured(tmp_path: Path) -> None:
    """Whoever has set structlog up hears the strategy there."""
    with structlog.testing.capture_logs() as heard:
        run(tmp_path)
    assert [line["event"] for line in heard] == ["seen", "odd"] * 2


def test_doing_a_run_over_repeats_none_of_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`verify` compares decisions; what the strategies had to say was said the first time."""
    run(tmp_path)
    capfd.readouterr()
    verify(tmp_path / "backtest.journal")
    assert capfd.readouterr() == ("", "")
