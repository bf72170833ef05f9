"""Submissions of several threads in one transaction: none is lost, and none pays for another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from autoscorer.store.records import JobQuery, NewJob, Submission, SubmitOutcome
from autoscorer.store.sql.together import Together, _Wish
from autoscorer.store.sql_store import SqlStore
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import new_job
from tests.worker.sites import until


@pytest.fixture
def store(sqlite_url: str) -> Iterator[SqlStore]:
    store = SqlStore(sqlite_url)
    yield store
    store.close()


@contextmanager
def commits(store: SqlStore) -> Iterator[list[int]]:
    """One entry for each transaction that was kept meanwhile."""
    found: list[int] = []

    def note(_connection: object) -> None:
        found.append(1)

    event.listen(store._database.engine, "commit", note)
    yield found
    event.remove(store._database.engine, "commit", note)


def submitted_at_once(store: SqlStore, asked: Sequence[NewJob]) -> list[Future[Submission]]:
    """All of them submitted while the store is busy: the first waits for it, the others for the first."""
    together = store.jobs._submissions
    with ThreadPoolExecutor(len(asked)) as pool:
        with store._database.writing():
            first = pool.submit(store.jobs.submit, asked[0])
            until(lambda: together._is_led and not together._waiting)
            others = [pool.submit(store.jobs.submit, new) for new in asked[1:]]
            until(lambda: len(together._waiting) == len(others))
        return [first, *others]


def test_what_waits_is_kept_in_one_transaction_and_each_hears_of_its_own(store: SqlStore) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    told: list[str] = []
    store.on_change(lambda change, _now: told.append(change.job.task_id))
    with commits(store) as kept:
        done = submitted_at_once(store, [new_job(acme, number) for number in range(8)])
    jobs = [future.result().job for future in done]
    assert [job.job_id for job in jobs] == [f"job-{number}" for number in range(8)]
    assert sorted(told) == sorted(job.task_id for job in jobs)
    assert all(store.jobs.get(job.task_id) == job for job in jobs)
    assert [len(store.jobs.events(job.task_id)) for job in jobs] == [1] * 8
    assert len(kept) == 3  # the one that kept the store busy, the first, all others


def test_a_submission_that_the_database_refuses_costs_no_other(store: SqlStore) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    asked = [new_job(acme, number) for number in range(6)]
    asked[2] = new_job("no-such-organisation", 2)
    asked[4] = new_job(acme, 4, spec={"score": float("nan")})
    refused = {2, 4}
    done = submitted_at_once(store, asked)
    assert isinstance(done[2].exception(), AutoscorerError)
    assert isinstance(done[4].exception(), Exception)
    kept = {future.result().job.task_id for number, future in enumerate(done) if number not in refused}
    assert len(kept) == 4
    assert {job.task_id for job in store.jobs.page(JobQuery()).jobs} == kept
    assert all(len(store.jobs.events(task_id)) == 1 for task_id in kept)


def test_the_same_submission_many_times_at_once_is_one_job(store: SqlStore) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    done = [future.result() for future in submitted_at_once(store, [new_job(acme)] * 8)]
    assert len({submission.job.task_id for submission in done}) == 1
    outcomes = sorted(submission.outcome for submission in done)
    assert outcomes == sorted([SubmitOutcome.CREATED, *[SubmitOutcome.ALREADY_ACTIVE] * 7])


@pytest.mark.parametrize(
    ("code", "tried"), [("CONFLICT", [2, 1]), ("STORE_UNAVAILABLE", [2])], ids=["refused", "no store"]
)
def test_what_fails_together_is_tried_alone_unless_the_store_is_away(code: str, tried: list[int]) -> None:
    sizes: list[int] = []

    def do_all(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        if len(items) > 1:
            raise AutoscorerError(code, "no")
        return items

    together = Together[int, int](do_all)
    together._waiting.append(_Wish(2))  # another thread's, that does not have the turn
    if len(tried) > 1:
        assert together.do(1) == 1
    else:
        with pytest.raises(AutoscorerError):
            together.do(1)
    assert sizes == tried


def test_every_item_is_done_once_whatever_fails_beside_it() -> None:
    done: list[int] = []

    def do_all(items: Sequence[int]) -> Sequence[int]:
        if any(item % 7 == 0 for item in items):
            raise ValueError(items)
        done.extend(items)
        return [item * 2 for item in items]

    together = Together[int, int](do_all)

    def outcome(item: int) -> int | None:
        try:
            return together.do(item)
        except ValueError:
            return None

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(outcome, range(2000)))
    assert found == [None if item % 7 == 0 else item * 2 for item in range(2000)]
    assert sorted(done) == [item for item in range(2000) if item % 7]
    assert not together._waiting
    assert not together._is_led
