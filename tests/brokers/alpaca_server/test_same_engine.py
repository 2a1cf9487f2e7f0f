"""The venue is the paper broker behind sockets: the same orders on the same tape give the same executions."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from brokers.alpaca_server.app import Server
from brokers.alpaca_server.ledger import Ledger
from brokers.alpaca_server.refusals import Refusal
from brokers.alpaca_server.settings import MatchingSettings, ServerSettings
from brokers.paper import PaperBroker
from brokers.synthetic import SyntheticFeed
from engine.clock import Sessions
from engine.events import NEVER_NS, Approved, Bar, Fill, Intent, Quote, Trade

EVENTS, ORDERS_EVERY = 1500, 7
ALLOWED = {"wash_trade_guard": False, "speed": 0.0, "time": "tape", "port": 0}


def orders(seed: int, mids: list[float]) -> list[dict[str, Any] | None]:
    """Return an order, or none, for each event of the tape."""
    random = Random(seed)
    made: list[dict[str, Any] | None] = []
    for mid in mids:
        if not mid or random.randrange(ORDERS_EVERY):
            made.append(None)
            continue
        near = f"{mid * (1 + random.uniform(-0.004, 0.004)):.2f}"
        body: dict[str, Any] = {
            "symbol": "ALFA", "side": random.choice(["buy", "sell"]), "qty": str(random.randrange(1, 900)),
            "time_in_force": random.choice(["day", "gtc", "ioc"]), "type": random.choice(["market", "limit", "stop"]),
        }  # fmt: skip
        if body["type"] != "market":
            body["limit_price" if body["type"] == "limit" else "stop_price"] = near
        made.append(body)
    return made


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_same_orders_give_the_same_executions(seed: int) -> None:
    """Quantity, price and instant of every fill, and the cash, to the last digit."""
    feed = SyntheticFeed(SyntheticFeed.Settings(symbols=("ALFA",), quotes_per_minute=12))
    events = [event for batch in feed.batches() for event in batch][:EVENTS]
    mids, mid = [], 0.0
    for event in events:
        mid = event.close if isinstance(event, Bar) else mid
        mids.append(mid)
    script = orders(seed, mids)
    venue = Server(ServerSettings(**ALLOWED), feed).venue
    bare = PaperBroker(
        MatchingSettings(), sessions=Sessions("XNYS"), account=(book := Ledger(Decimal(100_000), 2)), seed=0
    )
    fills: list[Fill] = []

    def settle(answers: Any) -> None:
        for answer in answers:
            if isinstance(answer, Fill):
                book.fill(answer)
                fills.append(answer)

    for number, (event, body) in enumerate(zip(events, script, strict=True)):
        venue.take(event)
        now = event.ts_recv_ns
        if now >= bare.due_ns:
            settle(bare.advance(now))
        if isinstance(event, Bar | Quote | Trade):
            if event.symbol in bare.working:
                settle(bare.match(event))
            price = event.close if isinstance(event, Bar) else event.price if isinstance(event, Trade) else 0.0
            price = price or (event.bid_price + event.ask_price) / 2
            book.mark(event.symbol, price)
        elif event.__class__.__name__ == "Status":
            settle(bare.notice(event))
        if body is not None:
            reference = _reference(venue, body, now)
            intent = Intent(
                f"b-{number}", "", "ALFA", body["side"], Decimal(body["qty"]), now, type=body["type"],
                time_in_force=body["time_in_force"], limit_price=_price(body, "limit_price"),
                stop_price=_price(body, "stop_price"),
            )  # fmt: skip
            bare.submit(Approved(intent, 0, now, NEVER_NS, *reference))
            settle(bare.advance(now))
            with suppress(Refusal):  # the bare engine refuses it too, or their executions would differ
                venue.desk.submit(body)
    assert len(fills) > 50
    told = [entry for entry in venue.ledger.entries if entry.kind == "FILL"]
    assert [(one.fields["qty"], one.fields["price"], one.ts_ns) for one in told] == [
        (f"{one.qty:f}", f"{one.price.normalize():f}", one.ts_event_ns) for one in fills
    ]
    assert venue.ledger.cash_usd == book.cash_usd


def _reference(venue: Any, body: dict[str, Any], now_ns: int) -> Any:
    from brokers.alpaca_server.floor import market_price

    intent = Intent("x", "", "ALFA", body["side"], Decimal(1), now_ns)
    return market_price(venue.archive, intent, now_ns, 60_000_000_000)


def _price(body: dict[str, Any], name: str) -> Decimal | None:
    return Decimal(body[name]) if name in body else None
