"""What happened, and what is asked: one frozen struct per fact.

Every event carries two instants, int64 nanoseconds UTC: `ts_event_ns`, when it was true, and `ts_recv_ns`, when we
could know it. A bar is stamped at its close. Market data is float, because it feeds tensors; anything that moves
money is `Decimal`. No struct here has behaviour beyond a derived property, and none wraps an untyped payload.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from engine.account.events import AccountOpened as AccountOpened
from engine.account.events import AccountStatement as AccountStatement
from engine.account.events import AccountTerms as AccountTerms
from engine.account.events import Assets as Assets
from engine.account.events import Reconciliation as Reconciliation
from engine.event import Event as Event
from engine.exact import PRICE_MAX as PRICE_MAX
from engine.exact import PRICE_MIN as PRICE_MIN
from engine.exact import exact as exact  # whoever reads events turns their prices into money

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
TimeInForce = Literal["day", "gtc", "ioc", "fok", "opg", "cls"]
OrderClass = Literal["simple", "bracket", "oco", "oto"]
OrderStatus = Literal[
    "created", "denied", "pending_new", "unknown", "accepted", "held", "partially_filled", "filled",
    "pending_cancel", "pending_replace", "canceled", "expired", "rejected", "replaced",
]  # fmt: skip
TradingState = Literal["active", "reduce_only", "halted"]

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS
NEVER_NS: Final = 2**63 - 1


# --- what happened in the market -----------------------------------------------------------------------------------


class Bar(Event, frozen=True, gc=False):
    """Prices over `[ts_event_ns - interval_ns, ts_event_ns)`; knowable at `ts_recv_ns`, never before its close."""

    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    interval_ns: int
    vwap: float | None = None
    trade_count: int = 0
    revised: bool = False
    source: str = ""

    @property
    def ts_open_ns(self) -> int:
        return self.ts_event_ns - self.interval_ns


class Quote(Event, frozen=True, gc=False):
    """Best bid and ask after a change. Sizes in shares or base coins."""

    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float
    source: str = ""


class Trade(Event, frozen=True, gc=False):
    """A print on the tape: somebody's trade, not ours (ours is a `Fill`)."""

    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    price: float
    size: float
    trade_id: str = ""
    conditions: str = ""
    source: str = ""


class News(Event, frozen=True, gc=False):
    """A headline. `symbols` may be empty: then it concerns the market and reaches every strategy."""

    ts_event_ns: int
    ts_recv_ns: int
    headline: str
    symbols: tuple[str, ...] = ()
    news_id: str = ""
    author: str = ""
    summary: str = ""
    url: str = ""
    source: str = ""


class Status(Event, frozen=True, gc=False):
    """The venue's word on whether `symbol` trades, and its limit-up and limit-down prices where known."""

    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    state: Literal["trading", "halted"]
    reason: str = ""
    limit_up_price: float | None = None
    limit_down_price: float | None = None
    source: str = ""


class CorporateAction(Event, frozen=True, gc=False):
    """A split, cash dividend or symbol change, effective for a holder at `ts_event_ns` (the ex-date's open).

    Units: a split turns `old_shares` into `new_shares` (7-for-1: 7 and 1; 1-for-3 reverse: 1 and 3); a dividend pays
    `amount_usd` for each share held; a symbol change renames `symbol` to `new_symbol`.
    """

    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    action: Literal["split", "cash_dividend", "symbol_change"]
    new_shares: int = 1
    old_shares: int = 1
    amount_usd: Decimal = Decimal(0)
    new_symbol: str = ""
    source: str = ""


class Datum(Event, frozen=True, gc=False):
    """Any other timed fact: a filing, an economic release, an alternative data point. `symbol` may be empty."""

    name: str
    ts_event_ns: int
    ts_recv_ns: int
    symbol: str = ""
    value: float | None = None
    text: str = ""
    source: str = ""


class Signal(Event, frozen=True, gc=False):
    """A model's score for a symbol, worthless after `ts_expire_ns`."""

    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    model: str
    score: float
    horizon_ns: int = 0
    ts_expire_ns: int = NEVER_NS
    source: str = ""


class Timer(Event, frozen=True, gc=False):
    """A strategy's own alarm, due at `ts_event_ns`."""

    strategy: str
    name: str
    ts_event_ns: int
    ts_recv_ns: int


class Tick(Event, frozen=True, gc=False):
    """Time has passed without an event: alarms and expiries are due. Live runs journal it, tapes do not need it."""

    ts_event_ns: int
    ts_recv_ns: int


class Link(Event, frozen=True, gc=False):
    """The connection to a venue's orders came up or went down."""

    name: Literal["orders"]
    up: bool
    ts_event_ns: int
    ts_recv_ns: int
    reason: str = ""


class Backfill(Event, frozen=True, gc=False):
    """The feed is behind and fetches what the run has missed, or with `done` has caught up.

    In between strategies fill their windows and trade nothing: what they are told is not the market of this moment.
    """

    ts_event_ns: int
    ts_recv_ns: int
    done: bool


class Command(Event, frozen=True, gc=False):
    """A person's word to the running engine, ordered and journaled like any other event.

    `events` is how many the corridor had taken before it: on a tape, that is its place when the run is done over. An
    `override` puts `value` in the place of `limit` until `ts_expire_ns`; `tighten` does for good.
    """

    action: Literal["halt", "reduce_only", "resume", "cancel_all", "flatten", "override", "tighten"]
    ts_event_ns: int
    ts_recv_ns: int
    reason: str = ""
    events: int = 0
    who: str = ""
    limit: str = ""
    value: str = ""
    ts_expire_ns: int = 0


class ModelStatus(Event, frozen=True, gc=False):
    """How a model stands, and what that asks of the strategies that trade by it (C34); it holds until the next one.

    `state`: `healthy`, `degraded` (a measure of its health is beyond its limit), `failed` (it gives no scores),
    `swapped` and `rolled_back` (another file, `sha256`, scores from here on), `compared` (champion and challenger, in
    `reason`). An `action` of `none` lifts what stood; `size_fraction` goes with `shrink`.
    """

    model: str
    ts_event_ns: int
    ts_recv_ns: int
    state: Literal["healthy", "degraded", "failed", "swapped", "rolled_back", "compared"]
    action: Literal["none", "shrink", "reduce_only", "halt", "flatten"] = "none"
    size_fraction: float = 1.0
    reason: str = ""
    sha256: str = ""


# --- what is asked, and what became of it --------------------------------------------------------------------------


class Intent(Event, frozen=True, gc=False):
    """An order as a strategy wants it, in Alpaca's own field names. Exactly one of `qty` and `notional_usd` is set.

    For `order_class` bracket both the take-profit and the stop-loss are set, for oto one of them; for oco this order
    is the take-profit limit and `stop_loss_stop_price` its sibling. `replaces` names the order that this one amends.
    `trail_percent` is a percentage (1.5 means 1.5 %).
    """

    client_order_id: str
    strategy: str
    symbol: str
    side: Side
    qty: Decimal | None
    ts_event_ns: int
    type: OrderType = "market"
    time_in_force: TimeInForce = "day"
    notional_usd: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    order_class: OrderClass = "simple"
    take_profit_limit_price: Decimal | None = None
    stop_loss_stop_price: Decimal | None = None
    stop_loss_limit_price: Decimal | None = None
    replaces: str = ""
    parent_id: str = ""

    def legs(self) -> tuple[Intent, ...]:
        """Return the protective orders that the venue holds for this one: take-profit `-tp`, stop-loss `-sl`."""
        if self.order_class == "simple":
            return ()
        exit_side: Side = self.side if self.order_class == "oco" else ("sell" if self.side == "buy" else "buy")
        legs = []
        if self.take_profit_limit_price is not None and self.order_class != "oco":
            legs.append(self._leg("-tp", exit_side, "limit", self.take_profit_limit_price, None))
        if self.stop_loss_stop_price is not None:
            kind: OrderType = "stop" if self.stop_loss_limit_price is None else "stop_limit"
            legs.append(self._leg("-sl", exit_side, kind, self.stop_loss_limit_price, self.stop_loss_stop_price))
        return tuple(legs)

    def _leg(self, suffix: str, side: Side, kind: OrderType, limit: Decimal | None, stop: Decimal | None) -> Intent:
        return Intent(
            client_order_id=self.client_order_id + suffix, strategy=self.strategy, symbol=self.symbol, side=side,
            qty=self.qty, ts_event_ns=self.ts_event_ns, type=kind, time_in_force=self.time_in_force,
            limit_price=limit, stop_price=stop, extended_hours=self.extended_hours, parent_id=self.client_order_id,
        )  # fmt: skip


class Approved(Event, frozen=True, gc=False):
    """Leave to send one order once, until `ts_expire_ns`; only `engine.risk` makes it.

    `intent` may be amended: a market order goes as a limit. `reference_price` is the market price that the controls
    measured the order against, `reference` what it was taken from: a fresh quote, trade or bar, or for a reduction,
    which may go without one, the last `mark`.
    """

    intent: Intent
    token: int
    ts_event_ns: int
    ts_expire_ns: int
    reference_price: Decimal
    reference: Literal["quote", "trade", "bar", "mark"]


class Denied(Event, frozen=True, gc=False):
    """Our own risk refused the order (a venue *rejects*). `reason` gives the numbers that were compared."""

    intent: Intent
    ts_event_ns: int
    control: str
    reason: str


class CancelRequest(Event, frozen=True, gc=False):
    """A strategy, a control or the operator wants an open order gone."""

    client_order_id: str
    ts_event_ns: int
    reason: str = ""


class OrderUpdate(Event, frozen=True, gc=False):
    """The venue's word on an order. Fills do not come this way: a `Fill` is the truth, a status only a hint."""

    client_order_id: str
    status: OrderStatus
    ts_event_ns: int
    ts_recv_ns: int
    reason: str = ""
    broker_order_id: str = ""


class Fill(Event, frozen=True, gc=False):
    """Our execution. Booked once per `execution_id`, whatever the order's status says.

    Units: `price` and `fee_usd` in the account's currency; a negative fee is a rebate.
    """

    execution_id: str
    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    fee_usd: Decimal
    ts_event_ns: int
    ts_recv_ns: int
    liquidity: Literal["", "maker", "taker"] = ""


# --- what the engine did ------------------------------------------------------------------------------------------


class RunStarted(Event, frozen=True, gc=False):
    """The first line of a journal: what it takes to run the same run again.

    `config` is the resolved configuration as JSON, without what only says where things lie or how fast they go;
    `models` are the SHA-256 of the models' files, by model.
    """

    run_id: str
    config: str
    engine_version: str
    schema_version: int
    ts_event_ns: int
    tape_sha256: str = ""
    account: str = ""
    models: dict[str, str] = msgspec.field(default_factory=dict)


class TradingStateChanged(Event, frozen=True, gc=False):
    """Trading as a whole became active, reduce-only or halted. A halt is a latch: only a person resumes."""

    state: TradingState
    ts_event_ns: int
    control: str
    reason: str


class LimitChanged(Event, frozen=True, gc=False):
    """A limit is another one from here on: until `ts_expire_ns`, or, when that is 0, as the run's file has it again."""

    limit: str
    before: str
    after: str
    ts_event_ns: int
    control: str
    who: str
    reason: str
    ts_expire_ns: int = 0


class StrategyHalted(Event, frozen=True, gc=False):
    """One strategy was stopped alone; `cause` is the event it was handling, as JSON."""

    strategy: str
    ts_event_ns: int
    control: str
    reason: str
    cause: str = ""


class LateFill(Event, frozen=True, gc=False):
    """A fill for an order that had already ended: booked all the same, and pointed out."""

    execution_id: str
    client_order_id: str
    status: OrderStatus
    ts_event_ns: int


class Snapshot(Event, frozen=True, gc=False):
    """The account at one instant, for the equity curve and for the eye; what it held then is the sum of its fills.

    `marks` by symbol; `strategy_pnl_usd` by strategy, total since the start of the run.
    """

    ts_event_ns: int
    cash_usd: Decimal
    equity_usd: Decimal
    gross_usd: Decimal
    net_usd: Decimal
    fees_usd: Decimal
    marks: dict[str, float]
    strategy_pnl_usd: dict[str, Decimal]


class RunEnded(Event, frozen=True, gc=False):
    """The last line of a journal whose feed came to its end. A run that was stopped or killed has none: it goes on."""

    ts_event_ns: int
    events: int


MarketEvent = Bar | Quote | Trade | News | Status | CorporateAction | Datum
OtherEvent = (
    News | Datum | Signal | Status | CorporateAction | Command | Tick | Link | Backfill | AccountOpened | Assets
    | Reconciliation | AccountTerms | AccountStatement | ModelStatus
)  # fmt: skip
InboxEvent = Bar | Quote | Trade | OtherEvent | OrderUpdate | Fill
Record = (
    InboxEvent | Timer | Intent | Approved | Denied | CancelRequest
    | RunStarted | TradingStateChanged | StrategyHalted | LimitChanged | LateFill | Snapshot | RunEnded
)  # fmt: skip

# Replay order is (ts_recv_ns, class, stream, sequence), part of the public contract; this is the class.
EVENT_CLASS: dict[type, int] = {
    Command: 0, OrderUpdate: 10, Fill: 10, CorporateAction: 20, Status: 21, Quote: 30, Trade: 31, Datum: 40, News: 41,
    Bar: 50, ModelStatus: 59, Signal: 60, Timer: 70,
}  # fmt: skip
