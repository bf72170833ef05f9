"""The jobs of a service that is to be broken: what each is to end with is said beside it, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer.store.transitions import JobState
from tests.executor.docker.containers import BUSYBOX
from tests.worker.sites import Site
from tests.worker.stub import GOOD


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``script`` runs after a short sleep. ``score`` is the right macro F1, None where there is none."""

    script: str = "cp input/answer.csv output/pred.csv"
    action: str = "pipeline"
    ends: JobState = JobState.SUCCEEDED
    code: str | None = None
    blame: str | None = None
    score: float | None = None
    backends: tuple[str, ...] = ("local", "docker")
    sleep_s: float = 0.0
    time_limit_s: int = 60


KINDS = (
    Kind(score=1.0),
    Kind(score=1.0, backends=("docker",)),
    # Truth cat, dog; told dog, dog: F1 of cat 0, of dog 2·½·1/(½+1) = ⅔, so ⅓ on the average.
    Kind(action="score", script="", score=1 / 3, backends=("local",)),
    Kind(script="printf 'id,label\\n1,dog\\n2,dog\\n' > output/pred.csv", score=1 / 3),
    Kind(action="run"),
    Kind(script="exit 3", ends=JobState.FAILED, code="CONTAINER_EXIT_NONZERO", blame="participant"),
    Kind(script=": > output/other", ends=JobState.FAILED, code="MISSING_FILE", blame="participant"),
    Kind(script="sleep 300", ends=JobState.FAILED, code="TIME_LIMIT", blame="participant", time_limit_s=2),
)
CANCELLED = Kind(
    script="sleep 300", ends=JobState.CANCELLED, code="CANCELLED", blame="nobody", time_limit_s=600
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job as it was asked for; ``key`` makes asking twice the same as asking once."""

    kind: Kind
    backend: str
    folder: Path
    key: str

    def asked(self, root: Path) -> dict[str, Any]:
        named = str(self.folder.relative_to(root))
        return {"workspace": named, "action": self.kind.action, "backend": self.backend}


def make_task(site: Site, kind: Kind, *, backend: str, sleep_s: float) -> Task:
    folder = site.workspace(
        container={"image": BUSYBOX, "cmd": ["sh", "-c", f"sleep {sleep_s:.2f}; {kind.script or ':'}"]},
        time_limit=kind.time_limit_s,
        resources={"cpu": 1, "memory": "64Mi", "gpus": 0},
    )
    (folder / "input" / "answer.csv").write_text(GOOD)
    return Task(kind=kind, backend=backend, folder=folder, key=f"key-{folder.name}")
