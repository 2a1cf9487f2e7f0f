"""Trade what two models say together: one of them reads prices, the other headlines and filings."""

from engine import Bar, CorporateAction, Signal, Strategy, VolatilityTarget


class NewsAndPrice(Strategy):
    """Buy when price and news together are above `enter`, and leave when they are below `leave`.

    Each score counts by its weight until it expires, so old news fades from the sum. Both models are heard at any time:
    bad news closes a position without waiting for the next bar.
    """

    weights: dict[str, float] = {"price": 5.0, "news": 0.5}  # noqa: RUF012  # a parameter, set by the configuration
    enter: float = 0.2
    leave: float = 0.0
    risk_fraction: float = 0.005
    fraction_max: float = 0.2

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)
        self.heard: dict[tuple[str, str], Signal] = {}

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        symbol, self.heard[signal.symbol, signal.model] = signal.symbol, signal
        told = [self.heard[symbol, model] for model in self.weights if (symbol, model) in self.heard]
        strength = sum(self.weights[one.model] * one.score for one in told if one.ts_expire_ns > self.now_ns)
        if strength < self.leave:
            self.close_position(symbol)
        elif strength > self.enter and not self.portfolio.position(symbol).qty and not self.open_orders(symbol):
            self.order_target_percent(symbol, self.sizing.fraction(symbol, strength))
