"""Hold what a recurrent network thinks well of: more where it is surer, less where the symbol is wilder."""

from engine import Bar, CorporateAction, Signal, Strategy, VolatilityTarget


class LSTMForecast(Strategy):
    """Buy on a score above `enter`, keep until one below `leave`; a score of `full` is as sure as it gets.

    Between the two nothing is traded, because every trade costs and a score changes a little with every bar.
    """

    enter: float = 0.05
    leave: float = 0.0
    full: float = 0.2
    risk_fraction: float = 0.001
    fraction_max: float = 0.05

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        symbol = signal.symbol
        if signal.score < self.leave:
            self.close_position(symbol)
        elif signal.score > self.enter and not self.portfolio.position(symbol).qty and not self.open_orders(symbol):
            self.order_target_percent(symbol, self.sizing.fraction(symbol, signal.score / self.full))
