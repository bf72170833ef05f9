"""`autoscorer cancel`: end a task, wherever it is."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import TaskArgument, open_client
from autoscorer.commands._tasks import job_answer


def command(context: typer.Context, task: TaskArgument, *, as_json: JsonOption = False) -> None:
    """End a task, wherever it is. One that has ended stays as it is."""

    def work(frame: Frame) -> Answer:
        return job_answer(open_client(frame).cancel(task))

    execute(context, work, as_json=as_json)
