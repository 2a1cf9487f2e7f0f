"""What a broker outside says of the account: at the start, whenever it is compared with our books, after a session."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.event import Event


class AccountOpened(Event, frozen=True, gc=False):
    """The account as it stood before the run's first order: its cash, and positions that are not ours to trade.

    Units: `positions` signed, by symbol; `prices` what values them now.
    """

    account_id: str
    ts_event_ns: int
    ts_recv_ns: int
    cash_usd: Decimal
    multiplier: int
    positions: dict[str, Decimal]
    prices: dict[str, Decimal]


class Assets(Event, frozen=True, gc=False):
    """What may be done with the symbols of the run's strategies at the broker, as it said when the run started.

    Each is a list of symbols; one that is on none of them is not to be traded.
    """

    ts_event_ns: int
    ts_recv_ns: int
    tradable: tuple[str, ...]
    fractionable: tuple[str, ...]
    shortable: tuple[str, ...]


class Reconciliation(Event, frozen=True, gc=False):
    """The broker's account was compared with our books.

    `cash_adjustment_usd` is what explains the cash when all executions agree: fees, dividends, interest. `disagreeing`
    are symbols whose positions differ, confirmed twice: they are frozen, and with `halts` so is everything.
    `coins_charged` are what the broker has kept of coins that were bought, as its fee.
    """

    ts_event_ns: int
    ts_recv_ns: int
    cash_adjustment_usd: Decimal = Decimal(0)
    disagreeing: tuple[str, ...] = ()
    halts: bool = False
    reason: str = ""
    coins_charged: dict[str, Decimal] = msgspec.field(default_factory=dict)


class AccountTerms(Event, frozen=True, gc=False):
    """What the broker declares, and may change: how far the account may borrow, and its day trades in five days.

    Units: `multiplier` is buying power over equity; `day_trades` is None where the broker does not count them any more.
    """

    ts_event_ns: int
    ts_recv_ns: int
    multiplier: int
    day_trades: int | None = None


class AccountStatement(Event, frozen=True, gc=False):
    """The broker's account after a session, to be compared with what we booked in `[from_ns, until_ns)`.

    `positions` signed, by symbol; `executions` are the ids of ours that the broker lists, with their times.
    """

    ts_event_ns: int
    ts_recv_ns: int
    from_ns: int
    until_ns: int
    cash_usd: Decimal
    positions: dict[str, Decimal]
    executions: dict[str, int]
