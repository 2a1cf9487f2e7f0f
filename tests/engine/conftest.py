"""What the tests of the engine share."""

import pytest

from engine.clock import Sessions


@pytest.fixture(scope="session")
def xnys() -> Sessions:
    """The New York calendar, which takes a second to load."""
    return Sessions("XNYS")
