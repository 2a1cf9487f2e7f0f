"""Strategies around a model: they buy what is liked, more where it is surer, and leave when it is no longer.

Closes of 100 and 101 by turns have a volatility of log(1.01), 0.995 %. A `risk_fraction` of a tenth of that, and a hair
more against rounding, makes a whole position a tenth of 100,000 dollars: 100 shares at 100. Signals here come by hand,
without a network, when the price is 100.
"""

import ast
import inspect
from collections.abc import Iterable
from math import log
from pathlib import Path
from typing import Any

import pytest

from engine import Bar, CorporateAction, Signal, Strategy
from engine.events import MINUTE_NS, NEVER_NS, SECOND_NS, Fill, MarketEvent
from strategies.cnn_pattern import CNNPattern
from strategies.ensemble import Ensemble
from strategies.lstm_forecast import LSTMForecast
from strategies.news_and_price import NewsAndPrice
from strategies.transformer_forecast import TransformerForecast
from tests.engine.model import nets
from tests.runs import OPEN_NS, HeldFeed, bar, configuration, market, replayed, strategy
from tests.strategies.wishes import wishes

BARS = [bar("AAA", minute, 100.0 + minute % 2) for minute in range(60)]
ROOT = 2**0.5
SIZE = {"risk_fraction": 0.10001 * log(1.01), "fraction_max": 0.5}
ALL = (LSTMForecast, CNNPattern, TransformerForecast, NewsAndPrice, Ensemble)


def said(minute: int, score: float, model: str = "lstm", until: int = 0, symbol: str = "AAA") -> Signal:
    """Return a score that is known a second after the minute, when its bar (of 100 after an odd one) has closed."""
    ts_ns = OPEN_NS + minute * MINUTE_NS
    expires_ns = OPEN_NS + until * MINUTE_NS if until else NEVER_NS
    return Signal(symbol, ts_ns, ts_ns + SECOND_NS, model, score, MINUTE_NS, expires_ns)


def asked(use: type[Strategy], *signals: Signal, events: Iterable[MarketEvent] = BARS, **over: Any) -> list[str]:
    told, run = wishes(use, [*events, *signals], **{**SIZE, **over})  # type: ignore[list-item]  # a tape of signals
    assert not run.core.portfolio.book("one").halted
    return told


def usual(model: str, until: int = 25) -> list[Signal]:
    """Return two scores of 0: in a window of 3 whatever follows lies the root of 2 deviations from the mean."""
    return [said(until - 2, 0.0, model), said(until - 1, 0.0, model)]


@pytest.mark.parametrize("use", ALL)
def test_a_model_strategy_is_an_idea_in_twenty_five_lines_and_two_imports_at_most(use: type[Strategy]) -> None:
    """Blank lines and docstrings aside; the model stands in the configuration."""
    source = Path(inspect.getfile(use)).read_text("utf-8")
    tree, told = ast.parse(source), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            told.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = [line for number, line in enumerate(source.splitlines(), 1) if line.strip() and number not in told]
    assert len(lines) <= 25
    assert sum(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree)) <= 2


# --- lstm_forecast -------------------------------------------------------------------------------------------------


def lstm(*signals: Signal, **over: Any) -> list[str]:
    return asked(LSTMForecast, *usual("lstm"), *signals, **{"window": 3, "enter": 1.0, "full": ROOT, **over})


def test_a_forecast_is_bought_by_how_unusual_it_is() -> None:
    """Two scores of 0 and one above are the root of 2: whole where that is `full`, half where `full` is twice that."""
    assert lstm(said(31, 0.2)) == ["31:01 buy 100"]
    assert lstm(said(31, 0.002)) == ["31:01 buy 100"]
    assert lstm(said(31, 0.2), full=2 * ROOT) == ["31:01 buy 50"]
    assert lstm(said(31, 0.2), full=0.1) == ["31:01 buy 100"]
    assert lstm(said(31, 0.2), enter=1.5) == []


def test_a_wilder_symbol_is_bought_less() -> None:
    """Closes of 100 and 102 by turns move twice as far, so the same score buys half, and 50 shares cost half."""
    wild = [bar("AAA", minute, 100.0 + 2 * (minute % 2)) for minute in range(60)]
    assert lstm(said(31, 0.2), events=wild) == ["31:01 buy 50"]


def test_a_position_is_kept_until_the_forecast_turns() -> None:
    """Of 0, 0.2, 0.3 the last is above the mean but less than 1.5 deviations; of 0.2, 0.3, 0.1 it is below."""
    told = lstm(said(31, 0.2), said(33, 0.3), said(35, 0.1), said(37, 0.1), enter=1.4)
    assert told == ["31:01 buy 100", "35:01 sell 100"]


def test_a_forecast_never_sells_short() -> None:
    """Nothing is held, so nothing is sold."""
    assert lstm(said(31, -0.9)) == []


def test_before_anything_is_known_no_forecast_is_bought() -> None:
    """Twenty returns take 21 bars; and what is usual takes a window of scores."""
    first = [said(18, 0.0), said(19, 0.0)]
    assert asked(LSTMForecast, *first, said(20, 0.2), window=3, full=ROOT) == []
    assert asked(LSTMForecast, *first, said(21, 0.2), window=3, full=ROOT) != []
    assert asked(LSTMForecast, *first, said(21, 0.2), window=4, full=ROOT) == []


def test_each_symbol_goes_by_its_own_forecast() -> None:
    """What is usual is so of all; what is bought is the one that is liked."""
    both = [*BARS, *(bar("BBB", minute, 50.0 + minute % 2) for minute in range(60))]
    assert lstm(said(31, 0.2), said(32, -0.2, symbol="BBB"), events=both) == ["31:01 buy 100"]


# --- cnn_pattern ---------------------------------------------------------------------------------------------------


BARRIERS = {"enter": 0.1, "leave": -0.1, "full": 0.2, "width": 2.0}


def cnn(*signals: Signal, events: Iterable[MarketEvent] = BARS, **over: Any) -> list[str]:
    return asked(
        CNNPattern, *signals, events=events, **{"enter": 0.1, "leave": -0.1, "full": 0.2, "width": 2.0, **over}
    )


def fills(use: type[Strategy], events: Iterable[Any], **over: Any) -> list[str]:
    records, _ = replayed(configuration(HeldFeed.hold(events), strategies=[strategy(use, **{**SIZE, **over})]))
    return [f"{one.side} {one.qty.normalize():f} {one.price}" for one in records if isinstance(one, Fill)]


def jump(to: float) -> list[MarketEvent]:
    """Return the quiet market and, forty minutes in, one bar that goes to a price and stays there."""
    opened = 100.0
    return [*BARS[:40], bar("AAA", 40, (opened, max(opened, to), min(opened, to), to)), bar("AAA", 41, to)]


def test_a_pattern_is_bought_between_its_barriers() -> None:
    """Two volatilities of 100 are 1.99: the barriers stand at 101.9901 and 98.0099, on the tick beyond."""
    signal = said(31, 0.2, "cnn")
    assert fills(CNNPattern, [*jump(103.0), signal], **BARRIERS) == ["buy 100 101.0", "sell 100 102.0"]
    assert fills(CNNPattern, [*jump(97.0), signal], **BARRIERS) == ["buy 100 101.0", "sell 100 98.0"]


def test_a_pattern_is_not_bought_twice() -> None:
    """While a position or an order is there, further patterns add nothing."""
    assert len(cnn(said(31, 0.2, "cnn"), said(33, 0.2, "cnn"), said(35, 0.2, "cnn"))) == 1


def test_a_pattern_that_turns_takes_its_barriers_away_and_then_what_is_held() -> None:
    """The exits would sell what is sold already, so they go first."""
    told = cnn(said(31, 0.2, "cnn"), said(35, -0.2, "cnn"), said(37, -0.2, "cnn"))
    assert told[0] == "31:01 buy 100"
    assert {line for line in told[1:] if "cancel" in line} == {"35:01 cancel"}
    assert told[-1] == "37:01 sell 100"


# --- transformer_forecast ------------------------------------------------------------------------------------------


MARGIN = {"account": "margin_2x"}


def transformer(*signals: Signal, **over: Any) -> list[str]:
    return asked(TransformerForecast, *signals, **{"enter": 0.5, "full": 1.0, "broker": MARGIN, **over})


def test_a_return_is_measured_in_volatilities() -> None:
    """0.995 % is one volatility, a whole position; four fifths of it four fifths."""
    one = log(1.01)
    assert transformer(said(31, one)) == ["31:01 buy 100"]
    assert transformer(said(31, 0.8 * one)) == ["31:01 buy 80"]
    assert transformer(said(31, 0.4 * one)) == []


def test_a_forecast_of_a_fall_is_sold_short_and_a_flat_one_closes() -> None:
    """The size stays until the side changes."""
    one = log(1.01)
    told = transformer(said(31, -one), said(33, -0.8 * one), said(35, 0.1 * one))
    assert told == ["31:01 sell 100", "35:01 buy 100"]


def test_from_long_to_short_takes_two_signals() -> None:
    """The first one closes, the second opens."""
    one = log(1.01)
    assert transformer(said(31, one), said(33, -one), said(35, -one)) == [
        "31:01 buy 100", "33:01 sell 100", "35:01 sell 100",
    ]  # fmt: skip


# --- news_and_price ------------------------------------------------------------------------------------------------


def both(*signals: Signal, **over: Any) -> list[str]:
    weights = {"price": 0.6 / ROOT, "news": 0.4 / ROOT}
    params = {"weights": weights, "window": 3, "enter": 0.7, **over}
    return asked(NewsAndPrice, *usual("price"), *usual("news"), *signals, **params)


def test_price_and_news_count_together() -> None:
    """0.6 and 0.4 are 1; either alone is not enough."""
    assert both(said(31, 0.2, "price")) == []
    assert both(said(31, 0.2, "news")) == []
    assert both(said(29, 0.2, "news"), said(31, 0.2, "price")) == ["31:01 buy 100"]


def test_good_news_waits_for_a_price() -> None:
    """News after the price model has spoken is bought with its next word, unless the news may enter itself."""
    words = said(29, 0.2, "price"), said(31, 0.2, "news")
    assert both(*words) == []
    assert both(*words, entry="news") == ["31:01 buy 100"]


def test_bad_news_closes_without_waiting_for_a_bar() -> None:
    """0.42 of the price and 0.64 of the news buy; then the news is as far below its usual, and the price less above."""
    weights = {"price": 0.3, "news": 0.45}
    told = both(said(29, 0.2, "news"), said(31, 0.2, "price"), said(32, -9.0, "news"), weights=weights)
    assert told == ["31:01 buy 100", "32:01 sell 100"]


def test_old_news_no_longer_counts() -> None:
    """It expired before the price model spoke."""
    assert both(said(29, 0.2, "news", until=30), said(31, 0.2, "price")) == []


# --- ensemble ------------------------------------------------------------------------------------------------------


def together(*signals: Signal, **over: Any) -> list[str]:
    params = {"models": ["lstm", "cnn"], "window": 3, "enter": 1.0, **over}
    return asked(Ensemble, *usual("lstm"), *usual("cnn"), *signals, **params)


def test_a_probability_and_a_return_count_alike() -> None:
    """Both are unusual for their models, whatever their numbers."""
    assert together(said(30, 0.002), said(31, 30.0, "cnn")) == ["31:01 buy 100"]


def test_one_model_alone_is_no_agreement() -> None:
    """The mean of the root of 2 and 0 is 0.7, less than 1."""
    assert together(said(30, 0.2)) == []
    assert together(said(30, 0.2), said(31, 0.0, "cnn")) == []


def test_while_a_model_is_silent_nothing_is_decided() -> None:
    """One that has not spoken, and one whose word has expired."""
    assert asked(Ensemble, *usual("lstm"), said(31, 0.2), models=["lstm", "cnn"], window=3, enter=0.1) == []
    assert together(said(29, 0.2, until=30), said(31, 0.5, "cnn")) == []


def test_when_they_no_longer_agree_it_is_sold() -> None:
    """A word that turns outweighs one that has become usual."""
    told = together(said(30, 0.2), said(31, 0.5, "cnn"), said(33, -9.0, "cnn"), said(35, -9.0))
    assert told == ["31:01 buy 100", "35:01 sell 100"]


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ALL)
def test_without_a_signal_nothing_is_traded(use: type[Strategy]) -> None:
    """A model that failed, or is not there, leaves everything as it is."""
    assert asked(use) == []


@pytest.mark.parametrize("use", ALL)
def test_a_split_is_no_volatility(use: type[Strategy]) -> None:
    """10 for 1 at minute 25, then the same market at a tenth: ten times the shares, give or take what rounding took."""
    ts_ns = OPEN_NS + 25 * MINUTE_NS + SECOND_NS
    after = [bar("AAA", minute, 10.0 + minute % 2 / 10) for minute in range(25, 60)]
    split: list[Any] = [*BARS[:25], CorporateAction("AAA", ts_ns, ts_ns, "split", 10, 1), *after]
    words = [one for model in awaited(use) for one in [*usual(model), said(31, 9.0, model)]]
    (before,), (found,) = (asked(use, *words, events=events, **quick(use)) for events in (BARS, split))
    assert int(found.split()[-1]) // 10 == int(before.split()[-1])


def awaited(use: type[Strategy]) -> tuple[str, ...]:
    """Return the models that a strategy waits for."""
    return {Ensemble: ("lstm", "cnn", "transformer"), NewsAndPrice: ("price",)}.get(use, ("any",))


def quick(use: type[Strategy]) -> dict[str, int]:
    """Return a window of three scores for those that have one."""
    return {"window": 3} if hasattr(use, "window") else {}


@pytest.mark.parametrize("use", [NewsAndPrice, Ensemble])
def test_a_model_that_is_not_named_is_not_heard(use: type[Strategy]) -> None:
    """Another strategy of the run may want it."""
    assert asked(use, *usual("other"), said(31, 0.9, "other"), **quick(use)) == []


@pytest.mark.parametrize("use", ALL)
def test_it_trades_what_a_network_says(use: type[Strategy], tmp_path: Path) -> None:
    """From a file in the configuration to fills, with nothing between: any network may speak under any name."""
    names = ("price", "news", "lstm", "cnn", "transformer")
    file = nets.bundle(tmp_path, nets.NaNAbove(99.0))
    models = [{"name": name, "file": str(file), "device": "cpu"} for name in names]
    params = {"enter": 0.001} | ({"leave": -0.001} if use is CNNPattern else {}) | quick(use)
    tree = configuration(
        HeldFeed.hold(market(3, 120, ("AAA", "BBB"))), models=models, strategies=[strategy(use, **params)]
    )
    records, run = replayed(tree)
    assert not run.core.portfolio.book("one").halted
    assert sum(isinstance(record, Fill) for record in records) > 5
    assert sum(isinstance(record, Bar) for record in records) == 0
