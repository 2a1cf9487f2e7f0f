"""Splits: no label of a training sample reaches into what the model is judged on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from research import splits


def _samples(instants: int, symbols: int, horizon: int) -> tuple[splits.Ints, splits.Ints]:
    ts = np.repeat(np.arange(instants, dtype=np.int64) * 10, symbols)
    return ts, ts + horizon * 10


def test_sets_follow_each_other_with_nothing_between_but_purge_and_embargo() -> None:
    """100 instants, labels 3 ahead, 2 of embargo: the label of the last that trains ends one bar before the cut."""
    ts, end = _samples(100, 2, 3)
    found = splits.chronological(ts, end, (0.6, 0.2, 0.2), embargo=2)
    assert ts[found.train].max() == 560  # the label of 570 would end at 600, the first of the next set
    assert (ts[found.validation].min(), ts[found.validation].max()) == (600, 760)
    assert (ts[found.test].min(), ts[found.test].max()) == (800, 990)


@given(st.integers(40, 120), st.integers(1, 3), st.integers(1, 6), st.integers(0, 5))
def test_no_training_label_reaches_the_next_set(instants: int, symbols: int, horizon: int, embargo: int) -> None:
    """Whatever the horizon: labels end before the next set begins, and an embargo keeps its distance."""
    ts, end = _samples(instants, symbols, horizon)
    cut = splits.chronological(ts, end, (0.5, 0.25, 0.25), embargo)
    folds = list(splits.walk_forward(ts, end, 20, 10, 0.25, embargo))
    for split in (cut, *folds):
        for before, after in ((split.train, split.validation), (split.validation, split.test)):
            if len(before) and len(after):
                assert end[before].max() < ts[after].min()
                assert ts[before].max() + 10 * embargo < ts[after].min()


def test_the_test_sets_of_a_walk_forward_are_one_history() -> None:
    """Each instant after the first training span is tested once, by a model that was trained before it."""
    ts, end = _samples(100, 2, 1)
    folds = list(splits.walk_forward(ts, end, 40, 20, 0.25))
    tested = np.concatenate([fold.test for fold in folds])
    assert tested.tolist() == list(range(80, 200))
    assert [len(np.unique(ts[np.r_[fold.train, fold.validation]])) for fold in folds] == [38, 38, 38]


def test_an_anchored_walk_forward_forgets_nothing() -> None:
    """Every training set begins at the first instant."""
    ts, end = _samples(100, 2, 1)
    assert all(fold.train[0] == 0 for fold in splits.walk_forward(ts, end, 40, 20, 0.25, anchored=True))


def test_too_few_bars_for_one_fold_are_refused_with_their_number() -> None:
    """One clear line."""
    ts, end = _samples(30, 2, 1)
    with pytest.raises(ConfigError, match="wants 40 bars to train and 20 to test, but there are 30"):
        list(splits.walk_forward(ts, end, 40, 20, 0.25))


@given(st.integers(30, 80), st.integers(1, 5), st.integers(2, 6), st.integers(0, 4))
def test_a_purged_fold_overlaps_no_training_label(instants: int, horizon: int, folds: int, embargo: int) -> None:
    """No label reaches into the test span, and no sample begins before its labels and the embargo are over."""
    ts, end = _samples(instants, 2, horizon)
    seen = []
    for train, test in splits.purged_kfold(ts, end, folds, embargo):
        seen += test.tolist()
        first, last = ts[test].min(), end[test].max()
        before, after = ts[train] < first, ts[train] > ts[test].max()
        assert (end[train][before] < first).all()
        assert (ts[train][after] > last + 10 * embargo).all()
    assert sorted(seen) == list(range(len(ts)))


@pytest.mark.parametrize(("groups", "tested", "counts"), [(6, 2, (15, 5)), (10, 2, (45, 9)), (10, 8, (45, 36))])
def test_combinations_are_as_many_as_published(groups: int, tested: int, counts: tuple[int, int]) -> None:
    """Lopez de Prado (2018), section 12.4; and the splitter yields as many."""
    ts, end = _samples(60, 1, 1)
    assert splits.combination_counts(groups, tested) == counts
    assert sum(1 for _ in splits.purged_combinations(ts, end, groups, tested)) == counts[0]
