"""The command line's root: finds the modules of `commands/` and loads the one that is called."""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from autoscorer import __version__, commands

if TYPE_CHECKING:
    from typer._click import Command


class CommandFolder(MutableMapping[str, Any]):
    """The commands by name, one module each; a module is imported when its command is asked for.

    `--help` needs the names and the modules' first lines only: 15% of its time went into making
    parsers nobody had asked for.
    """

    def __init__(self) -> None:
        found = pkgutil.iter_modules(commands.__path__)
        self._loaded: dict[str, Command | None] = {
            module.name: None for module in found if not module.name.startswith("_")
        }

    def summary(self, name: str) -> str:
        """What the first line of a command's module says after its name."""
        spec = importlib.util.find_spec(f"{commands.__name__}.{name}")
        source = spec.loader.get_source(spec.name) if spec else ""  # type: ignore[union-attr]
        first_line: str = source.split("\n", 1)[0].strip('"')
        return first_line.partition(": ")[2].capitalize()

    def __getitem__(self, name: str) -> Command:
        if self._loaded[name] is None:
            module = importlib.import_module(f"{commands.__name__}.{name}")
            self._loaded[name] = _as_command(name, module)
        loaded = self._loaded[name]
        assert loaded is not None
        return loaded

    def __setitem__(self, name: str, command: Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


class RootGroup(TyperGroup):
    """The root: its commands are those of the folder."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = CommandFolder()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        folder = self.commands
        assert isinstance(folder, CommandFolder)
        with formatter.section("Commands"):
            formatter.write_dl([(name, folder.summary(name)) for name in folder])


def _as_command(name: str, module: Any) -> Command:
    """A module's ``group`` or its function ``command`` as the parser wants it."""
    made: Any
    if hasattr(module, "group"):
        made = get_command(module.group)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(module.command)
        made = get_command(single)
    made.name = name
    command: Command = made
    return command


app = typer.Typer(
    name="autoscorer",
    cls=RootGroup,
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


def main() -> None:
    """Entry point of the `autoscorer` command."""
    app(prog_name="autoscorer")


if __name__ == "__main__":
    main()
