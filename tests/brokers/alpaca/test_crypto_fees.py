"""R07: what a coin costs to buy is taken out of the coins bought, and no execution says so."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from engine.report import Result
from tests.brokers.alpaca.daemon_rig import daemon
from tests.brokers.alpaca.invariants import survives_a_restart


async def test_a_fee_in_coins_is_booked_and_trading_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """R07: 1 is bought and 0.9975 is held: the books follow the account, nothing freezes, and all of it can be sold."""
    coins = {"coins": True}
    async with daemon(monkeypatch, tmp_path, None, coins, symbol="BTC/USD", crypto_fees="in_kind") as day:
        await day.ready()
        while day.minute < 57 and day.core.portfolio.position_qty("BTC/USD") in (0, 1):
            await day.minutes(1)
        there = day.local.venue.ledger.position_qty("BTC/USD")
        assert Decimal("0.99") < there < 1
        assert day.core.portfolio.position_qty("BTC/USD") == there
        await day.minutes(62 - day.minute)
        await day.settled()
        assert day.differences() == []
        assert [order.status for order in day.core.orders.orders.values()] == ["filled", "filled"]
        assert day.core.portfolio.position_qty("BTC/USD") == 0
        assert day.core.risk.state == "active"
        assert await survives_a_restart(day) == []
        (trip,) = Result.from_journal(day.path).trades.to_dict("records")
        assert trip["qty"] == pytest.approx(0.9975)
        assert trip["pnl_usd"] == pytest.approx(0.9975 * 99.99 - 100.01)
