"""Onetape: one corridor for replay, paper and live.

These are the names that a strategy or a notebook may import; nothing else is public.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import TradingError
from engine.events import Bar, CorporateAction, Datum, Fill, News, Quote, Signal, Status, Timer, Trade
from engine.opinions import Opinions
from engine.orders import Order
from engine.rolling import RollingMean, RollingZScore
from engine.sizing import VolatilityTarget
from engine.strategy import Strategy

if TYPE_CHECKING:
    from engine.report import Result

__all__ = [
    "Bar", "CorporateAction", "Datum", "Fill", "News", "Opinions", "Order", "Quote", "RollingMean", "RollingZScore",
    "Signal", "Status", "Strategy", "Timer", "Trade", "TradingError", "VolatilityTarget", "backtest",
]  # fmt: skip


def backtest(config: Path | str | Mapping[str, Any], **overrides: Any) -> Result:
    """Replay a run and return its result: pandas frames, metrics and a report that opens in place.

    `config` is a TOML file or a dictionary of the same shape, in which `use` may be the strategy class itself;
    `overrides` replace whole top-level keys of a dictionary, such as `seed=3`.

    Raises:
        TradingError: what was wrong with the configuration or the tape.
    """
    from engine import config as configuration
    from engine import daemon  # a strategy that imports `engine` must not pay for pandas

    if isinstance(config, Mapping):
        return daemon.backtest(configuration.from_dict({**config, **overrides}))
    return daemon.backtest(configuration.load(config, [f"{key}={value}" for key, value in overrides.items()]))
