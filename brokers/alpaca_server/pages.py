"""Answers in pages: sorted by symbol, then by time; a page holds `limit` items of all symbols together."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from brokers.alpaca_server.archive import place_ns
from brokers.alpaca_server.refusals import Refusal
from engine.events import NEVER_NS, Bar, Quote, Trade

T = TypeVar("T", Bar, Quote, Trade)
Position = tuple[str, int, int]
"""Where a page ended: symbol, instant, and how many items of this instant it had."""


def token_of(position: Position) -> str:
    """Return a page token: opaque, and never the same for two pages of one answer."""
    return base64.urlsafe_b64encode("|".join(map(str, position)).encode()).decode()


def position_of(token: str) -> Position | None:
    """Read a page token, None for an empty one.

    Raises:
        Refusal: nobody gave it out.
    """
    if not token:
        return None
    try:
        symbol, at_ns, count = base64.urlsafe_b64decode(token.encode()).decode().split("|")
        return symbol, int(at_ns), int(count)
    except (ValueError, binascii.Error):
        raise Refusal(400, None, "invalid page_token") from None


def page(
    symbols: Iterable[str], items_of: Callable[[str], Sequence[T]], limit: int, token: str, *, descending: bool
) -> tuple[dict[str, Sequence[T]], str | None]:
    """Return the next items by symbol, and the token of the page after it, None at the end."""
    position = position_of(token)
    found: dict[str, Sequence[T]] = {}
    for symbol in sorted(set(symbols)):
        if position is not None and symbol < position[0]:
            continue
        items = items_of(symbol)
        if position is not None and symbol == position[0]:
            _, at_ns, count = position
            if descending:
                items = items[: bisect_right(items, at_ns, key=place_ns) - count]
            else:
                items = items[bisect_left(items, at_ns, key=place_ns) + count :]
        if not limit:
            if items:
                return found, token_of((symbol, NEVER_NS if descending else 0, 0))
            continue
        taken = items[-limit:][::-1] if descending else items[:limit]
        if taken:
            found[symbol] = taken
            limit -= len(taken)
        if len(taken) < len(items):
            at_ns = place_ns(taken[-1])
            same = sum(place_ns(one) == at_ns for one in taken)
            if position is not None and symbol == position[0] and at_ns == position[1]:
                same += position[2]
            return found, token_of((symbol, at_ns, same))
    return found, None
