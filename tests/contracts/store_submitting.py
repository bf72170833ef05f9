"""The store's contract: submitting and listing."""

from __future__ import annotations

import dataclasses
from datetime import UTC
from typing import Any

import pytest

from autoscorer.store.base import Store
from autoscorer.store.records import (
    JobQuery,
    NewJob,
    Submission,
    SubmitOutcome,
)
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import HOOK, StoreCase, at_once, new_job


def _told(outcome: object) -> tuple[SubmitOutcome, str]:
    assert isinstance(outcome, Submission), outcome
    return outcome.outcome, outcome.job.task_id


class Submitting(StoreCase):
    def test_a_submitted_job_is_kept_as_it_was_given(self, store: Store, acme: str) -> None:
        new = new_job(
            acme,
            params={"beta": 2},
            backend="docker",
            scorer="f1@aa",
            queue="gpu",
            priority=-3,
            callback_url=HOOK,
            idempotency_key="k",
            request_sha256="r",
        )
        submission = store.jobs.submit(new)
        job = store.jobs.get(submission.job.task_id)
        assert submission.outcome is SubmitOutcome.CREATED
        assert job == submission.job
        assert {f.name: getattr(job, f.name) for f in dataclasses.fields(NewJob)} == dataclasses.asdict(new)
        assert job.created_at.tzinfo is UTC
        assert (job.state, job.attempt, job.attempts_allowed) == (JobState.QUEUED, 0, 3)
        assert [(e.number, e.name) for e in store.jobs.events(job.task_id)] == [(1, "job_submitted")]

    def test_a_waiting_job_hears_how_many_go_first(self, store: Store, acme: str) -> None:
        low = store.jobs.submit(new_job(acme, 1, priority=-1)).job
        first = store.jobs.submit(new_job(acme, 2)).job
        second = store.jobs.submit(new_job(acme, 3)).job
        urgent = store.jobs.submit(new_job(acme, 4, priority=5)).job
        store.jobs.submit(new_job(acme, 5, queue="gpu", priority=9))
        order = (urgent, first, second, low)
        assert [store.jobs.ahead(job, at_most=10) for job in order] == [0, 1, 2, 3]
        assert store.jobs.ahead(low, at_most=2) == 2
        cancelled = store.jobs.cancel(urgent.task_id, by="ada")
        assert store.jobs.ahead(cancelled, at_most=10) is None
        assert store.jobs.ahead(low, at_most=10) == 2

    def test_there_is_no_job_of_an_unknown_id(self, store: Store, acme: str) -> None:
        assert store.jobs.get("nothing") is None
        assert store.jobs.events("nothing") == ()
        for act in (store.jobs.cancel, store.jobs.retry):
            with pytest.raises(AutoscorerError) as caught:
                act("nothing", by="ada")
            assert caught.value.code == "NOT_FOUND"

    def test_a_job_of_no_organisation_is_refused(self, store: Store) -> None:
        with pytest.raises(AutoscorerError) as caught:
            store.jobs.submit(new_job("nobody"))
        assert caught.value.code == "NOT_FOUND"

    def test_a_workspace_with_an_active_job_gets_that_job(self, store: Store, acme: str) -> None:
        first = store.jobs.submit(new_job(acme)).job
        again = store.jobs.submit(new_job(acme, job_id="another"))
        assert (again.outcome, again.job.task_id) == (SubmitOutcome.ALREADY_ACTIVE, first.task_id)

    def test_a_label_is_unique_among_the_active_jobs_of_an_organisation(
        self, store: Store, acme: str
    ) -> None:
        first = store.jobs.submit(new_job(acme)).job
        other = store.access.add_organisation("other").organisation_id
        assert store.jobs.submit(new_job(other)).outcome is SubmitOutcome.CREATED
        with pytest.raises(AutoscorerError) as caught:
            store.jobs.submit(new_job(acme, workspace="w/2"))
        assert (caught.value.code, caught.value.cause) == ("CONFLICT", "job_id")
        assert caught.value.details["task_id"] == first.task_id
        store.jobs.cancel(first.task_id, by="ada")
        assert store.jobs.submit(new_job(acme)).outcome is SubmitOutcome.CREATED

    def test_the_same_request_again_gets_the_same_job_even_when_it_has_ended(
        self, store: Store, acme: str
    ) -> None:
        new = new_job(acme, idempotency_key="key", request_sha256="aa")
        first = store.jobs.submit(new).job
        store.jobs.cancel(first.task_id, by="ada")
        again = store.jobs.submit(new)
        assert (again.outcome, again.job.task_id) == (SubmitOutcome.REPLAYED, first.task_id)

    def test_a_key_used_for_another_request_is_a_conflict(self, store: Store, acme: str) -> None:
        store.jobs.submit(new_job(acme, idempotency_key="key", request_sha256="aa"))
        with pytest.raises(AutoscorerError) as caught:
            store.jobs.submit(new_job(acme, 2, idempotency_key="key", request_sha256="bb"))
        assert (caught.value.code, caught.value.cause) == ("CONFLICT", "idempotency_key")

    def test_a_hundred_identical_submissions_at_once_make_one_job(self, store: Store, acme: str) -> None:
        new = new_job(acme, idempotency_key="key", request_sha256="aa")
        outcomes = at_once([lambda: store.jobs.submit(new)] * 100)
        assert len({submission.job.task_id for submission in outcomes}) == 1
        created = [s for s in outcomes if s.outcome is SubmitOutcome.CREATED]
        assert len(created) == 1

    def test_submissions_handed_in_together_become_what_one_after_another_would(
        self, store: Store, acme: str
    ) -> None:
        standing = store.jobs.submit(new_job(acme, 1)).job
        outcomes = store.jobs.submit_all(
            [
                new_job(acme, 2, idempotency_key="key", request_sha256="aa"),
                new_job(acme, 9, workspace="w/1"),  # has a job under way
                new_job("nobody", 3),
                new_job(acme, 4),
                new_job(acme, 4, workspace="w/5"),  # the label of the one before
                new_job(acme, 4, job_id="another"),  # the workspace of that one
                new_job(acme, 2, idempotency_key="key", request_sha256="aa"),
                new_job(acme, 6, idempotency_key="key", request_sha256="bb"),
            ]
        )
        told = [(one.code, one.cause) if isinstance(one, AutoscorerError) else _told(one) for one in outcomes]
        second, fourth = (_told(outcomes[number])[1] for number in (0, 3))
        assert told == [
            (SubmitOutcome.CREATED, second),
            (SubmitOutcome.ALREADY_ACTIVE, standing.task_id),
            ("NOT_FOUND", ""),
            (SubmitOutcome.CREATED, fourth),
            ("CONFLICT", "job_id"),
            (SubmitOutcome.ALREADY_ACTIVE, fourth),
            (SubmitOutcome.REPLAYED, second),
            ("CONFLICT", "idempotency_key"),
        ]
        kept = store.jobs.page(JobQuery()).jobs
        assert [job.task_id for job in kept] == [fourth, second, standing.task_id]
        assert all(len(store.jobs.events(job.task_id)) == 1 for job in kept)

    def test_none_handed_in_is_no_fault(self, store: Store) -> None:
        assert list(store.jobs.submit_all([])) == []

    def test_a_list_is_newest_first_in_pages_without_gaps(self, store: Store, acme: str) -> None:
        ids = [store.jobs.submit(new_job(acme, n)).job.job_id for n in range(7)]
        seen: list[str] = []
        before: int | None = None
        while True:
            page = store.jobs.page(JobQuery(organisation_id=acme, limit=3, before=before))
            seen += [job.job_id for job in page.jobs]
            store.jobs.submit(new_job(acme, 100 + len(seen)))  # what comes in meanwhile moves nothing
            if (before := page.next) is None:
                break
        assert seen == ids[::-1]

    def test_a_list_can_be_narrowed(self, store: Store, acme: str) -> None:
        other = store.access.add_organisation("other").organisation_id
        mine = store.jobs.submit(new_job(acme, 1)).job
        theirs = store.jobs.submit(new_job(acme, 2, submitted_by="bob")).job
        store.jobs.submit(new_job(other, 3))
        store.jobs.cancel(theirs.task_id, by="bob")

        def found(**query: Any) -> set[str]:
            return {job.job_id for job in store.jobs.page(JobQuery(**query)).jobs}

        assert found() == {"job-1", "job-2", "job-3"}
        assert found(organisation_id=acme) == {"job-1", "job-2"}
        assert found(organisation_id=acme, submitted_by="ada") == {"job-1"}
        assert found(states=frozenset({JobState.CANCELLED})) == {"job-2"}
        assert found(organisation_id=acme, states=frozenset(JobState)) == {"job-1", "job-2"}
        assert found(organisation_id=acme, job_id="job-2") == {"job-2"}
        assert found(organisation_id=acme, workspace=mine.workspace) == {"job-1"}
        assert found(organisation_id=acme, states=frozenset()) == set()

    def test_active_jobs_are_counted_by_queue_and_state(self, store: Store, acme: str) -> None:
        for number, queue in enumerate(["cpu", "cpu", "gpu"]):
            store.jobs.submit(new_job(acme, number, queue=queue))
        store.work.claim(queues=["cpu"], worker="w")
        assert dict(store.jobs.counts()) == {
            ("cpu", JobState.RUNNING): 1,
            ("cpu", JobState.QUEUED): 1,
            ("gpu", JobState.QUEUED): 1,
        }
