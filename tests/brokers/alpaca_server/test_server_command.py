"""`onetape server`: what its file may say, and what it says of a wrong one."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from brokers.alpaca_server import launch
from brokers.alpaca_server.fault_catalogue import CATALOGUE
from brokers.alpaca_server.settings import ServerSettings
from engine.cli import main
from engine.errors import ConfigError
from tests.brokers.alpaca_server.local import KEY, SECRET, Peer

SMALL = ["feed.symbols=['ALFA']", "server.port=0", "faults=[{use='ws_text', name='seen'}]"]


def test_a_file_names_its_feed_its_options_and_its_faults(tmp_path: Path) -> None:
    """All three tables, with an override on top."""
    file = tmp_path / "venue.toml"
    file.write_text(
        'server = { speed = 60, account_number = "PA1" }\nfeed = { use = "synthetic", symbols = ["ALFA"] }\n'
        '[[faults]]\nuse = "O08"\nskip = 3\nwith = { status = 502 }\n'
    )
    chosen = launch.load(file, [], ["server.speed=2.5", "server.key_id=mine"])
    assert (chosen.file.server.speed, chosen.file.server.account_number, chosen.file.server.key_id) == (
        2.5,
        "PA1",
        "mine",
    )
    assert chosen.file.faults[0].params == {"status": 502}
    assert chosen.feed.symbols == ["ALFA"] or tuple(chosen.feed.symbols) == ("ALFA",)
    assert "at 2.5 times its speed" in launch.plan(chosen)
    assert "1 armed" in launch.plan(chosen)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nsped = 1", "server.sped: unknown key; did you mean 'speed'?"),
        ('[server]\nhost = "0.0.0.0"', "is no loopback address"),
        ("[server]\nspeed = -1", "server.speed: "),
        ('[feed]\nuse = "synthetik"', "no Feed is called 'synthetik'; did you mean 'synthetic'?"),
        ('[feed]\nuse = "nowhere:Feed"', "does not load"),
        ("[feed]\nsymbol = 1", "feed.symbol: unknown key; did you mean 'symbols'?"),
        ('[[faults]]\nuse = "O99"', "unknown fault 'O99'"),
        ("server = [", "venue.toml: "),
        ("[servers]", "servers: unknown key; did you mean 'server'?"),
    ],
)
def test_a_wrong_file_is_told_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    """One message: where, what, and what would be right."""
    file = tmp_path / "venue.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        launch.load(file, [], [])
    assert message in str(error.value)


def test_a_missing_file_and_a_wrong_override_are_told() -> None:
    """No traceback."""
    with pytest.raises(ConfigError, match="cannot read nowhere.toml"):
        launch.load(Path("nowhere.toml"), [], [])
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        launch.load(None, [], ["speed"])


def test_a_tape_stands_in_for_a_feed(tmp_path: Path) -> None:
    """`--tape` is a replay of what it names."""
    tape = tmp_path / "bars.csv"
    tape.write_text(
        "ts_event_ns,ts_recv_ns,symbol,open,high,low,close,volume,interval_ns\n"
        "1549981860000000000,1549981860000000000,SPY,1,2,0.5,1.5,100,60000000000\n"
    )
    chosen = launch.load(None, [tape], [])
    assert list(chosen.feed.symbols) == ["SPY"]


def test_only_loopback_is_listened_on() -> None:
    """No setting makes it reachable from elsewhere."""
    for host in ("0.0.0.0", "192.168.0.1", "example.com", ""):
        with pytest.raises(ValidationError):
            ServerSettings(host=host)


def test_the_command_serves_until_it_is_told_to_stop() -> None:
    """A signal ends it with exit code 0; a taken port is one clear message."""
    command = [sys.executable, "-c", "import sys; from engine.cli import main; sys.exit(main(sys.argv[1:]))", "server"]
    options = [part for one in SMALL for part in ("--set", one)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(5)]
        port = lines[4].strip().rpartition(":")[2]
        assert lines[4].startswith("REST     http://127.0.0.1:")
        second = subprocess.run([*command, *options, "--port", port], capture_output=True, text=True, timeout=30)
        assert (second.returncode, f"port {port} is taken" in second.stderr) == (2, True)
        asyncio.run(_meet(int(port)))
        server.send_signal(signal.SIGTERM)
        output, errors = server.communicate(timeout=30)
    assert (server.returncode, errors) == (0, "")
    assert output.endswith("fault    seen (ws_text) fired 0 of 0 times\nstopped\n")


def test_a_script_of_the_plain_sdk_runs_unchanged() -> None:
    """Account, orders of every kind, four streams, history, news and errors, in two processes as outside of tests."""
    options = ["server.speed=120", "server.time=tape", "server.start=subscribed", "server.port=0"]
    options += ["feed.symbols=['ALFA']", "feed.quotes_per_minute=12", "server.history_until=2024-03-04T15:00:00Z"]
    command = [sys.executable, "-c", "import sys; from engine.cli import main; sys.exit(main(sys.argv[1:]))", "server"]
    command += [part for one in options for part in ("--set", one)]
    script = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("plain_sdk.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = next(line for line in server.stdout if line.startswith("REST")).partition("http://")[2].strip()
        try:
            done = subprocess.run([*script, address, "ALFA"], capture_output=True, text=True, timeout=60)
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_lists_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """`--faults` prints every named fault with its sentence."""
    assert main(["server", "--faults"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in CATALOGUE.faults)


async def _meet(port: int) -> None:
    """Talk to the venue over both kinds of socket, on the event loop that it runs on outside of tests."""
    keys = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{port}/v2/account", headers=keys) as reply:
            assert reply.status == 200
        async with http.ws_connect(f"ws://127.0.0.1:{port}/v2/iex") as socket:
            peer = Peer(socket, packed=False)
            (answer,) = await peer.log_in(bars=["*"])
            assert answer["bars"] == ["*"]
