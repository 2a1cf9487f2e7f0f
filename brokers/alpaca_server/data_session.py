"""One client of a data stream: what it may say, what it wants, and how messages are encoded for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from brokers.alpaca_server.messages import CHANNELS, Message
from brokers.alpaca_server.sockets import Socket
from brokers.alpaca_server.wire import BINARY, TEXT, array, encode_json, encode_msgpack

Kind = Literal["stocks", "crypto", "news", "test"]
STOCK_CHANNELS = (
    "trades",
    "quotes",
    "bars",
    "updatedBars",
    "dailyBars",
    "statuses",
    "lulds",
    "corrections",
    "cancelErrors",
)
ACKNOWLEDGED: dict[Kind, tuple[str, ...]] = {
    "stocks": STOCK_CHANNELS,
    "test": ("trades", "quotes", "bars"),
    "crypto": ("trades", "quotes", "orderbooks", "bars", "updatedBars", "dailyBars"),
    "news": ("news",),
}
MIRRORS = ("corrections", "cancelErrors")
STOCK_SYMBOL, CRYPTO_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-_]{0,20}"), re.compile(r"[A-Z0-9]+x?/[A-Z]+")
ERRORS = {
    400: "invalid syntax", 401: "not authenticated", 402: "auth failed", 403: "already authenticated",
    404: "auth timeout", 405: "symbol limit exceeded", 406: "connection limit exceeded", 407: "slow client",
    409: "insufficient subscription", 410: "invalid subscribe action for this feed", 500: "internal error",
}  # fmt: skip


class DataSession:
    """One client of one endpoint, and what it wants.

    Attributes:
        channels: the symbols, or `*`, of each channel.
        parts: encoded messages that wait for the end of the step.
    """

    def __init__(self, socket: Socket, kind: Kind, *, packed: bool) -> None:
        self.socket, self.kind, self.packed = socket, kind, packed
        self.is_authenticated = self.by_message = False
        self.channels: dict[str, set[str]] = {name: set() for name in ACKNOWLEDGED[kind]}
        self.parts: list[bytes] = []

    def wants(self, channel: str, symbols: Iterable[str]) -> bool:
        chosen = self.channels.get(channel, set())
        return "*" in chosen or not chosen.isdisjoint(symbols)

    def say(self, *messages: Message) -> None:
        self.socket.send(self.encoded(messages), BINARY if self.packed else TEXT)

    def encoded(self, messages: Iterable[Message]) -> bytes:
        return array([self.encode(message) for message in messages], packed=self.packed)

    def encode(self, message: Message) -> bytes:
        return encode_msgpack(message) if self.packed else encode_json(message)


def read_message(data: str | bytes) -> Any:
    """Read a client's message in either codec; what does not read is None."""
    try:
        if isinstance(data, str) or data[:1] in (b"{", b"["):
            return msgspec.json.decode(data)
        return msgspec.msgpack.decode(data)
    except msgspec.DecodeError:
        return None


def subscription_error(kind: Kind, wanted: Message) -> int:
    """Return the error that a subscription's shape deserves, 0 for none."""
    for name, symbols in wanted.items():
        if name not in CHANNELS.values() and name != "imbalances":
            return 400
        if name not in ACKNOWLEDGED[kind]:
            return 410
        if not isinstance(symbols, list):
            return 400
        pattern = CRYPTO_SYMBOL if kind == "crypto" else STOCK_SYMBOL
        for symbol in symbols:
            if not isinstance(symbol, str) or (symbol != "*" and not pattern.fullmatch(symbol)):
                if kind == "news" and isinstance(symbol, str) and re.fullmatch(r"[A-Z0-9/.\-]+", symbol):
                    continue
                return 400
    return 0
