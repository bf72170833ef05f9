"""The receiver that integrators copy: it takes what AutoScorer sends, once, and nothing else."""

from __future__ import annotations

import http.client
import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from autoscorer.maintenance.callbacks.duty import callbacks_duty
from autoscorer.maintenance.callbacks.secret import secrets_of
from autoscorer.maintenance.callbacks.signing import keys_of, signed_headers
from tests.maintenance.test_callback_courier import Office, delivered, settings
from tests.maintenance.test_callback_parts import SECRET, SIGNED, SIGNED_BODY
from tests.worker.sites import until

PROGRAM = Path(__file__).parents[2] / "examples" / "callback_receiver.py"


@pytest.fixture(scope="module")
def receiver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("callback_receiver", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_accepts_the_specifications_example(receiver: ModuleType) -> None:
    assert receiver.verify(SIGNED, SIGNED_BODY, SECRET, now_s=1614265330 + 299) == {"test": 2432232314}
    both = SIGNED | {"webhook-signature": f"v1,{'A' * 43}= {SIGNED['webhook-signature']}"}
    assert receiver.verify(both, SIGNED_BODY, SECRET, now_s=1614265330) == {"test": 2432232314}


@pytest.mark.parametrize(
    ("headers", "body", "now_s"),
    [
        ({}, SIGNED_BODY + b" ", 0),
        ({}, SIGNED_BODY, 301),  # recorded and played again
        ({}, SIGNED_BODY, -301),
        ({"webhook-id": "msg_other"}, SIGNED_BODY, 0),
        ({"webhook-timestamp": "1614265331"}, SIGNED_BODY, 0),
        ({"webhook-timestamp": ""}, SIGNED_BODY, 0),
        ({"webhook-timestamp": "²"}, SIGNED_BODY, 0),
        ({"webhook-signature": ""}, SIGNED_BODY, 0),
        ({"webhook-signature": SIGNED["webhook-signature"].replace("v1,", "v2,")}, SIGNED_BODY, 0),
        ({"webhook-signature": "v1,ü"}, SIGNED_BODY, 0),
    ],
)
def test_it_refuses_everything_else(
    receiver: ModuleType, headers: dict[str, str], body: bytes, now_s: int
) -> None:
    with pytest.raises(ValueError, match=r"signature|timestamp"):
        receiver.verify(SIGNED | headers, body, SECRET, now_s=1614265330 + now_s)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def listening(receiver: ModuleType, office: Office, tmp_path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Its address, and the messages it was given; it has the secret of the office's organisation."""
    (secret,) = secrets_of(office.organisation(), [], tmp_path)
    got: list[Any] = []
    handler = receiver.make_handler(secret, lambda callback_id, message: got.append((callback_id, message)))
    handler.log_message = lambda *_args: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    thread.join(30)
    server.server_close()


@pytest.mark.slow
def test_it_takes_what_the_service_sends_its_organisation_and_refuses_the_rest(
    listening: tuple[str, list[Any]], office: Office, tmp_path: Path
) -> None:
    url, got = listening
    callback_id = office.message(url)
    another = office.message(url, organisation="another")
    office.clock.elapsed_s += _behind_s(office)
    duty = callbacks_duty(settings(tmp_path), office.store)
    duty.work()
    until(lambda: delivered(office, callback_id) and _is_refused(office, another))
    duty.finish()
    ((told_id, message),) = got
    assert told_id == callback_id
    assert message["error"]["code"] == "CANCELLED"


def _is_refused(office: Office, callback_id: str) -> bool:
    found = next(one for one in office.store.callbacks.list() if one.callback_id == callback_id)
    return found.last_error is not None and "401" in found.last_error


def _behind_s(office: Office) -> float:
    return time.time() - office.clock().at.timestamp()


@pytest.mark.slow
def test_a_message_that_comes_twice_is_given_once_and_a_forged_one_never(
    listening: tuple[str, list[Any]], office: Office, tmp_path: Path
) -> None:
    url, got = listening
    body = json.dumps({"ok": True}).encode()
    now_s = int(time.time())
    right = signed_headers(
        "m1", body, keys_of(secrets_of(office.organisation(), [], tmp_path)), sent_at_s=now_s
    )
    forged = signed_headers("m2", body, keys_of(secrets_of("another", [], tmp_path)), sent_at_s=now_s)
    with httpx.Client(trust_env=False) as client:
        statuses = [
            client.post(url, content=body, headers=headers).status_code
            for headers in (right, right, forged, {})
        ]
    assert statuses == [204, 204, 401, 401]
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=30)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", "99999999")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert got == [("m1", {"ok": True})]


@pytest.mark.slow
def test_it_runs_as_a_program_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("".join(secrets_of("acme", [], tmp_path)))
    command = [sys.executable, "-I", "-S", str(PROGRAM), "--port", "0", "--secret-file"]
    with subprocess.Popen([*command, str(tmp_path / "secret")], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        line = program.stdout.readline().decode()
        program.terminate()
    assert line.startswith("listening at http://127.0.0.1:")
