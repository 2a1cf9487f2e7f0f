"""Trade what several models agree on: the mean of their scores, each in deviations from what is usual for it."""

from engine import Bar, CorporateAction, Opinions, Signal, Strategy, VolatilityTarget


class Ensemble(Strategy):
    """Buy when the mean of all models is above `enter`, and leave when it is below zero.

    What is usual for a model is the mean of its last `window` scores of all symbols, so that a probability and a
    return can be added. Nothing is decided while a model is silent: each has to have a score that has not expired.
    """

    models: tuple[str, ...] = ("lstm", "cnn", "transformer")
    window: int = 640
    enter: float = 0.7
    risk_fraction: float = 0.001
    fraction_max: float = 0.05

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)
        self.opinions = Opinions(self.models, self.window)

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        self.opinions.update(signal)
        symbol, scores = signal.symbol, self.opinions.fresh(signal.symbol, self.now_ns)
        mean = sum(scores.values()) / len(scores) if len(scores) == len(self.models) else 0.0
        if mean < 0:
            self.close_position(symbol)
        elif mean > self.enter and not self.portfolio.position(symbol).qty and not self.open_orders(symbol):
            self.order_target_percent(symbol, self.sizing.fraction(symbol, mean))
