"""From a tape to examples, through the same features that replay and live trading use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from engine import plugins
from engine.bars import interval_ns
from engine.clock import Sessions
from engine.errors import ConfigError, TapeError, suggestion
from engine.events import InboxEvent
from engine.model.features import FeatureSet
from engine.model.normalization import Normalization
from research import targets
from research.config import TargetConfig, TrainConfig
from research.reader import Floats32, Prices, Reader
from research.targets import Floats, Ints, Labels

VOLATILITY_BARS = 20
BLOCK = 256
"""So many bars of a symbol have their features computed together."""


@dataclass(frozen=True)
class Examples:
    """Everything a training wants, one row an example, in the order of time and then of symbols.

    Attributes:
        columns: raw features of each bar, `[bar, feature]`, one symbol after the other.
        row: where an example's newest bar stands among them.
        symbol: number of its symbol among `symbols`.
        ts_ns: when its newest bar closed: examples of one close are of one instant, whenever each was received.
        end_ns: when its label was known, which is when the last bar of it was received.
        label: class, or value in the target's own units.
        gain: what holding the symbol over the horizon earns, from the price that a decision gets; NaN where unknown.
        moved, volatility: the last bar's return, and the root mean square of those of the last month, both known.
    """

    symbols: tuple[str, ...]
    feature_names: tuple[str, ...]
    feature_code_sha256: str
    tape_sha256: str
    lookback: int
    columns: Floats32
    row: Ints
    symbol: Ints
    ts_ns: Ints
    end_ns: Ints
    label: Floats
    gain: Floats
    moved: Floats
    volatility: Floats

    def windows(self, normalization: Normalization) -> torch.Tensor:
        """Return a view `[place, feature, lookback]` of normalized columns; `places` says which are windows."""
        scaled = normalization.apply(np.ascontiguousarray(self.columns.T)[None])[0]
        return torch.from_numpy(np.ascontiguousarray(scaled.T)).unfold(0, self.lookback, 1)

    @property
    def places(self) -> Ints:
        """Which of the views of `windows` is each example's."""
        return self.row - (self.lookback - 1)


def build(config: TrainConfig) -> Examples:
    """Read the tape once and return its examples.

    Raises:
        ConfigError: the tape's bars are of another length, or it lacks a symbol or what a feature needs.
        TapeError: it does not read, or holds too little for a single example.
    """
    sessions = Sessions(config.calendar)
    feed = plugins.load(plugins.FEED, config.feed.use)(config.feed.settings)
    symbols = _symbols(config, feed.symbols)
    data = config.data
    features = FeatureSet(
        data.specs, symbols, interval_ns=interval_ns(data.bar), lookback=data.lookback, missing=data.missing,
        sessions=sessions, hours=data.hours, block=BLOCK,
    )  # fmt: skip
    read = Reader(features)
    for batch in _scored(config, feed, sessions):
        for event in batch:
            read.take(event)
        read.columns.add(features.pull())
    _check(config, features, read, symbols)
    return _examples(config, feed.fingerprint, features, read, symbols)


def _scored(config: TrainConfig, feed: Any, sessions: Sessions) -> Iterator[Sequence[InboxEvent]]:
    """Return the tape with the signals of the models before this one in their places, as a run would have them."""
    batches: Iterator[Sequence[InboxEvent]] = feed.batches()
    if config.models:
        from engine.model.deploy import Deployer

        deployer = Deployer(config, feed.symbols, sessions, span_ns=feed.span_ns, now_ns=feed.span_ns[0])
        for lane in (lane for model in config.models for lane in deployer.lanes(model)):
            batches = lane.batches(batches)
    return batches


def _symbols(config: TrainConfig, known: Any) -> tuple[str, ...]:
    wanted = tuple(known) if config.data.symbols == ("*",) else config.data.symbols
    for symbol in wanted:
        if symbol not in known:
            raise ConfigError(f"data.symbols: {symbol!r} is on no tape{suggestion(symbol, known)}")
    if config.target.is_directional and config.book.use == "top_bottom" and len(wanted) < 2 * config.book.k:
        raise ConfigError(
            f"book.k = {config.book.k} wants {2 * config.book.k} symbols, and there are {len(wanted)}; lower it, or "
            "choose book.use = 'long_only' or 'long_short'"
        )
    return tuple(sorted(wanted))


def _check(config: TrainConfig, features: FeatureSet, read: Reader, symbols: tuple[str, ...]) -> None:
    longest = max(len(prices.close) for prices in read.prices)
    if not longest and read.others:
        lengths = ", ".join(_told(each) for each in sorted({*read.others})[:3])
        raise ConfigError(f"data.bar = {config.data.bar!r}, but the tape's bars are of {lengths}")
    unmet = sorted(features.unmet())
    if unmet:
        raise ConfigError(f"the tape lacks what the features need: {', '.join(unmet)}")
    wanted = features.warm_up_bars + config.target.horizon_bars + 1
    if longest < wanted:
        raise TapeError(
            f"too little data: a first example wants {wanted} bars of a symbol, and of {len(symbols)} symbols none has "
            f"more than {longest}"
        )


def _told(length_ns: int) -> str:
    seconds = length_ns // 1_000_000_000
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


class _Answers(NamedTuple):
    labels: Labels
    gain: Floats
    moved: Floats
    volatility: Floats


def _examples(
    config: TrainConfig, tape_sha256: str, features: FeatureSet, read: Reader, symbols: tuple[str, ...]
) -> Examples:
    columns, found = read.columns.joined()
    parts: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    for number, (prices, pairs) in enumerate(zip(read.prices, found, strict=True)):
        answers, recv_ns = _answers(config, prices), np.array(prices.ts_recv_ns, np.int64)
        bars = np.searchsorted(np.array(prices.ts_event_ns, np.int64), pairs[:, 0])
        ends = answers.labels.end[bars]
        parts["row"].append(pairs[:, 1])
        parts["symbol"].append(np.full(len(bars), number, np.int64))
        parts["ts_ns"].append(pairs[:, 0])
        parts["end_ns"].append(np.where(ends >= 0, recv_ns[ends], -1) if len(recv_ns) else ends)
        parts["label"].append(answers.labels.value[bars])
        for name in ("gain", "moved", "volatility"):
            parts[name].append(getattr(answers, name)[bars])
    whole = {name: np.concatenate(each) for name, each in parts.items()}
    if config.target.use == "above_median":
        whole["label"], whole["end_ns"] = targets.above_median(whole["label"], whole["end_ns"], whole["ts_ns"])
    kept = np.flatnonzero(~np.isnan(whole["label"]))
    kept = kept[np.lexsort((whole["symbol"][kept], whole["ts_ns"][kept]))]
    if not len(kept):
        raise TapeError("too little data: no example has both a window and a label")
    return Examples(
        symbols=symbols, feature_names=tuple(features.names), feature_code_sha256=features.code_hash,
        tape_sha256=tape_sha256, lookback=features.lookback, columns=columns,
        **{name: each[kept] for name, each in whole.items()},
    )  # fmt: skip


def _answers(config: TrainConfig, prices: Prices) -> _Answers:
    close, opened, ahead = np.array(prices.close), np.array(prices.open), config.target.horizon_bars
    if config.book.entry == "close":
        gain = targets.forward_return(close, ahead).value
    else:
        gain = np.full(len(close), np.nan)
        gain[:-1] = targets.forward_return(opened, ahead).value[1:] if len(close) else gain[:-1]
    moved = np.full(len(close), np.nan)
    moved[1:] = close[1:] / close[:-1] - 1
    labels = _labels(config.target, close)
    return _Answers(labels, gain, moved, targets.trailing_volatility(close, VOLATILITY_BARS))


def _labels(target: TargetConfig, close: Floats) -> Labels:
    ahead = target.horizon_bars
    if target.use == "reconstruction":  # the window is its own answer, known when it is complete
        return Labels(np.zeros(len(close)), np.arange(len(close), dtype=np.int64))
    if target.use == "volatility":
        return targets.volatility(close, ahead)
    if target.use == "triple_barrier":
        return targets.triple_barrier(close, ahead, target.barrier_width, target.volatility_bars)
    returns = targets.forward_return(close, ahead)
    return targets.direction(returns, target.threshold) if target.use == "direction" else returns
