"""What `onetape bench` is asked for is checked before it measures anything."""

import pytest

from bench.table import run
from engine.errors import ConfigError


def test_a_suite_that_there_is_not_is_told_with_those_there_are() -> None:
    """The nearest one first."""
    with pytest.raises(ConfigError, match="no suite 'modle'.*'model'.*there are replay, startup, live, model, and all"):
        run("modle", as_json=False, long=False, peers=[])


@pytest.mark.parametrize("peer", ["nautilus", "nautilus=python sma.py", "{bars}"])
def test_a_peer_is_a_name_and_a_command_that_takes_the_bars(peer: str) -> None:
    """Else its figure would be of other bars than ours."""
    with pytest.raises(ConfigError, match=r"write NAME=COMMAND with \{bars\} in it"):
        run("replay", as_json=False, long=False, peers=[peer])
