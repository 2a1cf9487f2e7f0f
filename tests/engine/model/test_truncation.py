"""The test that catches look-ahead: it lets every shipped feature pass, and stops two famous ways to see the future."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from engine.bars import SESSION_NS
from engine.events import MINUTE_NS, Bar, MarketEvent
from engine.model.card import FeatureSpec
from engine.model.features import FeatureSet
from engine.model.fit import fit_normalization
from engine.model.history import Floats
from engine.model.shipped import SHIPPED
from engine.model.truncation import Pipeline, Windows, as_pipeline, first_difference
from tests.engine.model.tapes import SESSIONS, Tape, coins, daily, denoised, minutes, symbols_of

NEEDS_QUOTES = {"spread", "imbalance"}


def with_vwap(events: Tape) -> Tape:
    """No tape here has volume-weighted prices, so the middle of a bar stands in for them."""
    return [structs.replace(one, vwap=(one.high + one.low) / 2) if isinstance(one, Bar) else one for one in events]


@pytest.fixture(scope="module")
def stocks(shared_data: Path) -> Tape:
    """More than two days of minute bars of some symbols."""
    wanted = {"AAPL", "MSFT", "TSLA", "UGA"}
    return with_vwap([event for event in minutes(shared_data) if getattr(event, "symbol", "") in wanted][:3_000])


@pytest.fixture(scope="module")
def days(shared_data: Path) -> Tape:
    return with_vwap(daily(shared_data, ("AAPL", "AMZN", "GMRE")))


@pytest.fixture(scope="module")
def crypto(shared_data: Path) -> Tape:
    return coins(shared_data)[:8_000]


def shipped(name: str, events: Tape, *, interval_ns: int = MINUTE_NS, calendar: str = "XNYS") -> Pipeline:
    specs = [FeatureSpec(name, {"of": "scorer"} if name == "news_score" else {})]
    return as_pipeline(
        lambda: FeatureSet(
            specs,
            symbols_of(events),
            interval_ns=interval_ns,
            lookback=10,
            sessions=SESSIONS[calendar],
            block=1_000,
        )
    )


def cuts(events: Sequence[MarketEvent]) -> list[int]:
    """Five instants inside the tape, one of them the day after a weekend."""
    return [events[len(events) * part // 6].ts_recv_ns for part in range(1, 6)]


@pytest.mark.parametrize("name", sorted(SHIPPED.keys() - NEEDS_QUOTES))
def test_no_shipped_feature_changes_when_the_future_is_cut_off(stocks: Tape, days: Tape, name: str) -> None:
    """On real minute and daily bars with filings and tweets."""
    assert first_difference(shipped(name, stocks), stocks, cuts(stocks)) == ""
    assert first_difference(shipped(name, days, interval_ns=SESSION_NS), days, cuts(days)) == ""


@pytest.mark.parametrize("name", sorted(NEEDS_QUOTES))
def test_no_quote_feature_changes_when_the_future_is_cut_off(crypto: Tape, name: str) -> None:
    """On real minute bars and quotes of coins."""
    pipeline = shipped(name, crypto, calendar="24/7")
    assert first_difference(pipeline, crypto, cuts(crypto)) == ""
    assert len(pipeline(crypto)) > 1_000


def with_closes(change: Callable[[Floats], Floats], pipeline: Pipeline) -> Pipeline:
    """A pipeline over bars whose closes were first put through something, symbol by symbol."""

    def run(events: Sequence[MarketEvent]) -> Windows:
        moved: list[MarketEvent] = []
        for symbol in symbols_of(events):
            bars = [event for event in events if isinstance(event, Bar) and event.symbol == symbol]
            closes = change(np.array([bar.close for bar in bars]))
            moved += [structs.replace(bar, close=close) for bar, close in zip(bars, closes.tolist(), strict=True)]
        return pipeline(sorted(moved, key=lambda event: event.ts_recv_ns))

    return run


def scaled_by_all(pipeline: Pipeline, span_ns: tuple[int, int] | None = None) -> Pipeline:
    """A pipeline that normalizes its result: over all that there is, or over a training span."""

    def run(events: Sequence[MarketEvent]) -> Windows:
        found = pipeline(events)
        if not found:
            return found
        windows = np.stack(list(found.values())).astype(np.float32)
        ts_ns = np.array([ts for ts, _ in found])
        fitted = fit_normalization("z_score", windows, ts_ns, span_ns or (int(ts_ns.min()), int(ts_ns.max())))
        return dict(zip(found, fitted.apply(windows).astype(np.float64), strict=True))

    return run


def test_a_normalization_over_the_whole_series_is_caught(stocks: Tape, days: Tape) -> None:
    """Mean and deviation of the test days reach back into the training days."""
    for events, interval_ns in ((stocks, MINUTE_NS), (days, SESSION_NS)):
        planted = scaled_by_all(shipped("returns", events, interval_ns=interval_ns))
        assert "the pipeline looks ahead" in first_difference(planted, events, cuts(events))


def test_a_normalization_over_the_training_span_passes(stocks: Tape) -> None:
    """The same, fitted as it should be: what comes after the span may be cut off."""
    end_ns = cuts(stocks)[0]
    honest = scaled_by_all(shipped("returns", stocks), (stocks[0].ts_recv_ns, end_ns))
    assert first_difference(honest, stocks, cuts(stocks)) == ""


def test_a_wavelet_denoise_of_the_whole_series_is_caught(stocks: Tape, days: Tape) -> None:
    """Each smoothed price knows the prices that follow it."""
    for events, interval_ns in ((stocks, MINUTE_NS), (days, SESSION_NS)):
        planted = with_closes(denoised, shipped("returns", events, interval_ns=interval_ns))
        assert "the pipeline looks ahead" in first_difference(planted, events, cuts(events))


def test_a_change_that_looks_back_only_passes(stocks: Tape) -> None:
    """A running mean is no leak, so it is not the mere touching of prices that is caught."""
    running = with_closes(lambda closes: np.cumsum(closes) / np.arange(1, len(closes) + 1), shipped("returns", stocks))
    assert first_difference(running, stocks, cuts(stocks)) == ""


def test_a_value_that_only_the_whole_tape_has_is_caught(stocks: Tape) -> None:
    """Leaving out a window because of what comes later is looking ahead, too."""
    plain = shipped("returns", stocks)

    def picky(events: Sequence[MarketEvent]) -> Windows:
        found = plain(events)
        return dict(list(found.items())[::2]) if len(events) == len(stocks) else found

    assert "looks ahead" in first_difference(picky, stocks, cuts(stocks))
