"""The `onetape` command: what it lists, what it refuses, and how each ending becomes an exit code."""

import errno
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer

from engine import cli, errors, logs, plugins
from research.config import FitConfig

ROOT = Path(__file__).parents[2]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["onetape.commands"]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make `onetape` have one command of the test's own, called `act`."""

    def use(action: Any, name: str = "act") -> None:
        def command() -> None:
            raise action if isinstance(action, BaseException) else RuntimeError(action)

        monkeypatch.setattr(plugins, "available", lambda group: (name,))
        monkeypatch.setattr(plugins, "load", lambda kind, use: command)

    return use


def test_help_lists_every_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`onetape --help` names what the distribution registers, hidden nothing, broken nothing."""
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in shown] == []
    assert "Broken" not in shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each subcommand imports, and its `--help` says how it is used."""
    assert cli.main([name, "--help"]) == 0
    assert f"onetape {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "retrain"])
def test_a_training_is_asked_for_its_own_file_and_keys(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Which has no strategies; the key that the help names is one of a training's."""
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "The training's TOML file." in shown
    assert "fit.epochs_max=5" in shown
    assert "epochs_max" in FitConfig.model_fields


def test_help_imports_nothing_heavy() -> None:
    """The start stays quick because no command is imported further than its arguments."""
    code = "import sys; from engine.cli import main; main(['--help']); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"pydantic", "structlog", "numpy", "pandas", "pyarrow", "torch", "plotly", "exchange_calendars", "asyncio"}
    assert not heavy & set(shown.split())


def test_the_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """What a code means is told where codes are looked for."""
    cli.main(["--help"])
    shown = capsys.readouterr().out
    for code in ("0 clean", "1 findings", "2 configuration", "3 halted", "4 broker", "5 divergence", "70 our", "74"):
        assert code in shown


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` needs no command."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("onetape 0.")


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    """A typo exits with 2 and the nearest command."""
    assert cli.main(["backtets"]) == 2
    assert "did you mean 'backtest'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.PluginError("x"), 2),
        (errors.TapeError("x"), 2),
        (errors.JournalError("x"), 2),
        (errors.FeedOverrun("x"), 3),
        (errors.FeedError("x"), 4),
        (errors.BrokerError("x"), 4),
        (errors.Divergence(7, "{}", ""), 5),
        (errors.InvariantError("x"), 70),
        (ZeroDivisionError("x"), 70),
        (OSError(errno.EBADF, "x"), 70),
        (errors.JournalWriteError("x"), 74),
        (OSError(errno.ENOSPC, "No space left on device"), 74),
        (OSError(errno.EROFS, "Read-only file system"), 74),
        (KeyboardInterrupt(), 130),
    ],
    ids=repr,
)
def test_every_ending_has_its_exit_code(
    only: Any, raised: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One place reacts: the code of the error's class, 70 for what nobody expected, 74 for a disk, 130 for Ctrl-C."""
    only(raised)
    assert cli.main(["act"]) == code
    shown = capsys.readouterr().err
    assert ("Traceback" in shown) == (code == 70)
    assert (f"error: {'' if code != 70 else 'a bug of onetape, please report it'}" in shown) == (code != 130)


@pytest.mark.parametrize("code", [0, 3, None, "done"])
def test_code_that_ends_the_process_is_told_with_its_line(
    only: Any, code: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sys.exit` in a feed, a constructor or a plugin's command is no clean end, whatever code it names."""
    only(SystemExit(code))
    assert cli.main(["act"]) == 2
    assert re.search(rf"test_cli.py:\d+: command ends the process \(SystemExit: {code}\)", capsys.readouterr().err)


@pytest.mark.parametrize("ended", [typer.Exit(3), typer.Abort()])
def test_a_command_ends_by_typers_own_words(only: Any, ended: Exception) -> None:
    """Which are what ours end by."""
    only(ended)
    assert cli.main(["act"]) == getattr(ended, "exit_code", 1)


def test_a_terminal_that_lacks_a_letter_ends_no_command() -> None:
    """`PYTHONIOENCODING=ascii`: what it cannot show is a question mark."""
    code = "from engine import cli; cli.main(['--version']); print('a · b')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, [b"a ? b"])


def test_an_expected_error_is_one_message_without_a_traceback(only: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person can mend is told in a line, and nothing else."""
    only(errors.ConfigError("run.toml:3: seed: missing"))
    cli.main(["act"])
    assert capsys.readouterr().err == "error: run.toml:3: seed: missing\n"


def test_a_strangers_words_in_an_error_cannot_color_the_terminal(only: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Its lines stay lines: some messages have several."""
    only(errors.StrategyError("odd\x1b[31m\n  odd"))
    assert cli.main(["act"]) == 3
    assert capsys.readouterr().err == "error: odd␛[31m\n  odd\n"


def test_a_secret_in_an_error_is_masked(only: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the message nor the traceback of a crash shows a registered secret."""
    logs.mask("sk-canary-cli")
    for error in (errors.BrokerError("401 for sk-canary-cli"), RuntimeError("sk-canary-cli")):
        only(error)
        cli.main(["act"])
        shown = capsys.readouterr().err
        assert logs.MASK in shown
        assert "canary" not in shown


def test_a_broken_plugin_does_not_break_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command of somebody else's that does not import says so in its line, and when it is called."""
    points = {name: EntryPoint(name, value, "onetape.commands") for name, value in COMMANDS.items()}
    points["theirs"] = EntryPoint("theirs", "nowhere_at_all:command", "onetape.commands")
    monkeypatch.setattr(plugins, "_entry_points", lambda group: points)
    assert cli.main(["--help"]) == 0
    assert "Broken: 'theirs': there is no module 'nowhere_at_all'" in capsys.readouterr().out
    assert cli.main(["theirs"]) == 2
    assert "there is no module 'nowhere_at_all'" in capsys.readouterr().err


LIVE = """\
mode = "live"
name = "x"
seed = 1
[feed]
use = "plug.py:Feed"
[broker]
use = "plug.py:Broker"
[[strategies]]
name = "s"
use = "plug.py:Idea"
symbols = "*"
[risk]
profile = "small_account"
"""
PLUG = """\
from engine import Strategy
class Feed:
    def batches(self): ...
class Broker:
    def submit(self): ...
class Idea(Strategy):
    pass
"""


def test_real_money_needs_two_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`mode = "live"` alone is refused, and so is `--live` for a file that does not say live."""
    (tmp_path / "plug.py").write_text(PLUG)
    path = tmp_path / "run.toml"
    path.write_text(LIVE)
    assert cli.main(["run", str(path)]) == 2
    assert "trades real money; say so a second time with --live" in capsys.readouterr().err
    path.write_text(LIVE.replace('"live"', '"paper"'))
    assert cli.main(["run", str(path), "--live"]) == 2
    assert "--live was given, but mode is 'paper'" in capsys.readouterr().err


def test_a_configuration_error_ends_run_and_backtest_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file and a bad override are one message, and nothing is written."""
    for command in ("run", "backtest"):
        assert cli.main([command, str(tmp_path / "gone.toml")]) == 2
        assert f"error: cannot read {tmp_path}/gone.toml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_run_live_is_the_run_command(tmp_path: Path) -> None:
    """`python run_live.py CONFIG` takes the arguments of `onetape run` and ends with its exit code."""
    command = [sys.executable, str(ROOT / "run_live.py"), str(tmp_path / "gone.toml"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: cannot read {tmp_path}/gone.toml: No such file or directory\n"
