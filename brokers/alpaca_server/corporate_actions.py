"""Corporate actions as the two endpoints show them, and prices adjusted by them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from brokers.alpaca_server.clock import VenueClock
from engine.events import Bar, CorporateAction

GROUPS = {
    "forward_split": "forward_splits", "reverse_split": "reverse_splits", "cash_dividend": "cash_dividends",
    "name_change": "name_changes",
}  # fmt: skip


def type_of(action: CorporateAction) -> str:
    """Return the service's word for an action."""
    if action.action == "symbol_change":
        return "name_change"
    if action.action == "cash_dividend":
        return "cash_dividend"
    return "forward_split" if action.new_shares >= action.old_shares else "reverse_split"


def of_service(action: CorporateAction, clock: VenueClock, action_id: str) -> dict[str, Any]:
    """Return one action as `GET /v1/corporate-actions` shows it; a tape has no CUSIPs, so they are made up."""
    date, cusip = clock.date(action.ts_event_ns), cusip_of(action.symbol)
    shown: dict[str, Any] = {"id": action_id, "process_date": date}
    kind = type_of(action)
    if kind == "name_change":
        return shown | {
            "old_symbol": action.symbol, "old_cusip": cusip, "new_symbol": action.new_symbol,
            "new_cusip": cusip_of(action.new_symbol),
        }  # fmt: skip
    shown |= {"symbol": action.symbol, "ex_date": date, "record_date": date, "payable_date": date}
    if kind == "cash_dividend":
        return shown | {"cusip": cusip, "rate": float(action.amount_usd), "special": False, "foreign": False}
    shown |= {"new_rate": action.new_shares, "old_rate": action.old_shares}
    if kind == "forward_split":
        return shown | {"cusip": cusip, "due_bill_redemption_date": date}
    return shown | {"old_cusip": cusip, "new_cusip": cusip_of(f"{action.symbol} new")}


def announcement(action: CorporateAction, clock: VenueClock, action_id: str) -> dict[str, Any]:
    """Return one action as `GET /v2/corporate_actions/announcements` shows it."""
    date, cusip, split = clock.date(action.ts_event_ns), cusip_of(action.symbol), action.action == "split"
    forward = action.new_shares >= action.old_shares
    return {
        "id": action_id, "corporate_action_id": f"{cusip}_{date}", "ca_type": "split" if split else "dividend",
        "ca_sub_type": ("stock_split" if forward else "reverse_split") if split else "cash",
        "initiating_symbol": action.symbol, "initiating_original_cusip": cusip, "target_symbol": action.symbol,
        "target_original_cusip": cusip, "declaration_date": date, "ex_date": date, "record_date": date,
        "payable_date": date, "cash": f"{action.amount_usd:f}", "old_rate": str(action.old_shares),
        "new_rate": str(action.new_shares),
    }  # fmt: skip


def cusip_of(symbol: str) -> str:
    """Return nine letters and digits that stand for a CUSIP."""
    return f"X{zlib.crc32(symbol.encode()):08X}"


def adjusted(bars: Sequence[Bar], actions: Sequence[CorporateAction], kinds: frozenset[str]) -> list[Bar]:
    """Return bars with the splits, and if wanted the dividends, that came after them taken out of their prices."""
    changes = [
        one
        for one in actions
        if (one.action == "split" and kinds & {"split", "all"})
        or (one.action == "cash_dividend" and kinds & {"dividend", "all"})
    ]
    made: list[Bar] = []
    for index, bar in enumerate(bars):
        price = shares = 1.0
        for one in changes:
            if one.ts_event_ns <= bar.ts_open_ns:
                continue
            if one.action == "split":
                price *= one.old_shares / one.new_shares
                shares *= one.new_shares / one.old_shares
            else:
                before = [other.close for other in bars[index:] if other.ts_event_ns <= one.ts_event_ns]
                price *= 1 - float(one.amount_usd) / (before[-1] if before else bar.close)
        if price == shares == 1.0:
            made.append(bar)
            continue
        made.append(
            msgspec.structs.replace(
                bar, open=round(bar.open * price, 6), high=round(bar.high * price, 6), low=round(bar.low * price, 6),
                close=round(bar.close * price, 6), volume=bar.volume * shares,
                vwap=None if bar.vwap is None else round(bar.vwap * price, 6),
            )
        )  # fmt: skip
    return made
