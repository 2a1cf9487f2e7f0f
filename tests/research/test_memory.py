"""What a training gives back is there for its next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from research.memory import keep_memory

if sys.argv[1] == "kept":
    keep_memory()
for step in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(12_000_000, 1.0).sum()  # 96 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Return the pages that the last of several large arrays had to fetch from the system."""
    told = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(told.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told to keep memory")
def test_a_large_array_is_made_of_the_memory_of_the_one_before() -> None:
    """Left alone, the C library fetches each anew."""
    assert faults("kept") < 100
    assert faults("left alone") > 300
