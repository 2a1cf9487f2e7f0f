"""docs/configuration.md is what the models say, and says all of it."""

from pathlib import Path

from engine import plugins
from engine.config.reference import page
from engine.config.tables import RunConfig
from engine.risk.limits import SMALL_ACCOUNT, RiskLimits

ROOT = Path(__file__).parents[3]


def test_the_reference_page_is_up_to_date() -> None:
    """`make docs` (`onetape config-reference`) writes the page; a change of an option without it fails here."""
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == page()


def test_the_reference_names_every_option_and_every_shipped_plugin() -> None:
    """Nothing that a configuration may hold is missing from its page."""
    text = page()
    for key in [*RunConfig.model_fields, *RiskLimits.model_fields]:
        assert f"`{key}`" in text or f"[{key}]" in text
    for kind in (plugins.FEED, plugins.BROKER, plugins.STRATEGY):
        for name in plugins.shipped(kind.group):
            assert f'use = "{name}"' in text


def test_a_limit_comes_from_the_profile_and_a_live_profile_has_one() -> None:
    """None is called required: a live profile that names no limit is bounded by `small_account`."""
    rows = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]
    shown = {row[0].strip("| `"): row[2] for row in rows if len(row) > 2}
    assert {shown[f"limits.{key}"] for key in SMALL_ACCOUNT} == {shown[key] for key in SMALL_ACCOUNT}
    assert {shown[key] for key in SMALL_ACCOUNT} == {"from the profile"}
    assert (shown["limits.profile"], shown["profile"], shown["account"]) == ('`"small_account"`', '`""`', "required")
