"""The account's activities and its equity over time, as `GET /v2/account/...` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.ledger import Entry, Ledger
from brokers.alpaca_server.refusals import invalid
from brokers.alpaca_server.replies import choice, names, whole
from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

PAGE_DEFAULT = 100
TIMEFRAMES_NS = {"1Min": MINUTE_NS, "5Min": 5 * MINUTE_NS, "15Min": 15 * MINUTE_NS, "1H": HOUR_NS, "1D": DAY_NS}
PERIOD_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}
TRADES = frozenset({"FILL"})
Row = dict[str, Any]
Query = Mapping[str, str]


def activities(ledger: Ledger, clock: VenueClock, query: Query, kind: str = "") -> list[Row]:
    """Return a page of activities, newest first unless the query says otherwise.

    Raises:
        Refusal: the query contradicts itself, or an instant does not read.
    """
    kinds = frozenset([kind] if kind else names(query, "activity_types"))
    category = choice(query, "category", "", "trade_activity", "non_trade_activity")
    if kinds and category:
        raise invalid("only one of activity_types or category is accepted")
    date = query.get("date", "")
    most = 10**9 if date else PAGE_DEFAULT
    size = whole(query, "page_size", most, most)
    after_ns, until_ns = _instant(clock, query, "after", -1), _instant(clock, query, "until", 2**63 - 1)
    now_ns, order_id = clock.wall.monotonic_ns(), query.get("order_id", "")
    rows = [
        shown(entry, clock)
        for entry in ledger.entries
        if (not kinds or entry.kind in kinds)
        and (not category or (entry.kind in TRADES) is (category == "trade_activity"))
        and after_ns < entry.ts_ns < until_ns
        and entry.listed_ns <= now_ns
        and (not date or clock.date(entry.ts_ns) == date[:10])
        and (not order_id or entry.fields.get("order_id") == order_id)
    ]
    if choice(query, "direction", "desc", "asc") == "desc":
        rows.reverse()
    token = query.get("page_token", "")
    if token:
        ids = [row["id"] for row in rows]
        rows = rows[ids.index(token) + 1 :] if token in ids else []
    return rows[:size]


def shown(entry: Entry, clock: VenueClock) -> Row:
    """Return one activity; the digits of its id are New York's time."""
    local = clock.local(entry.ts_ns)
    row: Row = {"id": f"{local:%Y%m%d%H%M%S}{local.microsecond // 1000:03d}::{entry.uuid}", "activity_type": entry.kind}
    if entry.kind in TRADES:
        return row | entry.fields | {"transaction_time": clock.text(entry.ts_ns)}
    return row | entry.fields | {
        "date": clock.date(entry.ts_ns), "created_at": clock.text(entry.ts_ns), "currency": "USD",
    }  # fmt: skip


def portfolio_history(ledger: Ledger, clock: VenueClock, query: Query) -> Row:
    """Return the equity at the end of each step, labeled by the step's start.

    Raises:
        Refusal: the period or the step is none of those served.
    """
    now = clock.now_ns()
    period = query.get("period") or "1M"
    if not period[:-1].isdigit() or period[-1] not in PERIOD_DAYS:
        raise invalid("invalid period")
    days = int(period[:-1]) * PERIOD_DAYS[period[-1]]
    timeframe = query.get("timeframe") or ("1Min" if days < 7 else "15Min" if days < 30 else "1D")
    if timeframe not in TIMEFRAMES_NS:
        raise invalid("invalid timeframe")
    step_ns = TIMEFRAMES_NS[timeframe]
    end_ns = _instant(clock, query, "end", _instant(clock, query, "date_end", now))
    start_ns = _instant(clock, query, "start", end_ns - days * DAY_NS)
    by_step: dict[int, float] = {}
    for ts_ns, equity in ledger.samples:
        if start_ns <= ts_ns <= end_ns:
            by_step[ts_ns - (ts_ns + clock.shift_ns) % step_ns] = equity
    if end_ns >= now:
        by_step[now - (now + clock.shift_ns) % step_ns] = float(ledger.equity_usd())
    base = float(ledger.start_cash_usd)
    gains = [equity - base for equity in by_step.values()]
    return {
        "timestamp": [(ts_ns + clock.shift_ns) // SECOND_NS for ts_ns in by_step],
        "equity": list(by_step.values()),
        "profit_loss": gains,
        "profit_loss_pct": [gain / base for gain in gains],
        "base_value": base,
        "base_value_asof": clock.date(max(start_ns, ledger.samples[0][0]) if ledger.samples else now),
        "timeframe": timeframe,
        "cashflow": _cash_flows(ledger, list(by_step), step_ns),
    }


def _cash_flows(ledger: Ledger, steps: list[int], step_ns: int) -> dict[str, list[float]]:
    flows: dict[str, list[float]] = {}
    for entry in ledger.entries:
        if entry.kind not in TRADES:
            series = flows.setdefault(entry.kind, [0.0] * len(steps))
            for index, start_ns in enumerate(steps):
                if start_ns <= entry.ts_ns < start_ns + step_ns:
                    series[index] += float(entry.fields["net_amount"] or 0)
    return flows


def _instant(clock: VenueClock, query: Query, name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    try:
        return clock.read(text)
    except ValueError:
        raise invalid(f"invalid {name}: must be RFC 3339 or a date") from None
