"""An engine behind TLS: it is believed by its authority, and it knows us by our certificate."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autoscorer.executor.docker.client import answers, connect
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError
from tests.executor.docker.engines import settings_with

VERSION = {"Version": "99.0", "ApiVersion": "1.41", "Arch": "amd64", "Os": "linux"}


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, the engine's certificate for 127.0.0.1, and ours; made for this run."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, subject in (("engine", "/CN=engine"), ("client", "/CN=client")):
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.request", "-subj", subject)
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
        openssl(folder, "x509", "-req", "-in", f"{name}.request", "-out", f"{name}.pem", *signed)
    return folder


@pytest.fixture
def ours(certificates: Path, tmp_path: Path) -> Path:
    """A folder as `docker` wants it."""
    folder = tmp_path / "ours"
    folder.mkdir()
    for source, name in (("ca.pem", "ca.pem"), ("client.pem", "cert.pem"), ("client.key", "key.pem")):
        shutil.copy(certificates / source, folder / name)
    return folder


@contextmanager
def tls_engine(certificates: Path) -> Iterator[str]:
    """Its address; it answers only to whom the authority knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "engine.pem", certificates / "engine.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # then a client learns of it while it shakes hands

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(VERSION).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that is not known

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def settings_for(host: str, folder: Path | None) -> Settings:
    extra = {"DOCKER_CERT_PATH": str(folder)} if folder else {}
    return settings_with(DOCKER_HOST=host, DOCKER_TLS_VERIFY="true", **extra)


def test_with_our_certificate_the_engine_answers(certificates: Path, ours: Path) -> None:
    with tls_engine(certificates) as host:
        settings = settings_for(host, ours)
        assert answers(settings)
        with connect(settings) as engine:
            assert engine.api.version()["Version"] == "99.0"


def test_control_without_it_nobody_is_believed(certificates: Path) -> None:
    with tls_engine(certificates) as host:
        settings = settings_for(host, None)
        assert not answers(settings)
        with pytest.raises(AutoscorerError, match="certificate") as caught:
            connect(settings)
        assert caught.value.code == "RESOURCE_UNAVAILABLE"


def test_an_engine_of_another_authority_is_not_believed(certificates: Path, ours: Path) -> None:
    (ours / "ca.pem").unlink()
    with tls_engine(certificates) as host:
        assert not answers(settings_for(host, ours))


def test_what_is_missing_of_a_certificate_is_a_fault_of_the_configuration(ours: Path) -> None:
    (ours / "key.pem").unlink()
    environ = {"DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": "true", "DOCKER_CERT_PATH": str(ours)}
    (fault,) = Config("/nonexistent/config.yaml", environ=environ).validate()
    assert (fault.key, fault.expected) == ("DOCKER_CERT_PATH", "a folder with key.pem")
    shutil.copy(ours / "cert.pem", ours / "key.pem")
    assert Config("/nonexistent/config.yaml", environ=environ).validate() == []
    (fault,) = Config("/nonexistent/c.yaml", environ={**environ, "DOCKER_TLS_VERIFY": "false"}).validate()
    assert fault.expected == "DOCKER_TLS_VERIFY: true with it"
