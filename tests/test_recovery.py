"""Crash-only: whatever part of a journal is left, starting again ends as if nothing had happened.

A kill leaves the journal at some commit, or within one. Here every such place of a short run is tried, without a kill:
`test_kill.py` has the real ones.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, journal
from engine.config import RunConfig, from_dict
from engine.errors import Divergence, JournalError
from engine.events import Approved, Denied, TradingStateChanged
from tests.runs import at_end, bar, busy, market, on_tape, strategy
from tests.traders import Script

HALTED = 3


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out: it has tests of its own, and takes longer than the run."""
    monkeypatch.setattr(daemon, "_report", lambda _config, _path: 0)


def finished(tree: dict[str, Any]) -> tuple[RunConfig, Path]:
    """Let the daemon run to the end; return the run and its journal."""
    config = from_dict(tree)
    daemon.run(config)
    return config, config.out_dir / daemon.RUN_JOURNAL


def pages(path: Path) -> list[int]:
    """Return the first record of each page, which is what one commit wrote."""
    with sqlite3.connect(path) as connection:
        found = [row[0] for row in connection.execute("select first_seq from pages order by first_seq")]
    connection.close()
    return found


def cut(whole: Path, from_seq: int, target: Path) -> None:
    """Make a journal that ends before a page."""
    shutil.copy(whole, target)
    with sqlite3.connect(target) as connection:
        connection.execute("delete from pages where first_seq >= ?", (from_seq,))
    connection.close()


@pytest.mark.parametrize(
    ("over", "step"),
    [({}, 1), ({"warm_up_s": 300.0}, 4), ({"journal": {"durability": "power"}, "calendar": "24/7"}, 8)],
    ids=["as it is", "warmed up", "around the clock, on disk"],
)
def test_a_run_goes_on_from_every_commit_to_the_same_end(over: dict[str, Any], step: int, tmp_path: Path) -> None:
    """From nothing at all to everything but the end: the same journal, cash, positions and orders."""
    tree = on_tape(tmp_path, market(1, 25), **busy(), **over)
    config, whole = finished(tree)
    digest, end = journal.digest(whole), at_end(whole)
    kept = tmp_path / "whole.journal"
    shutil.copy(whole, kept)
    starts = pages(kept)
    assert len(starts) > 15
    for first in starts[::step]:
        cut(kept, first, whole)
        assert daemon.run(config) == 0
        assert journal.digest(whole) == digest, f"cut before record {first}"
        assert at_end(whole) == end
    assert daemon.verify(whole) == (sum(1 for _ in journal.read(whole)), digest)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.5, 0.77, 0.9, 0.999])
def test_a_write_that_was_cut_off_in_the_middle_is_not_there(share: float, tmp_path: Path) -> None:
    """A commit that did not reach the disk whole is as if it had never begun."""
    tree = on_tape(tmp_path, market(1, 25), **busy())
    config, whole = finished(tree)
    digest = journal.digest(whole)
    target = tmp_path / "torn"
    target.mkdir()
    config = from_dict({**tree, "out_dir": str(target)})
    path = target / daemon.RUN_JOURNAL
    _write_ahead(whole, path, share)
    assert daemon.run(config) == 0
    assert journal.digest(path) == digest


def _write_ahead(whole: Path, path: Path, share: float) -> None:
    """Write a journal page by page as the daemon does, and keep only a share of what SQLite has not checkpointed."""
    with sqlite3.connect(whole) as source:
        rows = source.execute("select * from pages order by first_seq").fetchall()
        notes = source.execute("select * from notes").fetchall()
    source.close()
    apart = path.with_name("apart.journal")
    book = journal.Journal(apart)
    writer = book._connection
    writer.executemany("insert into notes values (?, ?)", notes)
    for row in rows:
        writer.execute("insert into pages values (?, ?, ?, ?)", row)
    for suffix in ("", "-wal"):
        shutil.copy(apart.with_name(apart.name + suffix), path.with_name(path.name + suffix))
    book.abandon()
    log = path.with_name(path.name + "-wal")
    with log.open("r+b") as file:
        file.truncate(int(log.stat().st_size * share))


def test_a_run_that_has_ended_is_not_run_again(tmp_path: Path) -> None:
    """Starting it once more reports the same end and adds nothing."""
    config, path = finished(on_tape(tmp_path, market(1, 10), **busy()))
    digest = journal.digest(path)
    assert daemon.run(config) == 0
    assert journal.digest(path) == digest


def test_counters_and_the_halt_latch_survive_a_restart(tmp_path: Path) -> None:
    """A run that had halted is still halted when it goes on, and its daily orders are still used up."""
    script = {"AAA": {"1": [["buy", {"qty": 100}]], "2": [["buy", {"qty": 1}]], "5": [["buy", {"qty": 1}]]}}
    prices = [100.0, 100.0, 100.0, 90.0, 90.0, 90.0, 90.0]
    tree = on_tape(
        tmp_path, [bar("AAA", minute, price) for minute, price in enumerate(prices)],
        strategies=[strategy(Script, script=script)],
        risk={"daily_loss_reduce_only_percent": "0.5", "daily_loss_halt_percent": "0.9", "max_orders_per_day_count": 1},
    )  # fmt: skip
    config = from_dict(tree)
    assert daemon.run(config) == HALTED
    path = config.out_dir / daemon.RUN_JOURNAL
    records = list(journal.read(path))
    denials = [record.control for record in records if isinstance(record, Denied)]
    assert denials == ["C17 max_orders_per_day", "C01 trading_state"]
    halt = next(r for r in records if isinstance(r, TradingStateChanged) and r.state == "halted")
    kept = tmp_path / "whole.journal"
    shutil.copy(path, kept)
    for first in pages(kept):
        cut(kept, first, path)
        assert daemon.run(config) == HALTED
        again = list(journal.read(path))
        assert again == records
        assert halt in again
        assert sum(isinstance(record, Approved) for record in again) == 1


def test_a_journal_that_tells_another_story_is_not_continued(tmp_path: Path) -> None:
    """A record that the run does not produce again stops the start, by name, and nothing is written."""
    config, path = finished(on_tape(tmp_path, market(1, 25), **busy()))
    cut(path, pages(path)[20], tmp_path / "cut.journal")
    shutil.copy(tmp_path / "cut.journal", path)
    other = journal.Journal(tmp_path / "forged.journal")
    forged = [*journal.read(path)]
    place = next(index for index, record in enumerate(forged) if isinstance(record, Approved))
    lie = forged[place]
    assert isinstance(lie, Approved)
    forged[place] = Denied(lie.intent, lie.ts_event_ns, "C99 nothing", "no")
    for record in forged:
        other.append(record)
    other.close()
    shutil.copy(tmp_path / "forged.journal", path)
    with pytest.raises(Divergence) as told:
        daemon.run(config)
    assert told.value.seq == place + 1
    assert "C99 nothing" in told.value.recorded
    assert journal.digest(path) == journal.digest(tmp_path / "forged.journal")


def test_a_start_that_is_refused_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    """Another configuration in the same folder is told apart, and `verify` still does over the run that was."""
    tree = on_tape(tmp_path, market(1, 25), **busy())
    _, path = finished(tree)
    cut(path, pages(path)[20], tmp_path / "cut.journal")
    shutil.copy(tmp_path / "cut.journal", path)
    digest = journal.digest(path)
    with pytest.raises(JournalError, match="seed differs"):
        daemon.run(from_dict({**tree, "seed": 8}))
    assert daemon.verify(path)[1] == digest


def test_a_second_daemon_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two writers of one journal would be two accounts in one."""
    config, path = finished(on_tape(tmp_path, market(1, 5), **busy()))
    digest = journal.digest(path)
    with daemon._lock(config.out_dir / "lock"), pytest.raises(Exception, match="another process runs in"):
        daemon.run(config)
    assert journal.digest(path) == digest


def test_a_journal_of_nothing_is_a_run_that_has_not_begun(tmp_path: Path) -> None:
    """A kill before the first commit leaves a file without records; the run then starts anew."""
    tree = on_tape(tmp_path, market(1, 10), **busy())
    config, path = finished(tree)
    digest = journal.digest(path)
    path.unlink()
    journal.Journal(path).abandon()
    assert daemon.run(config) == 0
    assert journal.digest(path) == digest


def test_verify_names_the_first_record_that_differs(tmp_path: Path) -> None:
    """A run of other code or another tape is found out at its first differing record."""
    _, path = finished(on_tape(tmp_path, market(1, 25), **busy()))
    records = [*journal.read(path)]
    forged = journal.Journal(tmp_path / "forged.journal")
    forged.note("config", _config_of(path))
    for record in records[:-3]:
        forged.append(record)
    forged.append(Denied(_intent(records), records[-3].ts_event_ns, "C99 nothing", "no"))  # type: ignore[union-attr]
    forged.close()
    with pytest.raises(Divergence) as told:
        daemon.verify(tmp_path / "forged.journal")
    assert told.value.seq == len(records) - 2


def test_verify_takes_a_run_that_was_stopped_for_what_it_is(tmp_path: Path) -> None:
    """A journal that ends early holds no difference, only less."""
    _, path = finished(on_tape(tmp_path, market(1, 25), **busy()))
    target = tmp_path / "cut.journal"
    cut(path, pages(path)[30], target)
    assert daemon.verify(target)[0] == sum(1 for _ in journal.read(target))


def test_verify_refuses_a_tape_that_has_changed(tmp_path: Path) -> None:
    """The journal names its tape by hash; another one under the same name is no proof of anything."""
    tree = on_tape(tmp_path, market(1, 10), **busy())
    _, path = finished(tree)
    on_tape(tmp_path, market(2, 10), **busy())
    with pytest.raises(JournalError, match="tape has another content"):
        daemon.verify(path)


def _config_of(path: Path) -> str:
    book = journal.Journal(path, follow=True, frozen=True)
    noted = book.noted("config")
    book.abandon()
    return noted


def _intent(records: list[Any]) -> Any:
    return next(record.intent for record in records if isinstance(record, Approved))


def test_a_run_begun_anew_keeps_the_journal_that_was_there(tmp_path: Path) -> None:
    """Each earlier one under a number of its own, still provable; without it an ended run only shows its report."""
    config, path = finished(on_tape(tmp_path, market(1, 10), **busy()))
    digest = journal.digest(path)
    assert daemon.run(config, anew=True) == 0
    assert daemon.run(config, anew=True) == 0
    kept = [path.with_name(f"run-{number}.journal") for number in (1, 2)]
    assert [journal.digest(one) for one in [*kept, path]] == [digest] * 3
    assert daemon.verify(kept[0])[1] == digest
