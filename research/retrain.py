"""`onetape retrain CONFIG`: train anew, and put the new model in the place of the old only if it is better.

Both are judged on the same held-out data, after costs, which neither was trained on. Whatever comes of it is written
down in one line, `promotions.jsonl`, beside the model. Let a timer call it (docs/training.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from engine.commands.options import TrainingOverrides, TrainingPath, naming

if TYPE_CHECKING:
    from engine.model.bundle import Bundle
    from engine.model.card import Card
    from research.config import TrainConfig
    from research.evaluate import History
    from research.outcome import Outcome

PERIODS_MIN = 60


class Decision(msgspec.Struct, frozen=True):
    """One line of the record. Means are returns a period after costs; `champion_sha256` is empty for a first model."""

    created_utc: str
    promoted: bool
    reason: str
    challenger_sha256: str
    champion_sha256: str = ""
    periods: int = 0
    challenger_mean: float = 0.0
    champion_mean: float = 0.0
    confidence: float = 0.0


def command(path: TrainingPath, overrides: TrainingOverrides = None) -> None:
    """Train a challenger and promote it if it beats the model in use on held-out data, after costs."""
    from engine.errors import ConfigError
    from research import config, news_config

    if news_config.is_about_texts(path):
        raise ConfigError(
            f"{path}: a model of texts earns nothing by itself that a gate could compare; `onetape train` it"
        )
    wanted = config.load(path, overrides or ())
    with naming(path):
        decision = retrain(wanted)
    typer.echo(f"{'promoted' if decision.promoted else 'not promoted'}: {decision.reason}")


def retrain(config: TrainConfig) -> Decision:
    """Train a challenger beside the champion, decide, and write the decision down.

    Raises:
        ConfigError, TapeError, ModelError: one clear line each; the champion stays where it is.
    """
    import os
    import shutil

    from engine.clock import LiveClock, to_datetime
    from engine.errors import ConfigError
    from research.train import train

    if not config.target.is_directional:
        raise ConfigError(f"target.use = {config.target.use!r} earns nothing that two models could be compared by")
    champion = config.gate.champion or config.out_dir / f"{config.name}.pt"
    challenger_config = config.model_copy(update={"out_dir": config.out_dir / "challenger"})
    outcome, challenger = train(challenger_config)
    now_ns = LiveClock().now_ns()
    decision = decide(outcome, challenger, champion, now_ns, f"{to_datetime(now_ns):%Y-%m-%dT%H:%M:%SZ}")
    if decision.promoted:
        champion.parent.mkdir(parents=True, exist_ok=True)
        if champion.exists():
            # A copy, so that there is no moment without a model in use.
            shutil.copyfile(champion, champion.with_name(f"{champion.stem}-previous.pt"))
        os.replace(challenger, champion)
    with (config.out_dir / "promotions.jsonl").open("ab") as record:
        record.write(msgspec.json.encode(decision) + b"\n")
    return decision


def decide(outcome: Outcome, challenger: Path, champion: Path, now_ns: int, created_utc: str) -> Decision:
    """Compare the challenger with the model in use, on what neither was trained on."""
    import numpy as np

    from engine.model.bundle import open_bundle
    from research.evaluate import bootstrap_superiority

    new = open_bundle(challenger, allowed=None, now_ns=0)
    if not champion.exists():
        return Decision(created_utc, True, "there is no model in use yet", new.sha256)
    old = open_bundle(champion, allowed=None, now_ns=0)  # an expired one is compared all the same
    known = Decision(created_utc, False, "", new.sha256, old.sha256)
    if old.card.interval_ns != new.card.interval_ns:
        return msgspec.structs.replace(known, reason="the model in use wants bars of another length")
    since_ns = max(_unseen_ns(new.card), _unseen_ns(old.card))
    mine, theirs = (_traded(outcome, bundle, since_ns) for bundle in (new, old))
    _, ours, others = np.intersect1d(mine.ts_ns, theirs.ts_ns, return_indices=True)
    one, other = mine.after[ours], theirs.after[others]
    if len(one) < PERIODS_MIN:
        told = f"only {len(one)} periods are new to both models; at least {PERIODS_MIN} are wanted"
        return msgspec.structs.replace(known, reason=told, periods=len(one))
    confidence = bootstrap_superiority(one, other, outcome.config.seed)
    wanted = outcome.config.gate.confidence
    promoted = bool(one.mean() > other.mean() and confidence >= wanted)
    told = (
        f"it earned {one.mean():+.4%} a period after costs over {len(one)} held-out periods, the model in use "
        f"{other.mean():+.4%}; the probability that it is better is {confidence:.1%}, and {wanted:.0%} is wanted"
    )
    return msgspec.structs.replace(
        known, promoted=promoted, reason=told, periods=len(one), challenger_mean=float(one.mean()),
        champion_mean=float(other.mean()), confidence=confidence,
    )  # fmt: skip


def _unseen_ns(card: Card) -> int:
    """Return the first instant that had no part in a model's training: of its test, where the card names one."""
    return card.test_span_ns[0] or max(card.train_span_ns[1], card.valid_span_ns[1]) + 1


def _traded(outcome: Outcome, bundle: Bundle, since_ns: int) -> History:
    """Trade the book by one file's scores from an instant on, on the features it was trained on."""
    import numpy as np

    from engine.errors import ModelError
    from engine.model.backends import load_backend
    from research import dataset

    card, config, examples = bundle.card, outcome.config, outcome.examples
    if (card.features, card.lookback, card.missing) != (config.data.specs, config.data.lookback, config.data.missing):
        features = [{"name": spec.name, "params": spec.params} for spec in card.features]
        given = config.data.model_dump() | {"features": features, "lookback": card.lookback, "missing": card.missing}
        examples = dataset.build(config.model_copy(update={"data": config.data.model_validate(given)}))
    if examples.feature_code_sha256 != card.feature_code_sha256:
        raise ModelError(f"{bundle.path}: it was trained with other code of its features; promote by hand")
    rows = np.flatnonzero((examples.ts_ns >= since_ns) & (examples.ts_ns <= outcome.span_ns[1]))
    windows = examples.windows(card.normalization).numpy()
    backend, places = load_backend(bundle, device="cpu"), examples.places[rows]
    parts = [backend.score(windows[places[at : at + 1024]]) for at in range(0, len(places), 1024)]
    backend.close()
    if not parts:
        raise ModelError(f"{bundle.path}: the tape has no days that it was not trained on")
    return outcome.traded(examples, rows, np.concatenate(parts).astype(np.float64) @ np.array(card.score))
