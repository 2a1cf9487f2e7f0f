"""Over histories drawn at random: money is conserved, positions add up, orders end, and no limit is ever broken.

A history is bars, quotes, prints, halts, splits, dividends and new names, good and malformed; two strategies with
every kind of order; limits that sometimes bind. The books are compared with a second set, kept by hand, after every
single event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Context, Decimal, localcontext
from functools import cache, partial
from math import inf, nan
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import clock
from engine.clock import Sessions
from engine.config import from_dict
from engine.events import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Approved,
    Bar,
    CorporateAction,
    MarketEvent,
    News,
    Quote,
    Record,
    Status,
    Trade,
)
from engine.risk.limits import SMALL_ACCOUNT
from engine.run import Run
from tests.ledger import Ledger
from tests.runs import COINS, OPEN_NS, STOCKS, HeldFeed, configuration, kept_journal, strategy
from tests.traders import Everything

STEPS_NS = (0, SECOND_NS, 20 * SECOND_NS, MINUTE_NS, MINUTE_NS, 2 * MINUTE_NS, 10 * MINUTE_NS, HOUR_NS)
BAD_PRICES = (0.0, -1.0, nan, inf)
RATIOS = ((7, 1), (2, 1), (3, 2), (1, 3), (1, 20))
PRECISE = Context(prec=90)
"""Of the second set of books, so that it never rounds, and finds out where the first one has."""
ACCOUNTS = ("cash", "margin_2x", "margin_4x")


class History:
    """Market events out of drawn bytes: three for each, its kind, the time since the last, and where the price goes."""

    def __init__(self, drawn: bytes, symbols: Sequence[str], *, stocks: bool) -> None:
        self.symbols, self.stocks = list(symbols), stocks
        self.now_ns = OPEN_NS
        self.price = dict.fromkeys(symbols, 100.0)
        self.last_bar_ns: dict[str, int] = {}
        self.renamed = 0
        self.events: list[MarketEvent] = []
        for symbol in symbols:  # something to price the first orders by
            self.bar(symbol, 128)
        for first in range(0, len(drawn) - 2, 3):
            self.event(*drawn[first : first + 3])

    def event(self, kind: int, step: int, move: int) -> None:
        symbol = self.symbols[kind % len(self.symbols)]
        face = kind // 2 % 32
        self.now_ns += DAY_NS if step >= 250 else STEPS_NS[step % len(STEPS_NS)]
        if face < 14:
            self.bar(symbol, move)
        elif face < 20:
            price = self.moved(symbol, move)
            spread = (0.01, 0.02, 3.0, -0.05)[step // 8 % 4]
            size = float(step % 50)
            self.add(Quote(symbol, *self.twice, round(price - spread, 2), size, round(price + spread, 2), size))
        elif face < 25:
            self.add(Trade(symbol, *self.twice, self.moved(symbol, move), float(step)))
        elif face == 25:
            self.add(Trade(symbol, *self.twice, BAD_PRICES[move % 4], 100.0))
        elif face == 26:
            bands = (None, None) if move % 2 else (self.price[symbol] * 1.01, self.price[symbol] * 0.99)
            self.add(Status(symbol, *self.twice, "halted" if move % 3 == 0 else "trading", "", *bands))
        elif face == 27:
            self.add(News(*self.twice, "record", (symbol,) if move % 2 else ()))
        elif face == 28 and self.stocks:
            new, old = RATIOS[move % len(RATIOS)]
            self.price[symbol] = max(0.05, round(self.price[symbol] * old / new, 2))
            self.add(CorporateAction(symbol, *self.twice, "split", new, old))
        elif face == 29 and self.stocks:
            self.add(CorporateAction(symbol, *self.twice, "cash_dividend", amount_usd=Decimal(1 + move) / 100))
        elif face == 30 and self.stocks and move < 64:
            self.renamed += 1
            name = f"{symbol[0]}{self.renamed}"
            self.symbols[self.symbols.index(symbol)], self.price[name] = name, self.price[symbol]
            self.add(CorporateAction(symbol, *self.twice, "symbol_change", new_symbol=name))
        else:
            self.bar(symbol, move, volume=0.0)

    @property
    def twice(self) -> tuple[int, int]:
        return self.now_ns, self.now_ns

    def add(self, event: MarketEvent) -> None:
        self.events.append(event)

    def moved(self, symbol: str, move: int) -> float:
        """Let the price walk up to 6 %, mostly far less."""
        far = (move - 128) / 128
        self.price[symbol] = max(0.05, round(self.price[symbol] * (1 + 0.06 * far**3), 2))
        return self.price[symbol]

    def bar(self, symbol: str, move: int, volume: float | None = None) -> None:
        self.now_ns += -self.now_ns % MINUTE_NS
        if self.last_bar_ns.get(symbol, 0) + MINUTE_NS > self.now_ns:
            self.now_ns += MINUTE_NS
        self.last_bar_ns[symbol] = self.now_ns
        opened = self.price[symbol]
        close = self.moved(symbol, move)
        wick = 1 + (move % 5) / 2000
        high, low = round(max(opened, close) * wick, 2), max(0.01, round(min(opened, close) / wick, 2))
        size = float(move % 40 * 10) if volume is None else volume
        self.add(Bar(symbol, *self.twice, opened, high, low, close, size, MINUTE_NS))


@st.composite
def trees(draw: Any) -> dict[str, Any]:
    """Draw a whole run: a history, two strategies, an account and limits."""
    stocks = draw(st.booleans())
    symbols = STOCKS if stocks else COINS
    history = History(draw(st.binary(min_size=150, max_size=450)), symbols, stocks=stocks)
    dice = draw(st.binary(min_size=120, max_size=400)).hex()
    limits = draw(
        st.fixed_dictionaries(
            {"profile": st.sampled_from(["small_account", "wide"])},
            optional={
                "max_order_notional_percent": st.sampled_from(["1", "5", "30"]),
                "max_order_qty": st.sampled_from(["5", "30"]),
                "max_position_percent": st.sampled_from(["2", "8", "60"]),
                "max_gross_fraction": st.sampled_from(["0.05", "0.3", "3"]),
                "max_net_fraction": st.sampled_from(["0.03", "0.2", "3"]),
                "max_open_orders_count": st.sampled_from([1, 3, 8]),
                "max_strategy_open_orders_count": st.sampled_from([1, 4]),
                "max_symbol_side_open_orders_count": st.sampled_from([1, 2, 9]),
                "max_orders_per_min_count": st.sampled_from([2, 6]),
                "max_orders_per_day_count": st.sampled_from([3, 12]),
                "max_turnover_fraction": st.sampled_from(["0.1", "0.5"]),
                "daily_loss_reduce_only_percent": st.sampled_from(["0.01", "0.1"]),
                "collar_aggressive_percent": st.sampled_from(["0.2", "1"]),
                "allow_short_selling": st.booleans(),
                "allow_reversals": st.booleans(),
                "allow_extended_hours": st.booleans(),
                "allow_queued_entries": st.booleans(),
                "market_orders_as_limits": st.booleans(),
                "max_drawdown_percent": st.sampled_from(["0.02", "0.5"]),
                "max_orders_per_s_count": st.sampled_from([1, 2]),
                "max_executions_count": st.sampled_from([1, 3]),
                "max_consecutive_rejects_count": st.sampled_from([0, 2]),
                "max_entry_age_s": st.sampled_from([60.0, 1200.0]),
                "duplicate_window_s": st.sampled_from([0.0, 120.0]),
                "rollout_sessions_count": st.just(1_000),
            },
        )
    )
    broker = draw(
        st.fixed_dictionaries(
            {
                "account": st.sampled_from(ACCOUNTS), "latency_ms": st.sampled_from([0.0, 50.0, 90_000.0]),
                "cash_usd": st.sampled_from(["4000", "30000", "1000000"]), "fees": st.sampled_from(["alpaca", "zero"]),
                "participation": st.sampled_from([0.1, 1.0]), "limit_fill": st.sampled_from(["through", "touch"]),
                "allow_flip": st.booleans(), "latency_jitter_ms": st.sampled_from([0.0, 300.0]),
                "slippage": st.sampled_from(["none", "half_spread_bps"]),
            }
        )
    )  # fmt: skip
    if broker["slippage"] != "none":
        broker["slippage_params"] = {"spread_bps": 8.0}
    second = draw(st.sampled_from([None, "5min"]))
    return configuration(
        HeldFeed.hold(history.events), calendar="XNYS" if stocks else "24/7", broker=broker, risk=limits,
        warm_up_s=draw(st.sampled_from([0.0, 0.0, 300.0])),
        strategies=[
            strategy(Everything, dice=dice),
            strategy(
                Everything, name="two", symbols=list(symbols[: draw(st.integers(1, 2))]), bar=second,
                dice=dice[8:] + dice[:8], foreign=symbols[1],
            ),
        ],
    )  # fmt: skip


class Audit:
    """A run with its second set of books; every look compares the two."""

    def __init__(self, tree: dict[str, Any]) -> None:
        config = from_dict(tree)
        journal, self.records = kept_journal(self._take)
        self.run = Run(config, journal)
        self.core = self.run.core
        portfolio = self.core.portfolio
        self.ledger = Ledger(
            config.risk, portfolio.cash_usd, portfolio.multiplier, Sessions(config.calendar),
            {one.name: set(one.symbols) for one in self.core.strategies.values()},
            lambda symbol: portfolio.market(symbol).mark,
        )  # fmt: skip
        begin = self.core.risk.on_session

        def on_session(now_ns: int) -> Any:
            with localcontext(PRECISE):
                self.ledger.begin_session()
            return begin(now_ns)

        self.core.risk.on_session = on_session  # type: ignore[method-assign]

    def _take(self, record: Record) -> None:
        with localcontext(PRECISE):
            self.ledger.take(record)

    def replay(self) -> None:
        feed: Any = self.run.feed
        feed.batches = partial(self._looked_after, feed.batches())
        self.run.replay()
        self.look(self.core.now_ns)

    def _looked_after(self, batches: Iterator[Sequence[MarketEvent]]) -> Iterator[Sequence[MarketEvent]]:
        for batch in batches:
            for event in batch:
                self.ledger.see(event)
                yield (event,)
                self.look(event.ts_recv_ns)

    def look(self, now_ns: int) -> None:
        """Compare cash, positions, open orders and exposure of the engine with the books kept by hand."""
        with localcontext(PRECISE):
            self._compare(now_ns)

    def _compare(self, now_ns: int) -> None:
        portfolio, ledger = self.core.portfolio, self.ledger
        for one in self.core.strategies.values():
            ledger.symbols[one.name] |= set(one.symbols)
        assert portfolio.cash_usd == ledger.cash
        assert {market.symbol: market.position_qty for market in portfolio.held()} == ledger.account_positions()
        for name, book in portfolio.books.items():
            assert {s: p.qty for s, p in book.positions.items() if p.qty} == {
                symbol: qty for (owner, symbol), qty in ledger.positions.items() if owner == name and qty
            }
        assert sum((book.cash_flow_usd for book in portfolio.books.values()), portfolio.start_cash_usd) == ledger.cash
        ledger.crest()
        assert portfolio.equity == pytest.approx(float(ledger.equity()), rel=1e-9)
        assert set(self.core.orders.open) == {ticket.intent.client_order_id for ticket in ledger.open_tickets()}
        assert portfolio.gross >= ledger.gross() * (1 - 1e-9) - 1e-6, "open orders are missing in the exposure"
        assert self.venue_ids() == set(self.core.orders.open), "the venue knows other orders"
        limits = self.run.config.risk
        for ticket in ledger.open_tickets():
            rests = ticket.entry and ticket.intent.time_in_force in ("day", "gtc") and not ticket.cancel_asked
            if rests and ledger.sessions.is_open(ticket.placed_ns):
                assert now_ns <= ticket.placed_ns + max(limits.max_entry_age_s, 65.0) * SECOND_NS, (
                    "C28"
                )  # a bar and 5 s
            if ticket.intent.time_in_force != "gtc" and not ticket.intent.parent_id:
                session = ledger.sessions.at(ticket.placed_ns)
                assert now_ns <= session.extended_close_ns + 4 * DAY_NS, "a day order has outlived its day"

    def venue_ids(self) -> set[str]:
        """Return the orders that the venue has, and those on their way to it."""
        broker: Any = self.core.broker
        ids = set(broker._table.open)
        sent = [message.intent for _, message in broker._wire._messages if isinstance(message, Approved)]
        for intent in sent:
            ids |= {intent.client_order_id, *(leg.client_order_id for leg in intent.legs())}
        return ids


@pytest.fixture(scope="module", autouse=True)
def one_calendar() -> Any:
    """Load the calendar once for all runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "_load", cache(clock._load))
        yield


drawn = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def hold(tree: dict[str, Any]) -> None:
    """Check one history: the audit raises at the first record that is wrong."""
    try:
        Audit(tree).replay()
    finally:
        HeldFeed.held.clear()


@settings(max_examples=300, **drawn)
@given(trees())
def test_books_orders_and_limits_hold_over_any_history(tree: dict[str, Any]) -> None:
    """Cash to the last digit, positions as fills and actions sum, orders that end, no limit broken."""
    hold(tree)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@settings(max_examples=10_000, **drawn)
@given(trees())
def test_books_orders_and_limits_hold_over_ten_thousand_histories(tree: dict[str, Any]) -> None:
    """The same, for as many histories as the promise says."""
    hold(tree)


def test_the_limits_of_the_histories_are_known_ones() -> None:
    """A limit that was renamed would no longer be drawn."""
    assert {"max_gross_fraction", "max_turnover_fraction", "allow_short_selling"} <= SMALL_ACCOUNT.keys()
