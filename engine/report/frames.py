"""Rows to pandas frames. Times are in the exchange's zone; money becomes float here, after every sum was exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engine.events import SECOND_NS, CorporateAction
from engine.orders import TERMINAL
from engine.portfolio import FOREIGN
from engine.report import metrics
from engine.report.fold import Fold


class Split(NamedTuple):
    """`row`: the first snapshot after it; `ratio`: shares for one."""

    row: int
    time: pd.Timestamp
    symbol: str
    ratio: float


SNAPSHOT_MONEY = ("equity_usd", "cash_usd", "gross_usd", "net_usd", "fees_usd")


def equity(fold: Fold, prices: pd.DataFrame, zone: str) -> pd.DataFrame:
    """One row a snapshot: equity, cash, exposures, fees, drawdown, buying and holding, and whether anything moved."""
    rows = fold.snapshots
    values = {name: [float(getattr(row, name)) for row in rows] for name in SNAPSHOT_MONEY}
    frame = pd.DataFrame(values, dtype="float64")
    frame.index = _index((row.ts_event_ns for row in rows), zone)
    frame["drawdown"] = metrics.drawdown(frame["equity_usd"])
    names = renamed(fold)
    actions = []
    for act in fold.actions:
        event, ratio = act.event, act.event.new_shares / act.event.old_shares
        symbol = names.get(event.symbol, event.symbol)
        actions.append(metrics.Action(act.snapshots, symbol, ratio, float(event.amount_usd)))
    start_usd = float(frame["equity_usd"].iloc[0]) if len(frame) else 0.0
    tradable = prices
    if fold.signals:  # before the first of them there was nothing to go by: nobody is ahead by having been there
        tradable = prices[frame.index >= _index([fold.signals[0].ts_recv_ns], zone)[0]].reindex(prices.index)
    frame["benchmark_usd"] = metrics.buy_and_hold(tradable, start_usd, actions)
    if not prices.notna().equals(prices.ffill().notna()):
        frame["benchmark_usd"] = np.nan  # some prices were kept only while they were needed
    frame["moved"] = _moved(frame["equity_usd"], prices)
    return frame


def _moved(values: pd.Series, prices: pd.DataFrame) -> Any:
    before = prices.shift()
    priced = (prices.ne(before) & (prices.notna() | before.notna())).to_numpy().any(axis=1)
    moved = priced | values.diff().ne(0).to_numpy()
    moved[:1] = False
    return moved


def renamed(fold: Fold) -> dict[str, str]:
    """Return the last name of each symbol that changed its name."""
    names: dict[str, str] = {}
    for act in fold.actions:
        if act.event.action == "symbol_change":
            old, new = act.event.symbol, act.event.new_symbol
            names = {known: new if last == old else last for known, last in names.items()} | {old: new}
    return names


def marks(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a snapshot, one column a symbol under its last name, as traded: splits are not adjusted away."""
    frame = pd.DataFrame.from_records([row.marks for row in fold.snapshots]).astype("float64")
    frame.index = _index((row.ts_event_ns for row in fold.snapshots), zone)
    for old, new in renamed(fold).items():
        if old in frame:
            column = frame.pop(old)
            frame[new] = frame[new].combine_first(column) if new in frame else column
    return frame.reindex(sorted(frame.columns), axis=1)


def orders(fold: Fold, zone: str) -> pd.DataFrame:
    """One row an order, protective legs included, with its status at the end of the journal."""
    columns = (
        "client_order_id strategy symbol side type time_in_force order_class parent_id replaces qty notional_usd "
        "limit_price stop_price status filled_qty average_price fee_usd reference_price created ended reason late_fill"
    )
    rows = []
    for order in fold.orders:
        ask = order.intent
        rows.append((
            order.id, order.strategy, order.symbol, order.side, order.type, ask.time_in_force, ask.order_class,
            ask.parent_id, ask.replaces, _float(ask.qty), _float(ask.notional_usd), _float(ask.limit_price),
            _float(ask.stop_price), order.status, float(order.filled_qty), _float(order.average_price),
            float(order.fees_usd), _float(order.reference_price), order.created_ns,
            order.updated_ns if order.status in TERMINAL else None, order.reason, order.id in fold.late,
        ))  # fmt: skip
    return _frame(columns, rows, zone, times=("created", "ended"))


def fills(fold: Fold, zone: str) -> pd.DataFrame:
    """One row an execution. Slippage is a cost: positive when it bought higher or sold lower than its reference."""
    columns = (
        "time execution_id client_order_id strategy symbol side qty price notional_usd fee_usd liquidity "
        "reference_price slippage_usd slippage_bps"
    )
    rows = []
    for execution in fold.executions:
        fill, order, reference = execution.fill, execution.order, execution.reference_price
        worse = None if reference is None else (fill.price - reference) * (1 if fill.side == "buy" else -1)
        rows.append((
            fill.ts_event_ns, fill.execution_id, fill.client_order_id, order.strategy, fill.symbol, fill.side,
            float(fill.qty), float(fill.price), float(fill.qty * fill.price), float(fill.fee_usd),
            fill.liquidity, _float(reference), None if worse is None else float(worse * fill.qty),
            float(worse / reference * 10_000) if worse is not None and reference else None,
        ))  # fmt: skip
    return _frame(columns, rows, zone, times=("time",))


def denials(fold: Fold, zone: str) -> pd.DataFrame:
    """One row an order that our own risk refused."""
    columns = "time control strategy symbol side type qty notional_usd limit_price reason client_order_id"
    rows = [
        (
            row.ts_event_ns, row.control, ask.strategy, ask.symbol, ask.side, ask.type, _float(ask.qty),
            _float(ask.notional_usd), _float(ask.limit_price), row.reason, ask.client_order_id,
        )
        for row in fold.denials
        for ask in (row.intent,)
    ]  # fmt: skip
    return _frame(columns, rows, zone, times=("time",))


def signals(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a model's score."""
    rows = [
        (row.ts_recv_ns, row.symbol, row.model, row.score, row.horizon_ns / SECOND_NS, row.source)
        for row in fold.signals
    ]
    return _frame("time symbol model score horizon_s source", rows, zone, times=("time",))


def trades(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a round trip, first in first out, profit after the fees of both sides."""
    columns = (
        "strategy symbol side qty entry_time entry_price exit_time exit_price fee_usd pnl_usd return_pct holding_s"
    )
    rows = []
    for trip in fold.trips.closed:
        pnl_usd, cost_usd, qty = trip.pnl_usd, trip.cost_usd, trip.qty
        rows.append((
            trip.strategy, trip.symbol, trip.side, float(qty), trip.entry_ns, float(cost_usd / qty), trip.exit_ns,
            float(trip.value_usd / qty), float(trip.fee_usd), float(pnl_usd),
            float(pnl_usd / cost_usd * 100) if cost_usd else None, (trip.exit_ns - trip.entry_ns) / SECOND_NS,
        ))  # fmt: skip
    return _frame(columns, rows, zone, times=("entry_time", "exit_time"))


def open_lots(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a lot that is still open, at the last mark."""
    last = fold.snapshots[-1].marks if fold.snapshots else {}
    rows = []
    for (strategy, symbol), lot in fold.trips.open():
        mark = last.get(symbol, fold.portfolio.market(symbol).mark)
        pnl_usd = float(lot.qty) * mark - float(lot.cost_usd.copy_sign(lot.qty)) - float(lot.fee_usd)
        rows.append((
            strategy, symbol, lot.ts_ns, float(lot.qty), float(lot.cost_usd / abs(lot.qty)), mark, float(lot.fee_usd),
            pnl_usd,
        ))  # fmt: skip
    return _frame("strategy symbol entry_time qty entry_price mark fee_usd pnl_usd", rows, zone, times=("entry_time",))


def actions(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a corporate action and strategy that it paid; `gain_usd` is less what a fraction had cost."""
    rows = []
    for act in fold.actions:
        for (strategy, symbol), paid in act.paid_usd.items():
            gain = act.gain_usd[strategy, symbol]
            rows.append((act.event.ts_event_ns, symbol, describe(act.event), strategy, float(paid), float(gain)))
    return _frame("time symbol action strategy paid_usd gain_usd", rows, zone, times=("time",))


def describe(event: CorporateAction) -> str:
    """Say a corporate action in words."""
    if event.action == "split":
        return f"{event.new_shares}-for-{event.old_shares} split"
    if event.action == "cash_dividend":
        return f"dividend of ${event.amount_usd} a share"
    return f"renamed to {event.new_symbol}"


def splits(fold: Fold, zone: str) -> tuple[Split, ...]:
    """Every split, with its place among the snapshots."""
    names, found = renamed(fold), []
    for act in fold.actions:
        event = act.event
        if event.action == "split":
            time, symbol = _index((event.ts_event_ns,), zone)[0], names.get(event.symbol, event.symbol)
            found.append(Split(act.snapshots, time, symbol, event.new_shares / event.old_shares))
    return tuple(found)


def states(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a change of the trading state."""
    rows = [(row.ts_event_ns, row.state, row.control, row.reason) for row in fold.states]
    return _frame("time state control reason", rows, zone, times=("time",))


def strategy_halts(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a strategy that was stopped alone."""
    rows = [(row.ts_event_ns, row.strategy, row.control, row.reason, row.cause) for row in fold.strategy_halts]
    return _frame("time strategy control reason cause", rows, zone, times=("time",))


def model_statuses(fold: Fold, zone: str) -> pd.DataFrame:
    """One row each time that a model's standing changed, its file did, or it was compared with its challenger."""
    rows = [
        (row.ts_recv_ns, row.model, row.state, row.action, row.reason, row.sha256[:12]) for row in fold.model_statuses
    ]
    return _frame("time model state action reason source", rows, zone, times=("time",))


def strategy_pnl(fold: Fold, zone: str) -> pd.DataFrame:
    """One row a snapshot, one column a strategy: its profit since the start, in dollars."""
    names = sorted({name for row in fold.snapshots for name in row.strategy_pnl_usd})
    values = {name: [float(row.strategy_pnl_usd.get(name, 0)) for row in fold.snapshots] for name in names}
    if not any(values.get(FOREIGN, ())):
        values.pop(FOREIGN, None)  # an account that only this run moves; a strategy that did nothing is still shown
    return pd.DataFrame(values, index=_index((row.ts_event_ns for row in fold.snapshots), zone), dtype="float64")


def _index(stamps_ns: Iterable[int], zone: str) -> pd.DatetimeIndex:
    stamps = np.fromiter(stamps_ns, dtype="int64").view("datetime64[ns]")
    return pd.DatetimeIndex(stamps, tz="UTC", name="time").tz_convert(zone)


def _frame(columns: str, rows: Sequence[tuple[Any, ...]], zone: str, *, times: tuple[str, ...]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns.split())
    for name in times:
        stamps = pd.to_datetime(frame[name].astype("Int64"), utc=True, unit="ns")
        frame[name] = stamps.dt.tz_convert(zone)
    for name in frame.columns:
        if name.endswith(("_usd", "_price", "_bps", "_pct", "_s", "qty")) or name == "mark":
            frame[name] = frame[name].astype("float64")
    return frame


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
