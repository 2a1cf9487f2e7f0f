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


pytestmark = [
    pytest.mark.long, pytest.mark.timeout(900), pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]  # fmt: skip
PROOFS = ("parity", "recovery", "isolation", "diary", "no_lookahead", "kill")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages with their hot path compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    build = [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(folder / "base")]
    environment = {**os.environ, "ONETAPE_COMPILE": "1"}
    subprocess.run(
        [*build, "--build-lib", str(folder / "built")], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return folder / "built"


def test_compiled_and_interpreted_runs_have_the_same_journal_hash(built: Path, tmp_path: Path) -> None:
    """Orders, fills, fees and the journal agree to the byte; only the time differs."""
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


def test_what_is_proven_of_runs_is_true_of_compiled_ones(built: Path) -> None:
    """Every kind of order through the compiled venue, kills, full disks and raising strategies included."""
    for name in ("tests", "config", "docs"):
        shutil.copytree(ROOT / name, built / name, dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", built)
    tests = [f"tests/test_{name}.py" for name in PROOFS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests], cwd=built, env={**os.environ, "PYTHONPATH": str(built)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5_000:]
