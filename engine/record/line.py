"""The line between a run and its venue, as a live run's journal recorded it, for a backtest of the same tape.

What came, when and in which order, when each order reached the venue, and where the venue's words came in between: all
of that is the line's, and taken from the journal. What the venue made of the orders is not. It plays its own tape in
its own time, and the fills that come back are the simulated venue's own. So a backtest decides as the live day did, or
`onetape compare` names the first decision or execution that differs.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from msgspec.structs import replace

from engine import journal
from engine.errors import ConfigError
from engine.events import (
    MINUTE_NS,
    NEVER_NS,
    SECOND_NS,
    Approved,
    Bar,
    CorporateAction,
    Fill,
    InboxEvent,
    MarketEvent,
    OrderUpdate,
    Quote,
    Side,
    Status,
    Trade,
    exact,
)
from engine.market import Market
from engine.portfolio import Portfolio
from engine.ports import Feed, SimulatedBroker
from engine.record.recorded import INPUTS, TAKEN_ON, Recorded

QUOTE_LIFE_NS = 60 * SECOND_NS
"""How long a quote prices an order at the venue, as at the local server."""


class Post(NamedTuple):
    """An order, or the id of one to cancel, that reaches the venue at an instant of the venue."""

    ts_ns: int
    number: int
    message: Approved | str


def fingerprint(path: Path, tape: Feed) -> str:
    """Return what says which tape was taken as which run received it."""
    return hashlib.sha256(f"{tape.fingerprint} {journal.digest(path)}".encode()).hexdigest()


class VenueBooks:
    """What the venue knows of its customer: executions at once, where the run's own books hear of them later."""

    def __init__(self, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._traded: defaultdict[str, Decimal] = defaultdict(Decimal)
        self._heard: defaultdict[str, Decimal] = defaultdict(Decimal)

    def position_qty(self, symbol: str) -> Decimal:
        return self._portfolio.position_qty(symbol) + self._traded[symbol] - self._heard[symbol]

    def buying_power_usd(self) -> Decimal:
        return self._portfolio.buying_power_usd()

    def trade(self, fill: Fill) -> None:
        """Take note of an execution."""
        self._traded[fill.symbol] += fill.qty if fill.side == "buy" else -fill.qty

    def hear(self, fill: Fill) -> None:
        """Take note that the run is about to be told of it."""
        self._heard[fill.symbol] += fill.qty if fill.side == "buy" else -fill.qty


class Line:
    """A feed and a broker in one: the run's end of the line.

    Args:
        path: the journal of the live run.
        tape: what the venue played.
        venue: what fills orders, with no latency of its own.
        books: the customer's account, as `venue` asks for it.

    Raises:
        ConfigError: the tape is of another time than the journal.
    """

    simulated = False
    due_ns = NEVER_NS
    working: ClassVar[dict[str, Any]] = {}

    def __init__(self, path: Path, tape: Feed, venue: SimulatedBroker, books: VenueBooks) -> None:
        self.recorded = Recorded(path)
        self.symbols, self.span_ns = tape.symbols, self.recorded.span_ns
        self.fingerprint = fingerprint(path, tape)
        if tape.span_ns[0] > self.span_ns[1] or tape.span_ns[1] < self.span_ns[0]:
            raise ConfigError(
                f"feed.as_received: {path} is of another time than the tape; a venue that is to be done over plays its "
                'tape with time = "tape"'
            )
        self._path, self._venue, self._books = path, venue, books
        self._tape = chain.from_iterable(tape.batches())
        self._next = next(self._tape, None)
        self._markets: dict[str, Market] = {}
        self._place = self._number = self._latency_ns = self._now_ns = 0
        self._posts: list[Post] = []
        arrivals, decisions = self.recorded.arrivals, self.recorded.decisions
        self._awaited = sorted((ts_ns, decisions[key], key) for key, ts_ns in arrivals.items() if key in decisions)
        self._awaited.reverse()
        self._handed_over: set[str] = set()
        self._symbols: dict[str, str] = {}
        self._fills: defaultdict[str, deque[Fill]] = defaultdict(deque)
        self._updates: defaultdict[tuple[str, str], deque[OrderUpdate]] = defaultdict(deque)
        self._left_fills, self._left_updates = self.recorded.fills.copy(), self.recorded.updates.copy()
        self._unrecorded: list[Fill | OrderUpdate] = []

    # --- to the run ------------------------------------------------------------------------------------------------

    def events(self) -> Iterator[InboxEvent]:
        """Yield what comes to the run, in the order in which it came, each when it came.

        Each has to be gone through before the next one is asked for: what the venue answers hangs on it.
        """
        for place, record in enumerate(journal.read(self._path)):
            if record.__class__ not in INPUTS:
                continue
            self._place = place
            self._now_ns = max(self._now_ns, record.ts_recv_ns)  # type: ignore[union-attr]  # every input has it
            self._play(min(self._now_ns, self._held_until_ns()))
            unrecorded, self._unrecorded = self._unrecorded, []
            for answer in unrecorded:
                yield self._told(answer, self._now_ns)
            if isinstance(record, Fill | OrderUpdate):
                said = self._answer(record)
                if isinstance(said, Fill) and isinstance(record, Fill):  # statements of the account name it so
                    said = replace(said, execution_id=record.execution_id)
                if said is not None:
                    yield self._told(said, record.ts_recv_ns)
            else:
                yield record  # type: ignore[misc]  # it is an input

    def _answer(self, record: Fill | OrderUpdate) -> Fill | OrderUpdate | None:
        """Return what the venue says where the live one said `record`; what the line itself said it says again."""
        order_id = record.client_order_id
        if (
            order_id not in self.recorded.arrivals
            or order_id not in self.recorded.decisions
            or (isinstance(record, OrderUpdate) and record.status == "unknown")
        ):
            return record
        waiting: deque[Fill] | deque[OrderUpdate]
        waiting = self._fills[order_id] if isinstance(record, Fill) else self._updates[order_id, record.status]
        if not waiting:  # the run's clock was behind the venue's, which is sure of an instant only when its bar is over
            late_ns = max(MINUTE_NS, self._market(self._symbols.get(order_id, "")).bar_span_ns)
            self._play(min(record.ts_event_ns + late_ns, self._held_until_ns()))
        return waiting.popleft() if waiting else None

    def _told(self, answer: Fill | OrderUpdate, ts_recv_ns: int) -> Fill | OrderUpdate:
        if isinstance(answer, Fill):
            self._books.hear(answer)
        return replace(answer, ts_recv_ns=ts_recv_ns)

    # --- from the run ----------------------------------------------------------------------------------------------

    def submit(self, approved: Approved) -> None:
        order_id = approved.intent.client_order_id
        self._symbols[order_id] = approved.intent.symbol
        arrivals = self.recorded.arrivals
        if order_id in arrivals:
            self._latency_ns = max(0, arrivals[order_id] - approved.ts_event_ns)
        elif order_id in self.recorded.decisions:
            return  # it was refused, or lost on the way: the record says so when it said so
        self._post(order_id, arrivals.get(order_id, approved.ts_event_ns + self._latency_ns), approved)

    def cancel(self, client_order_id: str, ts_ns: int) -> None:
        key = f"cancel {client_order_id}"
        if key in self.recorded.arrivals or key not in self.recorded.decisions:
            self._post(key, self.recorded.arrivals.get(key, ts_ns + self._latency_ns), client_order_id)

    def _post(self, key: str, ts_ns: int, message: Approved | str) -> None:
        self._number += 1
        self._handed_over.add(key)
        heappush(self._posts, Post(ts_ns, self._number, message))

    # --- the venue, in its own time --------------------------------------------------------------------------------

    def _held_until_ns(self) -> int:
        """Return how far the venue may go: not past the arrival of an order that the run is yet to decide on.

        Run and venue have a clock each, so by the record an order may arrive before it was decided.
        """
        awaited = self._awaited
        while awaited and (awaited[-1][2] in self._handed_over or awaited[-1][1] < self._place):
            awaited.pop()
        return awaited[-1][0] - 1 if awaited else NEVER_NS

    def _play(self, to_ns: int) -> None:
        """Let the venue's time pass: its tape, what arrives there, and what is due."""
        posts, venue = self._posts, self._venue
        while True:
            tape_ns = self._next.ts_recv_ns if self._next is not None else NEVER_NS
            ts_ns = min(tape_ns, posts[0].ts_ns if posts else NEVER_NS, venue.due_ns)
            if ts_ns > to_ns:
                return
            if venue.due_ns == ts_ns:
                self._keep(venue.advance(ts_ns))
            elif posts and posts[0].ts_ns == ts_ns:
                message = heappop(posts).message
                if isinstance(message, Approved):
                    venue.submit(self._priced(message, ts_ns))
                else:
                    venue.cancel(message, ts_ns)
            elif self._next is not None:
                self._happen(self._next)
                self._next = next(self._tape, None)

    def _happen(self, event: MarketEvent) -> None:
        venue = self._venue
        if isinstance(event, Status | CorporateAction):
            self._keep(venue.notice(event))
        elif isinstance(event, Bar | Quote | Trade):
            if event.symbol in venue.working:
                self._keep(venue.match(event))
            market = self._market(event.symbol)
            if isinstance(event, Bar):
                market.bar_ns, market.bar_close = event.ts_event_ns, event.close
                market.bar_span_ns = event.interval_ns
            elif isinstance(event, Quote):
                market.quote = event
            else:
                market.trade = event

    def _market(self, symbol: str) -> Market:
        found = self._markets.get(symbol)
        if found is None:
            found = self._markets[symbol] = Market(symbol)
        return found

    def _priced(self, approved: Approved, ts_ns: int) -> Approved:
        """Return an order as it arrives: at the venue's own instant, and measured by the venue's own market."""
        market, side = self._market(approved.intent.symbol), approved.intent.side
        price, seen = _price(market, side, ts_ns) or (approved.reference_price, approved.reference)
        return replace(approved, ts_event_ns=ts_ns, ts_expire_ns=NEVER_NS, reference_price=price, reference=seen)

    def _keep(self, answers: Sequence[Fill | OrderUpdate]) -> None:
        """Keep the venue's words until the record has them come, and those that it lacks for the next event."""
        for answer in answers:
            if isinstance(answer, Fill):
                self._books.trade(answer)
                if self._left_fills[answer.client_order_id] > 0:
                    self._left_fills[answer.client_order_id] -= 1
                    self._fills[answer.client_order_id].append(answer)
                    continue
            elif self._left_updates[answer.client_order_id, answer.status] > 0:
                self._left_updates[answer.client_order_id, answer.status] -= 1
                self._updates[answer.client_order_id, answer.status].append(answer)
                continue
            elif answer.status in TAKEN_ON or answer.status == "filled":
                continue  # its executions say as much
            self._unrecorded.append(answer)


def _price(market: Market, side: Side, now_ns: int) -> tuple[Decimal, Literal["quote", "trade", "bar"]] | None:
    """Return the market's price for an order as the venue sees it: a fresh quote's, else the last print's or bar's."""
    quote, trade = market.quote, market.trade
    if quote is not None and now_ns - quote.ts_event_ns <= QUOTE_LIFE_NS:
        price = quote.ask_price if side == "buy" else quote.bid_price
        if price > 0:
            return exact(price), "quote"
    if trade is not None and trade.ts_event_ns >= market.bar_ns:
        return exact(trade.price), "trade"
    return (exact(market.bar_close), "bar") if market.bar_ns else None
