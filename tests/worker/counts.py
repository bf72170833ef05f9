"""What is counted when the service is broken: jobs lost, done twice, wrongly blamed; what is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoscorer.store.base import Store
from autoscorer.store.records import Job
from autoscorer.store.transitions import JobState
from tests.worker.sites import Site, event_names, leftovers, result_json, state_of

THEIRS = ("participant", "organiser")


@dataclass
class Counts:
    """Of one fault. ``faults`` is how often it was done, ``jobs`` how many went through it.

    ``intruders``: a result that an attempt wrote whose turn it was not, or a message of nobody's that did
    something. ``wrong_blame``: attempts that were broken and blame who asked for them.
    ``again_s``: how long after the fault the slowest job of a dead worker ran again.
    """

    fault: str = ""
    database: str = ""
    broker: str = ""
    faults: int = 0
    jobs: int = 0
    lost: int = 0
    doubled: int = 0
    intruders: int = 0
    wrong_blame: int = 0
    orphans: int = 0
    controls: int = 0
    again_s: float = 0.0

    def count(self, site: Site, store: Store, done: dict[Path, Job]) -> None:
        """Look at every job that must have succeeded."""
        self.database = database_of(site)
        self.jobs += len(done)
        for folder, job in done.items():
            found, published = state_of(store, job), store.jobs.result(job.task_id)
            told = published is not None and result_json(folder) == published.body
            self.lost += found.state is not JobState.SUCCEEDED or not told
            self.doubled += event_names(store, job).count("job_succeeded") > 1
            self.intruders += published is not None and published.attempt != found.attempt
            self.wrong_blame += blamed(store, job)
        self.orphans += len(leftovers(site))

    def check(self) -> None:
        bad = (self.lost, self.doubled, self.intruders, self.wrong_blame, self.orphans)
        assert bad == (0, 0, 0, 0, 0), self


def blamed(store: Store, job: Job) -> int:
    """How many of the job's attempts blame the participant or the organiser."""
    errors = [attempt.error for attempt in store.jobs.attempts(job.task_id) if attempt.error]
    return sum(error.get("details", {}).get("blame") in THEIRS for error in errors)


def database_of(site: Site) -> str:
    return "PostgreSQL" if site.url.startswith("postgresql") else "SQLite"
