"""The order desk: takes orders, replacements and cancels to the matching engine, which is asked at once.

So what the engine refuses is refused in the reply, and what it takes on is told by events that follow the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from brokers.alpaca_server import checks
from brokers.alpaca_server.account import Account
from brokers.alpaca_server.archive import Archive
from brokers.alpaca_server.assets import Assets
from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.faults import Faults
from brokers.alpaca_server.floor import Floor, market_price
from brokers.alpaca_server.ledger import ZERO, Ledger
from brokers.alpaca_server.order_book import OrderBook
from brokers.alpaca_server.orders import amended, parse_order, quantity
from brokers.alpaca_server.refusals import Refusal, denied, invalid, missing, of_admission, refused
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.settlement import Settlement
from brokers.alpaca_server.venue_order import VenueOrder
from brokers.simulated.admission import entry_price
from brokers.simulated.order_table import Answer
from engine.events import NEVER_NS, SECOND_NS, Approved, Intent, OrderUpdate

Shown = dict[str, Any]
HUNDRED = Decimal(100)


class Desk:
    """Takes what clients ask to the floor of its asset class.

    Args:
        later: puts off a call by real seconds.
    """

    def __init__(
        self, settings: ServerSettings, *, clock: VenueClock, book: OrderBook, ledger: Ledger, account: Account,
        assets: Assets, archive: Archive, settlement: Settlement, faults: Faults, floors: Mapping[str, Floor],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:  # fmt: skip
        self._settings, self._clock, self._book, self._ledger = settings, clock, book, ledger
        self._account, self._assets, self._archive = account, assets, archive
        self._settlement, self._faults, self._floors, self._later = settlement, faults, floors, later
        self._quote_life_ns = round(settings.paper.quote_max_age_s * SECOND_NS)

    # --- new orders ------------------------------------------------------------------------------------------------

    def submit(self, body: Mapping[str, Any], *, foreign: bool = False) -> Shown:
        """Take a new order on and return it as the reply shows it.

        Raises:
            Refusal: the order is not taken on.
        """
        settings, book, now = self._settings, self._book, self._clock.now_ns()
        checks.check_account(self._account.overrides, self._account.configuration)
        if not body.get("symbol"):
            raise invalid("symbol is required")
        asset = checks.check_asset(self._assets.find(str(body["symbol"])), str(body["symbol"]))
        client_order_id = str(body.get("client_order_id") or "")
        checks.check_client_order_id(client_order_id, book.by_client, book.used, settings)
        try:
            intent = parse_order(body, asset, order_id := book.next_id(), now, settings)
            floor, position = self._floors[asset["class"]], self._ledger.position_qty(asset["symbol"])
            checks.check_hours(intent, self._clock, floor.sessions, settings)
            checks.check_position(intent, asset, position, self._account.configuration, settings)
            stated = checks.position_intent(intent, position, str(body.get("position_intent") or ""))
            if settings.wash_trade_guard:
                checks.check_wash_trade(intent, book.open_orders(intent.symbol), None)
            order = self._drawn_up(intent, asset, client_order_id or book.uuid(f"client {order_id}"), now)
            order.position_intent, order.foreign = stated, foreign
            return self._send(order, None)
        except Refusal:
            if settings.refused_order_keeps_id and client_order_id:
                book.used.add(client_order_id)
            raise

    def _drawn_up(self, intent: Intent, asset: Mapping[str, Any], client_order_id: str, now_ns: int) -> VenueOrder:
        floor = self._floors[asset["class"]]
        order = VenueOrder(
            id=intent.client_order_id, client_order_id=client_order_id, intent=intent, asset_id=asset["id"],
            asset_class=asset["class"], created_ns=now_ns, submitted_ns=now_ns, updated_ns=now_ns,
            expires_ns=floor.expiry_ns(intent, now_ns), active_ns=floor.active_ns(intent, now_ns),
            entered_ns=self._clock.wall.monotonic_ns(),
        )  # fmt: skip
        if order.active_ns > now_ns:
            order.status = "accepted"
        for leg in intent.legs():
            leg_id = self._book.next_id()
            order.legs.append(
                VenueOrder(
                    id=leg_id, client_order_id=self._book.uuid(f"client {leg_id}"), intent=leg, asset_id=asset["id"],
                    asset_class=asset["class"], created_ns=now_ns, submitted_ns=now_ns, updated_ns=now_ns,
                    expires_ns=order.expires_ns, status="held", parent=order,
                    position_intent=f"{leg.side}_to_close", entered_ns=order.entered_ns,
                )
            )  # fmt: skip
        return order

    def _send(self, order: VenueOrder, replaced: VenueOrder | None) -> Shown:
        """Give an order to the engine, and refuse what the engine refuses."""
        # What the order says is when it arrives: a market event that is due may lie between two looks at the clock.
        intent, floor, now = order.intent, self._floors[order.asset_class], order.submitted_ns
        price, seen = market_price(self._archive, intent, now, self._quote_life_ns)
        armed = self._faults.hit("submit", symbol=intent.symbol, side=intent.side) if replaced is None else None
        self._settlement.register((order, *order.legs))
        if armed is not None:
            self._book.add(order)
            shown = order.shown(self._clock, nested=True)
            for one in (order, *order.legs):
                self._settlement.end(one, "rejected", now)
            return shown
        floor.engine.submit(Approved(intent, 0, now, NEVER_NS, price, seen))
        answers = floor.engine.advance(now)
        own = {order.id, *(leg.intent.client_order_id for leg in order.legs)}
        refusal = _rejection(answers, order.id)
        if refusal is not None:
            self._settlement.apply([one for one in answers if one.client_order_id not in own])
            raise self._dressed(refusal.reason, intent)
        self._reserve(order, price)
        self._book.add(order)
        shown = order.shown(self._clock, nested=True)
        if order.status == "accepted":  # as the reply shows it; the engine takes it from here
            order.status = "pending_new"
        if replaced is not None and self._settings.new_before_replaced:
            answers = sorted(answers, key=lambda one: one.client_order_id != order.id)
        self._settlement.apply(answers)
        self._meet_last_quote(order, floor, now)
        return shown

    def _meet_last_quote(self, order: VenueOrder, floor: Floor, now_ns: int) -> None:
        quote = self._archive.latest_quote(order.intent.symbol)
        if not self._settings.fill_at_once or quote is None or now_ns - quote.ts_event_ns > self._quote_life_ns:
            return
        if order.intent.symbol not in floor.engine.working:
            return
        again = msgspec.structs.replace(quote, ts_event_ns=now_ns + 1, ts_recv_ns=now_ns + 1)
        self._settlement.apply(floor.engine.match(again))

    def _reserve(self, order: VenueOrder, price: Decimal) -> None:
        intent, position = order.intent, self._ledger.position_qty(order.intent.symbol)
        if bool(position) and (position < 0) is (intent.side == "buy"):
            return
        if order.parent is not None or intent.order_class == "oco":
            return
        order.entry_qty = intent.qty if intent.qty is not None else (intent.notional_usd or ZERO) / price
        order.reserved_usd = entry_price(intent, price) * (order.entry_qty - order.carried_qty)

    def _dressed(self, reason: str, intent: Intent) -> Refusal:
        qty = self._ledger.position_qty(intent.symbol)
        available = abs(qty) - self._book.held_qty(intent.symbol, qty)
        related = [one.id for one in self._book.open_orders(intent.symbol) if one.intent.side == intent.side]
        return of_admission(
            reason, symbol=intent.symbol, buying_power_usd=self._account.buying_power_usd(), held=(qty, available),
            related_orders=related,
        )  # fmt: skip

    # --- replacements and cancels ----------------------------------------------------------------------------------

    def replace(self, order: VenueOrder, body: Mapping[str, Any]) -> Shown:
        """Put a changed order in another one's place and return the new one.

        Raises:
            Refusal: the order cannot be replaced so.
        """
        checks.check_account(self._account.overrides, self._account.configuration)
        settings, book, now = self._settings, self._book, self._clock.now_ns()
        client_order_id = str(body.get("client_order_id") or "")
        if client_order_id:
            checks.check_client_order_id(client_order_id, book.by_client, book.used, settings)
        order_id = book.next_id()
        intent = amended(order, body, order_id, now)
        if settings.wash_trade_guard:
            checks.check_wash_trade(intent, book.open_orders(intent.symbol), order)
        armed = self._faults.hit("replace", symbol=intent.symbol)
        if armed is not None and armed.kind == "replace_doubled":
            intent = msgspec.structs.replace(intent, replaces="")
        asset = self._assets.add(intent.symbol)
        new = self._drawn_up(intent, asset, client_order_id or book.uuid(f"client {order_id}"), now)
        new.replaces, new.parent, new.position_intent = order.id, order.parent, order.position_intent
        if settings.replaced_fills == "carried":
            new.carried_qty = order.filled_qty + order.carried_qty
            new.carried_value_usd = order.filled_value_usd + order.carried_value_usd
        if armed is not None and armed.kind == "replace_refused":
            book.add(new)
            shown = new.shown(self._clock)
            self._settlement.end(new, "rejected", now)
            return shown
        order.replaced_by = new.id if armed is None else order.replaced_by
        try:
            shown = self._send(new, order)
        except Refusal:
            order.replaced_by = None
            raise
        if order.parent is not None:
            order.parent.legs = [new if leg is order else leg for leg in order.parent.legs]
        return shown

    def cancel(self, order: VenueOrder) -> None:
        """Ask for an order's end; canceling one of a group that is only held cancels the group.

        Raises:
            Refusal: it has ended already.
        """
        if not order.is_open:
            if order.status == "canceled" and self._settings.second_cancel_status == 204:
                return
            raise refused(f'order is already in "{order.status}" state')
        if order.status == "held" and order.parent is not None and order.parent.is_open:
            order = order.parent
        now = self._clock.now_ns()
        armed = self._faults.hit("cancel", symbol=order.intent.symbol, type=order.intent.type)
        order.cancel_requested_ns = now
        order.status = "pending_cancel"
        self._settlement.tell(order, "pending_cancel", now)
        if armed is None:
            self._cancel_at_engine(order)
        elif "seconds" in armed.params:
            self._later(armed.params["seconds"], lambda: self._cancel_at_engine(order))

    def _cancel_at_engine(self, order: VenueOrder) -> None:
        if order.is_open:
            engine, now = self._floors[order.asset_class].engine, self._clock.now_ns()
            engine.cancel(order.intent.client_order_id, now)
            self._settlement.apply(engine.advance(now))

    def cancel_all(self) -> list[Shown]:
        """Ask for the end of every open order; each one's own answer is in the list."""
        answers: list[Shown] = []
        for order in list(self._book.open_orders()):
            if order.status == "held" and order.parent is not None and order.parent.is_open:
                continue  # it ends with its parent
            try:
                if order.is_open:
                    self.cancel(order)
                answers.append({"id": order.id, "status": 200})
            except Refusal as refusal:
                answers.append({"id": order.id, "status": 500, "body": refusal.body()})
        return answers

    # --- positions -------------------------------------------------------------------------------------------------

    def close(self, symbol: str, query: Mapping[str, str]) -> Shown:
        """Close a position, or a part of it, with a market order.

        Raises:
            Refusal: there is none, or its shares are held for other orders.
        """
        asset = self._assets.find(symbol)
        held = self._ledger.position_qty(asset["symbol"]) if asset is not None else ZERO
        if asset is None or not held:
            raise missing("position does not exist")
        qty, percentage = quantity(query, "qty"), quantity(query, "percentage")
        if qty is not None and percentage is not None:
            raise invalid("only one of qty or percentage is accepted")
        if percentage is not None and percentage > HUNDRED:
            raise invalid("percentage must be between 0 and 100")
        if qty is None:
            share = percentage if percentage is not None else HUNDRED
            qty = (abs(held) * share / HUNDRED).quantize(Decimal("1e-9")).normalize()
        available = abs(held) - self._book.held_qty(asset["symbol"], held)
        if qty > available:
            raise denied(
                f"insufficient qty available for order (requested: {qty:f}, available: {available:f})",
                available=f"{available:f}", existing_qty=f"{abs(held):f}", held_for_orders=f"{abs(held) - available:f}",
                symbol=asset["symbol"],
            )  # fmt: skip
        return self.submit(
            {
                "symbol": asset["symbol"], "qty": qty, "side": "sell" if held > 0 else "buy", "type": "market",
                "time_in_force": "gtc" if asset["class"] == "crypto" else "day",
            }
        )  # fmt: skip

    def close_all(self, *, cancel_orders: bool) -> list[Shown]:
        """Close every position; each one's own answer is in the list."""
        if cancel_orders:
            self.cancel_all()
        answers: list[Shown] = []
        for symbol in [holding.symbol for holding in self._ledger.held()]:
            shown: Shown = {"symbol": symbol.replace("/", "")}
            try:
                answers.append(shown | {"status": 200, "body": self.close(symbol, {})})
            except Refusal as refusal:
                answers.append(shown | {"status": refusal.status, "body": refusal.body()})
        return answers


def _rejection(answers: Sequence[Answer], order_id: str) -> OrderUpdate | None:
    for answer in answers:
        if isinstance(answer, OrderUpdate) and answer.client_order_id == order_id and answer.status == "rejected":
            return answer
    return None
