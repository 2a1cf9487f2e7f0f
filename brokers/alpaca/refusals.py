"""What the streams' error numbers mean for us: come back, wait for a ghost of ourselves to go, or give up.

Source: Alpaca's table of stream errors; what becomes of the connection afterwards is not documented, so every one of
them ends it on our side.
"""

from __future__ import annotations

from engine.errors import FeedError, TradingError


class StreamLost(TradingError):  # noqa: N818  # named for what happened, as the engine names its own
    """The connection is of no more use; a new one may be.

    Attributes:
        wait_min_s: how long to stay away at least.
    """

    def __init__(self, told: str, wait_min_s: float = 0.0) -> None:
        super().__init__(told)
        self.wait_min_s = wait_min_s


class KeyRefused(StreamLost):
    """The keys were refused: final at the start, suspicious when they had worked before."""


class GhostSession(StreamLost):
    """Another session of this key holds the only connection: a ghost of ours for up to 90 s, or another program."""


_FATAL = {
    405: "the subscription is above the plan's symbol limit; ask for fewer symbols, or bars only",
    408: "this account has no access to this version of the stream",
    409: "the data plan does not include this feed; use feed = 'iex', which every plan has",
    410: "this feed has no such channel; turn it off",
    411: "the keys have no right to this stream",
    412: "this stream speaks msgpack only",
    413: "this stream takes no '*'; name the symbols",
    400: "the subscription was not understood; is a symbol misspelled?",
}
_SLOW_CLIENT, _GHOST, _AUTHENTICATED_ALREADY = 407, 406, 403


def raise_for(stream: str, code: int, message: str) -> None:
    """Turn an error message of the stream into what follows from it; 403, a second authentication, is none.

    Raises:
        FeedError: no new attempt can help, with what would.
        StreamLost: a new connection may.
    """
    told = f"{stream}: Alpaca answers {code} {message!r}"
    if code == _AUTHENTICATED_ALREADY:
        return
    if code in _FATAL:
        raise FeedError(f"{told}: {_FATAL[code]}")
    if code in (401, 402):
        raise KeyRefused(f"{told}: the keys were refused; are they of the account's paper or live side as the mode is?")
    if code == _GHOST:
        raise GhostSession(f"{told}: another session uses these keys on this stream", wait_min_s=5.0)
    raise StreamLost(f"{told}: we do not read fast enough" if code == _SLOW_CLIENT else told)
