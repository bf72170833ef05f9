"""`autoscorer clean`: remove what runs that were killed have left, and nothing else."""

from __future__ import annotations

from dataclasses import asdict

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._jobs import make_executor
from autoscorer.commands._options import BackendOption, JsonOption


def command(context: typer.Context, *, backend: BackendOption = "auto", as_json: JsonOption = False) -> None:
    """Remove containers, mounts and folders of runs whose process is gone."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import table, titled
        from autoscorer.executor.ownership import process_is_alive

        executor = make_executor(frame, backend)
        removed = [asdict(reaped) for reaped in executor.reap(process_is_alive)]
        rows = [[row["kind"], row["name"]] for row in removed]
        return Answer(
            {"backend": executor.name, "removed": removed},
            lambda: table(["removed", "name"], rows) if rows else titled("nothing to remove", ""),
        )

    execute(context, work, as_json=as_json)
