"""What an author's code gives to a call: taken as what a journal can hold, or refused in the author's own handler."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from math import isfinite
from numbers import Integral, Real
from typing import Any, Final

from engine.events import exact
from engine.ticks import PRICE_MAX, on_tick

Number = int | float | Decimal | str
PLAIN: Final = frozenset({int, float, Decimal, str})
"""The classes of numbers that are taken as they are; True and numpy's scalars are of other ones."""


def plain(name: str, value: Any) -> Number:
    """Return a number of any library as one of ours.

    Raises:
        TypeError: it is none; True and False are none either.
    """
    if not isinstance(value, Real | Decimal | str) and hasattr(value, "item"):
        value = value.item()  # a scalar of torch, or an array of one number
    if isinstance(value, str):
        return str(text(name, value))
    if isinstance(value, Decimal):
        return Decimal(value)
    if isinstance(value, Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, Integral) else float(value)
    raise TypeError(f"{name} is {value!r}; it must be one number: an int, float, Decimal or str")


def decimal(name: str, value: Number) -> Decimal:
    """Return a number as it is written: 0.1 is one tenth.

    Raises:
        TypeError: it is none.
        ValueError: it is a text that says none.
    """
    if type(value) not in PLAIN:
        value = plain(name, value)
    if isinstance(value, float):
        return exact(value) if isfinite(value) else Decimal(value)  # the controls refuse it with a reason
    try:
        return Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{name} is {value!r}, which is no number") from None


def optional(name: str, value: Number | None) -> Decimal | None:
    """Return the same, or None where nothing is given."""
    return None if value is None else decimal(name, value)


def price(name: str, value: Number | None, symbol: str, *, up: bool) -> Decimal | None:
    """Return a price as it was written, or the next one on the tick when it was computed in floats."""
    if value is None:
        return None
    if type(value) not in PLAIN:
        value = plain(name, value)
    if isinstance(value, float) and 0 < value < PRICE_MAX:
        return on_tick(value, up=up, crypto="/" in symbol)
    return decimal(name, value)


def text(name: str, value: Any) -> Any:
    """Return a text as nothing but that; which words its field knows, the controls say.

    Raises:
        TypeError: it is none.
        ValueError: it has a lone surrogate, which cannot be written.
    """
    if type(value) is str and value.isascii():
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be one text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is {value!r}, which cannot be written") from None
    return str.__str__(value)


def flag(name: str, value: Any) -> bool:
    """Return a yes or no.

    Raises:
        TypeError: it is something else, be it 1 or "yes".
    """
    if hasattr(value, "item"):
        value = value.item()
    if value is not True and value is not False:
        raise TypeError(f"{name} is {value!r}; it must be True or False")
    return value is True
