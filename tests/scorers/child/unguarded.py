"""A scorer without its walls: called in a plain Python process, as the field does it; and what that did."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.scorers.child import odd

PATIENCE_S = 8.0  # far more than a score takes, on a busy machine too
PROGRAM = """
import json, resource, sys
from pathlib import Path
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.host import Code, InProcess, Entry
from autoscorer.scorers.loading import load_code
from autoscorer.scorers.registry import registry
from autoscorer.utils.errors import AutoscorerError
code, view, told = sys.argv[1:]
scorer = load_code(Code(path=Path(code))).get("odd")
report = {"metrics": {}, "next": None}
try: report["metrics"] = dict(scorer.score(Path(view), {}).metrics)
except (Exception, SystemExit): pass
entry = Catalog().find("classification_accuracy")
report["next"] = {"accuracy": Catalog().score(entry, Path(view), {}).result.metrics["accuracy"]}
print("went on", flush=True)
with open(told, "w") as file: file.write(json.dumps(report))
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was seen of a scorer and of the process that called it."""

    metrics: dict[str, float] = field(default_factory=dict)
    next_metrics: dict[str, float] | None = None
    went_on: bool = True
    timed_out: bool = False
    left_running: bool = False
    truth_changed: bool = False
    peak_bytes: int = 0
    stdout: bytes = b""


def outcome_of(body: str, folder: Path) -> Outcome:
    """Call the scorer in a process that is ended afterwards with all it started."""
    view = odd.view(folder)
    truth = (view / "reference" / "gt.csv").read_bytes()
    told, printed = folder / "told.json", folder / "printed"
    with printed.open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, odd.scorer_file(folder / "code", body), view, told],
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_bounded,  # noqa: PLW1509 - a test's process with no threads of note
        )
        timed_out = False
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            timed_out = True
        left = [each for each in _marked(view) if each.pid != process.pid]
        for each in _marked(view):
            each.kill()
        process.wait()
    report = json.loads(told.read_text() or "{}") if told.exists() else {}
    reference = view / "reference" / "gt.csv"
    return Outcome(
        metrics=report.get("metrics", {}),
        next_metrics=report.get("next"),
        went_on=b"went on" in printed.read_bytes() or "next" in report,
        timed_out=timed_out,
        left_running=bool(left) and not timed_out,
        truth_changed=not reference.exists() or reference.read_bytes() != truth,
        peak_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        stdout=printed.read_bytes()[:100_000],
    )


def _bounded() -> None:
    """Even without walls no attack may harm the machine it is tried on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
    signal.alarm(30)


def _marked(view: Path) -> list[psutil.Process]:
    """The processes that have this view on their command line: the caller of the scorer, and its forks."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if str(view) in (process.info["cmdline"] or ())]
