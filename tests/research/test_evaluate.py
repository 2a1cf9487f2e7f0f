"""What forecasts are worth: the arithmetic of the plain book, ranks, calibration and the paired bootstrap."""

import numpy as np
import pytest

from engine.events import DAY_NS
from research import baselines, evaluate, outputs
from research.config import BookConfig

INSTANTS = np.arange(3, dtype=np.int64) * DAY_NS
FREE = BookConfig(k=1, cost_bps=0.0)


def test_the_best_are_held_and_the_worst_sold_with_equal_money() -> None:
    """Two on each side of five, half of the money in each."""
    score = np.array([[5.0, 1.0, 4.0, 2.0, 3.0]])
    gain = np.array([[0.10, 0.02, 0.04, -0.02, 0.50]])
    found = evaluate.hold(score, gain, INSTANTS[:1], FREE.model_copy(update={"k": 2}), 1)
    assert found.before[0] == pytest.approx((0.10 + 0.04) / 2 - (0.02 - 0.02) / 2)
    assert found.turnover[0] == pytest.approx(2.0)


def test_a_symbol_without_a_score_or_a_price_is_not_held() -> None:
    """Nobody could have; with too few left the book stays empty."""
    score = np.array([[np.nan, 1.0, 2.0], [1.0, 2.0, 3.0]])
    gain = np.array([[9.0, 0.01, 0.02], [np.nan, np.nan, 0.5]])
    found = evaluate.hold(score, gain, INSTANTS[:2], FREE, 1)
    assert found.before.tolist() == pytest.approx([0.02 - 0.01, 0.0])


def test_costs_are_charged_on_what_changes_hands_after_prices_moved() -> None:
    """1 long and 1 short are bought for 2; held on, they have grown to 1.1/1.05 and 1.05/1.05 and are cut back."""
    score = np.array([[1.0, 0.0], [1.0, 0.0]])
    gain = np.array([[0.10, 0.05], [0.0, 0.0]])
    found = evaluate.hold(score, gain, INSTANTS[:2], FREE.model_copy(update={"cost_bps": 10.0}), 1)
    assert found.before[0] == pytest.approx(0.05)
    traded = abs(1 - 1.1 / 1.05) + abs(-1 + 1.05 / 1.05)
    assert found.turnover.tolist() == pytest.approx([2.0, traded])
    assert found.after.tolist() == pytest.approx([0.05 - 0.002, -traded * 0.001])


def test_a_horizon_of_two_trades_at_every_other_instant() -> None:
    """Gains over two bars do not overlap, so that none is earned twice."""
    score, gain = np.ones((3, 2)), np.full((3, 2), 0.01)
    found = evaluate.hold(score, gain, INSTANTS, FREE.model_copy(update={"use": "long_only"}), 2)
    assert found.ts_ns.tolist() == [0, 2 * DAY_NS]
    assert found.before.tolist() == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize(("use", "earned"), [("long_only", 0.04), ("long_short", (0.04 + 0.02) / 2)])
def test_a_book_goes_by_the_sign_of_the_score(use: str, earned: float) -> None:
    """Long only, all money is in what scores above zero; else each symbol has its share on either side."""
    found = evaluate.hold(
        np.array([[0.3, -0.1]]), np.array([[0.04, -0.02]]), INSTANTS[:1], FREE.model_copy(update={"use": use}), 1
    )
    assert found.before[0] == pytest.approx(earned)


def test_buying_and_holding_buys_once_and_lets_winners_run() -> None:
    """100 in each of two: 200 and 100 after the first bar, so the second counts the first twice as much."""
    gain = np.array([[1.0, 0.0], [0.1, 0.0], [0.0, 0.0]])
    found = evaluate.buy_and_hold(gain, INSTANTS, FREE.model_copy(update={"cost_bps": 10.0}), 1)
    assert found.before.tolist() == pytest.approx([0.5, 320 / 300 - 1, 0.0])
    assert found.after[0] == pytest.approx(0.5 - 0.001)
    assert found.turnover.tolist() == [1.0, 0.0, 0.0]


def test_a_drawdown_counts_from_the_money_that_was_put_in() -> None:
    """A first period that loses is a drawdown too."""
    history = evaluate.History(INSTANTS, np.zeros(3), np.array([-0.1, 0.05, -0.1]), np.zeros(3))
    assert evaluate.money(history).drawdown == pytest.approx(0.9 * 1.05 * 0.9 - 1)


def test_a_trailing_mean_knows_nothing_newer_and_starts_with_what_there_is() -> None:
    """A regime is what could be known then."""
    assert evaluate.trailing_mean(np.array([2.0, 4.0, 6.0, 8.0]), 3).tolist() == [2.0, 3.0, 4.0, 6.0]


def test_months_have_their_quarters() -> None:
    """Also before 1970."""
    months = np.array(["2016-03", "2016-04", "1969-12"], dtype="datetime64[M]")
    assert evaluate.quarters(months).tolist() == ["2016 Q1", "2016 Q2", "1969 Q4"]


def test_ranks_share_their_middle_and_correlate() -> None:
    """Spearman's correlation, ties included; nothing where one side does not vary."""
    assert evaluate.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    rising = np.arange(6.0)
    assert evaluate.rank_correlation(rising, rising**3) == pytest.approx(1.0)
    assert evaluate.rank_correlation(rising, -rising) == pytest.approx(-1.0)
    assert np.isnan(evaluate.rank_correlation(rising, np.ones(6)))


def test_an_instant_with_few_symbols_says_nothing() -> None:
    """A rank correlation of three is a coin."""
    score = np.array([[1.0, 2, 3, 4, 5], [1, 2, 3, np.nan, np.nan]])
    assert evaluate.information_coefficients(score, score)[0] == pytest.approx(1.0)
    assert np.isnan(evaluate.information_coefficients(score, score)[1])


def test_reliability_compares_forecast_and_outcome_bin_by_bin() -> None:
    """Half of the forecasts of 0.2 come true: the gap is 0.3."""
    forecast, outcome = np.r_[np.full(10, 0.2), np.full(10, 0.9)], np.r_[np.tile([0.0, 1.0], 5), np.full(10, 0.9)]
    found = evaluate.reliability(forecast, outcome, bins=2)
    assert found.outcome.tolist() == pytest.approx([0.5, 0.9])
    assert found.error == pytest.approx(0.15)


def test_the_bootstrap_is_sure_of_what_is_always_better_and_of_nothing_else() -> None:
    """Paired and seeded; no difference is an even chance."""
    draw = np.random.default_rng(3)
    noise = draw.normal(0, 0.01, 300)
    assert evaluate.bootstrap_superiority(noise + 0.001, noise, seed=1) == 1.0
    assert evaluate.bootstrap_superiority(noise, noise, seed=1) == 0.5
    fair = evaluate.bootstrap_superiority(noise, draw.permutation(noise), seed=1)
    assert fair == evaluate.bootstrap_superiority(noise, draw.permutation(noise), seed=1) or 0.01 < fair < 0.99


@pytest.mark.parametrize(("periods", "tries"), [(60, 1000), (100, 1000), (500, 500)])
def test_the_bootstrap_calls_one_of_two_equals_better_as_often_as_it_says(periods: int, tries: int) -> None:
    """Of equals it is 60, 90, 95 and 99 % sure in 40, 10, 5 and 1 % of cases, but for three errors of so many tries."""
    draw = np.random.default_rng(6)
    none = np.zeros(periods)
    sure = np.array(
        [evaluate.bootstrap_superiority(draw.normal(size=periods), none, seed, draws=400) for seed in range(tries)]
    )
    for claim in (0.6, 0.9, 0.95, 0.99):
        error = (claim * (1 - claim) / tries) ** 0.5
        assert abs((sure >= claim).mean() - (1 - claim)) < 3 * error, claim


@pytest.mark.parametrize("periods", [0, 1, 2, 3])
def test_the_bootstrap_says_something_of_hardly_any_periods(periods: int) -> None:
    """A probability, and an even chance where there is nothing to go by."""
    found = evaluate.bootstrap_superiority(np.arange(periods) + 1.0, np.zeros(periods), 1)
    assert 0.5 < found <= 1.0 if periods > 1 else found == 0.5


def test_a_linear_relation_is_found_by_the_linear_baseline() -> None:
    """Ridge regression in closed form: with little noise it is nearly exact."""
    import torch

    draw = np.random.default_rng(1)
    view = torch.from_numpy(draw.normal(0, 1, (300, 2, 4)).astype(np.float32))
    label = 3 * view[:, 1, -1].numpy().astype(np.float64) + 1
    places = tuple(np.arange(first, first + 100) for first in (0, 100, 200))
    found = baselines.linear(view, places, (label[:100], label[100:200]), ())
    assert np.abs(found.score - label[200:]).max() < 0.01


def test_a_temperature_is_fitted_to_how_often_the_model_is_right() -> None:
    """Logits twice as sure as they may be are halved."""
    import torch

    draw = torch.Generator().manual_seed(1)
    honest = torch.randn(4000, 1, generator=draw) * torch.tensor([[1.0, -1.0]])
    labels = torch.multinomial(torch.softmax(honest, dim=1), 1, generator=draw)[:, 0]
    assert outputs.fit_temperature(2 * honest, labels) == pytest.approx(2.0, abs=0.15)
