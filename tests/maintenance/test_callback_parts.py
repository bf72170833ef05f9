"""What a callback says, how it is signed, and what follows from an answer: the pure parts."""

from __future__ import annotations

import dataclasses
import json
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.maintenance.callbacks.messages import message_of
from autoscorer.maintenance.callbacks.secret import callback_secrets, secrets_of
from autoscorer.maintenance.callbacks.signing import keys_of, signed_headers
from autoscorer.maintenance.callbacks.verdicts import DELAYS_S, Answer, Verdict, judge
from autoscorer.store.leases import lease_of
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Callback, Job
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import new_job
from tests.store.clocks import MovableClock

# Nearly a date, with numbers of any length.
_DATE = r"\A(Mon, )?\d+ ?Jan \d+ \d+:\d+(:\d+)? ?(GMT|[+-]\d+)?\Z"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RESULT: dict[str, Any] = {
    "summary": {"score": 0.5, "note": "password=hunter2", "名": "✓"},
    "metrics": {"f1_macro": 0.5},
    "artifacts": {"pairs": {"path": "artifacts/pairs.csv", "size": 1, "sha256": "ab" * 32}},
    "versioning": {
        "scorer": "classification_f1",
        "version": "1.0.0",
        "timestamp": "2026-01-01T00:00:00Z",
        "reference_sha256": "cafe" * 16,
        "score_digest": "beef" * 16,
    },
}


class Ended:
    """A job that ended, and the callback about it."""

    def __init__(self, *, error: AutoscorerError | None = None, cancel: bool = False) -> None:
        clock = MovableClock()
        self.store = MemoryStore(clock=clock)
        acme = self.store.access.add_organisation("acme").organisation_id
        task_id = self.store.jobs.submit(new_job(acme, callback_url="https://example.org/hook")).job.task_id
        if cancel:
            self.store.jobs.cancel(task_id, by="ada")
        else:
            claimed = self.store.work.claim(queues=["cpu"], worker="w")
            assert claimed is not None
            clock.forward(12.5)
            if error is None:
                self.store.work.succeed(lease_of(claimed), result=RESULT)
            else:
                self.store.work.fail(lease_of(claimed), error=error.to_dict())
        (self.callback,) = self.store.callbacks.list()
        job = self.store.jobs.get(task_id)
        assert job is not None
        self.job: Job = job

    def body(self, **given: Any) -> bytes:
        result = self.store.jobs.result(self.job.task_id)
        facts: dict[str, Any] = {
            "version": "9.9",
            "public_url": "https://score.example.org/",
            "may_show_truth": False,
            "secrets": ["s3cr3t-of-the-operator"],
        }
        return message_of(
            given.pop("callback", self.callback),
            self.job,
            result.body if result else None,
            self.store.jobs.attempts(self.job.task_id),
            **{**facts, **given},
        )

    def told(self, **given: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body(**given))
        return found


def test_a_success_tells_the_result_in_the_one_envelope() -> None:
    ended = Ended()
    told = ended.told()
    assert (told["ok"], told["status"], told["error"]) == (True, "success", None)
    data = told["data"]
    assert data["metrics"] == {"f1_macro": 0.5}
    assert (data["summary"]["score"], data["summary"]["名"]) == (0.5, "✓")
    assert data["scorer"] == {"name": "classification_f1", "version": "1.0.0"}
    assert (data["state"], data["job_id"], data["attempt"]) == ("succeeded", "job-1", 1)
    home = f"https://score.example.org/api/v1/jobs/{ended.job.task_id}"
    assert data["links"]["self"] == home
    assert data["links"]["result"] == f"{home}/result"
    assert data["links"]["result_json"] == f"{home}/result.json"
    assert told["meta"] == {
        "task_id": ended.job.task_id,
        "callback_id": ended.callback.callback_id,
        "timestamp": "2026-01-01T00:16:52.500Z",  # 1000 s and 12.5 s after midnight
        "execution_time": 12.5,
        "version": "9.9",
        "warnings": [],
    }


def test_a_failure_tells_code_message_stage_and_details() -> None:
    told = Ended(error=AutoscorerError("CONTAINER_EXIT_NONZERO", "Exit code 3.", {"exit_code": 3})).told()
    assert (told["ok"], told["status"]) == (False, "error")
    assert told["error"].keys() == {"code", "message", "stage", "details"}
    assert (told["error"]["code"], told["error"]["stage"]) == ("CONTAINER_EXIT_NONZERO", "execution")
    assert told["error"]["message"] == "Exit code 3."
    assert told["error"]["details"]["exit_code"] == 3
    assert told["error"]["details"]["blame"] == "participant"
    assert told["data"]["state"] == "failed"
    assert "summary" not in told["data"]
    assert "result" not in told["data"]["links"]


def test_a_cancelled_job_is_told_as_a_failure() -> None:
    told = Ended(cancel=True).told()
    assert (told["ok"], told["error"]["code"], told["data"]["state"]) == (False, "CANCELLED", "cancelled")
    assert told["meta"]["execution_time"] == 0


def test_a_callback_shows_no_truth_and_no_secret() -> None:
    body = Ended().body()
    for hidden in (b"cafe", b"beef", b"hunter2"):
        assert hidden not in body
    fault = AutoscorerError(
        "BAD_FORMAT", "gt.csv, line 2: the truth is 'cat'", {"row": "1,cat"}, cause="reference"
    )
    ended = Ended(error=fault)
    assert b"cat" not in ended.body()
    assert ended.told()["error"]["details"]["blame"] == "organiser"
    assert b"the truth is 'cat'" in ended.body(may_show_truth=True), "control: with the operator's word"
    leaky = Ended(error=AutoscorerError("EXEC_ERROR", "said s3cr3t-of-the-operator"))
    assert b"s3cr3t" not in leaky.body()
    assert b"s3cr3t" in leaky.body(secrets=[]), "control: nobody would have noticed"


def test_a_message_is_the_same_however_often_it_is_written() -> None:
    ended = Ended()
    later = dataclasses.replace(ended.callback, tries=7, last_error="HTTP 500")
    assert ended.body(callback=later) == ended.body()


def test_odd_errors_and_names_break_no_message() -> None:
    ended = Ended(error=AutoscorerError("EXEC_ERROR", "the file \ud800 is gone"))
    assert ended.told()["error"]["message"] == "the file ? is gone"
    odd: Callback = dataclasses.replace(ended.callback, error={"code": 1})
    assert ended.told(callback=odd)["error"]["code"] == "INTERNAL_ERROR"


def test_without_a_public_address_links_begin_at_the_services_root() -> None:
    ended = Ended()
    assert ended.told(public_url=None)["data"]["links"]["self"] == f"/api/v1/jobs/{ended.job.task_id}"


# The vector that the reference implementations of Standard Webhooks are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SIGNED_BODY = b'{"test": 2432232314}'


def test_the_signature_is_that_of_the_specification() -> None:
    headers = signed_headers(SIGNED["webhook-id"], SIGNED_BODY, keys_of([SECRET]), sent_at_s=1614265330)
    assert headers == SIGNED


def test_while_one_secret_replaces_another_both_sign() -> None:
    new, old = "whsec_" + "A" * 32, SECRET
    headers = signed_headers("m", b"{}", keys_of([new, old]), sent_at_s=1)
    alone = [
        signed_headers("m", b"{}", keys_of([one]), sent_at_s=1)["webhook-signature"] for one in (new, old)
    ]
    assert headers["webhook-signature"].split(" ") == alone
    assert alone[0] != alone[1]


def test_each_organisation_has_a_secret_of_its_own_made_of_the_services(tmp_path: Path) -> None:
    acme = "6f1d1e6e-6f7f-4a55-8a93-3f1c5fd7a0b1"
    # By openssl: dgst -sha256 -mac HMAC over "autoscorer callbacks of 6f1d…", keyed with that of SECRET.
    assert secrets_of(acme, [SECRET], tmp_path) == ("whsec_PEYoE8eUS+Xn23MeJ7nNiK9oY7+cpwd+yUK89I9SZro=",)
    both = secrets_of(acme, ["whsec_" + "A" * 32, SECRET], tmp_path)
    assert both[1:] == secrets_of(acme, [SECRET], tmp_path)
    made = {secrets_of(name, [], tmp_path) for name in (acme, "another", acme)}
    assert len(made | {callback_secrets([], tmp_path)}) == 3


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    gate, got = threading.Barrier(8), []

    def ask() -> None:
        gate.wait(30)
        got.append(callback_secrets([], folder))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 8
    assert len(set(got)) == 1
    assert len(keys_of(got[0])[0]) == 32
    assert [path.name for path in folder.iterdir()] == ["callback_secret"]
    assert stat.S_IMODE((folder / "callback_secret").stat().st_mode) == 0o600
    assert callback_secrets(["whsec_given"], folder) == ("whsec_given",)


def test_a_secret_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    callback_secrets([], tmp_path)
    (tmp_path / "callback_secret").chmod(0o644)
    with pytest.raises(AutoscorerError) as caught:
        callback_secrets([], tmp_path)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"
    (tmp_path / "callback_secret").unlink()
    (tmp_path / "elsewhere").write_text("whsec_AAAA")
    (tmp_path / "callback_secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        callback_secrets([], tmp_path)


def judged(answer: Answer, tries: int = 1, jitter: float = 0.0) -> Verdict:
    return judge(answer, tries=tries, now=NOW, jitter=lambda: jitter)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert judged(Answer(status=status), tries=99) == Verdict(delivered=True)


@pytest.mark.parametrize("status", [199, 300, 307, 400, 401, 404, 408, 429, 500, 503, 999])
@pytest.mark.fault("callback receiver that fails")
def test_anything_else_is_tried_again(status: int) -> None:
    verdict = judged(Answer(status=status))
    assert (verdict.delivered, verdict.retry_in_s) == (False, 5)
    assert str(status) in verdict.message


def test_who_is_gone_is_not_asked_again() -> None:
    verdict = judged(Answer(status=410))
    assert verdict.retry_in_s is None
    assert "410" in verdict.message


def test_tries_are_spread_over_about_three_days_and_then_end() -> None:
    waits = [judged(Answer(problem="refused"), tries).retry_in_s for tries in range(1, 12)]
    assert waits == [*DELAYS_S, None, None]
    assert 3 <= timedelta(seconds=sum(DELAYS_S)) / timedelta(days=1) < 3.5
    assert judged(Answer(problem="refused"), 2, jitter=1).retry_in_s == 360


@pytest.mark.parametrize(
    ("status", "retry_after", "wait_s"),
    [
        (503, "120", 120),
        (429, "120", 120),
        (503, "1", 5),  # no sooner than we would
        (503, "99999999999999999999999", 86400),  # no later than in a day
        (503, "Thu, 01 Jan 2026 12:10:00 GMT", 600),
        (503, "Thu, 01 Jan 2026 12:10:00", 600),
        (503, "Thu, 01 Jan 1970 00:00:00 GMT", 5),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        (503, "Mon, 01 Jan 2020 00:00:00 +99999999999999999999", 5),
        (503, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 5),
        (503, "-5", 5),
        (503, "²", 5),
        (503, "soon", 5),
        (503, None, 5),
        (500, "120", 5),  # only 429 and 503 may ask
    ],
)
def test_a_receiver_may_ask_for_a_later_try(status: int, retry_after: str | None, wait_s: float) -> None:
    assert judged(Answer(status=status, retry_after=retry_after)).retry_in_s == wait_s


@given(st.one_of(st.text(), st.text(alphabet="MonJa,2019: +-GMT"), st.from_regex(_DATE)))
def test_whatever_stands_in_retry_after_there_is_a_wait_between_ours_and_a_day(text: str) -> None:
    wait_s = judged(Answer(status=503, retry_after=text)).retry_in_s
    assert wait_s is not None
    assert 5 <= wait_s <= 86400
