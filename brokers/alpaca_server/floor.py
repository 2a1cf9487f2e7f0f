"""One asset class at the venue: its matching engine, its calendar, and what follows from its hours and prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from brokers.alpaca_server.archive import Archive
from brokers.alpaca_server.ledger import Ledger
from brokers.alpaca_server.order_book import OrderBook
from brokers.alpaca_server.refusals import refused
from brokers.paper import PaperBroker
from brokers.simulated.hours import Hours
from brokers.simulated.order_table import GTC_LIFE_NS
from brokers.simulated.settings import PaperSettings
from engine.clock import Sessions
from engine.events import Intent, exact

Seen = Literal["quote", "trade", "bar", "mark"]


class Purse:
    """The ledger as one floor's engine may ask it: what the other floor's open orders hold is not there to spend."""

    def __init__(self, ledger: Ledger, book: OrderBook, other: str) -> None:
        self._ledger, self._book, self._other = ledger, book, other

    def position_qty(self, symbol: str) -> Decimal:
        return self._ledger.position_qty(symbol)

    def buying_power_usd(self) -> Decimal:
        return self._ledger.buying_power_usd() - self._book.reserved_usd(self._other)


class Floor:
    """A matching engine and its calendar."""

    def __init__(
        self, paper: PaperSettings, sessions: Sessions, purse: Purse, seed: int, closing_cutoff_ns: int
    ) -> None:
        self.sessions = sessions
        self._hours = Hours(sessions, closing_cutoff_ns)
        self.engine = PaperBroker(paper, sessions=sessions, account=purse, seed=seed, hours=self._hours)

    def expiry_ns(self, intent: Intent, now_ns: int) -> int:
        """Return when an order that comes now is over."""
        if intent.time_in_force == "gtc":
            return now_ns + GTC_LIFE_NS
        return self._hours.day_end(now_ns, extended=intent.extended_hours)

    def active_ns(self, intent: Intent, now_ns: int) -> int:
        """Return when an order that comes now begins to work: at the start of its hours, or 0 for at once."""
        session = self.sessions.at(now_ns)
        if intent.extended_hours:
            return session.extended_open_ns if now_ns < session.extended_open_ns else 0
        if now_ns >= session.close_ns:
            session = self.sessions.at(session.extended_close_ns)
        return session.open_ns if now_ns < session.open_ns else 0


def market_price(archive: Archive, intent: Intent, now_ns: int, quote_life_ns: int) -> tuple[Decimal, Seen]:
    """Return the market's price for an order, and what it was taken from: a fresh quote, else the last print or bar.

    Raises:
        Refusal: there is no price of any kind.
    """
    symbol = intent.symbol
    quote, trade, bar = archive.latest_quote(symbol), archive.latest_trade(symbol), archive.latest_bar(symbol)
    if quote is not None and now_ns - quote.ts_event_ns <= quote_life_ns:
        price = quote.ask_price if intent.side == "buy" else quote.bid_price
        if price > 0:
            return exact(price), "quote"
    if trade is not None and (bar is None or trade.ts_event_ns >= bar.ts_event_ns):
        return exact(trade.price), "trade"
    if bar is not None:
        return exact(bar.close), "bar"
    told = intent.limit_price or intent.stop_price
    if told is None:
        raise refused(f"asset {symbol} has no price yet")
    return told, "mark"
