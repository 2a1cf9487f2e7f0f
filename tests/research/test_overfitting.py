"""Statistics against luck, held against published numbers."""

from math import comb, sqrt

import numpy as np
import pytest

from research import overfitting
from research.overfitting import Moments

DAILY = Moments(sharpe=2.5 / sqrt(250), length=1250, skew=-3.0, kurtosis=10.0)
"""The example of Bailey and Lopez de Prado (2014): an annual ratio of 2.5 over five years of 250 days."""


@pytest.mark.parametrize(
    ("trials", "benchmark", "deflated"),
    [(100, 0.1132, 0.9004), (46, 0.1004, 0.9505), (10, None, 0.9939), (1000, None, 0.6399)],
)
def test_the_deflated_ratio_is_the_published_one(trials: int, benchmark: float | None, deflated: float) -> None:
    """Variance 0.5 among the annual ratios of the trials."""
    if benchmark is not None:
        assert overfitting.expected_maximum_sharpe(trials, 0.5 / 250) == pytest.approx(benchmark, abs=5e-5)
    assert overfitting.deflated_sharpe(DAILY, trials, 0.5 / 250) == pytest.approx(deflated, abs=5e-5)


def test_kurtosis_is_not_the_excess() -> None:
    """The formula wants 3 for a normal distribution; with the excess of 7 the example would give 0.9018."""
    excess = DAILY._replace(kurtosis=7.0)
    assert overfitting.deflated_sharpe(excess, 100, 0.5 / 250) == pytest.approx(0.9018, abs=5e-5)
    normal = np.random.default_rng(1).normal(0.001, 0.01, 200_000)
    assert overfitting.moments(normal).kurtosis == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize(
    ("found", "probability", "record"),
    [(Moments(0.1, 252), 0.94299, 272.9), (Moments(0.1, 252, skew=-1.0, kurtosis=6.0), 0.93346, 302.0)],
)
def test_the_probabilistic_ratio_and_the_record_it_needs_are_the_published_ones(
    found: Moments, probability: float, record: float
) -> None:
    """0.1 a bar over 252 bars, of normal returns and of skewed ones with fat tails."""
    assert overfitting.probabilistic_sharpe(found) == pytest.approx(probability, abs=5e-6)
    assert overfitting.minimum_track_record(found) == pytest.approx(record, abs=0.05)


def test_one_trial_is_not_deflated() -> None:
    """Without a choice there is no luck of the choice."""
    assert overfitting.deflated_sharpe(DAILY, 1, 0.5) == overfitting.probabilistic_sharpe(DAILY)
    assert overfitting.minimum_track_record(Moments(-0.1, 100)) == float("inf")


def test_sixteen_blocks_make_12870_halves() -> None:
    """As published for the combinatorially symmetric cross-validation."""
    assert comb(16, 8) == 12_870


def test_the_best_of_worthless_trials_is_as_good_as_a_coin() -> None:
    """Over many experiments with pure noise, the best half of the time falls below the median later."""
    draw = np.random.default_rng(7)
    found = [overfitting.overfitting_probability(draw.normal(0, 1, (160, 12)), 8) for _ in range(60)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.07)


def test_one_truly_better_trial_is_not_overfitted() -> None:
    """It wins in both halves."""
    returns = np.random.default_rng(7).normal(0, 1, (320, 10))
    returns[:, 3] += 1.0
    assert overfitting.overfitting_probability(returns) == 0.0


def test_returns_that_do_not_vary_have_no_ratio() -> None:
    """No division by nothing."""
    assert overfitting.moments(np.zeros(10)) == Moments(0.0, 10)
