"""The dead man's way to the account: entries go, protection stays, other programs' orders are none of its business."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from brokers.alpaca.emergency import AlpacaEmergency
from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.settings import BrokerSettings
from engine.clock import to_datetime
from engine.errors import BrokerError
from engine.events import DAY_NS
from tests.brokers.alpaca.peers import ENVIRON, RestPeer, Time, finish
from tests.brokers.alpaca.rig import record

ORDERS = "/v2/orders"


class Account:
    """Open orders and positions that cancels take away from."""

    def __init__(self, peer: RestPeer, *orders: dict[str, Any], **positions: str) -> None:
        self.peer, self.orders = peer, list(orders)
        held = [
            {"symbol": symbol, "qty": qty, "side": "short" if qty[0] == "-" else "long"}
            for symbol, qty in positions.items()
        ]
        peer.on("GET", "/v2/positions", (200, held))
        peer.on("GET", ORDERS, lambda request: (200, self.shown(request.query["status"])))
        for order in orders:
            for one in (order, *(order["legs"] or ())):
                peer.on("DELETE", f"{ORDERS}/{one['id']}", self.cancel(one))

    def shown(self, status: str) -> list[dict[str, Any]]:
        return [one for one in self.orders if status == "all" or one["status"] not in ("filled", "canceled")]

    def cancel(self, order: dict[str, Any]) -> Any:
        def canceled(_request: Any) -> tuple[int, Any]:
            for one in (order, *(order["legs"] or ())):
                one["status"] = "canceled"
            return 204, None

        return canceled

    @property
    def canceled(self) -> list[str]:
        return [m_path.rpartition("/")[2] for method, m_path, *_ in self.peer.requests if method == "DELETE"]


@asynccontextmanager
async def emergency(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[RestPeer, AlpacaEmergency, Time]]:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    async with RestPeer().running() as peer:
        time = Time()
        settings = BrokerSettings(server_url=peer.url)
        made = AlpacaBroker.emergency(settings, mode="paper", name="demo", clock=time, sleep=time.wait)
        try:
            yield peer, made, time
        finally:
            await made.close()


def orders() -> list[dict[str, Any]]:
    """An entry, a bracket not yet filled, an exit, an addition, a short entry, and somebody else's order."""
    legs = [
        record("m1", "held", id="leg-1", type="limit", side="sell"),
        record("m2", "held", id="leg-2", type="stop", side="sell"),
    ]
    return [
        record("demo.9f-a-1", symbol="QQQ"), record("demo.9f-a-2", symbol="IWM", legs=legs),
        record("demo.9f-a-3", side="sell", qty="100"), record("demo.9f-a-4", side="buy"),
        record("demo.9f-a-5", side="sell", qty="101"), record("dashboard-1", symbol="QQQ"),
        record("demo2.9f-a-1", symbol="QQQ"), record("demo-2.9f-a-1", symbol="QQQ"),
        record("demo.9f-a-6", symbol="DIA", side="buy", qty="5"),
    ]  # fmt: skip


async def test_entries_are_canceled_and_what_protects_or_closes_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 SPY are held, 5 DIA are short: a sale of 100 and a purchase of 5 only close; 101 would turn around."""
    async with emergency(monkeypatch) as (peer, made, time):
        account = Account(peer, *orders(), SPY="100", DIA="-5")
        assert await finish(time, made.cancel_entries()) == 4
        assert sorted(account.canceled) == [f"venue-demo.9f-a-{number}" for number in (1, 2, 4, 5)]


async def test_all_means_all_of_the_run_and_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Legs of a filled parent too, though the list of open orders may not have them."""
    async with emergency(monkeypatch) as (peer, made, time):
        legs = [record("m9", id="leg-9", type="limit", side="sell")]
        filled = record("demo.9f-a-9", "filled", legs=legs)
        account = Account(peer, *orders(), filled)
        assert await finish(time, made.cancel_all()) == 6 + 2 + 1
        assert "leg-9" in account.canceled
        assert not [one for one in account.canceled if not one.startswith(("venue-demo.", "leg-"))]


async def test_nothing_waits_for_the_accounts_past_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is listed open is canceled first; then, of the last three months, the legs of filled parents."""
    async with emergency(monkeypatch) as (peer, made, time):
        Account(peer, *orders())
        await finish(time, made.cancel_all())
        asked = [(method, query.get("status"), query.get("after", "")[:10]) for method, _, query, _ in peer.requests]
        past = next(index for index, (_, status, _) in enumerate(asked) if status == "all")
        assert [method for method, *_ in asked[:past]].count("DELETE") == 6 + 2
        assert asked[past][2] == f"{to_datetime(time.now_ns() - 91 * DAY_NS):%Y-%m-%d}"


async def test_an_order_that_stays_keeps_no_other_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel that the venue never carries out, and a leg that only the list of all orders has."""
    async with emergency(monkeypatch) as (peer, made, time):
        legs = [record("m9", id="leg-9", type="limit", side="sell")]
        account = Account(peer, record("demo.9f-a-1"), record("demo.9f-a-9", "filled", legs=legs))
        peer.on("DELETE", f"{ORDERS}/venue-demo.9f-a-1", (204, None))
        with pytest.raises(BrokerError, match="1 orders are still open"):
            await finish(time, made.cancel_all())
        assert "leg-9" in account.canceled


async def test_storms_of_refusals_do_not_keep_orders_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """F73: 429, 504 and broken connections; it asks until the venue shows none of them."""
    async with emergency(monkeypatch) as (peer, made, time):
        account = Account(peer, record("demo.9f-a-1"))
        good = peer.replies["DELETE", f"{ORDERS}/venue-demo.9f-a-1"][0]
        peer.on("DELETE", f"{ORDERS}/venue-demo.9f-a-1", (429, {}), (504, ""), ConnectionError(), good)
        assert await finish(time, made.cancel_entries()) == 1
        assert len(account.canceled) == 4


async def test_an_order_that_stays_is_an_error_to_alert_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty seconds of asking, and it is still there."""
    async with emergency(monkeypatch) as (peer, made, time):
        Account(peer, record("demo.9f-a-1"))
        peer.on("DELETE", f"{ORDERS}/venue-demo.9f-a-1", (204, None))
        with pytest.raises(BrokerError, match="not all orders could be canceled: 1 orders are still open"):
            await finish(time, made.cancel_all())


async def test_it_shows_no_secret_and_knows_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog masks what it is told to."""
    async with emergency(monkeypatch) as (_, made, _time):
        assert set(made.secrets) == set(ENVIRON.values())
        assert "canary" not in repr(vars(made)).lower()
