"""Cutting time so that nothing a model is tested on was known, or is told by overlap, when it was trained.

A sample stands at the close `ts_ns`, and its label is known at `end_ns`, later. **Purging** leaves out of training what
has a label that reaches into a test span; the **embargo** also leaves out what follows it closely, because what
happens after a test span still echoes it. Everything goes by time, never by row, since symbols share their instants.

Source: Lopez de Prado, M. (2018), Advances in Financial Machine Learning, chapters 7 and 12.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.errors import ConfigError

Ints = npt.NDArray[np.int64]


class Split(NamedTuple):
    """Rows of three sets, in the order of time."""

    train: Ints
    validation: Ints
    test: Ints


def chronological(ts_ns: Ints, end_ns: Ints, shares: tuple[float, float, float], embargo: int = 0) -> Split:
    """Cut the instants into train, validation and test by shares of their number."""
    instants = np.unique(ts_ns)
    first, second = (round(len(instants) * share) for share in (shares[0], shares[0] + shares[1]))
    return _cut(ts_ns, end_ns, instants, (0, first, second, len(instants)), embargo)


def walk_forward(
    ts_ns: Ints, end_ns: Ints, train: int, test: int, validation: float, embargo: int = 0, *, anchored: bool = False
) -> Iterator[Split]:
    """Train on `train` instants, test on the next `test`, move on by `test`; `validation` is the train's last share.

    Each test set follows the one before, so together they are one history that no model had seen. Anchored, every
    training set begins at the first instant.

    Raises:
        ConfigError: there are too few instants for one fold.
    """
    instants = np.unique(ts_ns)
    if len(instants) < train + test // 2 + 1:
        raise ConfigError(
            f"walk_forward wants {train} bars to train and {test} to test, but there are {len(instants)} with a label"
        )
    for start in range(train, len(instants) - test // 2, test):
        first = 0 if anchored else start - train
        held = start - round((start - first) * validation)
        yield _cut(ts_ns, end_ns, instants, (first, held, start, min(start + test, len(instants))), embargo)


def purged_kfold(ts_ns: Ints, end_ns: Ints, folds: int, embargo: int = 0) -> Iterator[tuple[Ints, Ints]]:
    """Yield (train, test): each of `folds` spans of time once as the test, all that does not touch it as the train."""
    yield from ((train, test) for _, train, test in purged_combinations(ts_ns, end_ns, folds, 1, embargo))


def purged_combinations(
    ts_ns: Ints, end_ns: Ints, groups: int, tested: int, embargo: int = 0
) -> Iterator[tuple[tuple[int, ...], Ints, Ints]]:
    """Yield (groups, train, test) for every choice of `tested` among `groups` spans of time."""
    instants = np.unique(ts_ns)
    bounds = np.linspace(0, len(instants), groups + 1).astype(int)
    place = np.searchsorted(instants, ts_ns)
    group = np.searchsorted(bounds, place, side="right") - 1
    for chosen in combinations(range(groups), tested):
        test = np.isin(group, chosen)
        train = ~test
        for part in chosen:
            rows = group == part
            begins, decided = int(ts_ns[rows].min()), int(end_ns[rows].max())
            overlaps = (end_ns >= begins) & (ts_ns <= decided)
            after = np.searchsorted(instants, decided, side="right")
            quiet = (place >= bounds[part + 1]) & (place < after + embargo)
            train &= ~overlaps & ~quiet
        yield chosen, np.flatnonzero(train), np.flatnonzero(test)


def combination_counts(groups: int, tested: int) -> tuple[int, int]:
    """Return how many splits combinatorial purged cross-validation has, and how many whole paths they make."""
    splits = comb(groups, tested)
    return splits, splits * tested // groups


def _cut(ts_ns: Ints, end_ns: Ints, instants: Ints, bounds: tuple[int, int, int, int], embargo: int) -> Split:
    """Cut at four places among the instants: each set ends before, by label and embargo, the next one begins."""
    place = np.searchsorted(instants, ts_ns)
    sets = []
    for number, (first, last) in enumerate(pairwise(bounds)):
        rows = (place >= first) & (place < last)
        if number < 2 and last < len(instants):
            rows &= (end_ns < instants[last]) & (place < last - embargo)
        sets.append(np.flatnonzero(rows))
    return Split(*sets)
