"""Every trial on a tape, written down: a result is worth the less the more were tried before it.

One JSON line a trial: what it was (a hash), on which tape it was judged, and what its book earned there, period by
period. The same trial again does not count twice; its last line is the one that is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from engine.errors import ConfigError
from research import overfitting
from research.evaluate import History
from research.overfitting import Moments

BLOCKS = 16


class Trial(msgspec.Struct, frozen=True):
    """One line of the ledger. `returns` are after costs, one a period from `span_ns[0]` to `span_ns[1]`."""

    trial_sha256: str
    tape_sha256: str
    name: str
    created_utc: str
    span_ns: tuple[int, int]
    returns: tuple[float, ...]


class Luck(NamedTuple):
    """How much of a result the number of trials explains.

    Attributes:
        trials: how many different ones were judged on this tape, this one included.
        probabilistic, deflated: probability that the true Sharpe ratio is above zero, alone and as the best of all.
        expected_best: ratio, per period, that the best of so many worthless ones would show.
        overfitting: probability that the best trial of one half of time is below the median in the other, or None
            where fewer than two trials cover the same periods.
        track_record: periods that it takes to be 95 % sure of this ratio.
    """

    trials: int
    found: Moments
    probabilistic: float
    deflated: float
    expected_best: float
    overfitting: float | None
    track_record: float


def write(path: Path, trial: Trial) -> None:
    """Append a trial.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(trial) + b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name another file in `ledger`, and go on with --resume") from None


def read(path: Path, tape_sha256: str) -> list[Trial]:
    """Return the trials on a tape, the last of each.

    Raises:
        ConfigError: a line does not read.
    """
    if not path.exists():
        return []
    found: dict[str, Trial] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            trial = msgspec.json.decode(line, type=Trial)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}:{number}: no line of a ledger of trials: {error}") from None
        if trial.tape_sha256 == tape_sha256:
            found[trial.trial_sha256] = trial
    return list(found.values())


def judge(history: History, others: list[Trial]) -> Luck:
    """Judge a history by its length, its shape and the other trials on the same tape."""
    found = overfitting.moments(history.after)
    ratios = [overfitting.moments(np.array(trial.returns)).sharpe for trial in others] + [found.sharpe]
    variance = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    if found.length < 3:
        return Luck(len(ratios), found, 0.5, 0.5, 0.0, None, float("inf"))
    return Luck(
        len(ratios),
        found,
        overfitting.probabilistic_sharpe(found),
        overfitting.deflated_sharpe(found, len(ratios), variance),
        overfitting.expected_maximum_sharpe(len(ratios), variance),
        _overfitting(history, others),
        overfitting.minimum_track_record(found),
    )


def _overfitting(history: History, others: list[Trial]) -> float | None:
    span_ns = (int(history.ts_ns[0]), int(history.ts_ns[-1]))
    alike = [trial for trial in others if trial.span_ns == span_ns and len(trial.returns) == len(history.after)]
    if not alike or len(history.after) < 2 * BLOCKS:
        return None
    returns = np.column_stack([history.after, *(np.array(trial.returns) for trial in alike)])
    return overfitting.overfitting_probability(returns, BLOCKS)
