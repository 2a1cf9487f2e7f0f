"""The page says what the venue has: every option with its default, every kind of fault."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic_core import to_jsonable_python

from brokers.alpaca_server.fault_catalogue import CATALOGUE
from brokers.alpaca_server.settings import ServerSettings

PAGE = (Path(__file__).parents[3] / "docs" / "alpaca.md").read_text("utf-8")
ROWS = {match[1]: match[2] for match in re.finditer(r"^\| `(\w+)` \| (.*?) \| ", PAGE, re.MULTILINE)}


def test_every_option_is_on_the_page_with_its_default() -> None:
    """An unknown of the real service is a switch whose default can be read."""
    wrong = {}
    for name, field in ServerSettings.model_fields.items():
        if name != "paper":
            default = to_jsonable_python(field.get_default())
            shown = "none" if default is None else f"`{json.dumps(default)}`"
            if ROWS.get(name) not in (shown, f"`{default}`"):
                wrong[name] = (ROWS.get(name), shown)
    assert wrong == {}


def test_every_kind_of_fault_is_on_the_page() -> None:
    """With the place where it waits."""
    assert {name: kind.hook for name, kind in CATALOGUE.kinds.items() if ROWS.get(name) != kind.hook} == {}


def test_every_named_fault_is_made_of_known_kinds() -> None:
    """And says in one sentence what goes wrong."""
    for name, entry in CATALOGUE.faults.items():
        assert {part.kind for part in entry.parts} <= set(CATALOGUE.kinds), name
        assert entry.says.endswith(".")
