"""Trade what two models say together: one of them reads prices, the other headlines and filings."""

from engine import Bar, CorporateAction, Opinions, Signal, Strategy, VolatilityTarget


class NewsAndPrice(Strategy):
    """Buy when price and news together are above `enter`, and leave when they are below zero.

    Each score is measured in deviations from its model's last `window` scores, and counts by its weight until it
    expires: old news fades from the sum, and bad news closes a position without waiting for the next bar. It is
    bought when the model called `entry` speaks, by default that of prices, because only then there is a fresh one.
    """

    weights: dict[str, float] = {"price": 0.5, "news": 0.5}  # noqa: RUF012  # a parameter
    entry: str = "price"
    window: int = 60
    enter: float = 0.5
    risk_fraction: float = 0.005
    fraction_max: float = 0.5

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)
        self.opinions = Opinions(self.weights, self.window)

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        self.opinions.update(signal)
        symbol, scores = signal.symbol, self.opinions.fresh(signal.symbol, self.now_ns)
        strength = sum(self.weights[model] * score for model, score in scores.items())
        if strength < 0:
            self.close_position(symbol)
        elif strength > self.enter and signal.model == self.entry and not self.portfolio.position(symbol).qty:
            self.order_target_percent(symbol, self.sizing.fraction(symbol, strength))
