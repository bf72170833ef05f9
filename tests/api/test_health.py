from __future__ import annotations

from pathlib import Path

from autoscorer.utils.errors import AutoscorerError
from tests.api.sites import ApiSite, close_api_site, make_api_site


def test_a_living_process_says_so_without_a_token_at_any_address(api: ApiSite) -> None:
    answer = api.client.get("/healthz", headers={"Host": "10.1.2.3:8000"})
    assert answer.status_code == 200
    assert answer.json()["ok"] is True
    assert answer.json()["data"] == {"alive": True}


def test_a_service_whose_parts_answer_is_ready(api: ApiSite) -> None:
    assert api.client.get("/readyz").json()["data"] == {"ready": True}


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    api = make_api_site(tmp_path, MIN_FREE_DISK="63Ti")
    answer = api.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "RESOURCE_UNAVAILABLE"
    assert answer.json()["data"]["failing"].keys() == {"disk"}
    close_api_site(api)


def test_a_store_that_does_not_answer_is_named(api: ApiSite) -> None:
    def silent() -> None:
        raise AutoscorerError("STORE_UNAVAILABLE", "The database did not answer as it should.")

    api.store.check = silent  # type: ignore[method-assign]
    answer = api.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "STORE_UNAVAILABLE"
    assert answer.json()["error"]["details"]["failing"] == ["store"]
