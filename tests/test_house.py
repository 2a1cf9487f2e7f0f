"""The style guide as a test: what ruff and mypy cannot see. A rule that stands in the way is changed here."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ("engine/", "brokers/", "strategies/", "research/", "run_live.py")
FILE_LINES, FILE_WALL, FUNCTION_LINES = 300, 500, 60
LONG_FILES: dict[str, str] = {
    "engine/events.py": "the whole vocabulary on one page: one struct per fact, no behavior",
    "engine/model/live_lane.py": "one pass, from the bar that makes it due to what becomes of a late, hung or bad one",
    "engine/portfolio.py": "the books that have to add up to the account stand side by side",
    "engine/risk/manager.py": "the order in which all controls are asked, and every hook by which they keep count",
    "engine/strategy.py": "the author's page: everything that a strategy may override, ask for or read",
    "engine/supervisor.py": "everything that may happen between two events, in the order of time",
}
"""Files over 300 lines, each with the reason why it is not two files."""


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else [str(p.relative_to(ROOT)) for p in _walk(ROOT)]
    return sorted(name for name in names if (ROOT / name).is_file())


def _walk(folder: Path) -> Iterator[Path]:
    """Files of an unpacked archive, which has no git to ask."""
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith((".venv", ".git", "__pycache__")):
            yield from _walk(path)
        elif path.is_file():
            yield path


FILES = _files()
PYTHON = [name for name in FILES if name.endswith(".py")]
CODE = [name for name in PYTHON if name.startswith(SOURCE)]
TESTS = [name for name in PYTHON if name.startswith("tests/")]
TEXT = {name: (ROOT / name).read_text("utf-8", errors="replace") for name in FILES}


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(TEXT[name], name)


def _found(names: list[str], pattern: str) -> list[str]:
    """Return `file:line: text` wherever the pattern stands in one of the files."""
    wanted = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()}"
        for name in names
        for number, line in enumerate(TEXT[name].splitlines(), start=1)
        if wanted.search(line)
    ]


def _functions(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(_tree(name)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


# --- who may know what -----------------------------------------------------------------------------------------------


def test_the_import_laws_hold() -> None:
    """The contracts in pyproject.toml: engine knows no vendor, torch and pandas only where they belong, and so on."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


IMPURE = re.compile(
    r"^(time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|sleep)"
    r"|(datetime\.)?(datetime|date)\.(now|utcnow|today)|uuid\.uuid[14]|os\.urandom|secrets\.\w+"
    r"|random\.(?!Random$)\w+|(np|numpy)\.random\.(?!default_rng$|Generator$)\w+)$"
)
SEEDED = re.compile(r"^((random\.)?Random|((np|numpy)\.random\.)?default_rng)$")


def test_wall_clock_and_chance_live_behind_the_clock_and_a_seed() -> None:
    """The same events give the same decisions, so nothing else may ask what time it is or throw dice."""
    found = []
    for name in CODE:
        if name == "engine/clock.py":
            continue
        for node in ast.walk(_tree(name)):
            if isinstance(node, ast.Attribute) and IMPURE.match(ast.unparse(node)):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom) and node.module in ("time", "random", "uuid", "secrets"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found += [f"{name}:{node.lineno}: {each}" for each in names if not SEEDED.match(each)]
            if isinstance(node, ast.Call) and SEEDED.match(ast.unparse(node.func)) and not node.args:
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)} without a seed")
    assert found == []


# --- size ------------------------------------------------------------------------------------------------------------


def test_no_file_is_longer_than_its_reason() -> None:
    """Over 300 lines a file needs a reason in LONG_FILES; 500 is a wall; a reason no longer needed goes."""
    lines = {name: TEXT[name].count("\n") for name in CODE}
    assert {name: count for name, count in lines.items() if count > FILE_WALL} == {}
    assert {name for name, count in lines.items() if count > FILE_LINES} == set(LONG_FILES)


def test_the_whole_trade_is_read_on_a_screen_and_a_half() -> None:
    """A screen has 80 lines; the docstring and the imports count."""
    assert TEXT["engine/core.py"].count("\n") <= 120


def test_no_function_is_longer_than_a_screen() -> None:
    """At most 60 lines below its first one, docstring included."""
    long = {
        f"{name}:{function.name}": length
        for name in CODE
        for function in _functions(name)
        if (length := (function.end_lineno or 0) - function.lineno) > FUNCTION_LINES
    }
    assert long == {}


def _code_lines(name: str) -> int:
    """Count the lines that are neither empty nor comments nor docstrings."""
    prose = {
        line
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    source = TEXT[name].splitlines()
    return sum(
        bool(line.strip()) and line.strip()[0] != "#" and number not in prose for number, line in enumerate(source, 1)
    )


def _imported(name: str) -> list[str | None]:
    found = [node for node in ast.walk(_tree(name)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in found]


def test_the_moving_average_strategy_fits_in_twenty_lines_and_one_import() -> None:
    """The author's page stays as small as the README shows it."""
    assert _imported("strategies/sma_cross.py") == ["engine"]
    assert _code_lines("strategies/sma_cross.py") <= 20


@pytest.mark.parametrize("name", ["lstm_forecast", "cnn_pattern", "transformer_forecast", "news_and_price", "ensemble"])
def test_a_strategy_around_a_model_fits_in_twenty_five_lines_and_two_imports(name: str) -> None:
    """The idea and nothing else: the model stands in the configuration."""
    assert len(_imported(f"strategies/{name}.py")) <= 2
    assert _code_lines(f"strategies/{name}.py") <= 25


# --- names -----------------------------------------------------------------------------------------------------------


def test_no_file_or_class_has_a_name_that_says_nothing() -> None:
    """A class is named for what it is, a module for what it holds; no spaces in paths."""
    assert [name for name in FILES if " " in name] == []
    empty = re.compile(r"(^|/|_)(utils?|helpers?|common|misc)(\.py|/|$)")
    assert [name for name in FILES if empty.search(name)] == []
    pattern = re.compile(r"(Manager|Handler|Helper|Utils?|Base|Impl)$")
    classes = [
        f"{name}: {node.name}"
        for name in CODE
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.ClassDef) and pattern.search(node.name) and node.name != "RiskManager"
    ]
    assert classes == []


BARE = re.compile(r"(^|_)(timeout|interval|delay|latency|duration|backoff|deadline|elapsed)$")


def test_a_time_carries_its_unit_in_its_name() -> None:
    """`timeout_s`, never `timeout`: parameters, fields and options. A text such as `5min` carries it in its value."""
    found = []
    for name in CODE:
        for node in ast.walk(_tree(name)):
            if not isinstance(node, ast.arg | ast.AnnAssign) or node.annotation is None:
                continue
            called = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target).removeprefix("self.")
            if BARE.search(called) and not re.search(r"\bstr\b", ast.unparse(node.annotation)):
                found.append(f"{name}:{node.lineno}: {called}")
    assert found == []


def test_the_spelling_is_the_venues() -> None:
    """Alpaca writes canceled; so does every name and sentence here, save where Python has its own name for it."""
    assert _found([*CODE, *TESTS, *_pages()], r"(?<!\.)\bcance" + r"lled(?!\()|(?i:\bcance" + r"lling\b)") == []


# --- sentences -------------------------------------------------------------------------------------------------------


def test_an_ignored_check_says_which_and_why() -> None:
    """`type: ignore` carries a code and a reason, `noqa` a code, a broad `except` that does not re-raise a reason."""
    assert _found(CODE, r"type: ignore(?!\[[a-z, -]+\]  # \w)") == []
    assert _found([name for name in PYTHON if name != "tests/test_house.py"], r"# noqa(?!: [A-Z]+\d+)") == []
    assert [
        f"{name}:{node.lineno}"
        for name in CODE
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(node.type)))
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
        and "  # " not in TEXT[name].splitlines()[node.lineno - 1]
    ] == []


def test_nothing_is_left_for_later() -> None:
    """What is not done is an issue, not a comment."""
    assert _found(PYTHON, r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b") == []


def test_every_test_is_a_sentence_with_its_property() -> None:
    """A test's name says what holds, its docstring why that matters; every test module has one too."""
    assert [name for name in TESTS if ast.get_docstring(_tree(name)) is None] == []
    assert [
        f"{name}:{function.lineno}: {function.name}"
        for name in TESTS
        for function in _functions(name)
        if function.name.startswith("test_") and (not ast.get_docstring(function) or function.name.count("_") < 3)
    ] == []


def test_no_test_sleeps() -> None:
    """Time is a manual clock's; only giving way to other tasks is allowed."""
    others = [name for name in TESTS if name != "tests/test_house.py"]
    assert _found(others, r"\bsleep\((?!0\))") == []


def test_nothing_names_a_machine_or_a_registry() -> None:
    """A clone works anywhere: no path of somebody's disk, no host of a package index."""
    hosts = ("py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", "ana" + "conda.org")
    pattern = r"(?<![\w.])/(root|home|Users|work|opt)/\w|" + "|".join(re.escape(host) for host in hosts)
    assert _found([name for name in FILES if name not in ("LICENSE", "tests/test_house.py")], pattern) == []


def test_every_dependency_is_pinned_for_the_workshop() -> None:
    """`make` installs what was tested: one exact version for each dependency, and none of CUDA."""
    project = tomllib.loads(TEXT["pyproject.toml"])["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=; ]", line)[0].lower().replace("_", "-") for line in wanted}
    pins = [line for line in TEXT["constraints.txt"].splitlines() if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line) or "nvidia" in line] == []
    assert names - {line.split("==")[0].lower().replace("_", "-") for line in pins} == set()


# --- the promise clause ----------------------------------------------------------------------------------------------


def _pages() -> list[str]:
    return [name for name in FILES if name.endswith(".md")]


def _options() -> set[str]:
    """Every key that a configuration may hold: ours, the limits, and the settings of the shipped plugins."""
    from engine import plugins
    from engine.config.problems import nested
    from engine.config.tables import RunConfig

    models, keys = [RunConfig], set()
    for kind in (plugins.FEED, plugins.BROKER):
        found = (plugins.load(kind, name) for name in plugins.shipped(kind.group))
        models += [plugin.Settings for plugin in found if hasattr(plugin, "Settings")]
    for model in models:
        for key, field in model.model_fields.items():
            inner = nested(field)
            if inner is not None:
                models.append(inner)
            keys.add(key)
    return keys - {"settings"}


def _commands() -> set[str]:
    project = tomllib.loads(TEXT["pyproject.toml"])["project"]
    return set(project["entry-points"]["onetape.commands"])


@pytest.mark.parametrize("promised", [_options, _commands], ids=["options", "commands"])
def test_every_promise_has_a_test_that_names_it(promised: object) -> None:
    """Every limit, option and command is named by a test: what nobody tests, nobody may promise."""
    words = set(re.findall(r"[\w-]+", "\n".join(TEXT[name] for name in TESTS if name != "tests/test_house.py")))
    assert callable(promised)
    assert sorted(promised() - words) == []


def test_every_control_has_its_page_and_every_command_is_in_the_docs() -> None:
    """A command that no page shows and a limit that `docs/risk_controls.md` leaves out do not exist for a user."""
    from engine.risk.limits import RiskLimits

    pages = "\n".join(TEXT[name] for name in _pages())
    assert [name for name in sorted(_commands() - {"config-reference"}) if f"onetape {name}" not in pages] == []
    controls = TEXT["docs/risk_controls.md"]
    assert [limit for limit in RiskLimits.model_fields if limit not in controls] == []
