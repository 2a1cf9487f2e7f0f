"""Errors are named by what the engine does next.

TradingError
    ConfigError              refuse to start, exit 2     unknown key, missing limit, live without confirmation
        PluginError                                      a name that does not lead to a class of the right kind
    ModelError               refuse the model, exit 2    not on the list, tampered with, expired, of other features
    TapeError                refuse to start, exit 2     missing, truncated, of another schema, out of order
    JournalError             refuse to start, exit 2     another account or schema, a broken hash chain
        JournalWriteError    halt trading, exit 74       the disk refused a record: nothing is sent without one
        Divergence           stop and name it, exit 5    a re-run differs from what was recorded
    FeedError                pause, retry
        FeedDecodeError      skip and count              one bad message
        FeedOverrun          halt trading                the inbox is full of events that may not be dropped
    BrokerError              pause, retry
        OrderRefused         tell the strategy           the venue answered no
    ControlError             tell who asked, exit 4      no daemon answers on the control line
    StrategyError            end with exit 3             every strategy was halted by what its own code raised
    InvariantError           exit 70                     our own bug: stop, restart, reconcile

Each class carries its exit code, so one place reacts.
"""

from __future__ import annotations

import difflib
import errno
import json
from collections.abc import Iterable

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What the system says of a disk that is full or broken."""


class TradingError(Exception):
    """Something the engine expects to go wrong in the world outside, with the action it takes."""

    exit_code = 1


class ConfigError(TradingError):
    exit_code = 2


class PluginError(ConfigError):
    pass


class ModelError(TradingError):
    exit_code = 2


class TapeError(TradingError):
    exit_code = 2


class JournalError(TradingError):
    exit_code = 2


class JournalWriteError(JournalError):
    exit_code = 74


class Divergence(JournalError):
    """A re-run produced something else than the journal holds.

    Attributes: `seq`, the record's number from 1; `recorded` and `replayed`, the two JSON lines (`""` for none), which
    `names` calls otherwise where two runs were recorded.
    """

    exit_code = 5

    def __init__(
        self, seq: int, recorded: str, replayed: str, names: tuple[str, str] = ("recorded", "replayed")
    ) -> None:
        lines = (f"\n  {name}: {line or '(nothing)'}" for name, line in zip(names, (recorded, replayed), strict=True))
        super().__init__(f"record {seq} differs{_difference(recorded, replayed)}{''.join(lines)}")
        self.seq, self.recorded, self.replayed = seq, recorded, replayed


class FeedError(TradingError):
    exit_code = 4


class FeedDecodeError(FeedError):
    pass


class FeedOverrun(FeedError):
    exit_code = 3


class BrokerError(TradingError):
    exit_code = 4


class OrderRefused(BrokerError):
    pass


class ControlError(TradingError):
    exit_code = 4


class StrategyError(TradingError):
    exit_code = 3


class InvariantError(TradingError):
    exit_code = 70


def _difference(recorded: str, replayed: str) -> str:
    """Return the keys in which two lines of one kind differ, those of their order too; empty for other lines."""
    try:
        one, other = (json.loads(line) for line in (recorded, replayed))
    except ValueError:
        return ""
    if one.get("event") != other.get("event"):
        return f": {one.get('event')}, {other.get('event')}"
    one, other = ({**record.pop("intent", {}), **record} for record in (one, other))
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return f" in {', '.join(keys)}" if keys else ""


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(wrong, sorted(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
