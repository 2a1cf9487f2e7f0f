"""What a daemon decides is in its log as it happens."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from engine.events import Denied, Event, Intent, LateFill, StrategyHalted, TradingStateChanged
from engine.operating.observers import DecisionLog, Observers


async def told(*records: Event) -> list[dict[str, Any]]:
    """Return the log's lines on these records."""
    journal: Any = SimpleNamespace(observer=None)
    with capture_logs() as lines:
        DecisionLog(Observers(journal))
        for record in records:
            journal.observer(record)
        await asyncio.sleep(0)
    return [dict(line) for line in lines]


async def test_every_denial_is_in_the_log() -> None:
    """With the order, the control and its numbers; a second one is told as the first."""
    denied = Denied(Intent("a-1", "one", "AAA", "buy", None, 1), 1, "C02 order_notional", "30,000 USD > 25,000 USD")
    line = {
        "event": "order denied", "log_level": "info", "strategy": "one", "symbol": "AAA", "order": "a-1",
        "control": "C02 order_notional", "why": "30,000 USD > 25,000 USD", "_ts_event_ns": 1,
    }  # fmt: skip
    assert await told(denied, denied) == [line, line]


async def test_every_halt_is_in_the_log() -> None:
    """Of a strategy, and of trading as a whole; that it became active is no news."""
    lines = await told(
        StrategyHalted("one", 1, "exception", "KeyError: 'AAA' at line 3 of on_bar"),
        TradingStateChanged("reduce_only", 2, "C14 daily_loss", "too much"),
        TradingStateChanged("halted", 3, "C15 drawdown", "far too much"),
        TradingStateChanged("active", 4, "operator", "looked into it"),
    )
    assert [(line["log_level"], line["event"], line["control"]) for line in lines] == [
        ("critical", "strategy one is halted", "exception"),
        ("warning", "trading is reduce-only", "C14 daily_loss"),
        ("critical", "trading is halted", "C15 drawdown"),
    ]
    assert lines[0]["why"] == "KeyError: 'AAA' at line 3 of on_bar"
    assert [line["_ts_event_ns"] for line in lines] == [1, 2, 3]


async def test_every_late_fill_is_in_the_log() -> None:
    """An execution of an order that was canceled is booked, and pointed out."""
    (line,) = await told(LateFill("a-1/2", "a-1", "canceled", 5))
    assert (line["log_level"], line["order"], line["execution"], line["status"]) == (
        "warning", "a-1", "a-1/2", "canceled",
    )  # fmt: skip
