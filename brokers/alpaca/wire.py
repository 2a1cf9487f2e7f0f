"""The messages of Alpaca's market-data streams as structs, and the instants in them.

One decoder reads a whole msgpack frame, an array of maps that name their kind under `T`. Instants are the msgpack
timestamp extension and stay nanoseconds; a REST answer writes the same fields with RFC 3339 texts. A field that we do
not know is skipped; a kind that we do not know makes the frame fall to `frames`' slow path, where it is counted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.msgpack import Ext

from engine.events import SECOND_NS

_TIMESTAMP = -1

# Checked while decoding, in C: no price is zero, negative, infinite or not a number, whatever a frame says.
Price = Annotated[float, Meta(gt=0, lt=1e15)]
SidePrice = Annotated[float, Meta(ge=0, lt=1e15)]
Size = Annotated[float, Meta(ge=0, lt=1e18)]


class Message(msgspec.Struct, tag_field="T", frozen=True, gc=False):
    """What every message of a stream has in common: its kind under `T`."""


class BarMessage(Message, tag="b", frozen=True, gc=False):
    """A minute, stamped at its open. The order of the fields is that on the wire, which decodes fastest."""

    S: str
    o: Price
    h: Price
    l: Price  # noqa: E741  # Alpaca's own name
    c: Price
    v: Size
    t: Ext
    n: int | None = 0
    vw: float | None = None


class UpdatedBarMessage(BarMessage, tag="u", frozen=True, gc=False):
    """The same minute again after late trades."""


class DailyBarMessage(BarMessage, tag="d", frozen=True, gc=False):
    """The day so far."""


class TradeMessage(Message, tag="t", frozen=True, gc=False):
    """A print. `x` is the exchange, `tks` the taker's side in crypto; `c` is a text in options."""

    S: str
    p: Price
    s: Size
    t: Ext
    i: int | str = 0
    x: str = ""
    c: list[str] | str | None = None
    tks: str = ""


class QuoteMessage(Message, tag="q", frozen=True, gc=False, rename={"ask_size": "as"}):
    """The best bid and ask; a price of 0 means that the side is empty."""

    S: str
    bp: SidePrice
    bs: Size
    ap: SidePrice
    ask_size: Size
    t: Ext


class StatusMessage(Message, tag="s", frozen=True, gc=False):
    """A halt or its end: code and reason as the tape (`z`) has them."""

    S: str
    sc: str
    t: Ext
    sm: str = ""
    rc: str = ""
    rm: str = ""
    z: str = ""


class BandMessage(Message, tag="l", frozen=True, gc=False):
    """Limit-up (`u`) and limit-down (`d`) prices."""

    S: str
    u: SidePrice
    d: SidePrice
    t: Ext


class CorrectionMessage(Message, tag="c", frozen=True, gc=False):
    """A print that was corrected: `oi op os` became `ci cp cs`."""

    S: str
    oi: int | str
    op: SidePrice
    ci: int | str
    cp: SidePrice
    cs: Size
    t: Ext
    x: str = ""


class CancelMessage(Message, tag="x", frozen=True, gc=False):
    """A print that was canceled (`a` is C) or was an error (E)."""

    S: str
    i: int | str
    p: SidePrice
    s: Size
    t: Ext
    x: str = ""
    a: str = ""


class NewsMessage(Message, tag="n", frozen=True, gc=False):
    """An article; an update of it comes with the same `id` and a newer `updated_at`."""

    id: int
    headline: str
    created_at: Ext
    updated_at: Ext
    symbols: list[str] = []
    author: str = ""
    summary: str = ""
    url: str = ""
    source: str = ""


class SuccessMessage(Message, tag="success", frozen=True, gc=False):
    """`connected` or `authenticated`."""

    msg: str


class ErrorMessage(Message, tag="error", frozen=True, gc=False):
    """A refusal by number, see `refusals`."""

    code: int
    msg: str = ""


class SubscriptionMessage(Message, tag="subscription", frozen=True, gc=False):
    """The complete list of what is subscribed, after a change."""

    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []
    updatedBars: list[str] = []  # noqa: N815  # Alpaca's own name
    dailyBars: list[str] = []  # noqa: N815  # Alpaca's own name
    statuses: list[str] = []
    lulds: list[str] = []
    news: list[str] = []


StreamMessage = (
    BarMessage | TradeMessage | QuoteMessage | UpdatedBarMessage | DailyBarMessage | StatusMessage | BandMessage
    | CorrectionMessage | CancelMessage | NewsMessage | SuccessMessage | ErrorMessage | SubscriptionMessage
)  # fmt: skip


class Kind(msgspec.Struct, tag_field=None):
    """Only the kind of a message, to tell an unknown one from a malformed one."""

    T: str = ""


def extension_ns(instant: Ext) -> int:
    """Return the nanoseconds of a msgpack timestamp in any of its three lengths.

    Raises:
        ValueError: it is another extension.
    """
    data = bytes(instant.data)
    size = len(data)
    if instant.code == _TIMESTAMP:
        if size == 8:
            both = int.from_bytes(data, "big")
            return (both & 0x3FFFFFFFF) * SECOND_NS + (both >> 34)
        if size == 4:
            return int.from_bytes(data, "big") * SECOND_NS
        if size == 12:
            return int.from_bytes(data[4:], "big", signed=True) * SECOND_NS + int.from_bytes(data[:4], "big")
    raise ValueError(f"extension {instant.code} of {size} bytes is no timestamp")


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|z|[+-]\d\d:\d\d)")


def parse_ns(text: str) -> int:
    """Return the nanoseconds UTC of an RFC 3339 text with up to nine digits of a second and any offset.

    Raises:
        ValueError: it is no such text.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no RFC 3339 time")
    day, clock, fraction, zone = found.groups()
    whole = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    return int(whole.timestamp()) * SECOND_NS + int((fraction or "").ljust(9, "0"))


def format_ns(ts_ns: int) -> str:
    """Return an instant as RFC 3339 in UTC with nine digits of a second."""
    seconds, rest = divmod(ts_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
