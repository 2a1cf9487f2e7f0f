"""The commands that look at model files: `onetape model inspect`, `verify` and `list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from engine.model.card import Card, Span

app = typer.Typer(help="Look at model files, check them, list them.", no_args_is_help=True, add_completion=False)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A model file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the card as JSON instead of tables.")]


@app.command()
def inspect(path: File, as_json: Json = False) -> None:
    """Show what a model file says of itself. Nothing in it is executed."""
    from engine.model.bundle import read_card

    card = read_card(path)
    if as_json:
        typer.echo(card.encode().decode())
        return
    _show(path, card)


@app.command()
def verify(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE", help="Model files.", show_default=False)],
    allowed: Annotated[
        list[str] | None,
        typer.Option("--allowed", metavar="SHA256", help="Refuse any other file; may be repeated.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu or cuda.")] = "auto",
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Also load a file that passed, and compute its golden outputs again.")
    ] = True,
) -> None:
    """Check model files as a run would: the file, its card, its features, and its golden outputs on this machine.

    Ends with 0 when all of them may be used, and with 2 otherwise.
    """
    from engine.errors import ModelError

    refused = 0
    for path in paths:
        try:
            typer.echo(_verified(path, frozenset(allowed) if allowed else None, device, run=run))
        except ModelError as error:
            refused += 1
            typer.secho("refused: ", fg="red", bold=True, nl=False, err=True)
            typer.echo(str(error), err=True)
    if refused:
        raise typer.Exit(ModelError.exit_code)


@app.command("list")
def list_models(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Where to look; `models` if none.")
    ] = None,
) -> None:
    """List the model files in folders, with what they are for and when they expire."""
    from rich.console import Console
    from rich.table import Table

    from engine.clock import LiveClock
    from engine.errors import ModelError
    from engine.model.bundle import SUFFIXES, read_card

    files = _files(folders or [Path("models")], tuple(SUFFIXES.values()))
    console = Console()
    table = Table("file", "model", "inputs", "outputs", "trained on", "expires")
    table.columns[0].overflow = "fold"
    unread: list[str] = []
    now_ns = LiveClock().now_ns()
    for path in files:
        try:
            card = read_card(path)
        except ModelError as error:
            unread.append(str(error))
            continue
        ended = " (expired)" if now_ns > card.expires_ns else ""
        table.add_row(
            str(path), f"{card.name} {card.version}", f"{len(card.features)} x {card.lookback}",
            _plain(", ".join(one.name for one in card.outputs)), _span(card.train_span_ns),
            _day(card.expires_ns) + ended,
        )  # fmt: skip
    console.print(table if table.rows else "no model files here")
    for told in unread:
        console.print(told, style="red", soft_wrap=True, markup=False)


def _verified(path: Path, allowed: frozenset[str] | None, device: str, *, run: bool) -> str:
    from engine.clock import LiveClock
    from engine.errors import ModelError
    from engine.model.bundle import open_bundle
    from engine.model.features import FeatureSet
    from engine.model.text import texts_of

    opened = open_bundle(path, allowed=allowed, now_ns=LiveClock().now_ns())
    card = opened.card
    if card.text is not None:
        texts_of(opened, ("A",))
    else:
        try:
            FeatureSet.for_card(card, ("A",), folder=path.parent, trusted=opened.listed)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
    told = f"{path}: {card.name} {card.version}, sha256 {opened.sha256}"
    if not run:
        return f"{told}; nothing was run"
    from engine.model.backends import load_backend

    backend = load_backend(opened, device)
    try:
        golden = (
            "its golden outputs again" if card.golden is not None else "outputs of the right shape (none are golden)"
        )
        return f"{told}; {golden} on {backend.device}"
    finally:
        backend.close()


def _show(path: Path, card: Card) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{path}: SHA-256 {_sha256(path)}", soft_wrap=True, markup=False, highlight=False)
    table = Table("", "", title=_plain(f"{card.name} {card.version}"), show_header=False)
    for name, told in _lines(card):
        if told:
            table.add_row(name, _plain(told))
    console.print(table)
    scaling = card.normalization
    inputs = Table("feature", "center", "scale", title=f"inputs, normalized by {scaling.kind.replace('_', '-')}")
    for index, spec in enumerate(card.features):
        numbers = [f"{each[index]:.6g}" if each else "" for each in (scaling.center, scaling.scale)]
        inputs.add_row(_plain(str(spec)), *numbers)
    console.print(inputs)
    outputs = Table("output", "meaning", "horizon", "weight in the score", title="outputs")
    for output, weight in zip(card.outputs, card.score, strict=True):
        outputs.add_row(_plain(output.name), output.meaning, _length(output.horizon_ns), f"{weight:g}")
    console.print(outputs)


def _lines(card: Card) -> list[tuple[str, str]]:
    golden = "" if card.golden is None else f"{card.golden.shape[0]} inputs with their outputs"
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(card.metrics.items()))
    budget = f"{card.latency_budget_us:g} us" if card.latency_budget_us else ""
    return [
        ("reads", _reads(card)),
        ("missing bars", card.missing),
        ("state", card.state_mode),
        ("symbols trained on", ", ".join(card.universe[:20]) + (" ..." if len(card.universe) > 20 else "")),
        ("trained on", _span(card.train_span_ns)),
        ("validated on", _span(card.valid_span_ns)),
        ("tested on", _span(card.test_span_ns)),
        ("models tried", str(card.trials)),
        ("figures", metrics),
        ("expires", _day(card.expires_ns)),
        ("latency budget", budget),
        ("golden", golden),
        ("made", " ".join(filter(None, (card.created_utc, card.torch_version and f"torch {card.torch_version}")))),
        ("fine-tuned from", card.parent_sha256),
        ("license", card.license),
        ("notes", card.notes),
    ]


def _files(paths: list[Path], suffixes: tuple[str, ...]) -> list[Path]:
    from engine.errors import ModelError

    for path in paths:
        if not path.exists():
            raise ModelError(f"{path}: there is no such file or folder")
    found = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [file for file in found if file.suffix in suffixes or file in paths]


def _sha256(path: Path) -> str:
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _plain(text: str) -> Any:
    """Return a text of a stranger as one that cannot color or forge the screen."""
    from rich.markup import escape

    from engine.logs import printable

    return escape(printable(text))


def _span(span_ns: Span) -> str:
    return f"{_day(span_ns[0])} to {_day(span_ns[1])}" if span_ns[1] else ""


def _day(ts_ns: int) -> str:
    from engine.clock import to_datetime
    from engine.events import NEVER_NS

    return "never" if ts_ns == NEVER_NS else f"{to_datetime(ts_ns):%Y-%m-%d}"


def _reads(card: Card) -> str:
    if card.text is not None:
        return f"{card.lookback} words of {', '.join(card.text.reads)}; a score counts for {_length(card.interval_ns)}"
    return f"{card.lookback} bars of {_length(card.interval_ns)}, {card.hours} hours of {card.calendar}"


def _length(interval_ns: int) -> str:
    """Return `1min`, `4h`, `1d` as a configuration writes it, or seconds."""
    from engine.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

    for unit_ns, unit in ((DAY_NS, "d"), (HOUR_NS, "h"), (MINUTE_NS, "min")):
        if interval_ns and interval_ns % unit_ns == 0:
            return f"{interval_ns // unit_ns}{unit}"
    return f"{interval_ns / SECOND_NS:g}s" if interval_ns else ""
