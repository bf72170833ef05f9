"""`autoscorer wait`: wait for a task's end, and end with its exit code."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import TaskArgument, open_client
from autoscorer.commands._tasks import wait_answer


def command(context: typer.Context, task: TaskArgument, *, as_json: JsonOption = False) -> None:
    """Wait for a task's end and end with its exit code. Ctrl-C ends the watching, not the job."""

    def work(frame: Frame) -> Answer:
        return wait_answer(frame, open_client(frame), task)

    execute(context, work, as_json=as_json)
