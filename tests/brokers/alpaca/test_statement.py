"""C39 with the real adapter: the session ends at the local venue, and its statement is asked for and agrees."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from engine import daemon, journal
from engine.events import AccountStatement, AccountTerms, Fill, TradingStateChanged
from tests.brokers.alpaca_server.local import KEY, SECRET, day, quote, running

ONETAPE = Path(sys.executable).with_name("onetape")
STRATEGY = """
from engine import Strategy

class Trader(Strategy):
    def on_start(self):
        self.bars = 0

    def on_bar(self, bar):
        self.bars += 1
        if self.bars == 1:
            self.buy(bar.symbol, 10)
        if self.bars == 12:
            self.sell(bar.symbol, 4)
"""
RUN = """\
mode = "paper"
name = "statement"
seed = 1
out_dir = "out"
[feed]
use = "alpaca"
symbols = ["AAPL"]
quotes = true
server_url = "{url}"
[broker]
use = "alpaca"
server_url = "{url}"
[[strategies]]
name = "trader"
use = "trader.py:Trader"
symbols = ["AAPL"]
[risk]
profile = "wide"
"""


async def test_a_session_at_the_venue_ends_in_a_statement_that_agrees(tmp_path: Path) -> None:
    """Executions, positions and cash, fees included, as the venue has them; the run done over finds the same."""
    (tmp_path / "trader.py").write_text(STRATEGY)
    events = [*day(), quote("20:00:30"), quote("20:09")]
    settings = {"start": "subscribed", "speed": 6000.0}
    async with running(events, **settings) as local:  # type: ignore[arg-type]  # its options
        (tmp_path / "run.toml").write_text(RUN.format(url=local.url))
        process = await asyncio.create_subprocess_exec(
            str(ONETAPE), "run", "run.toml", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET},
        )  # fmt: skip
        assert process.stdout is not None
        said = b""
        try:
            async with asyncio.timeout(40):
                async for line in process.stdout:
                    said += line
                    if b"the session agrees with the broker" in line or b"halted" in line:
                        process.send_signal(signal.SIGTERM)
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        booked = local.venue.ledger.cash_usd
    records = list(journal.read(tmp_path / "out" / daemon.RUN_JOURNAL))
    stated = [record for record in records if isinstance(record, AccountStatement)]
    assert len(stated) == 1, said.decode()
    fills = [record.execution_id for record in records if isinstance(record, Fill)]
    assert fills
    assert set(stated[0].executions) == set(fills)
    assert stated[0].cash_usd == booked
    assert [record for record in records if isinstance(record, TradingStateChanged) and record.state == "halted"] == []
    assert [(record.multiplier, record.day_trades) for record in records if isinstance(record, AccountTerms)] != []
    assert daemon.verify(tmp_path / "out" / daemon.RUN_JOURNAL)[0] == len(records)
