"""One POST to a stranger: it goes where it may, ends in time, reads next to nothing, says what was wrong."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from autoscorer.callback_addresses import Resolve
from autoscorer.maintenance.callbacks.sending import Sender, within
from autoscorer.maintenance.callbacks.verdicts import Answer
from tests.maintenance.receivers import (
    Script,
    answering,
    deaf,
    dripping,
    flooding,
    hanging,
    receiving,
    saying,
)

pytestmark = pytest.mark.slow  # TLS, deadlines

NAME = "hooks.example.org"
HERE = ["127.0.0.1"]
HEADERS = {"webhook-id": "m1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
BODY = b'{"ok": true}'


def sender(
    *,
    timeout_s: float = 30,
    allowed: list[str] | None = None,
    resolve: Resolve | None = None,
    trust: ssl.SSLContext | None = None,
) -> Sender:
    return Sender(
        timeout_s=timeout_s,
        allowed_hosts=HERE if allowed is None else allowed,
        resolve=resolve or (lambda _host, _port: HERE),
        trust=trust,
    )


def test_a_message_arrives_as_it_was_given() -> None:
    with receiving() as receiver:
        answer = sender().send(f"{receiver.url}?job=1&q=%2F", HEADERS, BODY)
    assert answer == Answer(status=204)
    (request,) = receiver.arrived
    assert request.line == "POST /hook?job=1&q=%2F HTTP/1.1"
    assert request.body == BODY
    assert HEADERS.items() <= request.headers.items()
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("AutoScorer/")


def test_the_name_is_told_though_the_connection_goes_to_the_address() -> None:
    with receiving() as receiver:
        url = f"http://{NAME}:{receiver.port}/hook"
        assert sender().send(url, HEADERS, BODY).status == 204
    assert receiver.arrived[0].headers["host"] == f"{NAME}:{receiver.port}"


@pytest.mark.parametrize("status", [200, 301, 404, 410, 500])
def test_every_status_is_heard(status: int) -> None:
    with receiving(answering(status, "Retry-After: 7", body=b"secret of the receiver")) as receiver:
        assert sender().send(receiver.url, HEADERS, BODY) == Answer(status=status, retry_after="7")


@pytest.mark.fault("callback receiver that redirects")
def test_a_redirect_is_not_followed() -> None:
    with receiving() as inside, receiving(answering(307, f"Location: {inside.url}")) as outside:
        assert sender().send(outside.url, HEADERS, BODY).status == 307
        assert inside.connections == 0
        httpx.post(outside.url, content=BODY, follow_redirects=True)
        assert inside.connections == 1, "control: who follows it arrives inside"


@pytest.mark.fault("callback receiver that resolves to an internal address")
def test_a_name_that_resolves_to_an_internal_address_is_not_connected_to() -> None:
    with receiving() as inside:
        url = f"http://{NAME}:{inside.port}/hook"
        answer = sender(allowed=[]).send(url, HEADERS, BODY)
        assert answer == Answer(problem="The callback address leads into an internal network.")
        assert inside.connections == 0
        assert sender(allowed=[NAME]).send(url, HEADERS, BODY).status == 204
        assert inside.connections == 1, "control: with the guard off it arrives"


@pytest.mark.fault("callback receiver whose address changes after the check")
def test_a_name_that_changes_its_address_after_the_check_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rebinding: the first answer is an address that may be connected to, every later one is not."""
    asked = 0

    def rebinding(_host: str, _port: int) -> list[str]:
        nonlocal asked
        asked += 1
        return ["127.0.0.2"] if asked == 1 else ["127.0.0.1"]

    real = socket.getaddrinfo

    def getaddrinfo(host: str | bytes, port: int, *args: object, **kwargs: object) -> object:
        if host in (NAME, NAME.encode()):
            host = rebinding(NAME, port)[0]
        return real(host, port, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with receiving() as inside, receiving(host="127.0.0.2", port=inside.port) as vetted:
        url = f"http://{NAME}:{inside.port}/hook"
        assert sender(allowed=["127.0.0.2"], resolve=rebinding).send(url, HEADERS, BODY).status == 204
        assert (vetted.connections, inside.connections, asked) == (1, 0, 1)
        httpx.post(url, content=BODY, trust_env=False)
        assert inside.connections == 1, "control: who resolves it again arrives inside"


def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        assert sender().send(receiver.url, HEADERS, BODY).status == 204
        assert (proxy.connections, receiver.connections) == (0, 1)
        httpx.post(receiver.url, content=BODY)
        assert proxy.connections == 1, "control: httpx by itself goes to the proxy"


@pytest.mark.parametrize(
    "script",
    [
        deaf,
        hanging,
        dripping(b"HTTP/1.1 200 OK\r\nX-Drip: "),
        dripping(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["deaf", "silent", "drips headers", "never gets beyond 100"],
)
@pytest.mark.fault("callback receiver that never ends its answer")
def test_a_receiver_that_does_not_end_is_left_in_time(script: Script) -> None:
    with receiving(script) as receiver:
        started = time.monotonic()
        answer = sender(timeout_s=0.5).send(receiver.url, HEADERS, BODY)
        took_s = time.monotonic() - started
    assert answer == Answer(problem="no answer within 0.5 seconds")
    assert 0.4 < took_s < 20


@pytest.mark.fault("callback receiver that never ends its answer", is_control=True)
def test_a_time_limit_that_starts_anew_with_every_byte_never_ends_it() -> None:
    """The control of the test above: what httpx calls a timeout."""
    with receiving(dripping(b"HTTP/1.1 200 OK\r\nX-Drip: ")) as receiver:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            within(3, lambda: httpx.post(receiver.url, content=BODY, timeout=0.5))
        assert time.monotonic() - started > 2.5


def test_a_resolver_that_hangs_is_left_in_time() -> None:
    release = threading.Event()

    def hangs(_host: str, _port: int) -> list[str]:
        release.wait(120)
        return HERE

    answer = sender(timeout_s=0.3, resolve=hangs).send(f"http://{NAME}/", HEADERS, BODY)
    release.set()
    assert answer == Answer(problem="no answer within 0.3 seconds")


@pytest.mark.parametrize("length", [b"Content-Length: 10737418240\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.fault("callback receiver that sends 10 GB")
def test_of_an_answer_of_10_gb_a_few_kilobytes_are_read(length: bytes) -> None:
    before = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n"
    before += b"280000000\r\n" if b"chunked" in length else b""  # one chunk of 10 GB
    with receiving(flooding(before)) as receiver:
        assert sender().send(receiver.url, HEADERS, BODY).status == 200
    # What the kernels' buffers on both sides take is gone as well: some megabytes.
    assert receiver.sent_bytes < 64 * 2**20


def test_a_body_that_drips_or_breaks_after_a_good_status_changes_nothing() -> None:
    with receiving(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")) as receiver:
        assert sender().send(receiver.url, HEADERS, BODY).status == 200
    with receiving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")) as receiver:
        assert sender().send(receiver.url, HEADERS, BODY).status == 200
    with receiving(
        saying(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
    ) as receiver:
        assert sender().send(receiver.url, HEADERS, BODY).status == 200


NOT_HTTP = "its answer is not HTTP, or the connection ended before it"


@pytest.mark.parametrize(
    "script",
    [
        saying(b""),
        saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
        saying(b"\x00\xff" * 1000),
        saying(b"HTTP/1.1 99999 No\r\n\r\n"),
        saying(b"HTTP/1.1 2OO OK\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\n" + b"X-Big: " + b"a" * 2**20),
        flooding(b"HTTP/1.1 200 OK\r\nX-Endless: "),
        flooding(b"HTTP/1.1 200 "),
    ],
)
@pytest.mark.fault("callback receiver that sends garbage")
def test_garbage_and_huge_headers_are_one_failure_among_others(script: Script) -> None:
    with receiving(script) as receiver:
        answer = sender().send(receiver.url, HEADERS, BODY)
    assert answer.status is None
    assert answer.problem in (NOT_HTTP, "the connection broke off")
    assert receiver.sent_bytes < 64 * 2**20


def test_what_cannot_be_reached_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = sender().send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert answer.problem == "nobody listens there: the connection was refused"

    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answer = sender(resolve=unknown).send(f"http://{NAME}/", HEADERS, BODY)
    assert answer.problem == "its name cannot be resolved"


def test_when_the_first_address_does_not_answer_the_next_is_tried() -> None:
    with receiving() as receiver:
        url = f"http://{NAME}:{receiver.port}/"
        both = sender(allowed=[NAME], resolve=lambda _h, _p: ["127.0.0.3", "127.0.0.1"])
        assert both.send(url, HEADERS, BODY).status == 204
    assert receiver.connections == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `NAME`, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing (apt-get install openssl)")
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", str(path), "-out", str(path.with_suffix(".crt"))),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def _server(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_tls_is_verified_against_the_name(certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))
    with receiving(tls=_server(certificate)) as receiver:
        for host, arrives in ((NAME, True), ("other.example.org", False)):
            answer = sender(trust=trust).send(f"https://{host}:{receiver.port}/", HEADERS, BODY)
            assert (answer.status == 204) is arrives, answer
        assert "is not valid for 'other.example.org'" in answer.problem
        assert len(receiver.arrived) == 1
        unchecked = ssl.create_default_context(cafile=str(certificate))
        unchecked.check_hostname = False
        answer = sender(trust=unchecked).send(f"https://other.example.org:{receiver.port}/", HEADERS, BODY)
        assert answer.status == 204, "control: unchecked, it arrives at the wrong one"


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(certificate: Path) -> None:
    with receiving(tls=_server(certificate)) as receiver:
        answer = sender().send(f"https://{NAME}:{receiver.port}/", HEADERS, BODY)
    assert answer.problem == "its certificate is not accepted: self-signed certificate"
    with receiving(lambda channel, _receiver: channel.sendall(b"HTTP/1.1 400 No TLS here\r\n\r\n")) as plain:
        answer = sender().send(f"https://{NAME}:{plain.port}/", HEADERS, BODY)
    assert answer.problem == "TLS could not be set up"
