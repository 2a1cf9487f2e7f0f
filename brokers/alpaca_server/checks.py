"""What the account, its positions and its other orders have to say to a new order, before the matching engine is asked.

Source: the protocol's reference C.4 to C.7; the wash-trade rule is C.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from brokers.alpaca_server.clock import VenueClock, auction_refusal
from brokers.alpaca_server.refusals import Refusal, denied, invalid, refused
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.venue_order import VenueOrder
from engine.clock import Sessions
from engine.events import Intent

PRICED = ("limit", "stop_limit")


def check_account(account: Mapping[str, Any], configuration: Mapping[str, Any]) -> None:
    """Refuse when the account may not trade at all."""
    if account.get("account_blocked") or account.get("trading_blocked") or account.get("status", "ACTIVE") != "ACTIVE":
        raise denied("account is not authorized to trade")
    if configuration["suspend_trade"]:
        raise denied("new orders are suspended by the account's configuration")


def check_asset(asset: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    """Return the asset if it may be traded."""
    if asset is None:
        raise refused(f'asset "{name}" not found')
    if asset["status"] != "active":
        raise refused(f"asset {asset['symbol']} is not active")
    if not asset["tradable"]:
        raise refused(f"asset {asset['symbol']} is not tradable")
    return asset


def check_client_order_id(
    wanted: str, known: Mapping[str, VenueOrder], used: frozenset[str] | set[str], settings: ServerSettings
) -> None:
    """Refuse an id that is too long or taken."""
    longest = settings.client_order_id_chars_max
    if len(wanted) > longest:
        raise invalid(f"client_order_id must be no more than {longest} characters")
    before = known.get(wanted)
    taken = before is not None and (settings.client_order_id_scope == "history" or before.is_open)
    if taken or wanted in used:
        raise invalid("client_order_id must be unique")


def check_hours(intent: Intent, clock: VenueClock, sessions: Sessions, settings: ServerSettings) -> None:
    """Refuse an auction order at the wrong hour."""
    if intent.time_in_force not in ("opg", "cls"):
        return
    if reason := auction_refusal(clock, sessions, intent.time_in_force, settings.cls_cutoff_min):
        raise denied(reason)


def check_position(
    intent: Intent,
    asset: Mapping[str, Any],
    position_qty: Decimal,
    configuration: Mapping[str, Any],
    settings: ServerSettings,
) -> None:
    """Refuse what does not fit the position: exits without one, entries against one, shorts that may not be."""
    buying = intent.side == "buy"
    opposite = bool(position_qty) and (position_qty < 0) is buying
    if intent.order_class in ("bracket", "oto") and opposite:
        raise Refusal(
            403 if settings.bracket_code == 40310000 else 422,
            settings.bracket_code,
            "bracket orders must be entry orders",
        )
    if intent.order_class == "oco" and not opposite:
        raise refused("oco orders must be exit orders")
    fractional = intent.qty is None or bool(intent.qty % 1)
    if fractional and asset["class"] == "us_equity" and not configuration["fractional_trading"]:
        raise denied("fractional trading is disabled for this account")
    if buying or opposite:
        return
    if asset["class"] == "crypto":
        base, available = intent.symbol.partition("/")[0], max(position_qty, Decimal(0))
        raise denied(f"insufficient balance for {base} (requested: {intent.qty or 0}, available: {available})")
    if fractional:
        raise refused("fractional orders cannot be sold short")
    if configuration["no_shorting"]:
        raise denied("account is not allowed to short")
    if not asset["shortable"]:
        raise refused(f"asset {intent.symbol} cannot be sold short")
    if not asset["easy_to_borrow"] and intent.time_in_force != "day":
        raise refused(f"only day orders are allowed for hard-to-borrow asset {intent.symbol}")


def position_intent(intent: Intent, position_qty: Decimal, stated: str) -> str:
    """Return whether an order opens or closes, and refuse a statement that says otherwise."""
    buying = intent.side == "buy"
    closes = bool(position_qty) and (position_qty < 0) is buying
    inferred = f"{intent.side}_to_{'close' if closes else 'open'}"
    if stated and stated != inferred:
        raise refused(f"position intent mismatch, inferred: {inferred}, specified: {stated}")
    return inferred


def check_wash_trade(intent: Intent, others: Iterable[VenueOrder], replaced: VenueOrder | None) -> None:
    """Refuse an order that could trade with an open one of the other side.

    Two orders with limits that cannot cross are allowed; so are orders of one group, and legs that are only held.
    """
    for other in others:
        theirs = other.intent
        if theirs.symbol != intent.symbol or theirs.side == intent.side or other.status == "held":
            continue
        if replaced is not None and (other is replaced or _group(other) is _group(replaced)):
            continue
        both_limited = intent.type in PRICED and theirs.type in PRICED
        if both_limited and intent.limit_price is not None and theirs.limit_price is not None:
            buy, sell = (intent, theirs) if intent.side == "buy" else (theirs, intent)
            assert buy.limit_price is not None
            assert sell.limit_price is not None
            if buy.limit_price < sell.limit_price:
                continue
        kind = "limit" if both_limited else "market/stop"
        raise denied(
            "potential wash trade detected. use complex orders", existing_order_id=other.id,
            reject_reason=f"opposite side {kind} order exists",
        )  # fmt: skip


def _group(order: VenueOrder) -> VenueOrder:
    return order.parent or order
