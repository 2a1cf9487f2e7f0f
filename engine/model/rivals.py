"""Champion and challenger on the same events: both score, one trades, and a scoreboard says who was right.

Each score waits for its horizon; then the return that came is compared with what both had said. Only symbols and bars
that both scored count, so neither gains by keeping silent.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.errors import ModelError
from engine.events import ModelStatus, Signal
from engine.model.backends import Floats
from engine.model.horizon import Horizon, Numbers
from engine.model.scorer import Scorer
from engine.model.states import Due

TELL_EVERY: Final = 1000


class Board:
    """How one model's scores went with the returns that came: sums only, so it costs nothing to keep.

    Attributes:
        count: pairs of a score and a return.
    """

    def __init__(self) -> None:
        self.count = 0
        self._hits = self._paid = 0.0
        self._sums = np.zeros(5)

    def add(self, scores: Numbers, returns: Numbers) -> None:
        """Count scores with what came of them."""
        self.count += len(scores)
        self._hits += float(((scores > 0) == (returns > 0)).sum())
        self._paid += float((np.sign(scores) * returns).sum())
        self._sums += [scores.sum(), returns.sum(), scores @ scores, returns @ returns, scores @ returns]

    @property
    def hit_rate(self) -> float:
        """Share of scores with the sign of the return."""
        return self._hits / self.count if self.count else float("nan")

    @property
    def mean_return(self) -> float:
        """Mean return of following the sign, before costs."""
        return self._paid / self.count if self.count else float("nan")

    @property
    def information_coefficient(self) -> float:
        """Correlation of scores and returns."""
        if self.count < 2:
            return float("nan")
        x, y, xx, yy, xy = self._sums / self.count
        spread = (xx - x * x) * (yy - y * y)
        return float((xy - x * y) / spread**0.5) if spread > 0 else float("nan")

    def __str__(self) -> str:
        ic, hits, mean = self.information_coefficient, self.hit_rate, self.mean_return
        return f"IC {ic:.4f}, hits {hits:.1%}, {mean * 1e4:.2f} bp a score"


class Rivals:
    """A champion's scores beside those of a challenger, whose scores go nowhere else.

    Attributes:
        champion, challenger: the boards.
        counts: passes of the challenger, and those that failed.
    """

    def __init__(self, name: str, champion: Scorer, challenger: Scorer) -> None:
        self.name, self._champion, self._challenger = name, champion, challenger
        self.champion, self.challenger = Board(), Board()
        self.counts = {"challenger_passes": 0, "challenger_failed": 0}
        self._horizon = Horizon(champion.card, champion.symbols)
        self._told = 0

    def take(self, event: Any) -> None:
        """Take in an event of the market."""
        self._challenger.take(event)
        self._horizon.take(event)

    def close(self, due: Due, outputs: Floats) -> list[Signal | ModelStatus]:
        """Score the same instant, count what has come true by now, and return a statement now and then."""
        ours = np.full(len(self._champion.symbols), np.nan)
        theirs = ours.copy()
        ours[due.rows] = self._champion.scores(outputs)
        other = self._challenger.due(due.ts_ns)
        if other is not None:
            self.counts["challenger_passes"] += 1
            try:
                theirs[other.rows] = self._challenger.scores(self._challenger.outputs(other))
            except ModelError:
                self.counts["challenger_failed"] += 1
        if passed := self._horizon.passed():
            came, champion, challenger = np.array(passed).T
            self.champion.add(champion, came)
            self.challenger.add(challenger, came)
        self._horizon.wait(due, np.stack([ours, theirs], axis=1)[due.rows])
        if self.champion.count - self._told < TELL_EVERY:
            return []
        self._told = self.champion.count
        return [ModelStatus(self.name, due.ts_ns, due.ts_ns, "compared", reason=str(self))]

    def __str__(self) -> str:
        return f"{self.champion.count} scores; champion {self.champion}; challenger {self.challenger}"
