"""A made-up run: records as the engine writes them, from books of its own that know nothing of the report."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

from engine.clock import Sessions
from engine.events import (
    MINUTE_NS,
    SECOND_NS,
    Approved,
    CorporateAction,
    Denied,
    Fill,
    Intent,
    OrderUpdate,
    Record,
    RunEnded,
    RunStarted,
    Side,
    Signal,
    Snapshot,
    StrategyHalted,
    TradingStateChanged,
)  # fmt: skip
from engine.portfolio import split_shares

START_NS = 1_549_895_400_000_000_000  # 2019-02-11 09:30 New York
CONFIG: dict[str, Any] = {
    "mode": "replay", "name": "demo", "seed": 7, "calendar": "XNYS",
    "feed": {"use": "replay", "paths": ["tape/"]},
    "broker": {"use": "paper", "cash_usd": "100000", "latency_ms": 50, "participation_max_fraction": 0.1,
               "limit_fills": "through", "fees": {"use": "alpaca", "cat_usd_per_share": "0.0000265"}},
    "strategies": [{"name": "cross", "use": "sma_cross", "symbols": ["SPY"], "bar": "1min"}],
}  # fmt: skip


class Story:
    """Tells a run record by record. Cash and positions are kept here a second time, to check the report against."""

    def __init__(self, cash_usd: str = "100000", **config: Any) -> None:
        self.cash_usd = self.start_usd = Decimal(cash_usd)
        self.fees_usd = Decimal(0)
        self.positions: dict[str, Decimal] = {}
        self.marks: dict[str, float] = {}
        self.flow_usd: dict[str, Decimal] = {}
        self.held: dict[tuple[str, str], Decimal] = {}
        self.records: list[Record] = [
            RunStarted("run-1", json.dumps(CONFIG | config), "0.1.0", 1, START_NS, "9f2c" * 16, "PAPER-1")
        ]
        self.ts_ns = START_NS
        self._seq = 0

    def after(self, seconds: float) -> Story:
        self.ts_ns += round(seconds * SECOND_NS)
        return self

    def intent(self, strategy: str, symbol: str, side: Side, qty: str | Decimal, **more: Any) -> Intent:
        self._seq += 1
        return Intent(f"{strategy}-{self._seq}", strategy, symbol, side, Decimal(qty), self.ts_ns, **more)

    def approve(self, intent: Intent, reference: str) -> str:
        self._seq += 1
        self.records.append(
            Approved(intent, self._seq, self.ts_ns, self.ts_ns + SECOND_NS, Decimal(reference), "quote")
        )
        return intent.client_order_id

    def update(self, order_id: str, status: Any, reason: str = "") -> None:
        self.records.append(OrderUpdate(order_id, status, self.ts_ns, self.ts_ns, reason))

    def fill(
        self, order_id: str, strategy: str, symbol: str, side: Side, qty: str | Decimal, price: str, fee: str = "0"
    ) -> None:
        self._seq += 1
        size, at, fee_usd = Decimal(qty), Decimal(price), Decimal(fee)
        self.records.append(Fill(f"x{self._seq}", order_id, symbol, side, size, at, fee_usd, self.ts_ns, self.ts_ns))
        signed = size if side == "buy" else -size
        self._book(strategy, symbol, signed, -signed * at - fee_usd)
        self.fees_usd += fee_usd
        self.marks.setdefault(symbol, float(at))

    def trade(
        self, strategy: str, symbol: str, side: Side, qty: Any, price: str, fee: str = "0", reference: str = ""
    ) -> str:
        """One market order, approved, accepted and filled at once."""
        order_id = self.approve(self.intent(strategy, symbol, side, qty), reference or price)
        self.update(order_id, "accepted")
        self.fill(order_id, strategy, symbol, side, qty, price, fee)
        return order_id

    def deny(self, intent: Intent, control: str, reason: str) -> None:
        self.records.append(Denied(intent, self.ts_ns, control, reason))

    def split(self, symbol: str, new: int, old: int) -> None:
        """Whole positions only: what is not whole afterwards is the caller's business."""
        self.records.append(CorporateAction(symbol, self.ts_ns, self.ts_ns, "split", new, old))
        self.marks[symbol] = self.marks[symbol] * old / new
        before = {strategy: qty for (strategy, name), qty in self.held.items() if name == symbol}
        shares = split_shares([*before.values()], new, old)
        for (strategy, qty), kept in zip(before.items(), shares, strict=True):
            cash = ((qty * new / old - kept) * Decimal(repr(self.marks[symbol]))).quantize(Decimal("0.01"))
            self._book(strategy, symbol, kept - qty, cash)

    def dividend(self, symbol: str, amount: str) -> None:
        paid = Decimal(amount)
        self.records.append(CorporateAction(symbol, self.ts_ns, self.ts_ns, "cash_dividend", amount_usd=paid))
        for (strategy, held), qty in list(self.held.items()):
            if held == symbol:
                self._book(strategy, symbol, Decimal(0), qty * paid)

    def _book(self, strategy: str, symbol: str, qty: Decimal, cash: Decimal) -> None:
        self.cash_usd += cash
        self.positions[symbol] = self.positions.get(symbol, Decimal(0)) + qty
        self.held[strategy, symbol] = self.held.get((strategy, symbol), Decimal(0)) + qty
        self.flow_usd[strategy] = self.flow_usd.get(strategy, Decimal(0)) + cash

    def value_usd(self, symbol: str, qty: Decimal) -> Decimal:
        return qty * Decimal(repr(self.marks[symbol])) if qty else Decimal(0)

    def snapshot(self) -> None:
        values = [self.value_usd(symbol, qty) for symbol, qty in self.positions.items()]
        pnl = dict(self.flow_usd)
        for (strategy, symbol), qty in self.held.items():
            pnl[strategy] += self.value_usd(symbol, qty)
        gross, net = sum(map(abs, values), Decimal(0)), sum(values, Decimal(0))
        snapshot = Snapshot(
            self.ts_ns, self.cash_usd, self.cash_usd + net, gross, net, self.fees_usd, dict(self.marks), pnl
        )
        self.records.append(snapshot)

    def end(self) -> list[Record]:
        self.records.append(RunEnded(self.ts_ns, 1000))
        return self.records


def minutes(first_date: str, days: int, calendar: str = "XNYS") -> list[list[int]]:
    """The closing instants of each minute of the regular hours, by session."""
    sessions, found = Sessions(calendar), []
    session = sessions.on_date(first_date)
    assert session is not None
    for _ in range(days):
        found.append(list(range(session.open_ns + MINUTE_NS, session.close_ns + 1, MINUTE_NS)))
        session = sessions.at(session.extended_close_ns)
    return found


NAMES = [
    "SPY", "AAPL", "AMZN", "BAC", "BK", "DFS", "GLD", "JPM", "MSFT", "MU", "PPLT", "QQQ", "SBUX", "SLV", "TRV", "TSLA",
    "TZA", "UGA", "V", "VOO", "XLP", "AMT", "VXXB", "KO",
]  # fmt: skip


def busy_run(seed: int = 7, days: int = 5, symbols: int = 24, trade_rate: float = 0.12) -> list[Record]:
    """Two strategies on random walks: fills with slippage and fees, denials, a split, a dividend, a halt of one."""
    rng = random.Random(seed)
    story = Story(strategies=[{"name": "cross", "use": "sma_cross"}, {"name": "fade", "use": "quote_reversion"}])
    prices = {name: round(rng.uniform(12, 260), 2) for name in NAMES[:symbols]}
    drift = {name: rng.gauss(0, 4e-6) for name in prices}
    story.marks = dict(prices)
    story.snapshot()
    for day, stamps in enumerate(minutes("2019-02-11", days)):
        for place, ts_ns in enumerate(stamps):
            story.ts_ns = ts_ns
            if day == 2 and place == 0:
                story.split("AAPL", 2, 1)
                story.dividend("SPY", "1.23")
                prices = dict(story.marks)
            for name in prices:
                prices[name] = round(prices[name] * (1 + rng.gauss(drift[name], 3.5e-4)), 4)
            story.marks = dict(prices)
            for name in prices:
                if rng.random() < trade_rate:
                    _trade(story, rng, name)
            if day == 3 and place == 200:
                reason = "ZeroDivisionError: <script>alert(1)</script>"
                story.records.append(StrategyHalted("fade", ts_ns, "strategy_error", reason))
            story.snapshot()
    reason = "equity 93120.10 is below the floor of 95000.00"
    story.records.append(TradingStateChanged("halted", story.ts_ns, "C12 drawdown", reason))
    return story.end()


def _trade(story: Story, rng: random.Random, name: str) -> None:
    strategy = rng.choice(("cross", "cross", "fade"))
    held = story.held.get((strategy, name), Decimal(0))
    side: Side = "buy" if held < 0 or (not held and rng.random() < 0.7) else "sell"
    qty = abs(held) if held else Decimal(rng.randrange(10, 60))
    mark = story.marks[name]
    intent = story.intent(strategy, name, side, qty)
    if rng.random() < 0.02:
        control, asked = rng.choice(("C03 order_notional", "C08 gross_exposure")), mark * float(qty)
        story.deny(intent, control, f"{asked:.2f} exceeds the limit of {asked * 0.8:.2f}")
        return
    order_id = story.approve(intent, repr(mark))
    story.update(order_id, "accepted")
    if rng.random() < 0.03:
        story.update(order_id, "canceled", "end of session")
        return
    first = qty if rng.random() < 0.8 else Decimal(int(qty / 2))
    for part in filter(None, (first, qty - first)):
        worse = (1 if side == "buy" else -1) * rng.gauss(1e-4, 1e-4)
        story.fill(order_id, strategy, name, side, part, f"{mark * (1 + worse):.4f}", f"{float(part) * 0.0005:.4f}")
    if rng.random() < 0.1:
        story.records.append(Signal(name, story.ts_ns, story.ts_ns, "lstm", rng.gauss(0, 1)))
