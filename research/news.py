"""From a tape to texts with answers: what was read of which symbol when, and what its price did after that.

The texts are those that the lane would score: `engine.model.text.Texts` puts together what came at one instant. The
return begins at the first open after a text was known and ends at a close, so no part of it was known before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine import plugins
from engine.bars import interval_ns, kind_ns
from engine.clock import Sessions
from engine.errors import ConfigError, TapeError, suggestion
from engine.events import HOUR_NS, Bar, CorporateAction
from engine.model.card import Text
from engine.model.text import Texts
from engine.model.text_lexicon import lexicon_score
from engine.model.text_tokens import SPECIAL, Words
from research.news_config import NewsTrainConfig
from research.reader import Prices
from research.targets import Floats, Ints

CLASSES = ("negative", "neutral", "positive")
VALUES = (-1.0, 0.0, 1.0)
EXAMPLES_MIN = 30


@dataclass(frozen=True)
class TextExamples:
    """Texts in the order of time and then of symbols.

    Attributes:
        symbol: number of each one's symbol among `symbols`.
        ts_ns, end_ns: when it was known, and when its return was.
        gain: return from the first open after it to the close of the horizon's last bar.
        lexicon: what our lexicon says of it.
    """

    symbols: tuple[str, ...]
    tape_sha256: str
    texts: tuple[str, ...]
    symbol: Ints
    ts_ns: Ints
    end_ns: Ints
    gain: Floats
    lexicon: Floats


def build(config: NewsTrainConfig) -> TextExamples:
    """Read the tape once and return its texts that have an answer.

    Raises:
        ConfigError: the tape lacks a symbol, or holds no text of the kinds asked for.
        TapeError: it does not read, or holds too few texts with an answer.
    """
    sessions = Sessions(config.calendar)
    feed = plugins.load(plugins.FEED, config.feed.use)(config.feed.settings)
    symbols = _symbols(config, tuple(feed.symbols))
    texts = texts_for(config, symbols)
    prices, length_ns = {symbol: Prices() for symbol in symbols}, interval_ns(config.labels.bar)
    found: list[tuple[int, int, str]] = []
    now_ns = 0
    for batch in feed.batches():
        for event in batch:
            if event.ts_recv_ns > now_ns:
                found += [(now_ns, row, texts.texts[row]) for row in texts.close().tolist()]
                now_ns = event.ts_recv_ns
            texts.take(event)
            if isinstance(event, Bar) and event.symbol in prices:
                if kind_ns(event.interval_ns, sessions) == length_ns and not event.revised:
                    prices[event.symbol].add(event)
            elif isinstance(event, CorporateAction) and event.symbol in prices:
                prices[event.symbol].adjust(event)
    found += [(now_ns, row, texts.texts[row]) for row in texts.close().tolist()]
    if unmet := texts.unmet():
        raise ConfigError(f"text.reads: the tape holds no {', '.join(unmet)}")
    return _with_answers(config, feed.fingerprint, symbols, found, [prices[symbol] for symbol in symbols])


def texts_for(config: NewsTrainConfig, symbols: tuple[str, ...]) -> Texts:
    """Return what gathers the texts of a tape; their numbers are not looked at, since no vocabulary is known yet."""
    told, counts_for_ns = Text(config.text.reads, "words", ""), round(config.text.counts_for_h * HOUR_NS)
    return Texts(told, Words(SPECIAL, 1), symbols, lookback=config.text.length, interval_ns=counts_for_ns)


def _symbols(config: NewsTrainConfig, known: tuple[str, ...]) -> tuple[str, ...]:
    wanted = known if "*" in config.text.symbols else config.text.symbols
    for symbol in wanted:
        if symbol not in known:
            raise ConfigError(f"text.symbols: {symbol!r} is on no tape{suggestion(symbol, known)}")
    return tuple(sorted(wanted))


def _with_answers(
    config: NewsTrainConfig, tape_sha256: str, symbols: tuple[str, ...], found: list[tuple[int, int, str]],
    prices: list[Prices],
) -> TextExamples:  # fmt: skip
    answers = [answer(prices[row], ts_ns, config.labels.horizon_bars) for ts_ns, row, _ in found]
    kept = [at for at, one in enumerate(answers) if one is not None]
    if len(kept) < EXAMPLES_MIN:
        raise TapeError(
            f"too little data: of {len(found)} texts {len(kept)} are followed by {config.labels.horizon_bars} bars of "
            f"{config.labels.bar} of their symbol; {EXAMPLES_MIN} are the least"
        )
    ends, gains = zip(*(answers[at] or (0, 0.0) for at in kept), strict=True)
    texts = tuple(found[at][2] for at in kept)
    return TextExamples(
        symbols, tape_sha256, texts, np.array([found[at][1] for at in kept], np.int64),
        np.array([found[at][0] for at in kept], np.int64), np.array(ends, np.int64), np.array(gains),
        np.array([lexicon_score(text) for text in texts]),
    )  # fmt: skip


def answer(prices: Prices, ts_ns: int, horizon: int) -> tuple[int, float] | None:
    """Return when the return that follows an instant was known, and that return; None where the tape ends before."""
    first = int(np.searchsorted(np.asarray(prices.ts_open_ns, np.int64), ts_ns))
    last = first + horizon - 1
    if last >= len(prices.close):
        return None
    return prices.ts_recv_ns[last], prices.close[last] / prices.open[first] - 1.0


def lexicon_classes(score: Floats) -> Floats:
    """Return 0, 1 or 2 for a negative, no or a positive score."""
    return np.sign(score) + 1.0


def return_classes(gain: Floats, train: Ints, neutral: float) -> Floats:
    """Return 0, 1 or 2 for a lower, middle or upper return; where they part is fitted on the training rows alone."""
    middle = float(np.median(gain[train]))
    width = float(np.quantile(np.abs(gain[train] - middle), neutral))
    moved = gain - middle
    return np.where(moved > width, 2.0, np.where(moved < -width, 0.0, 1.0))
