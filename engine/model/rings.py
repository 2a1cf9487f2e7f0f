"""The memory of a feature set: the last bars and values of every symbol, and the computation over them.

Rings hold everything twice, `room` apart, so that any window is one slice in order of time. What is computed for a row
depends on that row alone, so any number of rows may be computed together, also several bars of one symbol.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from engine.model.card import Floats32, Missing
from engine.model.catalog import Chosen
from engine.model.facts import FactStore
from engine.model.history import FIELDS, PRICES, SIZES, STAGED_FIELDS, FactKey, Facts, Floats, History, Ints

Bools = NDArray[np.bool_]
CLOSE, CHANGE = FIELDS.index("close"), FIELDS.index("change")


class Rings:
    """The last bars, values and flaws of `symbols` symbols; `block` bars of one symbol may be put in at once.

    A bar is addressed by its row and its number: how many bars of that symbol came before it.

    Attributes:
        first: number of the first bar whose values are all defined.
        warm_up_bars: how many bars a symbol needs before its first window.
    """

    def __init__(
        self, chosen: Sequence[Chosen], symbols: int, *, lookback: int, missing: Missing, block: int, facts: FactStore
    ) -> None:
        self.first = max(one.reach for one in chosen) - 1
        self.warm_up_bars = self.first + lookback
        self._chosen, self._lookback, self._missing, self._facts = tuple(chosen), lookback, missing, facts
        # A field is gathered as far back as the feature that looks furthest into it.
        self._depth = {name: max((c.bars for c in chosen if name in c.fields), default=1) for name in FIELDS}
        self._shows_holes = np.array([one.feature.shows_holes for one in chosen])
        self._room, self._value_room = self.first + 1 + block, lookback + block
        self._flaw_room = self.warm_up_bars + block
        self._bars = np.full((len(FIELDS), symbols, 2 * self._room), np.nan)
        self._values = np.full((symbols, len(chosen), 2 * self._value_room), np.nan, np.float32)
        self._begun = np.zeros(symbols, np.int64)
        self._flaws, self._holes = np.zeros((2, symbols, 2 * self._flaw_room), np.bool_)
        # To make such a view takes longer than to read a window through it.
        self._fields = {
            name: sliding_window_view(self._bars[at], self._depth[name], 1) for at, name in enumerate(FIELDS)
        }
        self._value_windows = sliding_window_view(self._values, lookback, 2)
        self._flaw_windows = sliding_window_view(self._flaws, lookback, 1)
        self._hole_windows = sliding_window_view(self._holes, self.warm_up_bars, 1)

    def put(self, rows: Ints, numbers: Ints, ts_ns: Ints, staged: Floats, holes: Bools) -> None:
        """Remember bars, of one symbol in order, and compute their features.

        Shapes: `staged` is `[n, STAGED_FIELDS]`, the others `[n]`; `holes` only stand in for missing bars.
        """
        place = numbers % self._room
        bars = self._bars.reshape(len(FIELDS), -1)
        at = rows * (2 * self._room) + place
        again = at + self._room
        bars[: len(STAGED_FIELDS), at] = bars[: len(STAGED_FIELDS), again] = staged.T
        with np.errstate(all="ignore"):
            bars[CHANGE, at] = bars[CHANGE, again] = bars[CLOSE, again] / bars[CLOSE, again - 1] - 1.0
            values = self._compute(rows, place, ts_ns)
        values[~np.isfinite(values)] = np.nan
        self._keep(rows, numbers, values, holes)

    def start_afresh(self, row: int, number: int) -> None:
        """Forget what came before a symbol's bar of this number."""
        self._begun[row] = number

    def whole(self, rows: Ints, numbers: Ints) -> Bools:
        """Tell which windows are complete: enough bars, and nothing in them that the policy excludes."""
        end = numbers % self._flaw_room + self._flaw_room + 1
        flawed = self._flaw_windows[rows, end - self._lookback].any(axis=1)
        if self._missing == "refuse":  # a bar that is not there has a part in what is computed of those after it
            flawed |= self._hole_windows[rows, end - self.warm_up_bars].any(axis=1)
        whole: Bools = (numbers - self._begun[rows] + 1 >= self.warm_up_bars) & ~flawed
        return whole

    def windows(self, rows: Ints, numbers: Ints) -> Floats32:
        """Return the values of the bars up to each of these, newest last. Shapes: `[n, features, lookback]`."""
        start = numbers % self._value_room + (self._value_room - self._lookback + 1)
        found: Floats32 = self._value_windows[rows, :, start]
        return found

    def split(self, row: int, new_shares: int, old_shares: int) -> None:
        """Restate one symbol's bars in the shares of today."""
        for names, times, over in ((PRICES, old_shares, new_shares), (SIZES, new_shares, old_shares)):
            for name in names:
                bars = self._bars[FIELDS.index(name), row]
                bars *= times
                bars /= over

    def _compute(self, rows: Ints, place: Ints, ts_ns: Ints) -> Floats32:
        gathered: dict[str, Floats] = {}

        def field(name: str) -> Floats:
            found = gathered.get(name)
            if found is None:
                start = place + (self._room - self._depth[name] + 1)
                found = gathered[name] = self._fields[name][rows, start]
            return found

        def facts(key: FactKey) -> Facts:
            return self._facts.seen(key, rows, ts_ns)

        values = np.empty((len(rows), len(self._chosen)), np.float32)
        for column, one in enumerate(self._chosen):
            values[:, column] = one.feature(History(one.bars, ts_ns, field, facts), **one.params)
        return values

    def _keep(self, rows: Ints, numbers: Ints, values: Floats32, holes: Bools) -> None:
        """Put values into their rings, and note which of them may be part of no window."""
        if self._missing == "mask":
            values[np.ix_(holes, ~self._shows_holes)] = np.nan
            flaws = np.zeros(len(rows), np.bool_)
        else:
            flaws = np.isnan(values).any(axis=1) & (numbers - self._begun[rows] >= self.first)
        place = numbers % self._value_room
        self._values[rows, :, place] = self._values[rows, :, place + self._value_room] = values
        place = numbers % self._flaw_room
        self._flaws[rows, place] = self._flaws[rows, place + self._flaw_room] = flaws
        self._holes[rows, place] = self._holes[rows, place + self._flaw_room] = holes
