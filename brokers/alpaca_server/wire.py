"""Bytes: instants and amounts as the protocol writes them, the two codecs of the streams, and websocket frames.

The data streams speak msgpack, or JSON when the client did not ask for it; an instant is a msgpack timestamp in one and
an RFC 3339 text in the other, both with nanoseconds. Trading objects carry decimals as strings.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import msgspec

from engine.events import SECOND_NS

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
TIMESTAMP_EXTENSION = -1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

encode_json = msgspec.json.Encoder().encode
encode_msgpack = msgspec.msgpack.Encoder().encode


@lru_cache(maxsize=4096)
def _whole_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(ts_ns: int) -> str:
    """Write an instant in UTC with as many of nine decimals as it needs, as Go's `RFC3339Nano` does."""
    seconds, rest = divmod(ts_ns, SECOND_NS)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{_whole_seconds(seconds)}{fraction}Z"


def instant_ns(text: str) -> int:
    """Read an RFC 3339 instant, or a date as its midnight UTC; nanoseconds are kept.

    Raises:
        ValueError: it is neither.
    """
    # A `+` that nobody escaped arrives as a space; the service takes it too.
    text = text.strip().replace(" ", "+") if "T" in text else text.strip()
    rest = 0
    if "." in text:
        head, _, tail = text.partition(".")
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        rest, text = int(digits[:9].ljust(9, "0") or 0), head + tail[len(digits) :]
    moment = datetime.fromisoformat(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int((aware - EPOCH).total_seconds()) * SECOND_NS + rest


def timestamp(ts_ns: int) -> msgspec.msgpack.Ext:
    """Write an instant as msgpack's timestamp extension in 64 bits: 30 of nanoseconds, 34 of seconds."""
    seconds, rest = divmod(ts_ns, SECOND_NS)
    return msgspec.msgpack.Ext(TIMESTAMP_EXTENSION, struct.pack(">Q", rest << 34 | seconds))


def amount(value: Decimal | None) -> str | None:
    """Write a decimal without exponent and without trailing zeros."""
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def array(messages: Sequence[bytes], *, packed: bool) -> bytes:
    """Join encoded messages to one array, msgpack's or JSON's."""
    if not packed:
        return b"[" + b",".join(messages) + b"]"
    count = len(messages)
    if count < 16:
        return bytes((0x90 | count,)) + b"".join(messages)
    head = struct.pack(">BH", 0xDC, count) if count < 1 << 16 else struct.pack(">BI", 0xDD, count)
    return head + b"".join(messages)


def frame(payload: bytes, opcode: int) -> bytes:
    """Return one unfragmented server-side websocket frame.

    The streams write frames to the transport themselves, so that data leaves in the same step in which the tape moves
    and nothing waits for a slow reader.
    """
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 1 << 16:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + payload
