"""docs/configuration.md is what the models say, and says all of it."""

from pathlib import Path

from engine import plugins
from engine.config.reference import page
from engine.config.tables import RunConfig
from engine.risk.limits import RiskLimits

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
