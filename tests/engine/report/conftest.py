"""One busy week, told once."""

import pytest

from engine.report import Result
from tests.engine.report.story import busy_run


@pytest.fixture(scope="session")
def busy() -> Result:
    """Five sessions of 24 stocks, two strategies, a split, a dividend, denials and a halt."""
    return Result.from_records(busy_run())
