"""A live feed and a live broker without a wire: they say what a test tells them to, when its turn comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import BaseModel

from engine.events import MINUTE_NS, NEVER_NS, Approved, Bar, Fill, MarketEvent, OrderUpdate
from engine.ports import AccountState, Asset, OpenOrder, Publish

START_NS = 1_741_021_200 * 10**9


def bar(minute: int, close: float, symbol: str = "SPY") -> Bar:
    ts_ns = START_NS + minute * MINUTE_NS
    return Bar(symbol, ts_ns, ts_ns, close, close + 1, close - 1, close, 1e6, MINUTE_NS, source="fake")


class FakeFeed:
    """Publishes `script`, one event a turn of the loop, then waits for ever; `gate` is called before each."""

    class Settings(BaseModel):
        symbols: tuple[str, ...] = ("SPY",)

    script: ClassVar[list[Any]] = []
    symbols: ClassVar[list[str]] = ["SPY"]
    span_ns: ClassVar[tuple[int, int]] = (0, 0)
    fingerprint: ClassVar[str] = ""

    def __init__(self, settings: Settings, **_: Any) -> None:
        self.settings = settings

    def know(self, events: Sequence[MarketEvent]) -> None:
        """What came before the restart is of no use to a script."""

    def want(self, interval_ns: int, count: int) -> None:
        """A script is all that there is."""

    async def run(self, publish: Publish) -> None:
        for event in self.script:
            publish(event)
            for _ in range(4):
                await asyncio.sleep(0)
        await asyncio.Event().wait()


class FakeBroker:
    """A venue that fills every market order at once at 100, unless told otherwise by its class attributes.

    `deaf` orders are taken on and filled at the venue but never answered; `silent` drops the fill from the stream.
    """

    class Settings(BaseModel):
        pass

    simulated = False
    due_ns, working = NEVER_NS, ()
    cash: ClassVar[Decimal] = Decimal(10_000)
    status: ClassVar[str] = "ACTIVE"
    foreign: ClassVar[dict[str, Decimal]] = {}
    silent: ClassVar[bool] = False
    listed: ClassVar[dict[str, Asset]] = {}
    book: ClassVar[dict[str, Any]] = {}

    @classmethod
    def reset(cls, **told: Any) -> None:
        """Forget the account; `told` sets the attributes of this test."""
        cls.cash, cls.status, cls.foreign, cls.silent = Decimal(10_000), "ACTIVE", {}, False
        cls.listed = {"SPY": Asset(tradable=True, fractionable=True, shortable=True)}
        cls.book = {"fills": [], "open": {}, "sent": [], "canceled": [], "asked": []}
        for name, value in told.items():
            setattr(cls, name, value)

    def __init__(self, settings: Settings, **_: Any) -> None:
        self._wire: asyncio.Queue[Approved | str] = asyncio.Queue()

    def submit(self, approved: Approved) -> None:
        self._wire.put_nowait(approved)

    def cancel(self, client_order_id: str, ts_ns: int) -> None:
        self._wire.put_nowait(client_order_id)

    def know(self, fills: Any) -> None:
        self.book["known"] = [fill.execution_id for fill in fills]

    async def open(self) -> AccountState:
        return await self.state(0)

    async def assets(self, symbols: Any) -> dict[str, Asset]:
        return {symbol: self.listed[symbol] for symbol in symbols if symbol in self.listed}

    async def state(self, since_ns: int) -> AccountState:
        positions = dict(self.foreign)
        cash = self.cash
        for fill in self.book["fills"]:
            signed = fill.qty if fill.side == "buy" else -fill.qty
            positions[fill.symbol] = positions.get(fill.symbol, Decimal(0)) + signed
            cash -= signed * fill.price
        self.book["clock"] = self.book.get("clock", START_NS) + 10**9
        return AccountState(
            "PA1", self.status, self.book["clock"], cash, cash, cash, 1,
            {symbol: qty for symbol, qty in positions.items() if qty}, dict.fromkeys(positions, Decimal(100)),
            tuple(self.book["open"].values()), tuple(self.book["fills"]),
        )  # fmt: skip

    def resolve(self, client_order_ids: Any) -> None:
        self.book["asked"] += list(client_order_ids)

    async def run(self, publish: Publish) -> None:
        while True:
            message = await self._wire.get()
            if isinstance(message, str):
                self.book["canceled"].append(message)
                self.book["open"].pop(message, None)
                publish(OrderUpdate(message, "canceled", START_NS, START_NS))
                continue
            self.take(message, publish)

    def take(self, approved: Approved, publish: Publish) -> None:
        intent, ts_ns = approved.intent, approved.ts_event_ns
        self.book["sent"].append(intent.client_order_id)
        fill = Fill(
            f"x-{intent.client_order_id}", intent.client_order_id, intent.symbol, intent.side, intent.qty,
            Decimal(100), Decimal(0), ts_ns, ts_ns,
        )  # fmt: skip
        if intent.type != "market":
            self.book["open"][intent.client_order_id] = OpenOrder(
                intent.client_order_id, "b", intent.symbol, intent.side, intent.qty, Decimal(0), "accepted"
            )
            publish(OrderUpdate(intent.client_order_id, "accepted", ts_ns, ts_ns))
            return
        self.book["fills"].append(fill)
        publish(OrderUpdate(intent.client_order_id, "accepted", ts_ns, ts_ns))
        if not self.silent:
            publish(fill)

    async def cancel_all(self) -> None:
        self.book["open"].clear()

    async def close(self) -> None:
        self.book["closed"] = True
