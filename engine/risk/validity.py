"""C25: whether an order makes sense at all, by the rules of Alpaca, before anything is computed with its numbers."""

from __future__ import annotations

from collections.abc import Set
from decimal import Decimal
from typing import Final, get_args

from msgspec.structs import replace

from engine.events import Intent, OrderClass, OrderType, Side, TimeInForce
from engine.market import ZERO
from engine.orders import TRANSITIONS
from engine.risk.control import Control
from engine.risk.proposal import AUCTIONS, OPENING, Proposal
from engine.ticks import CENT, NANO, ONE, PRICE_MAX, tick_size

NUMBER_MAX: Final = Decimal(PRICE_MAX)
ID_LENGTH_MAX: Final = 128
TRAIL_PERCENT_MIN: Final = Decimal("0.1")

# What each type must carry: (limit_price, stop_price, a trail).
PRICES: Final = {
    "market": (False, False, False), "limit": (True, False, False), "stop": (False, True, False),
    "stop_limit": (True, True, False), "trailing_stop": (False, False, True),
}  # fmt: skip
# What each class must carry: (take_profit_limit_price, stop_loss_stop_price). An oto carries one of the two.
LEGS: Final = {
    "simple": ((False, False),), "bracket": ((True, True),), "oco": ((False, True),),
    "oto": ((True, False), (False, True)),
}  # fmt: skip
DAY_OR_GTC: Final = frozenset({"day", "gtc"})
GTC_OR_IOC: Final = frozenset({"gtc", "ioc"})
ANY_TIME: Final = DAY_OR_GTC | AUCTIONS | {"ioc", "fok"}
TIMES: Final = {
    "market": ANY_TIME, "limit": ANY_TIME, "stop": DAY_OR_GTC, "stop_limit": DAY_OR_GTC, "trailing_stop": DAY_OR_GTC,
}  # fmt: skip
WORDS = {
    "side": get_args(Side), "type": get_args(OrderType), "time_in_force": get_args(TimeInForce),
    "order_class": get_args(OrderClass),
}  # fmt: skip
CRYPTO_TYPES: Final = frozenset({"market", "limit", "stop_limit"})


def readable(intent: Intent) -> Intent:
    """Return an intent without words that nobody knows: a journal has to read back; the refusal's reason keeps them."""
    wrong = {name: known[0] for name, known in WORDS.items() if getattr(intent, name) not in known}
    return replace(intent, **wrong) if wrong else intent


def wrong_number(name: str, value: object) -> str | None:
    """Return what is wrong with a price or quantity that has to be finite and positive."""
    if not isinstance(value, Decimal):
        return f"{name} {value!r} is no Decimal"
    if not value.is_finite():
        return f"{name} {value} is not finite"
    if not ZERO < value < NUMBER_MAX:
        return f"{name} {value} is not between 0 and {NUMBER_MAX}"
    return None


class OrderValidity(Control):
    """Refuse what the venue would refuse, and what it might understand otherwise than we do.

    Attributes:
        fractionable: the equity symbols that trade in fractions; None leaves it to the venue.
    """

    code = "C25"
    name = "order_validity"
    binds_reductions = True

    def __init__(self, fractionable: Set[str] | None) -> None:
        self.fractionable = fractionable

    def check(self, p: Proposal) -> str | None:
        i = p.intent
        wrong = self._words(i) or self._size(p)
        if wrong is None and i.type != "market":
            wrong = self._prices(p)
        if wrong is None and i.order_class != "simple":
            wrong = self._legs(p)
        if wrong is None and p.crypto:
            wrong = self._crypto(i)
        if wrong is None and i.replaces:
            wrong = self._replacement(p)
        return wrong

    def _words(self, i: Intent) -> str | None:
        """Check the words, and that type, class and time in force go together."""
        kind, time = i.type, i.time_in_force
        if not 0 < len(i.client_order_id) <= ID_LENGTH_MAX:
            return f"client_order_id has {len(i.client_order_id)} characters; 1 to {ID_LENGTH_MAX} are allowed"
        if i.side != "buy" and i.side != "sell":
            return f"side {i.side!r} is neither buy nor sell"
        times, legs = TIMES.get(kind), LEGS.get(i.order_class)
        if times is None:
            return f"type {kind!r} is unknown"
        if legs is None:
            return f"order_class {i.order_class!r} is unknown"
        if time not in times:
            return f"a {kind} order cannot be {time}"
        trails = i.trail_price is not None or i.trail_percent is not None
        given = i.limit_price is not None, i.stop_price is not None, trails
        if given != PRICES[kind]:
            names = ("limit_price", "stop_price", "trail_price or trail_percent")
            wanted = " and ".join(n for n, needed in zip(names, PRICES[kind], strict=True) if needed) or "no price"
            return f"a {kind} order takes {wanted}"
        if (i.take_profit_limit_price is not None, i.stop_loss_stop_price is not None) not in legs:
            return f"a {i.order_class} order carries the wrong protective prices"
        if i.stop_loss_limit_price is not None and i.stop_loss_stop_price is None:
            return "stop_loss_limit_price without stop_loss_stop_price"
        if i.extended_hours and (kind != "limit" or time not in DAY_OR_GTC or i.order_class != "simple"):
            return "in extended hours only simple limit orders go, day or gtc"
        if i.order_class != "simple" and (time not in DAY_OR_GTC or kind == "trailing_stop"):
            return f"a {i.order_class} order has to be day or gtc and may not trail"
        return None

    def _size(self, p: Proposal) -> str | None:
        """Check quantity or notional."""
        i, qty = p.intent, p.intent.qty
        if (qty is None) == (i.notional_usd is None):
            return "exactly one of qty and notional_usd has to be given"
        if qty is not None:
            wrong = wrong_number("qty", qty)
            if wrong is None:
                if not qty % ONE:
                    return None
                if qty % NANO:
                    wrong = f"qty {qty} has more than 9 decimals"
        else:
            wrong = wrong_number("notional_usd", i.notional_usd) or self._notional(i)
        if wrong is not None or p.crypto:
            return wrong
        if self.fractionable is not None and i.symbol not in self.fractionable:
            return f"{i.symbol} does not trade in fractions: qty {qty}, notional {i.notional_usd}"
        if i.time_in_force != "day" or i.order_class != "simple" or i.type == "trailing_stop":
            return "a fractional or notional order has to be a simple day order that does not trail"
        return None

    def _notional(self, i: Intent) -> str | None:
        assert i.notional_usd is not None
        if i.notional_usd < ONE:
            return f"notional {i.notional_usd} USD < 1.00 USD"
        if i.type != "market":
            return f"a notional order has to be a market order, not {i.type}"
        return None

    def _prices(self, p: Proposal) -> str | None:
        """Check the order's own prices, one by one."""
        i = p.intent
        if i.trail_price is not None and i.trail_percent is not None:
            return "exactly one of trail_price and trail_percent has to be given"
        if i.trail_percent is not None:
            wrong = wrong_number("trail_percent", i.trail_percent)
            if wrong is None and not TRAIL_PERCENT_MIN <= i.trail_percent < 100:
                wrong = f"trail_percent {i.trail_percent} is not between {TRAIL_PERCENT_MIN} and 100"
            return wrong
        return (
            _off_tick("limit_price", i.limit_price, p.crypto)
            or _off_tick("stop_price", i.stop_price, p.crypto)
            or _off_tick("trail_price", i.trail_price, p.crypto)
        )

    def _legs(self, p: Proposal) -> str | None:
        """Check the protective prices, and that they lie on their sides of the entry."""
        i = p.intent
        target, stop = i.take_profit_limit_price, i.stop_loss_stop_price
        wrong = (
            _off_tick("take_profit_limit_price", target, p.crypto)
            or _off_tick("stop_loss_stop_price", stop, p.crypto)
            or _off_tick("stop_loss_limit_price", i.stop_loss_limit_price, p.crypto)
        )
        if wrong is not None:
            return wrong
        if i.order_class == "oco" and i.type != "limit":
            return f"an oco order is the take-profit limit itself, not {i.type}"
        base = i.limit_price or i.stop_price or p.reference_price
        if not base:
            return None  # never priced: data freshness refuses it
        exit_sign = p.sign if i.order_class == "oco" else -p.sign  # +1: the legs buy, so profit lies below
        if target is not None and (base - target) * exit_sign < CENT:
            return f"take-profit {target} is not at least 0.01 on the profit side of {base}"
        if stop is not None and (stop - base) * exit_sign < CENT:
            return f"stop-loss {stop} is not at least 0.01 on the loss side of {base}"
        return None

    def _crypto(self, i: Intent) -> str | None:
        if i.type not in CRYPTO_TYPES or i.time_in_force not in GTC_OR_IOC:
            return f"crypto takes market, limit and stop_limit, gtc or ioc, not {i.type} {i.time_in_force}"
        if i.order_class != "simple" or i.extended_hours:
            return "crypto takes simple orders, and knows no extended hours"
        return None

    def _replacement(self, p: Proposal) -> str | None:
        """Check that an amendment amends an open order of the same strategy, symbol and side."""
        i, old = p.intent, p.replaced
        if old is None or "pending_replace" not in TRANSITIONS.get(old.status, ()):
            return f"order {i.replaces} cannot be replaced: it is {'not open' if old is None else old.status}"
        if (old.strategy, old.symbol, old.side, old.type) != (i.strategy, i.symbol, i.side, i.type):
            return f"order {i.replaces} is a {old.type} order of {old.strategy} to {old.side} {old.symbol}"
        has_legs = i.order_class != "simple" or old.intent.order_class in OPENING
        if has_legs or i.notional_usd is not None or old.intent.notional_usd is not None:
            return "a notional order or one with legs cannot be replaced"
        if old.filled_qty:  # its venue may not take that off the new quantity, and it would fill twice
            return f"order {i.replaces} has filled in part; cancel it and send a new one"
        return None


def _off_tick(name: str, price: Decimal | None, crypto: bool) -> str | None:
    if price is None:
        return None
    wrong = wrong_number(name, price)
    if wrong is None:
        tick = tick_size(price, crypto)
        if price % tick:
            wrong = f"{name} {price} is not a multiple of its tick {tick}"
    return wrong
