"""README and docs do what they say: their Python runs, their configurations load, their commands succeed.

A ```python block runs as a fresh module; a ```toml block that begins with `mode =` loads as a run; in a ```console
block that begins with `$ onetape`, every `$ ` line runs. All of it in a folder with a copy of `config/`. A block that
is only to be looked at is marked `text`.
"""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from engine.errors import TapeError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\((?!\w+:)([^)#\s]+)(?:#[^)]*)?\)")


def _blocks(language: str, begins: str = "") -> list[object]:
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in FENCE.finditer(text):
            if match[1] == language and match[2].startswith(begins):
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a reader has it after cloning, and the current one."""
    for name in ("config", "strategies"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", _blocks("python"))
def test_a_python_block_runs(block: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is whole: it runs by itself, as a module of its own."""
    module = ModuleType("block")
    monkeypatch.setitem(sys.modules, "block", module)
    exec(compile(block, "block", "exec"), vars(module))


@pytest.mark.parametrize("block", _blocks("toml", "mode ="))
def test_a_configuration_in_the_docs_loads(block: str, desk: Path) -> None:
    """What looks like a run is one, up to the tapes it names."""
    from engine import config

    path = desk / "run.toml"
    path.write_text(block)
    config.load(path)


@pytest.mark.parametrize("block", _blocks("console", "$ onetape"))
def test_a_command_in_the_docs_succeeds(block: str, desk: Path) -> None:
    """A reader who types it gets what the page promises, and exit code 0."""
    for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words[0] == "onetape":
            words = [sys.executable, "-m", "engine.cli", *words[1:]]
        done = subprocess.run(words, capture_output=True, text=True, cwd=desk)
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_between_pages_leads_somewhere(page: Path) -> None:
    """No page points at a file that is not there."""
    targets = LINK.findall(page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.toml")), ids=lambda path: path.name)
def test_a_shipped_configuration_loads(path: Path) -> None:
    """Every file in `config/` is a complete run of this version, the venue of one, or a training."""
    from brokers.alpaca_server import launch
    from engine import config
    from research import config as training
    from research import news_config

    if path.stem.startswith("train_"):
        assert (news_config if news_config.is_about_texts(path) else training).load(path).name
        return
    if not path.stem.endswith("venue"):
        assert config.load(path).describe()
        return
    if path.stem == "venue":  # the others play tapes, which their reader makes: those are looked at last
        assert launch.plan(launch.load(path, [], []))
    elif not (ROOT / "tapes").exists():
        with pytest.raises(TapeError, match="there is no such file"):
            launch.load(path, [], [])


def test_the_readme_counts_the_controls_that_there_are() -> None:
    """As many as the page of the controls has rows."""
    counted = re.search(r"(\d+) controls", (ROOT / "README.md").read_text("utf-8"))
    page = (ROOT / "docs" / "risk_controls.md").read_text("utf-8")
    assert counted is not None
    assert int(counted[1]) == len(re.findall(r"^\| C\d\d ", page, re.MULTILINE))


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def test_the_readme_shows_the_strategy_that_ships() -> None:
    """The author's page on the first screen is `sma_cross.py`, but for its docstrings."""
    readme, shipped = ROOT / "README.md", ROOT / "strategies" / "sma_cross.py"
    blocks = [match[2] for match in FENCE.finditer(readme.read_text("utf-8")) if match[1] == "python"]
    assert _without_docstrings(blocks[0]) == _without_docstrings(shipped.read_text("utf-8"))


def test_the_tutorial_shows_the_strategy_that_ships() -> None:
    """A model strategy in 25 lines is `lstm_forecast.py`, but for its docstrings."""
    tutorial, shipped = ROOT / "docs" / "models_tutorial.md", ROOT / "strategies" / "lstm_forecast.py"
    (block,) = (match[2] for match in FENCE.finditer(tutorial.read_text("utf-8")) if match[1] == "python")
    assert _without_docstrings(block) == _without_docstrings(shipped.read_text("utf-8"))


def test_the_tutorial_takes_five_commands_at_most() -> None:
    """From a clone to a report, for prices and for news; every file that a command names is there."""
    text = (ROOT / "docs" / "models_tutorial.md").read_text("utf-8")
    sequences = [match[2].splitlines() for match in FENCE.finditer(text) if match[2].startswith("make tapes")]
    assert [len(lines) <= 5 for lines in sequences] == [True, True]
    named = {path for lines in sequences for line in lines for path in re.findall(r"config/\w+\.toml", line)}
    assert len(named) == 8
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
