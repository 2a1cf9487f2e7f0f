"""RiskManager: runs the controls, and is the only maker of `Approved`.

    review    every control in order, the first refusal wins; reductions are asked only by those that bind them
    consume   the last look before the wire
    on_...    what happened, for the controls that keep count; they return what has to be journaled and carried out

Nothing here reads a clock or draws at random: the same calls give the same answers, so a run that is done over from its
journal finds every counter, and the halt latch, as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from math import inf
from typing import Any

from msgspec.structs import replace

from engine.clock import Sessions
from engine.errors import InvariantError
from engine.events import (
    NEVER_NS,
    AccountStatement,
    AccountTerms,
    Approved,
    Assets,
    Command,
    Denied,
    Event,
    Fill,
    Intent,
    Link,
    ModelStatus,
    OrderUpdate,
    Reconciliation,
    TradingState,
    TradingStateChanged,
)  # fmt: skip
from engine.orders import TERMINAL, Order, OrderBook
from engine.portfolio import Portfolio
from engine.risk.control import Control
from engine.risk.egress import Egress
from engine.risk.exposure import BuyingPower, Exposure, OpenOrders, PositionLimit, ReduceOnly, SelfTrade
from engine.risk.limits import RiskLimits
from engine.risk.link import OrderLink, PositionMismatch, UnknownOutcome
from engine.risk.loss import HAIR, DailyLoss, Drawdown, StrategyLoss
from engine.risk.margin import IntradayMargin
from engine.risk.model_health import STANDING, ModelHealth
from engine.risk.override import Override, adopt
from engine.risk.post_trade import PostTrade
from engine.risk.price import DataFreshness, MarketOrderGuard, PriceCollar
from engine.risk.proposal import Pricing, Proposal
from engine.risk.rate import (
    DailyOrders,
    DuplicateOrder,
    MessageRate,
    OrderAge,
    RejectBreaker,
    RepeatedExecution,
    Turnover,
)
from engine.risk.size import ControlledRollout, OrderNotional, OrderQuantity
from engine.risk.state import Latch, MarketState, SessionGate, SymbolPermission, TradingGate
from engine.risk.validity import OrderValidity, readable


class RiskManager:
    """Leave to trade, for one account.

    Attributes:
        due_ns: the next instant at which `expired` has something to name; `NEVER_NS` when no entry rests.
        adv_by_symbol: average daily volume in shares or coins, filled in by whoever knows it.
        controls: all of them, in the order in which they are asked.
        model_health: C34, which says whom a model binds.
        post_trade: C39, which says of what session the broker's statement is due.
    """

    def __init__(
        self, limits: RiskLimits, *, portfolio: Portfolio, orders: OrderBook, sessions: Sessions,
        symbols_by_strategy: Mapping[str, Set[str]], fractionable: Set[str] | None = None,
        shortable: Set[str] | None = None, strategies_by_model: Mapping[str, Set[str]] | None = None,
    ) -> None:  # fmt: skip
        self._portfolio, self._orders, self._sessions = portfolio, orders, sessions
        self._symbols = {strategy: set(symbols) for strategy, symbols in symbols_by_strategy.items()}
        self._pricing, self._latch = Pricing(limits), Latch()
        self._session_begun = False
        self.adv_by_symbol: dict[str, float] = {}
        self.due_ns = NEVER_NS
        self._validity = OrderValidity(fractionable)
        notional, quantity = OrderNotional(limits), OrderQuantity(limits, self.adv_by_symbol)
        self._egress, self._rejects = Egress(limits), RejectBreaker(limits, self._latch)
        self._age = OrderAge(limits, orders, sessions)
        self._daily_loss, self._drawdown = DailyLoss(limits, portfolio), Drawdown(limits, portfolio)
        self._strategy_loss = StrategyLoss(limits, portfolio)
        self._unknown, self._link = UnknownOutcome(limits, self._latch), OrderLink(limits)
        self._mismatch, self._market_state = PositionMismatch(self._latch), MarketState(limits, shortable)
        self._margin, self._override = IntradayMargin(limits, portfolio), Override(limits)
        self.model_health = ModelHealth(limits, notional, quantity, strategies_by_model or {})
        self.post_trade = PostTrade(portfolio, self._latch)
        self.controls: tuple[Control, ...] = (
            self._validity, TradingGate(self._latch), SymbolPermission(self._symbols),
            SessionGate(limits, always_open=sessions.always_open), DataFreshness(limits), MarketOrderGuard(limits),
            PriceCollar(limits), ReduceOnly(limits), self._market_state, SelfTrade(),
            DuplicateOrder(limits, orders), notional, quantity, ControlledRollout(limits, notional, quantity),
            self.model_health,
            PositionLimit(limits), Exposure(limits, portfolio), BuyingPower(limits, portfolio), self._margin,
            OpenOrders(limits, orders), MessageRate(limits), DailyOrders(limits), Turnover(limits), self._daily_loss,
            self._drawdown, self._strategy_loss, RepeatedExecution(limits, portfolio), self._rejects, self._age,
            self._unknown, self._mismatch, self._link, self.post_trade, self._override, self._egress,
        )  # fmt: skip
        later = [control for control in self.controls if control is not self._validity]
        self._entry_checks = _overridden(later, "check")
        self._reduction_checks = _overridden([control for control in later if control.binds_reductions], "check")
        self._session_hooks = _overridden(self.controls, "on_session")
        self._approved_hooks = _overridden(self.controls, "on_approved")
        self._fill_hooks = _overridden(self.controls, "on_fill")
        self._update_hooks = _overridden(self.controls, "on_update")

    # --- orders ----------------------------------------------------------------------------------------------------

    def review(self, order: Order, now_ns: int) -> Approved | Denied:
        """Run every control that binds the order; an approval may carry an amended intent."""
        p = Proposal(order, now_ns, self._sessions.at(now_ns), self._portfolio, self._orders)
        reason: str | None = self._validity.check(p)
        if reason is not None:
            return Denied(readable(order.intent), now_ns, self._validity.label, reason)
        p.measure(self._pricing)
        for control in self._reduction_checks if p.reduces else self._entry_checks:
            reason = control.check(p)
            if reason is not None:
                return _denied(control, p, reason)
        for control in self._approved_hooks:
            control.on_approved(p)
        order.is_entry = not p.reduces
        if order.is_entry:
            order.cost_price = p.cost_price
            if self._age.due_ns < self.due_ns:
                self.due_ns = self._age.due_ns
        return self._egress.issue(p, p.intent if p.limit_price is p.intent.limit_price else _as_limit(p))

    def consume(self, approved: Approved, now_ns: int) -> None:
        """Take the one use that an approval has, just before its order is sent.

        Raises:
            InvariantError: the approval is unknown, used, expired or for another order; trading is halted.
        """
        reason = self._egress.refuses(approved, now_ns)
        if reason is not None:
            self.halt(now_ns, self._egress.label, reason)
            raise InvariantError(f"{self._egress.label}: {reason}; nothing was sent and trading is halted")

    def reduces(self, order: Order) -> bool:
        """Tell whether an open order only protects or closes what its strategy holds."""
        if order.parent is not None:
            return True
        held = self._portfolio.book(order.strategy).position(order.symbol).qty
        return held * order.sign < 0 and order.remaining_qty <= abs(held)

    def expired(self, now_ns: int) -> list[str]:
        """Return the ids of entries that have rested too long, or have to go because the order stream is down."""
        found = self._age.expired(now_ns)
        if self._link.cancels(now_ns):
            found += [order.id for order in self._orders.open.values() if order.is_entry and order.id not in found]
        self._wait()
        return found

    def overdue(self, now_ns: int) -> Sequence[Event]:
        """Return what has to be done because something has lasted too long."""
        found = self._unknown.overdue(now_ns) if now_ns >= self._unknown.due_ns else ()
        if now_ns >= self._override.due_ns:
            before = self._override.limits
            found = [*found, *self._override.end(now_ns)]
            self._put_in_force(before, now_ns)
        self._wait()
        return found

    def _wait(self) -> None:
        self.due_ns = min(min(self._age.due_ns, self._link.due_ns), min(self._unknown.due_ns, self._override.due_ns))

    # --- what happened ---------------------------------------------------------------------------------------------

    def on_fill(self, order: Order, fill: Fill, now_ns: int) -> Sequence[Event]:
        """Count an execution that is booked already."""
        if order.status in TERMINAL:
            self._forget(order)
        found: Sequence[Event] = ()
        if reason := order.overfill:
            found = (self.halt(now_ns, "overfill", reason),)
        for control in self._fill_hooks:
            if told := control.on_fill(order, fill, now_ns):
                found = [*found, *told]
        if found:
            self._set_floor()
        return found

    def on_update(self, order: Order, update: OrderUpdate, now_ns: int) -> Sequence[Event]:
        """Count the venue's word on an order, which the order shows already."""
        if order.status in TERMINAL:
            self._forget(order)
        found: Sequence[Event] = ()
        for control in self._update_hooks:
            if told := control.on_update(order, update, now_ns):
                found = [*found, *told]
        if found:
            self._set_floor()
        if self._unknown.due_ns < self.due_ns:
            self.due_ns = self._unknown.due_ns
        return found

    def on_link(self, link: Link, now_ns: int) -> None:
        """The order stream came up or went down."""
        self._link.on_link(link, now_ns)
        self._wait()

    def on_assets(self, found: Assets) -> None:
        """The broker said what may be traded, in fractions, and short."""
        self._validity.fractionable = frozenset(found.fractionable)
        self._market_state.tradable = frozenset(found.tradable)
        self._market_state.shortable = frozenset(found.shortable)

    def on_reconciliation(self, found: Reconciliation, now_ns: int) -> Sequence[Event]:
        """The broker's account was compared with our books."""
        self.post_trade.is_watching = True
        return self._mismatch.on_reconciliation(found, now_ns)

    def on_terms(self, terms: AccountTerms) -> None:
        """The broker declares how far the account may borrow, and how often it has day-traded."""
        self._portfolio.multiplier, self._margin.day_trades = terms.multiplier, terms.day_trades

    def on_statement(self, statement: AccountStatement, now_ns: int) -> Sequence[Event]:
        """The broker's statement of a session has come."""
        return self.post_trade.on_statement(statement, now_ns)

    def on_model(self, status: ModelStatus, now_ns: int) -> Sequence[Event]:
        """A model's health has changed, or it failed."""
        if status.state not in STANDING:
            return ()
        self.model_health.on_model(status)
        if status.action != "halt" or self._latch.is_latched:
            return ()
        return (self.halt(now_ns, self.model_health.label, f"model {status.model}: {status.reason}"),)

    def on_override(self, asked: Command, now_ns: int) -> Sequence[Event]:
        """A person puts another value in the place of a limit: for a while, or a narrower one for good."""
        before = self._override.limits
        found = (self._override.keep if asked.action == "tighten" else self._override.begin)(asked, now_ns)
        if found:
            self._put_in_force(before, now_ns)
            self._wait()
        return found

    def _put_in_force(self, before: RiskLimits, now_ns: int) -> None:
        """Give every control the limits in force, and leave what it has counted."""
        fresh = [
            RiskManager(limits, portfolio=self._portfolio, orders=self._orders, sessions=self._sessions,
                        symbols_by_strategy=self._symbols)
            for limits in (before, self._override.limits)
        ]  # fmt: skip
        for control, was, will in zip(self.controls, fresh[0].controls, fresh[1].controls, strict=True):
            was.on_session(self._daily_loss.start_usd, now_ns)
            will.on_session(self._daily_loss.start_usd, now_ns)
            adopt(control, was, will)
        self._pricing = fresh[1]._pricing
        self._unknown.wait()
        self._set_floor()

    @property
    def limits(self) -> RiskLimits:
        """The limits in force."""
        return self._override.limits

    @property
    def file_limits(self) -> RiskLimits:
        """The limits of the run's file, as it stands by now."""
        return self._override.file

    def on_session(self, now_ns: int) -> Sequence[Event]:
        """Begin a session: capture its equity, reset the counters of a day, lift what lasted only for the last."""
        self._session_begun = True
        equity_usd = self._portfolio.equity_usd()
        self._portfolio.value(equity_usd)
        for control in self._session_hooks:
            control.on_session(equity_usd, now_ns)
        found: Sequence[Event] = ()
        if self._latch.cause == self._daily_loss.label and self.state == "reduce_only":
            found = (self._latch.set("active", now_ns, self._daily_loss.label, "a new session"),)
        self._set_floor()
        return found

    def on_loss(self, now_ns: int) -> Sequence[Event]:
        """Decide exactly whether a loss limit is broken, after `Portfolio.mark` said that one may be."""
        equity_usd = self._portfolio.equity_usd()
        self._portfolio.value(equity_usd)
        for control in (self._drawdown, self._daily_loss):
            reason = control.halts(equity_usd)
            if reason is not None:
                return (self.halt(now_ns, control.label, reason),)
        reason = self._daily_loss.stops_entries(equity_usd)
        if reason is not None and self.state == "active":
            return (self.reduce_only(now_ns, self._daily_loss.label, reason),)
        return ()

    def check_strategies(self, now_ns: int) -> Sequence[Event]:
        """Halt the strategies that have lost too much; costs a look at every position."""
        return self._strategy_loss.look(now_ns)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Let whoever may trade a symbol trade it under its new name."""
        for symbols in self._symbols.values():
            if symbol in symbols:
                symbols.add(new_symbol)

    # --- state -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> TradingState:
        return self._latch.state

    @property
    def cause(self) -> str:
        """The control, or `operator`, behind a state that is not active; empty while it is."""
        return self._latch.cause

    def activate(self, now_ns: int) -> TradingStateChanged:
        """Begin to trade: warm-up or recovery is over. A halt that came before stays."""
        if not self._session_begun:
            self.on_session(now_ns)
        changed = self._latch.activate(now_ns)
        self._set_floor()
        return changed

    def halt(self, now_ns: int, control: str, reason: str) -> TradingStateChanged:
        """Latch at once: from here on only reductions and cancels pass, until a person resumes."""
        return self._change("halted", now_ns, control, reason)

    def reduce_only(self, now_ns: int, control: str, reason: str) -> TradingStateChanged:
        """Let only reductions and cancels pass."""
        return self._change("reduce_only", now_ns, control, reason)

    def resume(self, now_ns: int, control: str, reason: str) -> TradingStateChanged:
        """A person lets trading go on, and with that has taken note of what stopped it.

        Rejections are counted afresh, and a drawdown from the present equity. A loss of the session still counts: while
        it is beyond its limit, the next price stops trading again.
        """
        self._rejects.reset()
        if self._latch.cause == self._drawdown.label:
            self._portfolio.peak = self._portfolio.equity
        return self._change("active", now_ns, control, reason)

    def _change(self, state: TradingState, now_ns: int, control: str, reason: str) -> TradingStateChanged:
        changed = self._latch.set(state, now_ns, control, reason)
        self._set_floor()
        return changed

    def _set_floor(self) -> None:
        """Put the portfolio's tripwire a hair above the next loss limit; there is none once all is halted."""
        portfolio = self._portfolio
        if self.state == "halted":
            portfolio.floor, portfolio.peak_kept = -inf, 0.0
            return
        daily = self._daily_loss
        next_usd = daily.reduce_only_below_usd if self.state == "active" else daily.halt_below_usd
        portfolio.peak_kept = _above(self._drawdown.kept)
        portfolio.floor = max(_above(float(next_usd)), portfolio.peak * portfolio.peak_kept)

    def _forget(self, order: Order) -> None:
        if order.is_entry:
            self._age.forget_ended()
            self._wait()


def _denied(control: Any, p: Proposal, reason: str) -> Denied:
    return Denied(p.intent, p.now_ns, control.label, reason)


def _overridden(controls: Sequence[Control], name: str) -> tuple[Control, ...]:
    """Return the controls for which this method does something."""
    return tuple(control for control in controls if getattr(type(control), name) is not getattr(Control, name))


def _above(value: float) -> float:
    return value + abs(value) * HAIR


def _as_limit(p: Proposal) -> Intent:
    return replace(p.intent, type="limit", limit_price=p.limit_price)
