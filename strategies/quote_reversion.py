"""Fade a stretched price: buy when the mid lies far below its recent mean, and leave when it is back."""

from engine import CorporateAction, Quote, RollingZScore, Strategy


class QuoteReversion(Strategy):
    """Mean reversion of the quoted mid, long only, entered with a limit at the near side of the spread.

    A position of `fraction` of equity is opened at the bid when the z-score of the mid among the last `window` quotes
    is below `-entry_z`. Above `-exit_z` it is closed at the market, and an entry that has not filled is canceled.
    """

    window: int = 200
    entry_z: float = 2.5
    exit_z: float = 0.5
    fraction: float = 0.02

    def on_start(self) -> None:
        self.scores: dict[str, RollingZScore] = {}

    def on_quote(self, quote: Quote) -> None:
        symbol = quote.symbol
        if not 0 < quote.bid_price <= quote.ask_price:
            return  # a side is empty or they cross: there is no mid
        if symbol not in self.scores:
            self.scores[symbol] = RollingZScore(self.window)
        score = self.scores[symbol].update((quote.bid_price + quote.ask_price) / 2)
        if score is None:
            return
        if score > -self.exit_z:
            self.close_position(symbol)
        elif score < -self.entry_z and not self.portfolio.position(symbol).qty and not self.open_orders(symbol):
            self.order_target_percent(symbol, self.fraction, fractional="/" in symbol, limit_price=quote.bid_price)

    def on_corporate_action(self, action: CorporateAction) -> None:
        if action.action == "split":  # prices from before it are on another scale
            self.scores.pop(action.symbol, None)
