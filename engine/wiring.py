"""Who hears what: from each symbol's events to the callbacks that strategies have overridden.

Worked out before the first event and again only when a bar of another length, a new name of a symbol or the end of a
strategy changes it, so that the corridor calls a ready tuple of bound methods and asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import Any

from engine.bars import SESSION_NS, BarBuilder, interval_text, kind_ns
from engine.clock import Sessions
from engine.errors import ConfigError, InvariantError
from engine.events import Bar, InboxEvent
from engine.market import Callback, Callbacks, Market
from engine.portfolio import Portfolio
from engine.schedule import Schedule
from engine.strategy import CALLBACKS, Strategy


class Wiring:
    """The callbacks of every strategy, by strategy and by symbol.

    `bar_intervals_ns` says which bars each strategy asked for; 0 takes them as they come. `wrap` may put a time-keeper
    around each callback.
    """

    def __init__(
        self,
        strategies: Sequence[Strategy],
        bar_intervals_ns: Mapping[str, int],
        *,
        portfolio: Portfolio,
        sessions: Sessions,
        schedule: Schedule,
        wrap: Callable[[Callback, str], Callback] | None = None,
    ) -> None:
        self._portfolio, self._sessions, self._schedule = portfolio, sessions, schedule
        self._intervals_ns = dict(bar_intervals_ns)
        self._strategies = list(strategies)
        self._callbacks: dict[tuple[str, str], Callback] = {}
        self._builders: dict[tuple[str, int, int], BarBuilder] = {}
        self._served: set[str] = set()
        self._misfits: dict[str, ConfigError] = {}
        self.on_order: dict[str, Callbacks] = {}
        self.on_fill: dict[str, Callbacks] = {}
        self.tell: Callable[[Callbacks, Any], None] = _unwired
        for strategy in strategies:
            for name in CALLBACKS:
                if getattr(type(strategy), name) is not getattr(Strategy, name):
                    callback = getattr(strategy, name)
                    if name in ("on_start", "on_stop"):
                        callback = update_wrapper(partial(_without_event, callback), callback)
                    self._callbacks[strategy.name, name] = wrap(callback, strategy.name) if wrap else callback
        self._subscribe()

    def callback(self, strategy: str, name: str) -> Callback | None:
        """Return a strategy's own callback, None when it has not overridden it or was stopped."""
        return self._callbacks.get((strategy, name))

    def owner(self, callback: Callback) -> str | None:
        """Return the name of the strategy that a callback belongs to, None when it is the engine's own."""
        return next((strategy for (strategy, _), known in self._callbacks.items() if known == callback), None)

    def hearing(self, name: str, symbols: Sequence[str] = ()) -> Callbacks:
        """Return the callbacks of the strategies subscribed to any of `symbols`, or of all when there are none."""
        return tuple(
            found
            for strategy in self._strategies
            if (found := self._callbacks.get((strategy.name, name)))
            and (not symbols or not {*symbols}.isdisjoint(strategy.symbols))
        )

    def check_bars(self, events: Iterable[InboxEvent]) -> None:
        """Refuse, before a run begins, what the bars that each symbol begins with do not serve.

        Raises:
            ConfigError: a strategy wants shorter bars than these, or ones that they do not add up to.
        """
        seen: set[str] = set()
        for event in events:
            if not isinstance(event, Bar) or event.symbol in seen or self._is_session(event.interval_ns):
                continue
            seen.add(event.symbol)
            for strategy, _ in self._bar_callbacks(event.symbol):
                if misfit := self._misfit(strategy, event.symbol, event.interval_ns):
                    raise misfit

    def _on_new_span(self, market: Market, bar: Bar) -> None:
        """Point a market's bars of this length at those who asked for them, through builders of longer ones.

        Whoever has no use for them is told by a `ConfigError`, in its own place, as if its `on_bar` had raised it.
        """
        interval_ns = bar.interval_ns
        if interval_ns not in market.routes:
            market.routes[interval_ns] = tuple(self._bar_route(market, interval_ns))
        market.bar_interval_ns, market.on_bar = interval_ns, market.routes[interval_ns]
        self.tell(market.on_bar, bar)

    def check_heard(self) -> None:
        """Refuse, once all bars have come, what asked for short ones and would have heard of days alone.

        Raises:
            ConfigError: naming the first such strategy.
        """
        for strategy, error in self._misfits.items():
            if strategy not in self._served:
                raise error

    def drop(self, strategy: str) -> None:
        """Call nothing of a strategy any more."""
        self._strategies = [other for other in self._strategies if other.name != strategy]
        self._callbacks = {key: value for key, value in self._callbacks.items() if key[0] != strategy}
        self._misfits.pop(strategy, None)  # whatever stopped it has been told
        self._subscribe()

    def hand_on_ended_bars(self, now_ns: int) -> None:
        """Give out the built bars that have ended and still wait for their last part."""
        for builder in [*self._builders.values()]:
            builder.hand_on_if_ended(now_ns)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Let those who follow a symbol follow it under its new name too."""
        for strategy in self._strategies:
            if symbol in strategy.symbols and new_symbol not in strategy.symbols:
                vars(strategy)["symbols"] = (*strategy.symbols, new_symbol)
        self._subscribe()

    def _subscribe(self) -> None:
        self.on_order = {one.name: self._own(one, "on_order") for one in self._strategies}
        self.on_fill = {one.name: self._own(one, "on_fill") for one in self._strategies}
        for market in self._portfolio.markets.values():
            market.routes, market.bar_interval_ns = {}, 0
            market.on_bar = market.on_new_span = market.on_quote = market.on_trade = ()
        for strategy in self._strategies:
            for symbol in strategy.symbols:
                market = self._portfolio.market(symbol)
                market.on_new_span = (partial(self._on_new_span, market),)
                market.on_quote += self._own(strategy, "on_quote")
                market.on_trade += self._own(strategy, "on_trade")

    def _own(self, strategy: Strategy, name: str) -> Callbacks:
        found = self._callbacks.get((strategy.name, name))
        return (found,) if found else ()

    def _bar_route(self, market: Market, interval_ns: int) -> list[Callable[[Bar], None]]:
        builders: dict[int, BarBuilder] = {}
        route: list[Callable[[Bar], None]] = []
        for strategy, callback in self._bar_callbacks(market.symbol):
            wanted, misfit = self._intervals_ns[strategy.name], self._misfit(strategy, market.symbol, interval_ns)
            if misfit is None:
                self._served.add(strategy.name)
                if wanted in (0, kind_ns(interval_ns, self._sessions)):
                    route.append(callback)
                else:
                    builders[wanted] = self._builder(market.symbol, interval_ns, wanted)
            elif self._is_session(interval_ns):  # days come beside shorter bars, for models or other strategies
                self._misfits.setdefault(strategy.name, misfit)
            else:
                refusal = self._callbacks[strategy.name, "misfit"] = partial(_refuse, misfit)
                route.append(refusal)
        return [*route, *builders.values()]

    def _misfit(self, strategy: Strategy, symbol: str, interval_ns: int) -> ConfigError | None:
        """Return why bars of this length neither are what a strategy asked for nor add up to it, None when they do."""
        wanted, comes = self._intervals_ns[strategy.name], kind_ns(interval_ns, self._sessions)
        if wanted in (0, comes) or (wanted > comes and (wanted == SESSION_NS or wanted % interval_ns == 0)):
            return None
        return ConfigError(
            f"strategy '{strategy.name}' asks for bars of {interval_text(wanted)}, and {symbol} comes in"
            f" bars of {interval_text(comes)}: ask for a multiple of those, or leave out `bar`"
        )

    def _is_session(self, interval_ns: int) -> bool:
        return kind_ns(interval_ns, self._sessions) == SESSION_NS

    def _builder(self, symbol: str, interval_ns: int, wanted: int) -> BarBuilder:
        """Return the builder of these bars: the one that has a bucket in hand already, whoever came or went since."""
        key = symbol, interval_ns, wanted
        if key not in self._builders:
            self._builders[key] = BarBuilder(wanted, self._sessions, self._schedule, partial(self._hand_on, wanted))
        return self._builders[key]

    def _hand_on(self, wanted: int, bar: Bar) -> None:
        """Give a bar that was put together to those who ask for its length by now."""
        asking = self._bar_callbacks(bar.symbol)
        self.tell(tuple(call for strategy, call in asking if self._intervals_ns[strategy.name] == wanted), bar)

    def _bar_callbacks(self, symbol: str) -> list[tuple[Strategy, Callback]]:
        return [
            (strategy, callback)
            for strategy in self._strategies
            if symbol in strategy.symbols and (callback := self._callbacks.get((strategy.name, "on_bar")))
        ]


def _without_event(callback: Callable[[], None], _event: Any) -> None:
    callback()


def _refuse(misfit: ConfigError, _bar: Bar) -> None:
    raise misfit


def _unwired(callbacks: Callbacks, event: Any) -> None:
    raise InvariantError("the corridor has not taken over the wiring")
