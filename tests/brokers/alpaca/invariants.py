"""The invariants of a day's trading, checked against the venue's own ledger and the journal on disk."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from engine import daemon as engine_daemon
from engine.events import (
    AccountOpened,
    Approved,
    Bar,
    Fill,
    LateFill,
    OrderUpdate,
    Quote,
    Reconciliation,
    TradingStateChanged,
)
from engine.orders import TERMINAL
from tests.brokers.alpaca.daemon_rig import Daemon
from tests.brokers.alpaca_server.local import SECRET

ZERO = Decimal(0)


def broken(day: Daemon, *, agrees: bool) -> list[str]:
    """Return what a day broke, by the numbers of the invariants; with `agrees` books and venue have to be one."""
    found = [*day.broken, *_ours(day), *_journaled(day.records), *_secrets(day.path)]
    return [*found, *_agreement(day)] if agrees else [*found, *_caution(day)]


def _ours(day: Daemon) -> list[str]:
    """I1, I6: one order at the venue for each intent, and none fills beyond its size."""
    intents = [record.intent for record in day.records if isinstance(record, Approved)]
    wanted = {leg.client_order_id for intent in intents for leg in (intent, *intent.legs())}
    there = [order for order in day.local.venue.book.orders.values() if not order.foreign]
    named = [order.client_order_id for order in there if order.parent is None]
    found = [f"I1: {name} is {named.count(name)} orders" for name in {*named} if named.count(name) > 1]
    found += [f"I1: {name} is no intent of ours" for name in {*named} - wanted]
    return found + [f"I6: {order.client_order_id} filled {order.filled_qty}" for order in there if order.left < 0]


def _agreement(day: Daemon) -> list[str]:
    """I2 to I5, I15: executions, positions, cash and ends as the venue has them; stops cover what is held."""
    venue, core, found = day.local.venue, day.core, day.differences()
    here: dict[str, set[str]] = {}
    for fill in day.fills:
        here.setdefault(fill.client_order_id, set()).add(fill.execution_id)
    for order in core.orders.orders.values():
        there = day.venue_order(order.id)
        told = {*there.executions} if there is not None else set()
        if here.get(order.id, set()) != told:
            found.append(f"I2: {order.id} executed {sorted(told)} there, {sorted(here.get(order.id, ()))} here")
        if order.status == "unknown":
            found.append(f"I5: {order.id} is unknown")
    for order in venue.book.open.values():
        if order.parent is not None and order.status != "held" and order.left > venue.ledger.position_qty("AAPL"):
            found.append(f"I15: {order.client_order_id} protects {order.left}")
    return found


def _caution(day: Daemon) -> list[str]:
    """C29: where the venue holds something else, the symbol is frozen or everything is halted, and nothing is sent."""
    verdicts = [record for record in day.records if isinstance(record, Reconciliation)]
    stopped = day.core.risk.state == "halted" or "AAPL" in verdicts[-1].disagreeing
    return [] if stopped else ["C29: books and venue differ, and trading goes on"]


def _journaled(records: list[Any]) -> list[str]:
    """I3, I4, I7, I11: from the journal alone."""
    found, ended, late, ids = [], set(), [], []
    qty, cash, first_cash, reached_ns = ZERO, ZERO, ZERO, 0
    for record in records:
        if isinstance(record, AccountOpened):
            first_cash = record.cash_usd
        elif isinstance(record, OrderUpdate) and record.status in TERMINAL:
            ended.add(record.client_order_id)
        elif isinstance(record, Fill) and record.client_order_id.startswith("day-"):
            sign = 1 if record.side == "buy" else -1
            qty, cash = qty + sign * record.qty, cash - sign * record.qty * record.price
            ids.append(record.execution_id)
            if record.client_order_id in ended:
                late.append(record.execution_id)
        elif isinstance(record, LateFill):
            late.remove(record.execution_id)
        elif isinstance(record, Bar | Quote):
            if record.ts_recv_ns < max(record.ts_event_ns, reached_ns):
                found.append(f"I11: {record} was seen before its time")
            reached_ns = record.ts_recv_ns
    found += [f"I2: {one} was booked twice" for one in {*ids} if ids.count(one) > 1]
    found += [f"I7: {one} came late without a word" for one in late]
    return found + ([] if first_cash + cash >= 0 else ["I4: money was made up"])


def _secrets(path: Path) -> list[str]:
    """I16: no file of the run holds the secret."""
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    return [f"I16: the secret is in {file.name}" for file in files if SECRET.encode() in file.read_bytes()]


async def survives_a_restart(day: Daemon) -> list[str]:
    """I12, I13, I14: starting again changes nothing, keeps a halt, and the journal does over to the same records."""
    before, minute = _books(day), day.minute
    await day.restart()
    after, state = _books(day), day.core.risk.state
    await day.stop()
    stood_still = day.minute == minute  # otherwise what was open went on
    found = [f"I12: {before} became {after}"] if stood_still and after != before else []
    changes = [record.state for record in day.records if isinstance(record, TradingStateChanged)]
    if changes[-1] != state:
        found.append(f"I14: {changes[-1]} became {state}")
    engine_daemon.verify(day.path)
    return found


def _books(day: Daemon) -> tuple[Any, ...]:
    core = day.core
    orders = {order.id: (order.status, order.filled_qty) for order in core.orders.orders.values()}
    return core.portfolio.cash_usd, core.portfolio.position_qty("AAPL"), orders, core.risk.state
