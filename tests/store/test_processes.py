"""Real processes on one store: raced, killed, stopped, with wrong clocks. Nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import pytest
from sqlalchemy import text

from autoscorer.maintenance.reconcile import reconcile
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.store.leases import lease_of, recover
from autoscorer.store.records import AttemptEnd, Job, JobQuery
from autoscorer.store.sql import database
from autoscorer.store.sql_store import SqlStore
from autoscorer.store.transitions import FINAL, JobState
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import HOOK, SCORE, new_job
from tests.store.postgres import Server
from tests.store.worker import line, own_clock, worker

pytestmark = pytest.mark.slow
T = TypeVar("T")
JOBS = 40


def test_four_workers_drain_a_queue_and_each_job_is_claimed_once(
    store: SqlStore, acme: str, database_url: str
) -> None:
    submitted = [store.jobs.submit(new_job(acme, number)).job.task_id for number in range(60)]
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(database_url, "drain")) for _ in range(4)]
        done = [task_id for process in workers for task_id in process.communicate(timeout=60)[0].split()]
    assert Counter(done) == Counter(submitted)
    assert all(len(store.jobs.attempts(task_id)) == 1 for task_id in submitted)


def test_the_job_of_a_killed_worker_runs_again(store: SqlStore, acme: str, database_url: str) -> None:
    store.jobs.submit(new_job(acme))
    with worker(database_url, "hold") as process:
        task_id = line(process)
        process.kill()
    assert store.work.claim(queues=["cpu"], worker="other") is None
    (job,) = until_recovered(store)
    assert (job.task_id, job.state) == (task_id, JobState.QUEUED)
    again = store.work.claim(queues=["cpu"], worker="other")
    assert again is not None
    assert store.work.succeed(lease_of(again), result=SCORE).attempt == 2


@pytest.mark.fault("worker stopped past its lease, then publishes")
def test_a_worker_that_stood_still_past_its_lease_is_refused(
    store: SqlStore, acme: str, database_url: str
) -> None:
    store.jobs.submit(new_job(acme))
    with worker(database_url, "hold") as process:
        task_id = line(process)
        process.send_signal(signal.SIGSTOP)
        until_recovered(store)
        again = store.work.claim(queues=["cpu"], worker="other")
        process.send_signal(signal.SIGCONT)
        assert process.communicate("publish\n", timeout=30)[0].strip() == "refused"
    assert again is not None
    assert store.jobs.result(task_id) is None
    assert store.work.succeed(lease_of(again), result=SCORE).state is JobState.SUCCEEDED


@pytest.mark.fault("worker stopped past its lease, then publishes", is_control=True)
def test_control_a_worker_that_did_not_stand_still_publishes(
    store: SqlStore, acme: str, database_url: str
) -> None:
    store.jobs.submit(new_job(acme))
    with worker(database_url, "hold") as process:
        task_id = line(process)
        assert process.communicate("publish\n", timeout=30)[0].strip() == "succeeded"
    assert store.jobs.result(task_id) is not None


def test_workers_killed_at_random_moments_leave_a_consistent_store(
    store: SqlStore, acme: str, database_url: str
) -> None:
    for _ in range(3):
        with ExitStack() as stack:
            workers = [stack.enter_context(worker(database_url, "churn")) for _ in range(2)]
            for process in workers:
                for _ in range(random.randrange(1, 15)):
                    line(process)
                process.kill()
    finish_all(store)
    jobs = store.jobs.page(JobQuery(limit=10_000)).jobs
    assert len(jobs) > 4
    assert [fault for job in jobs for fault in faults_of(store, job)] == []


@pytest.mark.fault("worker killed after any statement of a transaction")
def test_a_worker_killed_after_any_statement_leaves_a_consistent_store(
    store: SqlStore, acme: str, database_url: str
) -> None:
    submit_for_killing(store, acme)
    with worker(database_url, "die_everywhere") as process:
        boundaries = int(process.communicate(timeout=120)[0])
    assert boundaries > 10
    finish_all(store)
    faults = [fault for job in store.jobs.page(JobQuery(limit=1000)).jobs for fault in faults_of(store, job)]
    assert faults == []
    assert len(store.callbacks.list(limit=1000)) == JOBS


@pytest.mark.fault("worker killed after any statement of a transaction", is_control=True)
def test_control_without_transactions_such_a_kill_leaves_a_mess(
    store: SqlStore, acme: str, database_url: str
) -> None:
    submit_for_killing(store, acme)
    with worker(database_url, "die_everywhere", "no-transactions") as process:
        process.communicate(timeout=120)
    jobs = store.jobs.page(JobQuery(limit=1000)).jobs
    assert any(len(store.jobs.events(job.task_id)) != job.events for job in jobs)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is missing (apt-get install faketime)")
@pytest.mark.parametrize("jump", ["+2y", "-2y"])
@pytest.mark.fault("the clock of one worker jumps by two years")
def test_a_process_with_a_wrong_clock_takes_nobodys_job(
    store: SqlStore, acme: str, database_url: str, jump: str
) -> None:
    store.jobs.submit(new_job(acme))
    store.work.claim(queues=["cpu"], worker="w")
    this_year = store.now().at.year
    with worker(database_url, "recover_now", prefix=("faketime", "-f", jump)) as process:
        recovered, believed_year = line(process).split()
    assert abs(int(believed_year) - this_year) == 2
    assert recovered == "0"


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is missing (apt-get install faketime)")
@pytest.mark.fault("the clock of one worker jumps by two years", is_control=True)
def test_control_a_store_that_goes_by_a_processs_clock_is_misled(sqlite_url: str) -> None:
    store = SqlStore(sqlite_url, clock=own_clock)
    acme = store.access.add_organisation("acme").organisation_id
    store.jobs.submit(new_job(acme))
    store.work.claim(queues=["cpu"], worker="w")
    with worker(sqlite_url, "recover_now", "own-clock", prefix=("faketime", "-f", "+2y")) as process:
        assert line(process).split()[0] == "1"
    store.close()


@pytest.mark.postgres
class TestServer:
    @pytest.mark.parametrize("guarded", [True, False])
    @pytest.mark.fault("worker stopped in the middle of a transaction")
    def test_a_worker_that_stands_still_in_a_claim_holds_up_nobody(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch, guarded: bool
    ) -> None:
        """Without the guard, the control, everybody else's claims time out."""
        limit = "1s" if guarded else "0"
        options = f"-c lock_timeout=4s -c idle_in_transaction_session_timeout={limit}"
        monkeypatch.setattr(database, "_SERVER_OPTIONS", options)
        store = SqlStore(postgres_url)
        store.jobs.submit(new_job(store.access.add_organisation("acme").organisation_id))
        with stopped(postgres_url, "stop_in_claim", options):
            if guarded:
                assert store.work.claim(queues=["cpu"], worker="w") is not None
            else:
                with pytest.raises(AutoscorerError) as caught:
                    store.work.claim(queues=["cpu"], worker="w")
                assert caught.value.code == "STORE_UNAVAILABLE"
        store.close()

    @pytest.mark.parametrize("guarded", [True, False])
    @pytest.mark.fault("worker stopped in the middle of a statement")
    def test_a_worker_that_stands_still_in_a_statement_holds_up_nobody(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch, guarded: bool
    ) -> None:
        """The server waits for the rest of it, whatever its time-outs: to it the session is not idle."""
        options = "-c lock_timeout=2s -c idle_in_transaction_session_timeout=1s -c statement_timeout=4s"
        monkeypatch.setattr(database, "_SERVER_OPTIONS", options)
        monkeypatch.setattr(database, "_STILL_S", 1)
        if not guarded:
            monkeypatch.setattr(database.Database, "end_standing", lambda _self: 0)
        store = SqlStore(postgres_url)
        acme = store.access.add_organisation("acme").organisation_id
        task_id = store.jobs.submit(new_job(acme)).job.task_id
        with stopped(postgres_url, "stop_in_a_statement", options):
            if guarded:
                assert store.jobs.cancel(task_id, by="ada").state is JobState.CANCELLED
            else:
                for _ in range(3):
                    with pytest.raises(AutoscorerError) as caught:
                        store.jobs.cancel(task_id, by="ada")
                    assert caught.value.code == "STORE_UNAVAILABLE"
        store.close()

    @pytest.mark.fault("worker stopped in the middle of a statement")
    def test_a_round_of_recovery_ends_what_stands_in_its_way(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "_STILL_S", 1)
        store = SqlStore(postgres_url)
        store.jobs.submit(new_job(store.access.add_organisation("acme").organisation_id))
        job = store.work.claim(queues=["cpu"], worker="w", lease_s=0.2)
        assert job is not None
        with stopped(postgres_url, "stop_in_a_statement", database._SERVER_OPTIONS):
            time.sleep(1.5)  # it has stood still for longer than is borne
            began = time.monotonic()
            (recovered,) = reconcile(store, StoreQueue(store))
            assert time.monotonic() - began < 10, "nobody waited for a lock"
        assert recovered.state is JobState.QUEUED
        store.close()

    def test_a_server_that_does_not_let_us_end_sessions_stops_no_recovery(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "_END_STANDING", text("SELECT not_ours(:name, :still_s)"))
        store = SqlStore(postgres_url)
        store.jobs.submit(new_job(store.access.add_organisation("acme").organisation_id))
        assert store.work.claim(queues=["cpu"], worker="w", lease_s=0.2) is not None
        time.sleep(0.3)
        assert store.work.unblock() == 0
        (recovered,) = reconcile(store, StoreQueue(store))
        assert recovered.state is JobState.QUEUED
        store.close()

    @pytest.mark.fault("worker stopped in the middle of a transaction")
    def test_who_waits_outlasts_one_that_stands_still(self, postgres_url: str) -> None:
        store = SqlStore(postgres_url)
        store.jobs.submit(new_job(store.access.add_organisation("acme").organisation_id))
        query = text("SELECT extract(epoch FROM current_setting(:name)::interval)")
        names = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        asked = database.Database(postgres_url)
        with asked.reading() as connection:
            still_s, waits_s, most_s = (connection.scalar(query, {"name": name}) for name in names)
        asked.close()
        assert 0 < 2 * still_s <= database._STILL_S < waits_s < most_s
        with stopped(postgres_url, "stop_in_claim", database._SERVER_OPTIONS):
            assert store.work.claim(queues=["cpu"], worker="w") is not None
        store.close()

    @pytest.mark.fault("PostgreSQL restarted under a lease")
    def test_a_restart_of_the_server_costs_no_error_and_no_job(
        self, postgres_url: str, postgres_server: Server
    ) -> None:
        store = SqlStore(postgres_url)
        store.jobs.submit(new_job(store.access.add_organisation("acme").organisation_id))
        job = store.work.claim(queues=["cpu"], worker="w")
        assert job is not None
        postgres_server.restart()
        assert store.work.beat(lease_of(job)).held
        assert store.work.succeed(lease_of(job), result=SCORE).state is JobState.SUCCEEDED
        store.close()


@contextmanager
def stopped(url: str, deed: str, options: str) -> Iterator[None]:
    """A worker that stands still in the middle of its deed."""
    with worker(url, deed, options) as process:
        wait_for(lambda: os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)[0])
        yield


def until_recovered(store: SqlStore) -> tuple[Job, ...]:
    return wait_for(lambda: recover(store.work))


def wait_for(ask: Callable[[], T], *, at_most_s: float = 20) -> T:
    deadline = time.monotonic() + at_most_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def finish_all(store: SqlStore) -> None:
    def finished() -> bool:
        recover(store.work)
        while (job := store.work.claim(queues=["cpu"], worker="last")) is not None:
            store.work.succeed(lease_of(job), result=SCORE)
        return not store.jobs.counts()

    wait_for(finished)


def submit_for_killing(store: SqlStore, organisation_id: str) -> None:
    for number in range(JOBS):
        store.jobs.submit(new_job(organisation_id, number, callback_url=HOOK))


def faults_of(store: SqlStore, job: Job) -> list[str]:
    """What does not fit together about an ended job."""
    attempts, events = store.jobs.attempts(job.task_id), store.jobs.events(job.task_id)
    succeeded = [attempt for attempt in attempts if attempt.end is AttemptEnd.SUCCEEDED]
    fits = {
        "ended": job.state in FINAL,
        "attempts are counted": [one.number for one in attempts] == list(range(1, job.attempt + 1)),
        "attempts ended": all(attempt.end for attempt in attempts),
        "events are counted": [event.number for event in events] == list(range(1, job.events + 1)),
        "one success": len(succeeded) == (job.state is JobState.SUCCEEDED),
        "result": (store.jobs.result(job.task_id) is not None) == bool(succeeded),
    }
    return [f"{job.task_id}: {name}" for name, holds in fits.items() if not holds]
