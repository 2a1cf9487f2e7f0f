"""The last facts of each name and symbol: headlines, filings, scores. They are rare, so adding one may cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.events import SECOND_NS
from engine.model.history import FACTS_KEPT, FactKey, Facts, Ints

NONE_NS = -(2**62)


class FactStore:
    """Times and values of the last facts, newest last. A fact without symbol concerns all of them."""

    def __init__(self, symbols: int, keys: Sequence[FactKey]) -> None:
        self.keys = tuple(keys)
        self._ts_ns = {key: np.full((symbols, FACTS_KEPT), NONE_NS) for key in keys}
        self._values = {key: np.full((symbols, FACTS_KEPT), np.nan) for key in keys}

    def keys_of(self, name: str, text: str) -> tuple[FactKey, ...]:
        """Return under which keys somebody wants to know of such a fact."""
        return tuple(key for key in self.keys if key[0] == name and text.startswith(key[1]))

    def add(self, keys: Sequence[FactKey], rows: Sequence[int] | None, ts_ns: int, value: float) -> None:
        """Put a fact last in line for `rows`, or for all; the oldest is forgotten."""
        for key in keys:
            for array, newest in ((self._ts_ns[key], ts_ns), (self._values[key], value)):
                for row in (slice(None),) if rows is None else rows:
                    array[row, :-1] = array[row, 1:]
                    array[row, -1] = newest

    def seen(self, key: FactKey, rows: Ints, ts_ns: Ints) -> Facts:
        """Return the facts of each row as of an instant; those that it came before are not there."""
        known_ns = self._ts_ns[key][rows]
        age_s = (ts_ns[:, None] - known_ns) / SECOND_NS
        absent = (known_ns == NONE_NS) | (age_s < 0.0)
        age_s[absent] = np.inf
        return Facts(age_s, np.where(absent, np.nan, self._values[key][rows]))
