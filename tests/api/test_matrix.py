"""Endpoint × role × whose thing it is. The rows stand in `cases`; a route without one fails here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi.routing import APIRoute

from autoscorer.api.app import routers
from autoscorer.store.records import Job
from tests.api.cases import ROLES, ROWS, Row
from tests.api.sites import ApiSite, close_api_site, make_api_site

pytestmark = pytest.mark.slow

UNKNOWN = "00000000-0000-4000-8000-000000000000"
_OWNERS = {"own": ("ada", "default"), "others": ("bob", "default"), "foreign": ("bob", "other")}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    """One site for all: every case makes things of its own. No engine is asked for what jobs would run."""
    folder = tmp_path_factory.mktemp("matrix")
    made = make_api_site(folder, RATE_LIMIT="0", DOCKER_HOST=f"unix://{folder}/none.sock")
    yield made
    close_api_site(made)


def _routes() -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for router in routers()
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def _cases() -> list[Any]:
    return [
        pytest.param(row, whose, role, id=f"{row.method} {row.path}: {role}, {whose}")
        for row in ROWS
        for whose in _OWNERS
        for role in ROLES
        if role in getattr(row, whose)
    ]


def _job_of(api: ApiSite, row: Row, subject: str, organisation: str) -> Job:
    """A job on a workspace that its subject may run, whatever the role."""
    home = api.service.homes.home(api.organisation(organisation))
    folder = api.site.workspace(below=home / "submissions" / subject)
    return api.job(folder, subject=subject, organisation=organisation, **row.job)


def _request(api: ApiSite, row: Row, job: Job, *, role: str, named: Mapping[str, str] | None = None) -> Any:
    return api.ask(row.method, _path(row, named or row.named(api, job)), role=role, **row.ask(api, job))


def _path(row: Row, named: Mapping[str, str]) -> str:
    path = row.path
    for placeholder, name in named.items():
        path = path.replace(placeholder, name)
    return path


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert _routes() == {(row.method, row.path) for row in ROWS}


@pytest.mark.parametrize(("row", "whose", "role"), _cases())
def test_each_role_is_answered_as_the_table_says(api: ApiSite, row: Row, whose: str, role: str) -> None:
    job = _job_of(api, row, *_OWNERS[whose])
    if row.prepare is not None:
        row.prepare(api, job)
    answer = _request(api, row, job, role=role)
    assert answer.status_code == getattr(row, whose)[role], answer.text
    body = answer.json() if "json" in answer.headers["content-type"] and answer.content else None
    if body is not None and not row.path.endswith(".json"):
        assert body.keys() == {"ok", "status", "data", "error", "meta"}
        assert body["ok"] is (answer.status_code < 400)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.foreign], ids=lambda row: f"{row.method} {row.path}"
)
def test_a_thing_of_another_organisation_is_answered_like_one_that_is_not_there(
    api: ApiSite, row: Row
) -> None:
    job = _job_of(api, row, *_OWNERS["foreign"])
    if row.prepare is not None:
        row.prepare(api, job)
    named = row.named(api, job)
    there = _request(api, row, job, role="organiser", named=named)
    missing = _with(job, task_id=UNKNOWN, workspace=job.workspace[:-2] + "zz")
    not_named = row.named(api, missing)
    not_there = _request(api, row, missing, role="organiser", named=not_named)
    assert _neutral(there, job, named) == _neutral(not_there, missing, not_named)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_without_a_valid_token_nothing_but_the_probes_is_answered(api: ApiSite, row: Row) -> None:
    path = row.path.replace("{task_id}", UNKNOWN)
    for headers in ({}, {"Authorization": "Bearer as_" + "x" * 43}, {"Authorization": "Basic YTpi"}):
        answer = api.client.request(row.method, path, headers=headers, content=b"{not json")
        assert answer.status_code == (200 if row.is_open else 401)
        assert row.is_open or answer.headers["www-authenticate"] == "Bearer"


def _with(job: Job, **fields: Any) -> Job:
    return dataclasses.replace(job, **fields)


def _neutral(answer: Any, job: Job, named: Mapping[str, str]) -> tuple[int, Any, Any]:
    """All of an answer but its times, its id, and the name that the request itself gave."""
    text = answer.text.replace(job.workspace, "WORKSPACE") or '{"meta": {}}'
    for name in named.values():
        text = text.replace(name, "ID")
    body = json.loads(text)
    for key in ("timestamp", "execution_time", "request_id"):
        body["meta"].pop(key, None)
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name.lower() not in ("x-request-id", "content-length", "date")
    }
    return answer.status_code, body, headers
