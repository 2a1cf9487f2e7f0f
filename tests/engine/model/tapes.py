"""Real tapes as lists of events, in the order of a replay, and ways to see the same features come out of them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from engine.clock import Sessions
from engine.events import DAY_NS, EVENT_CLASS, MINUTE_NS, Bar, Datum, MarketEvent, News, Quote, Signal
from engine.model.card import FeatureSpec
from engine.model.features import FeatureSet
from engine.model.history import Floats

Windows = dict[tuple[int, str], Floats]
Tape = list[MarketEvent]

PRICES = (
    FeatureSpec("returns"), FeatureSpec("returns", {"horizon": 5}), FeatureSpec("intraday"), FeatureSpec("gap"),
    FeatureSpec("volatility", {"window": 10}), FeatureSpec("range", {"window": 3}), FeatureSpec("range_position"),
    FeatureSpec("ma_distance", {"window": 15}), FeatureSpec("rsi"), FeatureSpec("volume_z"),
    FeatureSpec("time_of_day"), FeatureSpec("age"),
)  # fmt: skip
NEWS = (
    FeatureSpec("news_count"), FeatureSpec("news_score", {"of": "scorer", "window_s": 259_200}),
    FeatureSpec("filings_count", {"form": "8-K"}), FeatureSpec("filing_age", {"window_s": 2_592_000.0}),
)  # fmt: skip
QUOTES = (FeatureSpec("spread"), FeatureSpec("imbalance"), FeatureSpec("returns"), FeatureSpec("age"))


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a table."""
    with gzip.open(path, "rt") as file:
        yield from csv.DictReader(file)


def in_order(events: Iterable[MarketEvent]) -> Tape:
    """As a replay hands them on."""
    return sorted(events, key=lambda event: (event.ts_recv_ns, EVENT_CLASS[type(event)]))


def bar(row: dict[str, str], opened_ns: int, closed_ns: int, symbol: str = "") -> Bar:
    prices = (float(row[name]) for name in ("open", "high", "low", "close"))
    return Bar(symbol or row["symbol"], closed_ns, closed_ns, *prices, float(row["volume"]), closed_ns - opened_ns)


def filings(data: Path, symbols: Iterable[str], first_ns: int, last_ns: int) -> Iterator[Datum]:
    for row in rows(data / "news/sec_edgar_filings_AAPL_MSFT_NVDA_TSLA.csv.gz"):
        ts_ns = int(row["ts_accepted_ns"])
        if row["symbol"] in symbols and first_ns <= ts_ns <= last_ns:
            yield Datum("filing", ts_ns, ts_ns, row["symbol"], text=f"{row['form']} {row['items']}")


def minutes(data: Path) -> Tape:
    """24 US stocks over five days in minute bars, and the filings of two of them."""
    path = data / "bars_1min/us_equity_1min_2019-02-11_2019-02-15.csv.gz"
    bars = [bar(row, int(row["ts_open_ns"]), int(row["ts_close_ns"])) for row in rows(path)]
    first_ns, last_ns = bars[0].ts_event_ns - 7 * DAY_NS, bars[-1].ts_event_ns
    return in_order([*bars, *filings(data, ("AAPL", "TSLA"), first_ns, last_ns)])


def daily(data: Path, symbols: Sequence[str]) -> Tape:
    """Five years of daily bars, filings, and two years of tweets, each scored by a rule as silly as it is fixed."""
    sessions = Sessions("XNYS")
    events: Tape = []
    for row in rows(data / "daily/us_equity_daily_2012-09_2017-09.csv.gz"):
        session = sessions.on_date(row["session_date"])
        if row["symbol"] in symbols and session is not None:
            events.append(bar(row, session.open_ns, session.close_ns))
    events += filings(data, symbols, events[0].ts_recv_ns, events[-1].ts_recv_ns)
    with gzip.open(data / "news/tweets_by_symbol_2014-01_2015-12.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            if row["symbol"] in symbols:
                events.append(News(row["ts_ns"], row["ts_ns"], row["text"], (row["symbol"],)))
                score = (len(row["text"]) % 7 - 3) / 3
                events.append(Datum("scorer", row["ts_ns"], row["ts_ns"], row["symbol"], score))
    return in_order(events)


def coins(data: Path) -> Tape:
    """Minute bars of coins and the quotes at their ends."""
    folder = data / "bars_1min"
    events: Tape = []
    for row in rows(folder / "crypto_coinbase_1min_trade_bars_2017-09_2018-04.csv.gz"):
        events.append(bar(row, int(row["ts_open_ns"]), int(row["ts_close_ns"])))
    for row in rows(folder / "crypto_coinbase_1min_quote_bars_2017-09_2018-04.csv.gz"):
        ts_ns = int(row["ts_close_ns"])
        sides = [float(row[name]) for name in ("bid_close", "bid_size", "ask_close", "ask_size")]
        events.append(Quote(row["symbol"], ts_ns, ts_ns, *sides))
    return in_order(events)


def symbols_of(events: Iterable[MarketEvent]) -> list[str]:
    return sorted({event.symbol for event in events if isinstance(event, Bar)})


def denoised(series: Floats) -> Floats:
    """Haar wavelet transform of a whole series without its finest details: Bao, Yue and Rao (2017), and a leak."""
    padded = np.pad(series, (0, -len(series) % 8), mode="edge")
    details, smooth = [], padded
    for _ in range(3):
        pairs = smooth.reshape(-1, 2)
        smooth, detail = pairs.sum(axis=1) / np.sqrt(2), (pairs[:, 0] - pairs[:, 1]) / np.sqrt(2)
        threshold = np.median(np.abs(detail)) / 0.6745 * np.sqrt(2 * np.log(len(padded)))
        details.append(np.sign(detail) * np.maximum(np.abs(detail) - threshold, 0))
    for detail in reversed(details):
        smooth = np.stack([smooth + detail, smooth - detail], axis=1).reshape(-1) / np.sqrt(2)
    return smooth[: len(series)]


Make = Callable[[int], FeatureSet]
"""A fresh set of features with that `block`."""


def at_once(make: Make, events: Iterable[MarketEvent | Signal], block: int = 3_000) -> Windows:
    """What the whole tape gives when it is computed in as few steps as possible: the training set."""
    features = make(block)
    for event in events:
        features.take(event)
    pulled = features.pull()
    return _keyed(features, pulled.rows.tolist(), pulled.ts_event_ns.tolist(), pulled.windows)


def by_instant(make: Make, batches: Iterable[Iterable[MarketEvent | Signal]]) -> Windows:
    """What comes out when every batch is closed, as live."""
    features, found = make(0), {}
    for batch in batches:
        for event in batch:
            features.take(event)
        due = features.close()
        found |= _keyed(features, due.tolist(), features.ts_event_ns(due).tolist(), features.windows(due))
    return found


def instants(events: Iterable[MarketEvent]) -> Iterator[list[MarketEvent]]:
    """Everything that is known at one instant together."""
    return (list(batch) for _, batch in groupby(events, key=lambda event: event.ts_recv_ns))


def _keyed(features: FeatureSet, due: list[int], ts_ns: list[int], windows: Floats) -> Windows:
    return {(ts, features.symbols[row]): window for row, ts, window in zip(due, ts_ns, windows, strict=True)}


def differing(one: Windows, other: Windows, *, only: Iterable[tuple[int, str]] | None = None) -> list[tuple[int, str]]:
    """Return the keys at which two results are not the same to the last bit."""
    keys = one.keys() | other.keys() if only is None else only
    empty = np.empty(0)
    return [key for key in keys if one.get(key, empty).tobytes() != other.get(key, empty).tobytes()]


MINUTES, SESSIONS = MINUTE_NS, {"XNYS": Sessions("XNYS"), "24/7": Sessions("24/7")}
