"""Ten secrets in configuration, environment and tokens; after jobs, faults and odd requests: nowhere."""

from __future__ import annotations

import base64
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from autoscorer.access.tokens import make_token
from autoscorer.store.records import Role
from autoscorer.store.transitions import STATES
from tests.chaos.stack import stack
from tests.chaos.work import KINDS, Kind, make_task
from tests.maintenance.receivers import receiving
from tests.store.postgres import Server
from tests.worker.counts import Counts
from tests.worker.sites import organisation, until

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.postgres, pytest.mark.sandbox]
WORD = "Xq7planted"
SPYING = "cat /proc/*/environ /proc/self/mountinfo > output/spied 2>&1; env | tee -a output/spied"
SPIES = (
    Kind(script=f"{SPYING}; cp input/answer.csv output/pred.csv"),
    Kind(script=f"{SPYING}; cat output/spied >&2; exit 3"),
    Kind(script=f"{SPYING}; cp output/spied output/pred.csv"),
)


def planted(database: Server) -> dict[str, str]:
    """Settings and variables, each with a secret of its own; a token is the tenth."""
    key = base64.b64encode(f"{WORD}-callbacks-of-the-service".encode()).decode()
    registry = {"registry.example": {"username": "u", "password": f"{WORD}-registry"}}
    return {
        "DATABASE_URL": database.url().replace("postgres@", f"postgres:{WORD}-database@"),
        "CELERY_BACKEND": f"redis://:{WORD}-backend@127.0.0.1:1/0",
        "METRICS_TOKEN": f"{WORD}-metrics-0123456789abcdef0123456789",
        "CALLBACK_SECRET": f"whsec_{key}",
        "SERVICE_TOKEN": f"{WORD}-service-token",
        "K8S_TOKEN": f"{WORD}-kubernetes",
        "REGISTRY_AUTH": json.dumps(registry),
        "AWS_SECRET_ACCESS_KEY": f"{WORD}-of-the-store",
        "MY_PASSWORD": f"{WORD}-of-somebody",
    }


def test_ten_secrets_are_found_nowhere_afterwards(tmp_path: Path, database: Server, counts: Counts) -> None:
    counts.fault = "ten secrets planted in configuration, environment and tokens"
    secrets = planted(database)
    with (
        receiving() as receiver,
        stack(tmp_path, database, None, workers=1, CALLBACK_ALLOWED_HOSTS="127.0.0.1", **secrets) as made,
    ):
        api, store, root = made.api, made.store, made.site.root / "workspaces"
        token = make_token(
            organisation_id=organisation(store), subject="ada", role=Role.ORGANISER, now=store.now().at
        )
        store.access.add_token(token.stored)
        needles = [WORD.encode(), secrets["CALLBACK_SECRET"].removeprefix("whsec_").encode()]
        needles.append(token.secret.encode())
        counts.faults = len(secrets) + 1
        mine = {"Authorization": f"Bearer {token.secret}"}
        answers: list[bytes] = []

        def ask(method: str, path: str, headers: dict[str, str] = mine, **given: object) -> httpx.Response:
            with httpx.Client(trust_env=False, timeout=60) as client:
                answer = client.request(method, api.url + path, headers=headers, **given)  # type: ignore[arg-type]
            answers.append(answer.content + repr(answer.headers).encode())
            return answer

        tasks = [make_task(made.site, kind, backend="local", sleep_s=0) for kind in (*SPIES, *KINDS[:3])]
        jobs = []
        for task in tasks:
            asked = {**task.asked(root), "callback_url": receiver.url}
            jobs.append(ask("POST", "/api/v1/jobs", json=asked).json()["data"]["task_id"])
        kept = len(answers)
        ask("GET", f"/api/v1/jobs/{token.secret}")
        ask("GET", f"/api/v1/jobs?workspace={token.secret}")
        ask("POST", "/api/v1/jobs", json={"workspace": token.secret, token.secret: secrets["METRICS_TOKEN"]})
        del answers[kept:]  # they may say back what they were asked; logs and files may not
        ask("GET", "/api/v1/jobs", {"Authorization": f"Bearer {WORD}-wrong"})
        ask("GET", "/metrics", {"Authorization": f"Bearer {secrets['METRICS_TOKEN']}"})
        ask("GET", "/openapi.json")
        database.restart()

        def all_ended() -> bool:
            found = [store.jobs.get(task_id) for task_id in jobs]
            return all(job is not None and STATES[job.state].final for job in found)

        until(all_ended, within_s=180, what="the jobs end")
        until(lambda: len({one.headers["webhook-id"] for one in receiver.arrived}) == len(jobs), within_s=90)
        for task_id in jobs:
            ask("GET", f"/api/v1/jobs/{task_id}")
        counts.jobs = len(jobs)
        api.end(signal.SIGTERM)
        for worker in made.workers:
            worker.signal(signal.SIGTERM)
            worker.join(120)
        told = b"".join(one.body + repr(one.headers).encode() for one in receiver.arrived)
    echoed = [needle for needle in needles for answer in answers if needle in answer]
    found = [*found_below(tmp_path, needles), *found_below(database.folder, needles)]
    found += [str(needle) for needle in needles if needle in told]
    counts.orphans = len(found) + len(echoed)
    assert (found, echoed) == ([], [])
    (tmp_path / "control").write_bytes(os.urandom(10) + needles[0])
    assert found_below(tmp_path, needles) == [str(tmp_path / "control")], "control: it would be found"
    counts.controls = 1


def found_below(root: Path, needles: list[bytes]) -> list[str]:
    """Files that hold a secret: workspaces, logs, data, what the processes printed, Redis' own."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(needle in path.read_bytes() for needle in needles)]
