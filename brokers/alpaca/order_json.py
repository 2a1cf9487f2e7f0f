"""An intent as the body of a request: Alpaca's own field names, quantities and prices as decimal texts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.events import Intent

CLIENT_ID_CHARS_MAX = 128


def new_order(intent: Intent) -> dict[str, Any]:
    """Return the body of `POST /v2/orders`."""
    body: dict[str, Any] = {
        "symbol": intent.symbol, "side": intent.side, "type": intent.type, "time_in_force": intent.time_in_force,
        "client_order_id": intent.client_order_id,
    }  # fmt: skip
    amounts = {
        "qty": intent.qty, "notional": intent.notional_usd, "limit_price": intent.limit_price,
        "stop_price": intent.stop_price, "trail_price": intent.trail_price, "trail_percent": intent.trail_percent,
    }  # fmt: skip
    if intent.order_class == "oco":  # the order itself is the take-profit, and is said so
        amounts["limit_price"] = None
    body |= {name: plain(value) for name, value in amounts.items() if value is not None}
    if intent.extended_hours:
        body["extended_hours"] = True
    if intent.order_class != "simple":
        body["order_class"] = intent.order_class
        body |= _protection(intent)
    return body


def _protection(intent: Intent) -> dict[str, Any]:
    target = intent.take_profit_limit_price
    if target is None and intent.order_class == "oco":
        target = intent.limit_price
    found: dict[str, Any] = {}
    if target is not None:
        found["take_profit"] = {"limit_price": plain(target)}
    if intent.stop_loss_stop_price is not None:
        found["stop_loss"] = {"stop_price": plain(intent.stop_loss_stop_price)}
        if intent.stop_loss_limit_price is not None:
            found["stop_loss"]["limit_price"] = plain(intent.stop_loss_limit_price)
    return found


def amendment(intent: Intent, replaced: Intent | None) -> dict[str, Any]:
    """Return the body of `PATCH /v2/orders/ID`: only what changes, where the order that is replaced is known.

    Our own id goes along, because without one the venue would make one up and the order be lost to us.
    """
    trail = intent.trail_price if intent.trail_price is not None else intent.trail_percent
    wanted = {
        "qty": intent.qty, "limit_price": intent.limit_price, "stop_price": intent.stop_price, "trail": trail,
    }  # fmt: skip
    before: dict[str, Decimal | None] = {}
    if replaced is not None:
        old_trail = replaced.trail_price if replaced.trail_price is not None else replaced.trail_percent
        before = {
            "qty": replaced.qty, "limit_price": replaced.limit_price, "stop_price": replaced.stop_price,
            "trail": old_trail,
        }  # fmt: skip
    body: dict[str, Any] = {
        name: plain(value) for name, value in wanted.items() if value is not None and value != before.get(name)
    }
    if replaced is None or intent.time_in_force != replaced.time_in_force:
        body["time_in_force"] = intent.time_in_force
    return body | {"client_order_id": intent.client_order_id}


def plain(value: Decimal) -> str:
    """Return a decimal without exponent and without zeros that say nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
