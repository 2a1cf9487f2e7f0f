"""From the body of a request to an order, with the rules that need to know neither positions nor other orders.

What depends on the account is in `checks`, what the matching engine itself refuses in `brokers.simulated.admission`.

Source: Alpaca's pages on orders; texts and codes as recorded by users of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast, get_args

import msgspec

from brokers.alpaca_server.refusals import Refusal, denied, invalid, refused
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.venue_order import NOT_REPLACEABLE, VenueOrder
from engine.events import Intent, OrderClass, OrderType, Side, TimeInForce

Body = Mapping[str, Any]
DECIMALS_MAX = 9
SHORT_TYPES = ("market", "limit", "stop", "stop_limit")
POSITION_INTENTS = ("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close")


def parse_order(body: Body, asset: Mapping[str, Any], order_id: str, ts_ns: int, settings: ServerSettings) -> Intent:
    """Return the order that a body asks for; `order_id` is the venue's.

    Raises:
        Refusal: the order is malformed, or against a rule of its type, class or time in force.
    """
    kind = _one_of(body, "type", get_args(OrderType), "market")
    time_in_force = _one_of(body, "time_in_force", get_args(TimeInForce), "day")
    side = _one_of(body, "side", get_args(Side), _implied_side(body))
    order_class = _one_of(
        {**body, "order_class": body.get("order_class") or "simple"}, "order_class", get_args(OrderClass)
    )
    qty, notional = quantity(body, "qty"), quantity(body, "notional")
    if qty is not None and notional is not None:
        raise invalid("only one of qty or notional is accepted")
    if qty is None and notional is None:
        raise invalid("qty or notional is required")
    take_profit, stop_loss = _leg(body, "take_profit"), _leg(body, "stop_loss")
    limit, target = price(body, "limit_price"), price(take_profit, "limit_price")
    if order_class == "oco":  # the parent is the take-profit
        limit, target = target if target is not None else limit, None
    intent = Intent(
        client_order_id=order_id, strategy="", symbol=asset["symbol"], side=cast(Side, side), qty=qty,
        ts_event_ns=ts_ns, type=cast(OrderType, kind), time_in_force=cast(TimeInForce, time_in_force),
        notional_usd=notional, limit_price=limit, stop_price=price(body, "stop_price"),
        trail_price=price(body, "trail_price"), trail_percent=price(body, "trail_percent"),
        extended_hours=bool(body.get("extended_hours")), order_class=cast(OrderClass, order_class),
        take_profit_limit_price=target, stop_loss_stop_price=price(stop_loss, "stop_price"),
        stop_loss_limit_price=price(stop_loss, "limit_price"),
    )  # fmt: skip
    _check_prices(intent)
    if asset["class"] == "crypto":
        _check_crypto(intent, settings)
    else:
        _check_increments(intent)
        _check_equity(intent, asset, settings)
    _check_class(intent)
    return intent


def amended(order: VenueOrder, body: Body, order_id: str, ts_ns: int) -> Intent:
    """Return the order that takes another one's place.

    Raises:
        Refusal: the order cannot be replaced now, or nothing would change.
    """
    if not order.is_open or order.status in ("suspended", "calculated", "done_for_day"):
        raise refused("unable to replace order, order is not open")
    if order.status in NOT_REPLACEABLE:
        raise refused("unable to replace order, order isn't sent to exchange yet")
    old = order.intent
    if old.notional_usd is not None:
        raise refused("notional orders cannot be replaced")
    changes: dict[str, Any] = {}
    qty = quantity(body, "qty")
    if qty is not None:
        if (old.qty or Decimal(0)) % 1 and qty != old.qty:
            raise refused("fractional orders cannot change their qty")
        if qty % 1 and qty != old.qty and order.asset_class == "us_equity":
            raise invalid("qty must be a whole number of shares")
        changes["qty"] = qty
    if body.get("time_in_force"):
        changes["time_in_force"] = _one_of(body, "time_in_force", get_args(TimeInForce))
    for name in ("limit_price", "stop_price"):
        value = price(body, name)
        if value is not None:
            if getattr(old, name) is None:
                raise refused(f"{old.type} orders have no {name}")
            changes[name] = value
    trail = price(body, "trail")
    if trail is not None:
        if old.type != "trailing_stop":
            raise refused("trail is for trailing stop orders only")
        changes["trail_percent" if old.trail_percent is not None else "trail_price"] = trail
    if all(getattr(old, name) == value for name, value in changes.items()):
        raise denied("order parameters are not changed")
    intent = msgspec.structs.replace(
        old, client_order_id=order_id, replaces=old.client_order_id, ts_event_ns=ts_ns, **changes
    )
    if order.asset_class == "us_equity":
        _check_increments(intent)
    return intent


# --- fields -----------------------------------------------------------------------------------------------------------


def number(body: Body, name: str) -> Decimal | None:
    """Return a field that may be a number or its text, None where it is absent.

    Raises:
        Refusal: it is neither.
    """
    value = body.get(name)
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value)) if not isinstance(value, bool) else Decimal("nan")
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite():
        raise invalid(f"{name} must be a number, not {value!r}")
    return found


def quantity(body: Body, name: str) -> Decimal | None:
    """Return a positive quantity of at most nine decimals."""
    value = number(body, name)
    if value is None:
        return None
    if value <= 0:
        raise invalid(f"{name} must be > 0")
    if -int(value.normalize().as_tuple().exponent) > DECIMALS_MAX:
        raise invalid(f"{name} must have at most {DECIMALS_MAX} decimals")
    return value


def price(body: Body, name: str) -> Decimal | None:
    """Return a positive price."""
    value = number(body, name)
    if value is not None and value <= 0:
        raise invalid(f"{name.replace('_', ' ')} must be > 0")
    return value


def _one_of(body: Body, name: str, allowed: tuple[str, ...], default: str = "") -> str:
    value = body.get(name) or default
    if value not in allowed:
        raise invalid(f"invalid {name}" if value else f"{name} is required")
    return str(value)


def _implied_side(body: Body) -> str:
    stated = str(body.get("position_intent") or "")
    return stated.partition("_")[0] if stated in POSITION_INTENTS else ""


def _leg(body: Body, name: str) -> Body:
    leg = body.get(name) or {}
    if not isinstance(leg, Mapping):
        raise Refusal(400, 40010000, f"{name} must be an object")
    return leg


# --- rules ------------------------------------------------------------------------------------------------------------


def _check_prices(intent: Intent) -> None:
    kind, limit, stop = intent.type, intent.limit_price, intent.stop_price
    if kind == "market" and (limit is not None or stop is not None):
        raise refused("market orders require no stop or limit price")
    if kind == "limit" and limit is None:
        raise invalid("limit orders require a limit price")
    if kind == "limit" and stop is not None:
        raise refused("limit orders require no stop price")
    if kind == "stop" and stop is None:
        raise invalid("stop orders require a stop price")
    if kind == "stop" and limit is not None:
        raise refused("stop orders require no limit price")
    if kind == "stop_limit" and (limit is None or stop is None):
        raise invalid("stop limit orders require both stop and limit price")
    if kind == "trailing_stop":
        if (intent.trail_price is None) == (intent.trail_percent is None):
            raise invalid("trailing stop orders must specify one of trail_price or trail_percent")
        if intent.trail_percent is not None and intent.trail_percent < Decimal("0.1"):
            raise invalid("trail_percent must be greater than or equal to 0.1")
    elif intent.trail_price is not None or intent.trail_percent is not None:
        raise refused(f"{kind} orders have no trail")


def _check_increments(intent: Intent) -> None:
    for name in (
        "limit_price",
        "stop_price",
        "take_profit_limit_price",
        "stop_loss_stop_price",
        "stop_loss_limit_price",
    ):
        value: Decimal | None = getattr(intent, name)
        if value is not None and value % (Decimal("0.01") if value >= 1 else Decimal("0.0001")):
            shown = {"take_profit_limit_price": "take_profit.limit_price"}.get(
                name, name.replace("stop_loss_", "stop_loss.")
            )
            raise refused(
                f"invalid {shown} {value}. sub-penny increment does not fulfill minimum pricing criteria"
            )  # fmt: skip


def _check_crypto(intent: Intent, settings: ServerSettings) -> None:
    if intent.time_in_force not in ("gtc", "ioc"):
        raise refused("invalid crypto time_in_force")
    if intent.type not in ("market", "limit", "stop_limit"):
        raise refused("crypto orders must be market, limit, or stop_limit orders")
    if intent.order_class != "simple":
        raise refused("crypto orders must be simple orders")
    if intent.extended_hours:
        raise refused("extended hours are not supported for crypto orders")
    cost = (
        intent.notional_usd if intent.qty is None else intent.qty * intent.limit_price if intent.limit_price else None
    )
    if cost is not None and cost < settings.crypto_cost_usd_min:
        raise denied(f"cost basis must be >= minimal amount of order {settings.crypto_cost_usd_min}")


def _check_equity(intent: Intent, asset: Mapping[str, Any], settings: ServerSettings) -> None:
    fractional = intent.qty is None or bool(intent.qty % 1)
    if intent.notional_usd is not None:
        if intent.notional_usd < 1:
            raise invalid("notional must be >= 1.00")
        if intent.type != "market" and not settings.notional_limit_orders:
            raise refused("notional orders must be market orders")
    if fractional:
        if not asset["fractionable"]:
            raise denied(f'asset "{asset["symbol"]}" is not fractionable')
        if intent.time_in_force != "day":
            raise refused("fractional orders must be DAY orders")
        if intent.order_class != "simple":
            raise refused("fractional orders must be simple orders")
        if intent.type not in SHORT_TYPES:
            raise refused("fractional orders must be market, limit, stop, or stop_limit orders")
    if intent.extended_hours:
        if intent.type in ("stop", "stop_limit", "trailing_stop"):
            raise refused("stop orders are not eligible for extended hours trading")
        if intent.type != "limit" or intent.time_in_force not in ("day", "gtc"):
            raise refused("extended hours order must be DAY or GTC limit orders")
    if intent.time_in_force in ("opg", "cls") and intent.type not in ("market", "limit"):
        raise refused(f"{intent.time_in_force} orders must be market or limit orders")
    if intent.type == "trailing_stop" and intent.time_in_force not in ("day", "gtc"):
        raise refused("trailing stop orders must be DAY or GTC orders")


def _check_class(intent: Intent) -> None:
    kind, target, stop = intent.order_class, intent.take_profit_limit_price, intent.stop_loss_stop_price
    if kind == "simple":
        if target is not None or stop is not None:
            raise refused("simple orders have no take_profit or stop_loss")
        return
    if intent.time_in_force not in ("day", "gtc") or intent.extended_hours:
        raise refused(f"{kind} orders must be DAY or GTC orders in regular hours")
    if intent.type == "trailing_stop":
        raise refused(f"trailing stop orders cannot be {kind} orders")
    if kind == "oco":
        if intent.type != "limit":
            raise refused("oco orders must be limit orders")
        if stop is None:
            raise invalid("oco orders require both take_profit.limit_price and stop_loss.stop_price")
        target = intent.limit_price
    elif kind == "bracket" and (target is None or stop is None):
        raise invalid("bracket orders require both take_profit.limit_price and stop_loss.stop_price")
    elif kind == "oto" and (target is None) == (stop is None):
        raise invalid("oto orders require one of take_profit.limit_price or stop_loss.stop_price")
    _check_legs(intent, target, stop, selling=(intent.side == "sell") is (kind == "oco"))


def _check_legs(intent: Intent, target: Decimal | None, stop: Decimal | None, *, selling: bool) -> None:
    """Check that the legs that sell, or buy back, lie on the right sides of the entry and of each other."""
    sign = 1 if selling else -1
    if target is not None and stop is not None and sign * (target - stop) <= 0:
        word = "greater" if selling else "less"
        raise refused(f"take_profit.limit_price must be {word} than stop_loss.stop_price")
    entry = intent.limit_price if intent.order_class != "oco" else target
    base: Literal["base_price"] = "base_price"
    if entry is not None and stop is not None and sign * (entry - stop) < Decimal("0.01"):
        raise refused(f"stop_loss.stop_price must be {'<=' if selling else '>='} {base} {'-' if selling else '+'} 0.01")
