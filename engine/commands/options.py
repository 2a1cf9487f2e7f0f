"""The arguments that several subcommands share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ConfigError

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The run's TOML file.", show_default=False)]
TrainingPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The training's TOML file.", show_default=False)]


def _overriding(example: str) -> Any:
    told = f"Override one key of the file, such as {example}; may be repeated."
    return typer.Option("--set", metavar="KEY=VALUE", help=told, show_default=False)


Overrides = Annotated[list[str] | None, _overriding("strategies.cross.params.fast=5")]
TrainingOverrides = Annotated[list[str] | None, _overriding("fit.epochs_max=5")]


@contextmanager
def naming(path: Path, overrides: Sequence[str] | None = None) -> Iterator[None]:
    """Say of which file, and of which `--set`, what cannot be built is."""
    try:
        yield
    except ConfigError as error:
        where = " with ".join([str(path), *(f"--set {override}" for override in overrides or ())])
        raise ConfigError(f"{where}: {error}") from error
