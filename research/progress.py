"""What a training shows while it runs: on a terminal one bar for the whole, in a log a line an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engine.errors import ConfigError
from research.config import TrainConfig
from research.experiment import Tell, Told
from research.fit import Epoch, device_name

Write = Callable[[Told, Epoch], None]


@contextmanager
def progress_bars(config: TrainConfig) -> Iterator[Tell]:
    """Show how far a training is; the remaining time is that of all epochs, of which early stopping may save some."""
    console = Console(stderr=True)
    console.print(f"training on {device_name(config.fit.device)}")
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with ExitStack() as stack:
        write = stack.enter_context(_tensorboard(config))
        bar = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        task = bar.add_task("reading the tape", total=None)
        seen: set[tuple[int, str]] = set()

        def tell(told: Told) -> None:
            seen.add((told.fold, told.network))
            done = len(seen) - 1 + (len(told.epochs) + told.step / told.steps) / config.fit.epochs_max
            description = f"fold {told.fold}/{told.folds} {told.network}{_losses(told.epochs)}"
            bar.update(task, description=description, completed=done, total=told.folds * len(config.members))
            if told.step == 0 and told.epochs:
                write(told, told.epochs[-1])
                if not console.is_terminal:
                    console.print(description)

        yield tell


def _losses(epochs: list[Epoch]) -> str:
    if not epochs:
        return ""
    last, best = epochs[-1], min(epochs, key=lambda epoch: epoch.validation)
    return (
        f" epoch {last.number}: train {last.train:.4f}, validation {last.validation:.4f} (best {best.validation:.4f})"
    )


@contextmanager
def _tensorboard(config: TrainConfig) -> Iterator[Write]:
    """Write losses where TensorBoard finds them, if the configuration wants it.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    if not config.fit.tensorboard:
        yield lambda told, epoch: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("fit.tensorboard = true, but it is not installed: pip install tensorboard") from None
    with SummaryWriter(str(config.out_dir / "tensorboard")) as writer:

        def write(told: Told, epoch: Epoch) -> None:
            for name in ("train", "validation"):
                writer.add_scalar(f"{told.network} {told.fold}/{name}", getattr(epoch, name), epoch.number)

        yield write
