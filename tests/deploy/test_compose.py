"""The Compose file says what the deployment guide promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
SOCKET = "/var/run/docker.sock"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """(source, target) of each mount, in either of Compose's two forms."""
    found = []
    for mount in service["volumes"]:
        if isinstance(mount, dict):
            found.append((mount["source"], mount["target"]))
        else:
            # A colon inside ${NAME:-default} parts nothing.
            source, target = re.findall(r"(?:\$\{(?:[^{}]|\{[^{}]*\})*\}|[^:])+", mount)[:2]
            found.append((source, target))
    return found


def test_the_services_are_those_of_the_design(services: dict[str, Any]) -> None:
    assert set(services) == {"redis", "autoscorer-api", "autoscorer-worker"}
    assert services["redis"]["image"] == "redis:7-alpine"
    command = ["celery", "-A", "celery_app.tasks", "worker", "--loglevel=info"]
    assert services["autoscorer-worker"]["command"] == command
    assert [port.split(":")[-2:] for port in services["autoscorer-api"]["ports"]] == [["8000", "8000"]]


def test_only_the_worker_has_the_engines_socket(services: dict[str, Any]) -> None:
    assert SOCKET in [target for _, target in mounts(services["autoscorer-worker"])]
    assert SOCKET not in [target for _, target in mounts(services["autoscorer-api"])]
    assert "volumes" not in services["redis"]
    assert services["autoscorer-api"]["cap_drop"] == ["ALL"]
    assert not any(service.get("privileged") for service in services.values())


def test_workspaces_have_the_same_path_inside_and_outside(services: dict[str, Any]) -> None:
    for name in ("autoscorer-api", "autoscorer-worker"):
        root = services[name]["environment"]["WORKSPACE_ROOT"]
        assert (root, root) in mounts(services[name]), name


def test_a_worker_has_longer_to_stop_than_its_jobs_have(services: dict[str, Any]) -> None:
    from autoscorer.utils.config import Config

    grace_s = Config("/nowhere/config.yaml", environ={}).settings.worker_grace_s
    assert int(services["autoscorer-worker"]["stop_grace_period"].removesuffix("s")) > grace_s


def test_every_setting_that_compose_gives_is_one(services: dict[str, Any]) -> None:
    from autoscorer.utils.config import Config

    for name in ("autoscorer-api", "autoscorer-worker"):
        environ = {
            key: re.sub(r"\$\{\w+:-(.*)\}$", r"\1", value).replace("${PWD}", "/srv")
            for key, value in services[name]["environment"].items()
        }
        config = Config("/nowhere/config.yaml", environ=environ)
        assert config.validate() == []
        rows = {key for key, _ in config.dump().items()}
        assert set(environ) <= rows
