"""Where a job runs: the operator says what is offered, participants choose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoscorer.intake import submitting
from tests.api.sites import ApiSite, close_api_site, make_api_site

WAYS = ("/submit", "/run", "/pipeline", "/api/v1/jobs")


def _asked(api: ApiSite, way: str, backend: str) -> dict[str, Any]:
    more = {"/submit": {"action": "run"}, "/api/v1/jobs": {}}.get(way, {"wait_s": 0})
    own = api.site.workspace(below=api.home / "submissions" / "ada")
    return {"workspace": api.name(own), "backend": backend, **more}


@pytest.mark.parametrize("way", WAYS)
def test_a_participant_does_not_choose_where_the_program_runs(
    api: ApiSite, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    asked = _asked(api, way, "stub")
    refused = api.ask("POST", way, json=asked, role="participant")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert refused.json()["error"]["details"]["fields"] == ["backend"]
    monkeypatch.setattr(submitting, "check_participants_request", lambda _asked: None)
    assert api.ask("POST", way, json=asked, role="participant").status_code == 202  # control
    monkeypatch.undo()
    assert api.ask("POST", way, json=_asked(api, way, "auto"), role="participant").status_code == 202


def test_only_what_the_operator_offers_can_be_named(tmp_path: Path) -> None:
    for number, (offered, names) in enumerate(
        (({}, {"auto", "docker", "k8s"}), ({"SERVICE_BACKENDS": '["local", "unknown"]'}, {"auto", "local"}))
    ):
        api = make_api_site(tmp_path / str(number), **offered)
        for name in ("auto", "docker", "k8s", "local", "unknown"):
            for role in ("organiser", "operator"):
                answer = api.ask("POST", "/submit", json=_asked(api, "/submit", name), role=role)
                assert answer.status_code == (202 if name in names else 400), (name, answer.text)
        close_api_site(api)
