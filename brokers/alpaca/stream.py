"""Market data of Alpaca as a live feed: stocks, crypto and news, each on a stream of its own.

Bars are stamped at their close, events carry the feed's name, gaps are filled over REST, silence is minded. This module
puts the parts together; the protocol is in `data_line`, the decoding in `frames`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from brokers.alpaca.data_line import DataLine
from brokers.alpaca.frames import AHEAD_MAX_NS, Counts, FrameReader
from brokers.alpaca.gap import Gap, Wanted
from brokers.alpaca.history import History
from brokers.alpaca.hosts import Hosts, Mode, hosts
from brokers.alpaca.keys import Keys, read_keys
from brokers.alpaca.limiter import Limiter, Sleep
from brokers.alpaca.rest import Rest
from brokers.alpaca.seen import Seen
from brokers.alpaca.server_clock import ServerClock
from brokers.alpaca.session import GREET_S, Session, together
from brokers.alpaca.session_bars import SessionBars
from brokers.alpaca.settings import FeedSettings
from brokers.alpaca.watch import Watch
from engine.clock import SHORTEST_SESSION_NS, Clock, LiveClock, Sessions
from engine.errors import ConfigError
from engine.events import DAY_NS, MINUTE_NS, NEVER_NS, SECOND_NS, Backfill, Bar, MarketEvent, News
from engine.ports import Publish

LOCAL_LOOK_S = 0.01
"""How often to look whether a local server's day has closed: it may have several in a second."""
STOCK_PATHS = {
    "iex": "/v2/iex", "sip": "/v2/sip", "delayed_sip": "/v2/delayed_sip", "overnight": "/v1beta1/overnight",
}  # fmt: skip
DELAY_NS = {"delayed_sip": 15 * MINUTE_NS}
REST_TIMEOUT_S = 10.0
HEADERS = {"Content-Type": "application/msgpack"}
FROM_REST = "+rest"


class AlpacaFeed:
    """Alpaca's market data, live.

    Args:
        mode: a local server may stand in for Alpaca in paper mode only.
        sessions: the calendar of the stocks; tells when silence is suspicious.
        seed: of the back-off's jitter.

    Attributes:
        counts: what each stream has done, by name.

    Raises:
        ConfigError: keys are missing, or `server_url` leads elsewhere than to this machine.
    """

    Settings = FeedSettings
    fingerprint, span_ns = "", (0, 0)

    def __init__(
        self, settings: FeedSettings, *, mode: Mode, sessions: Sessions, seed: int, clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.settings, self.sessions, self.seed = settings, sessions, seed
        self._hosts: Hosts = hosts(mode, settings.server_url)
        self._keys: Keys = read_keys(settings.keys_file)
        self._clock, self._sleep = clock or LiveClock(), sleep
        self.symbols = tuple(sorted(settings.symbols))
        self.counts: dict[str, Counts] = {}
        self.lines: dict[str, Session] = {}
        self._seen = Seen(settings.silence_max_s)
        self._limiter = Limiter(settings.rest_requests_per_min, self._clock, sleep)
        self._known_ns: dict[str, int] = {}
        self._days_known: dict[str, int] = {}
        self._sessions_past, self._minutes_past = settings.backfill_sessions, 0
        self._behind: set[str] = set()

    @staticmethod
    def clock(settings: FeedSettings) -> Clock:
        """Return the clock that a run on this feed goes by: the machine's, or that of a local server."""
        return ServerClock(settings.server_url, LiveClock()) if settings.server_url else LiveClock()

    @property
    def secrets(self) -> tuple[str, str]:
        """The texts that no log may show."""
        return self._keys.secrets

    @property
    def is_connected(self) -> bool:
        """Whether every stream has a connection."""
        return bool(self.lines) and all(line.down_since_ns is None for line in self.lines.values())

    def know(self, events: Iterable[MarketEvent]) -> None:
        for event in events:
            if isinstance(event, Bar) and event.interval_ns > MINUTE_NS:
                self._days_known[event.symbol] = event.ts_event_ns
                self._seen.receive(event.ts_recv_ns)
            else:
                self._seen.know(event)
            name = "news" if isinstance(event, News) else "crypto" if "/" in event.symbol else "stocks"
            self._known_ns[name] = event.ts_recv_ns

    def want(self, interval_ns: int, count: int) -> None:
        if interval_ns == DAY_NS and self.settings.session_bars:
            self._sessions_past = max(self._sessions_past, count)
        elif interval_ns == MINUTE_NS and self.settings.bars:
            self._minutes_past = max(self._minutes_past, count)
        else:
            hints = {MINUTE_NS: "set `bars`", DAY_NS: "set `session_bars`"}
            hint = hints.get(interval_ns, "there are those of a minute and of a session")
            raise ConfigError(f"feed: it brings no bars of {interval_ns / SECOND_NS:g} s, which a model wants; {hint}")

    async def run(self, publish: Publish) -> None:
        """Publish until canceled, or until the tape of a local server has ended.

        Raises:
            FeedError: Alpaca refuses what no new connection would give, or a local server has gone.
            FeedOverrun: the inbox is full.
        """
        rest = Rest(
            self._hosts.data, self._keys, timeout_s=REST_TIMEOUT_S, limiter=self._limiter, clock=self._clock,
            sleep=self._sleep,
        )  # fmt: skip
        try:
            lines = [make(rest, publish) for make in self._makers()]
            if any(line.wants_past for line in lines):
                self._behind = {line.name for line in lines}
                self._tell_backfill(publish, done=False)
            self.lines = {
                line.name: Session(
                    line, seed=self.seed + index, clock=self._clock, sleep=self._sleep, headers=HEADERS,
                    is_local=self._hosts.is_local, greet_s=GREET_S,
                )
                for index, line in enumerate(lines)
            }  # fmt: skip
            following = [self._clock.follow(self._sleep)] if isinstance(self._clock, ServerClock) else []
            await together(*(session.run() for session in self.lines.values()), *following)
        finally:
            await rest.close()

    def _filled(self, name: str, publish: Publish) -> None:
        if name in self._behind:
            self._behind.discard(name)
            if not self._behind:
                self._tell_backfill(publish, done=True)

    def _tell_backfill(self, publish: Publish, *, done: bool) -> None:
        now_ns = self._seen.receive(self._clock.now_ns())
        publish(Backfill(now_ns, now_ns, done))

    # --- the streams -----------------------------------------------------------------------------------------------

    def _makers(self) -> list[Callable[[Rest, Publish], DataLine]]:
        found: list[Callable[[Rest, Publish], DataLine]] = []
        if any("/" not in symbol for symbol in self.symbols):
            found.append(self._stocks)
        if any("/" in symbol for symbol in self.symbols):
            found.append(self._crypto)
        if self.settings.news:
            found.append(self._news)
        return found

    def _stocks(self, rest: Rest, publish: Publish) -> DataLine:
        chosen = self.settings
        stocks = [symbol for symbol in self.symbols if "/" not in symbol]
        channels = {
            **self._common_channels(stocks),
            "statuses": stocks if chosen.statuses else [],
            "lulds": stocks if chosen.lulds else [],
        }
        sessions = None if chosen.feed == "overnight" else self.sessions
        path = STOCK_PATHS[chosen.feed]
        return self._line("stocks", path, chosen.feed, channels, rest, publish, sessions, DELAY_NS.get(chosen.feed, 0))

    def _crypto(self, rest: Rest, publish: Publish) -> DataLine:
        coins = [symbol for symbol in self.symbols if "/" in symbol]
        location = self.settings.crypto_location
        channels = self._common_channels(coins)
        path = f"/v1beta3/crypto/{location}"
        return self._line("crypto", path, f"crypto-{location}", channels, rest, publish, Sessions("24/7"))

    def _news(self, rest: Rest, publish: Publish) -> DataLine:
        symbols = [symbol.replace("/", "") for symbol in self.symbols]
        return self._line("news", "/v1beta1/news", "news", {"news": symbols}, rest, publish, None)

    def _common_channels(self, symbols: Sequence[str]) -> dict[str, Sequence[str]]:
        chosen = self.settings
        wanted = {
            "bars": chosen.bars, "trades": chosen.trades, "quotes": chosen.quotes,
            "updatedBars": chosen.updated_bars, "dailyBars": chosen.daily_bars or chosen.session_bars,
        }  # fmt: skip
        return {channel: symbols if on else [] for channel, on in wanted.items()}

    def _line(
        self, name: str, path: str, source: str, channels: Mapping[str, Sequence[str]], rest: Rest, publish: Publish,
        sessions: Sessions | None, delay_ns: int = 0,
    ) -> DataLine:  # fmt: skip
        chosen = self.settings
        counts = self.counts.setdefault(name, Counts())
        canonical = {symbol.replace("/", ""): symbol for symbol in self.symbols if "/" in symbol}
        days = self._session_bars(sessions)
        reader = FrameReader(
            name, source, seen=self._seen, counts=counts, canonical=canonical,
            # A local server plays its tape at any speed: what it sends is never called too early.
            ahead_max_ns=NEVER_NS if self._hosts.is_local else AHEAD_MAX_NS, daily_bars=chosen.daily_bars,
            session_bars=days,
        )  # fmt: skip
        history = History(
            rest, feed=chosen.feed, source=source + FROM_REST, sessions=sessions or self.sessions, canonical=canonical,
            crypto_location=chosen.crypto_location,
        )  # fmt: skip
        wanted = Wanted(*(channels.get(kind, ()) for kind in ("bars", "trades", "quotes", "news", "dailyBars")))
        has_ticks = bool(wanted.trades or wanted.quotes)
        watch = None
        if sessions is not None and (wanted.bars or has_ticks):
            watch = Watch(
                sessions, silence_max_s=chosen.silence_max_s, bars_only=not has_ticks, delay_ns=delay_ns
            )  # fmt: skip
        return DataLine(
            name, self._hosts.streams + path, keys=self._keys, channels=channels, reader=reader,
            gap=Gap(history, self._seen, wanted, days=days, delay_ns=delay_ns), watch=watch, publish=publish,
            clock=self._clock, sleep=self._sleep, backfill_s=self._backfill_s(sessions),
            known_ns=self._known_ns.get(name, 0), on_filled=lambda name: self._filled(name, publish),
        )  # fmt: skip

    def _session_bars(self, sessions: Sessions | None) -> SessionBars | None:
        if not self.settings.session_bars or sessions is None:
            return None
        look_every_s = LOCAL_LOOK_S if self._hosts.is_local else 1.0
        return SessionBars(sessions, past=self._sessions_past, done=self._days_known, look_every_s=look_every_s)

    def _backfill_s(self, sessions: Sessions | None) -> float:
        """Return how far back the minutes reach that were asked for, the shortest of sessions assumed."""
        if not self._minutes_past or sessions is None:
            return self.settings.backfill_s
        now_ns, count = self._clock.now_ns(), -(-self._minutes_past * MINUTE_NS // SHORTEST_SESSION_NS)
        return max(self.settings.backfill_s, (now_ns - sessions.back(now_ns, count).open_ns) / SECOND_NS)
