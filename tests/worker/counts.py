"""What is counted when workers are broken: jobs lost, jobs done twice, things left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoscorer.store.base import Store
from autoscorer.store.records import Job
from autoscorer.store.transitions import JobState
from tests.worker.sites import Site, event_names, leftovers, result_json, state_of


@dataclass
class Counts:
    """Of one fault. ``faults`` is how often it was done, ``jobs`` how many went through it."""

    fault: str = ""
    faults: int = 0
    jobs: int = 0
    lost: int = 0
    doubled: int = 0
    orphans: int = 0
    controls: int = 0

    def count(self, site: Site, store: Store, done: dict[Path, Job]) -> None:
        """Look at every job that must have succeeded."""
        self.jobs += len(done)
        for folder, job in done.items():
            found, published = state_of(store, job), store.jobs.result(job.task_id)
            told = published is not None and result_json(folder) == published.body
            self.lost += found.state is not JobState.SUCCEEDED or not told
            self.doubled += event_names(store, job).count("job_succeeded") > 1
        self.orphans += len(leftovers(site))

    def check(self) -> None:
        assert (self.lost, self.doubled, self.orphans) == (0, 0, 0), self
