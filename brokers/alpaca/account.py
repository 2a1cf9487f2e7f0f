"""The account as the venue shows it, and whether it may trade at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from brokers.alpaca.book import Book
from brokers.alpaca.catch_up import CatchUp
from brokers.alpaca.records import (
    STATUSES,
    ZERO,
    AccountRecord,
    ClockRecord,
    OrderRecord,
    PositionRecord,
    canonical_symbol,
    side_of,
)
from brokers.alpaca.rest import Refused, Rest
from brokers.alpaca.rows import AssetRow
from brokers.alpaca.wire import parse_ns
from engine.clock import Clock
from engine.errors import BrokerError
from engine.events import SECOND_NS
from engine.ports import AccountState, Asset, OpenOrder

ONE_BY_ONE_MAX = 20
ASSET_CLASSES = {"status": "active", "asset_class": "us_equity"}, {"status": "active", "asset_class": "crypto"}
CLOCK_WARN_S, CLOCK_MAX_S = 1.0, 5.0


async def read_state(rest: Rest, book: Book, catch_up: CatchUp, since_ns: int) -> AccountState:
    """Return account, positions, open orders and the executions since an instant.

    Orders are read before positions: what fills between the two readings shows in the later one.
    """
    listed = await catch_up.orders({"status": "open"})
    for record in listed:
        book.ids.learn(record)
    fills = await catch_up.fills(since_ns)
    account, positions = await asyncio.gather(
        rest.get("/v2/account", AccountRecord), rest.get("/v2/positions", list[PositionRecord])
    )
    named = [(canonical_symbol(one.symbol, one.asset_class), one) for one in positions]
    cash = account.cash
    return AccountState(
        account_id=account.account_number or account.id,
        status=account.status,
        ts_ns=book.now_ns(),
        cash_usd=cash,
        equity_usd=account.equity if account.equity is not None else cash,
        buying_power_usd=account.buying_power if account.buying_power is not None else cash,
        multiplier=int(account.multiplier or 1),
        positions={symbol: _signed(one) for symbol, one in named if one.qty},
        prices={symbol: price for symbol, one in named if (price := one.current_price or one.avg_entry_price)},
        open_orders=tuple(_open_order(book, one) for record in listed for one in (record, *(record.legs or ()))
                          if not one.is_ended),
        fills=tuple(fills),
        day_trades=account.daytrade_count,
    )  # fmt: skip


async def check(rest: Rest, clock: Clock, *, simulated_time: bool) -> float:
    """Make sure that the keys are good, the account may trade and our clock is right; return how far it is off, in s.

    Raises:
        BrokerError: with the one thing that is wrong.
    """
    account, off_s = await asyncio.gather(
        rest.get("/v2/account", AccountRecord), _clock_off_s(rest, clock), return_exceptions=True
    )  # fmt: skip
    if isinstance(account, BaseException):  # it says best what is wrong, whichever answer came first
        raise account
    if isinstance(off_s, BaseException):
        raise off_s
    number = account.account_number or account.id
    if account.status != "ACTIVE":
        raise BrokerError(f"account {number} is {account.status or 'without a status'}; only an active account trades")
    for blocked, what in (
        (account.account_blocked, "is blocked by Alpaca"),
        (account.trading_blocked, "may not trade, says Alpaca"),
        (account.trade_suspended_by_user, "has its trading suspended in its own settings"),
    ):
        if blocked:
            raise BrokerError(f"account {number} {what}")
    if abs(off_s) > CLOCK_MAX_S and not simulated_time:
        raise BrokerError(f"this machine's clock is {off_s:+.1f} s off Alpaca's; set it right before trading")
    return off_s


async def _clock_off_s(rest: Rest, clock: Clock) -> float:
    sent_ns = clock.now_ns()
    theirs = await rest.get("/v2/clock", ClockRecord)
    ours_ns = (sent_ns + clock.now_ns()) // 2
    try:
        return (ours_ns - parse_ns(theirs.timestamp)) / SECOND_NS
    except ValueError as error:
        raise BrokerError(f"GET /v2/clock: {error}") from None


async def assets(rest: Rest, symbols: Sequence[str]) -> dict[str, Asset]:
    """Return what the venue says of each symbol that it knows: one by one, or of many from its whole list."""
    if len(symbols) > ONE_BY_ONE_MAX:
        found = {row.symbol: row for one in ASSET_CLASSES for row in await rest.get("/v2/assets", list[AssetRow], one)}
    else:
        rows = await asyncio.gather(*(_asset(rest, symbol) for symbol in symbols))
        found = {symbol: row for symbol, row in zip(symbols, rows, strict=True) if row is not None}
    return {
        symbol: Asset(
            tradable=row.tradable, fractionable=row.fractionable, shortable=row.shortable and row.easy_to_borrow,
            status=row.status,
        )
        for symbol in symbols if (row := found.get(symbol)) is not None
    }  # fmt: skip


async def _asset(rest: Rest, symbol: str) -> AssetRow | None:
    try:
        return await rest.get(f"/v2/assets/{symbol.replace('/', '')}", AssetRow)
    except Refused as error:
        if error.status == 404:
            return None
        raise


def _signed(position: PositionRecord) -> Decimal:
    return -abs(position.qty) if position.side == "short" else position.qty


def _open_order(book: Book, record: OrderRecord) -> OpenOrder:
    return OpenOrder(
        client_order_id=book.ids.ours(record), broker_order_id=record.id,
        symbol=canonical_symbol(record.symbol, record.asset_class), side=side_of(record.side), qty=record.qty,
        filled_qty=record.filled_qty or ZERO, status=STATUSES.get(record.status, "accepted"),
        submitted_ns=record.submitted_ns(0),
    )  # fmt: skip
