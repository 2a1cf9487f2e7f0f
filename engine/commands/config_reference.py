"""`onetape config-reference`: writes docs/configuration.md anew; `make docs` runs it."""

import typer


def command() -> None:
    """Print the reference of every option as Markdown."""
    from engine.config.reference import page

    typer.echo(page(), nl=False)
