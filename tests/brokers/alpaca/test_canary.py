"""A secret is in no output: canary keys through a day that goes wrong in every way that might show them.

The venue echoes the keys in refusals, errors and order events, the strategy logs and raises them, feed and broker crash
with them; then every file and every word that came of it is searched.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import signal
import sys
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from brokers.alpaca.keys import Keys
from engine import journal
from engine.errors import StrategyError
from engine.events import OrderUpdate, StrategyHalted
from engine.operating import watchdog
from engine.operating.control import FOLDER
from tests.brokers.alpaca_server.local import Local, day, running

ONETAPE = Path(sys.executable).with_name("onetape")
KEY, SECRET = "PKCANARYKEY7QX", "canary/secret+value=8ZV"
HOOK = "hook-canary-5TR"
CANARIES = (KEY, SECRET, HOOK)
ECHO = {"code": 42210000, "message": f"no such key {KEY} with {SECRET}"}

LEAKY = """
import os
from engine import Strategy

class Leaky(Strategy):
    def on_start(self):
        self.bars = 0

    def on_bar(self, bar):
        self.bars += 1
        key, secret = os.environ["APCA_API_KEY_ID"], os.environ["APCA_API_SECRET_KEY"]
        if self.bars in (1, 3):
            self.log.warning(f"in a text {secret}", plain=key, nested={"deep": [secret]}, api_key=secret)
            self.rests = self.buy(bar.symbol, 10, limit_price=90)
        if self.bars == 5:
            self.cancel_order(self.rests)
        if self.bars == 8:
            raise RuntimeError(f"the author shows {key} and {secret}")
"""
BROKEN = """
import os
from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.stream import AlpacaFeed

class Feed(AlpacaFeed):
    async def run(self, publish):
        raise RuntimeError(f"the feed shows {self._keys.secret} of {os.environ['APCA_API_KEY_ID']}")

class Broker(AlpacaBroker):
    def __init__(self, settings, **options):
        super().__init__(settings, **options)
        raise RuntimeError(f"the broker shows {self._keys.headers()}")
"""
RUN = """\
mode = "paper"
name = "canary"
seed = 1
calendar = "24/7"
out_dir = "out"
warm_up_s = 0
[feed]
use = "{feed}"
symbols = ["AAPL"]
quotes = true
server_url = "{url}"
[broker]
use = "{broker}"
server_url = "{url}"
[[strategies]]
name = "leaky"
use = "leaky.py:Leaky"
symbols = ["AAPL"]
[risk]
profile = "wide"
[log]
level = "debug"
[alerts]
webhook_env = "CANARY_HOOK"
repeat_after_s = 0
[watchdog]
start = {watched}
"""


class Shown:
    """Everything that a run has shown anywhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts: dict[str, bytes] = {}

    def found(self) -> list[str]:
        """Return where a canary is, in any of the forms in which texts are written."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".toml"):
                self.texts[str(path.relative_to(self.folder))] = path.read_bytes()
        forms = [form.encode() for canary in CANARIES for form in (canary, urllib.parse.quote(canary, safe=""))]
        forms += [base64.b64encode(canary.encode()) for canary in CANARIES]
        return [f"{name}: {form.decode()}" for name, text in self.texts.items() for form in forms if form in text]


@asynccontextmanager
async def hooked(shown: Shown) -> AsyncIterator[str]:
    """A webhook that keeps what it is sent; its address is a secret."""

    async def take(request: web.Request) -> web.Response:
        shown.texts[f"alert {len(shown.texts)}"] = await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_post(f"/{HOOK}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/{HOOK}"
    finally:
        await runner.cleanup()


async def onetape(shown: Shown, hook: str, *words: str, until: Any = None) -> int:
    """Run a command to its end, or until something holds; keep what it says."""
    environ = {**os.environ, "APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET, "CANARY_HOOK": hook}
    process = await asyncio.create_subprocess_exec(
        str(ONETAPE), *words, cwd=shown.folder, env=environ,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = bytearray()
    try:
        async with asyncio.timeout(40):
            async for line in process.stdout:
                said += line
                if until is not None and await until(bytes(line)):
                    process.send_signal(signal.SIGTERM)
            return await process.wait()
    finally:
        shown.texts[f"words of {words} {len(shown.texts)}"] = bytes(said)
        if process.returncode is None:
            process.kill()


def write(folder: Path, url: str, feed: str = "alpaca", broker: str = "alpaca", *, watched: bool = False) -> None:
    (folder / "leaky.py").write_text(LEAKY)
    (folder / "broken.py").write_text(BROKEN)
    (folder / "run.toml").write_text(RUN.format(url=url, feed=feed, broker=broker, watched=str(watched).lower()))


def wait_for_its_end(lock: Path) -> None:
    """Wait until the watchdog, which holds this, has seen that the daemon ended as it should, and ends too."""
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)


async def arm(local: Local) -> None:
    """Have the venue show the keys wherever it can say something."""
    orders = {"method": "POST", "path": "/v2/orders"}
    await local.arm("http_answer", name="refusal", where=orders, times=1, **{"with": {"status": 422, "json": ECHO}})
    html = f"<html>{KEY} {SECRET}</html>"
    await local.arm("http_answer", name="error", where={"path": "/v2/positions"}, times=1, skip=1,
                    **{"with": {"status": 500, "html": html}})  # fmt: skip
    await local.arm("http_answer", name="told", where={"path": "/v2/account/activities/*"}, times=1, skip=1,
                    **{"with": {"status": 500, "json": ECHO}})  # fmt: skip
    await local.arm("update_edit", name="reason", times=0, **{"with": {"set": {"reason": f"because of {SECRET}"}}})


async def test_canary_keys_are_in_no_file_and_no_word_of_a_day_that_goes_wrong(tmp_path: Path) -> None:
    """I16, T23: journal, log, report, alerts, status, plan and watchdog of a run whose venue and strategy show them."""
    shown = Shown(tmp_path)
    settings = {"key_id": KEY, "secret_key": SECRET, "start": "subscribed", "speed": 600.0}
    async with running(day(), **settings) as local, hooked(shown) as hook:  # type: ignore[arg-type]  # its options
        local.http.headers.update({"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET})
        write(tmp_path, local.url, watched=True)
        assert await onetape(shown, hook, "run", "run.toml", "--check") == 0
        await arm(local)

        async def is_over(line: bytes) -> bool:
            if b"strategy leaky is halted" not in line:
                return False
            for command in (("status",), ("status", "--json"), ("cancel-all",)):
                await onetape(shown, hook, command[0], "run.toml", *command[1:])
            return True

        code = await onetape(shown, hook, "run", "run.toml", until=is_over)
        fired = await local.fired()
    assert code == StrategyError.exit_code, shown.texts
    await asyncio.to_thread(wait_for_its_end, tmp_path / "out" / FOLDER / watchdog.LOCK)
    assert min(fired[name] for name in ("refusal", "error", "told", "reason")) > 0, fired
    assert {"out/run.journal", "out/log.jsonl", "out/report.html", "out/watchdog.log"} <= {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")
    }
    assert shown.found() == []
    records = list(journal.read(tmp_path / "out" / "run.journal"))
    told = [one.reason for one in records if isinstance(one, OrderUpdate | StrategyHalted)]
    assert any("no such key *** with ***" in reason for reason in told), told
    assert any("because of ***" in reason for reason in told), told
    assert any("the author shows *** and ***" in reason for reason in told), told
    assert any(name.startswith("alert") and b"***" in text for name, text in shown.texts.items())


@pytest.mark.parametrize(("feed", "broker"), [("broken.py:Feed", "alpaca"), ("alpaca", "broken.py:Broker")])
async def test_canary_keys_are_in_no_word_of_a_crash(tmp_path: Path, feed: str, broker: str) -> None:
    """Our own bug, before and after the logs are set up: the traceback is shown, and what it must not show is not.

    Without a watchdog, which would go on looking for a daemon that crashed.
    """
    shown = Shown(tmp_path)
    settings = {"key_id": KEY, "secret_key": SECRET, "start": "subscribed", "speed": 600.0}
    async with running(day(), **settings) as local, hooked(shown) as hook:  # type: ignore[arg-type]  # its options
        write(tmp_path, local.url, feed, broker)
        assert await onetape(shown, hook, "run", "run.toml") == 70
    said = b"".join(text for name, text in shown.texts.items() if name.startswith("words"))
    assert b"a bug of onetape" in said
    assert b"Traceback" in said
    assert b"***" in said
    assert shown.found() == []


def test_keys_hide_themselves_in_a_text_of_bytes() -> None:
    """What a server says of a request may quote its headers."""
    keys = Keys(KEY, SECRET)
    assert keys.hidden(f"{KEY}:{SECRET} and more".encode()) == b"***:*** and more"
    assert keys.hidden(b"nothing of it") == b"nothing of it"
