"""Averages over the last values, updated in constant time.

A value that is not finite is left out. Running sums are started afresh once every `length` values, so that the rounding
of a bad print or of a long run is gone two windows later.
"""

from __future__ import annotations

from collections import deque
from math import fsum, isfinite, sqrt

NOISE, LEAST_DEVIATION = 1e-11, 1e-12


class RollingMean:
    """The arithmetic mean of the last `length` values; `value` is None until there are that many."""

    __slots__ = ("_age", "_sum", "_values", "length", "value")

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"length {length} is not positive")
        self.length = length
        self.value: float | None = None
        self._values: deque[float] = deque(maxlen=length)
        self._sum, self._age = 0.0, 0

    def update(self, value: float) -> float | None:
        """Take in a value and return the mean, or None while there are too few."""
        if not isfinite(value):
            return self.value
        values, length = self._values, self.length
        if len(values) == length:
            self._sum -= values[0]
        values.append(value)
        self._sum += value
        self._age += 1
        if self._age == length:
            self._sum, self._age = fsum(values), 0
        if len(values) == length:
            self.value = self._sum / length
        return self.value


class RollingZScore:
    """How many standard deviations the latest value lies from the mean of the last `length`.

    `value` is None until there are that many, and 0 when they are equal as far as floats can tell. Source: the
    population standard deviation, from running sums of the deviations from a recent value, which keeps the subtraction
    well conditioned.
    """

    __slots__ = ("_age", "_origin", "_square_sum", "_sum", "_values", "length", "value")

    def __init__(self, length: int) -> None:
        if length < 2:
            raise ValueError(f"length {length} is less than 2")
        self.length = length
        self.value: float | None = None
        self._values: deque[float] = deque(maxlen=length)
        self._origin = self._sum = self._square_sum = 0.0
        self._age = 0

    def update(self, value: float) -> float | None:
        """Take in a value and return its z-score, or None while there are too few."""
        if not isfinite(value):
            return self.value
        values, length = self._values, self.length
        if len(values) == length:
            left = values[0] - self._origin
            self._sum -= left
            self._square_sum -= left * left
        values.append(value)
        self._age += 1
        if self._age == length or len(values) == 1:
            self._start_afresh(value)
        else:
            moved = value - self._origin
            self._sum += moved
            self._square_sum += moved * moved
        if len(values) == length:
            mean, square = self._sum / length, self._square_sum / length
            variance, least = square - mean * mean, LEAST_DEVIATION * value
            varies = variance > NOISE * square + least * least
            self.value = (value - self._origin - mean) / sqrt(variance) if varies else 0.0
        return self.value

    def _start_afresh(self, origin: float) -> None:
        self._origin, self._age = origin, 0
        moved = [value - origin for value in self._values]
        self._sum, self._square_sum = fsum(moved), fsum(one * one for one in moved)
