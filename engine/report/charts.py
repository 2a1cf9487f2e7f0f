"""The numbers that the page draws, small enough to open at once.

Times go out as milliseconds of the exchange's own wall clock, because the page shows no other.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise
from math import floor, log10
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from engine.report import metrics
from engine.report.summary import counted

if TYPE_CHECKING:
    from engine.report.result import Result

POINTS_MAX = 4_000
SYMBOLS_MAX = 30
MARKERS_MAX = 1_000
BINS_MAX, BIN_MIN = 40, 0.001
MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
HALF_DAY_MS = 12 * 60 * MINUTE_MS
DAY_MS = 2 * HALF_DAY_MS
GAP_MIN_MS = 120 * MINUTE_MS

Plain = dict[str, Any]


def data(result: Result) -> Plain:
    """Return everything that `page.js` draws, as plain lists."""
    frame = result.equity
    picked = _picked(result)
    shown = frame.iloc[picked]
    times = _clock_ms(shown.index)
    moving = _clock_ms(frame.index[frame["moved"].to_numpy()])
    filled = _clock_ms(pd.DatetimeIndex(result.fills["time"]))
    intraday = len(moving) > 2 and float(np.median(np.diff(moving))) < HALF_DAY_MS
    scale = shown["equity_usd"].where(shown["equity_usd"] > 0)
    return {
        "times": times.tolist(),
        "intraday": intraday,
        "breaks": _breaks(np.concatenate([moving, filled])) if intraday and result.run.calendar != "24/7" else [],
        "equity": _list(shown["equity_usd"], 2),
        "benchmark": _list(shown["benchmark_usd"], 2),
        "drawdown": _list(shown["drawdown"], 6),
        "gross": _list(shown["gross_usd"] / scale, 5),
        "net": _list(shown["net_usd"] / scale, 5),
        "days": {"dates": list(result.daily_returns.index), "returns": _list(result.daily_returns, 6)},
        "strategies": [[escape(str(name)), _list(pnl.iloc[picked], 2)] for name, pnl in result.strategy_pnl.items()],
        "prices": [_price_chart(result, symbol, picked) for symbol in drawn(result)],
        "costs": _costs(result),
        "trips": _histogram(result.trades["return_pct"].dropna().to_numpy(dtype="float64")),
    }


def encode(found: Plain) -> str:
    """Return JSON that may stand inside a script element: NaN is null, and nothing in it closes the element."""
    return msgspec.json.encode(found).decode().replace("<", "\\u003c")


def drawn(result: Result) -> list[str]:
    """Return the symbols to draw, the most traded first."""
    traded = result.per_symbol["traded_usd"].sort_values(ascending=False, kind="stable")
    return [str(name) for name, value in traded.items() if value and name in result.marks][:SYMBOLS_MAX]


def _picked(result: Result) -> Any:
    """Return the rows to draw: those in which something moved, thinned out, with the deepest drawdown kept."""
    moved = result.equity["moved"].to_numpy()
    kept = moved.copy()
    kept[:-1] |= moved[1:]  # the row before a move keeps what was flat flat
    if len(kept):
        kept[[0, -1]] = True
    rows = np.flatnonzero(kept)
    if len(rows) > POINTS_MAX:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, POINTS_MAX).astype(int))]
        deepest = metrics.deepest(result.equity["equity_usd"])
        if deepest:
            places = result.equity.index.get_indexer_for(pd.Index([deepest.peak, deepest.trough]))
            rows = np.union1d(rows, places)
    return rows


def _price_chart(result: Result, symbol: str, picked: Any) -> Plain:
    splits = [split for split in result.splits if split.symbol == symbol]
    marks = result.marks[symbol].copy()
    fills = result.fills[result.fills["symbol"].replace(result.renamed) == symbol]
    prices = fills["price"].copy()
    for split in splits:
        marks.iloc[: split.row] /= split.ratio
        prices[fills["time"] < split.time] /= split.ratio
    note = f"{counted(len(fills), 'execution')}."
    if len(fills) > MARKERS_MAX:
        largest = fills["notional_usd"].nlargest(MARKERS_MAX).index
        fills = fills.loc[largest.sort_values()]
        note = f"The {MARKERS_MAX:,} largest of {note}"
    if splits:
        note += " Prices before a split are divided by its ratio."
    sides = {}
    for name, side in (("buys", "buy"), ("sells", "sell")):
        found = fills[fills["side"] == side]
        sides[name] = {
            "times": _clock_ms(pd.DatetimeIndex(found["time"])).tolist(),
            "prices": _list(prices[found.index], 8),
            "notes": [f"{qty:g} ({escape(by)})" for qty, by in zip(found["qty"], found["strategy"], strict=True)],
        }
    return {"marks": _list(marks.iloc[picked], 8), "note": note, **sides}


def _costs(result: Result) -> Plain:
    fills = result.fills
    fees, slippage = fills["fee_usd"].cumsum(), fills["slippage_usd"].fillna(0.0).cumsum()
    rows = np.unique(np.linspace(0, max(len(fills) - 1, 0), min(len(fills), POINTS_MAX)).astype(int))
    times = _clock_ms(pd.DatetimeIndex(fills["time"]))
    return {"times": times[rows].tolist(), "fees": _list(fees.iloc[rows], 4), "slippage": _list(slippage.iloc[rows], 4)}


def _histogram(values: Any) -> Plain:
    """Count values in bins of a round width, one of which begins at zero, so that none holds gains and losses."""
    if not len(values):
        return {"first": 0.0, "width": 1.0, "counts": []}
    span = max(float(values.max()), 0.0) - min(float(values.min()), 0.0)
    width = _round_up(max(span / BINS_MAX, BIN_MIN))
    places = np.floor(values / width + 1e-9).astype("int64")
    return {
        "first": round(int(places.min()) * width, 10),
        "width": width,
        "counts": np.bincount(places - places.min()).tolist(),
    }


def _round_up(size: float) -> float:
    """Return the next of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(size))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= size)


def _breaks(moments: Any) -> list[Plain]:
    """Cut the nights, weekends and holidays between the days of these moments out of the time axis.

    Each gap is cut by itself: where rules for hours, weekends and holidays meet, plotly folds the lines back.
    """
    days, clock = np.unique(moments // DAY_MS), moments % DAY_MS
    opens_ms, closes_ms = int(clock.min() // QUARTER_MS * QUARTER_MS), int(clock.max()) + MINUTE_MS
    cuts: dict[int, list[int]] = {}
    for day, following in pairwise(days.tolist()):
        gap_ms = (following - day) * DAY_MS - (closes_ms - opens_ms)
        if gap_ms > GAP_MIN_MS:
            cuts.setdefault(gap_ms, []).append(day * DAY_MS + closes_ms)
    return [{"values": starts, "dvalue": gap_ms} for gap_ms, starts in cuts.items()]


def _clock_ms(index: pd.Index[Any]) -> Any:
    return pd.DatetimeIndex(index).tz_localize(None).as_unit("ms").asi8


def _list(values: pd.Series, digits: int) -> list[float]:
    found: list[float] = np.round(values.to_numpy(dtype="float64"), digits).tolist()
    return found
