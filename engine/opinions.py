"""What several models think of a symbol now, on one scale."""

from __future__ import annotations

from collections.abc import Iterable

from engine.events import Signal
from engine.rolling import RollingZScore


class Opinions:
    """The last score of each model for each symbol, until it expires.

    Scores are in standard deviations from what is usual for a model, the mean of its last `window` scores of all
    symbols, so that a probability and a return can be added. What a model says before it has said so much counts 0.
    Signals of other models are passed over.
    """

    __slots__ = ("_said", "_usual")

    def __init__(self, models: Iterable[str], window: int) -> None:
        self._usual = {model: RollingZScore(window) for model in models}
        self._said: dict[str, dict[str, tuple[float, int]]] = {}

    def update(self, signal: Signal) -> None:
        """Take in a score."""
        usual = self._usual.get(signal.model)
        if usual is not None:
            score = usual.update(signal.score) or 0.0
            self._said.setdefault(signal.symbol, {})[signal.model] = score, signal.ts_expire_ns

    def fresh(self, symbol: str, now_ns: int) -> dict[str, float]:
        """Return the scores of a symbol that have not expired, by model."""
        said = self._said.get(symbol, {})
        return {model: score for model, (score, until_ns) in said.items() if until_ns > now_ns}
