"""Fixtures that every test may use."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture(scope="module", autouse=True)
def swept() -> Iterator[None]:
    """Look through what the suite itself is made of for garbage once, and no more.

    A daemon collects and freezes when it starts. In a process that holds the whole suite that takes ten times as long
    as the run of a test, and what it freezes would be thawed with the suite when the run ends.
    """
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("freeze", "unfreeze"):
            patch.setattr(gc, name, lambda: None)
        yield


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """Leave no test the logging that another one has set up."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real market data, which the repository does not carry."""
    path = Path(os.environ.get("ONETAPE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no market data at {path}; set ONETAPE_DATA to a copy")
    return path
