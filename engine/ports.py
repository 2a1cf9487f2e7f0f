"""The two protocols a vendor implements: `Feed` brings events in, `Broker` takes approved orders out.

Nothing here knows a vendor, a socket or a strategy. A recorded feed is an iterator that the corridor consumes in a
plain loop; a live feed is a coroutine that publishes into the inbox. The corridor cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Protocol

import msgspec

from engine.events import (
    NEVER_NS,
    Approved,
    Bar,
    CorporateAction,
    Fill,
    InboxEvent,
    MarketEvent,
    OrderStatus,
    OrderUpdate,
    Quote,
    Side,
    Status,
    Trade,
)

Publish = Callable[[InboxEvent], None]


class Feed(Protocol):
    """A recorded stream of market events, in time order.

    Attributes:
        symbols: every symbol that the stream may speak of, sorted.
        span_ns: first and last `ts_recv_ns`, for progress and sampling.
        fingerprint: SHA-256 over the content, so that a journal can say which tape it was.
    """

    symbols: Sequence[str]
    span_ns: tuple[int, int]
    fingerprint: str

    def batches(self) -> Iterator[Sequence[MarketEvent]]:
        """Yield lists of events, together in order of (`ts_recv_ns`, class, stream, sequence).

        Raises:
            TapeError: naming the file and the row.
        """
        ...


class LiveFeed(Protocol):
    """A stream that arrives when it arrives.

    Attributes:
        symbols: what it subscribes to.
        span_ns, fingerprint: as of a `Feed`; a live stream has (0, 0) and an empty text.
    """

    symbols: Sequence[str]
    span_ns: tuple[int, int]
    fingerprint: str

    def know(self, events: Sequence[MarketEvent]) -> None:
        """Take note of the last events of a journal that goes on, before `run`: what came since is missing.

        While it, or anything else of the past, is being fetched, `Backfill` says so.
        """
        ...

    def want(self, interval_ns: int, count: int) -> None:
        """Begin with at least so many bars of the past; asked before `run`. A day stands for whole sessions.

        A feed that has no past begins without.

        Raises:
            ConfigError: it brings no bars of this length.
        """
        ...

    async def run(self, publish: Publish) -> None:
        """Publish events until canceled; reconnecting is the feed's own business. One that returns has ended."""
        ...


class Account(Protocol):
    """What a simulated venue asks of the book of its customer."""

    def position_qty(self, symbol: str) -> Decimal:
        """Return signed shares or coins held."""
        ...

    def buying_power_usd(self) -> Decimal:
        """Return what may be spent on new exposure, open orders not counted."""
        ...


class Broker(Protocol):
    """Where approved orders go. Its answers come back as events, never as return values of these calls."""

    simulated: bool

    def submit(self, approved: Approved) -> None:
        """Send a new order, or an amendment when `approved.intent.replaces` is set."""
        ...

    def cancel(self, client_order_id: str, ts_ns: int) -> None:
        """Ask for an order to be canceled; unknown and finished ids are ignored, the race is normal."""
        ...


class OpenOrder(msgspec.Struct, frozen=True):
    """An order that the venue still works on, in its own words; `submitted_ns` is 0 where it does not say when."""

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: Side
    qty: Decimal | None
    filled_qty: Decimal
    status: OrderStatus
    submitted_ns: int = 0


class AccountState(msgspec.Struct, frozen=True):
    """A broker's account at one instant, for recovery and reconciliation.

    Units: `positions` signed, by symbol; `prices` the broker's current price of each. `fills` are those since the time
    that was asked for, oldest first, with the same execution ids as the stream's. `day_trades` is None where the broker
    does not count them.
    """

    account_id: str
    status: str
    ts_ns: int
    cash_usd: Decimal
    equity_usd: Decimal
    buying_power_usd: Decimal
    multiplier: int
    positions: dict[str, Decimal]
    prices: dict[str, Decimal]
    open_orders: tuple[OpenOrder, ...]
    fills: tuple[Fill, ...]
    day_trades: int | None = None


class Asset(msgspec.Struct, frozen=True):
    """What a broker says of a symbol; `status` is its own word."""

    tradable: bool
    fractionable: bool = False
    shortable: bool = False
    status: str = ""


class LiveBroker(Broker, Protocol):
    """A venue outside. `submit` and `cancel` only put in line; `run` sends, listens and settles what is unknown.

    An order whose outcome is not known is told as an `OrderUpdate` with status `unknown`, and again when it is. The
    link to the order stream is told as `Link` events.

    Attributes:
        due_ns, working: never and nothing, so that the corridor has one path for every broker.
    """

    due_ns: int
    working: dict[str, Any]

    def know(self, fills: Sequence[Fill]) -> None:
        """Take note of the executions that a journal holds already, before the account is opened."""
        ...

    async def open(self) -> AccountState:
        """Connect, check keys, host and account, and return the account as it stands.

        Raises:
            BrokerError: what is wrong with the keys, the host or the account.
        """
        ...

    async def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        """Return what the venue says of each symbol; one that it does not know is missing.

        Raises:
            BrokerError: it does not answer.
        """
        ...

    async def state(self, since_ns: int) -> AccountState:
        """Return the account as it stands, with the fills since an instant."""
        ...

    def resolve(self, client_order_ids: Sequence[str]) -> None:
        """Ask what became of orders whose outcome nobody knows; the answers come as events."""
        ...

    async def run(self, publish: Publish) -> None:
        """Send what was put in line and publish what the venue says, until canceled."""
        ...

    async def cancel_all(self) -> None:
        """Ask the venue to cancel every order of the account."""
        ...

    async def close(self) -> None:
        """Let go of the connection of an account that was opened and will not be traded."""
        ...


class Emergency(Protocol):
    """A second way to a venue, for when the daemon does not answer: it reads and cancels, and can do nothing else.

    A live broker's class makes it: `emergency(settings, *, mode, name)`, without a connection yet. Orders are the
    run's own when their client id begins with its name and a dot; those of others stay.

    Attributes:
        secrets: texts that no log may show.
    """

    secrets: Sequence[str]

    async def cancel_entries(self) -> int:
        """Cancel the run's open orders that open or add to a position; return how many are gone.

        Raises:
            BrokerError: some may still be open; asked again, it tries again.
        """
        ...

    async def cancel_all(self) -> int:
        """Cancel all of the run's open orders; return how many are gone.

        Raises:
            BrokerError: as above.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class SimulatedBroker(Broker, Protocol):
    """A venue that lives inside the run and answers in simulated time.

    Attributes:
        due_ns: the next instant at which `advance` has something to say; `NEVER_NS` when it has not.
        working: symbols with an order that the next market event may fill.
    """

    due_ns: int
    working: dict[str, Any]

    def advance(self, now_ns: int) -> Sequence[OrderUpdate | Fill]:
        """Return what happened by `now_ns` without a market event: arrivals, cancels, expiries."""
        ...

    def match(self, event: Bar | Quote | Trade) -> Sequence[OrderUpdate | Fill]:
        """Return what a market event of a working symbol does to its orders."""
        ...

    def notice(self, event: Status | CorporateAction) -> Sequence[OrderUpdate | Fill]:
        """Return what a halt, its end, or a corporate action does to the orders."""
        ...


class SilentFeed:
    """Stands where a live feed stood when a recorded run is done over: its events are in the journal."""

    span_ns: tuple[int, int] = (0, 0)

    def __init__(self, symbols: Sequence[str], fingerprint: str = "") -> None:
        self.symbols: Sequence[str] = tuple(sorted(symbols))
        self.fingerprint = fingerprint

    def know(self, events: Sequence[MarketEvent]) -> None:
        """Miss nothing."""

    def want(self, interval_ns: int, count: int) -> None:
        """Have no past."""

    async def run(self, publish: Publish) -> None:
        """Publish nothing."""


class SilentBroker:
    """Stands where a live broker stood when a recorded run is done over: its answers are in the journal."""

    simulated, due_ns = False, NEVER_NS
    working: ClassVar[dict[str, Any]] = {}

    def submit(self, approved: Approved) -> None:
        """Send nothing."""

    def cancel(self, client_order_id: str, ts_ns: int) -> None:
        """Send nothing."""
