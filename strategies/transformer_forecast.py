"""Go with a transformer's forecast of the return, long and short, by how large it is beside the usual move."""

from engine import Bar, CorporateAction, Signal, Strategy, VolatilityTarget


class TransformerForecast(Strategy):
    """Long above `enter`, short below minus `enter`, flat in between; both in standard deviations of a bar.

    The size is set when the side is taken and left alone until it changes. From long to short takes two signals: the
    first closes, the second opens.
    """

    enter: float = 0.1
    full: float = 0.4
    risk_fraction: float = 0.001
    fraction_max: float = 0.05

    def on_start(self) -> None:
        self.sizing = VolatilityTarget(self.risk_fraction, self.fraction_max)

    def on_bar(self, bar: Bar) -> None:
        self.sizing.update(bar)

    def on_corporate_action(self, action: CorporateAction) -> None:
        self.sizing.update(action)

    def on_signal(self, signal: Signal) -> None:
        edge = signal.score / (self.sizing.volatility(signal.symbol) or float("inf"))
        side = (edge > self.enter) - (edge < -self.enter)
        held = self.portfolio.position(signal.symbol).qty
        if side != (held > 0) - (held < 0):
            strength = edge / self.full if side else 0.0
            self.order_target_percent(signal.symbol, self.sizing.fraction(signal.symbol, strength))
