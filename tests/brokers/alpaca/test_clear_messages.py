"""What a user reads when something is wrong with keys, account, plan or clock: one message that says what to do."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from brokers.alpaca.hosts import TRADING_URLS
from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.settings import BrokerSettings
from brokers.alpaca_server.faults import Fault
from engine.clock import LiveClock
from engine.errors import BrokerError
from engine.events import SECOND_NS
from tests.brokers.alpaca_server.local import KEY, SECRET, Local, day, running

WRONG = "a-secret-that-nobody-may-read"
CONFIGURED, REFUSED = 2, 4
RUN = """
mode = "paper"
name = "told"
seed = 7
calendar = "24/7"
out_dir = "{folder}/out"
[feed]
use = "alpaca"
symbols = ["AAPL", "MSFT"]
feed = "{feed}"
quotes = true
server_url = "{url}"
[broker]
use = "alpaca"
server_url = "{url}"
[[strategies]]
name = "cross"
use = "sma_cross"
symbols = ["AAPL"]
[risk]
profile = "wide"
"""


def account(**fields: Any) -> Fault:
    return Fault(use="account", times=0, params={"set": fields})


async def told(local: Local, folder: Path, *, secret: str = SECRET, feed: str = "iex") -> tuple[int, str]:
    """Run the command as a user does; return its exit code and what it printed."""
    file = folder / "run.toml"
    file.write_text(RUN.format(folder=folder, url=local.url, feed=feed))
    environment = {**os.environ, "APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": secret}
    if not secret:
        del environment["APCA_API_SECRET_KEY"]
    command = [sys.executable, "-c", "import sys; from engine.cli import main; sys.exit(main(sys.argv[1:]))"]
    running = await asyncio.create_subprocess_exec(
        *command, "run", str(file), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        printed, _ = await running.communicate()
    return running.returncode or 0, printed.decode()


@pytest.mark.parametrize(
    ("server", "script", "run", "code", "message"),
    [
        ({}, [], {"secret": WRONG}, REFUSED,
         "GET /v2/account: 401 unauthorized; the keys are wrong, or of the other side: a paper key works on the paper "
         "host only, a live key on the live host"),
        ({}, [], {"secret": ""}, CONFIGURED,
         "APCA_API_SECRET_KEY missing in the environment; Alpaca shows both when a key is made"),
        ({}, [account(status="ACCOUNT_CLOSED")], {}, REFUSED,
         "account PA3LOCALVENUE is ACCOUNT_CLOSED; only an active account trades"),
        ({}, [account(account_blocked=True)], {}, REFUSED, "account PA3LOCALVENUE is blocked by Alpaca"),
        ({"symbols_max": 1}, [], {}, REFUSED,
         "the subscription is above the plan's symbol limit; ask for fewer symbols, or bars only"),
        ({"assets": {"AAPL": {"tradable": False}}}, [], {}, CONFIGURED,
         "symbol 'AAPL' cannot be traded at the broker now (its status is active) (strategies.cross.symbols)"),
        ({"feeds": ["iex"]}, [], {"feed": "sip"}, REFUSED,
         "the data plan does not include this feed; use feed = 'iex', which every plan has"),
    ],
    ids=["wrong keys", "no keys", "a closed account", "a blocked account", "too many symbols", "an untradable symbol",
         "a feed not paid for"],
)  # fmt: skip
async def test_what_is_wrong_is_one_clear_message(
    server: dict[str, Any], script: list[Fault], run: dict[str, Any], code: int, message: str, tmp_path: Path
) -> None:
    """One line that begins with `error:`, no traceback, no secret, and the documented exit code."""
    async with running([*day(), *day("MSFT")], script, **server) as local:
        await local.step(2)
        exit_code, printed = await told(local, tmp_path, **run)
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].endswith(message)
    assert exit_code == code
    assert [text for text in ("Traceback", WRONG, SECRET) if text in printed] == []


class AheadClock(LiveClock):
    """A machine whose clock is some seconds ahead."""

    ahead_s = 3.0

    def now_ns(self) -> int:
        return super().now_ns() + round(self.ahead_s * SECOND_NS)


async def test_a_clock_three_seconds_off_is_told_with_what_follows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the venue's own clock, as at Alpaca's hosts; a local server's time is taken as it is."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    async with running(time="now", start="at_once", speed=1.0) as local:
        for ahead_s, fatal in ((3.0, False), (6.0, True)):
            clock = AheadClock()
            clock.ahead_s = ahead_s
            broker = AlpacaBroker(BrokerSettings(server_url=local.url), mode="paper", seed=1, clock=clock)
            broker._hosts = broker._hosts._replace(is_local=False)
            if fatal:
                with pytest.raises(BrokerError, match=r"clock is \+6\.\d s off Alpaca's; set it right before trading"):
                    await broker.open()
            else:
                await broker.open()
                await broker._rest.close()
    printed = capsys.readouterr().out
    assert "this machine's clock is +3.0 s off Alpaca's; from 5 s on nothing trades: set it right" in printed


async def test_a_paper_key_on_the_live_host_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue that stands where the live host would, with keys of its own."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", WRONG)
    async with running() as local:
        monkeypatch.setitem(TRADING_URLS, "live", local.url)
        broker = AlpacaBroker(BrokerSettings(), mode="live", seed=1)
        with pytest.raises(BrokerError, match="a paper key works on the paper host only") as error:
            await broker.open()
        assert WRONG not in str(error.value)
