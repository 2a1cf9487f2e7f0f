"""A tape's events, in order, as windows of features and as prices.

Windows overlap in all but one bar, so each symbol's columns are kept once and a window is a view that ends at a row.
That the newest window is the last one moved on by a bar is not assumed but looked at; where it is not (a gap that was
filled, a first window), the whole of it is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.events import Bar, CorporateAction, InboxEvent
from engine.model.features import FeatureSet, Pulled
from research.targets import Ints

Floats32 = npt.NDArray[np.float32]


class Reader:
    """Takes the tape's events in order: features make windows of them, and prices are kept for the answers."""

    def __init__(self, features: FeatureSet) -> None:
        self.others: set[int] = set()
        self.prices = [Prices() for _ in features.symbols]
        self.columns = Columns(len(features.symbols), features.n_features, features.lookback)
        self._features = features
        self._place = {symbol: place for place, symbol in enumerate(features.symbols)}

    def take(self, event: InboxEvent) -> None:
        features = self._features
        left_out = features.left_out
        features.take(event)  # type: ignore[arg-type]  # a tape holds market events, and signals of models before
        if not isinstance(event, Bar | CorporateAction) or event.symbol not in self._place:
            return
        place = self._place[event.symbol]
        prices = self.prices[place]
        if isinstance(event, CorporateAction):
            if event.action == "symbol_change":
                self._place[event.new_symbol] = self._place.pop(event.symbol)
            prices.adjust(event)
        elif not features.has_room_for(event):
            self.others.add(event.interval_ns)
        elif features.left_out == left_out:  # what is no bar to the features is no answer either
            prices.add(event)


class Prices:
    """One symbol's bars, at prices that no split or dividend makes jump: what one unit held from the start is worth."""

    def __init__(self) -> None:
        self.ts_open_ns: list[int] = []
        self.ts_event_ns: list[int] = []
        self.ts_recv_ns: list[int] = []
        self.open: list[float] = []
        self.close: list[float] = []
        self._last, self._shares = 0.0, 1.0

    def add(self, bar: Bar) -> None:
        self._last = bar.close
        self.ts_open_ns.append(bar.ts_open_ns)
        self.ts_event_ns.append(bar.ts_event_ns)
        self.ts_recv_ns.append(bar.ts_recv_ns)
        self.open.append(bar.open * self._shares)
        self.close.append(bar.close * self._shares)

    def adjust(self, action: CorporateAction) -> None:
        if action.action == "split":
            ratio = action.new_shares / action.old_shares
            self._shares *= ratio
            self._last /= ratio
        elif action.action == "cash_dividend" and self._last > float(action.amount_usd):
            self._shares /= 1 - float(action.amount_usd) / self._last  # the dividend buys more of the share


class Columns:
    """Windows, each bar's column kept once."""

    def __init__(self, symbols: int, features: int, lookback: int) -> None:
        self._newest = np.full((symbols, features, lookback), np.nan, np.float32)
        self._kept: list[list[Floats32]] = [[] for _ in range(symbols)]
        self._count = [0] * symbols
        self._found: list[list[tuple[int, int]]] = [[] for _ in range(symbols)]

    def add(self, pulled: Pulled) -> None:
        """Keep what is new of some windows, in the order in which their bars came."""
        order = np.argsort(pulled.rows, kind="stable")
        rows, windows = pulled.rows[order], pulled.windows[order]
        before = np.concatenate([np.empty_like(windows[:1]), windows[:-1]])
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        before[first] = self._newest[rows[first]]
        # Bit by bit, so that what is missing equals what is missing.
        same = before[:, :, 1:].copy().view(np.int32) == windows[:, :, :-1].copy().view(np.int32)
        whole = (~same.all(axis=(1, 2))).tolist()
        for at, (row, ts_event_ns) in enumerate(zip(rows.tolist(), pulled.ts_event_ns[order].tolist(), strict=True)):
            known = self._count[row] > 0 and not whole[at]
            columns = windows[at, :, -1:].T if known else windows[at].T
            self._kept[row].append(columns.copy())
            self._count[row] += len(columns)
            self._found[row].append((ts_event_ns, self._count[row] - 1))
            self._newest[row] = windows[at]

    def joined(self) -> tuple[Floats32, list[Ints]]:
        """Return all columns, and for each symbol (close of the bar, row among the columns) of each window."""
        first, found = 0, []
        for count, pairs in zip(self._count, self._found, strict=True):
            found.append(np.array(pairs, np.int64).reshape(-1, 2) + (0, first))
            first += count
        kept = [columns for symbol in self._kept for columns in symbol]
        width = self._newest.shape[1]
        return np.concatenate(kept) if kept else np.empty((0, width), np.float32), found
