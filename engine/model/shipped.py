"""The features that come with the engine, one short function each.

Every one is worked out of the bars that it declares and of nothing else. Exponential averages have no place here: they
never forget, so their value would depend on where a run began.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.model.history import Column, History, feature

# --- prices ----------------------------------------------------------------------------------------------------------


@feature(bars=lambda horizon: horizon + 1)
def returns(seen: History, horizon: int = 1) -> Column:
    """Return of the last `horizon` bars."""
    return seen.close[:, -1] / seen.close[:, -1 - horizon] - 1.0


@feature()
def intraday(seen: History) -> Column:
    """Return from the bar's open to its close."""
    return seen.close[:, -1] / seen.open[:, -1] - 1.0


@feature(bars=2)
def gap(seen: History) -> Column:
    """Return from the last close to this bar's open."""
    return seen.open[:, -1] / seen.close[:, -2] - 1.0


@feature(bars=lambda window: window)
def volatility(seen: History, window: int = 20) -> Column:
    """Population standard deviation of the last `window` one-bar returns."""
    return seen.change.std(axis=1)


@feature(name="range", bars=lambda window: window)
def price_range(seen: History, window: int = 1) -> Column:
    """Highest high minus lowest low of `window` bars, as a fraction of the close."""
    return (seen.high.max(axis=1) - seen.low.min(axis=1)) / seen.close[:, -1]


@feature(bars=lambda window: window)
def range_position(seen: History, window: int = 20) -> Column:
    """Where the close lies between the lowest low (0) and the highest high (1) of `window` bars."""
    low, high = seen.low.min(axis=1), seen.high.max(axis=1)
    return np.where(high > low, (seen.close[:, -1] - low) / (high - low), 0.5)


@feature(bars=lambda window: window)
def ma_distance(seen: History, window: int = 20) -> Column:
    """Close over its mean of `window` bars, minus 1."""
    return seen.close[:, -1] / seen.close.mean(axis=1) - 1.0


@feature(bars=lambda window: window)
def rsi(seen: History, window: int = 14) -> Column:
    """Relative strength index in [0, 1], from plain averages. Source: Cutler; Wilder's never forgets."""
    change = seen.change
    up, down = np.maximum(change, 0.0).sum(axis=1), np.maximum(-change, 0.0).sum(axis=1)
    return np.where(up + down > 0.0, up / (up + down), 0.5 + 0.0 * up)


@feature()
def vwap_distance(seen: History) -> Column:
    """Close over the bar's volume-weighted price, minus 1."""
    return seen.close[:, -1] / seen.vwap[:, -1] - 1.0


# --- volume, time, quotes --------------------------------------------------------------------------------------------


@feature(bars=lambda window: window)
def volume_z(seen: History, window: int = 20) -> Column:
    """How many standard deviations the volume lies from its mean of `window` bars; 0 when they are all the same."""
    mean, deviation = seen.volume.mean(axis=1), seen.volume.std(axis=1)
    return np.where(deviation > 1e-12 * mean, (seen.volume[:, -1] - mean) / deviation, 0.0 * mean)


@feature()
def time_of_day(seen: History) -> Column:
    """Share of the session that has passed, from 0 at its open to 1 at its close."""
    return seen.elapsed[:, -1]


@feature(shows_holes=True)
def age(seen: History) -> Column:
    """Bars since the last real one: 0 for a real bar."""
    return seen.age[:, -1]


@feature()
def spread(seen: History) -> Column:
    """Ask minus bid, as a fraction of the middle."""
    bid, ask = seen.bid[:, -1], seen.ask[:, -1]
    return (ask - bid) / (0.5 * (ask + bid))


@feature()
def imbalance(seen: History) -> Column:
    """Bid size minus ask size over their sum: 1 is all buyers. 0 when both are empty."""
    bid, ask = seen.bid_size[:, -1], seen.ask_size[:, -1]
    return np.where(bid + ask == 0.0, 0.0, (bid - ask) / (bid + ask))


# --- news and filings ------------------------------------------------------------------------------------------------


@feature()
def news_count(seen: History, window_s: float = 86_400.0) -> Column:
    """Headlines of the last `window_s` seconds."""
    return (seen.facts("news").age_s < window_s).sum(axis=1, dtype=np.float64)


@feature()
def news_score(seen: History, of: str = "sentiment", window_s: float = 86_400.0) -> Column:
    """Mean score of the last `window_s` seconds, the fresher the heavier (falling to 0 at its end); 0 without any.

    `of` names the model whose signals, or the data whose values, are the scores.
    """
    facts = seen.facts(of)
    weight = np.where(np.isnan(facts.value), 0.0, np.maximum(1.0 - facts.age_s / window_s, 0.0))
    total, scored = weight.sum(axis=1), (weight * np.nan_to_num(facts.value)).sum(axis=1)
    return np.where(total > 0.0, scored / total, 0.0)


@feature()
def filings_count(seen: History, form: str = "", window_s: float = 604_800.0) -> Column:
    """Filings of the last `window_s` seconds; with `form` those whose form and items begin so (`8-K 2.02`)."""
    return (seen.facts("filing", form).age_s < window_s).sum(axis=1, dtype=np.float64)


@feature()
def filing_age(seen: History, form: str = "", window_s: float = 604_800.0) -> Column:
    """Time since the last filing, as a share of `window_s`: 0 is now, 1 is longer ago or never."""
    return np.minimum(seen.facts("filing", form).age_s.min(axis=1) / window_s, 1.0)


SHIPPED: Final = {
    one.name: one
    for one in (
        returns, intraday, gap, volatility, price_range, range_position, ma_distance, rsi, vwap_distance, volume_z,
        time_of_day, age, spread, imbalance, news_count, news_score, filings_count, filing_age,
    )
}  # fmt: skip
