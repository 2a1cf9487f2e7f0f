"""The compiled engine is the same engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import bars

ROOT = Path(__file__).parents[1]
RUN = """
import sys
from pathlib import Path
from bench.measure import engine_once
from engine import core, journal
engine_once(Path(sys.argv[1]), Path(sys.argv[2]))
print(str(core.__file__).endswith(".py"), journal.digest(Path(sys.argv[2]) / "bench.journal"))
"""


@pytest.mark.long
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_compiled_and_interpreted_runs_have_the_same_journal_hash(tmp_path: Path) -> None:
    """Orders, fills, fees and the journal agree to the byte; only the time differs."""
    built = tmp_path / "built"
    build = [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(tmp_path / "base")]
    environment = {**os.environ, "ONETAPE_COMPILE": "1"}
    subprocess.run([*build, "--build-lib", str(built)], cwd=ROOT, env=environment, check=True, capture_output=True)
    bars.write_tape(tmp_path / "bars.parquet", bars.columns(7, 4_000))
    told = []
    for path in (ROOT, built):
        folder = tmp_path / path.name
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-P", "-c", RUN, str(tmp_path / "bars.parquet"), str(folder)],
            env={**os.environ, "PYTHONPATH": str(path)}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        told.append(done.stdout.split())
    (interpreted, one), (also_interpreted, other) = told
    assert interpreted == "True"
    assert also_interpreted == "False"
    assert one == other
