"""React to headlines and filings by a stated rule: good words buy, bad words or an earnings filing flatten."""

from engine import Datum, News, Strategy, Timer

GOOD = {"beat", "beats", "raises", "raised", "record", "surge", "surges", "upgrade", "upgraded", "approval", "wins"}
BAD = {"miss", "misses", "cuts", "lowers", "recall", "probe", "lawsuit", "downgrade", "downgraded", "halt", "fraud"}


class NewsReaction(Strategy):
    """Buy on a headline with more good words than bad ones, hold for `hold_s`, flatten at once on the opposite.

    A filing named in `flatten_on` (EDGAR form and item, such as `8-K 2.02` for earnings) flattens its symbol: its
    contents are not read, so a position would be a coin toss.
    """

    fraction: float = 0.05
    hold_s: float = 1_800.0
    flatten_on: str = "8-K 2.02"

    def on_news(self, news: News) -> None:
        words = {word.strip(".,:;!?'\"()").lower() for word in news.headline.split()}
        score = len(words & GOOD) - len(words & BAD)
        for symbol in news.symbols:
            if symbol in self.symbols and score > 0:
                self.order_target_percent(symbol, self.fraction)
                self.set_timer(symbol, after_s=self.hold_s)
            elif symbol in self.symbols and score < 0:
                self.close_position(symbol)

    def on_datum(self, datum: Datum) -> None:
        if datum.name == "filing" and datum.text.startswith(self.flatten_on):
            self.close_position(datum.symbol)

    def on_timer(self, timer: Timer) -> None:
        self.close_position(timer.name)
