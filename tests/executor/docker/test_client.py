from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.docker.client import answers, connect, engine_errors, engine_text
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.executor.docker.engines import (
    http_engine,
    settings_of,
    settings_with,
    silent_engine,
)

VERSION = {"Version": "99.0", "ApiVersion": "1.41", "Arch": "amd64", "Os": "linux"}


def fake_answer(_method: str, path: str) -> tuple[int, Any]:
    return (200, VERSION) if path.endswith("/version") else (200, {"DockerRootDir": "/data"})


def raw_get(path: str) -> Any:
    """The engine's answer without docker-py."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("/var/run/docker.sock")
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        received = b"".join(iter(lambda: client.recv(65536), b""))
    return json.loads(received.split(b"\r\n\r\n", 1)[1])


@pytest.mark.docker
def test_the_facts_are_what_the_engine_says() -> None:
    with connect(settings_with()) as engine:
        facts = engine.facts()
    version, info = raw_get("/version"), raw_get("/info")
    assert (facts.version, facts.api_version) == (version["Version"], version["ApiVersion"])
    assert facts.architecture == version["Arch"]
    assert facts.cgroup_version == info["CgroupVersion"]
    assert facts.storage_driver == info["Driver"]
    assert str(facts.data_root) == info["DockerRootDir"]
    assert set(facts.runtimes) == set(info["Runtimes"])
    assert facts.local


@pytest.mark.docker
def test_a_running_engine_answers() -> None:
    assert answers(settings_with())


def test_gpus_that_the_engine_found_are_counted(tmp_path: Path) -> None:
    devices = [{"Source": "cdi", "ID": f"nvidia.com/gpu={name}"} for name in ("0", "1", "all", "GPU-5a")]

    def answer(_method: str, path: str) -> tuple[int, Any]:
        return 200, VERSION if path.endswith("/version") else {"DiscoveredDevices": devices}

    with http_engine(tmp_path / "s", answer), connect(settings_of(tmp_path / "s")) as engine:
        assert engine.facts().gpus == 2


def test_without_an_engine_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        connect(settings_of(tmp_path / "none.sock"))
    assert caught.value.code == "RESOURCE_UNAVAILABLE"
    assert caught.value.blame is Blame.OPERATOR
    assert "--backend local" in caught.value.message
    assert "systemctl start docker" in caught.value.message
    assert str(tmp_path) not in json.dumps(caught.value.to_dict())
    assert caught.value.__cause__ is not None


def test_a_socket_that_nobody_serves_is_no_engine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    with pytest.raises(AutoscorerError, match="nothing listens"):
        connect(settings_of(tmp_path / "dead.sock"))
    assert not answers(settings_of(tmp_path / "dead.sock"))


def test_a_port_that_nobody_serves_is_no_engine() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = settings_with(DOCKER_HOST=f"tcp://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(AutoscorerError, match="nothing listens"):
            connect(settings)
        assert not answers(settings)


@pytest.mark.parametrize("body", ["404 page not found", "[]", "{}", '"text"', "{", {"Version": "1"}])
def test_a_server_that_is_no_engine_is_named(body: object, tmp_path: Path) -> None:
    with http_engine(tmp_path / "s", lambda *_: (200, body)), pytest.raises(AutoscorerError) as caught:
        connect(settings_of(tmp_path / "s"))
    assert caught.value.code == "RESOURCE_UNAVAILABLE"


def test_an_engine_that_refuses_our_version_is_named(tmp_path: Path) -> None:
    refusal = (400, {"message": "client version 1.99 is too new"})
    settings = settings_of(tmp_path / "s", DOCKER_API_VERSION="1.99")
    with http_engine(tmp_path / "s", lambda *_: refusal), pytest.raises(AutoscorerError) as caught:
        connect(settings)
    assert "DOCKER_API_VERSION" in caught.value.message


@pytest.mark.slow
@pytest.mark.parametrize("drip", [b"", b"H"])
def test_an_engine_that_hangs_does_not_hang_us(drip: bytes, tmp_path: Path) -> None:
    with silent_engine(tmp_path / "s", drip=drip):
        began = time.monotonic()
        assert not answers(settings_of(tmp_path / "s"))
        assert time.monotonic() - began < 20
    with silent_engine(tmp_path / "t"):
        began = time.monotonic()
        with pytest.raises(AutoscorerError, match="too long"):
            connect(settings_of(tmp_path / "t"), timeout_s=0.3)
        assert time.monotonic() - began < 20


def test_a_later_call_to_a_hanging_engine_ends_too(tmp_path: Path) -> None:
    with http_engine(tmp_path / "s", fake_answer):
        engine = connect(settings_of(tmp_path / "s"), timeout_s=0.3)
    (tmp_path / "s").unlink()
    engine.api.close()  # the kept connection is gone with its server
    with silent_engine(tmp_path / "s"), engine, pytest.raises(AutoscorerError, match="too long"):
        engine.facts()


def test_an_engine_that_is_unwell_does_not_answer(tmp_path: Path) -> None:
    with http_engine(tmp_path / "s", lambda *_: (500, "")):
        assert not answers(settings_of(tmp_path / "s"))
    with http_engine(tmp_path / "t", lambda *_: (200, "OK")):
        assert answers(settings_of(tmp_path / "t"))


def test_the_users_docker_configuration_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / ".docker"
    home.mkdir(parents=True)
    config = {"HttpHeaders": {"X-Planted": "yes"}, "auths": {"127.0.0.1:1": {"auth": "dTpw"}}}
    (home / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(home))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    seen: list[tuple[str, dict[str, str]]] = []
    with http_engine(tmp_path / "s", fake_answer, seen), connect(settings_of(tmp_path / "s")) as engine:
        engine.facts()
        assert not engine.api.trust_env
        assert engine.api._auth_configs.is_empty
    assert not any("X-Planted" in headers for _, headers in seen)

    import docker  # the control: docker-py by itself does use it

    seen.clear()
    with http_engine(tmp_path / "t", fake_answer, seen):
        plain = docker.APIClient(base_url=f"unix://{tmp_path / 't'}", version="1.41")
        plain.info()
        plain.close()
    assert seen[0][1]["X-Planted"] == "yes"


@pytest.mark.parametrize("statement", ["import autoscorer.executor.docker.client", "QUICK"])
def test_docker_is_imported_only_to_connect(statement: str) -> None:
    quick = (
        "from autoscorer.utils.config import Config\n"
        "from autoscorer.executor.docker.client import answers\n"
        "answers(Config('/nonexistent.yaml', environ={'DOCKER_HOST': 'unix:///nonexistent'}).settings)"
    )
    program = f"{quick if statement == 'QUICK' else statement}\nimport sys; print('docker' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("status", "kwargs", "code", "cause"),
    [
        (500, {}, "EXEC_ERROR", ""),
        (409, {"refused": "CONTAINER_CREATE_FAILED"}, "CONTAINER_CREATE_FAILED", ""),
        (404, {"refused": "IMAGE_PULL_FAILED", "cause": "denied"}, "IMAGE_PULL_FAILED", "denied"),
        (500, {"refused": "RESOURCE_UNAVAILABLE"}, "RESOURCE_UNAVAILABLE", "engine"),
    ],
)
def test_a_refusal_is_judged_by_its_status(
    status: int, kwargs: dict[str, str], code: str, cause: str, tmp_path: Path
) -> None:
    def answer(_method: str, path: str) -> tuple[int, Any]:
        return fake_answer("GET", path) if path.endswith("/version") else (status, {"message": "why"})

    with (
        http_engine(tmp_path / "s", answer),
        connect(settings_of(tmp_path / "s")) as engine,
        pytest.raises(AutoscorerError) as caught,
        engine_errors("testing", **kwargs),
    ):
        engine.api.inspect_container("x")
    assert (caught.value.code, caught.value.cause) == (code, cause)
    if code != "RESOURCE_UNAVAILABLE":
        assert (caught.value.details["status"], caught.value.details["engine"]) == (status, "why")


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), BrokenPipeError(), OSError("strange")]
)
def test_an_engine_that_is_lost_is_its_own_code(error: OSError) -> None:
    with pytest.raises(AutoscorerError) as caught, engine_errors("waiting", lost="CONTAINER_WAIT_FAILED"):
        raise error
    assert caught.value.code == "CONTAINER_WAIT_FAILED"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("write /var/lib/docker/tmp/x-1: no space", "write <path>: no space"),
        ('Get "http://127.0.0.1:5000/v2/": refused', 'Get "http://127.0.0.1:5000/v2/": refused'),
        ("a\nb\t c", "a b c"),
        ("https://user:hunter2@reg.example/v2/", "https://user:***@reg.example/v2/"),
        ("password=hunter2", "password=***"),
        ("x" * 3000, "x" * 500),
    ],
)
def test_what_the_engine_says_is_shown_without_paths_and_secrets(said: str, shown: str) -> None:
    assert engine_text(said) == shown
