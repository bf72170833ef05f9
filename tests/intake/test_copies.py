"""How many copies a specification may cost, and what comes along with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from autoscorer.intake import copies as copies_module
from autoscorer.intake import submitting
from tests.api.sites import ApiSite, close_api_site, make_api_site
from tests.intake.test_bounds import JOBS, UPLOADS, packed

PARTICIPANT: dict[str, Any] = {"role": "participant"}


def _made(api: ApiSite, subject: str = "ada") -> list[Path]:
    return [path for path in (api.home / "submissions" / subject).glob("*") if path.is_dir()]


def test_a_request_that_is_sent_again_copies_nothing_and_needs_no_base(
    api: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = api.workspace()
    asked: dict[str, Any] = {"workspace": api.name(base), "spec": {}}
    copies: list[Path] = []
    make = copies_module.make_workspace

    def counted(below: Path, spec: Any, **more: Any) -> Path:
        copies.append(below)
        return make(below, spec, **more)

    monkeypatch.setattr(submitting, "make_workspace", counted)
    for role in ("participant", "operator"):
        copies.clear()
        answers = [
            api.ask("POST", JOBS, json=asked, headers={"Idempotency-Key": "k"}, role=role, subject=role)
            for _ in range(5)
        ]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["data"]["task_id"] for answer in answers}) == 1
        assert (len(copies), len(_made(api, role))) == (1, 1)
    shutil.rmtree(base)
    again = api.ask(
        "POST", JOBS, json=asked, headers={"Idempotency-Key": "k"}, subject="participant", **PARTICIPANT
    )
    assert again.status_code == 202
    other = {**asked, "spec": {"job_id": "other"}}
    refused = api.ask(
        "POST", JOBS, json=other, headers={"Idempotency-Key": "k"}, subject="participant", **PARTICIPANT
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
    # control: without a key each request is one of its own, and needs its base
    assert api.ask("POST", JOBS, json=asked, subject="participant", **PARTICIPANT).status_code == 404


def test_anothers_key_is_no_key_of_ones_own(api: ApiSite) -> None:
    asked = {"workspace": api.name(api.workspace()), "spec": {}}
    ids = {
        api.ask(
            "POST", JOBS, json=asked, headers={"Idempotency-Key": "k"}, subject=subject, **PARTICIPANT
        ).json()["data"]["task_id"]
        for subject in ("ada", "bob")
    }
    assert len(ids) == 2


def test_a_copy_that_leaves_too_little_room_is_not_begun(tmp_path: Path) -> None:
    for number, (free, status) in enumerate((("63Ti", 503), ("0", 202))):
        api = make_api_site(tmp_path / str(number), MIN_FREE_DISK=free)
        asked = {"workspace": api.name(api.workspace()), "spec": {}}
        answer = api.ask("POST", JOBS, json=asked, **PARTICIPANT)
        assert answer.status_code == status
        if status == 503:
            assert answer.json()["error"]["details"]["setting"] == "MIN_FREE_DISK"
            assert _made(api) == []
        close_api_site(api)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["spec", "upload"])
def test_one_person_has_a_bounded_number_of_open_submissions(tmp_path: Path, way: str) -> None:
    for number, (most, refused_at) in enumerate((("2", 2), ("0", None))):
        api = make_api_site(tmp_path / str(number), MAX_OPEN_SUBMISSIONS=most)
        base = api.name(api.workspace())

        def ask(subject: str, *, api: ApiSite = api, base: str = base) -> Any:
            if way == "spec":
                return api.ask(
                    "POST",
                    JOBS,
                    json={"workspace": base, "spec": {}, "action": "score"},
                    subject=subject,
                    **PARTICIPANT,
                )
            sent = packed({"output/pred.csv": "id,label\n"})
            return api.ask(
                "POST", UPLOADS, params={"base": base}, content=sent, subject=subject, **PARTICIPANT
            )

        answers = [ask("ada") for _ in range(4)]
        codes = [answer.status_code for answer in answers]
        assert all(code < 300 for code in codes[:refused_at])
        assert all(code == 422 for code in codes[2:]) is (refused_at is not None)  # control: 0 is no bound
        if refused_at is not None:
            error = answers[-1].json()["error"]
            assert (error["code"], error["details"]["setting"]) == ("LIMIT_EXCEEDED", "MAX_OPEN_SUBMISSIONS")
            assert len(_made(api)) == 2
            assert ask("bob").status_code < 300
            if way == "spec":
                task_id = answers[0].json()["data"]["task_id"]
                assert api.ask("POST", f"{JOBS}/{task_id}/cancel", **PARTICIPANT).status_code == 200
            else:  # scored by the organiser: that counts, too
                asked = {"workspace": answers[0].json()["data"]["workspace"], "action": "score"}
                job = api.ask("POST", JOBS, json=asked, subject="olga").json()["data"]
                assert ask("ada").status_code == 422
                api.ask("POST", f"{JOBS}/{job['task_id']}/cancel", subject="olga")
            assert ask("ada").status_code < 300
            assert ask("ada").status_code == 422
        close_api_site(api)


def test_what_was_delivered_comes_along_with_ones_own_submission(api: ApiSite) -> None:
    base = api.name(api.workspace())
    sent = packed({"output/pred.csv": "id,label\n1,cat\n", "output/deep/x": "x", "image.tar": "image"})
    uploaded = api.ask("POST", UPLOADS, params={"base": base}, content=sent, **PARTICIPANT).json()["data"]
    own = api.home / uploaded["workspace"]
    (own / "output" / "result.json").write_text("{}")
    (own / "output" / "door").symlink_to(own / "reference" / "gt.csv")
    asked = {"workspace": uploaded["workspace"], "spec": {}, "action": "score"}
    view = api.ask("POST", JOBS, json=asked, **PARTICIPANT).json()["data"]
    made = api.home / view["workspace"]
    assert made != own
    for name in ("output/pred.csv", "output/deep/x", "image.tar"):
        assert (made / name).read_bytes() == (own / name).read_bytes()
        assert (made / name).stat().st_ino != (own / name).stat().st_ino
    assert sorted(path.name for path in (made / "output").iterdir()) == ["deep", "pred.csv"]


def test_an_organisers_output_does_not_come_along(api: ApiSite) -> None:
    view = api.ask("POST", JOBS, json={"workspace": api.name(api.workspace()), "spec": {}}, **PARTICIPANT)
    assert not list((api.home / view.json()["data"]["workspace"] / "output").iterdir())


@pytest.mark.parametrize("meta", ['{"job_id": 1, "wrong": 2}', "{", None])
def test_an_uploaded_workspace_with_a_faulty_specification_is_refused_with_its_faults(
    api: ApiSite, meta: str | None
) -> None:
    files = {"input/x": "", "reference/gt.csv": "id,label\n1,a\n"}
    refused = api.ask("POST", UPLOADS, content=packed(files | ({"meta.json": meta} if meta else {})))
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "CONFIG_VALIDATION_ERROR")
    assert refused.json()["error"]["details"]["faults"]
    assert str(api.home) not in refused.text
    assert list((api.home / "workspaces").iterdir()) == []
    good = (api.workspace() / "meta.json").read_text()
    assert api.ask("POST", UPLOADS, content=packed({**files, "meta.json": good})).status_code == 201


def test_a_workspace_is_found_by_the_root_as_it_is_configured(tmp_path: Path) -> None:
    real = tmp_path / "disk"
    real.mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "workspaces").symlink_to(real)
    api = make_api_site(tmp_path / "site")
    folder = api.site.workspace(below=real)
    for name in (api.home / folder.name, folder):
        answer = api.ask("POST", "/submit", json={"workspace": str(name), "action": "score"})
        assert answer.status_code in (200, 202), answer.text
        assert api.ask("GET", "/logs", params={"workspace": str(name)}).status_code != 422
    for name in (api.home / "..", api.home, tmp_path / "site"):
        asked = {"workspace": str(name), "action": "score"}
        assert api.ask("POST", "/submit", json=asked).status_code == 404
    close_api_site(api)
