"""C01 and C22 to C24, C31: whether trading, the strategy, the symbol and the venue are open for an order at all."""

from __future__ import annotations

from collections.abc import Mapping, Set

from engine.events import SECOND_NS, TradingState, TradingStateChanged
from engine.risk.control import Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal


class Latch:
    """The trading state, and what it is due to. A halt is a latch: only a person resumes.

    Attributes:
        state: `halted` until `activate`, so that nothing trades before warm-up or recovery is over.
        cause: the control, or the person, behind a state that is not active.
    """

    __slots__ = ("_latched", "cause", "started", "state")

    def __init__(self) -> None:
        self.state: TradingState = "halted"
        self._latched: TradingState = "active"
        self.started = False
        self.cause = ""

    @property
    def is_latched(self) -> bool:
        """Whether somebody has halted trading, be it before it began."""
        return self._latched == "halted"

    def activate(self, now_ns: int) -> TradingStateChanged:
        """Begin to trade, unless something halted it meanwhile."""
        self.started = True
        self.state = self._latched
        reason = f"halted meanwhile by {self.cause}" if self.cause else "ready to trade"
        return TradingStateChanged(self.state, now_ns, TradingGate.label, reason)

    def set(self, state: TradingState, now_ns: int, cause: str, reason: str) -> TradingStateChanged:
        """Change the state at once; before the start, only what `activate` will find."""
        self._latched = state
        self.cause = "" if state == "active" else cause
        if self.started:
            self.state = state
        return TradingStateChanged(state, now_ns, cause, reason)


class TradingGate(Control):
    """Let entries pass only while trading is active and their strategy is not halted; reductions once it has begun."""

    code = "C01"
    name = "trading_state"
    binds_reductions = True

    def __init__(self, latch: Latch) -> None:
        self._latch = latch

    def check(self, p: Proposal) -> str | None:
        latch = self._latch
        if latch.state == "active" and not p.book.halted:
            return None
        if not latch.started:
            return "trading has not begun"
        if p.reduces:
            return None
        if latch.state == "active":
            return f"strategy {p.book.name} is halted"
        return f"trading is {latch.state} by {latch.cause}"


class SymbolPermission(Control):
    """Let a strategy enter only the symbols on its list; a strategy without a list may enter nothing."""

    code = "C22"
    name = "symbol_permission"

    def __init__(self, symbols_by_strategy: Mapping[str, Set[str]]) -> None:
        self._symbols = symbols_by_strategy

    def check(self, p: Proposal) -> str | None:
        if p.order.symbol in self._symbols.get(p.order.strategy, ()):
            return None
        return f"{p.order.symbol} is not among the symbols of {p.order.strategy}"


class MarketState(Control):
    """Refuse entries in a halted symbol, outside its limit-up-limit-down band, and what the venue does not trade.

    Attributes:
        tradable, shortable: the symbols that may be traded, and borrowed; None leaves it to the venue.
    """

    code = "C23"
    name = "market_state"

    def __init__(self, limits: RiskLimits, shortable: Set[str] | None) -> None:
        self.tradable: Set[str] | None = None
        self.shortable = shortable
        self._allow_short = limits.allow_short_selling

    def check(self, p: Proposal) -> str | None:
        market = p.market
        if market.halted:
            return f"{market.symbol} is halted"
        if self.tradable is not None and market.symbol not in self.tradable:
            return f"{market.symbol} cannot be traded at the broker"
        up, down = market.limit_up_price, market.limit_down_price
        if up is not None or down is not None:
            price = float(p.limit_price or p.reference_price)  # a band that is no number refuses
            if (up is not None and not price <= up) or (down is not None and not price >= down):
                return f"price {price} is outside the limit-up-limit-down band {down} to {up}"
        return self._short(p) if p.sign < 0 else None

    def _short(self, p: Proposal) -> str | None:
        short_qty = p.position.open_sell_qty + p.added_qty - p.position.qty
        if short_qty <= 0:
            return None
        symbol = p.market.symbol
        if not self._allow_short:
            return f"would be short {short_qty:,f} {symbol}, and short selling is not allowed"
        if p.crypto or (self.shortable is not None and symbol not in self.shortable):
            return f"would be short {short_qty:,f} {symbol}, which cannot be borrowed"
        if p.intent.qty is None or p.qty % 1:
            return f"a fractional or notional order would be short {short_qty:,f} {symbol}"
        return None


class SessionGate(Control):
    """Refuse entries outside trading hours, and shortly before the close. Crypto trades around the clock."""

    code = "C24"
    name = "session"

    def __init__(self, limits: RiskLimits, *, always_open: bool) -> None:
        self._always_open = always_open
        self._extended, self._queued = limits.allow_extended_hours, limits.allow_queued_entries
        self._before_close_s = limits.no_entry_before_close_s
        self._before_close_ns = round(limits.no_entry_before_close_s * SECOND_NS)

    def check(self, p: Proposal) -> str | None:
        session, now = p.session, p.now_ns
        if session.open_ns <= now < session.close_ns - self._before_close_ns:
            return None
        if self._always_open or p.crypto or p.intent.time_in_force == "opg":  # an opg waits for the open by its nature
            return None
        if session.open_ns <= now < session.close_ns:
            return f"{(session.close_ns - now) / SECOND_NS:.0f} s to the close <= {self._before_close_s:.0f} s"
        if p.intent.extended_hours and session.extended_open_ns <= now < session.extended_close_ns:
            return None if self._extended else "entries in extended hours are not allowed"
        return None if self._queued else "the venue is closed, and entries may not wait for it to open"
