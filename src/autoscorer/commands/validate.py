"""`autoscorer validate`: check a workspace and name every fault at once."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption, WorkspaceArgument


def command(context: typer.Context, workspace: WorkspaceArgument, *, as_json: JsonOption = False) -> None:
    """Check a workspace's folder and meta.json; name every fault."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs, titled
        from autoscorer.validation import validate

        spec, warnings = validate(workspace, frame.settings, frame.catalog)
        facts = {"job": spec.job_id, "task": spec.task_type, "scorer": spec.scorer}
        return Answer(
            {"valid": True, "workspace": workspace, "spec": spec.model_dump(mode="json", exclude_none=True)},
            lambda: titled("valid", pairs(facts), colour="green"),
            warnings,
        )

    execute(context, work, as_json=as_json)
