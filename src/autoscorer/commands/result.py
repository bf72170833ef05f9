"""`autoscorer result`: show the result of a workspace, whole or as a participant may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoscorer.commands._frame import Answer, Frame, execute, parse_choice
from autoscorer.commands._jobs import result_answer
from autoscorer.commands._options import JsonOption, WorkspaceArgument

if TYPE_CHECKING:
    from rich.console import RenderableType


def command(
    context: typer.Context,
    workspace: WorkspaceArgument,
    *,
    audience: Annotated[
        str,
        typer.Option(
            metavar="organiser|participant",
            help="Whom it is for; a participant's shows no truth (but with SHOW_TRUTH_TO_PARTICIPANTS).",
        ),
    ] = "organiser",
    as_json: JsonOption = False,
) -> None:
    """Show the result of a workspace that was scored."""

    def work(frame: Frame) -> Answer:
        from autoscorer.records import read_result
        from autoscorer.reports.audience import Audience, participant_view
        from autoscorer.workspace import Workspace

        parse_choice(audience, list(Audience), "--audience")
        result = read_result(Workspace.open(workspace))
        if audience == Audience.PARTICIPANT:
            result = participant_view(result, allow_truth=frame.settings.show_truth_to_participants)
        answer = result_answer(result, "")
        if result.error is not None:
            answer.panel = lambda: _failure(result.error or {})
        return answer

    execute(context, work, as_json=as_json)


def _failure(error: dict[str, Any]) -> RenderableType:
    from autoscorer.commands._panels import error_panel
    from autoscorer.utils.errors import read_error

    return error_panel(read_error(error))
