"""Hold a fixed quantity while the fast average of closes is above the slow one, and nothing otherwise."""

from engine import Bar, CorporateAction, RollingMean, Strategy


class SmaCross(Strategy):
    """The simple moving average cross, on each of its symbols."""

    fast: int = 10
    slow: int = 30
    qty: int = 100

    def on_start(self) -> None:
        self.averages: dict[str, tuple[RollingMean, RollingMean]] = {}

    def on_bar(self, bar: Bar) -> None:
        if bar.symbol not in self.averages:
            self.averages[bar.symbol] = RollingMean(self.fast), RollingMean(self.slow)
        fast, slow = (average.update(bar.close) for average in self.averages[bar.symbol])
        if fast is not None and slow is not None:
            self.order_target(bar.symbol, self.qty if fast > slow else 0)

    def on_corporate_action(self, action: CorporateAction) -> None:
        if action.action == "split":  # prices from before it are on another scale
            self.averages.pop(action.symbol, None)
