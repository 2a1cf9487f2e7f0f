"""Corporate actions out of what vendors publish in their place: split ratios, dividends, adjusted closes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from math import isclose, log
from typing import Any

import pyarrow as pa

from brokers.tape.cells import RowError
from brokers.tape.recipe import LINE
from brokers.tape.schema import columns

_LARGEST_TERM = 100
_ADJUSTED_LARGEST_TERM = 4
_LEAST_DIVIDEND_USD = 0.001
_MOST_DIVIDEND_OF_CLOSE = 0.3
MADE = ("action", "new_shares", "old_shares", "amount_usd")
_KEPT = ("symbol", "ts_event_ns", "ts_recv_ns", "source", LINE)


def split_shares(ratio: float) -> tuple[int, int]:
    """Return (new, old) shares of a ratio that was written as a float: 7.0 is 7 for 1, 0.3333 is 1 for 3.

    Raises:
        RowError: it is no ratio of two numbers up to 100.
    """
    found = Fraction(ratio).limit_denominator(_LARGEST_TERM) if ratio > 0 else Fraction(0)
    if not 0 < found.numerator <= _LARGEST_TERM or not isclose(found, ratio, rel_tol=2e-3):
        raise RowError("split_ratio is not a ratio of two numbers up to 100", ratio)
    return found.numerator, found.denominator


class Actions:
    """Rows of a source, in order of time, made into corporate actions; one row may make none or two.

    With `split_ratio` or `amount_usd` each row is its own ex-date. With `close` and `adj_close`, in which a vendor's
    next file had already discounted what was to come, the ex-date is the symbol's next row, and its unadjusted `open`
    must show the split: vendors announce some a day too early.
    """

    def __init__(self, bad: Callable[[int, str, str], None], notes: Counter[str]) -> None:
        self._bad, self._notes = bad, notes
        self._before: dict[str, Mapping[str, Any]] = {}

    def __call__(self, batch: Any) -> Any:
        """Return a `pyarrow.RecordBatch` of corporate actions, with `line`."""
        if "action" in batch.schema.names:
            return batch
        make = self._from_adjusted if "adj_close" in batch.schema.names else self._from_ratio
        found: list[dict[str, Any]] = []
        for row in batch.to_pylist():
            try:
                found += make(row)
            except RowError as error:
                self._bad(row[LINE], error.reason, error.value)
        kept = [field for field in batch.schema if field.name in _KEPT]
        made = [(column.name, column.arrow_type) for column in columns("corporate_action") if column.name in MADE]
        return pa.RecordBatch.from_pylist(found, schema=pa.schema([*kept, *made]))

    def _from_ratio(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """A split comes before a dividend of the same day, which is then paid on the new shares."""
        ratio = row.get("split_ratio")
        if ratio is not None and ratio != 1:
            yield _split(row, split_shares(ratio))
        amount = Decimal(row.get("amount_usd", "0"))
        if amount < 0:
            raise RowError("amount_usd is negative", amount)
        if amount:
            yield _dividend(row, row["amount_usd"])

    def _from_adjusted(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        before = self._before.get(row["symbol"])
        self._before[row["symbol"]] = row
        if before is None or not before["close"] or not before["adj_close"]:
            return
        close, adjusted, opened = before["close"], before["adj_close"], row["open"]
        ratio = Fraction(close / adjusted).limit_denominator(_ADJUSTED_LARGEST_TERM)
        if ratio != 1 and isclose(close / adjusted, ratio, rel_tol=5e-4):
            if not opened or opened <= 0:
                raise RowError("open is not a price, and so cannot show the split", opened)
            if abs(log(opened / adjusted)) < abs(log(opened / close)):
                yield _split(row, (ratio.numerator, ratio.denominator))
            else:
                self._notes["rows that announced a split which the next open did not show; left out"] += 1
        elif _LEAST_DIVIDEND_USD <= close - adjusted <= _MOST_DIVIDEND_OF_CLOSE * close:
            yield _dividend(row, str(round(close - adjusted, 4)))
        elif abs(close - adjusted) >= _LEAST_DIVIDEND_USD:
            told = f"{before['symbol']} {close} to {adjusted}"
            raise RowError("adj_close before this row means neither a split nor a dividend", told)


def _split(row: Mapping[str, Any], shares: tuple[int, int]) -> dict[str, Any]:
    return {**row, "action": "split", "new_shares": shares[0], "old_shares": shares[1], "amount_usd": "0"}


def _dividend(row: Mapping[str, Any], amount_usd: str) -> dict[str, Any]:
    return {**row, "action": "cash_dividend", "new_shares": 1, "old_shares": 1, "amount_usd": amount_usd}
