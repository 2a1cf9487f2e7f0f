"""A broker between scripted peers, with words for orders, answers and updates."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from brokers.alpaca.hosts import Hosts
from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.settings import BrokerSettings
from brokers.alpaca.wire import format_ns
from engine.errors import TradingError
from engine.events import SECOND_NS, Approved, Fill, Intent, Link, OrderUpdate
from tests.brokers.alpaca.peers import ENVIRON, RestPeer, Time, TradePeer, ended, settle, stopped, until

NOW = format_ns(Time().ts_ns)
BY_CLIENT = "/v2/orders:by_client_order_id"
FILLS = "/v2/account/activities/FILL"


def record(client_id: str, status: str = "new", **fields: Any) -> dict[str, Any]:
    """An order as the venue shows it."""
    base = {
        "id": f"venue-{client_id}", "client_order_id": client_id, "symbol": "SPY", "side": "buy", "status": status,
        "type": "market", "order_class": "", "asset_class": "us_equity", "qty": "100", "filled_qty": "0",
        "filled_avg_price": None, "created_at": NOW, "updated_at": NOW, "submitted_at": NOW, "replaces": None,
        "legs": None,
    }  # fmt: skip
    return base | fields


def update(event: str, order: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An event of the order stream."""
    return {"event": event, "execution_id": f"{event}-{order['id']}", "timestamp": NOW, "order": order} | fields


def fill(order: dict[str, Any], qty: int, cum: int, price: str = "100.5", execution_id: str = "") -> dict[str, Any]:
    """An execution of `qty`, after which `cum` have filled."""
    total = Decimal(order["qty"])
    status = "filled" if cum == total else "partially_filled"
    shown = order | {"status": status, "filled_qty": str(cum), "filled_avg_price": price}
    event = "fill" if cum == total else "partial_fill"
    return update(event, shown, qty=str(qty), price=price, execution_id=execution_id or f"x-{order['id']}-{cum}")


def activity(order: dict[str, Any], qty: int, cum: int, price: str = "100.5", uuid: str = "") -> dict[str, Any]:
    """A FILL activity."""
    venue_id = order["id"]
    uuid = uuid or f"x-{venue_id}-{cum}"
    return {
        "id": f"20260105093000000::{uuid}", "activity_type": "FILL", "order_id": venue_id,
        "symbol": order["symbol"], "side": order["side"], "qty": str(qty), "cum_qty": str(cum), "price": price,
        "transaction_time": NOW, "type": "fill",
    }  # fmt: skip


class BrokerRig:
    """A broker, its peers and its time."""

    def __init__(self, broker: AlpacaBroker, rest: RestPeer, trades: TradePeer, time: Time) -> None:
        self.broker, self.rest, self.trades, self.time = broker, rest, trades, time
        self.events: list[Any] = []
        self._tokens = itertools.count(1)
        rest.on("GET", FILLS, (200, []))
        rest.on("GET", "/v2/orders", (200, []))
        self.running = asyncio.create_task(broker.run(self.events.append))

    async def connected(self) -> None:
        await until(lambda: (self.links and self.links[-1]) or self.running.done(), "connected")
        if self.running.done():
            self.running.result()

    @property
    def links(self) -> list[bool]:
        return [event.up for event in self.events if isinstance(event, Link)]

    def submit(self, client_id: str = "o1", **fields: Any) -> Intent:
        """Hand an approved order over; its approval holds for two seconds."""
        base: dict[str, Any] = {"strategy": "s", "symbol": "SPY", "side": "buy", "qty": Decimal(100)}
        intent = Intent(client_order_id=client_id, ts_event_ns=self.time.ts_ns, **base | fields)
        now = self.time.ts_ns
        self.broker.submit(Approved(intent, next(self._tokens), now, now + 2 * SECOND_NS, Decimal(100), "quote"))
        return intent

    def states(self, client_id: str = "o1") -> list[str]:
        """Every status told of an order, in order."""
        told = [event for event in self.events if isinstance(event, OrderUpdate)]
        return [event.status for event in told if event.client_order_id == client_id]

    def reason(self, client_id: str = "o1") -> str:
        found = [e for e in self.events if isinstance(e, OrderUpdate) and e.client_order_id == client_id]
        return found[-1].reason

    def fills(self, client_id: str = "o1") -> list[tuple[str, str, str]]:
        """Execution id, quantity and price of every fill told of an order."""
        told = [event for event in self.events if isinstance(event, Fill) and event.client_order_id == client_id]
        return [(event.execution_id, str(event.qty), str(event.price)) for event in told]

    async def told(self, status: str, client_id: str = "o1") -> None:
        await until(lambda: status in self.states(client_id), f"{client_id} {status}")

    async def passing(self, seconds: float, until_told: str = "", client_id: str = "o1") -> None:
        """Let time pass in small steps, with room for the sockets in between."""
        steps = max(1, round(seconds / 0.5))
        for _ in range(steps):
            if until_told and until_told in self.states(client_id):
                return
            await self.time.pass_s(seconds / steps)
            await settle()

    async def ended(self) -> TradingError:
        return await ended(self.running)


@asynccontextmanager
async def broker_rig(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[BrokerRig]:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    async with RestPeer().running() as rest, TradePeer().running() as trades:
        time = Time()
        settings = BrokerSettings.model_validate({"timeout_s": 0.3} | options)
        broker = AlpacaBroker(settings, mode="paper", seed=7, clock=time, sleep=time.wait)
        broker._rest.url = rest.url
        broker._line.url = trades.url
        broker._hosts = Hosts(rest.url, trades.url, "", "", True)
        rig = BrokerRig(broker, rest, trades, time)
        try:
            yield rig
        finally:
            await stopped(rig.running)
