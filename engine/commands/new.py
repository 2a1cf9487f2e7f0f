"""`onetape new strategy NAME`: a plugin project that runs and passes its tests as it is written."""

import keyword
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

NAME_LENGTH_MAX = 32

command = typer.Typer(add_completion=False, no_args_is_help=True, help="Write a plugin project to start from.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A module name, such as mean_reversion.", show_default=False)]
Into = Annotated[Path, typer.Option("--into", metavar="FOLDER", help="Where its folder is made.")]


@command.callback()
def new() -> None:
    """Write a plugin project to start from."""


@command.command()
def strategy(name: Name, into: Into = Path()) -> None:
    """Write a strategy with its configuration, tests, entry point and README."""
    target = into / name
    _check_name(name, target)
    write(target, {"name": name, "class_name": "".join(part.title() for part in name.split("_"))})
    typer.echo(
        f"Wrote {target}: the idea is in {name}.py. Next:\n"
        f"  onetape backtest {target / 'demo.toml'}\n"
        f"  python -m pytest {target}"
    )


def write(target: Path, values: dict[str, str]) -> None:
    """Fill the templates into a new folder, whole or not at all.

    Raises:
        ConfigError: the folder exists already, or cannot be made.
    """
    import shutil
    import tempfile
    from importlib.resources import as_file, files
    from string import Template

    from engine.errors import ConfigError

    if target.exists():
        raise ConfigError(f"{target} exists already; choose another name or --into another folder")
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ConfigError(f"cannot write into {target.parent.absolute()}: {error.strerror}") from None
    try:
        with as_file(files("engine") / "templates" / "strategy") as templates:
            for template in sorted(templates.rglob("*.tmpl")):
                place = str(template.relative_to(templates)).removesuffix(".tmpl").replace("NAME", values["name"])
                file = draft / place
                file.parent.mkdir(exist_ok=True)
                file.write_text(Template(template.read_text("utf-8")).substitute(values), "utf-8")
        draft.chmod(0o755)
        draft.rename(target)
    except BaseException:  # also on an interrupt nothing half-written stays
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _check_name(name: str, target: Path) -> None:
    from importlib.util import find_spec

    from engine import plugins
    from engine.errors import ConfigError

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        usual = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
        hint = f"; write {usual}" if re.fullmatch(r"[a-z][a-z0-9_]*", usual) else ""
        raise ConfigError(f"{name!r} is no module name: lower-case letters, digits and _, a letter first{hint}")
    if len(name) > NAME_LENGTH_MAX:
        raise ConfigError(f"{name!r} has {len(name)} characters; {NAME_LENGTH_MAX} is the most")
    is_known = find_spec(name) is not None or name in plugins.available(plugins.STRATEGY.group)
    is_taken = is_known and not target.exists()  # its own folder may be what is found
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or is_taken:
        raise ConfigError(f"{name!r} is the name of something in Python or installed already; choose another")
