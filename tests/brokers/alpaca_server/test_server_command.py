"""`onetape server`: what its file may say, and what it says of a wrong one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

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


COMMAND = [sys.executable, "-c", "import sys; from engine.cli import main; sys.exit(main(sys.argv[1:]))", "server"]
OPTIONS = [part for one in SMALL for part in ("--set", one)]


def beside(*command: str, **options: Any) -> subprocess.Popen[str]:
    """Start a venue with a command beside it, in a session of its own as under a service manager."""
    return subprocess.Popen(
        [*COMMAND, *OPTIONS, "--", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **options,
    )  # fmt: skip


def python(program: str) -> list[str]:
    return [sys.executable, "-u", "-c", program]


def told(server: subprocess.Popen[str], wanted: str) -> str:
    """Read on to the line that begins with what is wanted."""
    assert server.stdout is not None
    return next(line for line in server.stdout if line.startswith(wanted))


def test_a_command_beside_it_finds_the_venue_and_ends_it() -> None:
    """Address and keys are in its environment, over others; its exit code is the venue's, and nothing else is left."""
    program = (
        "import os, sys, urllib.request as web;"
        "keys = {'APCA-API-KEY-ID': os.environ['APCA_API_KEY_ID'], "
        "'APCA-API-SECRET-KEY': os.environ['APCA_API_SECRET_KEY']};"
        "url = os.environ['APCA_API_BASE_URL'];"
        "print('address', url, web.urlopen(web.Request(url + '/v2/account', headers=keys)).status);"
        "sys.exit(7)"
    )
    real = {"APCA_API_KEY_ID": "mine", "APCA_API_SECRET_KEY": "mine"}
    with beside(*python(program), env=os.environ | real) as server:
        output, errors = server.communicate(timeout=30)
    assert (server.returncode, errors) == (7, "")
    address = next(line.split()[1:] for line in output.splitlines() if line.startswith("address"))
    assert address[1] == "200"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(address[0].rpartition(":")[2])), timeout=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_goes_on_to_the_command_which_ends_in_its_own_time(number: signal.Signals) -> None:
    """The venue serves until the command has said goodbye."""
    program = (
        "import signal, sys, urllib.request as web, os\n"
        "def leave(*_):\n"
        "    print('venue', web.urlopen(os.environ['APCA_API_BASE_URL'] + '/control').status)\n"
        "    sys.exit(0)\n"
        f"signal.signal({number.value}, leave)\n"
        "print('ready')\n"
        "while True: signal.pause()"
    )
    with beside(*python(program)) as server:
        told(server, "ready")
        server.send_signal(number)
        output, errors = server.communicate(timeout=30)
    assert (server.returncode, output.splitlines()[0], errors) == (0, "venue 200", "")


def test_a_second_signal_ends_a_command_that_does_not_listen() -> None:
    """Nothing is waited for for ever."""
    program = "import signal; signal.signal(2, lambda *_: print('heard')); print('ready')\nwhile True: signal.pause()"
    with beside(*python(program)) as server:
        told(server, "ready")
        server.send_signal(signal.SIGINT)
        told(server, "heard")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
    assert server.returncode == 128 + signal.SIGKILL


def test_a_venue_that_leaves_takes_the_command_along() -> None:
    """At the end of its tape the command is told to end, its exit code is the venue's, and no orphan is left."""
    program = (
        "import os, signal, sys, urllib.request as web\n"
        "signal.signal(15, lambda *_: (print('pid', os.getpid()), sys.exit(3)))\n"
        "web.urlopen(os.environ['APCA_API_BASE_URL'] + '/control/start', data=b'')\n"
        "while True: signal.pause()"
    )
    ending = ["--set", "server.at_end='exit'", "--set", "server.speed=0", "--set", "server.start='control'"]
    with subprocess.Popen(
        [*COMMAND, *OPTIONS, *ending, "--", *python(program)], stdout=subprocess.PIPE, text=True
    ) as server:
        output, _ = server.communicate(timeout=30)
    assert server.returncode == 3
    pid = int(output.rpartition("pid")[2].split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_that_is_none_is_told() -> None:
    """No such program, or nothing at all behind the dashes."""
    with beside("no-such-program") as server:
        _, errors = server.communicate(timeout=30)
    assert (server.returncode, "cannot run 'no-such-program': No such file" in errors) == (2, True)
    with beside() as server:
        _, errors = server.communicate(timeout=30)
    assert (server.returncode, "no command behind the two dashes" in errors) == (2, True)


def test_the_command_serves_until_it_is_told_to_stop() -> None:
    """A signal ends it with exit code 0; a taken port is one clear message."""
    with subprocess.Popen([*COMMAND, *OPTIONS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(5)]
        port = lines[4].strip().rpartition(":")[2]
        assert lines[4].startswith("REST     http://127.0.0.1:")
        second = subprocess.run([*COMMAND, *OPTIONS, "--port", port], capture_output=True, text=True, timeout=30)
        assert (second.returncode, f"port {port} is taken" in second.stderr) == (2, True)
        asyncio.run(_meet(int(port)))
        server.send_signal(signal.SIGTERM)
        output, errors = server.communicate(timeout=30)
    assert (server.returncode, errors) == (0, "")
    assert output.endswith("fault    seen (ws_text) fired 0 of 0 times\nstopped\n")


def test_a_script_of_the_plain_sdk_runs_unchanged() -> None:
    """Account, orders of every kind, four streams, history, news and errors, in two processes as outside of tests."""
    options = ["server.speed=120", "server.time=tape", "server.start=subscribed", "server.port=0"]
    options += ["feed.symbols=['ALFA','BTC/USD']", "feed.quotes_per_minute=12", "feed.sessions=4"]
    options += ["server.history_until=2024-03-07T15:00:00Z"]
    command = [*COMMAND, *(part for one in options for part in ("--set", one))]
    script = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("plain_sdk.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = next(line for line in server.stdout if line.startswith("REST")).partition("http://")[2].strip()
        try:
            done = subprocess.run([*script, address, "ALFA", "BTC/USD"], capture_output=True, text=True, timeout=60)
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
