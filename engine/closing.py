"""Positions that a person, or a model's health, wants closed: worked on until they are, or are wanted open again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from engine.events import SECOND_NS, CancelRequest, StrategyHalted
from engine.orders import Order
from engine.strategy import Strategy

if TYPE_CHECKING:
    from engine.desk import Desk

LOOK_EVERY_NS: Final = SECOND_NS
TRIES_MAX: Final = 10


class Closing:
    """Close positions at the market, each once the venue has confirmed that nothing of its symbol is open any more.

    Meanwhile its strategy may put new orders in the way, as exits are always allowed: they are canceled too, and the
    `TRIES_MAX`th time the strategy is halted. A closing order that comes to nothing is asked for again, as often at
    most; then the position stays, and its strategy is halted, which tells people. While strategies only watch, nothing
    is asked for. What several want closed, a person and a model, is given up when none of them wants it any more.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._targets: list[_Target] = []
        self._is_due = False

    def begin(self, strategies: Iterable[Strategy], by: str, reason: str) -> None:
        """Cancel what strategies have asked for, and close what they hold, or get before it is canceled."""
        known = {(one.strategy.name, one.symbol): one for one in self._targets}
        for strategy in strategies:
            ordered = [order.symbol for order in strategy.open_orders()]
            for symbol in dict.fromkeys((*strategy.portfolio.positions, *ordered)):
                target = known.get((strategy.name, symbol))
                if target is None:
                    target = _Target(strategy, symbol, self._desk.now_ns)
                    self._targets.append(target)
                target.wanted[by] = reason
        self._work_on()

    def give_up(self, by: str) -> None:
        """Leave open what is: whoever wanted it closed wants it no more."""
        for target in self._targets:
            target.wanted.pop(by, None)
        self._targets = [target for target in self._targets if target.wanted]

    def _look(self, _ts_ns: int) -> None:
        self._is_due = False
        self._work_on()

    def _work_on(self) -> None:
        self._targets = [target for target in self._targets if not self._advance(target)]
        if self._targets and not self._is_due:
            self._is_due = True
            self._desk.schedule.at(self._desk.now_ns + LOOK_EVERY_NS, self._look)

    def _advance(self, target: _Target) -> bool:
        """Take the next step towards a closed position; return whether none is left."""
        strategy, symbol, order = target.strategy, target.symbol, target.order
        if order is not None and (order.is_open or order.status == "filled"):
            return not order.is_open  # what is opened after it is another matter
        in_the_way = strategy.open_orders(symbol)
        if not in_the_way:
            held = strategy.portfolio.position(symbol).qty
            if not held:
                return True
            if self._desk.warming_up:
                return False
            if target.closings >= TRIES_MAX:
                last = order.reason if order is not None else ""
                self._halt(target, f"{held} {symbol} stay open: {TRIES_MAX} closing orders came to nothing: {last}")
                return True
            target.closings += 1
            target.order = strategy.close_position(symbol)
            return False
        now, looked_ns, target.looked_ns = self._desk.now_ns, target.looked_ns, self._desk.now_ns
        target.obstructed += any(order.created_ns > looked_ns for order in in_the_way)
        if target.obstructed >= TRIES_MAX:
            self._silence(target)
        by, reason = next(iter(target.wanted.items()))
        for order in in_the_way:  # one that was asked already is asked again only after a while
            self._desk.outbox.append(CancelRequest(order.id, now, f"{by}: {reason}"))
        return False

    def _silence(self, target: _Target) -> None:
        for one in self._targets:
            if one.strategy is target.strategy:
                one.closings = one.obstructed = 0
        self._desk.wiring.drop(target.strategy.name)
        self._halt(target, f"{TRIES_MAX} times its new orders have kept {target.symbol} from being closed")

    def _halt(self, target: _Target, reason: str) -> None:
        halted = StrategyHalted(target.strategy.name, self._desk.now_ns, next(iter(target.wanted)), reason)
        self._desk.supervisor.apply([halted])


class _Target:
    """One strategy's position in one symbol, who wants it closed and why, and the order that is to close it."""

    __slots__ = ("closings", "looked_ns", "obstructed", "order", "strategy", "symbol", "wanted")

    def __init__(self, strategy: Strategy, symbol: str, now_ns: int) -> None:
        self.strategy, self.symbol, self.looked_ns = strategy, symbol, now_ns
        self.wanted: dict[str, str] = {}
        self.order: Order | None = None
        self.closings = self.obstructed = 0
