"""What a strategy asks for when these events come: through the real corridor, under limits that never bind."""

from collections.abc import Iterable
from typing import Any

from engine import Strategy
from engine.events import MINUTE_NS, SECOND_NS, Approved, CancelRequest, Denied, MarketEvent
from engine.run import Run
from tests.runs import OPEN_NS, HeldFeed, configuration, replayed, strategy


def wishes(use: type[Strategy], events: Iterable[MarketEvent], **over: Any) -> tuple[list[str], Run]:
    """Return each order and cancel as `minute:second side qty [limit price][: control]`, and the run as it ended.

    `over` holds the strategy's parameters, and tables of the run such as `broker`.
    """
    tables = {key: over.pop(key) for key in ("broker", "risk") if key in over}
    tree = configuration(HeldFeed.hold(events), strategies=[strategy(use, **over)], **tables)
    records, run = replayed(tree)
    told = []
    for record in records:
        if isinstance(record, Approved | Denied):
            limit = record.intent.limit_price
            told.append(f"{_at(record.ts_event_ns)} {record.intent.side} {record.intent.qty.normalize():f}")
            told[-1] += f" {limit}" if limit is not None else ""
            told[-1] += f": {record.control}" if isinstance(record, Denied) else ""
        elif isinstance(record, CancelRequest):
            told.append(f"{_at(record.ts_event_ns)} cancel")
    return told, run


def _at(ts_ns: int) -> str:
    minutes, rest = divmod(ts_ns - OPEN_NS, MINUTE_NS)
    return f"{minutes}:{rest // SECOND_NS:02}"
