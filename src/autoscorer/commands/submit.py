"""`autoscorer submit`: have the service run or score a workspace; returns at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from autoscorer.commands._frame import Answer, Frame, execute, parse_choice, parse_params
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import open_client, workspace_name
from autoscorer.commands._tasks import job_answer, wait_answer

if TYPE_CHECKING:
    from autoscorer.schemas.service import ActionName

ACTIONS = ("run", "score", "pipeline")


def command(
    context: typer.Context,
    workspace: Annotated[
        str,
        typer.Argument(
            metavar="WORKSPACE", help="A folder below the service's WORKSPACE_ROOT, or its name there."
        ),
    ],
    *,
    action: Annotated[str, typer.Option(metavar="|".join(ACTIONS), help="What to do with it.")] = "pipeline",
    params: Annotated[
        str | None, typer.Option(metavar="JSON", help="Parameters of the scorer, instead of the spec's.")
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Another scorer, or NAME@SHA256.", show_default="the spec's"),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where to run it.", show_default="auto")
    ] = None,
    callback_url: Annotated[str | None, typer.Option(metavar="URL", help="Who is told of its end.")] = None,
    priority: Annotated[
        int, typer.Option(metavar="NUMBER", min=-100, max=100, help="The higher, the sooner.")
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, as `wait` does.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Have the service run or score a workspace; returns at once."""

    def work(frame: Frame) -> Answer:
        chosen = cast("ActionName", parse_choice(action, ACTIONS, "--action"))
        given = parse_params(params)
        client = open_client(frame)
        job = client.submit(
            workspace_name(frame, workspace),
            chosen,
            params=given,
            scorer=scorer,
            backend=backend,
            callback_url=callback_url,
            priority=priority,
        )
        return wait_answer(frame, client, job.task_id) if wait else job_answer(job)

    execute(context, work, as_json=as_json)
