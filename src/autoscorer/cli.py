"""The command line's root: mounts every module of `commands/`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import typer

from autoscorer import __version__, commands

app = typer.Typer(
    name="autoscorer",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Score machine-learning competitions: run a submission isolated, compare it with the hidden truth.",
    epilog="Exit codes: 0 fine, 1 the job failed, 2 wrong usage, 3 configuration or platform.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(help="Configuration file.", metavar="FILE", show_default="config.yaml if present"),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Score machine-learning competitions."""
    context.obj = config


def _mount() -> None:
    for found in pkgutil.iter_modules(commands.__path__):
        if found.name.startswith("_"):
            continue
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        if hasattr(module, "group"):
            app.add_typer(module.group, name=found.name)
        else:
            app.command(name=found.name)(module.command)


_mount()


def main() -> None:
    """Entry point of the `autoscorer` command."""
    app(prog_name="autoscorer")


if __name__ == "__main__":
    main()
