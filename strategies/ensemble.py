"""Trade what several models agree on: the mean of their scores, each measured by what is much for it."""

from engine import Bar, CorporateAction, Signal, Strategy, VolatilityTarget


class Ensemble(Strategy):
    """Buy when the mean strength of all models is above `enter`, and leave when it is below `leave`.

    A score as large as its model's entry in `full` counts as 1, a larger one no more than that. Nothing is decided
    while a model is silent: each has to have a score that has not expired.
    """

    full: dict[str, float] = {"lstm": 0.2, "cnn": 0.4, "transformer": 0.01}  # noqa: RUF012  # a parameter
    enter: float = 0.3
    leave: float = 0.0
    risk_fraction: float = 0.001
    fraction_max: float = 0.05

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)
        self.heard: dict[tuple[str, str], Signal] = {}

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        symbol, self.heard[signal.symbol, signal.model] = signal.symbol, signal
        told = [self.heard[symbol, model] for model in self.full if (symbol, model) in self.heard]
        if len(told) < len(self.full) or min(one.ts_expire_ns for one in told) <= self.now_ns:
            return
        mean = sum(max(-1.0, min(1.0, one.score / self.full[one.model])) for one in told) / len(told)
        if mean < self.leave:
            self.close_position(symbol)
        elif mean > self.enter and not self.portfolio.position(symbol).qty and not self.open_orders(symbol):
            self.order_target_percent(symbol, self.sizing.fraction(symbol, mean))
