"""An experiment judged: the model beside its baselines, over the whole of what it had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.clock import to_datetime
from research import evaluate, ledger
from research.baselines import Baseline
from research.config import TrainConfig
from research.dataset import Examples
from research.evaluate import History, Money, Reliability
from research.experiment import Fold, worth
from research.ledger import Luck, Trial
from research.targets import Floats, Ints

TREND_BARS, STORM_BARS = 60, 20
PERIODS_MAX = 40


class Rival(NamedTuple):
    """One line of the comparison; what does not apply is None."""

    name: str
    note: str
    loss: float | None
    accuracy: float | None
    ic: float | None
    history: History | None
    money: Money | None


class Part(NamedTuple):
    """The model in one period or regime."""

    name: str
    examples: int
    ic: float
    accuracy: float
    mean_after: float


@dataclass(frozen=True)
class Outcome:
    """Everything that the report tells."""

    config: TrainConfig
    examples: Examples
    folds: list[Fold]
    others: list[Trial]

    # --- what was said of the test sets, one after the other ---------------------------------------------------------

    @cached_property
    def rows(self) -> Ints:
        return np.concatenate([fold.split.test for fold in self.folds])

    @cached_property
    def outputs(self) -> Floats:
        return np.concatenate([fold.outputs for fold in self.folds])

    @cached_property
    def score(self) -> Floats:
        return worth(self.outputs, self.config.target.values)

    @cached_property
    def label(self) -> Floats:
        return self.examples.label[self.rows]

    @cached_property
    def truth(self) -> Floats:
        """The label as one number that a score should be near."""
        values = self.config.target.values
        return np.array(values)[self.label.astype(int)] if values else self.label

    @cached_property
    def span_ns(self) -> tuple[int, int]:
        ts_ns = self.examples.ts_ns[self.rows]
        return int(ts_ns.min()), int(ts_ns.max())

    @property
    def is_guard(self) -> bool:
        """Whether the model foretells nothing and only tells what is unusual."""
        return self.config.target.use == "reconstruction"

    @property
    def trades(self) -> bool:
        return self.config.target.is_directional

    # --- the comparison ----------------------------------------------------------------------------------------------

    @cached_property
    def rivals(self) -> list[Rival]:
        """The model, its baselines, and buying and holding."""
        if self.is_guard:
            return []
        note = f"{self.folds[0].trained[0].parameters:,} parameters"
        if self.config.ensemble:
            note = f"{self.config.ensemble.combine} of {len(self.config.members)} networks"
        found = [self._rival(self.config.name, note, self.score, self.outputs)]
        each_fold = zip(*(fold.baselines for fold in self.folds), strict=True)
        found += [self._rival(*_joined(several)) for several in each_fold]
        if self.trades:
            instants, gain = self._grid(self.examples.gain[self.rows])
            held = evaluate.buy_and_hold(gain, instants, self.config.book, self.config.target.horizon_bars)
            found.append(
                Rival("Buy and hold", "all symbols, equal money", None, None, None, held, evaluate.money(held))
            )
        return found

    @property
    def model(self) -> Rival:
        return self.rivals[0]

    @property
    def benchmark(self) -> Rival:
        """Buying and holding."""
        return self.rivals[-1]

    def _rival(self, name: str, note: str, score: Floats, outputs: Floats | None) -> Rival:
        loss = accuracy = None
        classes = len(self.config.target.values)
        if outputs is not None:
            truth = self.label.astype(int)
            loss = evaluate.log_loss(outputs, truth) if classes else float(((outputs[:, 0] - self.label) ** 2).mean())
            accuracy = float((outputs.argmax(axis=1) == truth).mean()) if classes else None
        elif classes == 2:  # a rule of thumb says up or down
            accuracy = float(((score > 0) == (self.label > 0)).mean())
        if np.isnan(score).any():  # it says the same of every symbol, which is no choice
            return Rival(name, note, loss, accuracy, None, None, None)
        history = self._history(score) if self.trades else None
        ic = self._mean_ic(score, slice(None))
        return Rival(name, note, loss, accuracy, ic, history, evaluate.money(history) if history else None)

    def _history(self, score: Floats) -> History:
        return self.traded(self.examples, self.rows, score)

    def traded(self, examples: Examples, rows: Ints, score: Floats) -> History:
        """Trade the plain book by scores of some examples."""
        instants, scores = _spread(examples, rows, score)
        _, gain = _spread(examples, rows, examples.gain[rows])
        return evaluate.hold(scores, gain, instants, self.config.book, self.config.target.horizon_bars)

    def _grid(self, values: Floats) -> tuple[Ints, Floats]:
        """Return values of the test rows as `[instant, symbol]`."""
        return _spread(self.examples, self.rows, values)

    @cached_property
    def luck(self) -> Luck:
        history = self.model.history
        assert history is not None  # asked only of what trades
        return ledger.judge(history, self.others)

    @cached_property
    def confidence(self) -> float:
        """Probability, by the bootstrap, that the model earns more after costs than buying and holding."""
        model, held = self.model.history, self.benchmark.history
        assert model is not None  # asked only of what trades
        assert held is not None  # likewise
        return evaluate.bootstrap_superiority(model.after, held.after, self.config.seed)

    # --- when and where ----------------------------------------------------------------------------------------------

    @cached_property
    def periods(self) -> list[Part]:
        """The model month by month, or by day, quarter or year, whichever gives a readable number."""
        days = self.examples.ts_ns[self.rows].astype("datetime64[ns]")
        months = days.astype("datetime64[M]")
        choices = (days.astype("datetime64[D]").astype(str), months.astype(str), evaluate.quarters(months))
        names = next((each for each in choices if len(np.unique(each)) <= PERIODS_MAX), days.astype("datetime64[Y]"))
        names = names.astype(str)
        return [self._part(str(name), names == name) for name in np.unique(names)]

    @cached_property
    def regimes(self) -> list[Part]:
        """The model in calm and stormy, rising and falling markets, as could be known at the time."""
        instants, place = np.unique(self.examples.ts_ns, return_inverse=True)
        _, moved = evaluate.grid(
            np.arange(len(place)), self.examples.symbol, self.examples.ts_ns, self.examples.moved,
            len(self.examples.symbols),
        )  # fmt: skip
        market = np.nan_to_num(moved).sum(axis=1) / np.maximum((~np.isnan(moved)).sum(axis=1), 1)
        trend, storm = (
            evaluate.trailing_mean(market, TREND_BARS),
            np.sqrt(evaluate.trailing_mean(market**2, STORM_BARS)),
        )
        at = place[self.rows]
        low, high = np.quantile(storm[np.unique(at)], (1 / 3, 2 / 3))
        chosen = {
            "Calm": storm <= low, "Usual": (storm > low) & (storm <= high), "Stormy": storm > high,
            "Rising": trend > 0, "Falling": trend <= 0,
        }  # fmt: skip
        assert len(instants) == len(storm)
        return [self._part(name, mask[at]) for name, mask in chosen.items() if mask[at].any()]

    def _part(self, name: str, mask: npt.NDArray[np.bool_]) -> Part:
        accuracy, mean_after = float("nan"), float("nan")
        if self.config.target.values:
            accuracy = float((self.outputs[mask].argmax(axis=1) == self.label[mask]).mean())
        if self.trades and self.model.history is not None:
            history = self.model.history
            traded = history.after[np.isin(history.ts_ns, self.examples.ts_ns[self.rows[mask]])]
            mean_after = float(traded.mean()) if len(traded) else float("nan")
        ic = self._mean_ic(self.score, mask)
        return Part(name, int(mask.sum()), float("nan") if ic is None else ic, accuracy, mean_after)

    def _mean_ic(self, score: Floats, mask: npt.NDArray[np.bool_] | slice) -> float | None:
        """Return the mean rank correlation across symbols, or where they are few, the one over time."""
        answer = self.examples.gain[self.rows] if self.trades else self.label
        kept = np.zeros(len(score), bool)
        kept[mask] = True
        kept &= ~np.isnan(answer)
        if len(self.examples.symbols) < evaluate.CROSS_SECTION_MIN:
            found = evaluate.rank_correlation(score[kept], answer[kept]) if kept.sum() > 1 else float("nan")
        else:
            grids = [self._grid(np.where(kept, each, np.nan))[1] for each in (score, answer)]
            by_instant = evaluate.information_coefficients(*grids)
            found = float(np.nanmean(by_instant)) if not np.isnan(by_instant).all() else float("nan")
        return None if np.isnan(found) else found

    # --- how sure it may be ------------------------------------------------------------------------------------------

    @cached_property
    def reliability(self) -> Reliability:
        """Of the highest class, forecast probability against how often it came; of a value, forecast against value."""
        if self.config.target.values:
            highest = self.outputs.shape[1] - 1
            return evaluate.reliability(self.outputs[:, highest], (self.label == highest).astype(float))
        return evaluate.reliability(self.outputs[:, 0], self.label)

    @cached_property
    def deciles(self) -> Reliability:
        """What symbols earned by the tenth of the scores in which they were."""
        gain = self.examples.gain[self.rows]
        known = ~np.isnan(gain)
        return evaluate.reliability(self.score[known], gain[known])

    @cached_property
    def confusion(self) -> Ints:
        classes = len(self.config.target.values)
        return evaluate.confusion(self.label.astype(np.int64), self.outputs.argmax(axis=1), classes)

    def verdict(self) -> tuple[bool, str]:
        """Tell plainly whether it beats buying and holding after costs."""
        model, held = self.model.money, self.benchmark.money
        assert model is not None  # asked only of what trades
        assert held is not None  # likewise
        better = model.mean_after > held.mean_after
        words = "It beats buy and hold after costs" if better else "It does not beat buy and hold after costs"
        first, last = (f"{to_datetime(ts_ns):%Y-%m-%d}" for ts_ns in self.span_ns)
        bars = self.config.target.horizon_bars
        each = "a bar" if bars == 1 else f"over {bars} bars"
        return better, (
            f"{words}: {model.mean_after:+.3%} {each} against {held.mean_after:+.3%}, on data it had not seen, "
            f"{first} to {last}. The probability that it truly earns more is {self.confidence:.0%}."
        )

    def trial(self, created_utc: str) -> Trial:
        """Return the line for the ledger."""
        history = self.model.history
        assert history is not None  # asked only of what trades
        span_ns = (int(history.ts_ns[0]), int(history.ts_ns[-1]))
        return Trial(
            self.config.trial_sha256(), self.examples.tape_sha256, self.config.name, created_utc, span_ns,
            tuple(np.round(history.after, 8).tolist()),
        )  # fmt: skip

    def metrics(self) -> dict[str, float]:
        """Return the figures for the card."""
        if self.is_guard:
            return {"error": float(self.score.mean())}
        money, found = self.model.money, self.model
        figures = {
            "loss": found.loss, "accuracy": found.accuracy, "information_coefficient": found.ic,
            "mean_before": money and money.mean_before, "mean_after": money and money.mean_after,
            "sharpe": money and money.sharpe, "deflated_sharpe": self.luck.deflated if self.trades else None,
        }  # fmt: skip
        return {name: round(float(value), 10) for name, value in figures.items() if value is not None}


def _joined(several: tuple[Baseline, ...]) -> tuple[str, str, Floats, Floats | None]:
    outputs = [each.outputs for each in several if each.outputs is not None]
    score = np.concatenate([each.score for each in several])
    return several[0].name, several[0].note, score, np.concatenate(outputs) if outputs else None


def _spread(examples: Examples, rows: Ints, values: Floats) -> tuple[Ints, Floats]:
    everywhere = np.full(len(examples.row), np.nan)
    everywhere[rows] = values
    return evaluate.grid(rows, examples.symbol, examples.ts_ns, everywhere, len(examples.symbols))
