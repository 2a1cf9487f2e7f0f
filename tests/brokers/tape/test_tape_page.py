"""docs/tape.md tells the truth: its table is the schema, and its commands work on its own examples."""

import re
import shlex
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from brokers.tape import import_command as tape_import
from brokers.tape import inspect_command as inspect
from brokers.tape.reader import Tape
from brokers.tape.schema import KINDS, columns

PAGE = (Path(__file__).parents[3] / "docs" / "tape.md").read_text("utf-8")
COMMANDS = [line for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]

app = Typer()
app.command("import")(tape_import.command)
app.command("inspect")(inspect.command)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_lists_the_columns_of_the_schema(kind: str) -> None:
    """All of them, in their order, and in italics those that may be missing."""
    (row,) = re.findall(rf"^\| `{kind}` \| (.*) \|$", PAGE, re.M)
    required, _, optional = row.partition("*")
    assert re.findall(r"`(\w+)`", required) == [column.name for column in columns(kind) if column.required]
    assert re.findall(r"`(\w+)`", optional) == [column.name for column in columns(kind) if not column.required]


def test_the_commands_of_the_page_work_on_its_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who copies them gets tapes that can be read; inspecting made-up minutes finds the rest of the day."""
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"^```csv (\S+)\n(.*?)^```$", PAGE, re.M | re.S):
        Path(name).write_text(text)
    for line in COMMANDS:
        program, *words = shlex.split(line.removeprefix("$ "))
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert (program, result.exit_code) == ("onetape", int(words[0] == "inspect")), line
    rows = {path.name: Tape(path).summary.rows for path in Path("tapes").iterdir()}
    assert rows == {
        "spy.parquet": 2,
        "actions.parquet": 2,
        "seen_actions.parquet": 1,
        "news.parquet": 1,
        "filings.csv": 1,
    }


def test_every_option_of_the_commands_is_on_the_page() -> None:
    """And the other way round: what the page names is an option."""
    found = set()
    for command in ("import", "inspect"):
        told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300", "TERM": "dumb"}).output
        found |= set(re.findall(r"--[a-z][a-z-]+", told))
    assert found - {"--help"} == set(re.findall(r"--[a-z][a-z-]+", PAGE))
