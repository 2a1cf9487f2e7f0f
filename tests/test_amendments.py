"""Orders that are amended or canceled while others lean on them: what may still fill counts once, and no less.

Each of these was found by a random history (`test_histories.py`).
"""

from __future__ import annotations

from typing import Any

from engine import Bar, Fill, Order, Strategy
from engine.events import Approved, Denied
from engine.events import Fill as FillEvent
from tests.runs import HeldFeed, bar, configuration, replayed, strategy

Prices = tuple[float, float, float, float]
FLAT: Prices = (100.0, 100.2, 99.8, 100.0)


def run(one: type[Strategy], bars: list[tuple[Prices, float]], **over: Any) -> tuple[list[Any], Any]:
    """Replay minute bars of given prices and volumes with a strategy."""
    events = [bar("AAA", minute, prices, volume) for minute, (prices, volume) in enumerate(bars)]
    return replayed(configuration(HeldFeed.hold(events), strategies=[strategy(one)], **over))


class Protected(Strategy):
    """Hold eighteen behind an OCO, make its limit smaller, and try to sell sixteen beside it."""

    def on_start(self) -> None:
        self.bars = 0

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        if self.bars == 1:
            self.buy(bar.symbol, 18)
        elif self.bars == 3:
            self.pair = self.sell(bar.symbol, 18, limit_price=103.0, stop_loss=98.0, order_class="oco")
        elif self.bars == 5:
            self.replace_order(self.pair, qty=2)
        elif self.bars == 7:
            self.sell(bar.symbol, 16, limit_price=102.0)


def test_the_stop_beside_a_smaller_limit_still_promises_all_its_shares() -> None:
    """Two by the limit or eighteen by the stop: nothing is left to sell a second time, and the position never turns."""
    bars = [(FLAT, 1e4)] * 8 + [((97.0, 97.0, 96.0, 97.0), 1e4)] * 2
    records, finished = run(Protected, bars, risk={"profile": "small_account"})
    (denied,) = [record for record in records if isinstance(record, Denied)]
    assert denied.intent.qty == 16
    assert denied.control.startswith(("C26", "C23"))
    fills = [(fill.side, int(fill.qty)) for fill in records if isinstance(fill, FillEvent)]
    assert fills == [("buy", 18), ("sell", 18)]
    assert not finished.core.orders.open


class Impatient(Strategy):
    """Ask, as soon as a bracket's entry has filled, for its target to be canceled."""

    def on_start(self) -> None:
        self.bars = 0
        self.counted: list[int] = []

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        if self.bars == 1:
            self.entry = self.buy(bar.symbol, 5, take_profit=104.0)
        self.counted.append(int(self.portfolio.position(bar.symbol).open_sell_qty))

    def on_fill(self, fill: Fill) -> None:
        for leg in self.entry.legs:
            self.cancel_order(leg)

    def on_order(self, order: Order) -> None:
        self.last = order


def test_an_exit_on_its_way_out_counts_until_it_is_gone() -> None:
    """The cancel takes ninety seconds, in which the target may fill: it is counted, and then it is not."""
    bars = [(FLAT, 1e4)] * 8
    records, finished = run(Impatient, bars, broker={"latency_ms": 90_000.0})
    counted = finished.core.strategies["one"].counted
    assert 5 in counted
    assert counted[-1] == 0
    assert sum(isinstance(record, Approved) for record in records) == 1
    assert finished.core.portfolio.market("AAA").open_sell_qty == 0
