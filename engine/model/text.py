"""Texts as the input of a model: headlines and filings come in, and what has to be scored are the numbers of words.

`Texts` offers what `engine.model.features.FeatureSet` offers, so everything that stands around a model of bars stands
around a model of texts too: the lane and its latency, deadline and journal, the challenger, the swap of files.

A text is scored when it is known and not before, for each of the model's symbols that it names; what follows from it
reaches a strategy, or the feature `news_score`, one inference later. One that names no symbol, or holds no word, is not
scored. Several texts of a symbol that become known at one instant are read together, in the order of the tape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import ModelError
from engine.events import Bar, CorporateAction, Datum, MarketEvent, News, Signal
from engine.model.archive import VOCABULARY, Archive
from engine.model.bundle import Bundle
from engine.model.card import Card, Floats32, Text
from engine.model.features import Pulled
from engine.model.history import Ints
from engine.model.text_tokens import CHARS_MAX, Tokenizer, code_sha256, tokenizer_of

NONE: Ints = np.empty(0, np.int64)


class Texts:
    """The newest text of each symbol as numbers of its words, filled up to `lookback`.

    Attributes:
        symbols: a symbol's row is its place here.
        warm_up_bars: none; a text is read alone.
        texts: the newest of each symbol, as it was read.
        needs: "news", or the names of data, whose text is read.
        left_out: texts that name a symbol of ours and hold no word.
    """

    names, n_features, warm_up_bars = ("tokens",), 1, 0

    def __init__(
        self, text: Text, tokenizer: Tokenizer, symbols: Sequence[str], *, lookback: int, interval_ns: int,
        block: int = 0,
    ) -> None:  # fmt: skip
        self.symbols, self.lookback, self.interval_ns, self.block = tuple(symbols), lookback, interval_ns, max(block, 1)
        self.needs, self.code_hash, self.left_out = frozenset(text.reads), code_sha256(), 0
        self._tokenizer, self._rows = tokenizer, {symbol: row for row, symbol in enumerate(self.symbols)}
        count = len(self.symbols)
        self._tokens = np.full((count, 1, lookback), tokenizer.pad, np.float32)
        self._ts_ns, self._recv_ns, self.texts = np.zeros(count, np.int64), [0] * count, [""] * count
        self._due: set[int] = set()
        self._seen: set[str] = set()
        self._pulled: list[tuple[int, int, int, Floats32]] | None = [] if block else None

    def has_room_for(self, _bar: Bar) -> bool:
        """Tell whether a bar says anything here: none does."""
        return False

    def take(self, event: MarketEvent | Signal) -> None:
        """Take in the next event of the tape; all but texts and new names are passed over."""
        kind = type(event)
        if kind is Bar:
            return
        if kind is News:
            assert isinstance(event, News)
            self._read("news", event.headline, event.symbols, event.ts_event_ns, event.ts_recv_ns)
        elif kind is Datum:
            assert isinstance(event, Datum)
            self._read(event.name, event.text, (event.symbol,), event.ts_event_ns, event.ts_recv_ns)
        elif kind is CorporateAction:
            assert isinstance(event, CorporateAction)
            if event.action == "symbol_change" and event.symbol in self._rows:
                self._rows[event.new_symbol] = self._rows.pop(event.symbol)

    def _read(self, name: str, text: str, named: Sequence[str], ts_ns: int, recv_ns: int) -> None:
        if name not in self.needs:
            return
        self._seen.add(name)
        encoded: dict[str, Floats32 | None] = {}
        for row in sorted({self._rows[symbol] for symbol in named if symbol in self._rows}):
            goes_on = self._recv_ns[row] == recv_ns and self.texts[row]
            whole = f"{self.texts[row]}\n{text[:CHARS_MAX]}"[:CHARS_MAX] if goes_on else text[:CHARS_MAX]
            if whole not in encoded:
                encoded[whole] = self.encode(whole)
            tokens = encoded[whole]
            if tokens is None:
                self.left_out += 1
                continue
            self.texts[row], self._recv_ns[row], self._ts_ns[row], self._tokens[row] = whole, recv_ns, ts_ns, tokens
            self._due.add(row)
            if self._pulled is not None:
                self._pulled.append((row, ts_ns, recv_ns, tokens))

    def encode(self, text: str) -> Floats32 | None:
        """Return a text as the network reads it, `[1, lookback]`, or None for one without a word."""
        numbers = self._tokenizer.encode(text, self.lookback)
        if not numbers:
            return None
        tokens = np.full((1, self.lookback), self._tokenizer.pad, np.float32)
        tokens[0, : len(numbers)] = numbers
        return tokens

    def close(self, ts_ns: int = 0) -> Ints:
        """Return the rows with a new text since the last close, sorted."""
        if not self._due:
            return NONE
        rows = np.array(sorted(self._due), np.int64)
        self._due.clear()
        return rows

    def windows(self, rows: Ints, out: Floats32 | None = None) -> Floats32:
        """Return the newest texts of `rows`. Shapes: `[n, 1, lookback]`, written to `out` where it is given."""
        if out is None:
            return self._tokens[rows]
        out[...] = self._tokens[rows]
        return out

    def ts_event_ns(self, rows: Ints) -> Ints:
        """Return when the newest text of each row was published. Shapes: `[n]`."""
        return self._ts_ns[rows]

    def numbers(self, rows: Ints) -> Ints:
        """Return zeros: texts are read alone, and none stands in for a missing one. Shapes: `[n]`."""
        return np.zeros_like(rows)

    def pull(self) -> Pulled:
        """Return every text since the last pull, in the order in which they came."""
        if not self._pulled:
            return Pulled(NONE, NONE, NONE, np.empty((0, 1, self.lookback), np.float32))
        rows, ts_ns, recv_ns, tokens = zip(*self._pulled, strict=True)
        self._pulled = []
        numbers = [np.array(each, np.int64) for each in (rows, ts_ns, recv_ns)]
        return Pulled(numbers[0], numbers[1], numbers[2], np.stack(tokens))

    def unmet(self) -> tuple[str, ...]:
        """Return the kinds of text of which none has come yet, sorted."""
        return tuple(sorted(self.needs - self._seen))


def texts_of(bundle: Bundle, symbols: Sequence[str], *, block: int = 0) -> Texts:
    """Return the input that a bundle of texts was trained on, with the tokenizer that lies in it.

    Raises:
        ModelError: its vocabulary is missing or another, or its golden headlines become other numbers than they were.
    """
    card = bundle.card
    try:
        return _texts(card, Archive(bundle.content), symbols, block)
    except ModelError as error:
        raise ModelError(f"{bundle.path}: {error}") from None


def _texts(card: Card, archive: Archive, symbols: Sequence[str], block: int) -> Texts:
    text, golden = card.text, card.golden
    assert text is not None
    assert golden is not None  # the card was checked
    if VOCABULARY not in archive.names:
        raise ModelError("it reads texts, and has no vocabulary")
    if card.feature_code_sha256 != code_sha256():
        raise ModelError("its words were numbered by other code; train it again")
    tokenizer = tokenizer_of(text, archive.read(VOCABULARY))
    texts = Texts(text, tokenizer, symbols, lookback=card.lookback, interval_ns=card.interval_ns, block=block)
    for headline, wanted in zip(text.headlines, golden.arrays()[0], strict=True):
        found = texts.encode(headline)
        if found is None or not np.array_equal(found, wanted):
            raise ModelError(f"its golden headline {headline[:60]!r} does not become its golden tokens here")
    return texts
