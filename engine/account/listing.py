"""What the broker says of the symbols that a run may trade: whether at all, in fractions, short.

It is asked at every start. A new run that names a symbol which cannot be traded does not begin; one that goes on does,
because it may hold some: entries are refused then, and exits stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from engine.errors import ConfigError
from engine.events import Assets
from engine.ports import Asset, LiveBroker


async def look_up(
    broker: LiveBroker, symbols_by_strategy: Mapping[str, Sequence[str]], now_ns: int, *, begins: bool
) -> Assets:
    """Ask the broker about the symbols of all strategies, and return what the corridor has to know.

    Raises:
        BrokerError: it does not answer.
        ConfigError: a run that begins names symbols that cannot be traded; all of them are named.
    """
    wanted = sorted({symbol for symbols in symbols_by_strategy.values() for symbol in symbols})
    found = await broker.assets(wanted)
    wrong = {symbol: why for symbol in wanted if (why := _obstacle(found.get(symbol)))}
    if begins and wrong:
        named = {
            symbol: ", ".join(
                f"strategies.{name}.symbols" for name, own in symbols_by_strategy.items() if symbol in own
            )
            for symbol in wrong
        }
        raise ConfigError("; ".join(f"symbol {symbol!r} {why} ({named[symbol]})" for symbol, why in wrong.items()))
    for symbol, why in wrong.items():
        structlog.get_logger().warning(f"{symbol} {why}: no entries", symbol=symbol)
    tradable = [symbol for symbol in wanted if symbol not in wrong]
    return Assets(
        now_ns, now_ns,
        tradable=tuple(tradable),
        fractionable=tuple(symbol for symbol in tradable if found[symbol].fractionable),
        shortable=tuple(symbol for symbol in tradable if found[symbol].shortable),
    )  # fmt: skip


def _obstacle(asset: Asset | None) -> str:
    """Say why a symbol cannot be traded, or return an empty text."""
    if asset is None:
        return "is unknown to the broker"
    return "" if asset.tradable else f"cannot be traded at the broker now (its status is {asset.status or 'unknown'})"
