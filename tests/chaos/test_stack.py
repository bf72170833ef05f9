"""The whole service broken at random moments, under load: every job ends as it must, and nothing is left."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscorer.store.records import Job
from autoscorer.store.transitions import STATES, JobState
from tests.chaos import faults
from tests.chaos.audit import audit, left_behind, processes_of, seconds_until_again
from tests.chaos.faults import Fault
from tests.chaos.stack import Stack, stack
from tests.chaos.work import CANCELLED, KINDS, Task, make_task
from tests.executor.docker.own_engine import OwnEngine
from tests.store.postgres import Server
from tests.worker.counts import Counts
from tests.worker.sites import until

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.postgres, pytest.mark.sandbox]
SETTLED_S = 400.0  # three attempts, each with its worker dead, and the waits between them


class Crowd:
    """People who submit jobs, and cancel some, whatever happens to the service meanwhile."""

    def __init__(self, stack: Stack, dice: random.Random, *, number: int, backends: tuple[str, ...]) -> None:
        self._stack = stack
        self._root = stack.site.root / "workspaces"
        self._dice = random.Random(dice.random())
        self._tasks = [self._task(count, backends) for count in range(number)]
        self.jobs: dict[str, Task] = {}
        self.faults: list[BaseException] = []

    def _task(self, count: int, backends: tuple[str, ...]) -> Task:
        kinds = [*KINDS, CANCELLED]
        kind = kinds[count % len(kinds)]
        usable = [name for name in kind.backends if name in backends] or ["local"]
        backend = self._dice.choice(usable)
        return make_task(self._stack.site, kind, backend=backend, sleep_s=self._dice.uniform(0.1, 3))

    def run(self, seconds: float) -> None:
        """All of them, spread over ``seconds``."""
        try:
            for task in self._tasks:
                task_id = self._stack.api.submit(task, self._root)
                self.jobs[task_id] = task
                threading.Event().wait(self._dice.uniform(0, 2) * seconds / len(self._tasks))
            for task_id, task in self.jobs.items():
                if task.kind is CANCELLED:
                    self._stack.api.asked("POST", f"/api/v1/jobs/{task_id}/cancel")
        except BaseException as exc:  # boundary of a task: told in the test's thread
            self.faults.append(exc)


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Each of ``kinds`` comes once in every round, about ``pace_s`` after the one before."""

    kinds: Mapping[str, Fault]
    rounds: int
    pace_s: float

    @property
    def lasts_s(self) -> float:
        return self.rounds * len(self.kinds) * self.pace_s

    def over(self, stack: Stack, dice: random.Random) -> dict[str, int]:
        """How often each was done."""
        done = dict.fromkeys(self.kinds, 0)
        for _ in range(self.rounds):
            for name in dice.sample(list(self.kinds), len(self.kinds)):
                threading.Event().wait(dice.uniform(0, 2) * self.pace_s)
                done[name] += self.kinds[name](stack, dice)
                stack.wake()

        def all_awake() -> bool:
            stack.wake()
            return not stack.asleep

        until(all_awake, what="those who sleep are woken")
        return done


def settle(stack: Stack, jobs: Mapping[str, Task]) -> None:
    """Until all have ended. What chance has hit three times has failed by our fault; a person retries it."""

    def all_ended() -> bool:
        found = [stack.store.jobs.get(task_id) for task_id in jobs]
        for job in found:
            if job is not None and exhausted(job):
                stack.api.asked("POST", f"/api/v1/jobs/{job.task_id}/retry")
                if jobs[job.task_id].kind is CANCELLED:  # to cancel what had failed was to say nothing
                    stack.api.asked("POST", f"/api/v1/jobs/{job.task_id}/cancel")
        return all(job is None or (STATES[job.state].final and not exhausted(job)) for job in found)

    until(all_ended, within_s=SETTLED_S, what="all jobs end")
    until(lambda: not left_behind(stack), within_s=120, what=f"all is tidied up: {left_behind(stack)}")


def exhausted(job: Job) -> bool:
    return (
        job.state is JobState.FAILED and job.error is not None and job.error["code"] == "ATTEMPTS_EXHAUSTED"
    )


def break_it(
    stack: Stack,
    dice: random.Random,
    counts: Counts,
    *,
    weather: Weather,
    number: int,
    backends: tuple[str, ...],
) -> dict[str, int]:
    """A storm over a crowd; then what has become of it. How often each fault was done."""
    crowd = Crowd(stack, dice, number=number, backends=backends)
    people = threading.Thread(target=crowd.run, args=(weather.lasts_s,))
    people.start()
    done = weather.over(stack, dice)
    people.join(300)
    assert not people.is_alive()
    assert crowd.faults == []
    settle(stack, crowd.jobs)
    counts.faults = sum(done.values())
    counts.again_s = max(seconds_until_again(stack, crowd.jobs), default=0.0)
    counts.orphans += len(left_behind(stack))
    codes = [stack.api.end(signal.SIGTERM)]
    for worker in stack.workers:
        worker.signal(signal.SIGTERM)
        codes.append(worker.join(120))
    wrong = audit(stack, crowd.jobs, counts)
    orphans = processes_of(stack.site.root)
    counts.orphans += len(orphans)
    assert not wrong + orphans, "\n".join(wrong + orphans)
    assert set(codes) == {0}, "told to stop, each ends in order"
    assert len(crowd.jobs) == number, "whoever asks again with the same key has one job"
    assert stack.api.statuses <= {200, 202, 503}, "while something is away, it says so"
    assert "Traceback" not in stack.api.log.read_text()
    counts.check()
    return done


def test_whatever_breaks_jobs_end_as_they_must(
    tmp_path: Path, database: Server, dice: random.Random, counts: Counts
) -> None:
    counts.fault = "the whole service: each fault that mends within seconds"
    with stack(tmp_path, database, None) as made:
        weather = Weather(kinds=faults.QUICK, rounds=1, pace_s=0.3)
        done = break_it(made, dice, counts, weather=weather, number=18, backends=("local",))
    assert min(done.values()) >= 1


@pytest.mark.long
@pytest.mark.docker
def test_a_storm_of_all_faults(
    tmp_path: Path,
    database: Server,
    engine: OwnEngine,
    dice: random.Random,
    counts: Counts,
    record_property: Callable[[str, object], None],
) -> None:
    counts.fault = "the whole service: all faults at random moments"
    with stack(tmp_path, database, engine) as made:
        weather = Weather(kinds=faults.ALL, rounds=4, pace_s=3.0)
        done = break_it(made, dice, counts, weather=weather, number=90, backends=("local", "docker"))
    record_property("chaos_parts", "; ".join(f"{name} {number}" for name, number in done.items()))
    assert min(done.values()) >= 1
