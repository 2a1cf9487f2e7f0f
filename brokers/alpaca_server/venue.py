"""The venue: the tape moves it, clients ask of it, and it alone changes what it knows.

Everything here runs to completion between two awaits, so no lock is needed: `take` moves the market on by one event,
`pass_time` lets time pass, and the desk answers requests at the instant that the clock then shows.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from brokers.alpaca_server.account import Account
from brokers.alpaca_server.archive import Archive
from brokers.alpaca_server.assets import Assets, asset_class
from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.desk import Desk
from brokers.alpaca_server.faults import Armed, Faults
from brokers.alpaca_server.floor import Floor, Purse
from brokers.alpaca_server.ledger import Ledger
from brokers.alpaca_server.order_book import OrderBook
from brokers.alpaca_server.refusals import Refusal
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.settlement import Settlement
from brokers.alpaca_server.streams import Streams
from brokers.alpaca_server.trade_updates import TradeUpdates
from engine.clock import Sessions
from engine.events import MINUTE_NS, Bar, CorporateAction, MarketEvent, Quote, Status, Trade
from engine.ports import Feed

NAMESPACE = uuid.UUID("b1d3f0aa-6f1e-5c34-9a51-6f6e65746170")
decode_event = msgspec.json.Decoder(MarketEvent).decode


class Venue:
    """Everything that the venue knows, and the two ways in which it moves.

    Args:
        settings: every option.
        feed: says which symbols there are.
        clock: simulated time.
        faults: what to do wrong.
    """

    def __init__(self, settings: ServerSettings, feed: Feed, clock: VenueClock, faults: Faults) -> None:
        self.settings, self.clock, self.faults = settings, clock, faults
        namespace = uuid.uuid5(NAMESPACE, f"{settings.account_number} {settings.seed}")
        paper = settings.paper
        self.archive, self.book = Archive(), OrderBook(namespace)
        self.ledger = Ledger(paper.cash_usd, paper.multiplier)
        self.assets = Assets(feed.symbols, paper, settings.assets, namespace)
        self.sessions = Sessions(settings.calendar)
        self.account = Account(settings, self.ledger, self.book, self.assets, clock)
        self.streams = Streams(settings, clock, self.archive, faults)
        self.updates = TradeUpdates(settings, clock, faults)
        self._untold: list[dict[str, Any]] = []
        self.settlement = Settlement(settings, clock, self.book, self.ledger, faults, self._tell)
        crypto = paper.model_copy(update={} if settings.crypto_fees == "none" else {"fees": "alpaca"})
        rest = settings.seed, settings.cls_cutoff_min * MINUTE_NS
        self.floors = {
            "us_equity": Floor(paper, self.sessions, Purse(self.ledger, self.book, "crypto"), *rest),
            "crypto": Floor(crypto, Sessions("24/7"), Purse(self.ledger, self.book, "us_equity"), *rest),
        }
        self.desk = Desk(
            settings, clock=clock, book=self.book, ledger=self.ledger, account=self.account, assets=self.assets,
            archive=self.archive, settlement=self.settlement, faults=faults, floors=self.floors, later=self._later,
        )  # fmt: skip
        self._session = self.sessions.at(clock.now_ns())
        self._sample_ns = 0

    # --- the market ------------------------------------------------------------------------------------------------

    def take(self, event: MarketEvent) -> None:
        """Move the market on by one event: time, then open orders, then prices, then those who listen."""
        now = event.ts_recv_ns
        self.clock.reach(now)
        self.pass_time(now)
        self.remember(event)
        if isinstance(event, Bar | Quote | Trade):
            self._match(event)
        elif isinstance(event, Status | CorporateAction):
            self.settlement.apply(self.floors[asset_class(event.symbol)].engine.notice(event))
        self.streams.take(event)

    def remember(self, event: MarketEvent) -> None:
        """Take an event into the past, without trading on it or telling of it."""
        self.archive.add(event)
        if isinstance(event, Bar):
            self.ledger.mark(event.symbol, event.close)
        elif isinstance(event, Trade):
            self.ledger.mark(event.symbol, event.price)
        elif isinstance(event, Quote) and 0 < event.bid_price <= event.ask_price:
            self.ledger.mark(event.symbol, (event.bid_price + event.ask_price) / 2)
        elif isinstance(event, CorporateAction):
            self.ledger.act(event)
            if event.new_symbol:
                self.assets.add(event.new_symbol)

    def _match(self, event: Bar | Quote | Trade) -> None:
        engine = self.floors[asset_class(event.symbol)].engine
        working = engine.working.get(event.symbol)
        if working is None:
            return
        if "market" in self.faults.armed:
            orders = [self.settlement.by_engine_id[one.id] for one in working if one.id in self.settlement.by_engine_id]
            armed = self.faults.hit(
                "market", symbol=event.symbol, partial=any(one.filled_qty and one.is_open for one in orders),
                time_in_force=next((one.intent.time_in_force for one in orders), ""),
            )  # fmt: skip
            if armed is not None and armed.kind == "market_stall":
                return
            if armed is not None:
                event = _thin(event, armed.params["qty"], self.settings.paper.participation)
        self.settlement.apply(engine.match(event))
        for order in engine.working.get(event.symbol, ()):
            if order.type == "trailing_stop" and order.mark == order.mark and order.id in self.settlement.by_engine_id:
                self.settlement.by_engine_id[order.id].price_mark = order.mark

    def pass_time(self, now_ns: int) -> None:
        """Let happen what is due without an event: expiries, hours, the end of a day, faults of the moment."""
        for floor in self.floors.values():
            if now_ns >= floor.engine.due_ns:
                self.settlement.apply(floor.engine.advance(now_ns))
        self.settlement.activate(now_ns)
        if now_ns >= self._session.extended_close_ns:
            self.ledger.close_day()
            self._session = self.sessions.at(now_ns)
        if now_ns >= self._sample_ns:
            self.ledger.sample(now_ns - now_ns % MINUTE_NS)
            self._sample_ns = now_ns - now_ns % MINUTE_NS + MINUTE_NS
        if "moment" in self.faults.armed:
            armed = self.faults.hit("moment")
            if armed is not None:
                self._misbehave(armed, now_ns)

    def due_ns(self) -> int:
        """Return when `pass_time` has something to do next."""
        return min(floor.engine.due_ns for floor in self.floors.values())

    # --- those who listen ------------------------------------------------------------------------------------------

    def _tell(self, update: dict[str, Any]) -> None:
        """Keep an order event until the reply that is being written has left."""
        if not self._untold:
            with suppress(RuntimeError):  # without a loop, whoever drives the venue by hand tells by hand
                asyncio.get_running_loop().call_soon(self.tell_now)
        self._untold.append(update)

    def tell_now(self) -> None:
        """Send the order events that wait."""
        untold, self._untold = self._untold, []
        self.updates.publish(untold)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, call)

    # --- faults of the moment --------------------------------------------------------------------------------------

    def _misbehave(self, armed: Armed, now_ns: int) -> None:
        params, kind = armed.params, armed.kind
        if kind == "event":
            self.take(made_event(params["event"], now_ns + 1))
            self.streams.flush()
        elif kind == "foreign_order":
            try:
                self.foreign_order(params)
            except Refusal:
                armed.fired -= 1  # it could not be done, so it has not happened
        elif kind == "account":
            self.account.overrides |= params["set"]
        elif kind == "asset":
            self.assets.add(params["symbol"]).update(params["set"])
        elif kind == "ids_reused":
            self.book.reuse_ids()
            self.end_sessions(1012)
        elif kind == "sessions_end":
            self.end_sessions(params.get("code", 1001))

    def foreign_order(self, params: Mapping[str, Any]) -> None:
        """Enter an order that did not come through the API."""
        self.desk.submit({"type": "market", "time_in_force": "day", **params}, foreign=True)

    def end_sessions(self, code: int = 1001) -> None:
        """End every session of every stream."""
        self.streams.end(code)
        self.updates.end(code)


def made_event(fields: Mapping[str, Any], now_ns: int) -> MarketEvent:
    """Return a market event from its journal form; instants that are missing are now.

    Raises:
        ValueError: it is none.
    """
    try:
        event: MarketEvent = decode_event(msgspec.json.encode({"ts_event_ns": now_ns, "ts_recv_ns": now_ns, **fields}))
    except msgspec.DecodeError as error:
        raise ValueError(f"no market event: {error}") from None
    return event


def _thin(event: Bar | Quote | Trade, qty: float, participation: float) -> Bar | Quote | Trade:
    """Return an event that offers `qty` to our orders."""
    if isinstance(event, Quote):
        return msgspec.structs.replace(event, bid_size=float(qty), ask_size=float(qty))
    if isinstance(event, Trade):
        return msgspec.structs.replace(event, size=qty / participation)
    return msgspec.structs.replace(event, volume=qty / participation)
