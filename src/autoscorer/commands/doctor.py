"""`autoscorer doctor`: try each isolation property here and say what is enforced."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from autoscorer.commands._frame import EXIT_PLATFORM, Answer, Frame, execute, parse_choice
from autoscorer.commands._options import JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autoscorer.confine.probes import Diagnosis

DoctorBackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="What to try: docker, local, or auto (Docker where an engine answers, else local).",
    ),
]


def command(
    context: typer.Context, *, backend: DoctorBackendOption = "auto", as_json: JsonOption = False
) -> None:
    """Try each isolation property on this machine and say what is enforced."""

    def work(frame: Frame) -> Answer:
        from autoscorer import runtime

        parse_choice(backend, ["auto", *runtime.backend_names()], "--backend")
        settings = frame.settings
        frame.on_stage("trying each isolation property")
        found = runtime.diagnose(backend, settings)
        data = {
            "backend": found.backend,
            "engine": dict(found.engine),
            "probes": [asdict(probe) for probe in found.probes],
            "never_enforced": dict(found.never_enforced),
            "failing": found.failing,
            "advice": list(found.advice),
        }
        return Answer(data, lambda: _shown(found), exit_code=EXIT_PLATFORM if found.failing else 0)

    execute(context, work, as_json=as_json)


def _shown(found: Diagnosis) -> RenderableType:
    from rich.console import Group

    from autoscorer.commands._panels import pairs, table

    rows = [["yes" if probe.enforced else "NO", probe.name, probe.detail] for probe in found.probes]
    rows += [["NO", name, why] for name, why in found.never_enforced.items()]
    parts: list[RenderableType] = [
        table(["enforced", f"property ({found.backend})", "how it was tried"], rows)
    ]
    if found.engine:
        parts += ["", pairs(found.engine)]
    if found.advice:
        parts += ["", table(["advice"], [[text] for text in found.advice])]
    return Group(*parts)
