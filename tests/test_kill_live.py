"""A live daemon that is killed anywhere, under faults, and started again: the venue's own ledger is the judge.

*Able to cancel* is a daemon from the moment at which its control line says that the journal has been followed: a word
that comes then is taken, journaled and sent to the venue. The time runs from the start of the process, faults included.
In every other life a `cancel-all` follows at once; its answer gives the venue up to five seconds to confirm.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.alpaca.wire import parse_ns
from engine import daemon
from engine.daemon import RUN_JOURNAL
from engine.events import Approved, Fill, TradingStateChanged
from tests.live_desk import ENDED, TRADERS, Desk, Venue, dec, desk_at_venue, percentiles, tell
from tests.runs import strategy

POSTS, ORDERS = {"method": "POST", "path": "/v2/orders"}, {"path": "/v2/orders*"}
ALWAYS = {"times": 0}
FAULTS: list[dict[str, Any]] = [
    # REST: lost answers (done and not done), refusals, storms, slowness, half a page, a page that lags
    {"use": "F01", "chance": 0.04, **ALWAYS},
    {"use": "F03", "chance": 0.03, **ALWAYS},
    {"use": "F04", "chance": 0.05, **ALWAYS},
    {"use": "F08", "chance": 0.01, **ALWAYS},
    {"use": "F05", "chance": 0.04, **ALWAYS},
    {"use": "http_answer", "name": "429", "chance": 0.03, **ALWAYS,
     "with": {"status": 429, "json": {"code": 42910000, "message": "rate limit exceeded"}}},
    {"use": "http_answer", "name": "504", "chance": 0.03, **ALWAYS,
     "with": {"status": 504, "html": "504 Gateway Time-out"}},
    {"use": "http_wait", "name": "slow", "chance": 0.2, **ALWAYS, "with": {"seconds": 0.15, "executed": True}},
    {"use": "http_wait", "name": "late", "chance": 0.05, **ALWAYS, "with": {"seconds": 0.3}},
    {"use": "F09", "chance": 0.2, **ALWAYS, "with": {"seconds": 0.5}},
    # the order stream: missing, repeated, turned around, late, unreadable, early, broken off
    {"use": "F14", "chance": 0.1, **ALWAYS},
    {"use": "F15", "chance": 0.1, **ALWAYS},
    {"use": "F17", "chance": 0.1, **ALWAYS},
    {"use": "update_wait", "name": "late update", "chance": 0.1, **ALWAYS, "with": {"seconds": 0.4}},
    {"use": "F20", "chance": 0.02, **ALWAYS},
    {"use": "F16", "chance": 0.1, **ALWAYS},
    {"use": "W12", "chance": 0.01, **ALWAYS},
    # the market and the desk: partial fills, cancels that take their time, orders rejected after all
    {"use": "F18", "chance": 0.3, **ALWAYS, "with": {"qty": 7}},
    {"use": "F29", "chance": 0.1, **ALWAYS, "with": {"seconds": 0.5}},
    {"use": "F10", "chance": 0.01, **ALWAYS},
]  # fmt: skip
LIMITS = {
    # These bind.
    "max_order_notional_usd": 4_000, "max_position_percent": 5, "max_gross_fraction": 0.1,
    "max_open_orders_count": 10, "max_symbol_side_open_orders_count": 2, "max_order_qty": 60,
    # These would only end the trading: the day is played many times faster than the machine lives it.
    "max_orders_per_day_count": 1_000_000, "max_strategy_orders_per_day_count": 1_000_000,
    "max_strategy_open_orders_count": 1_000, "max_executions_count": 1_000_000, "max_turnover_fraction": 1_000_000,
    "max_consecutive_rejects_count": 1_000_000, "max_reject_percent": 100, "max_unknown_count": 1_000,
    "max_unknown_age_s": 1e6, "link_down_no_entries_s": 1e6, "link_down_cancel_s": 1e6, "max_approval_age_s": 60.0,
    "max_data_age_s": 300.0, "max_data_age_periods_count": 5,
}  # fmt: skip
DRIFT = Decimal("1.05")
"""How far a price may move between an approval and its fill: the collar of 3 %, and a little."""

SETTLE_S = 90.0
START_CASH_USD = Decimal(100_000)


def day_trader(seed: int) -> dict[str, Any]:
    """Whatever an author may ask for, wise or absurd."""
    return strategy(f"{TRADERS}:Everything", name="all", busy=200, dice=random.Random(seed).randbytes(2048).hex())


class Trial:
    """Kills of one desk, and the figures of its restarts."""

    def __init__(self, desk: Desk, venue: Venue, seed: int) -> None:
        self.desk, self.venue, self.dice = desk, venue, random.Random(seed)
        self.ready_s: list[float] = []
        self.canceled_s: list[float] = []
        self.kills = self.early_kills = self.orders = self.fills = 0

    def life(self) -> None:
        """Start the daemon and kill it: while it starts, while it recovers, or while it trades."""
        desk, dice = self.desk, self.dice
        desk.start()
        if dice.random() < 0.25:
            desk.live(dice.uniform(0.05, 1.0))
            self.early_kills += 1
        else:
            self.ready_s.append(desk.first("status")[1])
            if dice.random() < 0.5:
                self.canceled_s.append(desk.first("cancel_all")[1])
            desk.live(dice.uniform(0.5, 3.0))
        desk.kill()
        self.kills += 1

    def settle(self, *, wholly: bool) -> None:
        """Let one life go on without faults until books and venue have nothing open between them, then compare.

        Unless `wholly`, an order that never reached the venue may still be asked after, as it is for half a minute.
        """
        desk, venue = self.desk, self.venue
        faults = venue.ask("/faults")
        venue.clear()
        desk.start()
        desk.first("halt")
        deadline_s = time.monotonic() + SETTLE_S
        while (open_ones := self._open(wholly=wholly)) and time.monotonic() < deadline_s:
            desk.first("cancel_all")
            desk.live(0.5)
        assert not open_ones, f"still open: {open_ones}; {desk.told()}"
        desk.live(0.5)
        self.compare()
        desk.first("resume")
        assert desk.stop() == 0, desk.told()
        assert faults
        for fault in FAULTS:  # under other names, by which their dice are thrown
            venue.ask("/faults", fault | {"name": f"{fault.get('name', fault['use'])}/{self.kills}"})

    def _open(self, *, wholly: bool) -> list[str]:
        there = {order["client_order_id"]: order["status"] for order in self.venue.ledger()["orders"]}
        here = {order.client_order_id: order.status for order in self.desk.status().orders}
        if not wholly:
            here = {name: status for name, status in here.items() if name in there}
        return [f"{name} {status} here" for name, status in here.items()] + [
            f"{name} {status} there" for name, status in there.items() if status not in ENDED
        ]

    # --- the invariants --------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Hold our books against the venue's ledger."""
        ledger, status = self.venue.ledger(), self.desk.status()
        ours: dict[str, Decimal] = defaultdict(Decimal)
        for line in status.positions:
            ours[line.symbol] += line.qty
        assert {symbol: qty for symbol, qty in ours.items() if qty} == {
            symbol: dec(qty) for symbol, qty in ledger["positions"].items()
        }, "positions"
        cent = Decimal("0.01")
        assert status.cash_usd.quantize(cent) == dec(ledger["cash_usd"]).quantize(cent), "cash"
        self._compare_orders(ledger["orders"])
        self._compare_fills(ledger)

    def _compare_orders(self, orders: list[dict[str, Any]]) -> None:
        approved = [record.intent.client_order_id for record in self.desk.records() if isinstance(record, Approved)]
        assert max(Counter(approved).values(), default=1) == 1, "an id was approved twice"
        sent = Counter(order["client_order_id"] for order in orders)
        assert max(sent.values(), default=1) == 1, "an order twice"
        parents = {order["client_order_id"] for order in orders if order["client_order_id"].startswith("desk-")}
        assert parents <= set(approved), "an order that was never approved"

    def _compare_fills(self, ledger: dict[str, Any]) -> None:
        names = {order["id"]: order for order in ledger["orders"]}
        theirs: dict[str, list[tuple[Decimal, Decimal]]] = defaultdict(list)
        for entry in ledger["activities"]:
            if entry["activity_type"] == "FILL":
                theirs[names[entry["order_id"]]["client_order_id"]].append((dec(entry["qty"]), dec(entry["price"])))
        ours: dict[str, list[tuple[Decimal, Decimal]]] = defaultdict(list)
        seen: set[str] = set()
        for record in self.desk.records():
            if isinstance(record, Fill) and record.execution_id not in seen:
                seen.add(record.execution_id)
                ours[record.client_order_id].append((record.qty, record.price))
        mine = Counter(tuple(sorted(fills)) for fills in ours.values())
        venue = Counter(tuple(sorted(fills)) for fills in theirs.values())
        assert mine == venue, f"fills: only here {mine - venue}, only there {venue - mine}"

    def check_limits(self) -> dict[str, str]:
        """Go through the venue's ledger from the start, and hold every order and every fill against the limits."""
        ledger = self.venue.ledger()
        biggest = _check_orders(ledger["orders"])
        return biggest | _check_exposure(ledger["activities"])


def _check_orders(orders: list[dict[str, Any]]) -> dict[str, str]:
    """Check size and number of the entries; in a cash account those are the buys, and no limit binds the way out."""
    turns: list[tuple[int, int, bool, str]] = []
    largest = Decimal(0)
    for order in orders:
        symbol, is_entry = order["symbol"], order["side"] == "buy"
        if is_entry:
            qty, value_usd = dec(order["qty"]), dec(order["notional"]) or dec(order["qty"]) * dec(order["limit_price"])
            assert qty <= LIMITS["max_order_qty"], order
            assert value_usd <= LIMITS["max_order_notional_usd"], order
            largest = max(largest, value_usd)
        ends = [order[key] for key in ("filled_at", "canceled_at", "expired_at", "failed_at", "replaced_at")]
        turns.append((parse_ns(order["submitted_at"]), 1, is_entry, f"{symbol} {order['side']}"))
        turns += [(parse_ns(text), -1, is_entry, f"{symbol} {order['side']}") for text in ends if text][:1]
    at_once = Counter[str]()
    most = 0
    for _, step, is_entry, side in sorted(turns):
        at_once[side] += step
        if is_entry and step == 1:
            most = max(most, at_once.total())
            assert at_once.total() <= LIMITS["max_open_orders_count"]
            assert at_once[side] <= LIMITS["max_symbol_side_open_orders_count"]
    return {"orders": str(len(orders)), "largest entry": f"{largest:.0f} USD", "open at once": str(most)}


def _check_exposure(activities: list[dict[str, Any]]) -> dict[str, str]:
    cash_usd, held, prices = START_CASH_USD, defaultdict[str, Decimal](Decimal), dict[str, Decimal]()
    most = gross_most = Decimal(0)
    least_usd, fills = cash_usd, 0
    for entry in activities:
        if entry["activity_type"] != "FILL":
            continue
        fills += 1
        symbol, price = entry["symbol"], dec(entry["price"])
        qty = dec(entry["qty"]) if entry["side"] == "buy" else -dec(entry["qty"])
        before = held[symbol]
        held[symbol], prices[symbol] = before + qty, price
        cash_usd -= qty * price
        least_usd = min(least_usd, cash_usd)
        assert held[symbol] >= 0, f"sold short: {entry}"
        if abs(held[symbol]) > abs(before):  # an entry
            value, gross = held[symbol] * price, sum(abs(one) * prices[name] for name, one in held.items())
            most, gross_most = max(most, value), max(gross_most, Decimal(gross))
            assert value <= DRIFT * START_CASH_USD * LIMITS["max_position_percent"] / 100, entry
            assert gross <= DRIFT * START_CASH_USD * Decimal(str(LIMITS["max_gross_fraction"])), entry
    assert least_usd >= 0
    return {"fills": str(fills), "largest position": f"{most:.0f} USD", "largest gross": f"{gross_most:.0f} USD"}


def run_trial(folder: Path, *, kills: int, every: int, speed: float, seed: int) -> Trial:
    """Kill a trading day `kills` times, comparing the books after every so many; print the figures."""
    tables = {"risk": LIMITS, "broker": {"timeout_s": 1.5}}
    # Ids need only be unique among the open orders, so that the venue is no help against sending one twice.
    server = {"speed": speed, "client_order_id_scope": "open"}
    with desk_at_venue(folder, day_trader(seed), faults=FAULTS, server=server, **tables) as (desk, venue):
        trial = Trial(desk, venue, seed)
        while trial.kills < kills:
            trial.life()
            if trial.kills % every == 0:
                fired = venue.fired()
                trial.settle(wholly=every < kills)
                tell(f"{trial.kills} kills, venue at {venue.ask('')['now'][11:19]}, faults {fired}")
        biggest = trial.check_limits()
        states = [record.state for record in desk.records() if isinstance(record, TradingStateChanged)]
        records, _ = daemon.verify(desk.out / RUN_JOURNAL)
        tell(f"{trial.kills} kills ({trial.early_kills} while starting), {biggest}, {records} records verified")
        tell(f"trading states {Counter(states)}; able to cancel {percentiles(trial.ready_s)}")
        tell(f"cancel-all answered {percentiles(trial.canceled_s)}")
        trial.orders, trial.fills = int(biggest["orders"]), int(biggest["fills"])
    return trial


def test_a_live_daemon_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Five kills with every fault on: no order and no fill twice or lost, positions and cash are the venue's."""
    trial = run_trial(tmp_path, kills=5, every=5, speed=60.0, seed=21)
    assert trial.orders


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_live_daemon_that_is_killed_three_hundred_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The same with three hundred over most of a day; from a start to being able to cancel, less than 2 s at p50."""
    trial = run_trial(tmp_path, kills=300, every=25, speed=13.0, seed=22)
    assert statistics.median(trial.ready_s) < 2.0
    assert trial.orders >= 150, "a day on which hardly anything was traded proves little"
    assert trial.fills >= 75
