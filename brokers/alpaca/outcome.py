"""What became of one attempt to send an order, by the submit protocol: accepted, refused, taken, later or unknown.

Only an answer that says no is a no. A time-out, a broken connection, a server's fault or a body that does not read
leave it unknown, and nothing may be sent again before it is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from brokers.alpaca.records import OrderRecord
from brokers.alpaca.rest import Answer, complaint

TAKEN_CODE = 40010001
_decode = msgspec.json.Decoder(OrderRecord).decode


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue has it."""

    record: OrderRecord


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue said no, for good."""

    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Perhaps the venue has it already under this id: look it up, and adopt it if so."""

    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """Not accepted because of the rate limit: the same id may go again."""

    pause_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows."""

    reason: str


Outcome = Accepted | Refused | Taken | Later | Unknown


def classify(answer: Answer, *, is_amendment: bool = False) -> Outcome:
    """Return what an answer to a new order or an amendment means.

    An amendment that is refused as unprocessable has been carried out all the same before now, so it is looked up too.
    """
    status = answer.status
    if 200 <= status < 300:
        try:
            return Accepted(_decode(answer.body))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Unknown(f"HTTP {status} with a body that does not read: {error}")
    code, message = complaint(answer)
    told = f"{status} {message}" if not code else f"{status} {code} {message}"
    if status == 429:
        return Later(answer.pause_s, told)
    if status == 422 and (code == TAKEN_CODE or is_amendment):
        return Taken(told)
    if status in (400, 401, 403, 404, 422):
        return Refused(told)
    return Unknown(told)
