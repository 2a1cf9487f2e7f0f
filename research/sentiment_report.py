"""`onetape train CONFIG` for texts: train, write the bundle, and say plainly whether it beats the lexicon."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from engine.clock import to_datetime
from research import sentiment
from research.fit import Epoch, device_name
from research.news_config import NewsTrainConfig
from research.sentiment import Sentiment, Worth

STAGES = {
    "lexicon": "the sign that this project's lexicon gives each text",
    "returns": "whether the return from the first open after each text was low, middling or high",
}


class Judged(NamedTuple):
    """What the test span said of the model and of the lexicon."""

    model: Worth
    lexicon: Worth

    def verdict(self) -> str:
        """Return in a sentence or two what the figures come to."""
        better = self.model.rank - self.lexicon.rank
        told = (
            f"test: rank correlation with the next return {self.model.rank:+.3f}, the lexicon's "
            f"{self.lexicon.rank:+.3f}, of pure chance +-{self.model.noise:.3f} ({self.model.spans} returns)."
        )
        if not abs(better) > 2.0 * self.model.noise:
            return f"{told} The model does not beat the lexicon: the difference is within chance."
        return f"{told} The model is {'better' if better > 0 else 'worse'} than the lexicon by more than chance."


def run(config: NewsTrainConfig) -> tuple[Judged, Path]:
    """Train, write the bundle and its report into `out_dir`, and return what was found with the bundle's path.

    Raises:
        ConfigError, TapeError, ModelError: one clear line each.
    """
    console = Console(stderr=True)
    console.print(f"training on {device_name(config.fit.device)}")

    def tell(stage: str, epochs: list[Epoch]) -> None:
        last = epochs[-1]
        console.print(f"{stage} epoch {last.number}: train {last.train:.4f}, validation {last.validation:.4f}")

    found = sentiment.train(config, tell)
    judged = judge(found)
    bundle = config.out_dir / f"{config.name}.pt"
    sha256 = sentiment.pack(bundle, found, metrics(judged), sentiment.now_ns())
    (config.out_dir / "report.md").write_text(page(found, judged, sha256), encoding="utf-8")
    return judged, bundle


def judge(found: Sentiment) -> Judged:
    """Return what model and lexicon were worth on the test span."""
    rows, examples = found.split.test, found.examples
    model = sentiment.worth(found.score, examples, rows)
    by_class = sentiment.worth(sentiment.signs(found.outputs), examples, rows)
    return Judged(
        model._replace(agreement=by_class.agreement, right=by_class.right, moves=by_class.moves),
        sentiment.worth(examples.lexicon, examples, rows),
    )


def metrics(judged: Judged) -> dict[str, float]:
    """Return the figures that a card keeps; what is no number is left out."""
    told = {
        "test_agreement": judged.model.agreement, "test_right": judged.model.right, "test_rank": judged.model.rank,
        "test_lexicon_right": judged.lexicon.right, "test_lexicon_rank": judged.lexicon.rank,
        "test_noise": judged.model.noise, "test_texts": float(judged.model.texts),
    }  # fmt: skip
    return {name: value for name, value in told.items() if value == value}


def page(found: Sentiment, judged: Judged, sha256: str) -> str:
    """Return the report as Markdown."""
    config, examples = found.config, found.examples
    lines = [f"# {config.name}: a model of texts", "", judged.verdict(), "", "## What it was taught", ""]
    lines += [f"1. {STAGES[stage]}" for stage in config.labels.stages]
    if config.text.checkpoint is not None:
        lines += [f"It began as the checkpoint `{config.text.checkpoint.name}`."]
    lines += [
        "", "No text was labeled by a person: what was learned from the lexicon is the lexicon, read by a network.", "",
        f"Bundle SHA-256 `{sha256}`, tape `{examples.tape_sha256}`, seed {config.seed}.", "",
        "| span | texts | from | to |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, rows in zip(found.split._fields, found.split, strict=True):
        first, last = (to_datetime(int(examples.ts_ns[rows[at]])) for at in (0, -1))
        lines.append(f"| {name} | {len(rows)} | {first:%Y-%m-%d %H:%M} | {last:%Y-%m-%d %H:%M} |")
    lines += [
        "", "## On the test span", "",
        "| | sign as the lexicon's | sign as the return's | rank correlation | of chance |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, one in zip(("model", "lexicon"), judged, strict=True):
        lines.append(
            f"| {name} | {one.agreement:.1%} | {one.right:.1%} of {one.moves} | {one.rank:+.3f} | +-{one.noise:.3f} |"
        )
    for stage, epochs in found.epochs.items():
        lines += ["", f"## Losses of stage {stage}", "", "| epoch | train | validation |", "|---|---|---|"]
        lines += [f"| {one.number} | {one.train:.4f} | {one.validation:.4f} |" for one in epochs]
    return "\n".join(lines) + "\n"
