"""What was said of a symbol, until the return that it was said about is known."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.clock import Sessions
from engine.events import Bar, CorporateAction
from engine.model.card import Card
from engine.model.grid import Grid
from engine.model.states import Due

Numbers = NDArray[np.float64]

BARS_KEPT: Final = 64
"""So many bars of a symbol may close before a slow pass says something of the first."""


class Close(NamedTuple):
    """A bar of a symbol: its number, when it closed, and its close in the shares of today."""

    number: int
    ts_ns: int
    close: float


class Said(NamedTuple):
    """What was said at a close, up to the first bar of at least this number that closes at `ts_ns` or later."""

    number: int
    ts_ns: int
    close: float
    numbers: tuple[float, ...]

    def ends_by(self, bar: Close) -> bool:
        return bar.number >= self.number and bar.ts_ns >= self.ts_ns


class Horizon:
    """Closes of symbols, and numbers that wait for the one that lies the card's horizon ahead.

    As in training a horizon is so many of a symbol's own bars, whatever time they take, and a bar that is none to the
    features is none here; splits and dividends are no returns. A model of texts says nothing of bars: its horizon ends
    with the first bar so much time after the text.
    """

    def __init__(self, card: Card, symbols: tuple[str, ...]) -> None:
        horizon_ns = card.outputs[0].horizon_ns or card.interval_ns
        self._ahead = (0, horizon_ns) if card.text is not None else (max(1, round(horizon_ns / card.interval_ns)), 0)
        self._grid = Grid(Sessions(card.calendar), card.interval_ns, card.hours, 0) if card.text is None else None
        self._row = {symbol: row for row, symbol in enumerate(symbols)}
        self._closes: list[deque[Close]] = [deque(maxlen=BARS_KEPT) for _ in symbols]
        self._waiting: list[deque[Said]] = [deque() for _ in symbols]
        self._passed: list[tuple[float, ...]] = []

    def take(self, event: Any) -> None:
        """Take note of a bar's close, and of what makes closes of before another number or another name's."""
        kind = type(event)
        if (kind is not Bar and kind is not CorporateAction) or (row := self._row.get(event.symbol)) is None:
            return
        if kind is Bar:
            self._take_bar(row, event)
        elif event.action == "symbol_change":
            self._row[event.new_symbol] = self._row.pop(event.symbol)
        elif event.action == "split":
            self._restate(row, event.old_shares / event.new_shares)
        elif (closes := self._closes[row]) and closes[-1].close > float(event.amount_usd):
            self._restate(row, 1.0 - float(event.amount_usd) / closes[-1].close)

    def _take_bar(self, row: int, bar: Bar) -> None:
        closes, waiting, grid = self._closes[row], self._waiting[row], self._grid
        number, last_ns = (closes[-1].number + 1, closes[-1].ts_ns) if closes else (0, 0)
        if not bar.ts_event_ns > last_ns or (grid is not None and not (grid.is_as_long(bar) and grid.counts(bar))):
            return
        closes.append(Close(number, bar.ts_event_ns, bar.close))
        while waiting and waiting[0].ends_by(closes[-1]):
            self._pass(waiting.popleft(), closes[-1])

    def _restate(self, row: int, times: float) -> None:
        self._closes[row] = deque((one._replace(close=one.close * times) for one in self._closes[row]), BARS_KEPT)
        self._waiting[row] = deque(one._replace(close=one.close * times) for one in self._waiting[row])

    def wait(self, due: Due, numbers: Numbers) -> None:
        """Keep what a pass says of its bars, `[n, k]`, until their horizon has passed; a row without a number is none.

        It may come late: bars that have closed since are no bars that it was said of.
        """
        bars, span_ns = self._ahead
        good = np.isfinite(numbers).all(axis=1)
        given = zip(due.rows[good].tolist(), due.ts_event_ns[good].tolist(), numbers[good].tolist(), strict=True)
        for row, ts_ns, said in given:
            closes = self._closes[row]
            of = next((one for one in reversed(closes) if one.ts_ns <= ts_ns), None)
            if of is None:
                continue
            waits = Said(of.number + bars, ts_ns + span_ns, of.close, tuple(said))
            if waits.ends_by(closes[-1]):
                self._pass(waits, next(one for one in closes if waits.ends_by(one)))
            else:
                self._waiting[row].append(waits)

    def _pass(self, said: Said, end: Close) -> None:
        self._passed.append((end.close / said.close - 1.0, *said.numbers))

    def passed(self) -> list[tuple[float, ...]]:
        """Return what has waited long enough since the last call: each return, and what was said of it."""
        passed, self._passed = self._passed, []
        return passed
