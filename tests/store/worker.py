"""A worker as a process of its own, to be raced, killed, stopped: `python -m tests.store.worker URL DEED`."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import event

from autoscorer.store.clock import Instant
from autoscorer.store.leases import lease_of, recover
from autoscorer.store.moves import LeaseLostError
from autoscorer.store.sql import database
from autoscorer.store.sql_store import SqlStore
from tests.contracts.store_cases import ENGINE_GONE, SCORE, new_job

SHORT_LEASE_S = 0.5


def drain(store: SqlStore) -> None:
    """Take and finish jobs until none is left."""
    while (job := store.work.claim(queues=["cpu"], worker=_name())) is not None:
        store.work.succeed(lease_of(job), result=SCORE)
        say(job.task_id)


def hold(store: SqlStore) -> None:
    """Take a job under a short lease, keep it; publish when told to."""
    job = store.work.claim(queues=["cpu"], worker=_name(), lease_s=SHORT_LEASE_S)
    assert job is not None
    say(job.task_id)
    sys.stdin.readline()
    try:
        say(store.work.succeed(lease_of(job), result=SCORE).state)
    except LeaseLostError:
        say("refused")


def churn(store: SqlStore) -> None:
    """Everything at random, as fast as it goes, until somebody kills it."""
    organisation = store.access.organisations()[0].organisation_id
    while True:
        kind = random.randrange(6)
        job = store.work.claim(queues=["cpu"], worker=_name(), lease_s=SHORT_LEASE_S) if kind > 1 else None
        if job is None:
            store.jobs.submit(new_job(organisation, job_id=uuid4().hex, workspace=uuid4().hex))
        elif kind == 2:
            store.work.give_back(lease_of(job), error=ENGINE_GONE)
        elif kind == 3:
            store.jobs.cancel(job.task_id, by="ada")
        elif kind == 4:
            store.work.note(lease_of(job), event="x", facts={})
            store.work.succeed(lease_of(job), result=SCORE)
        recover(store.work)
        say("round")


def recover_now(store: SqlStore) -> None:
    """Recover whatever this process thinks is overdue, and say how much and what year it believes in."""
    say(f"{len(recover(store.work))} {datetime.now(UTC).year}")


def die_everywhere(store: SqlStore) -> None:
    """Work on jobs, killed after the first statement, after the second, … until one is finished."""
    statements = 0
    while _status_of_one_killed_after(statements := statements + 1) != 0:
        pass
    say(str(statements))


def _status_of_one_killed_after(statements: int) -> int:
    if (pid := os.fork()) == 0:
        store, seen = _open(), itertools.count(1)

        def kill_myself(*_execution: object) -> None:
            if next(seen) == statements:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(store._database.engine, "after_cursor_execute", kill_myself)
        job = store.work.claim(queues=["cpu"], worker=_name(), lease_s=SHORT_LEASE_S)
        assert job is not None
        store.work.note(lease_of(job), event="x", facts={})
        store.work.succeed(lease_of(job), result=SCORE)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def stop_in_claim(store: SqlStore) -> None:
    """Stand still in the middle of a claim."""
    with store._database.alone("claim"):
        os.kill(os.getpid(), signal.SIGSTOP)


def stop_in_a_statement(store: SqlStore) -> None:
    """Stand still with a job locked and the next statement half told."""
    with store._database.writing() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        with raw.pipeline():
            raw.execute("SELECT FROM jobs FOR UPDATE")
            raw.execute("SELECT 1").fetchone()  # so the server has got that far
            os.kill(os.getpid(), signal.SIGSTOP)


def own_clock() -> Instant:
    """What a store must not go by: the clock of one process."""
    return Instant(at=datetime.now(UTC), era="wall", elapsed_s=time.time())


DEEDS: Mapping[str, Callable[[SqlStore], None]] = {
    deed.__name__: deed
    for deed in (drain, hold, churn, recover_now, die_everywhere, stop_in_claim, stop_in_a_statement)
}


def say(text: str) -> None:
    print(text, flush=True)


def _name() -> str:
    return f"worker-{os.getpid()}"


@contextmanager
def worker(
    url: str, deed: str, *options: str, prefix: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Such a process, gone at the end."""
    command = [*prefix, sys.executable, "-m", "tests.store.worker", url, deed, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _open() -> SqlStore:
    """The store as the command line asks for it, with some guard off perhaps."""
    options = sys.argv[3:]
    database._SERVER_OPTIONS = next(
        (one for one in options if one.startswith("-c ")), database._SERVER_OPTIONS
    )
    store = SqlStore(sys.argv[1], clock=own_clock if "own-clock" in options else None)
    if "no-transactions" in options:
        kept = store._database
        if kept.is_server:
            kept.engine = kept.engine.execution_options(isolation_level="AUTOCOMMIT")
        else:
            vars(database)["_begin"] = lambda *_connection, **_how: None
    return store


if __name__ == "__main__":
    DEEDS[sys.argv[2]](_open())
