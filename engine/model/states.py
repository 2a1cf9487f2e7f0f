"""How a recurrent network is carried from bar to bar: three modes, each with written rules.

`window`       every bar reads its whole window again. Any network.
pre-rolled     the same numbers: after a bar, all but the last step of the *next* window are gone through, off the
               critical path; when the bar comes, one step is left. Where it is not the next one by its number (bars
               were missed, the symbol began afresh), the window is read whole.
`streaming`    one state for each symbol goes on for ever. It begins anew by reading the window that is there, when the
               card's rule says so: with each session, or after more missing bars than it allows.

Pre-rolled and streaming need a network that offers `advance` and `readout`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.clock import Sessions
from engine.errors import ModelError
from engine.model.backends import Backend, Floats
from engine.model.card import Card
from engine.model.cells import FEW
from engine.model.normalization import Scaling

Rows = NDArray[np.int64]


class Due(NamedTuple):
    """The symbols of one pass, with their inputs, and the `numbers` of their newest bars in their own order.

    Shapes: `windows` are `[n, feature, lookback]`, raw until they are scored, which may be on another thread and in
    place; `newest` `[n, feature]`, the newest bars, raw for good.
    """

    ts_ns: int
    rows: Rows
    ts_event_ns: NDArray[np.int64]
    numbers: NDArray[np.int64]
    windows: Floats
    newest: Floats

    def of(self, part: NDArray[np.bool_]) -> Due:
        """Return some of its symbols."""
        rows, ts_event_ns, numbers = self.rows[part], self.ts_event_ns[part], self.numbers[part]
        return Due(self.ts_ns, rows, ts_event_ns, numbers, self.windows[part], self.newest[part])


class Carrier(Protocol):
    """Scores the windows of some symbols, and keeps what the mode has to keep of them."""

    def score(self, due: Due) -> Floats:
        """Return the outputs of the newest bars: `[n, output]`."""
        ...

    def settle(self, due: Due) -> None:
        """Do what can be done before the next bar, once the outputs are out."""
        ...


class Windows:
    """Whole windows, nothing kept."""

    def __init__(self, backend: Backend, scale: Scaling) -> None:
        self._backend, self._scale = backend, scale

    def score(self, due: Due) -> Floats:
        return self._backend.score(self._scale(due.windows, due.windows))

    def settle(self, due: Due) -> None:
        """Keep nothing."""


class PreRolled:
    """All but the last step of each symbol's next window, done ahead; of an LSTM half of that step too."""

    def __init__(self, backend: Backend, scale: Scaling, symbols: int) -> None:
        self._backend, self._scale, self._cells = backend, scale, backend.cells
        self._foreseen = np.full(symbols, -1)  # the number of the bar that each state waits for
        self._state = np.zeros((symbols, backend.state_size), np.float32)
        self._gates = np.zeros((symbols, 0 if self._cells is None else self._cells.gates), np.float32)

    def score(self, due: Due) -> Floats:
        rows = self._at(due.rows)
        fits = self._foreseen[rows] == due.numbers
        if fits.all():
            return self._step(rows, due.newest)
        outputs = self._backend.score(self._scale(due.windows))
        if fits.any():
            outputs = np.array(outputs)
            outputs[fits] = self._step(due.rows[fits], due.newest[fits])
        return outputs

    def settle(self, due: Due) -> None:
        rows, ahead = self._at(due.rows), self._scale(due.windows[:, :, 1:])
        state = self._backend.advance(ahead, np.zeros((len(ahead), self._backend.state_size), np.float32))
        self._state[rows] = state
        if self._cells is not None:
            self._gates[rows] = self._cells.foresee(state)
        self._foreseen[rows] = due.numbers + 1  # at the end: what could not be read ahead is not foreseen
        if self._cells is not None and len(state) <= FEW:
            self._step(rows, due.newest)  # for nothing but the caches, which are full of what reading ahead has touched

    def _at(self, rows: Rows) -> Rows | slice:
        """Return where rows lie; all of them are there to be looked at, not copied."""
        return slice(None) if len(rows) == len(self._state) else rows

    def _step(self, rows: Rows | slice, newest: Floats) -> Floats:
        steps, state, cells = self._scale(newest[:, :, None]), self._state[rows], self._cells
        if cells is None:
            return self._backend.readout(self._backend.advance(steps, state))
        state = cells.step(steps[:, :, 0], state, self._gates[rows])
        return self._backend.readout(state) if cells.head is None else cells.readout(state)


class Streaming:
    """One state for each symbol, carried on over every bar, those that stand in for missing ones too.

    It begins anew, by reading the window that is there from zeros, at a symbol's first bar; when the window does not
    reach back to the last bar that it has read; and by the card's rule: `session`, with each session; `gap`, after more
    than `reset_gap_bars` missing bars; `never`, else not.
    """

    def __init__(self, backend: Backend, scale: Scaling, symbols: int, card: Card, sessions: Sessions) -> None:
        self._backend, self._scale, self._card, self._sessions = backend, scale, card, sessions
        self.state = np.zeros((symbols, backend.state_size), np.float32)
        self.last_ns = np.zeros(symbols, np.int64)
        self.last_number = np.full(symbols, -1)

    def score(self, due: Due) -> Floats:
        rows, lookback = due.rows, due.windows.shape[2]
        steps = due.numbers - self.last_number[rows]
        anew = (self.last_ns[rows] == 0) | (steps < 1) | (steps > lookback) | self._has_to_begin_anew(due, steps)
        steps = np.where(anew, lookback, steps)
        state = np.where(anew[:, None], np.float32(0.0), self.state[rows])
        for count in np.unique(steps).tolist():  # one for all, but for those that have begun or missed bars
            these = steps == count
            read = self._scale(due.windows[these][:, :, lookback - count :])
            state[these] = self._backend.advance(read, state[these])
        self.state[rows], self.last_ns[rows], self.last_number[rows] = state, due.ts_event_ns, due.numbers
        return self._backend.readout(state)

    def settle(self, due: Due) -> None:
        """Have nothing to do ahead."""

    def _has_to_begin_anew(self, due: Due, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self._card.reset_rule == "gap":
            found: NDArray[np.bool_] = steps - 1 > self._card.reset_gap_bars
            return found
        if self._card.reset_rule == "session":
            opened = {int(ts): self._sessions.at(int(ts) - 1).extended_open_ns for ts in np.unique(due.ts_event_ns)}
            before: NDArray[np.bool_] = self.last_ns[due.rows] <= np.array([opened[int(ts)] for ts in due.ts_event_ns])
            return before
        return np.zeros(len(due.rows), np.bool_)

    def save(self, path: Path, sha256: str, symbols: tuple[str, ...]) -> None:
        """Write the state, whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            key = np.array([sha256, *symbols])
            np.savez(file, key=key, state=self.state, last_ns=self.last_ns, last_number=self.last_number)
        partial.replace(path)

    def load(self, path: Path, sha256: str, symbols: tuple[str, ...]) -> bool:
        """Take over a written state; return whether it was of this model and these symbols."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                if kept["key"].tolist() != [sha256, *symbols] or kept["state"].shape != self.state.shape:
                    return False
                self.state, self.last_ns, self.last_number = (
                    kept[name] for name in ("state", "last_ns", "last_number")
                )
        except (OSError, ValueError, KeyError):
            return False
        return True


def carrier_of(card: Card, backend: Backend, symbols: int, sessions: Sessions) -> Carrier:
    """Return what carries a card's network from bar to bar.

    Raises:
        ModelError: it wants to stream, and its network cannot.
    """
    scale = Scaling(card.normalization)
    if card.state_mode == "streaming":
        if not backend.state_size:
            told = 'its card says state_mode "streaming", and its network has no advance, readout and state_size'
            raise ModelError(f"model {card.name!r}: {told}")
        return Streaming(backend, scale, symbols, card, sessions)
    if card.state_mode == "window" and backend.state_size and card.lookback > 1:
        return PreRolled(backend, scale, symbols)
    return Windows(backend, scale)
