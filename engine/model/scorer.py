"""One bundle at work: its features, its network and what it carries, from a market event to numbers.

A pass goes over all symbols that are due at one instant. Nothing here knows of time, threads or signals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.clock import Clock, Sessions
from engine.errors import ModelError
from engine.model.backends import Backend, Floats, first_line, load_backend
from engine.model.bundle import Bundle
from engine.model.features import FeatureSet
from engine.model.states import Due, Rows, Streaming, carrier_of
from engine.model.text import Texts, texts_of


class Scorer:
    """Features, normalization, network and state of one bundle, for the symbols of a run.

    Attributes:
        bundle, features, backend: what it is made of.
        bulk: whether instants may be scored together, because windows depend on the market alone.
    """

    def __init__(self, bundle: Bundle, backend: Backend, features: FeatureSet | Texts, sessions: Sessions) -> None:
        card = bundle.card
        self.bundle, self.backend, self.features = bundle, backend, features
        self.card, self.symbols = card, tuple(features.symbols)
        self.take, self.bulk = features.take, card.state_mode != "streaming"
        self._weights = np.asarray(card.score, np.float32)
        self._carrier = carrier_of(card, backend, len(self.symbols), sessions)
        self._interval_ns = card.interval_ns

    @property
    def streaming(self) -> Streaming | None:
        """What it carries from bar to bar, when it streams."""
        return self._carrier if isinstance(self._carrier, Streaming) else None

    def due(self, ts_ns: int) -> Due | None:
        """Close an instant and return what has to be scored, None when nothing has."""
        rows = self.features.close(ts_ns)
        if not len(rows):
            return None
        return self.due_of(ts_ns, rows)

    def due_of(self, ts_ns: int, rows: Rows) -> Due:
        """Return the windows of some symbols as they are now."""
        windows = self.features.windows(rows)
        newest = np.array(windows[:, :, -1])
        return Due(ts_ns, rows, self.features.ts_event_ns(rows), self.features.numbers(rows), windows, newest)

    def outputs(self, due: Due) -> Floats:
        """Normalize and score one instant: `[n, output]`.

        Raises:
            ModelError: the network cannot.
        """
        return self._of_its_width(self._asked(self._carrier.score, due))

    def settle(self, due: Due) -> None:
        """Do what can be done for the next bars of these symbols, now that their outputs are out.

        Raises:
            ModelError: the network cannot; then the next bars are read with their whole windows.
        """
        self._asked(self._carrier.settle, due)

    def together(self, windows: Floats, ends: Sequence[int]) -> tuple[Floats, dict[int, str]]:
        """Score the raw windows of many instants in one go, in place; where that fails, one instant after the other.

        `ends` are where the instants' rows end. Returns the outputs `[n, output]`, NaN where there are none, and by
        the first row of each instant that failed why it did: live, too, a failure is of its own instant.
        """
        inputs = self.card.normalization.apply(windows, windows)
        try:
            return self._of_its_width(self._asked(self.backend.score, inputs)), {}
        except ModelError:
            outputs, failed, first = np.full((len(inputs), len(self._weights)), np.nan, np.float32), dict[int, str](), 0
        for end in ends:
            try:
                outputs[first:end] = self._of_its_width(self._asked(self.backend.score, inputs[first:end]))
            except ModelError as error:
                failed[first] = str(error)
            first = end
        return outputs, failed

    def _asked(self, ask: Callable[[Any], Any], inputs: Any) -> Any:
        """Run a model's code: whatever it raises is that model's failure, and ends neither a thread nor a run."""
        try:
            return ask(inputs)
        except ModelError:
            raise
        except (Exception, SystemExit) as error:  # TorchScript's own error is no RuntimeError
            raise ModelError(f"{self.bundle.path}: {type(error).__name__}: {first_line(error)}") from error

    def _of_its_width(self, outputs: Floats) -> Floats:
        if outputs.shape[1] != len(self._weights):
            told = f"the network answers with {outputs.shape[1]} outputs, and its card names {len(self._weights)}"
            raise ModelError(f"{self.bundle.path}: {told}")
        return outputs

    def scores(self, outputs: Floats) -> Floats:
        """Return the one number of each row that a signal carries."""
        return outputs[:, 0] * self._weights[0] if len(self._weights) == 1 else outputs @ self._weights

    def warm(self, passes: tuple[int, ...] = ()) -> None:
        """Have the network ready for all symbols at once, for one, and for what lies between."""
        sizes = passes or tuple(sorted({1, min(8, len(self.symbols)), len(self.symbols)}))
        self.backend.warm((len(self.card.features), self.card.lookback), sizes)

    def measured_ns(self, calls: int, clock: Clock) -> int:
        """Return the p99 of a pass over all symbols, of what is on the critical path and what can be done ahead."""
        backend, card, count = self.backend, self.card, len(self.symbols)
        windows = np.zeros((count, len(card.features), card.lookback), np.float32)
        state = np.zeros((count, backend.state_size), np.float32)
        took = []
        for _ in range(calls):
            began_ns = clock.monotonic_ns()
            if self.streaming is not None:
                backend.readout(backend.advance(windows[:, :, -1:], state))
            else:
                backend.score(windows)
            took.append(clock.monotonic_ns() - began_ns)
        return sorted(took)[int(0.99 * (calls - 1))]


def scorer_of(
    bundle: Bundle, symbols: tuple[str, ...], sessions: Sessions, *, device: str = "auto", threads: int = 1,
    block: int = 0,
) -> Scorer:  # fmt: skip
    """Load a bundle that was opened and join it with its features, `block` bars of a symbol at once, or its texts.

    Raises:
        ModelError: it cannot be loaded, or its features are of another version.
    """
    features: FeatureSet | Texts
    if bundle.card.text is None:
        folder = Path(bundle.path).parent
        features = FeatureSet.for_card(bundle.card, symbols, block=block, folder=folder, trusted=bundle.listed)
    else:
        features = texts_of(bundle, symbols, block=block)
    return Scorer(bundle, load_backend(bundle, device, threads), features, sessions)
