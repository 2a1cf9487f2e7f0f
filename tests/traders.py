"""Strategies for the end-to-end proofs. They also load by their file, `path/to/traders.py:Everything`."""

from __future__ import annotations

import os
from typing import Any

from engine import Bar, Fill, News, Order, Quote, Signal, Strategy, Timer, Trade

ABSURD: tuple[dict[str, Any], ...] = (
    {"qty": float("nan")}, {"qty": float("inf")}, {"qty": -5}, {"qty": 0}, {}, {"qty": 1, "type": "iceberg"},
    {"qty": 1, "limit_price": 99.999}, {"qty": 1, "limit_price": -1}, {"qty": 1, "time_in_force": "later"},
    {"qty": 1, "order_class": "bracket"}, {"qty": "1e-12"}, {"qty": 1, "notional": 100}, {"qty": 10**15},
    {"qty": 1, "trail_percent": 1, "limit_price": 100}, {"qty": 1, "stop_loss_limit": 3},
)  # fmt: skip
TIMES = ("day", "day", "gtc", "ioc", "fok", "opg", "cls")


class Everything(Strategy):
    """Ask for whatever an author may ask for, wise or absurd, as its dice say.

    `dice` is a hexadecimal text that is read around and around, so that the same one always asks for the same.
    """

    dice: str = "00"
    busy: int = 96
    most: int = 40
    foreign: str = "NOTMINE"

    def on_start(self) -> None:
        self.at = 0
        self.faces = bytes.fromhex(self.dice) or b"\0"
        self.mine: list[Order] = []
        self.set_timer("tick", every_s=600)
        self.set_timer("close", before_close_s=900)

    def on_bar(self, bar: Bar) -> None:
        self.think(bar.symbol, bar.close)

    def on_quote(self, quote: Quote) -> None:
        self.think(quote.symbol, (quote.bid_price + quote.ask_price) / 2)

    def on_trade(self, trade: Trade) -> None:
        self.think(trade.symbol, trade.price)

    def on_news(self, news: News) -> None:
        for symbol in news.symbols:
            if symbol in self.symbols:
                self.order_target_percent(symbol, self.roll(20) / 100)

    def on_fill(self, fill: Fill) -> None:
        self.think(fill.symbol, float(fill.price))

    def on_order(self, order: Order) -> None:
        if order.status == "denied" and self.roll(16) == 1:  # an author who does not take no for an answer
            self.keep(self.buy(order.symbol, 1 + self.roll(3)))

    def on_timer(self, timer: Timer) -> None:
        if timer.name == "close":
            for symbol in self.portfolio.positions:
                self.close_position(symbol)

    def roll(self, sides: int) -> int:
        """Return the next number from 0 to `sides` - 1."""
        face = self.faces[self.at % len(self.faces)]
        self.at += 1
        return face % sides

    def keep(self, *orders: Order | None) -> None:
        self.mine = [order for order in (*self.mine, *orders) if order is not None and order.is_open]

    def think(self, symbol: str, price: float) -> None:
        """Perhaps ask for something."""
        if self.roll(256) < self.busy and price > 0:
            ways = self.simple, self.grouped, self.changed, self.aimed, self.simple, self.changed, self.odd, self.simple
            ways[self.roll(8)](symbol, price)

    def near(self, price: float, off: int) -> float:
        """Return a price that lies `off` thousandths away, on the tick."""
        return max(0.01, round(price * (1 + off / 1000), 2))

    def simple(self, symbol: str, price: float) -> None:
        side = "buy" if self.roll(2) == 0 else "sell"
        kind, qty, off = self.roll(6), 1 + self.roll(self.most), self.roll(41) - 20
        fields: dict[str, Any] = (
            {}, {"limit_price": self.near(price, off)}, {"stop_price": self.near(price, off)},
            {"stop_price": self.near(price, off), "limit_price": self.near(price, off + self.roll(5) - 2)},
            {"trail_percent": 1 + abs(off) / 4}, {"trail_price": round(0.01 + abs(off) / 10, 2)},
        )[kind]  # fmt: skip
        fields["time_in_force"] = TIMES[self.roll(len(TIMES))]
        if self.roll(8) == 1:
            fields["extended_hours"] = True
        self.keep(self.submit_order(symbol, side, qty, **fields))  # type: ignore[arg-type]  # drawn

    def grouped(self, symbol: str, price: float) -> None:
        kind, qty, wide = self.roll(5), 1 + self.roll(self.most), 2 + self.roll(10)
        held = self.portfolio.position(symbol).qty
        if kind == 4 and held:
            side, qty, sign = ("sell", held, 1) if held > 0 else ("buy", -held, -1)
            self.keep(
                self.submit_order(
                    symbol, side, qty, limit_price=self.near(price, sign * wide), order_class="oco",  # type: ignore[arg-type]
                    stop_loss=self.near(price, -sign * wide), time_in_force="gtc",
                )
            )  # fmt: skip
            return
        side, sign = ("buy", 1) if self.roll(3) else ("sell", -1)
        exits: dict[str, Any] = {}
        if kind != 1:
            exits["take_profit"] = self.near(price, sign * wide)
        if kind != 2:
            exits["stop_loss"] = self.near(price, -sign * wide)
        if kind == 3:
            exits["stop_loss_limit"] = self.near(price, -sign * (wide + 2))
        if self.roll(2):
            exits["limit_price"] = self.near(price, -sign)
        self.keep(self.submit_order(symbol, side, qty, **exits))  # type: ignore[arg-type]

    def changed(self, symbol: str, price: float) -> None:
        self.keep()
        kind = self.roll(6)
        if kind == 5:
            self.cancel_all_orders(symbol if self.roll(2) else None)
        elif self.mine:
            order = self.mine[self.roll(len(self.mine))]
            target = (order, *order.legs)[self.roll(1 + len(order.legs))]
            if kind == 4 or target.intent.limit_price is None:
                self.cancel_order(target)
            else:
                qty = 1 + self.roll(self.most) if kind % 2 else None
                self.keep(self.replace_order(target, qty=qty, limit_price=self.near(price, self.roll(21) - 10)))

    def aimed(self, symbol: str, price: float) -> None:
        kind = self.roll(4)
        if kind == 0:
            self.keep(self.order_target(symbol, self.roll(2 * self.most) - self.most // 2))
        elif kind == 1:
            self.keep(self.order_target_percent(symbol, (self.roll(41) - 10) / 100, fractional=self.roll(2) == 1))
        else:
            self.keep(self.close_position(symbol))

    def odd(self, symbol: str, price: float) -> None:
        kind, side = self.roll(4), "buy" if self.roll(2) == 0 else "sell"
        if kind == 0:
            self.keep(self.submit_order(symbol, side, notional=1 + 37 * self.roll(60)))  # type: ignore[arg-type]
        elif kind == 1:
            self.keep(self.submit_order(symbol, side, self.roll(500) / 32))  # type: ignore[arg-type]
        elif kind == 2:
            self.submit_order(symbol, side, **ABSURD[self.roll(len(ABSURD))])  # type: ignore[arg-type]
        else:
            self.submit_order(self.foreign, side, 1)  # type: ignore[arg-type]


class Script(Strategy):
    """Do what a test wrote down: at which bar of which symbol (from 1), which call with which fields."""

    script: dict = {}  # noqa: RUF012  # a parameter, set by the configuration  # type: ignore[type-arg]

    def on_start(self) -> None:
        self.seen: dict[str, int] = {}

    def on_bar(self, bar: Bar) -> None:
        count = self.seen[bar.symbol] = self.seen.get(bar.symbol, 0) + 1
        for call, fields in self.script.get(bar.symbol, {}).get(str(count), ()):
            getattr(self, call)(bar.symbol, **fields)


class Faulty(Everything):
    """Trade like `Everything`, and stop at one event: by an exception, or quietly, for comparison."""

    callback: str = "on_bar"
    count: int = 10
    raises: bool = True

    def on_start(self) -> None:
        super().on_start()
        self.calls = 0
        self.stopped = False
        self.meet("on_start")

    def meet(self, callback: str) -> bool:
        """Tell whether to go on."""
        self.calls += callback == self.callback
        if not self.stopped and callback == self.callback and self.calls >= self.count:
            self.stopped = True
            if self.raises:
                raise ZeroDivisionError(f"in {callback}")
            for order in self.open_orders():
                if not self._core.risk.reduces(order):
                    self.cancel_order(order)
        return not self.stopped

    def on_bar(self, bar: Bar) -> None:
        if self.meet("on_bar"):
            super().on_bar(bar)

    def on_quote(self, quote: Quote) -> None:
        if self.meet("on_quote"):
            super().on_quote(quote)

    def on_trade(self, trade: Trade) -> None:
        if self.meet("on_trade"):
            super().on_trade(trade)

    def on_news(self, news: News) -> None:
        if self.meet("on_news"):
            super().on_news(news)

    def on_fill(self, fill: Fill) -> None:
        if self.meet("on_fill"):
            super().on_fill(fill)

    def on_order(self, order: Order) -> None:
        if self.meet("on_order"):
            super().on_order(order)

    def on_timer(self, timer: Timer) -> None:
        if self.meet("on_timer"):
            super().on_timer(timer)


class Ticking(Everything):
    """Trade like `Everything`, and write a dot to the standard error at every bar, for whoever waits to kill it."""

    def on_bar(self, bar: Bar) -> None:
        os.write(2, b".")
        super().on_bar(bar)


class Told(Strategy):
    """Do what a headline says: `buy 10`, `buy 10 limit 30`, or `rest 50`, so many small bids far below the market."""

    def on_news(self, news: News) -> None:
        word, number, *limit = news.headline.split()
        symbol = news.symbols[0]
        if word == "rest":
            for place in range(int(number)):
                self.buy(symbol, 1, limit_price=1 + place / 100)
        elif word in ("buy", "sell"):
            self.submit_order(symbol, word, int(number), limit_price=float(limit[1]) if limit else None)


class Follower(Strategy):
    """Holds ten where the score has risen, none where it has fallen."""

    def on_start(self) -> None:
        self.before: dict[str, float] = {}

    def on_signal(self, signal: Signal) -> None:
        self.order_target(signal.symbol, 10 if signal.score > self.before.get(signal.symbol, 0.0) else 0)
        self.before[signal.symbol] = signal.score
