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
    from types import ModuleType

    from typer._click import Command


class CommandFolder(MutableMapping[str, Any]):
    """The commands by name, one module each; a module is imported when its command is asked for.

    A folder in the folder is a group of commands. `--help` needs the names and the modules' first lines
    only: 15% of its time went into making parsers nobody had asked for.
    """

    def __init__(self, package: ModuleType = commands) -> None:
        self._package = package.__name__
        found = pkgutil.iter_modules(package.__path__)
        self._loaded: dict[str, Command | None] = {
            module.name: None for module in found if not module.name.startswith("_")
        }

    def summary(self, name: str) -> str:
        """What the first line of a command's module says after its name."""
        spec = importlib.util.find_spec(f"{self._package}.{name}")
        source = spec.loader.get_source(spec.name) if spec else ""  # type: ignore[union-attr]
        first_line: str = source.split("\n", 1)[0].strip('"')
        return first_line.partition(": ")[2].capitalize()

    def __getitem__(self, name: str) -> Command:
        if self._loaded[name] is None:
            module = importlib.import_module(f"{self._package}.{name}")
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


class FolderGroup(TyperGroup):
    """A group whose commands are those of a folder: of `commands/` unless another is given."""

    def __init__(self, *, folder: CommandFolder | None = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = folder or CommandFolder()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        folder = self.commands
        assert isinstance(folder, CommandFolder)
        with formatter.section("Commands"):
            formatter.write_dl([(name, folder.summary(name)) for name in folder])


def _as_command(name: str, module: Any) -> Command:
    """A folder's commands, a module's ``group`` or its function ``command`` as the parser wants it."""
    made: Any
    if hasattr(module, "__path__"):
        folder = CommandFolder(module)
        made = FolderGroup(folder=folder, help=_help(module), no_args_is_help=True, rich_markup_mode=None)
    elif hasattr(module, "group"):
        made = get_command(module.group)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(module.command)
        made = get_command(single)
    made.name = name
    command: Command = made
    return command


def _help(module: ModuleType) -> str:
    """What the first line of a folder's docstring says after its name."""
    return (module.__doc__ or "").strip().split("\n", 1)[0].partition(": ")[2].capitalize()


app = typer.Typer(
    name="autoscorer",
    cls=FolderGroup,
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
