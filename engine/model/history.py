"""What a feature is, and what it sees: each new bar and the ones before it, and nothing that came later.

    from engine.model import feature

    @feature(bars=lambda window: window + 1)
    def momentum(seen, window=10):
        return seen.close[:, -1] / seen.close[:, -1 - window] - 1

The function gets one row for each symbol, works along axis 1 only, and returns one number a row. Its arrays are cut to
the bars that it declared, so it can neither look ahead nor remember more than it says: its value is the same wherever
a run begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import suggestion

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Column = Any
"""One number for each row: a float array `[n]`, which numpy's reductions are typed to return as anything."""
Param = int | float | str

BAR_FIELDS: Final = ("open", "high", "low", "close", "volume", "vwap", "trade_count", "age", "elapsed")
QUOTE_FIELDS: Final = ("bid", "ask", "bid_size", "ask_size")
STAGED_FIELDS: Final = (*BAR_FIELDS, *QUOTE_FIELDS)
FIELDS: Final = (*STAGED_FIELDS, "change")
PRICES: Final = ("open", "high", "low", "close", "vwap", "bid", "ask")
SIZES: Final = ("volume", "bid_size", "ask_size")
FACTS_KEPT: Final = 64
"""How many of the last facts of one name are kept for each symbol; a count never exceeds it."""

FactKey = tuple[str, str]
"""The name of a fact, and what its text begins with (`""` for any)."""


class Facts(NamedTuple):
    """The last `FACTS_KEPT` facts of one name at each bar, newest last.

    Shapes: `[n, FACTS_KEPT]`. Units: `age_s` is seconds before the bar's close, infinite where there is none; `value`
    is NaN where a fact has no number.
    """

    age_s: Floats
    value: Floats


class History:
    """The newest bar of each of `n` symbols and its predecessors, oldest first.

    `open high low close volume vwap trade_count` are the bar's; `change` is close over the close before, minus 1;
    `age` counts the bars since a real one (0: this one is real; others carry its close, with no volume); `elapsed` is
    the share of the session that has passed at the bar's close; `bid ask bid_size ask_size` are of the last quote
    before the bar was known, NaN before the first. Prices and sizes before a split are restated in today's shares.

    Shapes: each `[n, bars]`.
    """

    def __init__(
        self, bars: int, ts_ns: Ints, field: Callable[[str], Floats], facts: Callable[[FactKey], Facts]
    ) -> None:
        self.bars, self.ts_ns = bars, ts_ns
        self._field, self._facts = field, facts

    def __getattr__(self, name: str) -> Floats:
        if name not in FIELDS:
            raise AttributeError(f"a feature sees no {name!r}{suggestion(name, FIELDS)}")
        return self._field(name)[:, -self.bars :]

    def facts(self, name: str, prefix: str = "") -> Facts:
        """Return the last facts called `name`: `news`, the name of a `Datum`, or the model of a `Signal`.

        With `prefix`, only those whose text (a headline, the form of a filing) begins so.
        """
        return self._facts((name, prefix))


@dataclass(frozen=True)
class Feature:
    """A function of a `History`, and how many bars of it the function looks at.

    Attributes:
        shows_holes: it speaks of missing bars, so the policy "mask" leaves its values in place.
    """

    name: str
    function: Callable[..., Column]
    bars: int | Callable[..., int]
    shows_holes: bool = False

    def __call__(self, seen: History, **params: Param) -> Column:
        return self.function(seen, **params)


def feature(
    *, bars: int | Callable[..., int] = 1, name: str = "", shows_holes: bool = False
) -> Callable[[Callable[..., Column]], Feature]:
    """Make a feature of a function. `bars`, a number or a function of the same parameters, counts the newest too."""
    return lambda function: Feature(name or function.__name__, function, bars, shows_holes)


class Probe:
    """A history of two invented symbols, which notes what a feature looks at."""

    def __init__(self, bars: int) -> None:
        self.fields: set[str] = set()
        self.facts: set[FactKey] = set()
        self._shape = (2, bars)
        self.history = History(bars, np.zeros(2, np.int64), self._field, self._look_up)

    def _field(self, name: str) -> Floats:
        self.fields.add(name)
        return np.ones(self._shape)

    def _look_up(self, key: FactKey) -> Facts:
        self.facts.add(key)
        return Facts(np.full((2, FACTS_KEPT), np.inf), np.full((2, FACTS_KEPT), np.nan))
