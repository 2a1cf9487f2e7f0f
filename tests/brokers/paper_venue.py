"""A simulated venue with a clock, an account and short words, for the tests of its rules."""

from __future__ import annotations

import itertools
from decimal import Decimal
from functools import cache
from typing import Any

from brokers.paper import PaperBroker
from brokers.simulated.settings import PaperSettings
from engine.clock import Sessions
from engine.events import (
    MINUTE_NS,
    NEVER_NS,
    SECOND_NS,
    Approved,
    Bar,
    CorporateAction,
    Fill,
    Intent,
    OrderUpdate,
    Quote,
    Status,
    Trade,
)  # fmt: skip

DAY = "2019-02-12"  # a Tuesday, New York at UTC-5


@cache
def calendar(name: str) -> Sessions:
    return Sessions(name)


def at(clock: str, date: str = DAY) -> int:
    """Return the instant of a New York wall clock, `hh:mm` or `hh:mm:ss.mmm`, on a winter's day."""
    hours, minutes, seconds = [*clock.split(":"), "0"][:3]
    midnight = calendar("XNYS").on_date(date).open_ns - 9 * 60 * MINUTE_NS - 30 * MINUTE_NS
    return midnight + (int(hours) * 60 + int(minutes)) * MINUTE_NS + round(float(seconds) * 1e9)


class FakeAccount:
    """Positions as filled, and buying power as told."""

    def __init__(self, power: str) -> None:
        self.power = Decimal(power)
        self.positions: dict[str, Decimal] = {}

    def position_qty(self, symbol: str) -> Decimal:
        return self.positions.get(symbol, Decimal(0))

    def buying_power_usd(self) -> Decimal:
        return self.power


class Venue:
    """Drives a `PaperBroker` as the corridor does: time first, then the event."""

    def __init__(
        self, *, calendar_name: str = "XNYS", position: int | str = 0, power: str = "1e9", seed: int = 7,
        models: dict[str, Any] | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        options = PaperSettings(**{"latency_ms": 50, "participation": 1.0, "fees": "zero"} | settings)
        sessions = calendar(calendar_name)
        self.account = FakeAccount(power)
        self.account.positions["SPY"] = Decimal(position)
        self.broker = PaperBroker(options, sessions=sessions, account=self.account, seed=seed, **(models or {}))
        self.now_ns = at("10:00")
        self.answers: list[Fill | OrderUpdate] = []
        self._numbers = itertools.count(1)

    def wait_until(self, ts_ns: int) -> list[Fill | OrderUpdate]:
        """Let time pass."""
        out: list[Fill | OrderUpdate] = []
        while self.broker.due_ns <= ts_ns:
            out += self._take(self.broker.advance(self.broker.due_ns))
        self.now_ns = max(self.now_ns, ts_ns)
        return out

    def see(self, event: Bar | Quote | Trade) -> list[Fill | OrderUpdate]:
        """Deliver a market event."""
        out = self.wait_until(event.ts_recv_ns)
        if event.symbol in self.broker.working:
            out += self._take(self.broker.match(event))
        return out

    def notice(self, event: Status | CorporateAction) -> list[Fill | OrderUpdate]:
        return self.wait_until(event.ts_recv_ns) + self._take(self.broker.notice(event))

    def bar(
        self, end: str | int, *prices: float, volume: float = 1e6, symbol: str = "SPY", minutes: float = 1,
        late_s: float = 0,
    ) -> list[Fill | OrderUpdate]:  # fmt: skip
        """Deliver a bar that ends then: one price for all, or open, high, low and close."""
        end_ns = at(end) if isinstance(end, str) else end
        o, h, low, c = prices * 4 if len(prices) == 1 else prices
        return self.see(
            Bar(symbol, end_ns, end_ns + round(late_s * SECOND_NS), o, h, low, c, volume, round(minutes * MINUTE_NS))
        )

    def quote(
        self, clock: str, bid: float, ask: float, *, size: float = 1e6, symbol: str = "SPY"
    ) -> list[Fill | OrderUpdate]:
        """Deliver a quote with the same size on both sides."""
        return self.see(Quote(symbol, at(clock), at(clock), bid, size, ask, size))

    def trade(self, clock: str, price: float, *, size: float = 1e6, symbol: str = "SPY") -> list[Fill | OrderUpdate]:
        """Deliver a print."""
        return self.see(Trade(symbol, at(clock), at(clock), price, size))

    def order(
        self, side: str = "buy", qty: int | str | None = 100, *, clock: str | None = None, reference: str = "bar",
        price: str = "100", symbol: str = "SPY", order_id: str | None = None, **fields: Any,
    ) -> str:  # fmt: skip
        """Send an order now, or at a clock, and return its id. Prices are given as strings or numbers."""
        ts_ns = self.now_ns if clock is None else at(clock)
        order_id = order_id or f"t-{next(self._numbers)}"
        money = ("notional_usd", "limit_price", "stop_price", "trail_price", "trail_percent", "take_profit_limit_price",
                 "stop_loss_stop_price", "stop_loss_limit_price")  # fmt: skip
        fields = {k: Decimal(str(v)) if k in money else v for k, v in fields.items()}
        intent = Intent(order_id, "s", symbol, side, None if qty is None else Decimal(str(qty)), ts_ns, **fields)
        self.broker.submit(Approved(intent, 1, ts_ns, NEVER_NS, Decimal(price), reference))
        return order_id

    def cancel(self, order_id: str) -> None:
        self.broker.cancel(order_id, self.now_ns)

    def fills(self, order_id: str | None = None) -> list[tuple[str, str]]:
        """Return quantity and price of every fill so far, as text."""
        return [
            (f"{fill.qty.normalize():f}", f"{fill.price.normalize():f}")
            for fill in self.answers
            if isinstance(fill, Fill) and order_id in (None, fill.client_order_id)
        ]

    def states(self, order_id: str) -> list[str]:
        """Return what the venue has said of an order, fills included."""
        return [
            "fill" if isinstance(answer, Fill) else answer.status
            for answer in self.answers
            if answer.client_order_id == order_id
        ]

    def reason(self, order_id: str) -> str:
        """Return the last reason given for an order."""
        return [a.reason for a in self.answers if isinstance(a, OrderUpdate) and a.client_order_id == order_id][-1]

    def _take(self, answers: Any) -> list[Fill | OrderUpdate]:
        for answer in answers:
            assert answer.ts_recv_ns == answer.ts_event_ns
            if isinstance(answer, Fill):
                signed = answer.qty if answer.side == "buy" else -answer.qty
                self.account.positions[answer.symbol] = self.account.position_qty(answer.symbol) + signed
        self.answers += answers
        return list(answers)
