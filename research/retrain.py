"""`onetape retrain CONFIG`: train anew, and put the new model in the place of the old only if it is better.

Both are judged on the same held-out data, after costs, which neither was trained on. Whatever comes of it is written
down in one line, `promotions.jsonl`, beside the model. Let a timer call it (docs/training.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from engine.commands.options import ConfigPath, Overrides, naming

if TYPE_CHECKING:
    from engine.model.bundle import Bundle
    from research.config import TrainConfig
    from research.evaluate import History
    from research.outcome import Outcome

PERIODS_MIN = 20


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


def command(path: ConfigPath, overrides: Overrides = None) -> None:
    """Train a challenger and promote it if it beats the model in use on held-out data, after costs."""
    from research import config

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
            os.replace(champion, champion.with_name(f"{champion.stem}-previous.pt"))
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
    unseen_ns = max(old.card.train_span_ns[1], old.card.valid_span_ns[1])
    mine, theirs = _histories(outcome, old)
    later = np.isin(mine.ts_ns, theirs.ts_ns) & (mine.ts_ns > unseen_ns)
    kept = np.isin(theirs.ts_ns, mine.ts_ns[later])
    one, other = mine.after[later], theirs.after[kept]
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


def _histories(outcome: Outcome, champion: Bundle) -> tuple[History, History]:
    """Trade the same book by the challenger's scores and by the champion's, each on the features it was trained on."""
    import numpy as np

    from engine.errors import ModelError
    from engine.model.backends import load_backend
    from research import dataset

    card, config = champion.card, outcome.config
    features = [{"name": spec.name, "params": spec.params} for spec in card.features]
    data = config.data.model_validate(
        config.data.model_dump() | {"features": features, "lookback": card.lookback, "missing": card.missing}
    )
    examples = dataset.build(config.model_copy(update={"data": data}))
    if examples.feature_code_sha256 != card.feature_code_sha256:
        raise ModelError(f"{champion.path}: it was trained with other code of its features; promote by hand")
    first_ns, last_ns = outcome.span_ns
    rows = np.flatnonzero((examples.ts_ns >= first_ns) & (examples.ts_ns <= last_ns))
    windows = examples.windows(card.normalization).numpy()
    backend = load_backend(champion, device="cpu")
    places = examples.places[rows]
    parts = [backend.score(windows[places[at : at + 1024]]) for at in range(0, len(places), 1024)]
    backend.close()
    score = np.concatenate(parts).astype(np.float64) @ np.array(card.score)
    mine = outcome.model.history
    assert mine is not None  # a challenger that cannot be traded was refused before it was trained
    return mine, outcome.traded(examples, rows, score)
