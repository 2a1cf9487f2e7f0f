"""Bytes of the protocol: instants, amounts, arrays and frames."""

from __future__ import annotations

from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.alpaca_server.wire import (
    BINARY,
    amount,
    array,
    encode_json,
    encode_msgpack,
    frame,
    instant_ns,
    rfc3339,
    timestamp,
)

INSTANTS = st.integers(0, 2**33 * 10**9)


@given(INSTANTS)
def test_an_instant_reads_back_to_the_nanosecond(ts_ns: int) -> None:
    """RFC 3339 and msgpack's timestamp both keep all nine digits."""
    assert instant_ns(rfc3339(ts_ns)) == ts_ns
    assert msgpack.unpackb(encode_msgpack(timestamp(ts_ns))).to_unix_nano() == ts_ns


@pytest.mark.parametrize(
    ("text", "ts_ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9), ("1970-01-01T00:00:00.5-05:00", 18_000 * 10**9 + 500_000_000),
        ("1970-01-02", 86_400 * 10**9), ("1970-01-01T00:00:01+00:00", 10**9), ("1970-01-01T00:00:01 00:00", 10**9),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
    ],
)  # fmt: skip
def test_every_spelling_of_an_instant_is_read(text: str, ts_ns: int) -> None:
    """Offsets, fractions, dates, and a plus that came as a space."""
    assert instant_ns(text) == ts_ns


@pytest.mark.parametrize("text", ["", "soon", "2019-13-01", "12:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    """A ValueError, which becomes a 400."""
    with pytest.raises(ValueError):
        instant_ns(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9))
def test_an_amount_is_plain_and_exact(value: Decimal) -> None:
    """No exponent, no trailing zeros, the same number."""
    text = amount(value)
    assert text is not None
    assert Decimal(text) == value
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_arrays_of_any_length_are_one_value(count: int) -> None:
    """Both codecs, across the borders of msgpack's three array heads."""
    assert msgpack.unpackb(array([encode_msgpack(7)] * count, packed=True)) == [7] * count
    assert array([encode_json(7)] * min(count, 3), packed=False) == b"[" + b",".join([b"7"] * min(count, 3)) + b"]"


@pytest.mark.parametrize(("size", "head"), [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_frames_have_the_right_head(size: int, head: int) -> None:
    """Final, unmasked, the length in one, two or eight bytes."""
    made = frame(b"x" * size, BINARY)
    assert (made[0], len(made) - size) == (0x82, head)
