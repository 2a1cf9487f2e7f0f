"""An invented market, the same for the same seed: enough to try the engine without data, a key or a network.

Fictional symbols walk at random in steps of five seconds, busier near the open and the close, with a drift that changes
by the hour, a headline that moves a price, a filing before the open, and a halt. Every event says `source="synthetic"`
and every text says so too: this is no market, and no result on it means anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.clock import Session, Sessions
from engine.errors import ConfigError
from engine.events import (
    EVENT_CLASS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Bar,
    CorporateAction,
    Datum,
    MarketEvent,
    News,
    Quote,
    Status,
)

SOURCE = "synthetic"
EDITION = 1
"""Goes up when the same settings make other events, so that the fingerprint in a journal tells."""

STEP_S = 5
BATCH_EVENTS = 4096
_STEPS_A_MINUTE = 60 // STEP_S
_STEP_VOLATILITY = 0.35 / (252 * 6.5 * 3600 / STEP_S) ** 0.5  # 35 % a year
_DIVIDEND_USD = Decimal("0.25")
_FIRST_PRICES_USD = (42.0, 118.0, 23.5, 250.0, 71.0, 8.4)
_NEWS = (
    ("raises its invented outlook", 0.03),
    ("wins an order that does not exist", 0.02),
    ("cuts its invented outlook", -0.03),
    ("recalls a product that was never sold", -0.02),
)
_IDLE_NEWS = ("moves its made-up office", "names a fictional director", "answers a question nobody asked")

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


class _Story(NamedTuple):
    """What happens in a session besides noise: at `step` a headline moves the symbol at `place`, then it is halted."""

    place: int
    step: int
    headline: str
    jump: float
    halt: slice


class _Walk(NamedTuple):
    """One symbol's session: when each step ends, the price there, and the shares traded; none while it was halted."""

    step_ns: Int64s
    price: Floats
    volume: Floats


class SyntheticFeed:
    """A seeded stream of bars, quotes, headlines, filings and a halt, session after session.

    Attributes:
        symbols: the fictional symbols, sorted.
        span_ns: first and last `ts_recv_ns`.
        fingerprint: SHA-256 over the settings and the edition of the generator, which decide every event.

    Raises:
        ConfigError: the first session is no session of the calendar.
    """

    class Settings(BaseModel):
        """The invented market."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        seed: int = Field(7, ge=0, description="The same seed makes the same market.")
        calendar: str = Field("XNYS", description="Its hours: `24/7`, or a calendar of `exchange_calendars`.")
        first_session: date = Field(date(2024, 3, 4), description="Date of the first session.")
        sessions: int = Field(1, ge=1, le=2520, description="Number of sessions.")
        symbols: tuple[str, ...] = Field(
            ("ALFA", "BRVO", "CHLY", "DLTA"), min_length=1, description="Its symbols, all of them fictional."
        )
        bar_interval_s: int = Field(60, ge=STEP_S, multiple_of=STEP_S, description="Length of a bar in seconds.")
        quotes_per_minute: int = Field(4, ge=0, le=_STEPS_A_MINUTE, description="Quotes a minute and symbol.")
        news: bool = Field(True, description="Headlines, one of which moves a price, and filings before the open.")
        halt: bool = Field(True, description="Halt one symbol for five minutes in the first session.")
        corporate_actions: bool = Field(
            False, description="Before the second session the first symbol splits 2 for 1 and the last pays a dividend."
        )

        @model_validator(mode="after")
        def _has_a_second_session(self) -> SyntheticFeed.Settings:
            if self.corporate_actions and self.sessions < 2:
                raise ValueError("corporate_actions come before the second session, so sessions must be 2 or more")
            return self

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions = _sessions(settings)
        self.symbols = sorted(settings.symbols)
        self.span_ns = (next(self._days())[0].ts_recv_ns, self._sessions[-1].close_ns)
        self.fingerprint = hashlib.sha256(f"{EDITION} {settings.model_dump_json()}".encode()).hexdigest()

    def batches(self) -> Iterator[list[MarketEvent]]:
        """Yield the events in order, a few thousand at a time."""
        for events in self._days():
            for start in range(0, len(events), BATCH_EVENTS):
                yield events[start : start + BATCH_EVENTS]

    def _days(self) -> Iterator[list[MarketEvent]]:
        settings = self._settings
        symbols = settings.symbols
        prices = [_FIRST_PRICES_USD[place % len(_FIRST_PRICES_USD)] for place in range(len(symbols))]
        for day, session in enumerate(self._sessions):
            dice = np.random.default_rng([settings.seed, day])
            story = _story(dice, session, len(symbols), moves=settings.news, halts=settings.halt and day == 0)
            events: list[MarketEvent] = []
            if settings.corporate_actions and day == 1:
                events += _corporate_actions(symbols, session)
                prices[0] /= 2
                prices[-1] -= float(_DIVIDEND_USD)
            if settings.news:
                events += _texts(dice, symbols, session, story)
            for place, symbol in enumerate(symbols):
                own_dice = np.random.default_rng([settings.seed, day, place])
                walk = _walk(own_dice, session, prices[place], story if place == story.place else None)
                prices[place] = float(walk.price[-1])
                events += _bars(symbol, walk, session, settings.bar_interval_s // STEP_S)
                events += _quotes(own_dice, symbol, walk, settings.quotes_per_minute)
            if story.halt.stop:
                events += _halt(symbols[story.place], session, story)
            # Stable, so that symbols at one instant keep the order of the settings.
            yield sorted(events, key=lambda event: (event.ts_recv_ns, EVENT_CLASS[type(event)]))


def _sessions(settings: SyntheticFeed.Settings) -> list[Session]:
    calendar = Sessions(settings.calendar)
    session = calendar.on_date(settings.first_session.isoformat())
    if session is None:
        raise ConfigError(f"feed.first_session: {settings.first_session} is no session of {settings.calendar}")
    sessions = [session]
    while len(sessions) < settings.sessions:
        sessions.append(calendar.at(sessions[-1].extended_close_ns))
    return sessions


def _steps(session: Session) -> int:
    return (session.close_ns - session.open_ns) // (STEP_S * SECOND_NS)


def _story(dice: np.random.Generator, session: Session, symbols: int, *, moves: bool, halts: bool) -> _Story:
    steps = _steps(session)
    step = int(dice.integers(steps // 5, steps // 2))
    headline, jump = _NEWS[int(dice.integers(len(_NEWS)))]
    start = step + 2 * _STEPS_A_MINUTE
    halt = slice(start, start + 5 * _STEPS_A_MINUTE) if halts else slice(0)
    return _Story(int(dice.integers(symbols)), step, headline, jump if moves else 0.0, halt)


def _walk(dice: np.random.Generator, session: Session, price: float, story: _Story | None) -> _Walk:
    steps = _steps(session)
    hours = -(-steps // (60 * _STEPS_A_MINUTE))
    to_edge = np.linspace(-1.0, 1.0, steps) ** 2
    drift = np.repeat(dice.normal(0, 0.03, hours), 60 * _STEPS_A_MINUTE)[:steps]
    moves = _STEP_VOLATILITY * (0.7 + 0.9 * to_edge) * (dice.normal(size=steps) + drift)
    volume = np.ceil(600 * (0.4 + 2 * to_edge**2) * dice.lognormal(0, 0.8, steps))
    if story is not None:
        # Half of the surprise is in the price after half a minute.
        moves[story.step :] += story.jump * np.diff(1 - 0.5 ** (np.arange(steps - story.step + 1) / 6))
        volume[story.step : story.step + 10 * _STEPS_A_MINUTE] *= 4
        moves[story.halt] = volume[story.halt] = 0
    moves[0] += dice.normal(0, 0.006)  # overnight
    step_ns = session.open_ns + np.arange(1, steps + 1) * STEP_S * SECOND_NS
    return _Walk(step_ns, np.maximum(np.round(price * np.exp(np.cumsum(moves)), 2), 1.0), volume)


def _bars(symbol: str, walk: _Walk, session: Session, steps: int) -> Iterator[Bar]:
    """A bar without a trade does not exist; the last one may be shorter."""
    starts = np.arange(0, len(walk.price), steps)
    ends = np.append(starts[1:], len(walk.price)) - 1
    volume = np.add.reduceat(walk.volume, starts)
    value = np.add.reduceat(walk.volume * walk.price, starts)
    end_ns = walk.step_ns[ends]
    traded = volume > 0
    columns = (
        walk.price[starts], np.maximum.reduceat(walk.price, starts), np.minimum.reduceat(walk.price, starts),
        walk.price[ends], volume, np.diff(end_ns, prepend=session.open_ns),
        np.round(value / np.where(traded, volume, 1), 4), np.ceil(volume / 120).astype(np.int64),
    )  # fmt: skip
    instants = end_ns[traded].tolist()
    values = (column[traded].tolist() for column in columns)
    return map(Bar, repeat(symbol), instants, instants, *values, repeat(False), repeat(SOURCE))


def _quotes(dice: np.random.Generator, symbol: str, walk: _Walk, per_minute: int) -> Iterator[Quote]:
    offsets = np.arange(per_minute) * _STEPS_A_MINUTE // max(per_minute, 1)
    steps = (np.arange(0, len(walk.price), _STEPS_A_MINUTE)[:, None] + offsets).ravel()
    steps = steps[steps < len(walk.price)]
    steps = steps[walk.volume[steps] > 0]
    instants = (walk.step_ns[steps] - dice.integers(1, STEP_S * 1000, len(steps)) * 1_000_000).tolist()
    spread = np.maximum(0.01, np.round(walk.price[steps] * 3e-4, 2))
    bid = np.round(walk.price[steps] - spread / 2, 2)
    sizes = (dice.integers(1, 20, (2, len(steps))) * 100.0).tolist()
    prices = (bid.tolist(), np.round(bid + spread, 2).tolist())
    return map(Quote, repeat(symbol), instants, instants, prices[0], sizes[0], prices[1], sizes[1], repeat(SOURCE))


def _texts(
    dice: np.random.Generator, symbols: tuple[str, ...], session: Session, story: _Story
) -> Iterator[News | Datum]:
    filed_ns = max(session.extended_open_ns + MINUTE_NS, session.open_ns - HOUR_NS + int(dice.integers(HOUR_NS // 2)))
    filer = symbols[int(dice.integers(len(symbols)))]
    yield Datum("filing", filed_ns, filed_ns, filer, text="8-K 2.02 (synthetic)", source=SOURCE)
    mover = symbols[story.place]
    told: list[tuple[int, tuple[str, ...], str]] = [(story.step, (mover,), f"{mover} {story.headline}")]
    for step in sorted(dice.integers(_steps(session), size=2).tolist()):
        symbol = symbols[int(dice.integers(len(symbols)))]
        told.append((step, (symbol,), f"{symbol} {_IDLE_NEWS[int(dice.integers(len(_IDLE_NEWS)))]}"))
    told.append((int(dice.integers(_steps(session))), (), "An invented bank leaves its rates where they were"))
    for number, (step, concerned, text) in enumerate(told, 1):
        at_ns = session.open_ns + step * STEP_S * SECOND_NS
        headline = f"[synthetic] {text}"
        yield News(at_ns, at_ns, headline, concerned, f"{session.date}-{number}", source=SOURCE)


def _halt(symbol: str, session: Session, story: _Story) -> Iterator[Status]:
    reason = "volatility pause (synthetic)"
    halt_ns, resume_ns = (session.open_ns + step * STEP_S * SECOND_NS for step in (story.halt.start, story.halt.stop))
    yield Status(symbol, halt_ns, halt_ns, "halted", reason, source=SOURCE)
    yield Status(symbol, resume_ns, resume_ns, "trading", reason, source=SOURCE)


def _corporate_actions(symbols: tuple[str, ...], session: Session) -> Iterator[CorporateAction]:
    at_ns = session.extended_open_ns
    yield CorporateAction(symbols[0], at_ns, at_ns, "split", new_shares=2, old_shares=1, source=SOURCE)
    yield CorporateAction(symbols[-1], at_ns, at_ns, "cash_dividend", amount_usd=_DIVIDEND_USD, source=SOURCE)
