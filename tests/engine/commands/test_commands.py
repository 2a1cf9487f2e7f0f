"""The commands on the shipped demonstration: plan, backtest, daemon, verify, report, each with its exit code."""

import json
import os
import sqlite3
from errno import EACCES, ENOSPC
from pathlib import Path

import pytest

from engine import cli

DEMO = Path(__file__).parents[3] / "config" / "demo.toml"


def onetape(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_check_prints_the_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run --check` exits with 0, shows overridden values, and leaves no file behind."""
    assert onetape("run", DEMO, "--check", "--set", f"out_dir={tmp_path / 'out'}", "--set", "seed=11") == 0
    shown = capsys.readouterr().out
    assert "seed = 11\n" in shown
    assert "risk.profile = " in shown
    assert list(tmp_path.iterdir()) == []


def test_a_backtest_leaves_a_report_that_verify_and_report_understand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`backtest` writes its five files, `verify` finds no difference, `report` makes the same figures again."""
    out, again = tmp_path / "out", tmp_path / "again"
    assert onetape("backtest", DEMO, "--set", f"out_dir={out}") == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    names = {"backtest.journal", "fills.csv", "report.html", "summary.json", "trades.csv"}
    assert {path.name for path in out.iterdir()} == names
    assert onetape("verify", out / "backtest.journal") == 0
    assert "no difference" in capsys.readouterr().out
    assert onetape("report", out / "backtest.journal", "--out", again) == 0
    assert json.loads((again / "summary.json").read_text()) == json.loads((out / "summary.json").read_text())


RAISES = """
from engine import Bar, Strategy

class Raises(Strategy):
    always: bool = True

    def on_bar(self, bar: Bar) -> None:
        if self.always:
            raise RuntimeError("of two\\nlines")
"""


@pytest.mark.parametrize("others", [(), (True,), (False,)], ids=["alone", "beside another", "beside one that goes on"])
@pytest.mark.parametrize("command", ["backtest", "run"])
def test_a_run_whose_strategies_all_raised_exits_with_3_and_says_where(
    command: str, others: tuple[bool, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, and its report is written; while one of them trades it is a run like any other."""
    (tmp_path / "author.py").write_text(RAISES)
    use = f'use = "{tmp_path}/author.py:Raises"\nsymbols = "*"'
    named = [
        f'[[strategies]]\nname = "s{place}"\n{use}\nparams.always = {str(always).lower()}'
        for place, always in enumerate((True, *others))
    ]
    demo = DEMO.read_text()
    head = demo[: demo.index("[[strategies]]")].replace("600.0", "0.0")
    (tmp_path / "run.toml").write_text("\n".join([head, *named, '[risk]\nprofile = "small_account"']))
    code = 0 if False in others else 3
    assert onetape(command, tmp_path / "run.toml", "--set", f"out_dir={tmp_path / 'out'}") == code
    assert (tmp_path / "out" / "report.html").exists()
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    line = "every strategy was halted by an exception, 's0' first: RuntimeError: of two lines at line 9 of on_bar"
    assert told == ([f"error: {line}"] if code else [])


def test_verify_of_an_altered_journal_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that somebody changed breaks the chain, and the message says so."""
    assert onetape("backtest", DEMO, "--set", f"out_dir={tmp_path}") == 0
    capsys.readouterr()
    path = tmp_path / "backtest.journal"
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[2] in ("BLOB", "TEXT")]
            for column in columns:
                database.execute(f"UPDATE {table} SET {column} = replace({column}, 'CHLY', 'CHLX') WHERE rowid > 1")
    database.close()
    assert onetape("verify", path) in (2, 5)
    assert str(path) in capsys.readouterr().err


def test_a_journal_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` and `report` of a missing file, of an empty one, or of something else, exit with 2 and its path."""
    (tmp_path / "text.journal").write_text("not a journal")
    (tmp_path / "void.journal").touch()
    for command in ("verify", "report"):
        for name in ("gone.journal", "text.journal", "void.journal"):
            assert onetape(command, tmp_path / name) == 2
            assert name in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.journal", "void.journal"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("strategies.cross.symbols=['NONE']", "NONE"),
        ("calendar=XNYSE", "unknown calendar 'XNYSE'; did you mean"),
        ("strategies.cross.params.fats=1", "did you mean 'fast'?"),
        ("risk.max_order_qty=-1", "risk.max_order_qty"),
    ],
)
@pytest.mark.parametrize("command", [("run", "--check"), ("backtest",)], ids=["check", "backtest"])
def test_bad_input_is_one_message_and_no_file(
    key: str, message: str, command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `--check` refuses a backtest refuses too, with exit code 2 and nothing half-written."""
    out = tmp_path / "out"
    assert onetape(command[0], DEMO, *command[1:], "--set", key, "--set", f"out_dir={out}") == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert f"--set {key}" in shown
    assert "Traceback" not in shown
    assert not out.exists()


# --- folders that refuse ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["taken", "taken/out"])
@pytest.mark.parametrize("words", [("run",), ("run", "--check"), ("backtest",)], ids=" ".join)
def test_an_out_dir_that_cannot_be_written_is_one_message(
    words: tuple[str, ...], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 before anything is traded, from `--check` too, and the file that is in its place stays as it was."""
    (tmp_path / "taken").write_text("mine")
    assert onetape(*words, DEMO, "--set", f"out_dir={tmp_path / place}") == 2
    shown = capsys.readouterr().err
    assert f"the folder {tmp_path / place} cannot be written: " in shown
    assert "Traceback" not in shown
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(("number", "code"), [(EACCES, 2), (ENOSPC, 74)])
@pytest.mark.parametrize("command", ["run", "backtest"])
def test_a_folder_that_is_not_ours_is_the_configurations_fault_and_a_full_disk_is_not(
    command: str, number: int, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The system refuses the file, not the folder, which exists; it stays, and stays empty."""
    real, out = os.open, tmp_path / "out"
    out.mkdir()

    def refused(path: str, *rest: int, **more: int) -> int:
        if str(path).startswith(str(out)):
            raise OSError(number, os.strerror(number), path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", refused)
    assert onetape(command, DEMO, "--set", f"out_dir={out}") == code
    assert os.strerror(number) in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_a_report_that_cannot_be_written_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The journal reads, and where its report should go is a file."""
    assert onetape("backtest", DEMO, "--set", f"out_dir={tmp_path / 'out'}") == 0
    (tmp_path / "taken").write_text("mine")
    assert onetape("report", tmp_path / "out" / "backtest.journal", "--out", tmp_path / "taken") == 2
    assert f"the folder {tmp_path / 'taken'} cannot be written: there is a file" in capsys.readouterr().err
