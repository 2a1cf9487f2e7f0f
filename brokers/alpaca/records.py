"""Alpaca's trading objects as far as we read them, from REST and from the `trade_updates` stream.

Every field but an order's two ids may be missing or null, every status and event may be a word we have never seen:
decoding is tolerant, and `updates` decides what a word means. Numbers are decimal texts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from brokers.alpaca.wire import parse_ns
from engine.events import OrderStatus, Side

ZERO = Decimal(0)

STATUSES: dict[str, OrderStatus] = {
    "new": "accepted", "accepted": "accepted", "accepted_for_bidding": "accepted", "pending_new": "accepted",
    "pending_review": "accepted", "stopped": "accepted", "suspended": "accepted", "calculated": "accepted",
    "done_for_day": "accepted", "restated": "accepted", "held": "held", "partially_filled": "partially_filled",
    "filled": "filled", "pending_cancel": "pending_cancel", "pending_replace": "pending_replace",
    "canceled": "canceled", "expired": "expired", "rejected": "rejected", "replaced": "replaced",
}  # fmt: skip
"""Alpaca's statuses in the engine's. What only says that an order still lives is `accepted`."""

ENDED = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})


class OrderRecord(msgspec.Struct, frozen=True, gc=False):
    """An order as the venue shows it; `legs` only where it was asked for nested."""

    id: str
    client_order_id: str
    symbol: str = ""
    side: str = "buy"
    status: str = ""
    type: str = ""
    order_class: str | None = ""
    asset_class: str = ""
    qty: Decimal | None = None
    notional: Decimal | None = None
    filled_qty: Decimal | None = ZERO
    filled_avg_price: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    created_at: str | None = None
    updated_at: str | None = None
    submitted_at: str | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    legs: list[OrderRecord] | None = None

    @property
    def filled(self) -> Decimal:
        return self.filled_qty or ZERO

    @property
    def is_ended(self) -> bool:
        return STATUSES.get(self.status, "accepted") in ENDED

    def ts_ns(self, default_ns: int) -> int:
        """Return when the order last changed."""
        return instant_ns(self.updated_at or self.submitted_at or self.created_at, default_ns)

    def submitted_ns(self, default_ns: int) -> int:
        """Return when the venue took the order on."""
        return instant_ns(self.submitted_at or self.created_at, default_ns)


class UpdateRecord(msgspec.Struct, frozen=True, gc=False):
    """One event of the `trade_updates` stream; `price` and `qty` are those of this execution alone."""

    event: str
    order: OrderRecord
    execution_id: str | None = None
    timestamp: str | None = None
    price: Decimal | None = None
    qty: Decimal | None = None
    previous_execution_id: str | None = None
    reason: str | None = None


class FillRecord(msgspec.Struct, frozen=True, gc=False):
    """A FILL activity. Its id ends in a uuid of which nobody says whether it is the execution's."""

    id: str
    order_id: str = ""
    symbol: str = ""
    side: str = "buy"
    qty: Decimal | None = None
    price: Decimal | None = None
    cum_qty: Decimal | None = None
    transaction_time: str | None = None

    @property
    def execution_id(self) -> str:
        return self.id.rpartition("::")[2] or self.id


class AccountRecord(msgspec.Struct, frozen=True, gc=False):
    """The account; the count of day trades is read while Alpaca still sends one."""

    id: str = ""
    account_number: str = ""
    status: str = ""
    cash: Decimal = ZERO
    equity: Decimal | None = None
    buying_power: Decimal | None = None
    multiplier: Decimal | None = None
    daytrade_count: int | None = None
    trading_blocked: bool = False
    account_blocked: bool = False
    trade_suspended_by_user: bool = False


class PositionRecord(msgspec.Struct, frozen=True, gc=False):
    """A position; `qty` is signed, and a coin's symbol has no slash here."""

    symbol: str
    qty: Decimal = ZERO
    side: str = "long"
    asset_class: str = ""
    current_price: Decimal | None = None
    avg_entry_price: Decimal | None = None


class ClockRecord(msgspec.Struct, frozen=True, gc=False):
    """The venue's clock."""

    timestamp: str
    is_open: bool = False


class Frame(msgspec.Struct, frozen=True, gc=False):
    """The envelope of the trading stream."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Authorization(msgspec.Struct, frozen=True, gc=False):
    """The answer to the keys, or to listening without them."""

    status: str = ""
    action: str = ""


class Listening(msgspec.Struct, frozen=True, gc=False):
    """The streams that are listened to."""

    streams: list[str] = []


def side_of(text: str) -> Side:
    """Return the side; `sell_short` sells too."""
    return "buy" if text.startswith("buy") else "sell"


def instant_ns(text: str | None, default_ns: int) -> int:
    """Return an instant, or the default for one that is missing or does not read."""
    try:
        return parse_ns(text) if text else default_ns
    except ValueError:
        return default_ns


def canonical_symbol(symbol: str, asset_class: str) -> str:
    """Return a coin's symbol with its slash, which positions lack."""
    if asset_class != "crypto" or "/" in symbol:
        return symbol
    for quote in ("USDT", "USDC", "USD", "BTC"):
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return f"{symbol[: -len(quote)]}/{quote}"
    return symbol


Suffix = Literal["-tp", "-sl"]


def leg_suffix(record: OrderRecord) -> Suffix:
    """Return which of our two protective legs an order of a group is."""
    return "-sl" if record.type in ("stop", "stop_limit", "trailing_stop") else "-tp"
