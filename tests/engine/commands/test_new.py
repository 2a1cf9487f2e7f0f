"""`onetape new strategy NAME` writes a project that runs and passes as it is, or writes nothing."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from engine import cli


def test_the_project_runs_and_passes_its_own_tests(tmp_path: Path) -> None:
    """A newcomer's first minute: the command, the backtest, the tests, all without an installation."""
    assert cli.main(["new", "strategy", "dip_buyer", "--into", str(tmp_path)]) == 0
    project = tmp_path / "dip_buyer"
    assert cli.main(["backtest", str(project / "demo.toml")]) == 0
    assert (project / "runs" / "dip_buyer" / "report.html").is_file()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_project_registers_its_strategy(tmp_path: Path) -> None:
    """The entry point leads to the class that the module has, and no placeholder is left in any file."""
    assert cli.main(["new", "strategy", "dip_buyer", "--into", str(tmp_path)]) == 0
    project = tmp_path / "dip_buyer"
    points = tomllib.loads((project / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points == {"onetape.strategies": {"dip_buyer": "dip_buyer:DipBuyer"}}
    files = [path for path in project.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        "pyproject.toml", "README.md", "dip_buyer.py", "demo.toml", "test_dip_buyer.py", ".gitignore"
    }  # fmt: skip
    for path in files:
        text = path.read_text()
        assert "$" not in text
        assert "NAME" not in text
    assert "class DipBuyer(Strategy):" in (project / "dip_buyer.py").read_text()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Dip-Buyer", "write dip_buyer"),
        ("DipBuyer", "write dip_buyer"),
        ("9lives", "a letter first"),
        ("../evil", "no module name"),
        ("a/b", "no module name"),
        ("", "no module name"),
        ("class", "choose another"),
        ("json", "choose another"),
        ("engine", "choose another"),
        ("sma_cross", "choose another"),
        ("x" * 33, "32 is the most"),
    ],
)
def test_a_name_that_cannot_be_a_module_is_refused(
    name: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written for a name that would not import, would shadow something, or leaves the folder."""
    assert cli.main(["new", "strategy", "--into", str(tmp_path), "--", name]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody's work is never written over."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("precious")
    assert cli.main(["new", "strategy", "mine", "--into", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["work.txt"]


def test_a_project_beside_the_code_is_not_taken_for_an_installed_module(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder can be imported there, and is no reason to look for another name."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dip_seller").mkdir()
    assert cli.main(["new", "strategy", "dip_seller", "--into", str(tmp_path)]) == 2
    assert "dip_seller exists already" in capsys.readouterr().err


def test_a_write_that_fails_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that fills up in the middle ends in exit code 74 and an empty folder."""
    written = []

    def write(path: Path, text: str, encoding: str) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        path.write_bytes(text.encode(encoding))

    monkeypatch.setattr(Path, "write_text", write)
    assert cli.main(["new", "strategy", "mine", "--into", str(tmp_path)]) == 74
    assert "the disk refused a write" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--into` names a folder that is there."""
    assert cli.main(["new", "strategy", "mine", "--into", str(tmp_path / "gone")]) == 2
    assert f"cannot write into {tmp_path}/gone: No such file" in capsys.readouterr().err
