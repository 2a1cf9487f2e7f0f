"""One column of somebody else's values made into a column of a tape: numbers, texts and instants.

Every function takes a whole column and raises `RowError` when any of it does not convert; from a column of one value
the error names that value.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from brokers.tape.schema import Column
from engine.clock import Session, Sessions
from engine.errors import ConfigError
from engine.events import SECOND_NS

_UNIT_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": SECOND_NS}
TIME_UNITS = (*_UNIT_NS, "iso", "date")
_LONGEST_CLOSURE_DAYS = 15
STAMPS = ("start", "open", "close", "next_open")
_EARLIEST_NS, _LATEST_NS = 315_532_800 * SECOND_NS, 4_102_444_800 * SECOND_NS  # 1980 and 2100


class RowError(ValueError):
    """At least one of the rows does not convert; `value` is the culprit where a row is alone."""

    def __init__(self, reason: str, value: object = None) -> None:
        super().__init__(reason)
        self.reason, self.value = reason, "" if value is None else str(value)


def array(values: Any) -> Any:
    """Return values as they were read as an Arrow array."""
    if isinstance(values, pa.Array):
        return values
    try:
        return pa.array(values)
    except (pa.ArrowException, UnicodeError, OverflowError):
        raise RowError("not UTF-8 text, or a column of several kinds", repr(values[0])) from None


def convert(column: Column, values: Any) -> Any:
    """Return values as a column of the tape wants them."""
    if column.annotation in (int, float, float | None):
        found = numbers(column.name, values, column.arrow_type)
        if not column.nullable:
            refuse_empty(column.name, found)
        return found
    if column.annotation is bool:
        return _cast(column.name, text(values), pa.bool_(), "true or false").fill_null(False)
    if column.annotation is Decimal:
        return _amounts(column.name, text(values).fill_null("0"))
    found = text(values)
    if column.choices:
        _require(column.name, pc.is_in(found, pa.array(column.choices)), found, f"one of {', '.join(column.choices)}")
    if column.required:
        refuse_empty(column.name, found)
    if column.annotation == tuple[str, ...]:
        found = pc.replace_substring_regex(found, r"[,;\s]+", ";")
    return found.fill_null("")


def numbers(name: str, values: Any, kind: Any) -> Any:
    """Return numbers, each of them finite or missing."""
    found = _cast(name, _trimmed(values), pa.float64(), "a number")
    _require(name, pc.is_finite(found), values, "finite")
    return _cast(name, found, kind, "a whole number")


def text(values: Any) -> Any:
    """Return texts, each on one line and null when empty; the items of a list are parted by `;`."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = pc.binary_join(values.cast(pa.list_(pa.string())), ";")
    return pc.replace_substring_regex(_trimmed(_cast("a cell", values, pa.string(), "text")), r"\s*[\r\n]+\s*", " ")


def refuse_empty(name: str, values: Any) -> None:
    """Raise RowError when a value is missing."""
    if values.null_count:
        raise RowError(f"{name} is empty")


def instants(name: str, values: Any, unit: str, form: str, zone: str) -> Any:
    """Return int64 nanoseconds of integers counted in `unit`, or of ISO times; local ones are those of `zone`."""
    if unit == "iso":
        times = values if pa.types.is_timestamp(values.type) else _timestamps(name, text(values), form, zone)
        if times.type.tz is None:
            times = _located(name, times.cast(pa.timestamp("ns")), zone)
        found = times.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    else:
        whole = _cast(name, _trimmed(values), pa.int64(), f"a whole number of {unit}")
        noun = f"a number of {unit} that fits 64 bits as ns"
        found = _tried(name, values, lambda: pc.multiply_checked(whole, _UNIT_NS[unit]), noun)
    plausible = pc.and_(pc.greater(found, _EARLIEST_NS), pc.less(found, _LATEST_NS))
    _require(name, plausible, values, f"between 1980 and 2100 when read as {unit}")
    return found


def session_instants(name: str, values: Any, sessions: Sessions, stamp: str) -> tuple[Any, Any]:
    """Return for dates the instants that `stamp` means, and how long the regular sessions are, in ns.

    `start` is when the extended hours begin, so that what holds from a day on comes before that day's first quote.
    """
    dates = text(values)
    refuse_empty(name, dates)
    encoded = dates.dictionary_encode()
    found = [_session(name, day, sessions, stamp) for day in encoded.dictionary.to_pylist()]
    fields = {"start": "extended_open_ns", "open": "open_ns", "close": "close_ns", "next_open": "open_ns"}
    at = [getattr(session, fields[stamp]) for session in found]
    lengths = [session.close_ns - session.open_ns for session in found]
    return pa.array(at, pa.int64()).take(encoded.indices), pa.array(lengths, pa.int64()).take(encoded.indices)


def _session(name: str, text: str, sessions: Sessions, stamp: str) -> Session:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise RowError(f"{name} is not a date such as 2019-02-11", text) from None
    days = range(1, _LONGEST_CLOSURE_DAYS) if stamp == "next_open" else (0,)
    for later in days:
        session = sessions.on_date((day + timedelta(days=later)).isoformat())
        if session is not None:
            return session
    raise RowError(f"{name} is not a session of {sessions.calendar}", text)


def _timestamps(name: str, texts: Any, form: str, zone: str) -> Any:
    if form:
        return _tried(name, texts, lambda: pc.strptime(texts, form, "ns"), f"a time written as {form}")
    _require(name, pc.greater(pc.utf8_length(texts), 10), texts, "a time; for a date alone say --time-unit date")
    if zone:
        return _tried(name, texts, lambda: texts.cast(pa.timestamp("ns")), "an ISO time without an offset")
    noun = "an ISO time with its offset (--time-zone says where local times are from, --time-unit what numbers count)"
    return _tried(name, texts, lambda: texts.cast(pa.timestamp("ns", "UTC")), noun)


def _located(name: str, times: Any, zone: str) -> Any:
    if not zone:
        raise ConfigError(f"{name} holds local times; say of where with --time-zone, such as America/New_York or UTC")
    noun = f"a time that was once, and only once, on the clocks of {zone}"
    return _tried(name, times, lambda: pc.assume_timezone(times, zone), noun)


def _amounts(name: str, texts: Any) -> Any:
    for amount in texts.to_pylist():
        try:
            finite = Decimal(amount).is_finite()
        except InvalidOperation:
            finite = False
        if not finite:
            raise RowError(f"{name} is not an amount", amount)
    return texts


def _trimmed(values: Any) -> Any:
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return values
    values = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)


def _cast(name: str, values: Any, kind: Any, noun: str) -> Any:
    return _tried(name, values, lambda: values.cast(kind), noun)


def _tried(name: str, values: Any, function: Callable[[], Any], noun: str) -> Any:
    try:
        return function()
    except pa.ArrowException:
        raise RowError(f"{name} is not {noun}", values[0]) from None


def _require(name: str, holds: Any, values: Any, noun: str) -> None:
    if pc.all(holds).as_py() is False:
        raise RowError(f"{name} is not {noun}", values[0])
