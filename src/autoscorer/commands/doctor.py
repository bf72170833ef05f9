"""`autoscorer doctor`: try each isolation property here and say what is enforced."""

from __future__ import annotations

from dataclasses import asdict

import typer

from autoscorer.commands._frame import EXIT_PLATFORM, Answer, Frame, execute
from autoscorer.commands._options import JsonOption


def command(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Try each isolation property on this machine and say what is enforced."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import table
        from autoscorer.confine.probes import probe_isolation
        from autoscorer.confine.properties import UNENFORCED

        frame.on_stage("trying the local sandbox")
        probes = probe_isolation()
        rows = [["yes" if probe.enforced else "NO", probe.name, probe.detail] for probe in probes]
        rows += [["NO", name, why] for name, why in UNENFORCED.items()]
        failing = [probe.name for probe in probes if not probe.enforced]
        return Answer(
            {"probes": [asdict(probe) for probe in probes], "never_enforced": UNENFORCED, "failing": failing},
            lambda: table(["enforced", "property", "how it was tried"], rows),
            exit_code=EXIT_PLATFORM if failing else 0,
        )

    execute(context, work, as_json=as_json)
