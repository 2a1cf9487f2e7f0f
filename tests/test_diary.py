"""Days in the life of an account, told event by event, with the arithmetic beside each number.

ACME, Monday 2024-03-04. The venue takes orders after 50 ms, fills at most a tenth of a bar's volume, and passes on the
regulators' fees: of sales 8.00 dollars a million (SEC) and 0.000166 a share (FINRA), each summed over the day and
rounded up to the cent; purchases are free. The account has 10,000 dollars on a margin of two.
"""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest

from engine import Bar, Strategy, daemon, journal
from engine.config import from_dict
from engine.events import (
    MINUTE_NS,
    Approved,
    CancelRequest,
    CorporateAction,
    Denied,
    Fill,
    OrderUpdate,
    Record,
    RunEnded,
    RunStarted,
    Snapshot,
    Status,
    TradingStateChanged,
)
from tests.runs import (
    OPEN_NS,
    HeldFeed,
    at,
    bar,
    configuration,
    on_tape,
    replayed,
    strategy,
)
from tests.traders import Script

NEXT_DAY_NS = at("2024-03-05T09:30-05:00")
VENUE = {
    "cash_usd": "10000", "account": "margin_2x", "latency_ms": 50.0, "fees": "alpaca", "participation": 0.1,
}  # fmt: skip
LIMITS = {"profile": "small_account", "max_order_notional_percent": "30", "max_position_percent": "60"}


def told(record: Record) -> str:
    """Return one line for a person."""
    if isinstance(record, RunStarted):
        return "started"
    if isinstance(record, RunEnded):
        return "ended"
    if isinstance(record, Approved):
        price = "" if record.intent.limit_price is None else f" at {record.intent.limit_price}"
        return f"{_id(record.intent.client_order_id)} approved: {record.intent.side} {record.intent.qty}{price}"
    if isinstance(record, Denied):
        return f"{_id(record.intent.client_order_id)} denied by {record.control}"
    if isinstance(record, OrderUpdate):
        return f"{_id(record.client_order_id)} {record.status}"
    if isinstance(record, CancelRequest):
        return f"{_id(record.client_order_id)} to be canceled"
    if isinstance(record, Fill):
        return f"{_id(record.client_order_id)} {record.side} {record.qty} for {record.price}, fee {record.fee_usd}"
    if isinstance(record, TradingStateChanged):
        return f"trading is {record.state} ({record.control})"
    if isinstance(record, CorporateAction):
        return f"{record.action} of {record.symbol}"
    raise AssertionError(record)


def _id(client_order_id: str) -> str:
    return client_order_id.removeprefix("proof-one-")


# The script: at which bar of ACME the strategy asks for what.
ASKS = {
    "1": [["buy", {"qty": 10}]],
    "2": [["sell", {"qty": 4, "limit_price": 101.0}]],
    "3": [["buy", {"qty": 5, "take_profit": 103.0, "stop_loss": 99.0}]],
    "5": [["buy", {"qty": 8, "limit_price": 101.6}], ["buy", {"qty": 900}]],
    "8": [["sell", {"qty": 6, "stop_price": 98.0}]],
    "9": [["buy", {"qty": 2, "limit_price": 90.0, "time_in_force": "gtc"}]],
    "12": [["close_position", {}]],
}

# (minute, (open, high, low, close), volume): a bar; or an event that is none.
MONDAY = [
    bar("ACME", 0, (100.0, 100.2, 99.9, 100.0)),
    bar("ACME", 1, (100.1, 100.5, 100.0, 100.4)),
    bar("ACME", 2, (100.4, 101.2, 100.3, 101.1)),
    bar("ACME", 3, (101.2, 101.4, 101.0, 101.3)),
    bar("ACME", 4, (101.3, 101.5, 101.2, 101.4)),
    bar("ACME", 5, (101.5, 101.6, 101.3, 101.5), 50.0),
    bar("ACME", 6, (101.4, 101.5, 101.2, 101.4), 1_000.0),
    bar("ACME", 7, (101.4, 103.4, 101.4, 103.2)),
    bar("ACME", 8, (103.2, 103.3, 102.8, 103.0)),
    Status("ACME", OPEN_NS + 9 * MINUTE_NS, OPEN_NS + 9 * MINUTE_NS, "halted", "T1"),
    bar("ACME", 9, (97.0, 97.5, 96.0, 97.0)),
    Status("ACME", OPEN_NS + 10 * MINUTE_NS + 1, OPEN_NS + 10 * MINUTE_NS + 1, "trading"),
    bar("ACME", 10, (97.2, 97.4, 96.8, 97.0)),
]
TUESDAY = [
    CorporateAction("ACME", NEXT_DAY_NS, NEXT_DAY_NS, "split", 3, 2),
    CorporateAction("ACME", NEXT_DAY_NS + 1, NEXT_DAY_NS + 1, "cash_dividend", amount_usd=Decimal("0.10")),
    bar("ACME", 0, (64.8, 65.2, 64.6, 65.0), start_ns=NEXT_DAY_NS),
    bar("ACME", 1, (65.1, 65.3, 64.9, 65.2), start_ns=NEXT_DAY_NS),
]

STORY = [
    # Monday 09:30. Nothing has happened, so trading begins with what there is.
    ("started", None),
    ("trading is active (C01 trading_state)", None),
    # 09:31, the first bar is known. A market order goes out as a limit 3 % above the last price: 100.00 x 1.03.
    ("1 approved: buy 10 at 103.00", None),
    ("1 accepted", None),
    # It is at the venue 50 ms into the second bar, whose open it takes: 10 x 100.10 = 1,001.00.
    ("1 buy 10 for 100.1, fee 0", "8999.00"),
    # 09:32. A limit to sell, resting above the market.
    ("2 approved: sell 4 at 101.0", None),
    ("2 accepted", None),
    # The third bar trades through 101.00, up to 101.20: 4 x 101.00 = 404.00. SEC 404.00 x 8e-6 = 0.0033, up to 0.01;
    # FINRA 4 x 0.000166 = 0.0007, up to 0.01. Together 0.02.
    ("2 sell 4 for 101.0, fee 0.02", "9402.98"),
    # 09:33. A bracket: bought at the market, with a target and a stop that the venue holds. 101.10 x 1.03 = 104.133.
    ("3 approved: buy 5 at 104.13", None),
    ("3 accepted", None),
    ("3-sl held", None),
    ("3-tp held", None),
    # The fourth bar opens at 101.20: 5 x 101.20 = 506.00. Its legs wake up.
    ("3 buy 5 for 101.2, fee 0", "8896.98"),
    ("3-sl accepted", None),
    ("3-tp accepted", None),
    # 09:35. Bought against its own resting exits: the venue would refuse a wash trade, and so do we, before it. The
    # second wish is for more than 30 % of the equity, whatever else is wrong with it.
    ("4 denied by C21 self_trade", None),
    ("5 denied by C21 self_trade", None),
    # 09:38 is the eighth bar, up to 103.40. The target of 103.00 is traded through: 5 x 103.00 = 515.00.
    # SEC so far (404.00 + 515.00) x 8e-6 = 0.0074, still 0.01; FINRA 9 x 0.000166 = 0.0015, still 0.01: nothing new.
    ("3-tp sell 5 for 103.0, fee 0.00", "9411.98"),
    ("3-sl canceled", None),
    # 09:38. Six shares are left; a stop is to protect them.
    ("6 approved: sell 6", None),
    ("6 accepted", None),
    # 09:39. ACME is halted, and an entry is refused.
    ("7 denied by C23 market_state", None),
    # Until 09:40 nothing trades: the bar of that minute, down to 96.00, fills nothing. The next one opens at 97.20,
    # below the stop of 98.00, and that is what is paid: 6 x 97.20 = 583.20. SEC 1,502.20 x 8e-6 = 0.0120, up to 0.02,
    # of which 0.01 has been paid; FINRA 15 x 0.000166 = 0.0025, still 0.01.
    ("6 sell 6 for 97.2, fee 0.01", "9995.17"),
]


def test_a_day_of_replay_is_as_the_arithmetic_says() -> None:
    """Market, limit, bracket and stop orders, refusals and a halt: each line of the journal, and the cash after it."""
    tree = configuration(
        HeldFeed.hold(MONDAY), broker=VENUE, risk=LIMITS, strategies=[strategy(Script, script={"ACME": ASKS})]
    )  # fmt: skip
    records, run = replayed(tree)
    seen = [record for record in records if not isinstance(record, Snapshot)]
    cash = Decimal(10_000)
    for record, (line, expected) in zip(seen, [*STORY, ("ended", None)], strict=True):
        assert told(record) == line
        if isinstance(record, Fill):
            sign = 1 if record.side == "sell" else -1
            cash += sign * record.qty * record.price - record.fee_usd
            assert f"{cash:.2f}" == expected
    portfolio = run.core.portfolio
    # 10,000.00 - 1,001.00 + 403.98 - 506.00 + 515.00 + 583.19 = 9,995.17, flat, and nothing is open.
    assert portfolio.cash_usd == Decimal("9995.17")
    assert portfolio.fees_usd == Decimal("0.03")
    assert portfolio.equity == pytest.approx(9_995.17)
    assert list(portfolio.held()) == []
    assert not run.core.orders.open
    # Realized: (101.00 - 100.10) x 4 and the other three fills at average cost. Held after the bracket's entry were 6
    # for 600.60 and 5 for 506.00, on average 100.6 (1,106.60 / 11): 103.00 x 5 - 503.00 = 12.00; 583.20 - 603.60 =
    # -20.40; with 3.60 from the first that is -4.80, less 0.03 of fees -4.83.
    position = portfolio.book("one").position("ACME")
    assert position.realized_usd.quantize(Decimal("1e-6")) == Decimal("-4.80")
    assert portfolio.worth()[1]["one"] == Decimal("-4.83")


# --- the daemon -----------------------------------------------------------------------------------------------------


class Stopped(Strategy):
    """Buy at the second bar and, lower, at the fourth, sell all at the twelfth; at some bars the process is stopped."""

    stops: ClassVar[list[int]] = []

    def on_start(self) -> None:
        self.bars = 0

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        if self.bars == 2:
            self.buy(bar.symbol, 4)
        elif self.bars == 4:
            self.buy(bar.symbol, 7, limit_price=99.0, time_in_force="gtc")
        elif self.bars == 12:
            self.close_position(bar.symbol)
        if self.stops and self.bars == self.stops[0]:
            self.stops.pop(0)
            os.kill(os.getpid(), signal.SIGTERM)


DAEMON_STORY = [
    # Monday 09:30, the first start.
    ("started", None),
    ("trading is active (C01 trading_state)", None),
    # 09:32, two bars are known: 100.40 x 1.03 = 103.412, down to the tick.
    ("1 approved: buy 4 at 103.41", None),
    ("1 accepted", None),
    # At the open of the third bar: 4 x 100.40 = 401.60.
    ("1 buy 4 for 100.4, fee 0", "9598.40"),
    # 09:34, a limit far below, good till canceled.
    ("2 approved: buy 7 at 99.0", None),
    ("2 accepted", None),
    # 09:35, SIGTERM. The order rests. Started again, the daemon does over what the journal holds, order and all, and
    # goes on. 09:39, SIGTERM once more, in the minute in which ACME is halted; a third process takes over.
    # 09:40, ACME trades again and opens at 97.20, better than the limit asked: 7 x 97.20 = 680.40.
    ("2 buy 7 for 97.2, fee 0", "8918.00"),
    # Tuesday 09:30, three shares for two: 11 x 3 / 2 = 16.5. Sixteen stay; the half is paid at Monday's last price
    # by the ratio, 97.00 x 2 / 3 = 64.6667: 32.33.
    ("split of ACME", "8950.33"),
    # Ten cents on each of the sixteen.
    ("cash_dividend of ACME", "8951.93"),
    # 09:31, the first bar is known. 65.00 x 0.97 = 63.05.
    ("3 approved: sell 16 at 63.05", None),
    ("3 accepted", None),
    # At the next open: 16 x 65.10 = 1,041.60. SEC 1,041.60 x 8e-6 = 0.0083, FINRA 16 x 0.000166 = 0.0027: a cent each.
    ("3 sell 16 for 65.1, fee 0.02", "9993.51"),
    ("ended", None),
]


def test_two_days_of_a_daemon_that_is_stopped_twice_are_as_the_arithmetic_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three starts of one run, with a split, a dividend and an order that outlives a stop: one journal, told once."""
    monkeypatch.setattr(daemon, "_report", lambda _config, _path: 0)
    monkeypatch.setattr(Stopped, "stops", [5, 9])
    tree = on_tape(tmp_path, [*MONDAY, *TUESDAY], broker=VENUE, risk=LIMITS, strategies=[strategy(Stopped)])
    config = from_dict({**tree, "feed": {**tree["feed"], "speed": 60_000.0}})
    path = config.out_dir / daemon.RUN_JOURNAL
    for left in (1, 0):
        assert daemon.run(config) == 0
        assert len(Stopped.stops) == left
        assert not journal.is_ended(path)
    assert daemon.run(config) == 0

    records = list(journal.read(path))
    events = [record for record in records if not isinstance(record, Snapshot)]
    cash, held = Decimal(10_000), 0
    for record, (line, expected) in zip(events, DAEMON_STORY, strict=True):
        assert told(record) == line
        if isinstance(record, Fill):
            sign = 1 if record.side == "buy" else -1
            cash, held = cash - sign * record.qty * record.price - record.fee_usd, held + sign * int(record.qty)
        elif isinstance(record, CorporateAction):
            cash += Decimal("32.33") if record.action == "split" else 16 * record.amount_usd
            held = 16
        assert expected is None or f"{cash:.2f}" == expected
    last = records[-2]
    assert isinstance(last, Snapshot)
    # Flat: what is left is cash, 10,000.00 - 401.60 - 680.40 + 32.33 + 1.60 + 1,041.58.
    assert (last.cash_usd, last.equity_usd, held) == (Decimal("9993.51"), Decimal("9993.51"), 0)
    assert daemon.verify(path)[0] == len(records)

    daemon.backtest(from_dict({**tree, "out_dir": str(tmp_path / "backtest")}))
    assert journal.digest(tmp_path / "backtest" / daemon.BACKTEST_JOURNAL) == journal.digest(path)
