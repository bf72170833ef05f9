"""Submissions handed in together: one transaction, and none pays for another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from autoscorer.store.records import JobQuery, NewJob, Submission, SubmitOutcome
from autoscorer.store.sql_store import SqlStore
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import new_job


@contextmanager
def ends(store: SqlStore) -> Iterator[list[str]]:
    """How each transaction ended meanwhile."""
    found: list[str] = []
    hearers = {name: lambda _connection, name=name: found.append(name) for name in ("commit", "rollback")}
    for name, hear in hearers.items():
        event.listen(store._database.engine, name, hear)
    yield found
    for name, hear in hearers.items():
        event.remove(store._database.engine, name, hear)


def test_all_are_kept_in_one_transaction_and_each_is_heard_of(store: SqlStore, acme: str) -> None:
    told: list[str] = []
    store.on_change(lambda change, _now: told.append(change.job.task_id))
    with ends(store) as ended:
        outcomes = store.jobs.submit_all([new_job(acme, number) for number in range(8)])
    jobs = [outcome.job for outcome in outcomes if isinstance(outcome, Submission)]
    assert ended == ["commit"]
    assert [job.job_id for job in jobs] == [f"job-{number}" for number in range(8)]
    assert [job.seq for job in jobs] == sorted(job.seq for job in jobs)
    assert told == [job.task_id for job in jobs]
    assert all(store.jobs.get(job.task_id) == job for job in jobs)


@pytest.mark.parametrize(
    ("one", "ended"),
    [
        ({"job_id": "job-1"}, ["commit"]),  # a conflict, told as an outcome
        ({"workspace": "w/1"}, ["commit"]),
        # Controls: what the database itself refuses undoes the transaction, so each is tried by itself.
        ({"organisation_id": "nobody"}, ["rollback", "commit", "rollback", "commit"]),
        ({"spec": {"score": float("nan")}}, ["rollback", "commit", "rollback", "commit"]),
    ],
    ids=["label", "workspace", "no organisation", "no JSON"],
)
def test_a_conflict_has_no_other_done_twice(
    store: SqlStore, acme: str, one: dict[str, Any], ended: list[str]
) -> None:
    asked = [new_job(acme, 1), new_job(**{"organisation_id": acme, "number": 2, **one}), new_job(acme, 3)]
    with ends(store) as found:
        outcomes = store.jobs.submit_all(asked)
    assert found == ended
    kept = [outcome.job.task_id for outcome in (outcomes[0], outcomes[2]) if isinstance(outcome, Submission)]
    assert {job.task_id for job in store.jobs.page(JobQuery()).jobs} == set(kept)
    assert len(kept) == 2
    assert not isinstance(outcomes[1], Submission) or outcomes[1].job.task_id == kept[0]


class _DriverError(Exception):
    """What a driver raises; ``sqlstate`` as PostgreSQL says it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "sizes"),
    [("40P01", [3, 1, 1, 1]), ("55P03", [3, 1, 1, 1]), ("57P01", [3])],
    ids=["deadlock", "lock waited for", "control: the server is gone"],
)
def test_only_what_waited_for_another_is_tried_by_itself(
    store: SqlStore, acme: str, monkeypatch: pytest.MonkeyPatch, sqlstate: str, sizes: list[int]
) -> None:
    submissions, found = store.jobs._submissions, list[int]()
    kept = submissions._kept

    def contended(asked: Sequence[NewJob]) -> object:
        found.append(len(asked))
        if len(asked) == 1:
            return kept(asked)
        unavailable = AutoscorerError("STORE_UNAVAILABLE", "no")
        raise unavailable from DBAPIError("INSERT", {}, _DriverError(sqlstate))

    monkeypatch.setattr(submissions, "_kept", contended)
    outcomes = store.jobs.submit_all([new_job(acme, number) for number in range(3)])
    assert found == sizes
    assert [isinstance(outcome, Submission) for outcome in outcomes] == [len(sizes) > 1] * 3


def test_crossing_submissions_of_many_threads_are_one_job_each(store: SqlStore, acme: str) -> None:
    asked = [new_job(acme, number) for number in range(6)]
    turns = [asked[turn:] + asked[:turn] for turn in range(6)] * 4  # each in another order
    with ThreadPoolExecutor(len(turns)) as pool:
        found = [outcome for outcomes in pool.map(store.jobs.submit_all, turns) for outcome in outcomes]
    submissions = [outcome for outcome in found if isinstance(outcome, Submission)]
    assert len(submissions) == len(turns) * len(asked)
    assert sum(one.outcome is SubmitOutcome.CREATED for one in submissions) == len(asked)
    assert len({one.job.task_id for one in submissions}) == len(asked)
