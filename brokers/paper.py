"""The simulated venue: approved orders go in, fills and updates come out, in simulated time.

Here orders arrive and meet market events; the rest stands in `brokers.simulated`. Which price an event gives is decided
in its `matching`, how much of it in `execution`, what that costs in `fees`; what becomes of an order otherwise in
`order_table`. None of these knows the engine: a replay, a paper session and a local Alpaca-compatible server stand in
front of the same venue. Its rules are numbered in `docs/paper_fills.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

from brokers.simulated.admission import AUCTIONS, Admission
from brokers.simulated.conditions import Conditions
from brokers.simulated.execution import notional_qty, part, slipped, stamp
from brokers.simulated.fees import FeeModel
from brokers.simulated.hours import Hours
from brokers.simulated.matching import FillModel, Seen, Where, at_auction
from brokers.simulated.models import PLUGGABLE, fee_model, fill_model, slippage_model
from brokers.simulated.order_table import Answer, OrderTable
from brokers.simulated.settings import PaperSettings
from brokers.simulated.slippage import SlippageModel
from brokers.simulated.wire import Wire
from brokers.simulated.working_order import Offer, WorkingOrder
from engine.clock import Sessions
from engine.errors import InvariantError
from engine.events import (
    NEVER_NS,
    Approved,
    Bar,
    CorporateAction,
    Fill,
    OrderStatus,
    OrderUpdate,
    Quote,
    Status,
    Trade,
    exact,
)  # fmt: skip
from engine.ports import Account

IMMEDIATE: Final = frozenset({"ioc", "fok"})


class PaperBroker:
    """A venue that lives inside the run and answers in simulated time.

    Args:
        settings: every option.
        sessions: the trading calendar; around the clock means crypto.
        account: the customer's book, asked when an order arrives.
        seed: of the latency's jitter.
        fees, slippage, fills: models to use instead of those that the settings name.

    Attributes:
        due_ns: when `advance` has something to say next.
        working: the orders that the next event of a symbol may fill, in order of arrival.

    Raises:
        ConfigError: the settings name a model that is not built in, or give it a wrong parameter.
    """

    Settings: ClassVar[type[PaperSettings]] = PaperSettings
    pluggable: ClassVar[Any] = PLUGGABLE
    simulated: ClassVar[bool] = True

    def __init__(
        self, settings: PaperSettings, *, sessions: Sessions, account: Account, seed: int,
        fees: FeeModel | None = None, slippage: SlippageModel | None = None, fills: FillModel | None = None,
        hours: Hours | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.due_ns = NEVER_NS
        self._crypto = sessions.always_open
        self._fees = fees or fee_model(settings, crypto=self._crypto)
        self._slippage = slippage or slippage_model(settings)
        self._fills = fills or fill_model(settings, crypto=self._crypto)
        self._hours = hours or Hours(sessions)
        self._conditions = Conditions(settings, self._hours)
        self._wire = Wire(
            round(settings.latency_ms * 1e6), settings.latency_jitter_ms * 1e6, settings.latency_jitter_sigma, seed
        )  # fmt: skip
        self._table = OrderTable(self._hours, round(settings.close_grace_s * 1e9))
        self._admission = Admission(settings, account, self._table, self._hours, crypto=self._crypto)
        self._open_grace_ns = round(settings.open_grace_ms * 1e6)
        self._arrivals = 0
        self.working = self._table.working

    # --- the port --------------------------------------------------------------------------------------------------

    def submit(self, approved: Approved) -> None:
        if approved.reference == "quote":
            self._conditions.quoted_at(approved.intent.symbol, approved.ts_event_ns)
        arrival_ns = self._wire.send(approved.ts_event_ns, approved)
        if arrival_ns < self.due_ns:
            self.due_ns = arrival_ns

    def cancel(self, client_order_id: str, ts_ns: int) -> None:
        self.due_ns = min(self.due_ns, self._wire.send(ts_ns, client_order_id))

    def advance(self, now_ns: int) -> Sequence[Answer]:
        out: list[Answer] = []
        wire, table = self._wire, self._table
        while True:
            if table.due_ns <= wire.due_ns:
                if table.due_ns > now_ns:
                    break
                for order in table.overdue():
                    self._expire(order, out)
                table.sweep_all()
            elif wire.due_ns > now_ns:
                break
            else:
                ts_ns, message = wire.take()
                if isinstance(message, str):
                    table.cancel(message, ts_ns, out)
                else:
                    self._arrive(message, ts_ns, out)
        self.due_ns = min(table.due_ns, wire.due_ns)
        return out

    def match(self, event: Bar | Quote | Trade) -> Sequence[Answer]:
        orders = self.working.get(event.symbol)
        offer = self._conditions.offer(event) if orders else None
        if orders is None or offer is None:
            return ()
        out: list[Answer] = []
        for order in orders:  # grows while it is read: a parent's fill adds its legs
            if order.done:
                continue
            if order.expire_ns <= offer.first_ns:
                self._expire(order, out)
            elif order.arrival_ns < offer.last_ns and (offer.extended if order.extended else offer.regular):
                self._meet(order, offer, out)
        if out:
            self._table.sweep(event.symbol, orders)
        return out

    def notice(self, event: Status | CorporateAction) -> Sequence[Answer]:
        if isinstance(event, Status):
            self._conditions.take(event)
            return ()
        if event.action == "cash_dividend":
            return ()
        if event.action == "split":
            reason = f"{event.new_shares}-for-{event.old_shares} split: open orders are canceled, never scaled"
        else:
            reason = f"{event.symbol} has become {event.new_symbol}"
        ts_ns = min(event.ts_event_ns, event.ts_recv_ns)
        out: list[Answer] = []
        self._table.cancel_symbol(event.symbol, ts_ns, reason, out)
        for approved in self._wire.drop(event.symbol):
            for intent in (approved.intent, *approved.intent.legs()):
                out += [OrderUpdate(intent.client_order_id, "canceled", ts_ns, ts_ns, reason)]
        return out

    # --- arrivals --------------------------------------------------------------------------------------------------

    def _arrive(self, approved: Approved, ts_ns: int, out: list[Answer]) -> None:
        intent, table = approved.intent, self._table
        if intent.client_order_id in table.open:
            raise InvariantError(f"order id {intent.client_order_id} is open at the venue already")
        self._arrivals += 1
        order = WorkingOrder(intent, ts_ns, table.expiry(intent, ts_ns), f"paper-{self._arrivals}")
        replaced = table.open.get(intent.replaces) if intent.replaces else None
        verdict = self._admission.judge(approved, order, replaced)
        if verdict.refusal:
            self._reject(order, replaced, verdict.refusal, out)
            return
        order.most, order.reserved_usd = verdict.most, verdict.cost_usd
        table.accept(order, replaced, out)

    def _reject(self, order: WorkingOrder, replaced: WorkingOrder | None, reason: str, out: list[Answer]) -> None:
        ts_ns = order.arrival_ns
        out.append(OrderUpdate(order.id, "rejected", ts_ns, ts_ns, reason, order.broker_id))
        if replaced is not None:
            status: OrderStatus = "held" if replaced.held else "partially_filled" if replaced.filled else "accepted"
            reason = "its replacement was rejected"
            out.append(OrderUpdate(replaced.id, status, ts_ns, ts_ns, reason, replaced.broker_id))
        for leg in order.intent.legs():
            out += [OrderUpdate(leg.client_order_id, "canceled", ts_ns, ts_ns, "its parent was rejected")]

    # --- meeting events --------------------------------------------------------------------------------------------

    def _meet(self, order: WorkingOrder, offer: Offer, out: list[Answer]) -> None:
        """Let one order meet one event."""
        if order.time_in_force in AUCTIONS:
            self._meet_in_auction(order, offer, out)
            return
        event, rested = offer.event, order.resting
        price: float | None = None
        where: Where = "close"
        if type(event) is Bar:
            seen: Seen = "all" if order.arrival_ns <= offer.first_ns + self._open_grace_ns else "close"
            if order.joined_inside:
                seen, order.joined_inside = "inside", False
            found = self._fills.on_bar(order, event, seen)
            if found is not None:
                price, where = found
        elif type(event) is Quote:
            price = self._fills.on_quote(order, event)
        elif type(event) is Trade:
            price = self._fills.on_trade(order, event, quoted=offer.quoted)
        if price is not None:
            makes = order.intent.type == "limit" and (rested or where == "inside")
            self._fill(order, price, where, offer, out, maker=makes)
        if offer.firm and not order.done and order.time_in_force in IMMEDIATE:
            self._table.end(order, "canceled", stamp(order, where, offer), "not filled at once", out)

    def _meet_in_auction(self, order: WorkingOrder, offer: Offer, out: list[Answer]) -> None:
        event, opening = offer.event, order.time_in_force == "opg"
        if isinstance(event, Bar):
            price = event.open if opening else event.close
        elif isinstance(event, Quote):
            price = event.ask_price if order.buy else event.bid_price
        else:
            price = event.price
        if not opening:
            order.closing = price, offer
            if offer.last_ns >= order.expire_ns:
                self._expire(order, out)
            return
        if at_auction(order, price):
            self._fill(order, price, "open", offer, out)
        if not order.done:
            ts_ns = stamp(order, "open", offer)
            self._table.end(order, "expired", ts_ns, "not filled in the opening auction", out)

    def _expire(self, order: WorkingOrder, out: list[Answer]) -> None:
        """End an order whose time is over; one in the closing auction first fills at the last price before it."""
        reason = f"a {order.time_in_force} order's time is over"
        if order.closing is not None:
            price, offer = order.closing
            reason = "not filled in the closing auction"
            if at_auction(order, price) and not self._conditions.halts(order.symbol):
                self._fill(order, price, "close", offer, out)
        if not order.done:
            self._table.end(order, "expired", order.expire_ns, reason, out)

    def _fill(
        self, order: WorkingOrder, price: float, where: Where, offer: Offer, out: list[Answer], *, maker: bool = False
    ) -> None:
        """Execute what the event's volume allows of an order, at the price that the rules have found."""
        low, high = self._conditions.band(order.symbol)
        if not low <= price <= high:
            return
        if self._slippage is not None and not maker:
            price = min(max(slipped(order, price, offer, self._slippage, crypto=self._crypto), low), high)
        paid = exact(price)
        ts_ns = stamp(order, where, offer)
        left = order.left
        if left is None:
            left = notional_qty(order, paid)
            order.want(left)
            if not left:
                self._table.end(order, "canceled", ts_ns, f"its notional is less than a nano-share at {paid}", out)
                return
        size = left
        available = offer.for_buys if order.buy else offer.for_sells
        if not order.left_float <= available:  # nor is a volume that is no number enough
            size = part(order, left, available, crypto=self._crypto)
            if not size:
                return
        intent = order.intent
        fee = self._fees.fee_usd(order.symbol, intent.side, size, paid, ts_ns, maker=maker)
        order.executions += 1
        execution_id = f"{order.id}/{order.executions}"
        liquidity: Literal["maker", "taker"] = "maker" if maker else "taker"
        out.append(Fill(execution_id, order.id, order.symbol, intent.side, size, paid, fee, ts_ns, ts_ns, liquidity))
        offer.take(order.left_float if size is left else float(size), order.buy)
        self._table.book(order, size, ts_ns, out)
        if order.done and order.legs:
            born_ns = offer.first_ns if where == "inside" else ts_ns
            self._table.release_legs(order, born_ns, ts_ns, out, inside=where == "inside")
