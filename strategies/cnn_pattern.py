"""Trade patterns that a convolutional network knows, between the barriers that it was trained on."""

from engine import Bar, CorporateAction, Signal, Strategy, VolatilityTarget


class CNNPattern(Strategy):
    """Buy on a score above `enter` with a target and a stop `width` volatilities away, whichever comes first.

    The score is the chance that the upper barrier is touched first less that of the lower one. A pattern that has
    turned (a score below `leave`) takes the barriers away, and the next such score what is held.
    """

    enter: float = 0.1
    leave: float = -0.1
    full: float = 0.4
    width: float = 2.0
    risk_fraction: float = 0.001
    fraction_max: float = 0.05

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        symbol, busy = signal.symbol, self.portfolio.position(signal.symbol).qty or self.open_orders(signal.symbol)
        if signal.score > self.enter and not busy:
            low, high = self.sizing.band(symbol, self.width)
            fraction = self.sizing.fraction(symbol, signal.score / self.full)
            self.order_target_percent(symbol, fraction, take_profit=high, stop_loss=low)
        elif signal.score < self.leave and self.open_orders(symbol):
            self.cancel_all_orders(symbol)
        elif signal.score < self.leave:
            self.close_position(symbol)
