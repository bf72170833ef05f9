"""The store's contract: how jobs end, are cancelled and start again."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from autoscorer.store.base import Store
from autoscorer.store.leases import lease_of
from autoscorer.store.moves import LeaseLostError
from autoscorer.store.records import AttemptEnd, Job, Lease, Note
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import ENGINE_GONE, EXIT_3, SCORE, StoreCase, at_once, new_job
from tests.store.clocks import MovableClock


class Ending(StoreCase):
    def test_a_result_is_published_once(self, store: Store, acme: str, clock: MovableClock) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        clock.forward(1.5)
        job = store.work.succeed(lease, result=SCORE)
        assert store.work.succeed(lease, result={"another": 1}) == job  # the step arrives twice
        result = store.jobs.result(job.task_id)
        assert result is not None
        assert (result.body, result.attempt) == (SCORE, 1)
        assert job == store.jobs.get(job.task_id)
        assert (job.state, job.until, job.finished_at) == (JobState.SUCCEEDED, None, clock().at)
        assert [a.end for a in store.jobs.attempts(job.task_id)] == [AttemptEnd.SUCCEEDED]
        with pytest.raises(LeaseLostError):
            store.work.fail(lease, error=EXIT_3)

    def test_a_result_is_the_latest_attempts_or_none(self, store: Store, acme: str) -> None:
        scored, partial, bare, waiting, again, dropped = (
            store.jobs.submit(new_job(acme, number)).job.task_id for number in range(6)
        )

        def lease(task_id: str) -> Lease:
            claimed = store.work.claim_job(task_id, worker="w")
            assert claimed is not None
            return lease_of(claimed)

        store.work.succeed(lease(scored), result=SCORE)
        store.work.fail(lease(partial), error=EXIT_3, result={"error": EXIT_3})
        store.work.fail(lease(bare), error=EXIT_3)
        store.work.fail(lease(again), error=EXIT_3, result={"error": EXIT_3})
        store.work.fail(lease(dropped), error=EXIT_3, result={"error": EXIT_3})
        asked = {scored, partial, bare, waiting, again, dropped, "unknown"}
        assert store.jobs.with_result(asked) == {scored, partial, again, dropped}
        store.jobs.retry(dropped, by="ada")
        store.jobs.cancel(dropped, by="ada")
        assert store.jobs.with_result(asked) == {scored, partial, again}
        store.jobs.retry(again, by="ada")
        store.work.fail(lease(again), error=EXIT_3)
        assert store.jobs.with_result(asked) == {scored, partial}
        assert store.jobs.with_result([bare, partial]) == {partial}
        assert store.jobs.with_result([]) == frozenset()

    def test_a_failure_keeps_its_error_and_what_there_is_of_a_result(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        job = store.work.fail(lease, error=EXIT_3, result={"error": EXIT_3})
        assert store.work.fail(lease, error=EXIT_3) == job
        assert (job.state, job.error) == (JobState.FAILED, EXIT_3)
        result = store.jobs.result(job.task_id)
        assert result is not None
        assert result.body == {"error": EXIT_3}
        with pytest.raises(LeaseLostError):
            store.work.succeed(lease, result=SCORE)

    def test_an_attempt_given_back_is_tried_again_after_its_delay(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        store.work.give_back(lease_of(self.claimed(store)), error=ENGINE_GONE, delay_s=10)
        assert store.work.claim(queues=["cpu"], worker="w") is None
        clock.forward(10)
        store.work.give_back(lease_of(self.claimed(store)), error=ENGINE_GONE)
        job = store.work.give_back(lease_of(self.claimed(store)), error=ENGINE_GONE)
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert job.error["code"] == "ATTEMPTS_EXHAUSTED"
        assert [a.end for a in store.jobs.attempts(job.task_id)] == [AttemptEnd.GIVEN_BACK] * 3

    def test_an_attempt_handed_over_is_not_counted(self, store: Store, acme: str) -> None:
        """Four times; control: given back, the third is the last."""
        store.jobs.submit(new_job(acme))
        for attempt in (1, 2, 3, 4):
            lease = lease_of(self.claimed(store))
            assert lease.attempt == attempt
            job = store.work.hand_over(lease, error=ENGINE_GONE)
            assert (job.state, job.worker, job.attempts_allowed) == (JobState.QUEUED, None, 3 + attempt)
            with pytest.raises(LeaseLostError):
                store.work.hand_over(lease, error=ENGINE_GONE)
        for _ in range(3):
            job = store.work.give_back(lease_of(self.claimed(store)), error=ENGINE_GONE)
        assert job.state is JobState.FAILED
        assert [a.end for a in store.jobs.attempts(job.task_id)] == [AttemptEnd.GIVEN_BACK] * 7

    def test_a_cancel_that_came_before_a_hand_over_wins(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        store.jobs.cancel(lease.task_id, by="ada")
        assert store.work.hand_over(lease, error=ENGINE_GONE).state is JobState.CANCELLED

    def test_events_tell_a_jobs_story_without_gaps(self, store: Store, acme: str) -> None:
        task_id = store.jobs.submit(new_job(acme)).job.task_id
        lease = lease_of(self.claimed(store))
        store.work.note(lease, event="execution_started", facts={"image": "x"}, stage="execute")
        job = store.work.note(lease, event="log", facts={})
        assert job.stage == "execute"
        store.work.succeed(lease, result=SCORE)
        told = [(e.number, e.name, e.attempt) for e in store.jobs.events(task_id)]
        assert told == [
            (1, "job_submitted", 0),
            (2, "job_claimed", 1),
            (3, "execution_started", 1),
            (4, "log", 1),
            (5, "job_succeeded", 1),
        ]
        assert store.jobs.events(task_id)[2].facts == {"image": "x"}
        assert [e.number for e in store.jobs.events(task_id, after=2, limit=2)] == [3, 4]

    @pytest.mark.parametrize("ending", ["succeed", "fail", "give_back"])
    def test_what_went_before_an_end_is_written_down_with_it_as_it_was(
        self, store: Store, acme: str, clock: MovableClock, ending: str
    ) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        clock.forward(5)
        notes = [
            Note(name="stage_started", facts={"stage": stage}, ago_s=ago_s)
            for stage, ago_s in (("view", 3.0), ("score", 2.5))
        ]
        match ending:
            case "succeed":
                job = store.work.succeed(lease, result=SCORE, notes=notes)
                again = store.work.succeed(lease, result=SCORE, notes=notes)
            case "fail":
                job = store.work.fail(lease, error=EXIT_3, notes=notes)
                again = store.work.fail(lease, error=EXIT_3, notes=notes)
            case _:
                job = again = store.work.give_back(lease, error=ENGINE_GONE, notes=notes)
        assert again == job == store.jobs.get(lease.task_id)
        events = store.jobs.events(lease.task_id)
        assert [event.number for event in events] == [1, 2, 3, 4, 5]
        assert [event.facts["stage"] for event in events[2:4]] == ["view", "score"]
        assert [(events[4].at - event.at).total_seconds() for event in events[2:4]] == [3.0, 2.5]
        assert job.events == 5

    def test_what_is_noted_late_has_the_time_at_which_it_happened(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        clock.forward(5)
        store.work.note(lease, event="pulled", facts={}, ago_s=4.0)
        store.work.note(lease, event="begun", facts={})
        *_, pulled, begun = store.jobs.events(lease.task_id)
        assert (begun.at - pulled.at).total_seconds() == 4.0

    def test_notes_of_a_lost_lease_are_not_written_down(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        store.jobs.submit(new_job(acme))
        stale = lease_of(self.claimed(store))
        clock.forward(30)
        store.work.lapse(stale.task_id)
        before = store.jobs.events(stale.task_id)
        with pytest.raises(LeaseLostError):
            store.work.succeed(stale, result=SCORE, notes=[Note(name="x", facts={})])
        assert store.jobs.events(stale.task_id) == before

    @pytest.mark.parametrize("released", [True, False])
    def test_a_waiting_job_is_cancelled_at_once(self, store: Store, acme: str, released: bool) -> None:
        task_id = store.jobs.submit(new_job(acme)).job.task_id
        if released:
            store.work.release(queues=["cpu"], at_most=1, lost_after_s=60)
        job = store.jobs.cancel(task_id, by="ada")
        assert job.state is JobState.CANCELLED
        assert job.error is not None
        assert job.error["code"] == "CANCELLED"
        assert store.work.claim_job(task_id, worker="w") is None
        assert store.jobs.cancel(task_id, by="ada") == job

    def test_the_worker_of_a_running_job_hears_of_a_cancel(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        assert store.jobs.cancel(lease.task_id, by="ada").state is JobState.CANCELLING
        for hold in (store.work.look(lease), store.work.beat(lease)):
            assert (hold.held, hold.cancelled) == (True, True)

    @pytest.mark.parametrize("ending", ["succeed", "fail", "give_back", "lapse"])
    def test_a_cancel_that_was_accepted_is_never_answered_with_a_score(
        self, store: Store, acme: str, clock: MovableClock, ending: str
    ) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        store.jobs.cancel(lease.task_id, by="ada")
        self.end(store, lease, ending, clock)
        job = store.jobs.get(lease.task_id)
        assert job is not None
        assert job.state is JobState.CANCELLED
        assert store.jobs.result(lease.task_id) is None
        assert [a.end for a in store.jobs.attempts(lease.task_id)] == [AttemptEnd.CANCELLED]

    def test_a_cancel_at_the_finish_line_leaves_one_truth(self, store: Store, acme: str) -> None:
        for number in range(40):
            store.jobs.submit(new_job(acme, number))
            lease = lease_of(self.claimed(store))

            race: list[Callable[[], Job]] = [
                functools.partial(store.work.succeed, lease, result=SCORE),
                functools.partial(store.jobs.cancel, lease.task_id, by="ada"),
            ]
            at_once(race)
            job = store.jobs.get(lease.task_id)
            assert job is not None
            assert job.state in (JobState.SUCCEEDED, JobState.CANCELLED)
            has_result = store.jobs.result(lease.task_id) is not None
            assert has_result == (job.state is JobState.SUCCEEDED)

    def test_a_finished_job_is_not_cancelled(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme))
        job = store.work.succeed(lease_of(self.claimed(store)), result=SCORE)
        assert store.jobs.cancel(job.task_id, by="ada") == job

    def test_a_job_that_failed_can_be_started_again(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme))
        failed = store.work.fail(lease_of(self.claimed(store)), error=EXIT_3)
        job = store.jobs.retry(failed.task_id, by="ada")
        assert (job.state, job.error, job.finished_at) == (JobState.QUEUED, None, None)
        assert job.attempts_allowed == 4
        done = store.work.succeed(lease_of(self.claimed(store)), result=SCORE)
        assert (done.attempt, done.state) == (2, JobState.SUCCEEDED)

    def test_only_an_ended_job_without_a_score_can_be_retried(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme))
        lease = lease_of(self.claimed(store))
        store.work.succeed(lease, result=SCORE)
        with pytest.raises(AutoscorerError) as caught:
            store.jobs.retry(lease.task_id, by="ada")
        assert (caught.value.code, caught.value.cause) == ("CONFLICT", "state")

    def test_a_retry_does_not_make_a_second_active_job_of_a_workspace(self, store: Store, acme: str) -> None:
        former = store.jobs.submit(new_job(acme)).job
        store.jobs.cancel(former.task_id, by="ada")
        store.jobs.submit(new_job(acme))
        with pytest.raises(AutoscorerError) as caught:
            store.jobs.retry(former.task_id, by="ada")
        assert (caught.value.code, caught.value.cause) == ("CONFLICT", "job_id")
