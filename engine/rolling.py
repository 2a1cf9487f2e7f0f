"""Averages over the last values, updated in constant time."""

from __future__ import annotations

from collections import deque
from math import sqrt


class RollingMean:
    """The arithmetic mean of the last `length` values; `value` is None until there are that many."""

    __slots__ = ("_sum", "_values", "length", "value")

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"length {length} is not positive")
        self.length = length
        self.value: float | None = None
        self._values: deque[float] = deque(maxlen=length)
        self._sum = 0.0

    def update(self, value: float) -> float | None:
        """Take in a value and return the mean, or None while there are too few."""
        values = self._values
        if len(values) == self.length:
            self._sum -= values[0]
        values.append(value)
        self._sum += value
        if len(values) == self.length:
            self.value = self._sum / self.length
        return self.value


class RollingZScore:
    """How many standard deviations the latest value lies from the mean of the last `length`.

    `value` is None until there are that many, and 0 when they are all equal. Source: the population standard deviation,
    from running sums of the deviations from the first value seen, which keeps the subtraction well conditioned.
    """

    __slots__ = ("_origin", "_square_sum", "_sum", "_values", "length", "value")

    def __init__(self, length: int) -> None:
        if length < 2:
            raise ValueError(f"length {length} is less than 2")
        self.length = length
        self.value: float | None = None
        self._values: deque[float] = deque(maxlen=length)
        self._origin = self._sum = self._square_sum = 0.0

    def update(self, value: float) -> float | None:
        """Take in a value and return its z-score, or None while there are too few."""
        values = self._values
        if not values:
            self._origin = value
        elif len(values) == self.length:
            left = values[0]
            self._sum -= left
            self._square_sum -= left * left
        moved = value - self._origin
        values.append(moved)
        self._sum += moved
        self._square_sum += moved * moved
        if len(values) == self.length:
            mean = self._sum / self.length
            variance = self._square_sum / self.length - mean * mean
            self.value = (moved - mean) / sqrt(variance) if variance > 1e-18 else 0.0
        return self.value
