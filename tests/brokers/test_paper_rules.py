"""The promise of docs/paper_fills.md: each rule has a test of its name, each option is on the page."""

from __future__ import annotations

import re
from pathlib import Path

from brokers.simulated.models import FEES, SLIPPAGE
from brokers.simulated.settings import PaperSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paper_fills.md").read_text("utf-8")
CODE = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "brokers").rglob("*.py")))


def test_every_rule_has_a_test_of_its_name() -> None:
    """A rule without a test is a wish."""
    tests = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    rules = re.findall(r"\b([a-z0-9]+(?:_[a-z0-9]+){3,})\b", re.sub(r"`[^`]*`", "", PAGE))
    assert len(rules) > 90
    assert [rule for rule in rules if f"def test_{rule}(" not in tests] == []


def test_every_rule_has_a_number_of_its_own() -> None:
    """Sections count from 1, and rules within them, without a gap; code refers only to rules that exist."""
    numbers = re.findall(r"^- \*\*(\d+)\.(\d+)", PAGE, re.MULTILINE)
    counted: dict[int, int] = {}
    for section, rule in numbers:
        assert int(rule) == counted.get(int(section), 0) + 1
        counted[int(section)] = int(rule)
    assert list(counted) == list(range(1, 18))
    referred = re.findall(r"[Rr]ules? (\d+)\.(\d+)", CODE)
    assert referred
    assert [pair for pair in referred if pair not in numbers] == []


def test_every_option_is_on_the_page() -> None:
    """What decides a fill is explained where fills are explained."""
    words = set(re.findall(r"\w+", PAGE))
    assert sorted(set(PaperSettings.model_fields) - words) == []
    assert sorted((FEES.keys() | SLIPPAGE.keys()) - words) == []
