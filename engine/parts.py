"""What a configuration names, built part by part: clock, feed, books, venue and strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine import bars, logs, plugins
from engine.clock import Clock, LiveClock, Sessions
from engine.config import RunConfig, StrategyConfig
from engine.errors import ConfigError, suggestion
from engine.market import ZERO
from engine.portfolio import Portfolio
from engine.ports import Account, Feed, LiveFeed, SilentBroker, SilentFeed
from engine.record.line import fingerprint
from engine.strategy import Strategy, configure


def clock_of(config: RunConfig) -> Clock:
    """Return the clock that a run goes by: the machine's, or one that its feed names, as a local server does."""
    named = getattr(plugins.load(plugins.FEED, config.feed.use), "clock", None)
    clock: Clock = named(config.feed.settings) if named is not None else LiveClock()
    return clock


def feed_of(config: RunConfig, sessions: Sessions, *, clock: Clock, again: bool = False) -> Feed | LiveFeed:
    """Return a run's feed; done over `again`, a live one is silent.

    Raises:
        ConfigError: `as_received` beside a feed that is no tape.
    """
    feed_class, settings = plugins.load(plugins.FEED, config.feed.use), config.feed.settings
    if hasattr(feed_class, "batches"):
        tape: Feed = feed_class(settings)
        received = config.feed.as_received
        return SilentFeed(tape.symbols, fingerprint(received, tape)) if again and received is not None else tape
    if config.feed.as_received is not None:
        raise ConfigError(f"feed.as_received: '{config.feed.use}' is no tape; name the feed that the venue played")
    if again:
        return SilentFeed(getattr(settings, "symbols", ()))
    live: LiveFeed = feed_class(settings, mode=config.mode, sessions=sessions, seed=config.seed, clock=clock)
    return live


def portfolio_of(config: RunConfig) -> Portfolio:
    """Return the books that a run begins with; those of a live account are known once it is opened."""
    settings = config.broker.settings
    return Portfolio(getattr(settings, "cash_usd", ZERO), multiplier=getattr(settings, "multiplier", 1))


def broker_of(config: RunConfig, sessions: Sessions, account: Account, *, clock: Clock, again: bool = False) -> Any:
    """Return a run's venue; done over `again`, one that trades for real is silent.

    Raises:
        ConfigError: it would trade for real on a tape, or one of its models cannot be built.
    """
    broker_class, settings = plugins.load(plugins.BROKER, config.broker.use), config.broker.settings
    if broker_class.simulated:
        models = _models(broker_class, settings)
        return broker_class(settings, sessions=sessions, account=account, seed=config.seed, **models)
    if hasattr(plugins.load(plugins.FEED, config.feed.use), "batches"):
        raise ConfigError(f"broker '{config.broker.use}' trades for real; a tape would have it trade on the past")
    if again:
        return SilentBroker()
    return broker_class(settings, mode=config.mode, seed=config.seed, clock=clock)


def _models(broker_class: Any, settings: Any) -> dict[str, Any]:
    """Build the models of a simulated venue that its settings name and that it does not have itself."""
    found = {}
    for key, params, group, built_in in getattr(broker_class, "pluggable", ()):
        name = getattr(settings, key)
        if name not in built_in and (":" in name or name in plugins.available(group)):
            model = plugins.load(plugins.Kind(group, f"model for broker.{key}", callable), name)
            try:
                found[key] = model(**getattr(settings, params, {}))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"broker.{key}: {error}") from error
    return found


def strategies_of(config: RunConfig, known: Sequence[str]) -> list[Strategy]:
    """Make the strategies, each with its name and its symbols among those that the feed knows."""
    strategies = []
    for one in config.strategies:
        strategy = configure(plugins.load(plugins.STRATEGY, one.use), one.params)
        vars(strategy).update(name=one.name, symbols=_symbols(one, known), _logger=logs.logger)
        strategies.append(strategy)
    return strategies


def _symbols(strategy: StrategyConfig, known: Sequence[str]) -> tuple[str, ...]:
    wanted, key = strategy.symbols, f"strategies.{strategy.name}.symbols"
    if "*" in known and "*" in wanted:
        raise ConfigError(f"{key}: a feed of all symbols needs a strategy that names its own")
    for symbol in wanted:
        if symbol != "*" and symbol not in known and "*" not in known:
            raise ConfigError(f"{key}: '{symbol}' is on no tape of the feed{suggestion(symbol, known)}")
    return tuple(known) if "*" in wanted else tuple(wanted)


def intervals_ns_of(config: RunConfig) -> dict[str, int]:
    """Return the bars that each strategy asks for, by its name; 0 takes them as they come."""
    return {one.name: bars.interval_ns(one.bar) if one.bar else 0 for one in config.strategies}
