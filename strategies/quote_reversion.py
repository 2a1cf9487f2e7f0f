"""Fade a stretched price: buy when the mid lies far below its recent mean, and leave when it is back."""

from engine import Quote, RollingZScore, Strategy


class QuoteReversion(Strategy):
    """Mean reversion of the quoted mid, long only, with limits at the near side of the spread.

    A position is opened at the bid when the z-score of the mid falls below `-entry_z`, and closed at the market once it
    is above `-exit_z` again. An entry that has not filled when the stretch is over is canceled.
    """

    window: int = 200
    entry_z: float = 2.5
    exit_z: float = 0.5
    notional_usd: float = 1_000.0
    decimals: int = 0

    def on_start(self) -> None:
        self.scores = {symbol: RollingZScore(self.window) for symbol in self.symbols}

    def on_quote(self, quote: Quote) -> None:
        symbol, mid = quote.symbol, (quote.bid_price + quote.ask_price) / 2
        score = self.scores[symbol].update(mid)
        if score is None:
            return
        held, working = self.portfolio.position(symbol).qty, self.open_orders(symbol)
        if score < -self.entry_z and not held and not working:
            qty = int(self.notional_usd / mid * 10**self.decimals) / 10**self.decimals
            self.buy(symbol, qty, limit_price=quote.bid_price)
        elif score > -self.exit_z and working and not held:
            self.cancel_all_orders(symbol)
        elif score > -self.exit_z and held and not working:
            self.close_position(symbol)
