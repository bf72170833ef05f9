"""The client and the service, each against the other, in one process over a real port."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from autoscorer.client import Client
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.api.serving import Running, running, serve_site
from tests.worker.sites import until
from tests.worker.stub import GOOD, starts

pytestmark = pytest.mark.slow
SCORERS = Path(__file__).resolve().parents[2] / "custom_scorers"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(SCORERS, root / "scorers", ignore=shutil.ignore_patterns("__pycache__"))
    site = serve_site(root, SCORERS_DIR=str(root / "scorers"), API_MAX_BODY="1Mi", WORKER_SLOTS="2")
    with pytest.MonkeyPatch.context() as patch, running(site, patch) as started:
        yield started


@pytest.fixture
def client(service: Running) -> Iterator[Client]:
    token = service.place.beacon.token_path.read_text().strip()
    with Client(service.url, token) as client:
        yield client


def named(service: Running, program: str = "good") -> tuple[Path, str]:
    folder = service.site.workspace(program)
    return folder, folder.name


def test_a_job_from_its_submission_to_its_files(service: Running, client: Client, tmp_path: Path) -> None:
    folder, name = named(service)
    job = client.submit(name, "pipeline", backend="stub")
    heard: list[int] = []
    ended = client.wait(job.task_id, on_event=lambda event: heard.append(event.number), timeout_s=120)
    assert ended.state == "succeeded"
    assert heard == list(range(1, len(heard) + 1))
    assert [event.number for event in client.events(job.task_id)] == heard
    assert client.result(job.task_id).summary["f1_macro"] == 1.0
    artifacts = client.artifacts(job.task_id)
    assert artifacts
    for artifact in artifacts:
        target = client.download(artifact, tmp_path / artifact.name)
        assert (
            target.read_bytes() == next((folder / "output/artifacts").glob(f"{artifact.name}*")).read_bytes()
        )
    assert [one.task_id for one in client.jobs(workspace=name)] == [job.task_id]


def test_a_score_is_the_result_and_a_failure_its_error(service: Running, client: Client) -> None:
    _, name = named(service)
    # cat for dog: f1 of cat 0, of dog 2 / (2 + 1) = 2/3; macro 1/3
    assert client.score(name, timeout_s=120).summary["f1_macro"] == pytest.approx(1 / 3)
    _, name = named(service, "exit")
    with pytest.raises(AutoscorerError) as caught:
        client.run(name, backend="stub", timeout_s=120)
    assert (caught.value.code, caught.value.blame) == ("CONTAINER_EXIT_NONZERO", Blame.PARTICIPANT)


def test_a_job_is_cancelled_while_somebody_waits_and_done_again(service: Running, client: Client) -> None:
    folder, name = named(service, "wait")
    job = client.submit(name, backend="stub")
    until(lambda: starts(folder), what="it runs")
    with pytest.raises(TimeoutError):
        client.wait(job.task_id, timeout_s=0.2)
    threading.Timer(0.2, client.cancel, (job.task_id,)).start()
    assert client.wait(job.task_id, timeout_s=120).state == "cancelled"
    (folder / "release").touch()
    assert client.retry(job.task_id).is_final is False
    assert client.wait(job.task_id, timeout_s=120).state == "succeeded"


def test_a_submission_of_a_workspace_that_has_a_job_is_that_job(service: Running, client: Client) -> None:
    folder, name = named(service, "wait")
    first, second = client.submit(name, backend="stub"), client.submit(name, backend="stub")
    assert first.task_id == second.task_id
    (folder / "release").touch()
    client.wait(first.task_id, timeout_s=120)


def test_predictions_are_uploaded_upon_a_workspace_and_scored(
    service: Running, client: Client, tmp_path: Path
) -> None:
    _, base = named(service)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "pred.csv").write_text(GOOD)
    uploaded = client.upload(tmp_path, base=base)
    assert client.score(uploaded.workspace, timeout_s=120).summary["f1_macro"] == 1.0


def test_scorers_are_listed_and_loaded(service: Running, client: Client) -> None:
    assert "classification_f1" in {card["name"] for card in client.scorers()}
    client.load_scorer("test_scorer.py")
    assert "test_scorer" in {card["name"] for card in client.scorers()}
    with pytest.raises(AutoscorerError):
        client.load_scorer("../outside.py")


def test_a_new_tokens_holder_may_what_its_role_may(service: Running, client: Client) -> None:
    made = client.create_token("ada", "participant", valid_days=1)
    assert made.secret is not None
    assert made.secret not in repr(made)
    with Client(service.url, made.secret) as theirs:
        assert list(theirs.jobs()) == []
        with pytest.raises(AutoscorerError) as caught:
            theirs.tokens()
        assert caught.value.code == "FORBIDDEN"
        assert made.token_id in {one.token_id for one in client.tokens()}
        client.revoke_token(made.token_id)
        with pytest.raises(AutoscorerError) as caught:
            theirs.scorers()
        assert caught.value.code == "UNAUTHENTICATED"


def test_organisations_and_callbacks_are_seen(service: Running, client: Client) -> None:
    assert client.create_organisation("acme").name == "acme"
    assert {one.name for one in client.organisations()} >= {"acme", "default"}
    assert client.callbacks(state="dead") == []
    with pytest.raises(AutoscorerError) as caught:
        client.resend("none")
    assert caught.value.code == "NOT_FOUND"


def test_a_job_that_prints_nothing_has_no_log_and_says_so(service: Running, client: Client) -> None:
    _, name = named(service)
    job = client.submit(name, "score")
    client.wait(job.task_id, timeout_s=120)
    with pytest.raises(AutoscorerError) as caught:
        list(client.log(job.task_id))
    assert caught.value.code == "NOT_FOUND"


def test_waiting_goes_on_when_the_service_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve_site(tmp_path, WORKER_GRACE="0")
    folder = site.workspace("wait")
    found: list[str] = []
    events: list[int] = []
    with ExitStack() as held:
        with running(site, monkeypatch) as first:
            token = first.place.beacon.token_path.read_text().strip()
            port = int(first.url.rpartition(":")[2])
            client = held.enter_context(Client(first.url, token))
            job = client.submit(folder.name, backend="stub")
            until(lambda: starts(folder), what="it runs")

            def wait() -> None:
                ended = client.wait(job.task_id, on_event=lambda event: events.append(event.number))
                found.append(ended.state)

            waiting = threading.Thread(target=wait)
            waiting.start()
            until(lambda: events, what="it hears of the job")
        with running(serve_site(tmp_path), monkeypatch, port=port):
            (folder / "release").touch()
            waiting.join(120)
    assert found == ["succeeded"]
    assert events == list(range(1, len(events) + 1))
