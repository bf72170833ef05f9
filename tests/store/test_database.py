"""The database's ways: its URLs, whose eyes, what its errors say, and that indexes answer questions."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from autoscorer.store.leases import lease_of
from autoscorer.store.records import JobQuery
from autoscorer.store.sql_store import SqlStore, open_store
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import HOOK, SCORE, new_job


@pytest.fixture
def store(sqlite_url: str) -> Iterator[SqlStore]:
    store = SqlStore(sqlite_url)
    yield store
    store.close()


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://u:p4ss@h/d"])
def test_a_url_of_no_database_we_can_use_is_the_operators_fault(url: str) -> None:
    with pytest.raises(AutoscorerError) as caught:
        open_store(url)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"
    assert "postgresql+psycopg://" in caught.value.message
    assert "p4ss" not in caught.value.message


def test_a_server_that_is_not_there_is_told_to_the_operator_alone() -> None:
    url = "postgresql://someone:p4ss@/d?host=/nowhere"
    with pytest.raises(AutoscorerError) as caught:
        open_store(url)
    assert (caught.value.code, caught.value.retryable) == ("STORE_UNAVAILABLE", True)
    assert "nowhere" in str(caught.value), "whoever starts a process may read where it looked"
    assert "p4ss" not in str(caught.value)
    with pytest.raises(AutoscorerError) as caught:
        SqlStore(url).check()
    assert caught.value.code == "STORE_UNAVAILABLE"
    assert "nowhere" not in str(caught.value), "who asks a service may not"


def test_a_file_that_cannot_be_made_is_the_operators_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AutoscorerError) as caught:
        open_store(f"sqlite:///{tmp_path / 'file' / 'jobs.db'}")
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"


def test_the_file_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path / 'jobs.db'}").close()
    assert stat.S_IMODE((tmp_path / "jobs.db").stat().st_mode) == 0o600


def test_a_full_disk_at_publish_changes_nothing_and_the_step_can_be_repeated(store: SqlStore) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    store.jobs.submit(new_job(acme))
    job = store.work.claim(queues=["cpu"], worker="w")
    assert job is not None
    with full_disk(store), pytest.raises(AutoscorerError) as caught:
        store.work.succeed(lease_of(job), result={"large": "x" * 2**20})
    assert caught.value.code == "STORE_UNAVAILABLE"
    assert store.jobs.get(job.task_id) == job
    assert store.jobs.result(job.task_id) is None
    assert store.work.succeed(lease_of(job), result=SCORE).state is JobState.SUCCEEDED


def test_a_result_with_nan_is_refused(store: SqlStore) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    store.jobs.submit(new_job(acme))
    job = store.work.claim(queues=["cpu"], worker="w")
    assert job is not None
    with pytest.raises(Exception, match="not JSON compliant"):
        store.work.succeed(lease_of(job), result={"score": float("nan")})
    assert store.jobs.get(job.task_id) == job


class full_disk:  # noqa: N801 - reads as a function
    """While it lasts, the database's file cannot grow."""

    def __init__(self, store: SqlStore) -> None:
        self._engine = store._database.engine

    def __enter__(self) -> None:
        event.listen(self._engine, "begin", self._no_more_pages)

    def __exit__(self, *_error: object) -> None:
        event.remove(self._engine, "begin", self._no_more_pages)
        self._engine.dispose()  # the limit belongs to the connections

    @staticmethod
    def _no_more_pages(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")


QUERIES = {
    "by organisation": JobQuery(organisation_id="o"),
    "by state": JobQuery(states=frozenset({JobState.FAILED})),
    "by organisation and states": JobQuery(
        organisation_id="o", states=frozenset({JobState.FAILED, JobState.RUNNING}), before=50
    ),
    "by submitter": JobQuery(organisation_id="o", submitted_by="ada"),
    "by label": JobQuery(organisation_id="o", job_id="j"),
    "by workspace": JobQuery(organisation_id="o", workspace="w"),
    "of all": JobQuery(),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_page_of_a_list_is_read_off_an_index_without_a_sort(store: SqlStore, name: str) -> None:
    for plan in plans(store, lambda: store.jobs.page(QUERIES[name])):
        assert "TEMP B-TREE" not in plan
        assert "USING INDEX" in plan or name == "of all"


def test_claims_and_recovery_are_read_off_indexes(store: SqlStore) -> None:
    acme = store.access.add_organisation("acme").organisation_id
    store.jobs.submit(new_job(acme, callback_url=HOOK))
    claiming = "\n".join(plans(store, lambda: store.work.claim(queues=["cpu", "gpu"], worker="w")))
    assert claiming.count("ix_jobs_waiting (queue=? AND organisation_id=?)") == 2
    assert "ix_jobs_by_organisation_state (organisation_id=? AND state=?)" in claiming
    assert not re.search("SCAN (jobs|others)", claiming)
    assert all("ix_jobs_by_state (state=?)" in plan for plan in plans(store, store.work.overdue))
    task_id = store.jobs.page(JobQuery()).jobs[0].task_id
    store.jobs.cancel(task_id, by="ada")
    sending = plans(store, lambda: store.callbacks.claim(worker="w"))
    assert any("ix_callbacks_pending" in plan for plan in sending)


def plans(store: SqlStore, act: Any) -> list[str]:
    """How SQLite goes about each question that ``act`` asks."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    engine = store._database.engine
    event.listen(engine, "before_cursor_execute", note)
    act()
    event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        return [
            "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given))
            for sql, given in asked
        ]


def test_sqlite_syncs_every_commit(store: SqlStore) -> None:
    with store._database.reading() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
