"""How a recurrent network is carried from bar to bar: three modes, each with written rules.

`window`       every bar reads its whole window again. Any network.
pre-rolled     the same numbers: after a bar, all but the last step of the *next* window are gone through, off the
               critical path; when the bar comes, one step is left. Where the window is not the one that was foreseen
               (a revision, a corporate action), it is read whole.
`streaming`    one state for each symbol goes on for ever. It begins anew by reading the window that is there, when the
               card's rule says so: with each session, or after more missing bars than it allows.

Pre-rolled and streaming need a network that offers `advance` and `readout`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.clock import Sessions
from engine.errors import ModelError
from engine.model.backends import Backend, Floats
from engine.model.card import Card

Rows = NDArray[np.int64]


class Carrier(Protocol):
    """Scores the windows of some symbols, and keeps what the mode has to keep of them."""

    def score(self, rows: Rows, windows: Floats, ts_event_ns: NDArray[np.int64]) -> Floats:
        """Return the outputs of the newest bars of `rows`: `[n, feature, lookback]` to `[n, output]`."""
        ...

    def settle(self, rows: Rows, windows: Floats) -> None:
        """Do what can be done before the next bar, once the outputs are out."""
        ...


class Windows:
    """Whole windows, nothing kept."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def score(self, rows: Rows, windows: Floats, ts_event_ns: NDArray[np.int64]) -> Floats:
        return self._backend.score(windows)

    def settle(self, rows: Rows, windows: Floats) -> None:
        """Keep nothing."""


class PreRolled:
    """All but the last step of each symbol's next window, done ahead."""

    def __init__(self, backend: Backend, symbols: int, shape: tuple[int, int]) -> None:
        features, lookback = shape
        self._backend = backend
        self._foreseen = np.full((symbols, features, lookback - 1), np.nan, np.float32)  # equal to nothing
        self._state = np.zeros((symbols, backend.state_size), np.float32)

    def score(self, rows: Rows, windows: Floats, ts_event_ns: NDArray[np.int64]) -> Floats:
        fits = (self._foreseen[rows] == windows[:, :, :-1]).all(axis=(1, 2))
        if fits.all():
            return self._step(rows, windows)
        outputs = self._backend.score(windows)
        if fits.any():
            outputs = np.array(outputs)
            outputs[fits] = self._step(rows[fits], windows[fits])
        return outputs

    def settle(self, rows: Rows, windows: Floats) -> None:
        ahead = windows[:, :, 1:]
        self._foreseen[rows] = ahead
        self._state[rows] = self._backend.advance(ahead, np.zeros((len(rows), self._backend.state_size), np.float32))

    def _step(self, rows: Rows, windows: Floats) -> Floats:
        return self._backend.readout(self._backend.advance(windows[:, :, -1:], self._state[rows]))


class Streaming:
    """One state for each symbol, carried on.

    It begins anew, by reading the window that is there from zeros, at a symbol's first bar; when a bar is not newer
    than the last; and by the card's rule: `session`, with each session; `gap`, after more than `reset_gap_bars` missing
    bars; `never`, else not.
    """

    def __init__(self, backend: Backend, symbols: int, card: Card, sessions: Sessions) -> None:
        self._backend, self._card, self._sessions = backend, card, sessions
        self.state = np.zeros((symbols, backend.state_size), np.float32)
        self.last_ns = np.zeros(symbols, np.int64)

    def score(self, rows: Rows, windows: Floats, ts_event_ns: NDArray[np.int64]) -> Floats:
        anew = self._begins_anew(rows, ts_event_ns)
        state = np.array(self.state[rows])
        if anew.any():
            state[anew] = self._backend.advance(windows[anew], np.zeros_like(state[anew]))
        if not anew.all():
            on = ~anew
            state[on] = self._backend.advance(windows[on][:, :, -1:], state[on])
        self.state[rows], self.last_ns[rows] = state, ts_event_ns
        return self._backend.readout(state)

    def settle(self, rows: Rows, windows: Floats) -> None:
        """Have nothing to do ahead."""

    def save(self, path: Path, sha256: str, symbols: tuple[str, ...]) -> None:
        """Write the state, whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            key = np.array([sha256, *symbols])
            np.savez(file, key=key, state=self.state, last_ns=self.last_ns)
        partial.replace(path)

    def load(self, path: Path, sha256: str, symbols: tuple[str, ...]) -> bool:
        """Take over a written state; return whether it was of this model and these symbols."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                if kept["key"].tolist() != [sha256, *symbols] or kept["state"].shape != self.state.shape:
                    return False
                self.state, self.last_ns = kept["state"], kept["last_ns"]
        except (OSError, ValueError, KeyError):
            return False
        return True

    def _begins_anew(self, rows: Rows, ts_event_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        last, card = self.last_ns[rows], self._card
        anew: NDArray[np.bool_] = (last == 0) | (ts_event_ns <= last)
        if card.reset_rule == "gap":
            anew |= (ts_event_ns - last) // card.interval_ns - 1 > card.reset_gap_bars
        elif card.reset_rule == "session":
            opened = {int(ts): self._sessions.at(int(ts) - 1).extended_open_ns for ts in np.unique(ts_event_ns)}
            anew |= last <= np.array([opened[int(ts)] for ts in ts_event_ns])
        return anew


def carrier_of(card: Card, backend: Backend, symbols: int, sessions: Sessions) -> Any:
    """Return what carries a card's network from bar to bar.

    Raises:
        ModelError: it wants to stream, and its network cannot.
    """
    shape = (len(card.features), card.lookback)
    if card.state_mode == "streaming":
        if not backend.state_size:
            told = 'its card says state_mode "streaming", and its network has no advance, readout and state_size'
            raise ModelError(f"model {card.name!r}: {told}")
        return Streaming(backend, symbols, card, sessions)
    if card.state_mode == "window" and backend.state_size and card.lookback > 1:
        return PreRolled(backend, symbols, shape)
    return Windows(backend)
