"""Alpaca's market-data protocol on one connection: authenticate, subscribe, fill the gap, read, mind the silence.

What the stream brings while a gap is being filled is held back and follows the filling, so that everything is published
in order. Reading itself never waits for any of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from brokers.alpaca import refusals, wire
from brokers.alpaca.frames import FrameReader
from brokers.alpaca.gap import Gap
from brokers.alpaca.keys import Keys
from brokers.alpaca.limiter import Sleep
from brokers.alpaca.refusals import StreamLost
from brokers.alpaca.session import together
from brokers.alpaca.session_bars import SessionBars
from brokers.alpaca.watch import Watch
from engine.clock import Clock
from engine.errors import BrokerError, FeedError, TradingError
from engine.events import DAY_NS, MINUTE_NS, SECOND_NS, InboxEvent
from engine.ports import Publish

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPTIONAL_CHANNELS = frozenset({"statuses", "lulds", "updatedBars", "dailyBars"})
FILL_S, PAST_S, SETTLE_S, WATCH_EVERY_S = 15.0, 120.0, 10.0, 1.0
SLICE, HELD_MAX = 1000, 500_000
STRIKES_MAX = 2
OVERLAP_NS = SECOND_NS
"""Prints up to this long after the authentication are both asked for and listened to."""

_decode = msgspec.msgpack.Decoder(list[wire.StreamMessage]).decode


class DataLine:
    """One market-data stream.

    Args:
        channels: what to subscribe to, symbols by channel.
        gap: fills what was missed; None where nothing can be.
        watch: tells when silence is suspicious; None where it never is.
        backfill_s: how much of the past to fetch at the first connection.
        known_ns: when an earlier life of the run last had data; then what came since is fetched in its place.
        on_filled: told the name each time that nothing of the past is missing any more.

    Attributes:
        reader: decodes, counts and publishes.
    """

    failure: type[TradingError] = FeedError

    def __init__(
        self, name: str, url: str, *, keys: Keys, channels: Mapping[str, Sequence[str]], reader: FrameReader,
        gap: Gap | None, watch: Watch | None, publish: Publish, clock: Clock, sleep: Sleep = asyncio.sleep,
        backfill_s: float = 0.0, known_ns: int = 0, on_filled: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.url, self.channels, self.reader = name, url, channels, reader
        self._keys, self._gap, self._watch, self._publish = keys, gap, watch, publish
        self._clock, self._sleep, self._backfill_ns = clock, sleep, round(backfill_s * SECOND_NS)
        self._known_ns, self._on_filled = known_ns, on_filled or (lambda name: None)
        self._held: list[InboxEvent] = []
        self._connected_ns = 0
        self._gap_since_ns = 0
        self._strikes: dict[str, int] = {}
        self.log = structlog.get_logger().bind(stream=name)
        reader.publish = publish

    @property
    def wants_past(self) -> bool:
        """Whether there is something to fetch at the first connection."""
        days = self.reader.session_bars
        return bool(self._known_ns or self._backfill_ns or (days is not None and days.past))

    # --- the protocol ----------------------------------------------------------------------------------------------

    async def greet(self, socket: ClientConnection) -> None:
        await self._expect(socket, "connected")
        await self._send(socket, {"action": "auth", "key": self._keys.key_id, "secret": self._keys.secret})
        await self._expect(socket, "authenticated")
        now_ns = self._clock.now_ns()
        first = not self._connected_ns
        if first and self._known_ns:
            self._gap_since_ns = max(self._known_ns, now_ns - DAY_NS)
        elif first:
            self._gap_since_ns = now_ns - self._backfill_ns if self.wants_past else 0
        elif not self._gap_since_ns:
            self._gap_since_ns = self.reader.data_ns or self._connected_ns
        self._connected_ns = now_ns
        self.reader.counts.reconnects += not first
        if self._gap is not None and self._gap_since_ns:
            self.reader.seen.open_window(self.name, now_ns + OVERLAP_NS)
            self.reader.publish = self._held.append
        await self._subscribe(socket, self.channels)

    def take(self, frame: bytes) -> bool:
        counts = self.reader.counts
        before = counts.messages
        self.reader.read(frame, self._clock.now_ns())
        if len(self._held) > HELD_MAX:
            raise StreamLost(f"{self.name}: {HELD_MAX} events came before the gap behind them was filled")
        return counts.messages != before

    async def accompany(self, socket: ClientConnection) -> None:
        if self.reader.session_bars is None:
            await self._look_after(socket)
        else:
            await together(self._look_after(socket), self._close_days(self.reader.session_bars))

    async def _look_after(self, socket: ClientConnection) -> None:
        await self._fill()
        await self._mind_silence(socket)

    async def _close_days(self, days: SessionBars) -> None:
        """Publish the bars of sessions that are over, whether or not anything comes; those of the past come first."""
        reader = self.reader
        while True:
            await self._sleep(days.look_every_s)
            if reader.publish is not self._publish:
                continue
            for bar in days.closed(reader.seen.receive(self._clock.now_ns()), reader.source):
                reader.publish(bar)

    async def _send(self, socket: ClientConnection, message: Mapping[str, Any]) -> None:
        await socket.send(msgspec.msgpack.encode(message))

    async def _expect(self, socket: ClientConnection, word: str) -> None:
        """Wait for a `success` of this word; 403, authenticated already, is one too."""
        while True:
            for message in self._control(await socket.recv(decode=False)):
                if isinstance(message, wire.SuccessMessage) and message.msg == word:
                    return
                if isinstance(message, wire.ErrorMessage):
                    refusals.raise_for(self.name, message.code, message.msg)
                    return

    def _control(self, frame: bytes) -> list[wire.StreamMessage]:
        try:
            return _decode(frame)
        except msgspec.DecodeError:
            raise StreamLost(f"{self.name}: a greeting that does not read ({len(frame)} bytes)") from None

    async def _subscribe(self, socket: ClientConnection, channels: Mapping[str, Sequence[str]]) -> None:
        """Ask, compare the acknowledgement with the wish, and ask once more for what is missing."""
        missing = {channel: list(symbols) for channel, symbols in channels.items() if symbols}
        for _ in range(2):
            await self._send(socket, {"action": "subscribe", **missing})
            acknowledged = await self._acknowledged(socket)
            missing = {
                channel: lost
                for channel, symbols in missing.items()
                if (lost := sorted({*symbols} - {*(given := getattr(acknowledged, channel))})) and "*" not in given
            }
            if not missing:
                return
        told = "; ".join(f"{channel}: {', '.join(lost[:10])}" for channel, lost in missing.items())
        if missing.keys() - OPTIONAL_CHANNELS:
            raise FeedError(f"{self.name}: Alpaca did not confirm the subscription of {told}")
        self.log.warning("channels not confirmed", missing=told)

    async def _acknowledged(self, socket: ClientConnection) -> wire.SubscriptionMessage:
        while True:
            frame = await socket.recv(decode=False)
            try:
                messages = _decode(frame)
            except msgspec.DecodeError:
                messages = []
            found = [message for message in messages if isinstance(message, wire.SubscriptionMessage)]
            if found:
                return found[0]
            self.take(frame)  # data already, or an error, which raises

    # --- the gap ---------------------------------------------------------------------------------------------------

    async def _fill(self) -> None:
        """Publish what was missed, then what was held back; look a second time once REST has settled."""
        if self._gap is None or not self._gap_since_ns:
            self._on_filled(self.name)
            return
        since_ns = self._gap_since_ns
        filled = await self._fill_once(since_ns)
        await self._release()
        if filled:
            self._on_filled(self.name)
        while True:
            await self._sleep(SETTLE_S)
            # A bar that closed just before we were back may not have been served at the first look.
            again_ns = self._connected_ns - MINUTE_NS if filled else since_ns
            if await self._fill_once(again_ns):
                break
        self._gap_since_ns = 0
        self.reader.seen.close_window(self.name)
        self._on_filled(self.name)

    async def _fill_once(self, since_ns: int) -> bool:
        assert self._gap is not None
        try:
            # What a run begins with may be years of many symbols; a gap is minutes.
            async with asyncio.timeout(FILL_S if self.reader.counts.reconnects else PAST_S):
                missed = await self._gap.missed(since_ns, self._clock.now_ns(), self._connected_ns + OVERLAP_NS)
        except (BrokerError, TimeoutError) as error:
            self.log.error("gap not filled yet", since_ns=since_ns, reason=str(error) or "REST takes too long")
            return False
        if missed:
            self.log.info("gap filled", events=len(missed))
        self.reader.counts.filled += len(missed)
        for first in range(0, len(missed), SLICE):
            self._pass_on(missed[first : first + SLICE])
            await asyncio.sleep(0)  # let the corridor take them: the inbox is bounded
        return True

    async def _release(self) -> None:
        while self._held:
            some, self._held[:SLICE] = self._held[:SLICE], []
            self._pass_on(some)
            await asyncio.sleep(0)
        self.reader.publish = self._publish

    def _pass_on(self, events: Sequence[Any]) -> None:
        """Publish with the present as time of reception: that is when the engine can know."""
        recv_ns = self.reader.seen.receive(self._clock.now_ns())
        for event in events:
            self._publish(msgspec.structs.replace(event, ts_recv_ns=max(recv_ns, event.ts_event_ns)))

    # --- silence ---------------------------------------------------------------------------------------------------

    async def _mind_silence(self, socket: ClientConnection) -> None:
        watch, gap = self._watch, self._gap
        while True:
            await self._sleep(WATCH_EVERY_S)
            if watch is None or gap is None:
                continue
            now_ns = self._clock.now_ns()
            last_ns = max(self.reader.data_ns, self._connected_ns)
            if watch.is_overdue(now_ns, last_ns):
                await self._question_stream(watch, gap, last_ns, now_ns)
            elif symbols := watch.silent(now_ns, self._bar_symbols(), self.reader.seen, self._connected_ns):
                await self._question_symbols(socket, watch, gap, symbols, now_ns)

    async def _question_stream(self, watch: Watch, gap: Gap, last_ns: int, now_ns: int) -> None:
        """Ask REST whether the market is quiet or the stream is mute."""
        symbols = next((symbols for symbols in self.channels.values() if symbols), ())
        try:
            if watch.bars_only:
                with self.reader.seen.remembering():
                    unseen = await gap.unseen_bars(symbols, last_ns, now_ns - watch.grace_ns)
                is_busy = any(bar.ts_event_ns > last_ns - MINUTE_NS for bar in unseen)
            else:
                is_busy = await gap.has_ticks(symbols, last_ns)
        except BrokerError as error:
            raise StreamLost(f"{self.name}: silent, and REST cannot say why: {error}") from None
        if is_busy and max(self.reader.data_ns, self._connected_ns) == last_ns:
            self.reader.counts.silences += 1
            raise StreamLost(f"{self.name}: connected but mute: REST knows of what the stream did not bring")
        await self._sleep(SETTLE_S)

    async def _question_symbols(
        self, socket: ClientConnection, watch: Watch, gap: Gap, symbols: Sequence[str], now_ns: int
    ) -> None:
        """Fetch what silent symbols have had; subscribe them again where the stream was at fault."""
        since_ns = now_ns - 2 * MINUTE_NS - watch.grace_ns
        try:
            with self.reader.seen.remembering():
                missed = gap.take(await gap.unseen_bars(symbols, since_ns, now_ns - watch.grace_ns))
        except BrokerError as error:
            self.log.warning("symbols silent, and REST cannot say why", symbols=symbols[:20], reason=str(error))
            return
        at_fault = sorted({bar.symbol for bar in missed})
        if not at_fault:
            return
        self.reader.counts.silences += len(at_fault)
        self.reader.counts.filled += len(missed)
        self._pass_on(missed)
        self.log.error("symbols silent on the stream, filled by REST", symbols=at_fault[:20])
        for symbol in at_fault:
            self._strikes[symbol] = self._strikes.get(symbol, 0) + 1
            if self._strikes[symbol] >= STRIKES_MAX:
                self._strikes.clear()
                raise StreamLost(f"{self.name}: {symbol} stays silent though it trades")
        await self._send(socket, {"action": "subscribe", "bars": at_fault})

    def _bar_symbols(self) -> Sequence[str]:
        symbols = self.channels.get("bars", ())
        return () if "*" in symbols else symbols
