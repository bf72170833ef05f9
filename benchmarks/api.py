"""What the API costs: submissions by many clients at once, and reading where there are many jobs."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from autoscorer.access.first import operator_token
from autoscorer.store.records import Action, NewJob
from autoscorer.store.sql_store import open_file
from benchmarks.harness import Comparison, Row, Run

CLIENTS = 64
SUBMISSIONS = int(os.environ.get("BENCH_SUBMISSIONS", "384"))  # in each half of a pair
PAIRS = 4
READS = 40
MANY, FEW = int(os.environ.get("BENCH_JOBS", "100000")), 100
_SPEC = {
    "job_id": "j",
    "task_type": "classification",
    "scorer": "classification_f1",
    "container": {"image": "none", "cmd": ["true"]},
}


@dataclass
class Asked:
    """An application that answers, and how it is asked."""

    root: Path
    port: int
    pid: int
    token: str
    task_id: str = ""
    made: int = 0

    def cpu_s(self) -> float:
        """Seconds of processor time it has taken so far, of user and system."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Burst:
    """How `SUBMISSIONS` of `CLIENTS` clients went, a request each in seconds."""

    mean_s: float
    p99_s: float
    cpu_s: float


def rows() -> Iterator[Row]:
    """The stores are SQLite files on the disk of the temporary folder, synced at each commit."""
    yield from submission_rows()
    yield from reading_rows()


def submission_rows() -> Iterator[Row]:
    with asked("ours") as ours, asked("bare") as bare:
        pairs = [(burst(ours), burst(bare)) for _ in range(PAIRS + 1)][1:]
    against = "the same two inserts in a bare FastAPI + SQLAlchemy application"
    our_ms, other_ms = (1e3 * sum(pair[side].cpu_s for pair in pairs) / PAIRS for side in (0, 1))
    note = (
        f"processor time {our_ms:.1f} ms a request against {other_ms:.1f}; "
        f"load of the machine {os.getloadavg()[0]:.1f}"
    )
    yield Row(
        work=f"POST /submit under {CLIENTS} clients: seconds a request, all together",
        against=against,
        comparison=compared([(our.mean_s, other.mean_s) for our, other in pairs]),
        aim=1 / 0.7,
        note=note,
    )
    yield Row(
        work=f"POST /submit under {CLIENTS} clients: the 99th of 100 answers",
        against=against,
        comparison=compared([(our.p99_s, other.p99_s) for our, other in pairs]),
        aim=1.5,
    )


def reading_rows() -> Iterator[Row]:
    with asked("ours", jobs=MANY) as many, asked("ours", jobs=FEW) as few:
        for work, path in (("the list of 50 jobs", "/api/v1/jobs"), ("a task's state", "/tasks/{task_id}")):
            pairs = [(reads(many, path), reads(few, path)) for _ in range(PAIRS + 1)][1:]
            yield Row(
                work=f"{work} over HTTP where there are {MANY:,} jobs, mean of {READS}",
                against=f"where there are {FEW}",
                comparison=compared(pairs),
                aim=1.5,
            )


def compared(pairs: list[tuple[float, float]]) -> Comparison:
    return Comparison(tuple(Run(pair[0], 0) for pair in pairs), tuple(Run(pair[1], 0) for pair in pairs))


def reads(app: Asked, path: str) -> float:
    """The mean of `READS` requests, one after another on one connection."""
    with closing(http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)) as connection:
        began = time.perf_counter()
        for _ in range(READS):
            connection.request(
                "GET", path.format(task_id=app.task_id), headers={"Authorization": f"Bearer {app.token}"}
            )
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path} was answered with {answer.status}")
        return (time.perf_counter() - began) / READS


def burst(app: Asked) -> Burst:
    names = [f"w{app.made + number}" for number in range(SUBMISSIONS)]
    app.made += SUBMISSIONS
    for name in names:
        make_workspace(app.root / "workspaces" / name)
    cpu_s, began = app.cpu_s(), time.perf_counter()
    answered_s = sorted(asyncio.run(submitted(app, names)))
    seconds = time.perf_counter() - began
    p99_s = answered_s[int(len(answered_s) * 0.99)]
    return Burst(seconds / SUBMISSIONS, p99_s, (app.cpu_s() - cpu_s) / SUBMISSIONS)


async def submitted(app: Asked, names: list[str]) -> list[float]:
    """How long each answer took."""
    left, answered_s = iter(names), list[float]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        for name in left:
            began = time.perf_counter()
            writer.write(request(app, name))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 202 " not in head.splitlines()[0]:
                raise RuntimeError(f"a submission was answered with {head.splitlines()[0]!r}")
            await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
            answered_s.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answered_s


def request(app: Asked, name: str) -> bytes:
    body = json.dumps({"workspace": name, "action": "pipeline"})
    head = (
        f"POST /submit HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\nAuthorization: Bearer {app.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode("ascii")


@contextmanager
def asked(kind: str, *, jobs: int = 0) -> Iterator[Asked]:
    """An application of `benchmarks.api_apps` over a store of its own that has so many jobs."""
    with tempfile.TemporaryDirectory(prefix="autoscorer-bench-") as folder, ExitStack() as stack:
        root = Path(folder)
        (root / "data").mkdir()
        (root / "workspaces").mkdir()
        token, task_id = made_store(root, jobs)
        command = [sys.executable, "-m", "benchmarks.api_apps", kind, folder]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(process.terminate)
        port = int(process.stdout.readline() if process.stdout else 0)
        yield Asked(root, port, process.pid, token, task_id)


def made_store(root: Path, jobs: int) -> tuple[str, str]:
    """An operator's token, and the latest job's id."""
    path = root / "data" / "jobs.db"
    store = open_file(path)
    token = operator_token(store, root / "operator.token")
    (home,) = store.access.organisations()
    first = None
    if jobs:
        new = NewJob(
            organisation_id=home.organisation_id,
            job_id="first",
            action=Action.SCORE,
            workspace="first",
            spec=_SPEC,
            submitted_by="bench",
        )
        first = store.jobs.submit(new).job.task_id
    store.close()
    if first is None:
        return token, ""
    with closing(sqlite3.connect(path)) as database, database:
        multiply(database, jobs)
    return token, first


def multiply(database: sqlite3.Connection, jobs: int) -> None:
    """So many jobs after the likeness of the one that is there, each with its event."""
    fresh = {"task_id", "job_id", "workspace"}
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(jobs)") if name != "seq"]
    values = ", ".join(f"'copy-' || number AS {name}" if name in fresh else name for name in columns)
    numbers = (
        f"WITH RECURSIVE n(number) AS (VALUES (2) UNION ALL SELECT number + 1 FROM n WHERE number < {jobs})"
    )
    database.execute(f"INSERT INTO jobs ({', '.join(columns)}) {numbers} SELECT {values} FROM jobs, n")
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(events)")]
    values = ", ".join(
        "'copy-' || n.number AS task_id" if name == "task_id" else f"events.{name}" for name in columns
    )
    database.execute(f"INSERT INTO events ({', '.join(columns)}) {numbers} SELECT {values} FROM events, n")


def make_workspace(folder: Path) -> None:
    for name in ("input", "reference", "output"):
        (folder / name).mkdir(parents=True)
    (folder / "reference" / "gt.csv").write_text("id,label\n1,cat\n", encoding="utf-8")
    (folder / "meta.json").write_text(json.dumps({**_SPEC, "job_id": folder.name}), encoding="utf-8")
