"""The customer's book at the venue: cash, holdings and what moved them, from fills and corporate actions only.

It is written apart from the engine's portfolio on purpose: two books that agree to the cent are evidence, one book
shown twice is none. Money is exact; marks are floats, as they come from the tape.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from math import isfinite

import msgspec

from brokers.alpaca_server.wire import amount
from engine.events import CorporateAction, Fill, exact

MONEY = Context(prec=38, traps=[InvalidOperation, DivisionByZero, Overflow])
ZERO, CENT, NANO = Decimal(0), Decimal("0.01"), Decimal("1e-9")
SAMPLES_MAX = 100_000


class Holding(msgspec.Struct):
    """What the account holds of one symbol.

    Attributes:
        qty: signed shares or coins; `cost_usd` is what they were bought for, negative for a short.
        mark: last price, NaN before the first.
        lastday: last price of the session before.
        day_cost_usd: what the quantity is worth at `lastday`, plus what today's executions cost.
    """

    symbol: str
    qty: Decimal = ZERO
    cost_usd: Decimal = ZERO
    mark: float = float("nan")
    lastday: float = float("nan")
    day_cost_usd: Decimal = ZERO

    @property
    def price(self) -> Decimal:
        return exact(self.mark) if isfinite(self.mark) else self.average_price

    @property
    def average_price(self) -> Decimal:
        return self.cost_usd / self.qty if self.qty else ZERO

    @property
    def value_usd(self) -> Decimal:
        return self.qty * self.price

    def book(self, qty: Decimal, price: Decimal) -> None:
        """Add a signed execution; what closes leaves at average cost."""
        self.day_cost_usd += qty * price
        held = self.qty
        if held and (held > 0) != (qty > 0):
            closed = max(qty, -held) if held > 0 else min(qty, -held)
            self.cost_usd = ZERO if closed == -held else self.cost_usd + self.cost_usd * closed / held
            self.qty, qty = held + closed, qty - closed
        self.qty, self.cost_usd = self.qty + qty, self.cost_usd + qty * price


class Entry(msgspec.Struct):
    """One line of the account's activities; `fields` are as the protocol names them, times and ids apart."""

    ts_ns: int
    kind: str
    uuid: str
    fields: dict[str, str | None]
    listed_ns: int = 0


class Ledger:
    """Cash, holdings, activities and the equity curve of the one account.

    Args:
        cash_usd: money at the start.
        multiplier: buying power over equity, 1, 2 or 4.
    """

    def __init__(self, cash_usd: Decimal, multiplier: int) -> None:
        self.start_cash_usd = self.cash_usd = self.last_equity_usd = cash_usd
        self.multiplier = multiplier
        self.fees_usd = ZERO
        self.holdings: dict[str, Holding] = {}
        self.entries: list[Entry] = []
        self.samples: list[tuple[int, float]] = []

    # --- reading ---------------------------------------------------------------------------------------------------

    def held(self) -> Iterator[Holding]:
        return (holding for holding in self.holdings.values() if holding.qty)

    def position_qty(self, symbol: str) -> Decimal:
        holding = self.holdings.get(symbol)
        return holding.qty if holding else ZERO

    def holding(self, symbol: str) -> Holding:
        found = self.holdings.get(symbol)
        if found is None:
            found = self.holdings[symbol] = Holding(symbol)
        return found

    def value_usd(self, side: int) -> Decimal:
        """Return the value of all longs (1) or shorts (-1)."""
        return sum((one.value_usd for one in self.held() if (one.qty > 0) == (side > 0)), ZERO)

    def equity_usd(self) -> Decimal:
        return self.cash_usd + sum((one.value_usd for one in self.held()), ZERO)

    def buying_power_usd(self) -> Decimal:
        """Return what may be spent on new exposure, open orders not counted."""
        if self.multiplier == 1:
            return self.cash_usd
        gross = sum((abs(one.value_usd) for one in self.held()), ZERO)
        return self.multiplier * self.equity_usd() - gross

    # --- prices and days -------------------------------------------------------------------------------------------

    def mark(self, symbol: str, price: float) -> None:
        """Take a symbol's new price."""
        holding = self.holdings.get(symbol) or self.holding(symbol)
        holding.mark = price

    def sample(self, ts_ns: int) -> None:
        """Add a point to the equity curve."""
        self.samples.append((ts_ns, float(self.equity_usd())))
        if len(self.samples) > SAMPLES_MAX:
            del self.samples[: SAMPLES_MAX // 2]

    def close_day(self) -> None:
        """Let a session's last prices be those of the day before."""
        self.last_equity_usd = self.equity_usd()
        for holding in self.holdings.values():
            holding.lastday = holding.mark
            holding.day_cost_usd = holding.value_usd if holding.qty else ZERO

    # --- what moves money ------------------------------------------------------------------------------------------

    def fill(self, fill: Fill, *, fee_in_kind: bool = False) -> None:
        """Book an execution; with `fee_in_kind` its fee is taken out of the coins that were bought."""
        qty = fill.qty if fill.side == "buy" else -fill.qty
        holding = self.holding(fill.symbol)
        if not isfinite(holding.mark):
            holding.mark = float(fill.price)
        self.cash_usd -= qty * fill.price
        holding.book(qty, fill.price)
        self.fees_usd += fill.fee_usd
        if fee_in_kind and fill.side == "buy":
            holding.qty -= (fill.fee_usd / fill.price).quantize(NANO, ROUND_HALF_UP)
        else:
            self.cash_usd -= fill.fee_usd
        if fill.fee_usd:
            kind = "CFEE" if "/" in fill.symbol else "FEE"
            self._note(fill.ts_event_ns, kind, fill.symbol, -fill.fee_usd, f"{fill.execution_id}:{kind}")

    def reverse(self, fill: Fill) -> None:
        """Take an execution back, as a bust does."""
        qty = fill.qty if fill.side == "buy" else -fill.qty
        self.cash_usd += qty * fill.price + fill.fee_usd
        self.fees_usd -= fill.fee_usd
        self.holding(fill.symbol).book(-qty, fill.price)

    def act(self, action: CorporateAction) -> None:
        """Apply a split, dividend or symbol change to the holding of its symbol.

        A split keeps whole shares and pays the fraction in cash at the mark divided by the ratio.
        """
        holding = self.holdings.get(action.symbol)
        if holding is None:
            return
        uuid = f"{action.symbol}:{action.action}:{action.ts_event_ns}"
        if action.action == "cash_dividend":
            paid = holding.qty * action.amount_usd
            self.cash_usd += paid
            if paid:
                self._note(action.ts_event_ns, "DIV", action.symbol, paid, uuid, holding.qty, action.amount_usd)
        elif action.action == "symbol_change":
            del self.holdings[action.symbol]
            holding.symbol = action.new_symbol
            self.holdings[action.new_symbol] = holding
            if holding.qty:
                self._note(action.ts_event_ns, "NC", action.new_symbol, ZERO, uuid, holding.qty)
        else:
            self._split(holding, action, uuid)

    def _split(self, holding: Holding, action: CorporateAction, uuid: str) -> None:
        new, old = action.new_shares, action.old_shares
        holding.mark, holding.lastday = holding.mark * old / new, holding.lastday * old / new
        if not holding.qty:
            return
        raw = holding.qty * new / old
        whole = holding.qty == holding.qty.to_integral_value()
        kept = raw.quantize(Decimal(1) if whole else NANO, ROUND_DOWN)
        paid = ((raw - kept) * holding.price).quantize(CENT)
        if paid:
            holding.cost_usd -= holding.cost_usd * (raw - kept) / raw
            self.cash_usd += paid
        holding.qty = kept
        self._note(action.ts_event_ns, "SPLIT", action.symbol, paid, uuid, kept)

    def _note(
        self, ts_ns: int, kind: str, symbol: str, net_usd: Decimal, uuid: str, qty: Decimal = ZERO,
        per_share_usd: Decimal = ZERO,
    ) -> None:  # fmt: skip
        fields: dict[str, str | None] = {"symbol": symbol, "net_amount": amount(net_usd), "status": "executed"}
        if qty:
            fields["qty"] = amount(qty)
        if per_share_usd:
            fields["per_share_amount"] = amount(per_share_usd)
        self.entries.append(Entry(ts_ns, kind, uuid, fields))
