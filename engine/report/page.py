"""One page that tells a run. The drawing is in `page.js`; here are the words and the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from engine.report import charts, summary
from engine.report.document import document
from engine.report.tables import Cell, clock, figure, records, section, table, time

if TYPE_CHECKING:
    from engine.report.result import Result

DRAWING = Path(__file__).with_name("page.js")
TRIPS_SHOWN, STATUSES_SHOWN = 5, 20
DAYS_DRAWN_MAX = 45
MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year")
RATIOS = "Ratios use one return a session, a risk-free rate of zero and the calendar's own year."
SLIPPAGE = (
    "Slippage is what an execution cost against the price at which risk approved the order; for stops and "
    "take-profits, against their own price."
)
PROMISE = "Past results, simulated or real, do not promise future ones. Trading can lose money."


def render(result: Result) -> str:
    """Return the whole document."""
    title = f"{result.run.name} · Onetape report"
    return document(DRAWING, title, "\n".join(filter(None, _sections(result))), charts.encode(charts.data(result)))


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _sections(result: Result) -> Iterator[str]:
    yield _head(result)
    yield _halts(result)
    yield from (f'<p class="banner">{escape(text)}</p>' for text in summary.notices(result))
    yield _cards(result)
    yield _account(result)
    yield _figures(result)
    yield _returns(result.daily_returns)
    yield _strategies(result)
    yield _models(result)
    yield _prices(result)
    yield _symbols(result)
    yield _trips_and_costs(result)
    yield _best_and_worst(result.trades)
    yield _denials(result.denials)
    yield from _rules(result.run.config)
    yield f"<footer><p>{PROMISE}</p><p>Times are in {escape(result.run.zone)}. Money is in US dollars.</p></footer>"


def _head(result: Result) -> str:
    run = result.run
    facts = {
        "Span": summary.span(result), "Calendar": run.calendar, "Tape": run.tape_sha256[:16], "Account": run.account,
        "Seed": "" if run.seed is None else str(run.seed), "Engine": run.engine_version, "Run": run.run_id,
    }  # fmt: skip
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items() if text)
    words = filter(None, (run.kind, "synthetic data" * run.synthetic))
    badges = "".join(f'<span class="badge">{escape(text)}</span>' for text in words)
    return (
        f'<header><div><h1>{escape(run.name)}{badges}</h1><dl class="facts">{listed}</dl></div>'
        '<button id="theme" title="light or dark">◐</button></header>'
    )


def _halts(result: Result) -> str:
    lines = [
        f"<div><b>{escape(what)}</b> · {clock(at)} · {escape(why)}</div>" for at, what, why in summary.halts(result)
    ]
    return f'<div class="banner loss">{"".join(lines)}</div>' if lines else ""


def _cards(result: Result) -> str:
    fees, slippage = (summary.figure(result, key, "usd") for key in ("fees_usd", "slippage_usd"))
    hits = summary.figure(result, "hit_rate_pct", "pct")
    cards = []
    for key, words, style, more in (
        ("total_return_pct", "Total return", "+pct", summary.figure(result, "pnl_usd", "+usd")),
        ("benchmark_return_pct", "Buy and hold", "+pct", "equal weight, same symbols"),
        ("drawdown_max_pct", "Maximum drawdown", "pct", summary.figure(result, "drawdown_max_days", "days")),
        ("sharpe_ratio", "Sharpe ratio", "ratio", f"from {summary.counted(len(result.daily_returns), 'daily return')}"),
        ("trades", "Round trips", "count", f"hit rate {hits}" if len(result.trades) else ""),
        ("cost_bps", "Fees and slippage", "bps", f"{fees} fees, {slippage} slippage"),
    ):
        shown = f'<div class="value none">n/a</div><div class="more">{escape(result.unavailable.get(key, ""))}</div>'
        if result.summary[key] is not None:
            text = summary.figure(result, key, style)
            tone = summary.tone(result, key, text)
            shown = f'<div class="value {tone}">{escape(text)}</div><div class="more">{escape(more)}</div>'
        cards.append(f'<div class="card"><div class="what">{words}</div>{shown}</div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _account(result: Result) -> str:
    if len(result.equity) < 2:
        return ""
    note = "Exposure is a share of equity."
    if result.summary["benchmark_return_pct"] is not None:
        begin = "the run's first signal" if len(result.signals) else "its first price"
        note = (
            f"Buy and hold: equal money in each symbol ({result.marks.shape[1]}) from {begin}, held through splits, "
            f"dividends kept, no costs. {note}"
        )
    return section("Account", f'<div id="account"></div>{_note(note)}')


def _figures(result: Result) -> str:
    columns = []
    for title, entries in summary.rows(result):
        rows = ""
        for words, text, tone in entries:
            rows += f'<tr><td>{words}</td><td class="num {tone}">{escape(text)}</td></tr>'
        columns.append(f"<div><h3>{title}</h3><table><tbody>{rows}</tbody></table></div>")
    return section("Figures", f'<div class="columns">{"".join(columns)}</div>{_note(RATIOS)}')


def _returns(returns: pd.Series) -> str:
    if len(returns) < 2:
        return ""
    if len(returns) <= DAYS_DRAWN_MAX:
        return section("Daily returns", '<div id="days"></div>')
    growth = (1 + returns).groupby(pd.Index(returns.index).str[:7]).prod() - 1
    by_month = dict(zip(growth.index, growth.tolist(), strict=True))
    deepest = max(map(abs, by_month.values())) or 1.0
    body = ""
    for year in sorted({month[:4] for month in by_month}):
        months = [by_month.get(f"{year}-{month:02d}") for month in range(1, 13)]
        total = prod(1 + value for value in months if value is not None) - 1
        cells = "".join(_shaded(value, deepest) for value in months)
        body += f"<tr><td>{year}</td>{cells}<td>{total * 100:+.2f}</td></tr>"
    head = "".join(f'<th class="num">{name}</th>' for name in MONTHS)
    months_table = f'<table class="months"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return section("Monthly returns, percent", months_table)


def _shaded(value: float | None, deepest: float) -> str:
    if value is None:
        return "<td></td>"
    color, depth = "gain" if value >= 0 else "loss", round(60 * abs(value) / deepest)
    return f'<td data-shade style="--shade:var(--{color});--depth:{depth}">{value * 100:+.2f}</td>'


def _strategies(result: Result) -> str:
    if not len(result.per_strategy):
        return ""
    chart = '<div id="strategies"></div>' if result.strategy_pnl.shape[1] > 1 else ""
    return section("By strategy", chart + _per(result.per_strategy, "strategy"), long=True)


def _models(result: Result) -> str:
    if not result.run.models:
        return ""
    labels = {sha256[:12]: label for label, sha256 in result.run.models.items()}
    said = []
    for _, found in result.signals.groupby(["model", "source"]):
        first, last = records(found.iloc[[0, -1]])
        names = Cell(labels.get(first["source"], first["model"])), Cell(first["source"])
        counts = figure(len(found), "count"), figure(found["symbol"].nunique(), "count")
        said.append((*names, *counts, time(first["time"]), time(last["time"])))
    content = table(("Model", "File", "Signals", "Symbols", "First", "Last"), said)
    statuses = result.model_statuses
    compared = statuses["state"] == "compared"
    older = max(0, int((~compared).sum()) - STATUSES_SHOWN)
    newest = pd.concat([statuses[~compared].tail(STATUSES_SHOWN), statuses[compared].groupby("model").tail(1)])
    if told := [
        (time(row["time"]), *(Cell(row[key].replace("_", " ")) for key in ("model", "state", "action")),
         Cell(row["reason"] or row["source"]))
        for row in records(newest.sort_index())
    ]:  # fmt: skip
        content += table(("Time", "Model", "State", "Asks for", "Why"), told)
    if older:
        content += _note(f"{summary.counted(older, 'earlier word')} on their standing left out.")
    return section("Models", content, long=True)


def _symbols(result: Result) -> str:
    return section("By symbol", _per(result.per_symbol, "symbol"), long=True) if len(result.per_symbol) else ""


def _per(frame: pd.DataFrame, by: str) -> str:
    columns = [
        ("pnl_usd", "Profit", "+usd"), ("realized_usd", "Realized", "+usd"), ("unrealized_usd", "Open", "+usd"),
        ("actions_usd", "Dividends", "+usd"), ("trades", "Round trips", "count"), ("hit_rate_pct", "Hit rate", "pct"),
        ("fills", "Fills", "count"), ("denials", "Denied", "count"), ("traded_usd", "Traded", "usd"),
        ("fees_usd", "Fees", "usd"), ("slippage_usd", "Slippage", "usd"), ("slippage_bps", "of traded", "bps"),
    ]  # fmt: skip
    kept = [column for column in columns if column[0] != "actions_usd" or frame["actions_usd"].any()]
    rows = (
        (Cell(row[by]), *(figure(row[key], style) for key, _, style in kept))
        for row in records(frame.sort_values("pnl_usd", ascending=False).reset_index())
    )
    return table((by.capitalize(), *(words for _, words, _ in kept)), rows, sorts=True)


def _prices(result: Result) -> str:
    symbols = charts.drawn(result)
    if not symbols:
        return ""
    options = "".join(f"<option>{escape(symbol)}</option>" for symbol in symbols)
    all_drawn = len(symbols) == (result.per_symbol["fills"] > 0).sum()
    note = "" if all_drawn else f"The {len(symbols)} most traded symbols with prices are here. "
    content = f'<div id="price"></div><p class="note">{note}<span id="price-note"></span></p>'
    choice = f'<select id="symbol" aria-label="Symbol">{options}</select>'
    return section("Prices and executions", content, control=choice)


def _trips_and_costs(result: Result) -> str:
    if not len(result.fills):
        return ""
    trips = section("Round trips, return in percent", '<div id="trips"></div>') if len(result.trades) else ""
    costs = section("Costs, added up", f'<div id="costs"></div>{_note(SLIPPAGE)}')
    return f'<div class="pair">{trips}{costs}</div>'


def _best_and_worst(trades: pd.DataFrame) -> str:
    if not len(trades):
        return ""
    shown = trades.sort_values("pnl_usd", ascending=False, kind="stable")
    if len(shown) > 2 * TRIPS_SHOWN:
        shown = pd.concat([shown.head(TRIPS_SHOWN), shown.tail(TRIPS_SHOWN)])
    rows = (
        (
            Cell(trip["strategy"]), Cell(trip["symbol"]), Cell(trip["side"]), figure(trip["qty"], "qty"),
            time(trip["entry_time"]), figure(trip["entry_price"], "price"), time(trip["exit_time"]),
            figure(trip["exit_price"], "price"), figure(trip["holding_s"], "time"), figure(trip["fee_usd"], "usd"),
            figure(trip["pnl_usd"], "+usd"), figure(trip["return_pct"], "+pct"),
        )
        for trip in records(shown)
    )  # fmt: skip
    head = ("Strategy", "Symbol", "Side", "Quantity", "Entry", "at", "Exit", "at", "Held", "Fees", "Profit", "Return")
    note = _note(f"In trades.csv: {summary.counted(len(trades), 'round trip')}.")
    return section("Best and worst round trips", table(head, rows) + note, long=True)


def _denials(denials: pd.DataFrame) -> str:
    if not len(denials):
        return ""
    rows = []
    for control, found in denials.groupby("control"):
        first, last = records(found.iloc[[0, -1]])
        count, by = figure(len(found), "count"), Cell(", ".join(sorted(found["strategy"].unique())))
        rows.append((Cell(str(control)), count, by, time(first["time"]), time(last["time"]), Cell(last["reason"])))
    head = ("Control", "Denied", "Strategy", "First", "Last", "Last reason")
    return section("Orders denied by risk", table(head, rows, sorts=True), long=True)


def _rules(config: dict[str, Any]) -> Iterator[str]:
    if not config:
        return
    broker = config.get("broker")
    broker = broker if isinstance(broker, dict) else {}
    rows = [(Cell(key), Cell(value)) for key, value in _flat(broker)]
    middle = (len(rows) + 1) // 2
    halves = "".join(f"<div>{table(('Rule', 'Value'), part)}</div>" for part in (rows[:middle], rows[middle:]) if part)
    title, told = "Broker", "The venue fills by rules of its own."
    if broker.get("use") == "paper":
        title, told = "Fill rules in force", "docs/paper_fills.md tells what each rule does."
    note = _note(f"Seed {config.get('seed')}. {told}")
    yield section(title, f'<div class="pair">{halves}</div>{note}')
    resolved = escape(json.dumps(config, indent=2, ensure_ascii=False))
    details = f'<details><summary>The resolved configuration</summary><pre class="code">{resolved}</pre></details>'
    yield f'<section class="long">{details}</section>'


def _flat(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
