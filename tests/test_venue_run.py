"""What `make run` does: the shipped run at the shipped venue, two processes over sockets, at a higher pace."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from brokers.alpaca.hosts import Mode, hosts
from engine import config, daemon, journal
from engine.events import Fill, RunEnded
from engine.run import Run

ROOT = Path(__file__).parents[1]
ONETAPE = str(Path(sys.executable).with_name("onetape"))
AFTERNOON = ["--set", "server.history_until=2024-03-04T17:00:00Z"]
STOPS_WITHIN_S = 4.0  # two seconds on a machine that does nothing else; the suite runs on all cores


def at_venue(folder: Path, *more: str, speed: float = 3000.0) -> list[str]:
    """Return the command of `make run`, on a free port, into a folder, at another pace."""
    run = f'echo pid $$; exec {ONETAPE} run config/alpaca.toml --set feed.server_url=$APCA_API_BASE_URL "$@"'
    return [
        ONETAPE, "server", "config/venue.toml", "--port", "0", "--set", f"server.speed={speed}", *AFTERNOON, "--",
        "sh", "-c", run, "run", "--set", f"out_dir={folder}", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An afternoon that was traded to its end: its folder, and what it said."""
    folder = tmp_path_factory.mktemp("afternoon")
    done = subprocess.run(at_venue(folder), cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_orders_are_filled_at_the_venue_and_the_day_ends_by_itself(finished: tuple[Path, str]) -> None:
    """The journal has fills and an end, and doing it over finds no difference."""
    folder, _ = finished
    path = folder / daemon.RUN_JOURNAL
    records = list(journal.read(path))
    assert sum(isinstance(record, Fill) for record in records) > 5
    assert isinstance(records[-1], RunEnded)
    assert daemon.verify(path)[0] == len(records)


def test_the_report_is_made_of_the_journal_and_says_what_it_is(finished: tuple[Path, str]) -> None:
    """Page, figures and tables lie there, and nobody can take the day for a market."""
    folder, printed = finished
    assert {"report.html", "summary.json", "trades.csv", "fills.csv"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "summary.json").read_text())["fills"] > 5
    page = (folder / "report.html").read_text()
    for text in (page, printed):
        assert "local venue" in text
        assert "PA3SYNTHETIC" in text
    assert "synthetic: made up, no market" in printed


def test_nothing_is_left_running(finished: tuple[Path, str]) -> None:
    """Neither the daemon nor a listening socket."""
    _, printed = finished
    with pytest.raises(ProcessLookupError):
        os.kill(pid_in(printed), 0)
    port = int(printed.partition("http://127.0.0.1:")[2].split()[0])
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_without_one_line_it_is_the_same_run_at_alpaca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three lines of the README: with keys, and without `server_url`, both edges go to the paper hosts."""
    shipped = (ROOT / "config" / "alpaca.toml").read_text()
    [line] = [line for line in shipped.splitlines() if line.startswith("server_url")]
    (tmp_path / "alpaca.toml").write_text(shipped.replace(f"{line}\n", ""))
    local, moved = (config.load(path / "alpaca.toml") for path in (ROOT / "config", tmp_path))
    monkeypatch.setenv("APCA_API_KEY_ID", "PKTEST")
    monkeypatch.setenv("APCA_API_SECRET_KEY", "secret")
    built = Run(moved, journal.Journal(tmp_path / "x.journal"))
    built.journal.abandon()
    assert built.feed._hosts == built.core.broker._hosts == hosts(Mode.PAPER)
    before, after = local.resolved(), moved.resolved()
    assert {key for key in after if after[key] != before[key]} == {"feed", "broker", "out_dir"}
    assert {key for key in before["feed"] if before["feed"][key] != after["feed"].get(key)} == {"server_url"}


@contextmanager
def in_terminal(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a command in a terminal of its own; yield it with our end of that."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, b"\x28\x00\x8c\x00\x00\x00\x00\x00")  # 40 lines of 140
    started = subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env=os.environ | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield started, ours
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        os.close(ours)


def read_until(terminal: int, wanted: str, within_s: float = 20.0) -> str:
    """Read what is shown until it holds something, or, for nothing, until the terminal is closed."""
    shown, deadline = b"", time.monotonic() + within_s
    while (not wanted or wanted.encode() not in shown) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            read = b""
            with suppress(OSError):  # how Linux says of a terminal that its other end is closed
                read = os.read(terminal, 65_536)
            if not read:
                break
            shown += read
    text = shown.decode(errors="replace")
    assert wanted in text, text[-2000:]
    return text


def pid_in(text: str) -> int:
    return int(text.partition("pid ")[2].split()[0])


def test_ctrl_c_stops_the_run_and_its_venue(tmp_path: Path) -> None:
    """The terminal shows how the run stands; one key stops both within two seconds, and the report is made."""
    with in_terminal(at_venue(tmp_path, speed=1000.0)) as (started, terminal):
        shown = read_until(terminal, "reversion")
        assert "alpaca (local venue)" in shown
        assert "equity" in shown
        began = time.monotonic()
        os.write(terminal, b"\x03")
        rest = read_until(terminal, "stopped by signal")
        assert time.monotonic() - began < STOPS_WITHIN_S
        rest += read_until(terminal, "")
        assert started.wait(20) == 0
    assert "report.html" in rest
    with pytest.raises(ProcessLookupError):
        os.kill(pid_in(shown), 0)
    assert not journal.is_ended(tmp_path / daemon.RUN_JOURNAL)
    daemon.verify(tmp_path / daemon.RUN_JOURNAL)


def test_a_venue_that_dies_ends_the_run_with_its_address(tmp_path: Path) -> None:
    """Killed outright it takes nobody along: the daemon says what has gone and leaves with the code of a lost venue."""
    command = at_venue(tmp_path, speed=600.0)
    code = tmp_path / "code"
    place = command.index("-c") + 1
    command[place] = command[place].replace("exec ", "") + f"; echo $? > {code}.part; mv {code}.part {code}"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdout is not None
        shown = read_until(server.stdout.fileno(), "connected")
        server.kill()
        shown += read_until(server.stdout.fileno(), "")
    assert "has gone" in shown
    assert code.read_text().strip() == "4"
    daemon.verify(tmp_path / daemon.RUN_JOURNAL)


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    """One clear message, exit code 2, and no run began."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = at_venue(tmp_path / "out")
        command[command.index("--port") + 1] = str(port)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (done.returncode, f"port {port} is taken" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "feed.symbols=['NONE']"], "symbol 'NONE' is unknown to the broker (strategies.cross"),
        (["--set", "feed.server_url=http://127.0.0.1:1"], "no local server at http://127.0.0.1:1"),
        (["--set", "feed.server_url=http://192.168.0.1:1"], "is not a server of this machine"),
        (["--set", "feed.server=x"], "feed.server: unknown key; did you mean 'server_url'?"),
    ],
    ids=["an unknown symbol", "nobody there", "another machine", "an unknown key"],
)
def test_a_run_that_cannot_start_ends_its_venue_with_its_message(tmp_path: Path, more: list[str], message: str) -> None:
    """One error that names what is wrong, and exit code 2."""
    done = subprocess.run(at_venue(tmp_path, *more), cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 2, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [message in line for line in told] == [True]
