"""The rows of Alpaca's historical answers, and the events that they become.

The fields are those of the stream, with RFC 3339 texts for instants. A row that makes no sense is left out and counted,
because one bad row must not cost a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Any

import msgspec

from brokers.alpaca.frames import conditions, trade_key
from brokers.alpaca.wire import parse_ns
from engine.clock import Sessions
from engine.errors import ConfigError
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, Bar, CorporateAction, Datum, News, Quote, Trade

RATE_PARTS_MAX = 10_000
"""A split's ratio as whole numbers: Alpaca writes rates as decimals."""


class BarRow(msgspec.Struct, gc=False):
    """A bar, stamped at its open."""

    t: str
    o: float
    h: float
    l: float  # noqa: E741  # Alpaca's own name
    c: float
    v: float
    n: int | None = 0
    vw: float | None = None


class TradeRow(msgspec.Struct, gc=False):
    """A print; `u` says that it was canceled or corrected since."""

    t: str
    p: float
    s: float
    i: int | str = 0
    x: str = ""
    c: list[str] | str | None = None
    u: str = ""


class QuoteRow(msgspec.Struct, gc=False, rename={"ask_size": "as"}):
    """A best bid and ask."""

    t: str
    bp: float
    bs: float
    ap: float
    ask_size: float


class NewsRow(msgspec.Struct, gc=False):
    """An article in its latest version."""

    id: int
    headline: str
    created_at: str
    updated_at: str
    symbols: list[str] = []
    author: str = ""
    summary: str | None = ""
    url: str | None = ""
    source: str = ""


class ActionRow(msgspec.Struct, gc=False):
    """A corporate action of any type; which fields are set depends on the type."""

    symbol: str = ""
    ex_date: str = ""
    process_date: str = ""
    old_rate: Decimal | None = None
    new_rate: Decimal | None = None
    rate: Decimal | None = None
    old_symbol: str = ""
    new_symbol: str = ""


class AssetRow(msgspec.Struct, gc=False):
    """What may be traded, and how; `class` and `exchange` stay texts, because both lists grow."""

    symbol: str
    tradable: bool = False
    status: str = ""
    exchange: str = ""
    marginable: bool = False
    shortable: bool = False
    easy_to_borrow: bool = False
    fractionable: bool = False
    name: str = ""
    attributes: list[str] | None = None


class Timeframe:
    """The length of a bar as Alpaca writes it: `1Min` to `59Min`, `1Hour` to `23Hour`, `1Day`.

    Raises:
        ConfigError: it is none of these.
    """

    def __init__(self, text: str, sessions: Sessions) -> None:
        found = re.fullmatch(r"([1-9]\d?)(Min|Hour|Day)", text)
        number, unit = (int(found[1]), found[2]) if found else (0, "")
        if not 1 <= number <= {"Min": 59, "Hour": 23, "Day": 1}.get(unit, 0):
            raise ConfigError(f"timeframe {text!r}: write 1Min to 59Min, 1Hour to 23Hour or 1Day")
        self.text, self._sessions = text, sessions
        self.interval_ns = number * {"Min": MINUTE_NS, "Hour": HOUR_NS, "Day": DAY_NS}[unit]
        self._is_session = unit == "Day" and not sessions.always_open

    def span(self, open_ns: int) -> tuple[int, int]:
        """Return close and length of the bar that is stamped `open_ns`; a day's bar is its regular session."""
        if not self._is_session:
            return open_ns + self.interval_ns, self.interval_ns
        session = self._sessions.at(open_ns)
        return session.close_ns, session.close_ns - session.open_ns


def bar(symbol: str, row: BarRow, timeframe: Timeframe, source: str) -> Bar | None:
    """Return a row as a bar stamped at its close, None when it makes no sense."""
    if not (0.0 < row.l <= row.h and isfinite(row.h) and row.o > 0 and row.c > 0 and row.v >= 0):
        return None
    close_ns, interval_ns = timeframe.span(parse_ns(row.t))
    return Bar(
        symbol, close_ns, close_ns, row.o, row.h, row.l, row.c, row.v, interval_ns, row.vw, row.n or 0, source=source
    )


def trade(symbol: str, row: TradeRow, source: str) -> Trade | None:
    """Return a row as a print, None when it makes no sense or was taken back since."""
    if not (row.p > 0 and isfinite(row.p) and row.s >= 0) or row.u in ("canceled", "incorrect"):
        return None
    ts_ns = parse_ns(row.t)
    return Trade(symbol, ts_ns, ts_ns, row.p, row.s, trade_key(row.x, row.i), conditions(row.c), source)


def quote(symbol: str, row: QuoteRow, source: str) -> Quote | None:
    """Return a row as a quote, None when it makes no sense."""
    if not (row.bp >= 0 and row.ap >= 0 and isfinite(row.bp) and isfinite(row.ap)):
        return None
    ts_ns = parse_ns(row.t)
    return Quote(symbol, ts_ns, ts_ns, row.bp, row.bs, row.ap, row.ask_size, source)


def news(row: NewsRow, source: str, canonical: Mapping[str, str]) -> News:
    """Return a row as news, received when this version of it was out: the text at first publication is not kept."""
    ts_ns = max(parse_ns(row.created_at), parse_ns(row.updated_at))
    symbols = tuple(canonical.get(symbol, symbol) for symbol in row.symbols)
    text = " ".join((row.summary or "").split())
    return News(
        ts_ns, ts_ns, " ".join(row.headline.split()), symbols, str(row.id), row.author, text, row.url or "",
        f"{source}/{row.source}" if row.source else source,
    )  # fmt: skip


def action(kind: str, row: ActionRow, sessions: Sessions, source: str) -> CorporateAction | None:
    """Return a corporate action that moves a holder's book, None for those that the engine does not know."""
    date = row.ex_date or row.process_date
    if not date:
        return None
    session = sessions.on_date(date) or sessions.at(parse_ns(f"{date}T12:00:00Z"))
    at_ns = session.open_ns
    if kind in ("forward_splits", "reverse_splits") and row.new_rate and row.old_rate:
        ratio = Fraction(row.new_rate) / Fraction(row.old_rate)
    elif kind == "stock_dividends" and row.rate:
        ratio = 1 + Fraction(row.rate)
    elif kind == "cash_dividends" and row.rate:
        return CorporateAction(row.symbol, at_ns, at_ns, "cash_dividend", amount_usd=row.rate, source=source)
    elif kind == "name_changes" and row.old_symbol and row.new_symbol:
        return CorporateAction(
            row.old_symbol, at_ns, at_ns, "symbol_change", new_symbol=row.new_symbol, source=source
        )  # fmt: skip
    else:
        return None
    ratio = ratio.limit_denominator(RATE_PARTS_MAX)
    return CorporateAction(row.symbol, at_ns, at_ns, "split", ratio.numerator, ratio.denominator, source=source)


def asset(row: AssetRow, now_ns: int, source: str) -> Datum:
    """Return an asset as a datum: its value is 1 where it trades, its text what else is known of it."""
    text = msgspec.json.encode(row).decode()
    return Datum("asset", now_ns, now_ns, row.symbol, float(row.tradable), text, source)


def by_symbol(page: Mapping[str, list[Any]] | None) -> Iterator[tuple[str, Any]]:
    """Yield symbol and row of a page, which holds one list a symbol or nothing."""
    for symbol, rows in (page or {}).items():
        for row in rows or ():
            yield symbol, row
