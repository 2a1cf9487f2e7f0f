"""The formulas against hand calculation, and every case in which a number would mean nothing."""

from math import isclose, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import Sessions
from engine.report import metrics

XNYS, CRYPTO = Sessions("XNYS"), Sessions("24/7")
RETURNS = pd.Series([0.01, -0.02, 0.03, 0.0, -0.01, 0.02])


def closes(values: list[float], first: str = "2019-02-11", sessions: Sessions = XNYS) -> pd.Series:
    """Equity at the close of consecutive sessions."""
    session, stamps = sessions.on_date(first), []
    assert session is not None
    for _ in values:
        stamps.append(session.close_ns)
        session = sessions.at(session.extended_close_ns)
    return pd.Series(
        values, index=pd.to_datetime(stamps, unit="ns", utc=True).tz_convert(sessions.zone), dtype="float64"
    )


def at(*times: str, zone: str = "America/New_York") -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times).tz_localize(zone)


def test_the_ratios_of_six_returns_are_those_worked_out_by_hand() -> None:
    """Mean 0.005; squared deviations sum to 0.00175; squared losses sum to 0.0005."""
    deviation, downside = sqrt(0.00175 / 5), sqrt(0.0005 / 6)
    assert metrics.volatility(RETURNS, 252) == pytest.approx(deviation * sqrt(252))
    assert metrics.sharpe_ratio(RETURNS, 252) == pytest.approx(0.005 / deviation * sqrt(252))
    assert metrics.sortino_ratio(RETURNS, 252) == pytest.approx(0.005 / downside * sqrt(252))
    sharpe = 0.005 / deviation
    assert metrics.sharpe_stderr(sharpe * sqrt(252), 6, 252) == pytest.approx(sqrt((1 + sharpe**2 / 2) / 6) * sqrt(252))


def test_ratios_of_fewer_than_five_returns_are_not_computed() -> None:
    """Four days say nothing about a year."""
    few = RETURNS.head(4)
    assert metrics.volatility(few, 252) is None
    assert metrics.sharpe_ratio(few, 252) is None
    assert metrics.sortino_ratio(few, 252) is None


def test_ratios_without_variation_or_without_a_loss_are_not_computed() -> None:
    """A division by (almost) zero is no ratio."""
    assert metrics.sharpe_ratio(pd.Series([0.01] * 8), 252) is None
    assert metrics.sharpe_ratio(pd.Series([0.0] * 8), 252) is None
    assert metrics.sortino_ratio(pd.Series([0.01, 0.02] * 4), 252) is None
    assert metrics.volatility(pd.Series([0.0] * 8), 252) == 0
    assert metrics.sharpe_stderr(None, 8, 252) is None


def test_annual_return_compounds_and_needs_about_a_year() -> None:
    """21 % in two years is 10 % a year; a month is not annualized; everything lost is -100 %."""
    assert metrics.annual_return(0.21, 2) == pytest.approx(0.1)
    assert metrics.annual_return(0.21, 1 / 12) is None
    assert metrics.annual_return(None, 2) is None
    assert metrics.annual_return(-1.0, 2) == -1
    assert metrics.annual_return(-1.4, 2) == -1


def test_drawdown_is_measured_from_the_peak_to_its_recovery() -> None:
    """From 110 down to 88 is 20 %; it is made good when 110 is seen again."""
    equity = closes([100, 110, 99, 88, 105, 110, 120, 119])
    found = metrics.deepest(equity)
    assert found is not None
    assert found.depth == pytest.approx(-0.2)
    assert (found.peak, found.trough, found.recovered) == (equity.index[1], equity.index[3], equity.index[5])


def test_a_drawdown_that_lasts_to_the_end_is_not_recovered() -> None:
    """Its end is unknown, so it is None and not the last day."""
    found = metrics.deepest(closes([100, 90, 95]))
    assert found is not None
    assert found.recovered is None


def test_equity_that_never_falls_or_starts_at_nothing_has_no_drawdown() -> None:
    """No fall, no snapshot, no money: no drawdown."""
    assert metrics.deepest(closes([100, 101, 102])) is None
    assert metrics.deepest(closes([])) is None
    assert metrics.deepest(closes([0, 1, -1])) is None


def test_a_drawdown_with_two_snapshots_at_one_instant_is_found_by_place() -> None:
    """Repeated times do not confuse it."""
    equity = pd.Series([100.0, 90.0, 100.0], index=at("2019-02-11 10:00", "2019-02-11 10:00", "2019-02-11 10:00"))
    found = metrics.deepest(equity)
    assert found is not None
    assert found.depth == pytest.approx(-0.1)


def test_calmar_needs_an_annual_return_and_a_drawdown() -> None:
    """10 % a year over a 20 % fall is one half."""
    assert metrics.calmar_ratio(0.1, -0.2) == 0.5
    assert metrics.calmar_ratio(None, -0.2) is None
    assert metrics.calmar_ratio(0.1, 0.0) is None


def test_hit_rate_and_profit_factor_count_profit_after_fees() -> None:
    """Two of four win; 30 made against 15 lost is 2; a trip that made nothing is no win."""
    pnl = pd.Series([10.0, 20.0, -15.0, 0.0])
    assert metrics.hit_rate(pnl) == 0.5
    assert metrics.profit_factor(pnl) == 2
    assert metrics.profit_factor(pnl[pnl > 0]) is None
    assert metrics.hit_rate(pnl.head(0)) is None
    assert metrics.profit_factor(pnl.head(0)) is None


def test_exposure_is_the_share_of_snapshots_and_the_mean_of_gross_over_equity() -> None:
    """Two of four snapshots hold 50 and 100 of 100."""
    equity, gross = pd.Series([100.0] * 4), pd.Series([0.0, 50.0, 100.0, 0.0])
    assert metrics.exposure(gross, equity) == (0.5, 0.375)
    assert metrics.exposure(gross, -equity) == (None, None)


def test_turnover_and_basis_points_of_nothing_are_not_computed() -> None:
    """No equity and no trade leave no denominator."""
    assert metrics.turnover(500, pd.Series([100.0, 150.0])) == 4
    assert metrics.turnover(500, pd.Series(dtype="float64")) is None
    assert metrics.turnover(500, pd.Series([-1.0])) is None
    assert metrics.basis_points(1, 10_000) == 1
    assert metrics.basis_points(1, 0) is None


def test_daily_returns_of_closes_are_the_changes_from_one_close_to_the_next() -> None:
    """One snapshot a session: the first is the start, and 252 sessions are a year."""
    values = [100.0, 101.0, 99.0, 99.0, 104.0]
    found = metrics.daily(closes(values), XNYS)
    assert found.returns.tolist() == pytest.approx(pd.Series(values).pct_change().dropna().tolist())
    assert found.years == 4 / 252
    assert found.per_year == 252
    assert list(found.equity.index) == ["2019-02-11", "2019-02-12", "2019-02-13", "2019-02-14", "2019-02-15"]


def test_the_first_return_starts_at_the_first_snapshot_of_the_day() -> None:
    """With snapshots within the day the first session has a return of its own."""
    times = at("2019-02-11 09:31", "2019-02-11 16:00", "2019-02-12 09:31", "2019-02-12 16:00")
    found = metrics.daily(pd.Series([100.0, 110.0, 120.0, 99.0], index=times), XNYS)
    assert found.returns.tolist() == pytest.approx([0.1, -0.1])
    assert found.years == 2 / 252


def test_nights_weekends_and_holidays_make_no_returns_of_their_own() -> None:
    """A daemon that samples around the clock has five returns a week, not seven."""
    times = pd.date_range("2019-02-14 10:00", "2019-02-20 21:00", freq="h", tz="America/New_York")  # Presidents' Day
    found = metrics.daily(pd.Series(np.linspace(100, 110, len(times)), index=times), XNYS)
    assert list(found.equity.index) == ["2019-02-14", "2019-02-15", "2019-02-19", "2019-02-20"]
    assert found.per_year == 252


def test_a_snapshot_at_the_stroke_of_midnight_belongs_to_the_day_that_ends() -> None:
    """Around the clock a bar stamped at its close, 00:00, is the day before; 365 days are a year."""
    times = at("2024-01-01 12:00", "2024-01-02 00:00", "2024-01-03 00:00", zone="UTC")
    found = metrics.daily(pd.Series([100.0, 101.0, 102.0], index=times), CRYPTO)
    assert list(found.equity.index) == ["2024-01-01", "2024-01-02"]
    assert found.per_year == 365


def test_rarer_snapshots_are_annualized_by_their_own_number() -> None:
    """Every second session: 126 returns a year."""
    found = metrics.daily(closes([100.0 + n for n in range(21)]).iloc[::2], XNYS)
    assert found.per_year == pytest.approx(126)


def test_returns_end_where_everything_is_lost() -> None:
    """Nothing can be earned on nothing: the loss of all is the last return."""
    found = metrics.daily(closes([100, 50, -10, 40, 80]), XNYS)
    assert found.returns.tolist() == pytest.approx([-0.5, -1.2])
    assert found.years == 2 / 252


def test_no_snapshot_and_one_snapshot_have_no_returns() -> None:
    """Neither is an error."""
    for values in ([], [100.0]):
        found = metrics.daily(closes(values), XNYS)
        assert len(found.returns) == 0
        assert found.per_year == 0
        assert metrics.total_return(closes(values)) is None


def test_buy_and_hold_puts_equal_money_in_each_symbol_from_its_first_price() -> None:
    """500 buys 5 A at 100 at once and 10 B at 50 a day later: 5 x 120 + 10 x 55 = 1150 at the end."""
    marks = pd.DataFrame({"A": [100.0, 110.0, 120.0], "B": [np.nan, 50.0, 55.0]})
    assert metrics.buy_and_hold(marks, 1000, []).tolist() == [1000, 1050, 1150]


def test_buy_and_hold_goes_through_splits_and_keeps_dividends() -> None:
    """10 shares at 100 become 20 at 50; 1 dollar on each is 20; the dividend before the first price is not theirs."""
    marks = pd.DataFrame({"A": [100.0, 50.0, 51.0]})
    actions = [metrics.Action(0, "A", 1, 5.0), metrics.Action(1, "A", 2, 0), metrics.Action(2, "A", 1, 1.0)]
    assert metrics.buy_and_hold(marks, 1000, actions).tolist() == [1000, 1000, 1040]


def test_buy_and_hold_of_nothing_is_no_number() -> None:
    """No symbol, or none with a positive first price."""
    assert metrics.buy_and_hold(pd.DataFrame(index=range(2)), 1000, []).isna().all()
    assert metrics.buy_and_hold(pd.DataFrame({"A": [-37.0, 10.0]}), 1000, []).isna().all()
    assert len(metrics.buy_and_hold(pd.DataFrame(), 1000, [])) == 0


@given(st.lists(st.floats(-0.5, 0.5), min_size=5, max_size=60))
def test_sharpe_and_sortino_do_not_depend_on_the_size_of_the_account(changes: list[float]) -> None:
    """Equity times ten: the same returns, drawdown and ratios."""
    equity = closes([100.0, *(100 * np.cumprod(1 + np.array(changes))).tolist()])
    one, ten = metrics.daily(equity, XNYS), metrics.daily(equity * 10, XNYS)
    for formula in (metrics.sharpe_ratio, metrics.sortino_ratio, metrics.volatility):
        first, second = formula(one.returns, one.per_year), formula(ten.returns, ten.per_year)
        assert (first is None) == (second is None)
        assert first is None or isclose(first, second or 0.0, rel_tol=1e-6, abs_tol=1e-9)
    deepest, same = metrics.deepest(equity), metrics.deepest(equity * 10)
    assert (deepest is None) == (same is None)
    assert deepest is None or isclose(deepest.depth, (same or deepest).depth, rel_tol=1e-9, abs_tol=1e-12)
