"""`onetape train CONFIG`: from a tape to a bundle that trades, and a page that says what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.options import TrainingOverrides, TrainingPath, naming

if TYPE_CHECKING:
    from pathlib import Path

    from research.config import TrainConfig
    from research.outcome import Outcome

Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the checkpoints of a training that was interrupted.")
]


def command(path: TrainingPath, overrides: TrainingOverrides = None, resume: Resume = False) -> None:
    """Train what a configuration describes; write the model's file, its report and a line in the ledger of trials."""
    from research import config, news_config

    if news_config.is_about_texts(path):
        read_texts(path, overrides, resume=resume)
        return
    wanted = config.load(path, overrides or ())
    with naming(path):
        outcome, bundle = train(wanted, resume=resume)
    if outcome.trades:
        typer.echo(outcome.verdict()[1])
    typer.echo(f"bundle: {bundle}\nreport: {wanted.out_dir / 'report.html'}")


def read_texts(path: Path, overrides: list[str] | None = None, *, resume: bool = False) -> None:
    """Do the same for a model of texts."""
    from engine.errors import ConfigError
    from research import news_config, sentiment_report

    if resume:
        raise ConfigError("--resume: a model of texts is trained in one go; train without it")
    wanted = news_config.load(path, overrides or ())
    with naming(path):
        judged, bundle = sentiment_report.run(wanted)
    typer.echo(judged.verdict())
    typer.echo(f"bundle: {bundle}\nreport: {wanted.out_dir / 'report.md'}")


def train(config: TrainConfig, *, resume: bool = False) -> tuple[Outcome, Path]:
    """Run an experiment and write all that comes of it into its folder; return it with the path of the bundle.

    Raises:
        ConfigError, TapeError, ModelError: one clear line each.
    """
    from engine.clock import LiveClock, to_datetime
    from research import ledger, package, page

    outcome = judged(config, resume=resume)
    now_ns = LiveClock().now_ns()
    metrics, bundle = outcome.metrics(), config.out_dir / f"{config.name}.pt"
    trials = outcome.luck.trials if outcome.trades else 1
    several = len(outcome.folds) > 1
    for number, fold in enumerate(outcome.folds, 1):  # the last is the newest: it is the one to go on with
        paths = [config.out_dir / f"{config.name}-{number}.pt"] * several + [bundle] * (fold is outcome.folds[-1])
        for path in paths:
            sha256 = package.pack(
                path, config, outcome.examples, fold, trials=trials, metrics=metrics, now_ns=now_ns,
                parent_sha256=fold.parent_sha256,
            )  # fmt: skip
    if outcome.trades:
        ledger.write(config.trials, outcome.trial(f"{to_datetime(now_ns):%Y-%m-%dT%H:%M:%SZ}"))
    page.write(config.out_dir / "report.html", outcome, sha256)
    return outcome, bundle


def judged(config: TrainConfig, *, resume: bool = False) -> Outcome:
    """Train and judge, showing how far it is; nothing is written but checkpoints and, if asked for, TensorBoard's."""
    from research import dataset, experiment, ledger
    from research.outcome import Outcome
    from research.progress import progress_bars

    checkpoints = config.out_dir / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    _same_trial(checkpoints / "trial", config, resume=resume)
    with progress_bars(config) as tell:
        examples = dataset.build(config)
        folds = experiment.cut(config, examples)
        found = list(experiment.run(config, examples, folds, checkpoints=checkpoints, resume=resume, tell=tell))
    mine = config.trial_sha256()
    others = [trial for trial in ledger.read(config.trials, examples.tape_sha256) if trial.trial_sha256 != mine]
    return Outcome(config, examples, found, others)


def _same_trial(path: Path, config: TrainConfig, *, resume: bool) -> None:
    """See that checkpoints are of this very experiment before one of them is gone on from."""
    from engine.errors import ConfigError

    mine = config.trial_sha256()
    if resume and path.exists() and path.read_text() != mine:
        raise ConfigError(f"{path.parent}: its checkpoints are of another configuration; train without --resume")
    path.write_text(mine)
