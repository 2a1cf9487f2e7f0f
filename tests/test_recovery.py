"""Crash-only: whatever part of a journal is left, starting again ends as if nothing had happened.

A kill leaves the journal at some commit, or within one. Here every such place of a short run is tried, without a kill:
`test_kill.py` has the real ones.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, journal
from engine.config import RunConfig, from_dict
from engine.errors import Divergence, JournalError
from engine.events import Approved, Denied, TradingStateChanged
from engine.lock import locked
from engine.record import tail
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


def length(path: Path) -> int:
    """Return the number of records."""
    return sum(1 for _ in journal.read(path))


def commits(tree: dict[str, Any]) -> list[int]:
    """Return after how many records a kill may leave a run: none, and those of each commit, which on disk is a page."""
    apart = {**tree, "out_dir": f"{tree['out_dir']}-on-disk", "journal": {"durability": "power"}}
    _, path = finished(apart)
    with closing(sqlite3.connect(path)) as connection:
        return [first - 1 for (first,) in connection.execute("select first_seq from pages order by first_seq")]


def cut(
    whole: Path,
    number: int,
    target: Path,
    durability: str = "process",
    leave: Callable[[journal.Journal], None] = journal.Journal.abandon,
) -> None:
    """Make a journal as a kill after so many records leaves it: the last ones in the tail, each a commit."""
    for suffix in daemon.JOURNAL_SUFFIXES:
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    book = journal.Journal(target, durability=durability)
    book.note("config", _config_of(whole))
    for count, record in enumerate(islice(journal.read(whole), number), 1):
        book.append(record)
        book.commit()
        if count % 40 == 0:
            book.digest()  # a page ends here
    leave(book)


@pytest.mark.parametrize(
    ("over", "step"),
    [({}, 1), ({"warm_up_s": 300.0}, 2), ({"journal": {"durability": "power"}, "calendar": "24/7"}, 4)],
    ids=["as it is", "warmed up", "around the clock, on disk"],
)
def test_a_run_goes_on_from_every_commit_to_the_same_end(over: dict[str, Any], step: int, tmp_path: Path) -> None:
    """From nothing at all to everything but the end: the same journal, cash, positions and orders."""
    tree = on_tape(tmp_path, market(1, 25), **busy(), **over)
    config, whole = finished(tree)
    digest, end, records = journal.digest(whole), at_end(whole), length(whole)
    kept = tmp_path / "whole.journal"
    shutil.copy(whole, kept)
    places = commits(tree)
    assert len(places) > 15
    for number in places[::step]:
        cut(kept, number, whole, config.journal.durability)
        assert length(whole) == number
        assert daemon.run(config) == 0
        assert journal.digest(whole) == digest, f"cut after record {number}"
        assert at_end(whole) == end
        assert not tail.beside(whole).exists()
    assert daemon.verify(whole) == (records, digest)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.5, 0.77, 0.9, 0.999])
@pytest.mark.parametrize(("durability", "log"), [("process", "-tail"), ("power", "-wal")])
def test_a_write_that_was_cut_off_in_the_middle_is_not_there(
    durability: str, log: str, share: float, tmp_path: Path
) -> None:
    """A commit that did not reach the disk whole is as if it had never begun."""
    tree = on_tape(tmp_path, market(1, 25), **busy())
    config, whole = finished(tree)
    digest = journal.digest(whole)
    (target := tmp_path / "torn").mkdir()
    config = from_dict({**tree, "out_dir": str(target)})
    path = target / daemon.RUN_JOURNAL
    apart = tmp_path / "apart.journal"
    cut(whole, length(whole), apart, durability, leave=partial(_copy, path))
    file = path.with_name(path.name + log)
    with file.open("r+b") as torn:
        torn.truncate(int(file.stat().st_size * share))
    assert daemon.run(config) == 0
    assert journal.digest(path) == digest


def _copy(target: Path, book: journal.Journal) -> None:
    """Copy a journal as it lies on the disk while it is written."""
    for suffix in ("", "-wal", "-tail"):
        if (file := book.path.with_name(book.path.name + suffix)).exists():
            shutil.copy(file, target.with_name(target.name + suffix))
    book.abandon()


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
    for number in commits(tree):
        cut(kept, number, path)
        assert daemon.run(config) == HALTED
        again = list(journal.read(path))
        assert again == records
        assert halt in again
        assert sum(isinstance(record, Approved) for record in again) == 1


def test_a_journal_that_tells_another_story_is_not_continued(tmp_path: Path) -> None:
    """A record that the run does not produce again stops the start, by name, and nothing is written."""
    config, path = finished(on_tape(tmp_path, market(1, 25), **busy()))
    cut(path, length(path) // 2, tmp_path / "cut.journal")
    other = journal.Journal(tmp_path / "forged.journal")
    forged = [*journal.read(tmp_path / "cut.journal")]
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
    kept = shutil.copy(path, tmp_path / "whole.journal")
    cut(kept, length(kept) // 2, path)
    digest = journal.digest(path)
    with pytest.raises(JournalError, match="seed differs"):
        daemon.run(from_dict({**tree, "seed": 8}))
    assert daemon.verify(path)[1] == digest


def test_a_second_daemon_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two writers of one journal would be two accounts in one."""
    config, path = finished(on_tape(tmp_path, market(1, 5), **busy()))
    digest = journal.digest(path)
    with locked(config.out_dir / "lock", ""), pytest.raises(Exception, match="another process runs in"):
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
    for number in (1, 39, 40, 41, length(path) - 1):
        cut(path, number, target)
        assert daemon.verify(target) == (number, journal.digest(target))


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


def test_a_run_that_was_killed_is_kept_with_its_tail_when_another_begins(tmp_path: Path) -> None:
    """The newest decisions of the old one stay its own, and the new one begins with none."""
    config, path = finished(on_tape(tmp_path, market(1, 10), **busy()))
    digest, whole = journal.digest(path), shutil.copy(path, tmp_path / "whole.journal")
    cut(whole, 30, path)
    before = journal.digest(path)
    assert tail.beside(path).exists()
    assert daemon.run(config, anew=True) == 0
    assert journal.digest(path) == digest
    kept = path.with_name("run-1.journal")
    assert daemon.verify(kept) == (30, before)
