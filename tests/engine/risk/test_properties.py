"""No accepted order ever breaks a limit, by a ledger that knows nothing of the engine's sums.

The ledger keeps a list of fills and a list of open orders, and adds everything up from scratch each time, in fractions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import Approved, TradingStateChanged
from engine.orders import Order
from engine.risk.limits import WIDE

SYMBOLS, STRATEGIES = ("SPY", "QQQ"), ("a", "b")
CASH = Fraction(100_000)
TIGHT: dict[str, Any] = {
    "max_order_notional_usd": 9_000, "max_order_notional_percent": 8, "max_order_unknown_adv_qty": 90,
    "collar_aggressive_percent": 3, "collar_passive_percent": 20, "duplicate_window_s": 2,
    "max_orders_per_min_count": 12, "max_orders_per_s_count": 4, "max_strategy_orders_per_min_count": 8,
    "max_open_orders_count": 6, "max_strategy_open_orders_count": 4, "max_symbol_side_open_orders_count": 2,
    "max_position_percent": 20, "max_gross_fraction": "0.35", "max_net_fraction": "0.3",
    "market_order_markup_percent": 4, "cash_buffer_percent": 70, "daily_loss_reduce_only_percent": 1,
    "daily_loss_halt_percent": 2, "max_drawdown_percent": 3, "max_orders_per_day_count": 15,
    "max_strategy_orders_per_day_count": 10, "max_turnover_fraction": "0.5", "allow_reversals": False,
    "allow_short_selling": False,
}  # fmt: skip
CLOSE_TO_ONE = Fraction(10**9 + 1, 10**9)  # exposures are summed in floats, which may be off in the last digits


@dataclass
class Open:
    """An order that the venue may still fill, as the ledger knows it."""

    strategy: str
    symbol: str
    sign: int
    left: Fraction
    limit: Fraction | None
    cost: Fraction
    entry: bool


@dataclass
class Ledger:
    """What happened, in lists; every figure is summed from them anew."""

    fills: list[tuple[str, str, Fraction, Fraction]] = field(default_factory=list)
    open: dict[str, Open] = field(default_factory=dict)
    marks: dict[str, Fraction] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, Fraction(100)))
    sent: list[tuple[int, str, tuple[Any, ...], bool]] = field(default_factory=list)
    day: int = 0
    traded: Fraction = Fraction(0)
    start: Fraction = CASH
    peak: Fraction = CASH

    def cash(self) -> Fraction:
        return CASH - sum((qty * price for *_, qty, price in self.fills), Fraction(0))

    def position(self, symbol: str, strategy: str | None = None) -> Fraction:
        kept = (f for f in self.fills if f[1] == symbol and strategy in (None, f[0]))
        return sum((qty for *_, qty, _ in kept), Fraction(0))

    def pending(self, symbol: str, sign: int, strategy: str | None = None) -> Fraction:
        kept = (
            o for o in self.open.values() if (o.symbol, o.sign) == (symbol, sign) and strategy in (None, o.strategy)
        )
        return sum((o.left for o in kept), Fraction(0))

    def worst(self, symbol: str) -> tuple[Fraction, Fraction]:
        held = self.position(symbol)
        return held + self.pending(symbol, 1), held - self.pending(symbol, -1)

    def equity(self) -> Fraction:
        return self.cash() + sum((self.position(s) * self.marks[s] for s in SYMBOLS), Fraction(0))

    def reserved(self) -> Fraction:
        return sum((o.left * o.cost for o in self.open.values() if o.sign > 0 and o.entry), Fraction(0))


class Limits:
    """Each tight limit, or with some luck a wide one, so that every control gets its turn to be the one that binds."""

    def __init__(self, rng: random.Random) -> None:
        self.given = {key: value if rng.random() < 0.5 else WIDE[key] for key, value in TIGHT.items()}
        if self.given["daily_loss_halt_percent"] == 2:
            self.given["daily_loss_reduce_only_percent"] = 1
        self.given["rollout_sessions_count"] = 0

    def __getattr__(self, key: str) -> Any:
        value = self.given[key]
        return value if isinstance(value, bool) else Fraction(Decimal(value))


def broken(book: Ledger, limits: Limits, order: Order, now_ns: int, limit: Fraction | None) -> Iterator[str]:
    """Yield the limits that an accepted entry, already in the ledger's open orders, breaks."""
    symbol, sign = order.symbol, order.sign
    qty, reference, start = Fraction(order.qty), book.marks[symbol], book.start
    value = qty * max(reference, limit or Fraction(0))
    if value > min(limits.max_order_notional_usd, limits.max_order_notional_percent / 100 * start):
        yield "C02"
    if qty > limits.max_order_unknown_adv_qty:
        yield "C03"
    if limit is not None:
        beyond = (limit - reference) * sign / reference * 100
        if beyond > limits.collar_aggressive_percent or -beyond > limits.collar_passive_percent:
            yield "C04"
    recent = [key for ts, _, key, entry in book.sent[:-1] if entry and ts > now_ns - limits.duplicate_window_s * 10**9]
    if book.sent[-1][2] in recent:
        yield "C07"
    yield from _broken_counts(book, limits, order, now_ns)
    long, short = book.worst(symbol)
    if (long if sign > 0 else -short) * reference > limits.max_position_percent / 100 * start * CLOSE_TO_ONE:
        yield "C11"
    worst = {s: book.worst(s) for s in SYMBOLS}
    gross = sum(max(abs(long), abs(short)) * book.marks[s] for s, (long, short) in worst.items())
    net = sum((long if sign > 0 else -short) * book.marks[s] for s, (long, short) in worst.items())
    if gross > limits.max_gross_fraction * start * CLOSE_TO_ONE:
        yield "C12 gross"
    if net > limits.max_net_fraction * start * CLOSE_TO_ONE:
        yield "C12 net"
    if sign > 0 and book.reserved() > book.cash() * (1 - limits.cash_buffer_percent / 100):
        yield "C13"
    if sign < 0 and gross > book.equity() * (1 - limits.cash_buffer_percent / 100) * CLOSE_TO_ONE:
        yield "C13"
    if book.equity() * CLOSE_TO_ONE < start * (1 - limits.daily_loss_reduce_only_percent / 100):
        yield "C14"
    if book.equity() * CLOSE_TO_ONE < book.peak * (1 - limits.max_drawdown_percent / 100):
        yield "C15"
    if book.traded + value > limits.max_turnover_fraction * start:
        yield "C18"
    opposite = [o.limit for o in book.open.values() if (o.symbol, o.sign) == (symbol, -sign)]
    if any(limit is None or theirs is None or (limit - theirs) * sign >= 0 for theirs in opposite):
        yield "C21"


def _broken_counts(book: Ledger, limits: Limits, order: Order, now_ns: int) -> Iterator[str]:
    minute = [name for ts, name, *_ in book.sent if ts > now_ns - 60 * 10**9]
    second = [name for ts, name, *_ in book.sent if ts > now_ns - 10**9]
    if len(minute) > limits.max_orders_per_min_count or len(second) > limits.max_orders_per_s_count:
        yield "C08"
    if minute.count(order.strategy) > limits.max_strategy_orders_per_min_count:
        yield "C08"
    today = [name for _, name, *_ in book.sent[book.day :]]
    if len(today) > limits.max_orders_per_day_count:
        yield "C17"
    if today.count(order.strategy) > limits.max_strategy_orders_per_day_count:
        yield "C17"
    by_strategy = [o.strategy for o in book.open.values()].count(order.strategy)
    side = [(o.symbol, o.sign) for o in book.open.values()].count((order.symbol, order.sign))
    if (
        len(book.open) > limits.max_open_orders_count
        or by_strategy > limits.max_strategy_open_orders_count
        or side > limits.max_symbol_side_open_orders_count
    ):
        yield "C10"


class History:
    """One random story, told to the engine and to the ledger alike."""

    def __init__(self, desk: Any, seed: int) -> None:
        self.rng = random.Random(seed)
        self.limits = Limits(self.rng)
        self.desk = desk(**self.limits.given)
        self.desk.bar(100, "QQQ")
        self.book = Ledger()
        self.live: dict[str, Order] = {}
        self.accepted = 0

    def play(self, steps: int) -> None:
        acts = [self.order] * 8 + [self.fill] * 4 + [self.cancel, self.price, self.price, self.wait, self.wait]
        for _ in range(steps):
            self.rng.choice(acts)()
            if self.rng.random() < 0.02:
                self.session()
            assert abs(Fraction(self.desk.portfolio.reserved_usd) - self.book.reserved()) < Fraction(1, 10**9)

    def order(self) -> None:
        rng, d, book = self.rng, self.desk, self.book
        strategy, symbol, side = rng.choice(STRATEGIES), rng.choice(SYMBOLS), rng.choice(["buy", "buy", "sell"])
        qty, sign, fields = rng.choice([1, 10, 40, 80, 100, 120]), 1 if side == "buy" else -1, {}
        kind, limit, old = rng.choice(["limit", "market", "replace"]), None, None
        if kind == "replace":
            mine = [o for o in self.live.values() if (o.strategy, o.symbol, o.side) == (strategy, symbol, side)]
            old = next((o for o in mine if o.type == "limit"), None)
            if old is None:
                return
            fields["replaces"] = old.id
        if kind != "market":
            away = rng.choice([0, 1, -1, 100, -250, 299, 301, -1900, -2100])
            limit = _decimal(book.marks[symbol]) + sign * Decimal(away) / 100
            fields |= {"type": "limit", "limit_price": limit}
        order = d.order(side, qty, symbol, strategy, **fields)
        held, exits, state = book.position(symbol, strategy), book.pending(symbol, sign, strategy), d.risk.state
        if old is not None:
            exits -= book.open[old.id].left
        reduces = held * sign < 0 and qty <= abs(held) - exits
        if not isinstance(d.submit(order), Approved):
            return
        if old is not None:  # the venue takes the old order's place at once
            d.update(old, "replaced")
            del book.open[old.id], self.live[old.id]
        price = None if limit is None else Fraction(limit)
        cost = price if price is not None else book.marks[symbol] * (1 + self.limits.market_order_markup_percent / 100)
        book.sent.append((d.now_ns, strategy, (strategy, symbol, side, kind == "market", qty, limit), not reduces))
        book.open[order.id] = Open(strategy, symbol, sign, Fraction(qty), price, cost, not reduces)
        self.live[order.id] = order
        self.accepted += 1
        if not reduces:
            assert order.is_entry
            assert state == "active"
            assert held * sign >= 0 or self.limits.allow_reversals, "an exit beyond the position was accepted"
            short = book.pending(symbol, -1, strategy) - held
            assert sign > 0 or short <= 0 or self.limits.allow_short_selling, "a short was accepted"
            assert list(broken(book, self.limits, order, d.now_ns, price)) == []

    def fill(self) -> None:
        if not self.live:
            return
        order, book = self.rng.choice(list(self.live.values())), self.book
        part = max(1, int(order.remaining_qty * self.rng.choice([30, 100]) / 100))
        price = min(order.intent.limit_price or Decimal(10**9), _decimal(book.marks[order.symbol]))
        self.desk.fill(order, part, price)
        one = book.open[order.id]
        one.left -= part
        book.fills.append((order.strategy, order.symbol, Fraction(order.sign * part), Fraction(price)))
        book.traded += part * Fraction(price)
        if not one.left:
            del book.open[order.id], self.live[order.id]

    def cancel(self) -> None:
        if self.live:
            order = self.live.pop(self.rng.choice(list(self.live)))
            self.desk.update(order, "canceled")
            del self.book.open[order.id]

    def price(self) -> None:
        symbol, book = self.rng.choice(SYMBOLS), self.book
        price = max(Decimal(1), _decimal(book.marks[symbol]) + Decimal(self.rng.randint(-500, 500)) / 100)
        book.marks[symbol] = Fraction(price)
        exposed = self.desk.market(symbol).worst_qty
        changes = [one for one in self.desk.bar(float(price), symbol) if isinstance(one, TradingStateChanged)]
        if exposed:
            book.peak = max(book.peak, book.equity())
        lost = book.equity() < book.start * (1 - self.limits.daily_loss_reduce_only_percent / 100)
        fallen = book.equity() < book.peak * (1 - self.limits.max_drawdown_percent / 100)
        if self.desk.risk.state == "active":
            assert not exposed or not (lost or fallen), "a loss limit was missed"
        assert not changes or lost or fallen, "trading was stopped without a loss"

    def wait(self) -> None:
        self.desk.wait(self.rng.choice([0.3, 1.0, 2.0, 20.0, 60.0]))
        for symbol in SYMBOLS:
            self.desk.bar(float(self.book.marks[symbol]), symbol)

    def session(self) -> None:
        self.desk.risk.on_session(self.desk.now_ns)
        self.book.start, self.book.day, self.book.traded = self.book.equity(), len(self.book.sent), Fraction(0)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / value.denominator


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_no_accepted_order_breaks_a_limit(desk: Any, seed: int) -> None:
    """Over random orders, amendments, fills, cancels, prices, pauses and sessions, each limit holds from scratch."""
    History(desk, seed).play(60)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_no_accepted_order_breaks_a_limit_in_ten_thousand_histories(desk: Any, seed: int) -> None:
    """The same, as often as the promise says."""
    History(desk, seed).play(60)


def test_the_histories_accept_enough_to_mean_something(desk: Any) -> None:
    """A property over orders that are all refused would hold for nothing."""
    accepted = 0
    for seed in range(20):
        history = History(desk, seed)
        history.play(60)
        accepted += history.accepted
    assert accepted > 100
