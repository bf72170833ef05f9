"""What a program may find of the platform itself, of the job before it, and of the host's listeners."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.attacks.arena import Arena
from tests.attacks.case import Attack, Plain, won
from tests.attacks.record import Record
from tests.attacks.spying import CALL_THE_HOST, HUNT, LEAVE, halves, sees_the_host, twice_in_one_container
from tests.cli import call

pytestmark = [pytest.mark.slow, pytest.mark.docker]
GROUP = "Secrets, kernel and network"


def hunt(needle: str) -> Attack:
    attack = Attack(name="hunt", program=HUNT, expected=(None,), control=Plain())
    return replace(attack, container={"env": halves(needle)})


def test_no_secret_of_the_platforms_environment_is_found(arena: Arena, record: Record) -> None:
    record.tried(GROUP, "hunts for secrets in the platform's environment", expected=(None,))
    secret = uuid.uuid4().hex
    workspace = arena.workspace(hunt(secret))
    env = {"PLATFORM_TOKEN": secret, "K8S_TOKEN": secret, "DOCKER_HOST": arena.host}
    env["REGISTRY_AUTH"] = json.dumps({"registry.example": {"username": "u", "password": secret}})
    called = call("run", workspace, "--backend", "docker", env=env, cwd=arena.root)
    assert called.exit_code == 0, called.stdout
    assert not won(arena.seen(workspace, None))
    told = [path for path in workspace.rglob("*") if path.is_file() and path.name != "meta.json"]
    assert not any(secret in path.read_text(errors="replace") for path in told)
    assert secret not in called.stdout + called.stderr
    record.contained()


def test_control_beside_the_hosts_processes_the_secret_is_found(arena: Arena, record: Record) -> None:
    record.control(GROUP, "hunts for secrets in the platform's environment")
    secret = uuid.uuid4().hex
    platform = subprocess.Popen(["sleep", "60"], env={"PLATFORM_TOKEN": secret})
    try:
        assert won(arena.plain(hunt(secret), sees_the_host()))
    finally:
        platform.kill()
        platform.wait()
    record.worked()


def test_the_next_job_finds_nothing_of_the_one_before(arena: Arena, record: Record) -> None:
    record.tried(GROUP, "hunts for left-overs of the job before", expected=(None,))
    attack = hunt(uuid.uuid4().hex)
    before = arena.run(replace(attack, program=LEAVE))
    assert before.code is None
    after = arena.run(attack)
    assert after.code is None
    assert not won(after.seen)
    record.left(before.left + after.left)
    record.contained()


def test_control_in_the_same_container_it_finds_them(arena: Arena, record: Record) -> None:
    record.control(GROUP, "hunts for left-overs of the job before")
    assert won(twice_in_one_container(arena, hunt(uuid.uuid4().hex)))
    record.worked()


@contextlib.contextmanager
def host_listeners() -> Iterator[dict[str, str]]:
    """A TCP listener on the host's loopback and one with an abstract name."""
    name = f"autoscorer-{os.getpid()}-{time.monotonic_ns()}"
    with socket.create_server(("127.0.0.1", 0)) as inet, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {"PORT": str(inet.getsockname()[1]), "NAME": name}


def call_the_host(env: dict[str, str]) -> Attack:
    return Attack(
        name="host", program=CALL_THE_HOST, container={"env": env}, expected=(None,), control=Plain()
    )


def test_the_hosts_loopback_and_abstract_sockets_are_out_of_reach(arena: Arena, record: Record) -> None:
    record.tried(GROUP, "network: the host's loopback and abstract sockets", expected=(None,))
    with host_listeners() as env:
        ran = arena.run(call_the_host(env))
    assert ran.code is None
    assert not won(ran.seen)
    record.left(ran.left)
    record.contained()


def test_control_in_the_hosts_network_both_are_reached(arena: Arena, record: Record) -> None:
    record.control(GROUP, "network: the host's loopback and abstract sockets")
    with host_listeners() as env:
        seen = arena.plain(call_the_host(env), Plain(options={"network_mode": "host"}))
    assert seen.log.count(b"WON") == 2, seen.log
    record.worked()
