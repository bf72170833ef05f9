"""The commands that talk to the service: what they ask, what they show, how they end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.api.beacon import Beacon, lit
from autoscorer.commands._frame import Frame
from autoscorer.commands._service import workspace_name
from tests.cli import Called, call, command, environment
from tests.client.stub import DONE, JOB, Reply, Stub, events, ok, raw, refused, serving
from tests.commands.test_commands import on_a_terminal_with, run_on_a_terminal_and
from tests.worker.sites import until

pytestmark = pytest.mark.slow

TOKEN = "as_" + "hush" * 10 + "abc"
ONE, STREAM = "GET /api/v1/jobs/t1", "GET /api/v1/jobs/t1/events"
RESULT = {
    "result": {
        "summary": {"score": 0.75, "f1": 0.75},
        "metrics": {"f1": 0.75},
        "versioning": {"scorer": "s", "version": "1", "timestamp": "t"},
    }
}


def failed(code: str, blame: str, **details: str) -> Reply:
    error = {"ok": False, "code": code, "stage": "execution", "message": "so it was"}
    return ok({**DONE, "state": "failed", "error": {**error, "details": {"blame": blame, **details}}})


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def env(stub: Stub, home: Path) -> dict[str, str]:
    return {"SERVICE_URL": stub.url, "SERVICE_TOKEN": TOKEN, "HOME": str(home)}


def test_status_shows_a_job_as_it_stands(stub: Stub, env: dict[str, str]) -> None:
    stub.on(ONE, ok({**JOB, "ahead": 3}))
    called = call("status", "t1", env=env)
    assert (called.exit_code, called.answer["data"]["job"]["ahead"]) == (0, 3)
    assert called.answer["data"]["task_id"] == "t1"
    exit_code, screen = on_a_terminal_with(env, "status", "t1")
    assert exit_code == 0
    for shown in ("3 ahead in the queue", "Waiting.", "等待。", "autoscorer cancel t1"):
        assert shown in screen


@pytest.mark.parametrize(
    ("started_at", "shown"),
    [
        ("2026-01-01T00:01:02.500Z", "62.5 s in the queue"),
        ("soon", "unknown"),
        ("2026-01-01T00:00:00", "unknown"),
    ],
)
def test_status_shows_how_long_a_job_was_in_the_queue(
    stub: Stub, env: dict[str, str], started_at: str, shown: str
) -> None:
    stub.on(ONE, ok({**JOB, "state": "running", "stage": "wait_for_node", "started_at": started_at}))
    _, screen = on_a_terminal_with(env, "status", "t1")
    assert shown in screen
    assert "wait_for_node" in screen


@pytest.mark.parametrize(
    ("job", "shown", "absent"),
    [
        # Its first attempt found no node; 60 s later it may go again. It does not run, nor has it since.
        (
            {"state": "queued", "attempt": 1, "seconds": 40.0},
            ["2.5 s in the queue before attempt 1, and waits again", "to be tried again, attempt 2 of 3"],
            "40 s",
        ),
        ({"state": "released", "attempt": 2}, ["to be tried again, attempt 3 of 3"], "in the queue"),
        # Between its making and this start lie an attempt and somebody's retry, not a queue alone
        (
            {"state": "running", "attempt": 4, "attempts_allowed": 6, "seconds": 40.0},
            ["2.5 s from made to started", "40 s", "attempt 4 of 6"],
            "in the queue",
        ),
        ({"state": "running", "attempt": 1, "seconds": 40.0}, ["2.5 s in the queue", "40 s"], "again"),
    ],
)
def test_status_of_a_job_that_was_tried_before_says_what_it_waits_for(
    stub: Stub, env: dict[str, str], job: dict[str, object], shown: list[str], absent: str
) -> None:
    stub.on(ONE, ok({**JOB, "started_at": "2026-01-01T00:00:02.500Z", **job}))
    _, screen = on_a_terminal_with(env, "status", "t1")
    for text in shown:
        assert text in screen
    assert absent not in screen


def test_the_status_of_a_failed_job_is_no_failure_of_the_command(stub: Stub, env: dict[str, str]) -> None:
    stub.on(ONE, failed("TIME_LIMIT", "participant"))
    assert call("status", "t1", env=env).exit_code == 0


@pytest.mark.parametrize(
    ("end", "exit_code", "code"),
    [
        (ok(DONE), 0, None),
        (failed("TIME_LIMIT", "participant"), 1, "TIME_LIMIT"),
        (failed("PARSE_ERROR", "organiser", cause="reference"), 1, "PARSE_ERROR"),
        (failed("ATTEMPTS_EXHAUSTED", "platform"), 3, "ATTEMPTS_EXHAUSTED"),
        (ok({**DONE, "state": "cancelled"}), 1, "CANCELLED"),
        (refused("NOT_FOUND", 404), 1, "NOT_FOUND"),
    ],
)
def test_wait_ends_with_the_jobs_own_exit_code(
    end: Reply, exit_code: int, code: str | None, stub: Stub, env: dict[str, str]
) -> None:
    stub.on(STREAM, events())
    stub.on(ONE, end)
    stub.on(f"{ONE}/result", ok(RESULT))
    called = call("wait", "t1", env=env)
    assert (called.exit_code, called.stderr) == (exit_code, "")
    assert called.answer["ok"] is (code is None)
    if code is None:
        assert called.answer["data"]["result"]["summary"]["score"] == 0.75
    else:
        assert called.error["code"] == code


def test_wait_shows_on_a_terminal_where_the_job_is_and_then_its_score(
    stub: Stub, env: dict[str, str]
) -> None:
    running = {**JOB, "state": "running", "stage": "execute", "seconds": 12.0, "attempt": 2}
    stub.on(STREAM, events())
    stub.on(ONE, ok(running))
    stub.on(f"{ONE}/result", ok(RESULT))
    exit_code, screen = run_on_a_terminal_and(
        command("wait", "t1"), env, shown="attempt 2 of 3", then=lambda _process: stub.on(ONE, ok(DONE))
    )
    assert exit_code == 0
    assert "running · execute · 12 s · attempt 2 of 3" in screen
    assert "0.75" in screen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_wait_ends_the_watching_and_says_how_to_end_the_job(
    number: int, stub: Stub, env: dict[str, str]
) -> None:
    stub.on(STREAM, events(": alive\n", hang=True))
    process = subprocess.Popen(
        command("wait", "t1"), stdout=subprocess.PIPE, text=True, env=environment(**env)
    )
    until(lambda: stub.requests(STREAM), what="it waits")
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=60)
    called = Called(process.returncode, stdout, "")
    assert called.exit_code == 1
    assert called.answer["data"] == {"task_id": "t1", "ended": False}
    [warning] = called.answer["meta"]["warnings"]
    assert "autoscorer cancel t1" in warning["message"]
    assert [asked for asked in stub.asked if asked.method != "GET"] == []


def test_cancel_asks_for_it_and_shows_what_came_of_it(stub: Stub, env: dict[str, str]) -> None:
    stub.on("POST /api/v1/jobs/t1/cancel", ok({**JOB, "state": "cancelling", "turn": "worker"}))
    assert call("cancel", "t1", env=env).answer["data"]["job"]["state"] == "cancelling"


LOG = "GET /api/v1/jobs/t1/log"


def test_a_log_is_given_byte_for_byte_in_a_pipe(stub: Stub, env: dict[str, str]) -> None:
    stub.on(LOG, raw(b"one\n\xff\x00two", kind="text/plain"))
    done = subprocess.run(
        command("logs", "t1"), capture_output=True, env=environment(**env), timeout=60, check=True
    )
    assert done.stdout == b"one\n\xff\x00two"
    assert call("logs", "t1", "--json", env=env).answer["data"]["log"] == "one\n\ufffd\x00two"


def test_a_log_on_a_terminal_drives_nothing(stub: Stub, env: dict[str, str]) -> None:
    stub.on(LOG, raw("50%\r100% \x1b[2J\x1b]0;owned\x07 déjà\n".encode(), kind="text/plain"))
    exit_code, screen = on_a_terminal_with(env, "logs", "t1")
    assert exit_code == 0
    assert "\x1b[2J" not in screen
    assert "\x1b]0;" not in screen
    assert "50%\r\n100% " in screen
    assert "déjà" in screen


def test_a_log_that_is_not_there_is_an_error_that_says_why(stub: Stub, env: dict[str, str]) -> None:
    stub.on(LOG, refused("NOT_FOUND", 404, message="It only scores."))
    called = call("logs", "t1", env=env)
    assert (called.exit_code, called.error["message"]) == (1, "It only scores.")


def test_told_to_stop_logs_ends_the_watching_and_says_how_to_end_the_job(
    stub: Stub, env: dict[str, str]
) -> None:
    stub.on(LOG, events("printed\n", hang=True))
    process = subprocess.Popen(
        command("logs", "t1", "-f"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**env),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "printed\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, "")
    assert "autoscorer cancel t1" in stderr
    assert [asked for asked in stub.asked if asked.method != "GET"] == []


def test_submit_says_what_was_asked_for(stub: Stub, env: dict[str, str]) -> None:
    stub.on("POST /api/v1/jobs", ok(JOB, status=202))
    options = ["--action", "score", "--scorer", "s@abc", "--params", '{"beta": 2}', "--priority", "5"]
    more = ["--backend", "local", "--callback-url", "http://127.0.0.1:9/x"]
    called = call("submit", "some/where", *options, *more, env=env)
    assert called.answer["data"]["job"]["task_id"] == "t1"
    assert stub.asked[0].value == {
        "workspace": "some/where",
        "action": "score",
        "scorer": "s@abc",
        "params": {"beta": 2},
        "priority": 5,
        "backend": "local",
        "callback_url": "http://127.0.0.1:9/x",
    }


def test_submit_can_wait_for_the_end(stub: Stub, env: dict[str, str]) -> None:
    stub.on("POST /api/v1/jobs", ok(JOB, status=202))
    stub.on(STREAM, events())
    stub.on(ONE, failed("TIME_LIMIT", "participant"))
    assert call("submit", "some/where", "--wait", env=env).exit_code == 1


@pytest.mark.parametrize(
    "options", [["--action", "dance"], ["--params", "[1]"], ["--priority", "101"]], ids=lambda one: one[0]
)
def test_wrong_options_of_submit_ask_nothing(options: list[str], stub: Stub, env: dict[str, str]) -> None:
    assert call("submit", "some/where", *options, env=env).exit_code == 2
    assert stub.asked == []


@pytest.mark.parametrize(
    ("given", "cwd", "name"),
    [
        pytest.param("examples/test", "", "examples/test", id="from the root"),
        pytest.param("test", "examples", "examples/test", id="from a folder below it"),
        pytest.param("../test", "examples/test", "examples/test", id="on a way round"),
        pytest.param(".", "examples/test", "examples/test", id="the folder itself"),
        pytest.param("{root}/examples/test", "..", "examples/test", id="as a whole path"),
        pytest.param("examples/test", "..", "examples/test", id="a name of the service"),
        pytest.param("not/there", "", "not/there", id="not here, perhaps there"),
    ],
)
@pytest.mark.parametrize("told_by", ["setting", "beacon"])
def test_a_folder_is_named_as_the_service_knows_it(
    given: str, cwd: str, name: str, told_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    (root / "examples/test").mkdir(parents=True)
    monkeypatch.setattr("autoscorer.api.beacon.FOLDER", tmp_path / "beacons")
    monkeypatch.setenv("SERVICE_URL", "http://127.0.0.1:7999")
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    if told_by == "setting":
        monkeypatch.setenv("WORKSPACE_ROOT", str(root))
    monkeypatch.chdir(root / cwd)
    note = Beacon(url="http://127.0.0.1:7999", token_path=root / "token", workspace_root=root)
    with lit(note, folder=tmp_path / ("beacons" if told_by == "beacon" else "elsewhere")):
        assert workspace_name(Frame(None, as_json=True), given.format(root=root)) == name


def test_a_folder_outside_of_the_root_is_refused_here(
    stub: Stub, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    called = call("submit", "other", env=env | {"WORKSPACE_ROOT": str(tmp_path / "root")}, cwd=tmp_path)
    assert (called.exit_code, "WORKSPACE_ROOT" in called.stderr) == (2, True)
    assert stub.asked == []


def test_the_token_is_the_setting_else_that_of_our_service_beside_us_and_goes_to_no_stranger(
    stub: Stub, env: dict[str, str], home: Path, tmp_path: Path
) -> None:
    stub.on(ONE, ok(JOB))
    (tmp_path / "beside").write_text("of-the-beacon\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/operator.token").write_text("of-data-dir\n")
    unset = env | {"SERVICE_TOKEN": "", "DATA_DIR": str(tmp_path / "data")}
    note = Beacon(url=stub.url, token_path=tmp_path / "beside", workspace_root=tmp_path)
    # Whoever listens there while our own service is down would get the operator's token.
    assert call("status", "t1", env=unset).error["code"] == "UNAUTHENTICATED"
    with lit(note, folder=home / ".local/state/autoscorer/serving"):
        call("status", "t1", env=unset)
        call("status", "t1", env=unset | {"SERVICE_TOKEN": "of-the-setting"})
    sent = [asked.headers["authorization"].removeprefix("Bearer ") for asked in stub.asked]
    assert sent == ["of-the-beacon", "of-the-setting"]


def test_our_operators_token_is_not_for_another_machine(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "operator.token").write_text("of-data-dir\n")
    elsewhere = {"SERVICE_URL": "http://192.0.2.1:1", "SERVICE_TOKEN": "", "DATA_DIR": str(tmp_path)}
    called = call("status", "t1", env=env | elsewhere)
    assert (called.exit_code, called.error["code"]) == (1, "UNAUTHENTICATED")
    assert "SERVICE_TOKEN" in called.error["message"]


def test_without_a_token_or_a_service_it_says_what_to_do(env: dict[str, str]) -> None:
    called = call("status", "t1", env=env | {"SERVICE_TOKEN": ""})
    assert "autoscorer serve" in called.error["message"]
    called = call("status", "t1", env=env | {"SERVICE_URL": "http://127.0.0.1:9"})
    assert (called.exit_code, called.error["code"]) == (3, "SERVICE_UNREACHABLE")
    assert "autoscorer serve" in called.error["details"]["hint"]["en"]


MADE = {
    "token_id": "k1",
    "organisation": "default",
    "subject": "ada",
    "role": "participant",
    "prefix": "as_abcdef",
    "created_at": "2026-01-01T00:00:00.000Z",
    "expires_at": None,
    "revoked_at": None,
}


def test_a_tokens_secret_is_shown_when_it_is_made_and_in_no_list(stub: Stub, env: dict[str, str]) -> None:
    stub.on("POST /api/v1/tokens", ok({**MADE, "secret": "as_verysecret"}, status=201))
    stub.on("GET /api/v1/tokens", ok({"tokens": [MADE, {**MADE, "revoked_at": "2026-01-02T00:00:00Z"}]}))
    called = call("tokens", "create", "ada", "--days", "30", env=env)
    assert called.answer["data"]["token"]["secret"] == "as_verysecret"
    assert stub.asked[0].value == {"subject": "ada", "role": "participant", "valid_days": 30}
    exit_code, screen = on_a_terminal_with(env, "tokens", "create", "ada")
    assert (exit_code, "as_verysecret" in screen, "this once" in screen) == (0, True, True)
    listed = call("tokens", "list", "--organisation", "acme", env=env)
    assert len(listed.answer["data"]["tokens"]) == 2
    assert "secret" not in listed.stdout
    assert stub.asked[-1].target == "/api/v1/tokens?organisation=acme"


def test_each_token_is_a_line_of_eighty_columns(stub: Stub, env: dict[str, str]) -> None:
    token_id = "ca68d616-a665-4e41-ad80-0c1a033a82c3"
    every = [
        {**MADE, "token_id": token_id, **times}
        for times in (
            {},
            {"expires_at": "2999-03-04T00:00:00Z"},
            {"expires_at": "2020-01-01T00:00:00Z"},
            {"expires_at": "soon"},
            {"expires_at": "2020-01-01T00:00:00"},
            {"expires_at": "2020-01-01T00:00:00Z", "revoked_at": "2026-01-02T00:00:00Z"},
        )
    ]
    stub.on("GET /api/v1/tokens", ok({"tokens": every}))
    _, screen = on_a_terminal_with(env, "tokens", "list")
    shown = ["for ever", "until 2999-03-04", "expired 2020-01-01", *["unknown"] * 2, "revoked 2026-01-02"]
    lines = [line.rstrip() for line in screen.splitlines() if token_id in line]
    assert lines == [f"{token_id}  ada      participant  {valid}" for valid in shown]


def test_a_token_is_revoked_by_its_id(stub: Stub, env: dict[str, str]) -> None:
    stub.on("DELETE /api/v1/tokens/k1", ok({**MADE, "revoked_at": "2026-01-02T00:00:00Z"}))
    assert call("tokens", "revoke", "k1", env=env).answer["data"]["token"]["revoked_at"]
    assert call("tokens", "create", "ada", "--role", "emperor", env=env).exit_code == 2


def test_what_a_hostile_service_says_drives_no_terminal(stub: Stub, env: dict[str, str]) -> None:
    stub.on(ONE, ok({**JOB, "workspace": "a\x1b]0;owned\x07", "stage": "\x1b[2J", "state": "running"}))
    _, screen = on_a_terminal_with(env, "status", "t1")
    assert "\x1b]0;" not in screen
    assert "\x1b[2J" not in screen


def test_the_commands_load_no_server(env: dict[str, str]) -> None:
    script = (
        "import sys; sys.argv = ['autoscorer', 'status', 't1', '--json']\n"
        "from autoscorer.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'fastapi', 'uvicorn', 'sqlalchemy', 'polars', 'docker', 'celery'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        env=environment(**env),
        check=True,
        capture_output=True,
    )
