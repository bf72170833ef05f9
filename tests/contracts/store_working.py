"""The store's contract: claims, releases, leases and the fence."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest

from autoscorer.store import moves
from autoscorer.store.base import Store
from autoscorer.store.leases import lease_of, recover
from autoscorer.store.moves import LeaseLostError
from autoscorer.store.records import AttemptEnd, Job, JobQuery
from autoscorer.store.transitions import JobState
from tests.contracts.store_cases import ENGINE_GONE, EXIT_3, SCORE, StoreCase, at_once, new_job
from tests.store.clocks import MovableClock


class Working(StoreCase):
    def test_priority_comes_first_then_fewest_running_then_age(self, store: Store, acme: str) -> None:
        other = store.access.add_organisation("other").organisation_id
        for number in (1, 2, 3):
            store.jobs.submit(new_job(acme, number))
        store.jobs.submit(new_job(other, 4))
        store.jobs.submit(new_job(other, 5))
        store.jobs.submit(new_job(acme, 6, priority=1))
        order = [self.claimed(store).job_id for _ in range(6)]
        # 6 by priority; acme has 1 running: 4; both 1: the oldest, 1; other has 1: 5; then what is left
        assert order == ["job-6", "job-4", "job-1", "job-5", "job-2", "job-3"]

    def test_a_worker_gets_jobs_of_its_queues_only(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme, 1, queue="gpu"))
        assert store.work.claim(queues=["cpu", "score"], worker="w") is None
        assert store.work.claim(queues=[], worker="w") is None
        assert self.claimed(store, queues=("cpu", "gpu")).job_id == "job-1"

    def test_a_claimed_job_is_running_under_a_lease(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        job = self.claimed(store)
        assert (job.state, job.attempt, job.worker) == (JobState.RUNNING, 1, "w1")
        assert job.until == clock().plus(30)
        assert job == store.jobs.get(job.task_id)
        assert store.work.claim(queues=["cpu"], worker="w2") is None
        assert store.work.claim_job(job.task_id, worker="w2") is None
        (attempt,) = store.jobs.attempts(job.task_id)
        assert (attempt.number, attempt.worker, attempt.end) == (1, "w1", None)

    def test_twenty_claimers_at_once_get_twenty_jobs(self, store: Store, acme: str) -> None:
        for number in range(20):
            store.jobs.submit(new_job(acme, number))
        claimed = at_once([lambda: store.work.claim(queues=["cpu"], worker="w")] * 20)
        assert sorted(job.seq for job in claimed if job) == list(range(1, 21))

    def test_released_jobs_wait_for_the_worker_that_gets_their_message(self, store: Store, acme: str) -> None:
        for number in range(3):
            store.jobs.submit(new_job(acme, number))
        released = store.work.release(queues=["cpu"], at_most=2, lost_after_s=60)
        assert [(job.job_id, job.state) for job in released] == [
            ("job-0", JobState.RELEASED),
            ("job-1", JobState.RELEASED),
        ]
        job = store.work.claim_job(released[1].task_id, worker="w")
        assert job is not None
        assert job.state is JobState.RUNNING
        assert store.work.claim_job(released[1].task_id, worker="other") is None  # delivered twice

    def test_who_goes_past_the_messages_waits_for_those_that_are_on_their_way(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        for number in range(4):
            store.jobs.submit(new_job(acme, number))
        first, second = store.work.release(queues=["cpu"], at_most=2, lost_after_s=60)

        def claimed(*queues: str) -> str | None:
            job = store.work.claim(queues=queues, worker="w", unless_released_s=50)
            return job.job_id if job else None

        store.jobs.submit(new_job(acme, 9, queue="gpu"))
        assert claimed("cpu") is claimed("gpu", "cpu") is None
        assert claimed("gpu") == "job-9"
        store.work.claim_job(first.task_id, worker="other")
        assert claimed("cpu") is None
        clock.forward(11)  # the second seems to be lost
        assert claimed("cpu") == "job-2"
        store.work.prolong(queue="cpu", messages=1, lost_after_s=60)  # but it is not
        assert claimed("cpu") is None
        store.work.claim_job(second.task_id, worker="other")
        assert claimed("gpu", "cpu") == "job-3"

    def test_nothing_is_released_while_there_is_no_room_for_enough(self, store: Store, acme: str) -> None:
        for number in range(5):
            store.jobs.submit(new_job(acme, number))

        def released(at_least: int) -> int:
            given = store.work.release(queues=["cpu"], at_most=3, lost_after_s=60, at_least=at_least)
            return len(given)

        assert released(3) == 3
        job = store.jobs.page(JobQuery()).jobs[-1]
        assert store.work.claim_job(job.task_id, worker="w") is not None
        assert [released(2), released(1), released(1)] == [0, 1, 0]

    def test_a_job_that_does_not_fit_its_claimer_stays_for_another(self, store: Store, acme: str) -> None:
        job = store.jobs.submit(new_job(acme)).job
        assert store.work.claim_job(job.task_id, worker="w", fits=lambda found: found != job) is None
        assert store.jobs.get(job.task_id) == job
        claimed = store.work.claim_job(job.task_id, worker="w", fits=lambda found: found == job)
        assert claimed is not None
        assert claimed.worker == "w"

    def test_a_job_whose_message_was_lost_is_released_again(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        store.work.release(queues=["cpu"], at_most=5, lost_after_s=60)
        assert recover(store.work) == ()
        clock.forward(60)
        assert [job.state for job in recover(store.work)] == [JobState.QUEUED]
        (again,) = store.work.release(queues=["cpu"], at_most=5, lost_after_s=60)
        assert again.attempt == 0  # a lost message is no attempt

    def test_no_more_jobs_are_handed_out_unclaimed_than_is_said(self, store: Store, acme: str) -> None:
        for number in range(5):
            store.jobs.submit(new_job(acme, number))
        store.jobs.submit(new_job(acme, 5, queue="gpu"))
        first = store.work.release(queues=["cpu"], at_most=2, lost_after_s=60)
        assert [job.job_id for job in first] == ["job-0", "job-1"]
        assert store.work.release(queues=["cpu"], at_most=2, lost_after_s=60) in ([], ())
        assert len(store.work.release(queues=["gpu"], at_most=2, lost_after_s=60)) == 1  # has its own
        store.work.claim_job(first[0].task_id, worker="w")
        more = store.work.release(queues=["cpu"], at_most=2, lost_after_s=60)
        assert [job.job_id for job in more] == ["job-2"]

    def test_messages_that_only_wait_are_not_lost(self, store: Store, acme: str, clock: MovableClock) -> None:
        for number in range(2):
            store.jobs.submit(new_job(acme, number))
        store.jobs.submit(new_job(acme, 2, queue="gpu"))
        assert store.work.prolong(queue="cpu", messages=9, lost_after_s=60) == 0
        store.work.release(queues=["cpu", "gpu"], at_most=3, lost_after_s=60)
        clock.forward(50)
        assert store.work.prolong(queue="cpu", messages=2, lost_after_s=60) == 2
        clock.forward(50)  # the job of the other queue has not been prolonged
        assert [job.queue for job in recover(store.work)] == ["gpu"]
        assert store.work.prolong(queue="cpu", messages=1, lost_after_s=60) == 2  # one is lost: which?
        clock.forward(10)
        assert [job.state for job in recover(store.work)] == [JobState.QUEUED] * 2

    def test_a_heartbeat_extends_the_lease(self, store: Store, acme: str, clock: MovableClock) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        for _ in range(3):
            clock.forward(29)
            hold = store.work.beat(lease)
            assert (hold.held, hold.cancelled) == (True, False)
            assert recover(store.work) == ()
        clock.forward(30)
        assert len(recover(store.work)) == 1

    def test_an_expired_lease_is_another_attempt_of_another_worker(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        stale = lease_of(self.claimed(store))
        clock.forward(30)
        (requeued,) = recover(store.work)
        assert (requeued.state, requeued.worker) == (JobState.QUEUED, None)
        job = self.claimed(store, worker="w2")
        assert job.attempt == 2
        ends = [(a.number, a.worker, a.end) for a in store.jobs.attempts(job.task_id)]
        assert ends == [(1, "w1", AttemptEnd.LOST), (2, "w2", None)]
        assert not store.work.beat(stale).held
        assert not store.work.look(stale).held
        assert store.work.look(lease_of(job)).held

    @pytest.mark.parametrize("reclaimed", [True, False])
    def test_a_stale_worker_cannot_publish_anything(
        self, store: Store, acme: str, clock: MovableClock, reclaimed: bool
    ) -> None:
        store.jobs.submit(new_job(acme))
        stale = lease_of(self.claimed(store))
        clock.forward(30)
        recover(store.work)
        if reclaimed:
            self.claimed(store, worker="w2")
        before = store.jobs.get(stale.task_id)
        acts: list[Callable[[], Job]] = [
            lambda: store.work.succeed(stale, result=SCORE),
            lambda: store.work.fail(stale, error=EXIT_3),
            lambda: store.work.give_back(stale, error=ENGINE_GONE),
            lambda: store.work.note(stale, event="x", facts={}),
        ]
        for act in acts:
            with pytest.raises(LeaseLostError):
                act()
        assert store.jobs.get(stale.task_id) == before
        assert store.jobs.result(stale.task_id) is None

    def test_control_without_the_fence_a_stale_worker_publishes(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        stale = lease_of(self.claimed(store))
        clock.forward(30)
        recover(store.work)
        self.claimed(store, worker="w2")
        with patch.object(moves, "holds", return_value=True):
            store.work.succeed(stale, result=SCORE)
        assert store.jobs.result(stale.task_id) is not None

    def test_an_expired_lease_that_nobody_took_still_publishes(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        clock.forward(3600)
        assert store.work.succeed(lease, result=SCORE).state is JobState.SUCCEEDED

    def test_after_a_restart_of_the_machine_no_lease_holds_longer(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        self.claimed(store)
        clock.restart_machine()  # its seconds are few again: the lease would last for a long time
        assert [job.state for job in recover(store.work)] == [JobState.QUEUED]

    def test_a_job_lost_three_times_ends_as_the_platforms_fault(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        task_id = store.jobs.submit(new_job(acme)).job.task_id
        for _ in range(3):
            self.claimed(store)
            clock.forward(30)
            recover(store.work)
        job = store.jobs.get(task_id)
        assert job is not None
        assert job.error is not None
        assert job.state is JobState.FAILED
        assert (job.error["code"], job.error["details"]["blame"]) == ("ATTEMPTS_EXHAUSTED", "platform")
        assert job.error["details"]["last_code"] == "WORKER_LOST"
        assert store.work.claim(queues=["cpu"], worker="w") is None
