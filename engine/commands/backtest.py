"""`onetape backtest CONFIG`: a recorded tape at full speed, with its summary and report."""

import typer

from engine.commands.options import ConfigPath, Overrides, naming


def command(path: ConfigPath, overrides: Overrides = None) -> None:
    """Replay a configuration at full speed; write report.html, summary.json, trades.csv and the journal."""
    from engine import config

    run = config.load(path, overrides or ())
    from rich.console import Console

    from engine import daemon  # a file that is wrong is told before anything else is imported
    from engine.commands.progress import progress_bar
    from engine.report import summary

    with naming(path, overrides), progress_bar() as progress:
        result = daemon.backtest(run, progress, lambda told: typer.echo(told, err=True))
    report = result.save(run.out_dir)
    Console().print(summary.table(result))
    typer.echo(f"report: {report}")
    daemon.check_end(result)
