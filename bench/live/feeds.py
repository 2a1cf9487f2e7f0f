"""What the venue plays: prints in bursts to be answered at once, and whole-market minutes."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from engine.events import MINUTE_NS, SECOND_NS, Bar, MarketEvent, Quote, Trade

START_NS = 1_704_294_000 * SECOND_NS
"""2024-01-03, 10:00 in New York: half an hour after the open, so that two hours fit."""
TICK = "TICK"


def symbols(n_symbols: int) -> tuple[str, ...]:
    """Return the names of a market of this size."""
    return tuple(f"S{index:05d}" for index in range(n_symbols))


class Bursts:
    """Bursts of prints of one symbol; after each print a quote that fills what was ordered on it.

    Several venues that start together and have another `offset_s` burst in turns, never at the same time.
    """

    class Settings(BaseModel):
        """How many, and when."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        bursts: int
        ticks: int
        every_ms: float
        burst_every_s: float
        offset_s: float

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.symbols, self.fingerprint = (TICK,), ""
        seconds = settings.offset_s + settings.bursts * settings.burst_every_s
        self.span_ns = (START_NS, START_NS + round(seconds * SECOND_NS))

    def batches(self) -> Iterator[list[MarketEvent]]:
        """Yield a burst at a time."""
        chosen = self.settings
        step_ns = round(chosen.every_ms * 1e6)
        yield [Quote(TICK, START_NS, START_NS, 99.99, 10_000.0, 100.01, 10_000.0)]
        for burst in range(chosen.bursts):
            first_ns = START_NS + round((chosen.offset_s + burst * chosen.burst_every_s) * SECOND_NS)
            made: list[MarketEvent] = []
            for number in range(chosen.ticks):
                print_ns = first_ns + number * step_ns
                quote_ns = print_ns + step_ns // 2
                made.append(Trade(TICK, print_ns, print_ns, 100.0, 100.0, trade_id=str(print_ns)))
                made.append(Quote(TICK, quote_ns, quote_ns, 99.99, 10_000.0, 100.01, 10_000.0))
            yield made


class Market:
    """The bars of a whole market, minute by minute; each minute comes in within `spread_s` after its end.

    `n_movers` symbols, spread over the market and the last two among them, jump up and down by turns; the others stand.
    """

    class Settings(BaseModel):
        """How large, and how long."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        n_symbols: int
        minutes: int
        spread_s: float
        n_movers: int = 40

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.symbols, self.fingerprint = symbols(settings.n_symbols), ""
        self.span_ns = (START_NS, START_NS + settings.minutes * MINUTE_NS + round(settings.spread_s * SECOND_NS))

    def batches(self) -> Iterator[list[MarketEvent]]:
        """Yield a minute at a time."""
        chosen, n_symbols = self.settings, self.settings.n_symbols
        step_ns = round(chosen.spread_s * SECOND_NS) // n_symbols
        movers = {index * n_symbols // chosen.n_movers for index in range(chosen.n_movers)}
        movers |= {n_symbols - 2, n_symbols - 1}
        for minute in range(1, chosen.minutes + 1):
            ts_ns = START_NS + minute * MINUTE_NS
            made: list[MarketEvent] = []
            for index, symbol in enumerate(self.symbols):
                is_up = index in movers and (index + minute) % 2
                prices = (110.0,) * 4 if is_up else (100.0,) * 4
                made.append(Bar(symbol, ts_ns, ts_ns + index * step_ns, *prices, 10_000.0, MINUTE_NS, prices[0], 9))
            yield made
