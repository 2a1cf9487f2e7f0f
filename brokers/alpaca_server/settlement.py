"""What the matching engine answers, applied: order states, the ledger, activities, and the events that tell of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.faults import Faults
from brokers.alpaca_server.ledger import ZERO, Entry, Ledger
from brokers.alpaca_server.order_book import OrderBook
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.venue_order import VenueOrder
from brokers.alpaca_server.wire import amount
from brokers.simulated.order_table import Answer
from engine.events import SECOND_NS, Fill, OrderUpdate

Tell = Callable[[dict[str, Any]], None]
ENDS = {"canceled": "canceled_ns", "expired": "expired_ns", "rejected": "failed_ns", "replaced": "replaced_ns"}


class Settlement:
    """The one writer of orders and ledger.

    Args:
        tell: takes each order event, the order in it as it then is.
    """

    def __init__(
        self, settings: ServerSettings, clock: VenueClock, book: OrderBook, ledger: Ledger, faults: Faults, tell: Tell
    ) -> None:
        self._settings, self._clock, self._book, self._ledger = settings, clock, book, ledger
        self._faults, self._tell = faults, tell
        self.by_engine_id: dict[str, VenueOrder] = {}
        self._waiting: list[VenueOrder] = []

    def apply(self, answers: Sequence[Answer]) -> None:
        """Apply the engine's answers in their order."""
        complete = {
            answer.client_order_id
            for answer in answers
            if isinstance(answer, OrderUpdate) and answer.status == "filled"
        }
        last = {answer.client_order_id: index for index, answer in enumerate(answers) if isinstance(answer, Fill)}
        for index, answer in enumerate(answers):
            order = self.by_engine_id.get(answer.client_order_id)
            if order is None:
                continue
            if isinstance(answer, Fill):
                self.fill(order, answer, complete=order.id in complete and last[answer.client_order_id] == index)
            else:
                self._update(order, answer)

    def _update(self, order: VenueOrder, update: OrderUpdate) -> None:
        status = update.status
        if status == "accepted":
            self._accept(order, update.ts_event_ns)
        elif status == "held":
            order.status = "held"
            self.tell(order, "held", update.ts_event_ns)
        elif status in ENDS and order.is_open:
            if status == "canceled" and update.reason.endswith(" filled") and self._fill_other_leg(order, update):
                return
            self.end(order, status, update.ts_event_ns)

    def _accept(self, order: VenueOrder, ts_ns: int) -> None:
        if order.status not in ("pending_new", "held"):
            return  # back from a refused replacement: nothing has changed
        if order.active_ns > ts_ns:
            order.status = "accepted"
            self._waiting.append(order)
            self.tell(order, "accepted", ts_ns)
            return
        if order.status == "pending_new":
            self.tell(order, "pending_new", ts_ns, execution_id=None)
        order.status = "new"
        self.tell(order, "new", ts_ns)

    def activate(self, now_ns: int) -> None:
        """Let orders that waited for their hours begin to work."""
        due = [one for one in self._waiting if one.active_ns <= now_ns or not one.is_open]
        if due:
            self._waiting = [one for one in self._waiting if one not in due]
            for order in due:
                if order.status == "accepted":
                    order.status = "new"
                    self.tell(order, "new", order.active_ns)

    def end(self, order: VenueOrder, status: str, ts_ns: int) -> None:
        """End an order that has not filled completely, and tell of it."""
        order.status, order.reserved_usd = status, ZERO
        self._book.close(order)
        setattr(order, ENDS[status], ts_ns)
        self.tell(order, status, ts_ns)

    # --- executions ------------------------------------------------------------------------------------------------

    def fill(self, order: VenueOrder, fill: Fill, *, complete: bool = False) -> None:
        """Book an execution, list it and tell of it."""
        ledger, before = self._ledger, self._ledger.position_qty(fill.symbol)
        ledger.fill(fill, fee_in_kind=order.asset_class == "crypto" and self._settings.crypto_fees == "in_kind")
        order.filled_qty += fill.qty
        order.filled_value_usd += fill.qty * fill.price
        order.reserved_usd = max(ZERO, order.reserved_usd - fill.qty * fill.price)
        done = complete or (order.qty is not None and order.left <= 0)
        if done:
            order.status, order.filled_ns, order.reserved_usd = "filled", fill.ts_event_ns, ZERO
            self._book.close(order)
        elif order.is_open and order.status not in ("pending_cancel", "pending_replace"):
            order.status = "partially_filled"
        execution_id = self._book.uuid(f"execution {fill.execution_id}")
        order.executions.append(execution_id)
        self._list_fill(order, fill, execution_id, short=fill.side == "sell" and before <= 0)
        self.tell(
            order, "fill" if done else "partial_fill", fill.ts_event_ns, execution_id=execution_id,
            price=amount(fill.price), qty=amount(fill.qty), position_qty=amount(ledger.position_qty(fill.symbol)),
        )  # fmt: skip
        if "fill" in self._faults.armed:
            self._spoil_fill(order, fill, execution_id)

    def _list_fill(self, order: VenueOrder, fill: Fill, execution_id: str, *, short: bool) -> None:
        done = order.status == "filled"
        listed = (
            execution_id if self._settings.activity_id == "execution" else self._book.uuid(f"activity {execution_id}")
        )
        fields = {
            "cum_qty": amount(order.filled_qty + order.carried_qty), "leaves_qty": amount(max(ZERO, order.left)),
            "price": amount(fill.price), "qty": amount(fill.qty), "side": "sell_short" if short else fill.side,
            "symbol": fill.symbol, "order_id": order.id, "order_status": order.status,
            "type": "fill" if done else "partial_fill",
        }  # fmt: skip
        wait_ns = round(self._settings.activity_wait_s * SECOND_NS)
        listed_ns = self._clock.wall.monotonic_ns() + wait_ns if wait_ns else 0
        self._ledger.entries.append(Entry(fill.ts_event_ns, "FILL", listed, fields, listed_ns))

    def _fill_other_leg(self, order: VenueOrder, update: OrderUpdate) -> bool:
        """Fill a leg that the engine has just ended because its sibling filled, if a fault wants that."""
        armed = self._faults.hit("leg_end", symbol=order.intent.symbol, type=order.intent.type)
        if armed is None:
            return False
        intent, qty = order.intent, order.left
        price = intent.limit_price or intent.stop_price
        if price is None or qty <= 0:
            return False
        self.fill(order, self._made(order, intent.side, qty, price, update.ts_event_ns))
        return True

    def _made(self, order: VenueOrder, side: Any, qty: Decimal, price: Decimal, ts_ns: int) -> Fill:
        number = len(order.executions) + 1
        return Fill(f"{order.id}/made/{number}", order.id, order.intent.symbol, side, qty, price, ZERO, ts_ns, ts_ns)

    def _spoil_fill(self, order: VenueOrder, fill: Fill, execution_id: str) -> None:
        """Bust an execution, or correct its price, as the venue may do afterwards."""
        armed = self._faults.hit("fill", symbol=fill.symbol, side=fill.side)
        if armed is None:
            return
        event = "trade_bust" if armed.kind == "fill_bust" else "trade_correct"
        self._ledger.reverse(fill)
        order.filled_qty -= fill.qty
        order.filled_value_usd -= fill.qty * fill.price
        price = fill.price
        if event == "trade_correct":
            price = Decimal(str(armed.params.get("price", fill.price)))
            self._ledger.fill(msgspec.structs.replace(fill, price=price))
            order.filled_qty += fill.qty
            order.filled_value_usd += fill.qty * price
        self.tell(
            order, event, fill.ts_event_ns, execution_id=self._book.uuid(f"{event} {execution_id}"),
            previous_execution_id=execution_id, price=amount(price), qty=amount(fill.qty),
            position_qty=amount(self._ledger.position_qty(fill.symbol)),
        )  # fmt: skip

    # --- telling ---------------------------------------------------------------------------------------------------

    def tell(self, order: VenueOrder, event: str, ts_ns: int, **fields: str | None) -> None:
        """Tell of an order event, unless the venue is silent about its kind."""
        order.updated_ns = max(order.updated_ns, ts_ns)
        if event in self._settings.silent_events:
            return
        number = f"{event} {order.id} {order.updated_ns}"
        update: dict[str, Any] = {
            "event": event, "execution_id": self._book.uuid(number), "timestamp": self._clock.text(ts_ns),
            **fields, "order": order.shown(self._clock, nested=True),
        }  # fmt: skip
        if self._settings.event_ids:
            update |= {"event_id": self._book.uuid(f"event {number}"), "at": self._clock.text(ts_ns)}
        self._tell(update)

    def register(self, orders: Iterable[VenueOrder]) -> None:
        """Know the orders by the ids that the engine answers with."""
        for order in orders:
            self.by_engine_id[order.intent.client_order_id] = order
