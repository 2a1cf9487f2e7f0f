"""The figures of a run: one flat dictionary, its rows for a reader, and a table for the terminal.

A figure that cannot be had is None, and `unavailable` says why; NaN and infinity never leave this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from engine.events import DAY_NS
from engine.logs import printable
from engine.report import metrics

if TYPE_CHECKING:
    from engine.report.result import Result

Value = float | int | bool | None
FEW_SESSIONS = 63  # a quarter
HALTS_SHOWN_MAX = 10

# Section, then (key of the summary, words, format).
ROWS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Return": (
        ("equity_start_usd", "Equity at the start", "usd"),
        ("equity_end_usd", "Equity at the end", "usd"),
        ("pnl_usd", "Profit", "+usd"),
        ("total_return_pct", "Total return", "+pct"),
        ("benchmark_return_pct", "Buy and hold", "+pct"),
        ("annual_return_pct", "Annual return", "+pct"),
    ),
    "Risk": (
        ("volatility_annual_pct", "Volatility, annual", "pct"),
        ("sharpe_ratio", "Sharpe ratio", "ratio"),
        ("sortino_ratio", "Sortino ratio", "ratio"),
        ("calmar_ratio", "Calmar ratio", "ratio"),
        ("drawdown_max_pct", "Maximum drawdown", "pct"),
        ("drawdown_max_days", "Drawdown length", "days"),
        ("exposure_time_pct", "Time in the market", "pct"),
        ("exposure_gross_mean_pct", "Gross exposure, mean", "pct"),
    ),
    "Trading": (
        ("trades", "Round trips", "count"),
        ("hit_rate_pct", "Hit rate", "pct"),
        ("profit_factor", "Profit factor", "ratio"),
        ("trade_mean_usd", "Mean round trip", "+usd"),
        ("holding_mean_s", "Mean time held", "time"),
        ("orders", "Orders", "count"),
        ("fills", "Fills", "count"),
        ("denials", "Orders denied", "count"),
        ("strategies_halted", "Strategies halted", "count"),
    ),
    "Cost": (
        ("traded_usd", "Value traded", "usd"),
        ("turnover_ratio", "Turnover of equity", "times"),
        ("fees_usd", "Fees", "usd"),
        ("slippage_usd", "Slippage", "usd"),
        ("cost_bps", "Fees and slippage", "bps"),
        ("actions_usd", "Dividends, cash in lieu", "+usd"),
    ),
}

COLORS = {"gain": "green", "loss": "red", "none": "dim"}
COSTS = frozenset({"fees_usd", "slippage_usd", "cost_bps"})
FORMATS = {
    "usd": "${:,.2f}", "pct": "{:,.2f} %", "ratio": "{:,.2f}", "times": "{:,.2f} x", "bps": "{:,.2f} bps",
    "days": "{:,.1f} days", "count": "{:,.0f}",
}  # fmt: skip


def measure(result: Result, days: metrics.Daily) -> tuple[dict[str, Value], dict[str, str]]:
    """Return the figures, and for those that are None the reason."""
    frame, trades, fills = result.equity, result.trades, result.fills
    equity = frame["equity_usd"]
    total = metrics.total_return(equity)
    annual = metrics.annual_return(total, days.years)
    deepest = metrics.deepest(equity)
    sharpe = metrics.sharpe_ratio(days.returns, days.per_year)
    in_market, gross_mean = metrics.exposure(frame["gross_usd"][frame["moved"]], equity[frame["moved"]])
    traded_usd, fees_usd = float(fills["notional_usd"].sum()), float(fills["fee_usd"].sum())
    slippage_usd = float(fills["slippage_usd"].sum())
    actions_usd, pnl_usd = float(result.actions["gain_usd"].sum()), _change(equity)
    realized_usd, open_usd = float(trades["pnl_usd"].sum()), float(result.open_lots["pnl_usd"].sum())
    explained_usd = realized_usd + open_usd + actions_usd - float(result.strategy_pnl.iloc[:1].to_numpy().sum())
    figures: dict[str, Value] = {
        "equity_start_usd": _at(equity, 0),
        "equity_end_usd": _at(equity, -1),
        "pnl_usd": pnl_usd,
        "realized_usd": realized_usd,
        "unrealized_usd": open_usd,
        "unexplained_usd": None if pnl_usd is None else pnl_usd - explained_usd,
        "total_return_pct": _percent(total),
        "benchmark_return_pct": _percent(metrics.total_return(frame["benchmark_usd"].dropna())),
        "annual_return_pct": _percent(annual),
        "volatility_annual_pct": _percent(metrics.volatility(days.returns, days.per_year)),
        "sharpe_ratio": sharpe,
        "sharpe_stderr_ratio": metrics.sharpe_stderr(sharpe, len(days.returns), days.per_year),
        "sortino_ratio": metrics.sortino_ratio(days.returns, days.per_year),
        "calmar_ratio": metrics.calmar_ratio(annual, deepest.depth) if deepest else None,
        "drawdown_max_pct": _percent(deepest.depth if deepest else 0.0 if total is not None else None),
        "drawdown_max_days": _length_days(deepest, frame.index) if deepest else 0.0 if total is not None else None,
        "drawdown_recovered": deepest is None or deepest.recovered is not None,
        "exposure_time_pct": _percent(in_market),
        "exposure_gross_mean_pct": _percent(gross_mean),
        "trades": len(trades),
        "hit_rate_pct": _percent(metrics.hit_rate(trades["pnl_usd"])),
        "profit_factor": metrics.profit_factor(trades["pnl_usd"]),
        "trade_mean_usd": float(trades["pnl_usd"].mean()) if len(trades) else None,
        "holding_mean_s": float(trades["holding_s"].mean()) if len(trades) else None,
        "orders": len(result.orders),
        "fills": len(fills),
        "denials": len(result.denials),
        "signals": len(result.signals),
        "late_fills": int(result.orders["late_fill"].sum()),
        "halts": int((result.states["state"] != "active").sum()),
        "strategies_halted": int(result.strategy_halts["strategy"].nunique()),
        "traded_usd": traded_usd,
        "turnover_ratio": metrics.turnover(traded_usd, equity),
        "fees_usd": fees_usd,
        "slippage_usd": slippage_usd,
        "cost_bps": metrics.basis_points(fees_usd + slippage_usd, traded_usd),
        "actions_usd": actions_usd,
        "snapshots": len(frame),
        "sessions": len(days.equity),
        "years": days.years,
        "returns_per_year": days.per_year,
    }
    known = {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in figures.items()}
    return known, _reasons(known, days)


def _reasons(figures: dict[str, Value], days: metrics.Daily) -> dict[str, str]:
    short = len(days.returns) < metrics.RETURNS_MIN
    few = f"too short: {len(days.returns)} of {metrics.RETURNS_MIN} daily returns"
    year = f"too short: {counted(len(days.equity), 'session')}, a year is needed"
    why = {
        "annual_return_pct": year, "calmar_ratio": year if days.years < metrics.YEARS_MIN else "no drawdown",
        "volatility_annual_pct": few, "sharpe_ratio": few if short else "no variation",
        "sortino_ratio": few if short else "no losing day", "benchmark_return_pct": "prices are missing",
        "profit_factor": "no losing round trip" if figures["trades"] else "no round trips",
        "hit_rate_pct": "no round trips", "trade_mean_usd": "no round trips", "holding_mean_s": "no round trips",
        "cost_bps": "nothing traded",
    }  # fmt: skip
    return {key: why.get(key, "too few snapshots") for key, value in figures.items() if value is None}


def rows(result: Result) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield each section with its rows: words, text and tone."""
    for section, entries in ROWS.items():
        found = [(key, words, figure(result, key, style)) for key, words, style in entries]
        yield section, [(words, text, tone(result, key, text)) for key, words, text in found]


def tone(result: Result, key: str, text: str) -> str:
    """Tell whether a figure is a `gain`, a `loss`, not there (`none`) or neither; a cost is a gain below zero."""
    if result.summary[key] is None:
        return "none"
    if key in COSTS:
        return "gain" if text.startswith("-") else ""
    return {"+": "gain", "-": "loss"}.get(text[:1], "")


def counted(number: int, noun: str) -> str:
    """Return `1 session`, `5 sessions`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def figure(result: Result, key: str, style: str) -> str:
    """Return one figure as text, or why there is none."""
    value = result.summary[key]
    if value is None:
        return f"n/a ({result.unavailable[key]})"
    text = number(value, style)
    if key == "sharpe_ratio":
        text += f" ± {result.summary['sharpe_stderr_ratio']:.2f}"
    if key == "drawdown_max_days" and not result.summary["drawdown_recovered"]:
        text += ", not recovered"
    return text


def number(value: float, style: str) -> str:
    """Write a number; a leading `+` in the style shows the sign of gains too, and what rounds to zero has none."""
    text = _size(abs(value), style.lstrip("+"))
    if not any(digit in text for digit in "123456789"):
        return text
    return ("-" if value < 0 else "+" if style.startswith("+") else "") + text


def _size(size: float, style: str) -> str:
    if style == "time":
        return _duration(size)
    if style == "days" and size < 1:
        return _duration(size * 86_400.0) if size else "0 days"
    if style == "qty":
        return f"{size:,.9f}".rstrip("0").rstrip(".")
    if style == "price":
        return f"{size:.6g}" if size < 1 else f"{size:,.2f}" if round(size, 2) == size else f"{size:,.4f}"
    return FORMATS[style].format(size)


def table(result: Result) -> Table:
    """Return the summary for a terminal."""
    run = result.run
    title = printable(f"{run.name} · {run.kind} · {span(result)}")
    grid = Table(title=Text(title), box=SIMPLE_HEAD, title_justify="left", show_header=False, pad_edge=False)
    grid.add_column("what", style="dim")
    grid.add_column("value", justify="right")
    for section, entries in rows(result):
        grid.add_row(Text(section, style="bold not dim"), "")
        for words, text, color in entries:
            grid.add_row(Text(f"  {words}"), Text(text, style=COLORS.get(color, "")))
    stops = [(f"{at:%Y-%m-%d %H:%M:%S} {what}, {why}", "red") for at, what, why in halts(result)[:HALTS_SHOWN_MAX]]
    notes = [*stops, *((text, "yellow") for text in (*refused(result), *notices(result)))]
    grid.caption = Text("\n").join(Text(printable(text), style=color) for text, color in notes) if notes else None
    grid.caption_justify = "left"
    return grid


def halts(result: Result) -> list[tuple[pd.Timestamp, str, str]]:
    """Return when what was halted and why, oldest first; of a run that always traded, nothing."""
    rows: list[Any] = [*result.strategy_halts.itertuples()]
    found = [(row.time, f"strategy {row.strategy} halted", f"{row.control}: {row.reason}") for row in rows]
    if (result.states["state"] != "active").any():
        rows = [*result.states.itertuples()]
        found += [(row.time, f"trading {row.state.replace('_', ' ')}", f"{row.control}: {row.reason}") for row in rows]
    return sorted(found, key=lambda one: one[0])


def refused(result: Result) -> Iterator[str]:
    """Yield which control denied most, and its first reason: a strategy whose every order is denied looks idle."""
    if len(result.denials):
        control, times = next(iter(result.denials["control"].value_counts().items()))
        reason = result.denials.loc[result.denials["control"] == control, "reason"].iloc[0]
        yield f"Denied most often, {times:,} of {len(result.denials):,}, by {control}: {reason}"


def notices(result: Result) -> Iterator[str]:
    """Yield what a reader must know before believing a figure."""
    total, held = result.summary["total_return_pct"], result.summary["benchmark_return_pct"]
    if len(result.signals) and total is not None and held is not None:
        verdict = "beats" if total > held else "does not beat"
        yield (
            f"A run by signals: it {verdict} buying and holding, {number(total, '+pct')} after costs against "
            f"{number(held, '+pct')}, both from the first signal on."
        )
    if result.run.synthetic:
        yield "Synthetic data: a generated tape, not a market. Nothing here says how the strategy would have done."
    if result.run.local_venue:
        yield (
            f"Traded at a local venue ({result.run.local_venue}, account {result.run.account}): it plays a tape or a "
            "made-up day, and no order has left this machine."
        )
    yield from result.run.warnings
    sessions, gap_usd = int(result.summary["sessions"] or 0), result.summary["unexplained_usd"]
    if result.summary["sharpe_ratio"] is not None and sessions < FEW_SESSIONS:
        few = counted(sessions, "session")
        yield f"Annualized from {few} only: volatility and ratios are wide guesses, as the ± says."
    if gap_usd is not None and abs(gap_usd) >= 0.01:
        yield (
            f"Fills and corporate actions leave {number(gap_usd, '+usd')} of the change in equity open: positions from "
            "before the first record, cash moved in or out, or fills after the last snapshot."
        )


def span(result: Result) -> str:
    """Return first and last snapshot in the exchange's zone."""
    index = result.equity.index
    if not len(index):
        return "no snapshots"
    return f"{index[0]:%Y-%m-%d %H:%M} to {index[-1]:%Y-%m-%d %H:%M} {result.run.zone}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def _length_days(fall: metrics.Drawdown, index: pd.Index[Any]) -> float:
    end = fall.recovered if fall.recovered is not None else index[-1]
    return float((end - fall.peak).total_seconds() * 1e9 / DAY_NS)


def _change(equity: pd.Series) -> float | None:
    return float(equity.iloc[-1] - equity.iloc[0]) if len(equity) else None


def _at(series: pd.Series, place: int) -> float | None:
    return float(series.iloc[place]) if len(series) else None


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else fraction * 100
