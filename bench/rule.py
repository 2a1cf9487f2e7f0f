"""The one decision rule that every side runs: hold 100 shares while the mean of 10 closes is above that of 30."""

from __future__ import annotations

from collections import deque

import msgspec

from bench.bars import Columns, symbols
from engine import Bar, Strategy

QTY = 100


class Cross:
    """The rule for one symbol."""

    __slots__ = ("fast", "fast_sum", "held", "slow", "slow_sum")

    def __init__(self) -> None:
        self.fast: deque[float] = deque(maxlen=10)
        self.slow: deque[float] = deque(maxlen=30)
        self.fast_sum = self.slow_sum = 0.0
        self.held = 0

    def update(self, close: float) -> int:
        """Return 1 to buy, -1 to sell, 0 to do nothing."""
        fast, slow = self.fast, self.slow
        if len(fast) == 10:
            self.fast_sum -= fast[0]
        fast.append(close)
        self.fast_sum += close
        if len(slow) == 30:
            self.slow_sum -= slow[0]
        slow.append(close)
        self.slow_sum += close
        if len(slow) < 30:
            return 0
        want = 1 if self.fast_sum / 10 > self.slow_sum / 30 else 0
        if want == self.held:
            return 0
        self.held = want
        return 1 if want else -1


class BenchCross(Strategy):
    """The rule on our side; `trades = false` decides the same and asks for nothing."""

    trades: bool = True

    def on_start(self) -> None:
        self.rules = {symbol: Cross() for symbol in self.symbols}
        self.decided = 0

    def on_bar(self, bar: Bar) -> None:
        side = self.rules[bar.symbol].update(bar.close)
        if side:
            self.decided += 1
            if self.trades:
                (self.buy if side > 0 else self.sell)(bar.symbol, QTY)


class _Bar(msgspec.Struct, frozen=True, gc=False):
    symbol: str
    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def bare_loop(data: Columns) -> tuple[int, int]:
    """Run the rule over bars with no engine at all, the floor of every ratio; return (bars, decisions)."""
    import numpy as np

    prices = [data[name] for name in "ohlcv"]
    n_bars, n_symbols = prices[0].shape
    names = symbols(n_symbols)
    rules = {name: Cross() for name in names}
    bars = decisions = 0
    step = max(1, 4096 // n_symbols)
    for first in range(0, n_bars, step):
        last = min(n_bars, first + step)
        ts = np.repeat(data["ts"][first:last], n_symbols).tolist()
        rows = (column[first:last].ravel().tolist() for column in prices)
        for bar in map(_Bar, names * (last - first), ts, *rows):
            bars += 1
            if rules[bar.symbol].update(bar.close):
                decisions += 1
    return bars, decisions
