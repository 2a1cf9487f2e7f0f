"""When silence is suspicious: a market that is open, and a stream or a symbol that should have spoken by now.

Pure arithmetic over a calendar. What follows from a suspicion, a question to REST and perhaps a new connection, is
`data_line`'s: an open market may be quiet, and only REST can tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from brokers.alpaca.seen import Seen
from engine.clock import Sessions
from engine.events import MINUTE_NS, SECOND_NS

CHECK_AGAIN_MAX_NS = 64 * MINUTE_NS


class Watch:
    """Deadlines of one stream.

    Args:
        silence_max_s: how long after a minute's end its bars may take, or how long ticks may pause.
        bars_only: nothing is due before a minute is over.
        delay_ns: how much later than it happens this stream brings an event.
    """

    def __init__(self, sessions: Sessions, *, silence_max_s: float, bars_only: bool, delay_ns: int = 0) -> None:
        self._sessions, self.bars_only, self._delay_ns = sessions, bars_only, delay_ns
        self.grace_ns = round(silence_max_s * SECOND_NS)
        self._next_check: dict[str, tuple[int, int]] = {}
        self._minute = -1
        self._quiet: list[str] = []

    def is_overdue(self, now_ns: int, last_ns: int) -> bool:
        """Tell whether a stream that last brought data (or was connected) at `last_ns` should have brought more."""
        market_ns = now_ns - self._delay_ns
        if not self._sessions.is_open(market_ns):
            return False
        quiet_from_ns = max(last_ns - self._delay_ns, self._sessions.at(market_ns).open_ns)
        if self.bars_only:
            quiet_from_ns += MINUTE_NS - quiet_from_ns % MINUTE_NS
        return market_ns >= quiet_from_ns + self.grace_ns

    def silent(self, now_ns: int, symbols: Sequence[str], seen: Seen, since_ns: int) -> list[str]:
        """Return the symbols without a bar for two minutes and the grace, and that it is time to ask about.

        A thin symbol is asked about ever more seldom, up to once in 64 minutes. `since_ns` is when the stream was
        connected.
        """
        market_ns = now_ns - self._delay_ns
        oldest_ns = market_ns - 2 * MINUTE_NS - self.grace_ns
        open_ns = self._sessions.at(market_ns).open_ns
        if not self._sessions.is_open(market_ns) or oldest_ns < max(open_ns, since_ns - self._delay_ns):
            return []
        minute = oldest_ns // MINUTE_NS
        if minute != self._minute:  # within a minute nobody else falls silent, and to ask all of a market takes long
            self._minute, self._quiet = minute, list(symbols)
        heard = seen.symbols_since(oldest_ns, self._quiet)
        for symbol in heard:
            self._next_check.pop(symbol, None)
        self._quiet = [symbol for symbol in self._quiet if symbol not in heard]
        found = []
        for symbol in self._quiet:
            due_ns, wait_ns = self._next_check.get(symbol, (0, MINUTE_NS))
            if now_ns >= due_ns:
                found.append(symbol)
                self._next_check[symbol] = (now_ns + wait_ns, min(2 * wait_ns, CHECK_AGAIN_MAX_NS))
        return found
