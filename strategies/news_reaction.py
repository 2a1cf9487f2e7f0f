"""React to headlines and filings by a stated rule: good words buy, bad words or an earnings filing flatten."""

from engine import Datum, News, Strategy, Timer

GOOD = {"approval", "beat", "beats", "raises", "raised", "record", "surge", "surges", "upgrade", "upgraded", "wins"}
BAD = {"cuts", "downgrade", "downgraded", "fraud", "halt", "lawsuit", "lowers", "miss", "misses", "probe", "recalls"}


class NewsReaction(Strategy):
    """Buy on a headline with more good words than bad ones, and close on the opposite.

    A position is `fraction` of equity and ends `hold_s` after the last good headline. A filing whose form and items
    begin with `flatten_on` (at EDGAR, `8-K 2.02` is earnings) closes it too: what the filing says is not read, so
    holding on would be a coin toss.
    """

    fraction: float = 0.05
    hold_s: float = 1_800.0
    flatten_on: str = "8-K 2.02"

    def on_start(self) -> None:
        self.alarms: dict[str, int] = {}

    def on_news(self, news: News) -> None:
        words = {word.strip(".,:;!?'\"()").lower() for word in news.headline.split()}
        score = len(words & GOOD) - len(words & BAD)
        for symbol in news.symbols:
            if symbol in self.symbols and score > 0:
                self.enter(symbol)
            elif symbol in self.symbols and score < 0:
                self.close_position(symbol)

    def enter(self, symbol: str) -> None:
        if not self.portfolio.position(symbol).qty and not self.open_orders(symbol):
            self.order_target_percent(symbol, self.fraction, fractional="/" in symbol)
        self.alarms[symbol] = self.alarms.get(symbol, 0) + 1
        self.set_timer(symbol, after_s=self.hold_s)

    def on_datum(self, datum: Datum) -> None:
        if datum.name == "filing" and datum.text.startswith(self.flatten_on):
            self.close_position(datum.symbol)

    def on_timer(self, timer: Timer) -> None:
        self.alarms[timer.name] -= 1
        if not self.alarms[timer.name]:
            self.close_position(timer.name)
