from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from autoscorer.api.listening import HttpServer, listen, url_of
from tests.api.cases import ARTIFACT, ROLES
from tests.api.live import live
from tests.api.schemathesis_run import PHASES, Found, examine, with_values
from tests.api.sites import ApiSite, close_api_site, make_api_site
from tests.worker.sites import until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ApiSite]:
    """A service with an ended job, whose streams and waits end at once, as when it is about to stop."""
    made = make_api_site(tmp_path, RATE_LIMIT="1000000")
    yield made
    close_api_site(made)


def _examine(site: ApiSite, role: str, **how: Any) -> Found:
    site.token(role)  # before the store is asked for anything else
    job = site.job()
    site.drain()
    values = {"task_id": job.task_id, "name": ARTIFACT, "workspace": job.workspace, "base": job.workspace}
    with live(site) as served:
        site.service.stopping.set()
        headers = {"Authorization": f"Bearer {site.token(role)}"}
        document = with_values(site.app.openapi(), values)
        return examine(document, url=served.url, headers=headers, **how)


@pytest.mark.long
def test_what_openapi_says_of_every_address_is_so(site: ApiSite) -> None:
    found = _examine(site, "operator", phases=["examples", "fuzzing"], examples=2)
    assert not found.faults, found.said()
    assert found.statuses[200] > 20
    assert len(found.operations) >= sum(len(path) for path in site.app.openapi()["paths"].values())


@pytest.mark.long
@pytest.mark.parametrize("role", ROLES)
def test_what_openapi_says_of_every_address_is_so_at_length(site: ApiSite, role: str) -> None:
    found = _examine(site, role, phases=PHASES, examples=40)
    assert not found.faults, found.said()
    assert found.statuses[200] > 100


@pytest.mark.slow
@pytest.mark.parametrize("action", ["run", "score", "pipeline"])
def test_the_answer_of_a_job_that_was_waited_for_is_as_openapi_says(site: ApiSite, action: str) -> None:
    folder = site.workspace()
    (folder / "output").mkdir(exist_ok=True)
    (folder / "output" / "pred.csv").write_text((folder / "reference" / "gt.csv").read_text())
    asked = {"workspace": site.name(folder), "backend": "stub", "wait_s": 60}
    schema = schemathesis.openapi.from_dict(site.app.openapi())
    with site.working():
        answer = site.ask("POST", f"/{action}", json=asked)
    assert answer.status_code == 200, answer.text
    schema[f"/{action}"]["POST"].validate_response(answer)


class _Count(BaseModel):
    count: int


def _faulty() -> FastAPI:
    """One address that is right, and four of the faults that are looked for."""
    app = FastAPI()

    @app.get("/right", response_model=_Count)
    def right() -> Any:
        return {"count": 1}

    @app.get("/raises")
    def raises(number: int) -> Any:
        return {"all": 1 // (number % 3)}

    @app.get("/status")
    def status() -> Any:
        return JSONResponse({}, status_code=202)

    @app.get("/type")
    def of_another_type() -> Any:
        return PlainTextResponse("no JSON")

    @app.get("/shape", responses={200: {"model": _Count}})
    def shape() -> Any:
        return JSONResponse({"count": "one"})

    return app


@contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    with listen("127.0.0.1", 0) as listener:
        server = HttpServer(app, listener)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            until(lambda: server.started)
            yield url_of(listener)
        finally:
            server.refuse()
            server.drop()
            thread.join(60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_control_planted_faults_are_found() -> None:
    app = _faulty()
    with _served(app) as url:
        found = examine(app.openapi(), url=url, headers={}, phases=["fuzzing"], examples=20)
    assert found.faults.keys() == {
        ("GET /raises", "not_a_server_error"),
        ("GET /raises", "status_code_conformance"),
        ("GET /status", "status_code_conformance"),
        ("GET /type", "content_type_conformance"),
        ("GET /shape", "response_schema_conformance"),
    }
