"""The rules that our side runs in front of the local venue."""

from __future__ import annotations

from engine import Bar, RollingMean, Strategy, Trade


class BuyEachPrint(Strategy):
    """Buy one share on every print: the shortest way from a tick to an order."""

    def on_trade(self, trade: Trade) -> None:
        self.buy(trade.symbol, 1)


class BuyJumps(Strategy):
    """A rule for each symbol: buy one share where the close lies above the mean of the last two."""

    def on_start(self) -> None:
        self.means = {symbol: RollingMean(2) for symbol in self.symbols}

    def on_bar(self, bar: Bar) -> None:
        mean = self.means[bar.symbol].update(bar.close)
        if mean is not None and bar.close > mean:
            self.buy(bar.symbol, 1)
