"""From `[[models]]` tables to models that are ready: opened, loaded, warmed, and joined with what watches them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from engine.clock import Sessions
from engine.config import ModelConfig
from engine.errors import ConfigError, ModelError, suggestion
from engine.events import NEVER_NS
from engine.model.bundle import Bundle, check_replay, open_bundle, read_card
from engine.model.health import Health
from engine.model.lane import BLOCK, Lane
from engine.model.outlet import Latency, Outlet
from engine.model.rivals import Rivals
from engine.model.scorer import Scorer, scorer_of

PATTERN: Final = frozenset("*?[")


class Purpose(Protocol):
    """What a run and a training tell of themselves."""

    @property
    def mode(self) -> str: ...

    @property
    def seed(self) -> int: ...


class Deployer:
    """Makes models for one run: all of them when it begins, and another when a file is swapped.

    Args:
        config: of a run, or of a training that has scores among its features.
        span_ns: of the tape; (0, 0) on a live feed.
        now_ns: what a file's expiry is measured against: the machine's time, or the tape's first instant.
    """

    def __init__(
        self, config: Purpose, symbols: Sequence[str], sessions: Sessions, *, span_ns: tuple[int, int], now_ns: int
    ) -> None:
        self._config, self._symbols, self._sessions = config, tuple(symbols), sessions
        self._span_ns, self._now_ns = span_ns, now_ns

    def lanes(self, model: ModelConfig) -> list[Lane]:
        """Return the lane of one table; where its file is a pattern, those of all files that fit, each for its days.

        A file of such a walk speaks from the first day of its test span until the next one's begins.

        Raises:
            ModelError, ConfigError: as `lane`; or no file fits, or one was never tested.
        """
        key, is_walk, is_live = f"models.{model.name}.file", PATTERN & set(model.file.name), self._span_ns == (0, 0)
        if is_live and is_walk:
            raise ConfigError(f"{key}: {model.file.name} is a walk over a tape; name one file here")
        if is_live or not (is_walk or model.unseen_days_only):
            return [self.lane(model)]
        files = sorted(model.file.parent.glob(model.file.name)) if is_walk else [model.file]
        begins = sorted((read_card(file).test_span_ns[0], file) for file in files)
        if not begins or not begins[0][0]:
            told = f"{begins[0][1]} has no test span" if begins else f"no file fits {model.file}"
            raise ConfigError(f"{key}: {told}; train with a table [walk_forward]")
        found = []
        for (begin_ns, file), (end_ns, _) in zip(begins, [*begins[1:], (NEVER_NS, None)], strict=True):
            if begin_ns <= self._span_ns[1] and self._span_ns[0] < end_ns:
                lane = self.lane(model.model_copy(update={"file": file}), begin_ns, end_ns)
                if not lane.scorer.bulk:
                    raise ConfigError(f"{key}: {file} carries a state, which would lack the days before its turn")
                lane.label, lane.span_ns = f"{model.name}/{file.stem}" if is_walk else model.name, (begin_ns, end_ns)
                found.append(lane)
        return found

    def lane(self, model: ModelConfig, begin_ns: int = 0, end_ns: int = NEVER_NS) -> Lane:
        """Return one model, with its challenger, guard and health; it will speak from `begin_ns` on until `end_ns`.

        Raises:
            ModelError: a file is refused, or cannot run here.
            ConfigError: a symbol is on no tape, or live trading has no list of files.
        """
        bundle = self.open(model, model.file, begin_ns, end_ns)
        symbols = self._symbols_of(model)
        scorer = self.scorer(model, bundle, block=0 if self._span_ns == (0, 0) else BLOCK)
        outlet = Outlet(model, bundle.card, symbols, bundle.sha256)
        rivals = self.rivals(model, scorer, begin_ns, end_ns)
        pace = Latency(model, bundle.card, self._config.seed)
        return Lane(scorer, outlet, pace, health=self.health(model, bundle, begin_ns, end_ns), rivals=rivals)

    def open(self, model: ModelConfig, file: Path, begin_ns: int = 0, end_ns: int = NEVER_NS) -> Bundle:
        """Read a file and see whether it may be run."""
        if self._config.mode == "live" and not model.allowed_sha256:
            raise ConfigError(f"models.{model.name}.allowed_sha256: live trading needs the list of files that may run")
        allowed = frozenset(model.allowed_sha256) or None
        bundle = open_bundle(file, allowed=allowed, now_ns=self._now_ns)
        if self._span_ns != (0, 0):
            span_ns = max(begin_ns, self._span_ns[0]), min(end_ns - 1, self._span_ns[1])
            check_replay(bundle.card, span_ns, allowed=model.allow_training_span)
        return bundle

    def scorer(self, model: ModelConfig, bundle: Bundle, *, block: int = 0) -> Scorer:
        """Load a file that was opened, for the symbols of its model."""
        symbols = self._symbols_of(model)
        try:
            return scorer_of(bundle, symbols, self._sessions, device=model.device, threads=model.threads, block=block)
        except ModelError as error:
            raise ModelError(f"models.{model.name}: {error}") from None

    def health(self, model: ModelConfig, bundle: Bundle, begin_ns: int = 0, end_ns: int = NEVER_NS) -> Health | None:
        """Return what watches a model, None where nothing has a limit."""
        config = model.health
        limits = (
            config.drift_psi_max, config.drift_ks_max, config.prediction_psi_max, config.calibration_max,
            config.age_days_max, config.ood_share_max, config.guard,
        )  # fmt: skip
        if all(limit is None for limit in limits):
            return None
        guard = None
        if config.guard is not None:
            guard = self.scorer(model, self.open(model, config.guard, begin_ns, end_ns))
        return Health(config, bundle.card, self._symbols_of(model), guard)

    def rivals(self, model: ModelConfig, champion: Scorer, begin_ns: int = 0, end_ns: int = NEVER_NS) -> Rivals | None:
        """Return a champion's challenger beside it, None where there is none."""
        if model.challenger is None:
            return None
        challenger = self.scorer(model, self.open(model, model.challenger, begin_ns, end_ns))
        return Rivals(model.name, champion, challenger)

    def _symbols_of(self, model: ModelConfig) -> tuple[str, ...]:
        key, known = f"models.{model.name}.symbols", self._symbols
        wanted = known if "*" in model.symbols else model.symbols
        if "*" in wanted:
            raise ConfigError(f"{key}: a feed of all symbols needs a model that names its own")
        for symbol in wanted:
            if symbol not in known and "*" not in known:
                raise ConfigError(f"{key}: '{symbol}' is on no tape of the feed{suggestion(symbol, known)}")
        return tuple(wanted)
