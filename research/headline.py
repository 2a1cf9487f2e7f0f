"""The top of a model's page: what it is, what to beware of, and its figures at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from engine.clock import to_datetime
from research.experiment import span
from research.outcome import Outcome

Card = tuple[str, str, str, str]
"""What it is, the figure, what to compare it with, and its color."""


def head(outcome: Outcome, sha256: str) -> str:
    """Return the name of the model and what it was made of."""
    config, examples = outcome.config, outcome.examples
    trained, folds, split = outcome.folds[-1].trained, len(outcome.folds), outcome.folds[-1].split
    facts = {
        "Trained on": dates(examples.ts_ns[split.train]) + f", the last of {folds} folds" * (folds > 1),
        "Tested on": dates(examples.ts_ns[outcome.rows]) + ", each fold after its own training" * (folds > 1),
        "Symbols": str(len(examples.symbols)), "Bars": config.data.bar, "Window": f"{examples.lookback} bars",
        "Features": str(len(examples.feature_names)), "Tape": examples.tape_sha256[:16], "Seed": str(config.seed),
        "Bundle": sha256[:16],
    }  # fmt: skip
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items())
    words = [
        " + ".join(one.use for one in trained),
        config.target.use.replace("_", " "),
        f"{config.target.horizon_bars} ahead",
    ]
    badges = "".join(f'<span class="badge">{escape(text)}</span>' for text in words)
    return (
        f'<header><div><h1>{escape(config.name)}{badges}</h1><dl class="facts">{listed}</dl></div>'
        '<button id="theme" title="light or dark">◐</button></header>'
    )


def warnings(outcome: Outcome) -> Iterator[str]:
    """Yield what the course of a training says against it."""
    for number, fold in enumerate(outcome.folds, 1):
        for one in fold.trained:
            named, last = f"Fold {number}, {one.use}", one.epochs[-1].number
            if last > 1 and one.best.number == last == outcome.config.fit.epochs_max:
                yield f"{named}: the last epoch was the best one; a larger fit.epochs_max may do better."
            if last > 1 and one.best.number == 1:
                yield f"{named}: the first epoch was the best one; the network found little that lasts."


def cards(outcome: Outcome) -> str:
    """Return the figures at a glance."""
    seconds = sum(fold.seconds for fold in outcome.folds)
    count = sum(one.parameters for one in outcome.folds[-1].trained)
    size = ("Parameters", f"{count:,}", f"trained in {_duration(seconds)}", "")
    found = _guard(outcome) if outcome.is_guard else [*_forecast(outcome), *_money(outcome)]
    return _row([*found, size][:6])


def _guard(outcome: Outcome) -> list[Card]:
    limit = float(np.quantile(outcome.folds[-1].validation_outputs[:, 0], 0.99))
    share = float((outcome.score > limit).mean())
    return [
        ("Median error", f"{np.median(outcome.score):.4f}", "on the test", ""),
        ("Limit", f"{limit:.4f}", "exceeded by 1 % of the validation", ""),
        ("Beyond the limit", f"{share:.2%}", "of the test windows", ""),
    ]


def _forecast(outcome: Outcome) -> list[Card]:
    model, others = outcome.model, {rival.name: rival for rival in outcome.rivals[1:]}
    usual = others["Usual"]
    loss = ("Log loss" if outcome.config.target.values else "Squared error", f"{model.loss:.4g}")
    with_what = "with what followed, by rank" if outcome.trades else "with the target, by rank"
    found = [
        ("Information coefficient", _ratio(model.ic, "+.4f"), with_what, _tone(model.ic)),
        (*loss, f"{usual.loss:.4g} always the usual", ""),
    ]
    if model.accuracy is not None:
        found.append(("Accuracy", f"{model.accuracy:.2%}", f"{usual.accuracy or 0:.2%} always the usual", ""))
    return found


def _money(outcome: Outcome) -> list[Card]:
    if not outcome.trades or outcome.model.money is None or outcome.benchmark.money is None:
        return []
    model, held = outcome.model.money, outcome.benchmark.money
    trials = "1 trial" if outcome.luck.trials == 1 else f"{outcome.luck.trials} trials"
    return [
        ("A period, after costs", f"{model.mean_after:+.3%}", f"{held.mean_after:+.3%} held", _tone(model.mean_after)),
        (
            "Sharpe, after costs",
            _ratio(model.sharpe, "+.2f"),
            f"{_ratio(held.sharpe, '+.2f')} held",
            _tone(model.sharpe),
        ),
        ("Deflated Sharpe", f"{outcome.luck.deflated:.1%}", f"{trials} on this tape", ""),
    ]


def _row(cards: list[Card]) -> str:
    made = (
        f'<div class="card"><div class="what">{escape(what)}</div><div class="value {tone}">{escape(value)}</div>'
        f'<div class="more">{escape(more)}</div></div>'
        for what, value, more, tone in cards
    )
    return f'<div class="cards">{"".join(made)}</div>'


def _ratio(value: float | None, style: str) -> str:
    return "n/a" if value is None else format(value, style)


def _tone(value: float | None) -> str:
    return "" if not value else "gain" if value > 0 else "loss"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def dates(ts_ns: Any) -> str:
    """Return the first and last day of some instants."""
    first, last = (f"{to_datetime(each):%Y-%m-%d}" for each in span(ts_ns))
    return f"{first} to {last}"
