"""Hold what a recurrent network thinks well of: more where it is surer, less where the symbol is wilder."""

from engine import Bar, CorporateAction, RollingZScore, Signal, Strategy, VolatilityTarget


class LSTMForecast(Strategy):
    """Buy on a score `enter` deviations above its usual, keep until one below it; at `full` the position is whole.

    What is usual is the mean of the last `window` scores of all symbols, so a timid model is read like a bold one.
    Between the two nothing is traded, because every trade costs and a score changes with every bar.
    """

    window: int = 640
    enter: float = 1.0
    full: float = 2.0
    risk_fraction: float = 0.001
    fraction_max: float = 0.05

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)
        self.usual = RollingZScore(self.window)

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        symbol, score = signal.symbol, self.usual.update(signal.score) or 0.0
        if score < 0:
            self.close_position(symbol)
        elif score > self.enter and not self.portfolio.position(symbol).qty and not self.open_orders(symbol):
            self.order_target_percent(symbol, self.sizing.fraction(symbol, score / self.full))
