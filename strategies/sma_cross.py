"""Hold a fixed quantity while the fast average of closes is above the slow one, and nothing otherwise."""

from engine import Bar, RollingMean, Strategy


class SmaCross(Strategy):
    """The simple moving average cross, on each of its symbols."""

    fast: int = 10
    slow: int = 30
    qty: int = 100

    def on_start(self) -> None:
        self.averages = {symbol: (RollingMean(self.fast), RollingMean(self.slow)) for symbol in self.symbols}

    def on_bar(self, bar: Bar) -> None:
        fast, slow = (average.update(bar.close) for average in self.averages[bar.symbol])
        if fast is not None and slow is not None:
            self.order_target(bar.symbol, self.qty if fast > slow else 0)
