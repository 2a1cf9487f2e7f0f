"""The `onetape` command. Its subcommands are plugins (`onetape.commands`), each a light module imported when named.

This is the one place where an error becomes an exit code and a message.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from engine import logs, plugins
from engine.errors import DISK_ERRORS, InvariantError, PluginError, TradingError, suggestion

INTERRUPTED, BUG, DISK = 130, InvariantError.exit_code, 74
EPILOG = (
    "Exit codes: 0 clean, 1 findings (inspect), or you said no, 2 configuration or input, 3 halted, 4 broker or feed, "
    "or no daemon answers, 5 divergence (verify, compare), 70 our bug, 74 disk, 130 interrupted."
)


class Commands(TyperGroup):
    """Subcommands found by their entry points. One that does not import says so when it is called, not before."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(plugins.available(plugins.COMMAND.group))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            found = plugins.load(plugins.COMMAND, cmd_name)
        except PluginError as error:
            found = _broken(error)
        app = found
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(cmd_name)(found)
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        names = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in names:
            ctx.fail(f"no command {args[0]!r}{suggestion(args[0], names)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. What ends the process in it is an author's code, for ours ends by what it raises or returns.

        Raises:
            PluginError: naming the line.
        """
        try:
            return super().invoke(ctx)
        except SystemExit as ended:
            last = traceback.extract_tb(ended.__traceback__)[-1]
            told = f"{last.filename}:{last.lineno}: {last.name} ends the process (SystemExit: {ended.code})"
            raise PluginError(f"{told}; raise an exception of its own instead") from ended


def _broken(error: PluginError) -> Any:
    def command() -> None:
        raise error

    command.__doc__ = f"Broken: {error}"
    return command


app = typer.Typer(
    cls=Commands, epilog=EPILOG, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"onetape {version('onetape')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


@app.callback()
def onetape(version: Version = False) -> None:
    """Trade one tape: backtest by replay, paper and live with the same strategies, risk and accounting."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing is raised."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter ends no run
    try:
        typer.main.get_command(app)(argv, prog_name="onetape")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except InvariantError as error:
        return _bug(error)
    except TradingError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            return _failed(f"the disk refused a write: {error}", DISK)
        return _bug(error)
    except Exception as error:  # the last resort: whatever it is, it is ours, and it ends in an exit code
        return _bug(error)
    return 0


def _failed(message: str, code: int) -> int:
    logs.mask_environment()  # whatever failed may have come before anybody did
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(logs.printable(logs.masked(message), keep="\n"), err=True)
    return code


def _bug(error: Exception) -> int:
    logs.mask_environment()
    if logs.is_configured():
        import structlog

        structlog.get_logger().critical("internal error", exc_info=error)
    else:
        sys.stderr.write(logs.masked("".join(traceback.format_exception(error))))
    return _failed(f"a bug of onetape, please report it: {type(error).__name__}: {error}", BUG)


if __name__ == "__main__":
    sys.exit(main())
