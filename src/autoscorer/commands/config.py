"""`autoscorer config`: look at and check the configuration."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption

group = typer.Typer(
    help="Look at and check the configuration.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

MAIN_KEYS = (
    "IMAGE_PULL_POLICY",
    "DEFAULT_CPU",
    "DEFAULT_MEMORY",
    "DEFAULT_GPU",
    "TIMEOUT",
    "MAX_CPU",
    "MAX_MEMORY",
    "MAX_GPUS",
    "MAX_TIME_LIMIT",
    "MAX_OUTPUT_BYTES",
    "ALLOWED_NETWORKS",
    "WORKSPACE_ROOT",
    "LOG_DIR",
    "K8S_ENABLED",
)


@group.command()
def show(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show the main settings."""
    execute(context, lambda frame: _listing(frame, MAIN_KEYS), as_json=as_json)


@group.command()
def dump(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show every setting, secrets masked."""
    execute(context, lambda frame: _listing(frame, None), as_json=as_json)


@group.command()
def validate(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Check the configuration and name every fault."""
    execute(context, _validated, as_json=as_json)


def _listing(frame: Frame, keys: tuple[str, ...] | None) -> Answer:
    from autoscorer.commands._panels import pairs, titled

    dumped = frame.config.dump()
    data = dumped if keys is None else {key: dumped[key] for key in keys}
    return Answer(data, lambda: titled("configuration", pairs(data)))


def _validated(frame: Frame) -> Answer:
    from autoscorer.commands._panels import pairs, titled

    _ = frame.settings  # raises with every fault; what is doubtful becomes a warning
    path = frame.config.path
    source = str(path) if path.exists() else "defaults and environment"
    return Answer(
        {"valid": True, "source": source},
        lambda: titled("configuration is valid", pairs({"source": source}), colour="green"),
    )
