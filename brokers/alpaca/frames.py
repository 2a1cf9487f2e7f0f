"""From a frame of a stream to events, as fast as Python goes: decode once, one struct a message, no dictionary between.

A bar is stamped at its close (Alpaca stamps the open). A message that does not read is skipped and counted, one of an
unknown kind too; a burst of bad ones means that the connection is not to be trusted. Time never runs backwards in what
is published, and nothing is received before it was true.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from brokers.alpaca import refusals, wire
from brokers.alpaca.refusals import StreamLost
from brokers.alpaca.seen import Seen
from brokers.alpaca.session_bars import SessionBars
from brokers.alpaca.wire import BarMessage
from engine.events import MINUTE_NS, SECOND_NS, Bar, Datum, InboxEvent, News, Quote, Status, Trade
from engine.ports import Publish

BURST, BURST_NS = 50, 10 * SECOND_NS
AHEAD_MAX_NS = 5 * SECOND_NS
HALT_CODES, RESUME_CODES = frozenset("2HPQ"), frozenset("3T")
"""Trading halted (2, H), paused (P) or open for quotes only (Q); resumed (3, T). Other codes leave the state alone."""

_decode = msgspec.msgpack.Decoder(list[wire.StreamMessage]).decode
_decode_one = msgspec.msgpack.Decoder(wire.StreamMessage).decode
_decode_kind = msgspec.msgpack.Decoder(wire.Kind).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
CONTROL = frozenset({wire.ErrorMessage, wire.SubscriptionMessage, wire.SuccessMessage})
_KNOWN = frozenset(str(kind.__struct_config__.tag) for kind in wire.StreamMessage.__args__)


class Counts(msgspec.Struct):
    """What a stream has done since the start, for metrics."""

    frames: int = 0
    messages: int = 0
    malformed: int = 0
    unknown: int = 0
    duplicates: int = 0
    filled: int = 0
    reconnects: int = 0
    silences: int = 0


class FrameReader:
    """Read the frames of one stream.

    Args:
        stream: its name, for messages.
        source: the provenance on every event.
        seen: what was published already.
        canonical: names to use in place of the wire's, such as `BTC/USD` for `BTCUSD` in news.
        ahead_max_ns: how far an instant may lie in our future before the message counts as malformed.
        session_bars: makes bars of the days so far; None makes none. With `daily_bars` they are told as they come, too.

    Attributes:
        publish: takes each event; it never waits.
        data_ns: when data last came, 0 before; control messages are no data.
    """

    publish: Publish

    def __init__(
        self, stream: str, source: str, *, seen: Seen, counts: Counts, canonical: Mapping[str, str] | None = None,
        ahead_max_ns: int = AHEAD_MAX_NS, session_bars: SessionBars | None = None, daily_bars: bool = True,
    ) -> None:  # fmt: skip
        self.stream, self.source, self.seen, self.counts = stream, source, seen, counts
        self.data_ns = 0
        self._canonical = canonical or {}
        self._ahead_max_ns = ahead_max_ns
        self.session_bars, self._daily_bars = session_bars, daily_bars
        self._instant, self._close_ns = b"", 0
        self._symbols: set[str] = set()
        self._bad: deque[int] = deque(maxlen=BURST)
        self._halted: set[str] = set()
        self._bands: dict[str, tuple[float, float]] = {}
        self._others: dict[type, Callable[[Any], InboxEvent | None]] = {
            wire.TradeMessage: self._trade, wire.QuoteMessage: self._quote, wire.UpdatedBarMessage: self._updated_bar,
            wire.DailyBarMessage: self._daily_bar, wire.StatusMessage: self._status, wire.BandMessage: self._band,
            wire.CorrectionMessage: self._correction, wire.CancelMessage: self._cancel, wire.NewsMessage: self._news,
            wire.ErrorMessage: self._error, wire.SubscriptionMessage: self._nothing, wire.SuccessMessage: self._nothing,
        }  # fmt: skip

    def read(self, frame: bytes, now_ns: int) -> None:
        """Publish what a frame holds.

        Raises:
            StreamLost: the stream says that it ends, or a burst of malformed messages came.
            FeedError: the stream refuses what no new connection would give.
        """
        recv_ns = self.seen.receive(now_ns)
        counts, publish, source = self.counts, self.publish, self.source
        counts.frames += 1
        try:
            messages = _decode(frame)
        except msgspec.DecodeError:
            messages = self._salvage(frame)
        instant, close_ns, symbols = self._instant, self._close_ns, self._symbols
        # A third of a microsecond a turn: hence the locals, and minutes that are worked out once for all their bars.
        for m in messages:
            if m.__class__ is BarMessage:
                if m.t.data != instant:
                    if not self._turn_minute(m.t):
                        continue
                    instant, close_ns, symbols = self._instant, self._close_ns, self._symbols
                    recv_ns = self.seen.recv_ns
                symbol = m.S
                if symbol in symbols:
                    counts.duplicates += 1
                    continue
                if m.l <= m.h:
                    symbols.add(symbol)
                    publish(
                        Bar(
                            symbol, close_ns, recv_ns, m.o, m.h, m.l, m.c, m.v, MINUTE_NS, m.vw, m.n or 0, False, source
                        )
                    )
                else:
                    self._note_bad(f"a bar of {symbol} with its high {m.h} under its low {m.l}")
            else:
                event = self._others[m.__class__](m)
                recv_ns = self.seen.recv_ns
                if event is not None:
                    publish(event)
        if messages and messages[0].__class__ not in CONTROL:
            counts.messages += len(messages)
            self.data_ns = now_ns

    # --- one message -----------------------------------------------------------------------------------------------

    def _turn_minute(self, instant: msgspec.msgpack.Ext) -> bool:
        """Work out a new minute once, for all bars that have it; tell whether its instant is one."""
        close_ns = self._instant_ns(instant, "bar", MINUTE_NS)
        if not close_ns:
            return False
        self._instant, self._close_ns, self._symbols = bytes(instant.data), close_ns, self.seen.minute(close_ns)
        return True

    def _instant_ns(self, instant: msgspec.msgpack.Ext, what: str, add_ns: int = 0) -> int:
        """Return an instant of a message, 0 when it is none or lies in our future."""
        try:
            ts_ns = wire.extension_ns(instant) + add_ns
        except ValueError as error:
            self._note_bad(f"{what}: {error}")
            return 0
        ahead_ns = ts_ns - self.seen.recv_ns
        if ahead_ns > 0:
            if ahead_ns > self._ahead_max_ns:
                told = f"a {what} from {ahead_ns / SECOND_NS:.1f} s in our future; is this machine's clock right?"
                self._note_bad(told)
                return 0
            self.seen.receive(ts_ns)  # never received before it was true, whatever our clock says
        return ts_ns

    def _trade(self, m: wire.TradeMessage) -> Trade | None:
        ts_ns = self._instant_ns(m.t, "trade")
        if not ts_ns:
            return None
        trade_id = trade_key(m.x, m.i)
        if not self.seen.is_new_trade(m.S, ts_ns, trade_id):
            self.counts.duplicates += 1
            return None
        return Trade(m.S, ts_ns, self.seen.recv_ns, m.p, m.s, trade_id, conditions(m.c), self.source)

    def _quote(self, m: wire.QuoteMessage) -> Quote | None:
        ts_ns = self._instant_ns(m.t, "quote")
        if not ts_ns:
            return None
        return Quote(m.S, ts_ns, self.seen.recv_ns, m.bp, m.bs, m.ap, m.ask_size, self.source)

    def _updated_bar(self, m: wire.UpdatedBarMessage) -> Bar | None:
        close_ns = self._instant_ns(m.t, "updated bar", MINUTE_NS)
        if not close_ns:
            return None
        if m.l > m.h:
            self._note_bad(f"an updated bar of {m.S} with its high {m.h} under its low {m.l}")
            return None
        return Bar(
            m.S, close_ns, self.seen.recv_ns, m.o, m.h, m.l, m.c, m.v, MINUTE_NS, m.vw, m.n or 0, True, self.source
        )

    def _daily_bar(self, m: wire.DailyBarMessage) -> Datum | None:
        """A day that is not over is no bar yet: it has no close. It goes as a datum, its prices in the text."""
        ts_ns = self._instant_ns(m.t, "daily bar")
        if ts_ns and self.session_bars is not None:
            self.session_bars.take(m, ts_ns)
        if not ts_ns or not self._daily_bars:
            return None
        text = _json({"open": m.o, "high": m.h, "low": m.l, "close": m.c, "volume": m.v, "vwap": m.vw, "day_ns": ts_ns})
        return Datum("daily_bar", self.seen.recv_ns, self.seen.recv_ns, m.S, m.c, text, self.source)

    def _status(self, m: wire.StatusMessage) -> Status | None:
        ts_ns = self._instant_ns(m.t, "status")
        if not ts_ns:
            return None
        if m.sc in HALT_CODES:
            self._halted.add(m.S)
        elif m.sc in RESUME_CODES:
            self._halted.discard(m.S)
        reason = " ".join(part for part in (m.sc, m.sm, m.rc, m.rm) if part)
        return self._state_of(m.S, ts_ns, reason)

    def _band(self, m: wire.BandMessage) -> Status | None:
        ts_ns = self._instant_ns(m.t, "price band")
        if not ts_ns:
            return None
        self._bands[m.S] = (m.u, m.d)
        return self._state_of(m.S, ts_ns, "LULD")

    def _state_of(self, symbol: str, ts_ns: int, reason: str) -> Status:
        """Return halt and price band together, because each of the two messages carries only one of them."""
        up, down = self._bands.get(symbol, (None, None))
        state: Literal["trading", "halted"] = "halted" if symbol in self._halted else "trading"
        return Status(symbol, ts_ns, self.seen.recv_ns, state, reason, up, down, self.source)

    def _correction(self, m: wire.CorrectionMessage) -> Datum | None:
        ts_ns = self._instant_ns(m.t, "correction")
        text = _json({"trade_id": trade_key(m.x, m.oi), "price": m.op, "new_trade_id": trade_key(m.x, m.ci)})
        return Datum("trade_correction", ts_ns, self.seen.recv_ns, m.S, m.cp, text, self.source) if ts_ns else None

    def _cancel(self, m: wire.CancelMessage) -> Datum | None:
        ts_ns = self._instant_ns(m.t, "trade cancel")
        text = _json({"trade_id": trade_key(m.x, m.i), "price": m.p, "action": m.a})
        return Datum("trade_cancel", ts_ns, self.seen.recv_ns, m.S, m.p, text, self.source) if ts_ns else None

    def _news(self, m: wire.NewsMessage) -> News | None:
        created_ns, updated_ns = self._instant_ns(m.created_at, "article"), self._instant_ns(m.updated_at, "article")
        if not created_ns or not updated_ns:
            return None
        if not self.seen.is_new_article(m.id, updated_ns):
            self.counts.duplicates += 1
            return None
        symbols = tuple(self._canonical.get(symbol, symbol) for symbol in m.symbols)
        ts_ns = max(created_ns, updated_ns)
        source = f"{self.source}/{m.source}" if m.source else self.source
        return News(ts_ns, self.seen.recv_ns, m.headline, symbols, str(m.id), m.author, m.summary, m.url, source)

    def _error(self, m: wire.ErrorMessage) -> None:
        refusals.raise_for(self.stream, m.code, m.msg)

    def _nothing(self, _message: object) -> None:
        """Acknowledgements after the handshake change nothing."""

    # --- what does not read ----------------------------------------------------------------------------------------

    def _salvage(self, frame: bytes) -> list[Any]:
        """Read message by message a frame that does not read as a whole."""
        try:
            parts = _split(frame)
        except msgspec.DecodeError as error:
            self._note_bad(f"a frame of {len(frame)} bytes is no array of messages: {error}")
            return []
        found: list[Any] = []
        for part in parts:
            try:
                found.append(_decode_one(part))
            except msgspec.DecodeError as error:
                if self._is_unknown(part):
                    self.counts.unknown += 1
                else:
                    self._note_bad(str(error))
        return found

    def _is_unknown(self, part: msgspec.Raw) -> bool:
        try:
            kind = _decode_kind(part).T
        except msgspec.DecodeError:
            return False
        return bool(kind) and kind not in _KNOWN

    def _note_bad(self, told: str) -> None:
        self.counts.malformed += 1
        self._bad.append(self.seen.recv_ns)
        if len(self._bad) == BURST and self.seen.recv_ns - self._bad[0] <= BURST_NS:
            self._bad.clear()
            within_s = BURST_NS // SECOND_NS
            raise StreamLost(f"{self.stream}: {BURST} malformed messages within {within_s} s; last: {told}")


def trade_key(exchange: str, number: int | str) -> str:
    """Return what tells a print from every other one of its symbol and day."""
    return f"{exchange}-{number}" if exchange else str(number)


def conditions(codes: list[str] | str | None) -> str:
    """Return the codes of a print as one text."""
    return codes or "" if codes is None or isinstance(codes, str) else ",".join(codes)


def _json(values: dict[str, object]) -> str:
    return msgspec.json.encode(values).decode()
