"""Features of all symbols at once, bar by bar: one object makes the training set, scores a replay and trades live.

The value of a symbol's bar depends on that symbol's own events before it, in the order of the tape, and on no more
bars than its features declare. So it is the same to the last bit whatever batches events come in, which other symbols
are there, when the instant is closed, and wherever the run began, once `warm_up_bars` bars have gone by.

Bars are staged when they come and computed together: at the end of an instant, when a symbol has more of them than
`block`, or before a fact (a headline, a filing, a split) that concerns a staged symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from engine.clock import Sessions
from engine.errors import ModelError
from engine.events import Bar, CorporateAction, Datum, MarketEvent, News, Quote, Signal
from engine.model.card import Card, FeatureSpec, Floats32, Missing
from engine.model.catalog import Chosen, choose, code_sha256
from engine.model.facts import FactStore
from engine.model.grid import Grid
from engine.model.history import STAGED_FIELDS, Ints
from engine.model.rings import Rings

NO_QUOTE = (float("nan"),) * 4
LEAST_BLOCK = 16  # a bar may come with a dozen that stand in for missing ones, and all are computed in one go
FILLED = -1  # in the place of a time of reception: nothing was received


class Pulled(NamedTuple):
    """Every bar with a whole window since the last pull, in the order in which they came.

    Shapes: `[n]`, `[n]`, `[n]` and `[n, features, lookback]`.
    """

    rows: Ints
    ts_event_ns: Ints
    ts_recv_ns: Ints
    windows: Floats32


class FeatureSet:
    """Named features of `symbols`, computed from bars of `interval_ns` and whatever else their specs ask for.

    Missing bars, between two bars of a symbol on the grid of its sessions, by policy: "carry" repeats the close with no
    volume (the feature `age` says for how long), "mask" computes the same and leaves these columns NaN, "refuse" gives
    no window that any of them had a part in. A gap longer than `warm_up_bars` starts the symbol afresh. A bar that is
    revised, not newer than its predecessor, outside `hours` or without a positive close is left out.

    Attributes:
        symbols: a symbol's row is its place here.
        names: the features as they are written, in order.
        code_hash: SHA-256 over their code and parameters.
        warm_up_bars: how many bars a symbol needs before its first window.
        needs: kinds of input that they cannot do without: "quote", "vwap", or the name of a fact.
        left_out: bars that were not taken.

    Raises:
        ModelError: a feature is unknown or does not compute, or the shape makes no sense.
    """

    def __init__(
        self, specs: Iterable[FeatureSpec], symbols: Sequence[str], *, interval_ns: int, lookback: int,
        missing: Missing = "carry", sessions: Sessions, hours: Literal["regular", "extended"] = "regular",
        block: int = 0, folder: Path = Path(),
    ) -> None:  # fmt: skip
        self.chosen: list[Chosen] = [choose(spec, folder) for spec in specs]
        if not self.chosen or lookback < 1:
            raise ModelError(f"{len(self.chosen)} features over {lookback} bars: at least one of each is right")
        self.symbols, self.interval_ns, self.lookback, self.missing = tuple(symbols), interval_ns, lookback, missing
        self.names = tuple(str(one.spec) for one in self.chosen)
        self.n_features, self.block = len(self.chosen), max(block, LEAST_BLOCK)
        self.code_hash = code_sha256(self.chosen)
        self.needs = frozenset[str]().union(*(one.needs for one in self.chosen))
        self.left_out = 0
        self._facts = FactStore(len(self.symbols), sorted(set().union(*(one.facts for one in self.chosen))))
        self._rings = Rings(
            self.chosen, len(self.symbols), lookback=lookback, missing=missing, block=self.block, facts=self._facts
        )
        self.warm_up_bars = self._rings.warm_up_bars
        self._grid = Grid(sessions, interval_ns, hours, self.warm_up_bars)
        self._rows = {symbol: row for row, symbol in enumerate(self.symbols)}
        self._seen: set[str] = set()
        self._pulled: list[Pulled] | None = [] if block else None
        count = len(self.symbols)
        self._head, self._head_ns, self._due = np.full(count, -1), np.zeros(count, np.int64), np.zeros(count, np.bool_)
        self._count, self._last_ns, self._pending = [0] * count, [0] * count, [0] * count
        self._quote: list[tuple[float, ...]] = [NO_QUOTE] * count
        self._last: list[tuple[float, ...]] = [(float("nan"), *NO_QUOTE)] * count
        self._staged: list[float] = []
        self._at: list[int] = []

    @classmethod
    def for_card(
        cls, card: Card, symbols: Sequence[str], *, block: int = 0, folder: Path = Path(), trusted: bool = False
    ) -> FeatureSet:
        """Return the features that a model was trained on.

        A card names them, and a name such as `file.py:function` is code to be run: that takes a card that is `trusted`.

        Raises:
            ModelError: one is unknown here, its code is another than it was then, or it is not ours to run.
        """
        for spec in card.features:
            if ":" in spec.name and not trusted:
                raise ModelError(
                    f"model {card.name!r} wants code run for its feature {spec.name!r}: list the file's SHA-256 in "
                    "allowed_sha256 if you trust it"
                )
        features = cls(
            card.features, symbols, interval_ns=card.interval_ns, lookback=card.lookback, missing=card.missing,
            sessions=Sessions(card.calendar), hours=card.hours, block=block, folder=folder,
        )  # fmt: skip
        if features.code_hash != card.feature_code_sha256:
            raise ModelError(
                f"model {card.name!r} was trained with other code of {', '.join(features.names)} (sha256 "
                f"{card.feature_code_sha256[:12]}, here {features.code_hash[:12]}): train it again"
            )
        return features

    # --- what comes in -----------------------------------------------------------------------------------------------

    def take(self, event: MarketEvent | Signal) -> None:
        """Take in the next event of the tape."""
        kind = type(event)
        if kind is Bar:
            self._take_bar(event)  # type: ignore[arg-type]  # its type was just asked for, the fast way
        elif kind is Quote:
            self._take_quote(event)  # type: ignore[arg-type]  # likewise
        elif kind is News or kind is Datum or kind is Signal:
            self._take_fact(event)  # type: ignore[arg-type]  # likewise
        elif kind is CorporateAction:
            self._take_action(event)  # type: ignore[arg-type]  # likewise

    def has_room_for(self, bar: Bar) -> bool:
        """Tell whether the windows are made of such bars: of this symbol, and as long."""
        return self._grid.is_as_long(bar) and bar.symbol in self._rows

    def _take_bar(self, bar: Bar) -> None:
        if not self.has_room_for(bar):
            return
        row = self._rows[bar.symbol]
        ts_ns, last_ns, close = bar.ts_event_ns, self._last_ns[row], bar.close
        if ts_ns <= last_ns or not self._grid.counts(bar):
            self.left_out += 1
            return
        if last_ns and ts_ns - last_ns != self.interval_ns:
            self._fill(row, last_ns, bar)
        vwap, quote, elapsed = bar.vwap, self._quote[row], self._grid.elapsed(ts_ns)
        if vwap is None:
            vwap = float("nan")
        else:
            self._seen.add("vwap")
        self._stage(
            row, ts_ns, bar.ts_recv_ns,
            (bar.open, bar.high, bar.low, close, bar.volume, vwap, bar.trade_count, 0.0, elapsed, *quote),
        )  # fmt: skip
        self._last_ns[row] = ts_ns
        self._last[row] = (close, *quote)

    def _fill(self, row: int, last_ns: int, bar: Bar) -> None:
        """Stage what stands in for the bars that are missing before this one."""
        holes = self._grid.between(last_ns, bar.ts_event_ns)
        if holes is None:
            self._settle()
            self._count[row] += 1  # a number is left out, so that nobody takes the next bar for a successor
            self._rings.start_afresh(row, self._count[row])
            return
        close, *quote = self._last[row]
        for number, (ts_ns, elapsed) in enumerate(holes, start=1):
            filler = (close, close, close, close, 0.0, close, 0.0, float(number), elapsed, *quote)
            self._stage(row, ts_ns, FILLED, filler)

    def _stage(self, row: int, ts_ns: int, recv_ns: int, fields: tuple[float, ...]) -> None:
        if self._pending[row] == self.block:
            self._settle()
        self._pending[row] += 1
        number = self._count[row]
        self._count[row] = number + 1
        self._at += (row, number, ts_ns, recv_ns)
        self._staged += fields

    def _take_quote(self, quote: Quote) -> None:
        row = self._rows.get(quote.symbol, -1)
        if row >= 0 and 0.0 < quote.bid_price <= quote.ask_price:
            self._seen.add("quote")
            self._quote[row] = (quote.bid_price, quote.ask_price, quote.bid_size, quote.ask_size)

    def _take_fact(self, event: News | Datum | Signal) -> None:
        if type(event) is News:
            name, text, value, named = "news", event.headline, None, event.symbols
        elif type(event) is Datum:
            name, text, value, named = event.name, event.text, event.value, (event.symbol,) if event.symbol else ()
        else:
            assert isinstance(event, Signal)
            name, text, value, named = event.model, "", event.score, (event.symbol,)
        keys = self._facts.keys_of(name, text)
        if not keys:
            return
        self._seen.add(name)
        rows = [self._rows[symbol] for symbol in named if symbol in self._rows] if named else None
        if any(self._pending) if rows is None else any(self._pending[row] for row in rows):
            self._settle()
        self._facts.add(keys, rows, event.ts_event_ns, float("nan") if value is None else value)

    def _take_action(self, action: CorporateAction) -> None:
        """Restate what is remembered in the shares of today, or go on under another name."""
        row = self._rows.get(action.symbol, -1)
        if row < 0:
            return
        if action.action == "symbol_change":
            self._settle()
            if (other := self._rows.get(action.new_symbol, row)) != row:
                self._due[other] = False  # of another security, of which nothing is heard under this name any more
            self._rows[action.new_symbol] = self._rows.pop(action.symbol)
        if action.action != "split":
            return
        self._settle()
        new, old = action.new_shares, action.old_shares
        self._rings.split(row, new, old)
        for kept in (self._last, self._quote):
            *prices, bid_size, ask_size = kept[row]
            restated = [price * old / new for price in prices]
            kept[row] = (*restated, bid_size * new / old, ask_size * new / old)

    # --- what comes out ----------------------------------------------------------------------------------------------

    def close(self, ts_ns: int = 0) -> Ints:
        """Compute what is staged; return the rows with a new bar since the last close and a whole window, sorted.

        `ts_ns` is the instant, for the caller's eye only: it changes nothing.
        """
        self._settle()
        rows = np.flatnonzero(self._due)
        self._due[rows] = False
        return rows[self._rings.whole(rows, self._head[rows])]

    def windows(self, rows: Ints, out: Floats32 | None = None) -> Floats32:
        """Return the raw features of the newest bars of `rows`, newest last; NaN where the policy "mask" says so.

        Shapes: `[n, features, lookback]`, written to `out` where it is given.
        """
        found = self._rings.windows(rows, self._head[rows])
        if out is None:
            return found
        out[...] = found
        return out

    def ts_event_ns(self, rows: Ints) -> Ints:
        """Return when the newest bar of each row closed. Shapes: `[n]`."""
        return self._head_ns[rows]

    def numbers(self, rows: Ints) -> Ints:
        """Return the number of each row's newest bar, those that stand in for missing ones counted. Shapes: `[n]`."""
        return self._head[rows]

    def pull(self) -> Pulled:
        """Return every bar since the last pull that has a whole window, in the order in which they came.

        For many instants at once, where `block` is set: bars are computed together, up to `block` of each symbol.
        """
        self._settle()
        if not self._pulled:
            none = np.empty(0, np.int64)
            return Pulled(none, none, none, np.empty((0, self.n_features, self.lookback), np.float32))
        pulled, self._pulled = self._pulled, []
        if len(pulled) == 1:
            return pulled[0]
        rows, ts_event_ns, ts_recv_ns = (
            np.concatenate(parts) for parts in zip(*(one[:3] for one in pulled), strict=True)
        )
        return Pulled(rows, ts_event_ns, ts_recv_ns, np.concatenate([one.windows for one in pulled]))

    def unmet(self) -> tuple[str, ...]:
        """Return the needed kinds of input of which nothing has come yet, sorted."""
        return tuple(sorted(self.needs - self._seen))

    def _settle(self) -> None:
        """Compute the features of all staged bars."""
        if not self._at:
            return
        at, staged = np.array(self._at, np.int64).reshape(-1, 4), np.array(self._staged).reshape(-1, len(STAGED_FIELDS))
        self._at.clear()
        self._staged.clear()
        rows, numbers, ts_ns, recv_ns = np.ascontiguousarray(at.T)
        for row in rows.tolist():
            self._pending[row] = 0
        real = recv_ns != FILLED
        self._rings.put(rows, numbers, ts_ns, staged, ~real)
        self._head[rows], self._head_ns[rows] = numbers, ts_ns  # of a symbol's several bars the last one stays
        self._due[rows[real]] = True
        if self._pulled is not None:
            at = at[real & self._rings.whole(rows, numbers)]
            self._pulled.append(Pulled(at[:, 0], at[:, 2], at[:, 3], self._rings.windows(at[:, 0], at[:, 1])))
