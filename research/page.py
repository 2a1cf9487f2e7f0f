"""The page of a model: what it was trained on, whether it is better than doing nothing clever, and how lucky it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from engine.report.charts import encode
from engine.report.document import document
from engine.report.tables import Cell, section, table
from research.drawing import data
from research.headline import cards, dates, head, warnings
from research.outcome import Outcome, Part, Rival
from research.package import CLASS_NAMES

DRAWING = Path(__file__).with_name("page.js")
NOTHING = Cell("-", 0.0)
BOOKS = {
    "top_bottom": "the {k} symbols with the highest scores held and the {k} with the lowest sold, equal money in each",
    "long_only": "every symbol with a score above zero held, equal money in each",
    "long_short": "every symbol held or sold by the sign of its score, equal money in each",
}
PROMISE = "Past results, simulated or real, do not promise future ones. Trading can lose money."


def write(path: Path, outcome: Outcome, sha256: str) -> None:
    """Write the page of an experiment and of the bundle that came of it."""
    title = f"{outcome.config.name} · Onetape model"
    body = "\n".join(filter(None, _sections(outcome, sha256)))
    page = document(DRAWING, title, body, encode(data(outcome)), style=DRAWING.with_suffix(".css"))
    path.write_text(page, encoding="utf-8")


# --- words and tables ------------------------------------------------------------------------------------------------


def _sections(outcome: Outcome, sha256: str) -> Iterator[str]:
    yield head(outcome, sha256)
    if outcome.trades:
        better, words = outcome.verdict()
        yield f'<p class="banner {"gain" if better else "loss"}">{escape(words)}</p>'
    yield from (f'<p class="banner">{escape(text)}</p>' for text in warnings(outcome))
    yield cards(outcome)
    if outcome.rivals:
        yield _comparison(outcome)
    if outcome.trades:
        yield section(
            "Value of 1, after costs, on data the model had not seen",
            f'<div id="equity"></div>{_note(_rules(outcome))}',
        )
    if outcome.is_guard:
        yield _losses(outcome)
    else:
        yield _pair(_losses(outcome), f'<div class="stack">{_confusion(outcome)}{_regimes(outcome)}</div>')
        yield _by_period(outcome)
        yield _pair(_reliability(outcome), _deciles(outcome))
    if outcome.is_guard:
        yield section("Reconstruction error on unseen data", f'<div id="errors"></div>{_note(GUARD)}')
    else:
        yield _pair(_importance(outcome), _luck(outcome))
    yield _folds(outcome)
    yield _configuration(outcome)
    yield f"<footer><p>{PROMISE}</p><p>Times are UTC. Returns are fractions of the money in the book.</p></footer>"


GUARD = (
    "An autoencoder learns the markets it was shown; a large error marks one that it was not. The limit is the error "
    "that one in a hundred windows of the validation span exceeded."
)


def _comparison(outcome: Outcome) -> str:
    rows = [_rival_cells(rival) for rival in outcome.rivals]
    classes = bool(outcome.config.target.values)
    titles = ["", "", "Log loss" if classes else "Squared error", "Accuracy", "IC"]
    if outcome.trades:
        titles += ["Return before", "after costs", "Sharpe", "A year", "Drawdown", "Turnover"]
    else:
        rows = [row[:5] for row in rows]
    if not classes:
        titles, rows = titles[:3] + titles[4:], [row[:3] + row[4:] for row in rows]
    made = table(titles, rows).replace("<tr><td>", '<tr class="ours"><td>', 1)
    words = "All on the same data, which none had seen. The loss is " + (
        "the mean cross entropy in nats" if classes else "the mean squared error"
    )
    words += "; returns are means of one period." if outcome.trades else "."
    return section("Against naive and linear baselines", made + _note(words))


def _rival_cells(rival: Rival) -> list[Cell]:
    money = rival.money
    return [
        Cell(rival.name), Cell(rival.note), _cell(rival.loss, ".5g"), _cell(rival.accuracy, ".2%"),
        _cell(rival.ic, "+.4f"),
        *(
            (
                _cell(money.mean_before, "+.3%"), _cell(money.mean_after, "+.3%"), _cell(money.sharpe, "+.2f"),
                _cell(money.annual_return, "+.1%"), _cell(money.drawdown, ".1%"), _cell(money.turnover, ".2f"),
            )
            if money is not None
            else [NOTHING] * 6
        ),
    ]  # fmt: skip


def _losses(outcome: Outcome) -> str:
    many = len(outcome.folds) * len(outcome.config.members) > 1
    note = "The dot marks the epoch that was kept: the best on the validation set, after which it was stopped."
    return section(
        "Training" + (", a color for each network and fold" if many else ""), f'<div id="losses"></div>{_note(note)}'
    )


def _confusion(outcome: Outcome) -> str:
    classes = len(outcome.config.target.values)
    if not classes:
        return ""
    counts, names = outcome.confusion, CLASS_NAMES[classes]
    if outcome.config.target.use == "above_median":
        names = ("below", "above")
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = max(1, int(row.sum()))
        cells = "".join(
            f'<td style="--depth:{50 * value / total:.0f}">{value / total:.1%}<small>{value:,}</small></td>'
            for value in row.tolist()
        )
        rows.append(f"<tr><th>came {name}</th>{cells}</tr>")
    titles = "".join(f"<th>said {name}</th>" for name in names)
    made = f'<table class="matrix"><thead><tr><th></th>{titles}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return section("Said and came", made + _note("Shares of a row: what the model said of the moves that came."))


def _by_period(outcome: Outcome) -> str:
    note = "The information coefficient is the rank correlation of scores and what followed, averaged over instants."
    if outcome.trades:
        note += " Below it, what the book earned on average, after costs."
    return section("Period by period", f'<div id="periods"></div>{_note(note)}')


def _reliability(outcome: Outcome) -> str:
    note = f"On the dotted line forecasts come true. The mean gap is {outcome.reliability.error:.3g}."
    return section("Calibration", f'<div id="reliability"></div>{_note(note)}')


def _deciles(outcome: Outcome) -> str:
    if not outcome.trades:
        return ""
    note = "A score that is worth something makes a staircase. Before costs."
    return section("What each tenth of the scores earned", f'<div id="deciles"></div>{_note(note)}')


def _regimes(outcome: Outcome) -> str:
    titles = ["Market", "Examples", "IC", "Accuracy", "Return after costs"]
    rows = [_part_cells(part) for part in outcome.regimes]
    keep = [0, 1, 2] + [3] * bool(outcome.config.target.values) + [4] * outcome.trades
    made = table([titles[at] for at in keep], [[row[at] for at in keep] for row in rows])
    note = "As could be known then: volatility of the last 20 bars by thirds, return over the last 60."
    return section("By regime", made + _note(note))


def _part_cells(part: Part) -> list[Cell]:
    return [
        Cell(part.name), _cell(part.examples, ",d"), _cell(part.ic, "+.4f"), _cell(part.accuracy, ".2%"),
        _cell(part.mean_after, "+.3%"),
    ]  # fmt: skip


def _importance(outcome: Outcome) -> str:
    note = "What the loss on the test grows by when a feature's windows are told of other examples."
    if len(outcome.folds) > 1:
        note += " Of the last fold."
    return section("What it lives on", f'<div id="importance"></div>{_note(note)}')


def _luck(outcome: Outcome) -> str:
    if not outcome.trades:
        return ""
    luck = outcome.luck
    needed = "never" if luck.track_record == float("inf") else f"{luck.track_record:,.0f}"
    rows = {
        "Trials on this tape, this one included": f"{luck.trials:,}",
        "Periods tested": f"{luck.found.length:,}",
        "Sharpe ratio of one period": f"{luck.found.sharpe:+.4f}",
        "Skewness and kurtosis of the returns": f"{luck.found.skew:+.2f} and {luck.found.kurtosis:.1f}",
        "The best of as many worthless trials would show": f"{luck.expected_best:+.4f}",
        "Probability that the true ratio is above zero": f"{luck.probabilistic:.1%}",
        "The same, deflated by the number of trials": f"{luck.deflated:.1%}",
        "Probability of backtest overfitting": "-" if luck.overfitting is None else f"{luck.overfitting:.1%}",
        "Periods that 95 % confidence would take": needed,
        "Probability of earning more than buy and hold": f"{outcome.confidence:.1%}",
    }  # fmt: skip
    cells = [(Cell(name), Cell(text, 0.0)) for name, text in rows.items()]
    note = "A result is worth the less the more were tried. Every training writes its line into the ledger."
    if luck.overfitting is None:
        note += " The probability of backtest overfitting compares trials over the same periods and wants two of them."
    return section("How much of it may be luck", table(("", ""), cells) + _note(note))


def _folds(outcome: Outcome) -> str:
    rows = []
    for number, fold in enumerate(outcome.folds, 1):
        for one in fold.trained:
            spans = [Cell(dates(outcome.examples.ts_ns[part])) for part in fold.split]
            counts = [_cell(len(part), ",d") for part in fold.split]
            rows.append([
                Cell(f"{number} {one.use}"), spans[0], counts[0], spans[1], counts[1], spans[2], counts[2],
                _cell(one.best.number, "d"), _cell(len(one.epochs), "d"), _cell(one.best.validation, ".5f"),
            ])  # fmt: skip
    titles = ("Fold", "Train", "Examples", "Validation", "Examples", "Test", "Examples", "Epoch", "of", "Loss then")
    note = "Everything is fitted on the train span alone; examples whose labels reach into the next span are left out."
    return section("Spans", table(titles, rows) + _note(note), long=True)


def _configuration(outcome: Outcome) -> str:
    specs = ", ".join(outcome.examples.feature_names)
    resolved = escape(json.dumps(outcome.config.resolved(), indent=2, ensure_ascii=False))
    details = f'<details><summary>The resolved configuration</summary><pre class="code">{resolved}</pre></details>'
    return f'<section class="long"><h2>Features</h2><p class="code">{escape(specs)}</p>{details}</section>'


def _rules(outcome: Outcome) -> str:
    book = outcome.config.book
    price = "the next bar's open" if book.entry == "next_open" else "the close that the score was made of"
    return (
        f"A plain book, the same for all: {BOOKS[book.use].format(k=book.k)}, at {price}, for "
        f"{outcome.config.target.horizon_bars} bars, {book.cost_bps:g} bp for each dollar bought or sold. Buy and hold "
        "puts equal money in each symbol once."
    )


# --- cells and notes -------------------------------------------------------------------------------------------------


def _cell(value: float | None, style: str) -> Cell:
    if value is None or np.isnan(value):
        return NOTHING
    return Cell(format(value, style), float(value), style.startswith("+"))


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _pair(one: str, other: str) -> str:
    return f'<div class="pair">{one}{other}</div>' if other else one
