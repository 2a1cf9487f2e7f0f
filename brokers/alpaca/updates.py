"""What an event of the order stream means: a fill is the truth, a status a hint, a word we do not know a question.

The same execution is told once, whatever the stream repeats. Where the venue shows more filled than we were told, there
is a hole, and an end of the order waits until it is closed.
"""

from __future__ import annotations

from typing import NamedTuple

from brokers.alpaca.book import Book
from brokers.alpaca.executions import Execution
from brokers.alpaca.records import STATUSES, OrderRecord, UpdateRecord, instant_ns
from engine.events import OrderStatus

STATUS_OF_EVENT: dict[str, OrderStatus] = {
    "new": "accepted", "accepted": "accepted", "held": "held", "canceled": "canceled", "expired": "expired",
    "rejected": "rejected", "replaced": "replaced", "pending_cancel": "pending_cancel",
    "pending_replace": "pending_replace",
}  # fmt: skip
NOT_TOLD = frozenset({"pending_new", "done_for_day", "stopped", "suspended", "calculated"})
EXECUTION_EVENTS = frozenset({"fill", "partial_fill", "trade_bust", "trade_correct"})
REFUSALS = frozenset({"order_cancel_rejected", "order_replace_rejected"})
GROUPS = frozenset({"bracket", "oco", "oto"})
ENDS = frozenset({"canceled", "expired", "rejected", "replaced"})


class FollowUp(NamedTuple):
    """What has to be asked of REST after an event.

    Attributes:
        hole: an order with executions that were not told; its own event is told once they are.
        look_at: an order to be read again, because the event says too little.
        group_of: a member of a group whose other members may have changed without a word.
    """

    hole: OrderRecord | None = None
    look_at: str = ""
    group_of: str = ""


def take(book: Book, update: UpdateRecord) -> FollowUp:
    """Publish what an event says, and return what it leaves open."""
    record, event = update.order, update.event
    order_id = book.ids.ours(record)
    if order_id not in book.intents and book.ids.by_venue(record.id) is None:
        book.count("foreign updates")
        book.log.warning("an order that this run did not send", order=order_id, symbol=record.symbol, event_=event)
    book.ids.learn(record, order_id)
    ts_ns = instant_ns(update.timestamp, record.ts_ns(0))
    if event in ("fill", "partial_fill"):
        _take_fill(book, update, order_id, ts_ns)
    elif event in ("trade_bust", "trade_correct"):
        book.halt(
            f"{event} of execution {update.previous_execution_id} of order {order_id}: books need a person's hand"
        )
    missing = book.missing_qty(record)
    status = STATUS_OF_EVENT.get(event)
    if status == "accepted" and book.is_accepted(order_id):
        status = None  # the answer to its POST said so already
    if missing > 0:
        book.count("holes")
        if status is not None and status not in ENDS:
            book.tell(order_id, status, update.reason or "", ts_ns=ts_ns, venue_id=record.id)
        return FollowUp(hole=record)
    if status is not None:
        book.tell(order_id, status, update.reason or "", ts_ns=ts_ns, venue_id=record.id)
    elif event in REFUSALS:
        book.tell(order_id, STATUSES.get(record.status, "accepted"), event, ts_ns=ts_ns, venue_id=record.id)
    elif event not in STATUS_OF_EVENT and event not in NOT_TOLD and event not in EXECUTION_EVENTS:
        book.count("unknown events")
        book.log.error("an order event that nobody knows", order=order_id, event_=event)
        return FollowUp(look_at=record.id)
    if event == "fill":
        book.tell_filled(record, order_id)
    if event == "rejected" and record.replaces:
        return FollowUp(look_at=record.replaces)
    is_member = (record.order_class or "") in GROUPS
    return FollowUp(group_of=order_id if is_member and (event == "fill" or status in ENDS) else "")


def _take_fill(book: Book, update: UpdateRecord, order_id: str, ts_ns: int) -> None:
    record = update.order
    if not update.qty or update.price is None or not update.execution_id:
        return  # nothing to book; if it was true, the order shows a hole
    one = Execution(order_id, update.execution_id, update.qty, update.price, record.filled_qty or None)
    booked = book.executions.book([one])
    book.awaited.discard(booked[0][0].execution_id)
    book.tell_fills(booked, record.symbol, record.side, ts_ns)
