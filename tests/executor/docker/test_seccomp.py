"""The filter of a container: what it names, and what real programs may do under it."""

from __future__ import annotations

import ctypes
import json
from dataclasses import replace
from pathlib import Path

import pytest

from autoscorer.confine.seccomp import DENIED, FILTERED, MACHINES
from autoscorer.executor.base import AttemptPlan
from autoscorer.executor.docker.options import MASKED_PATHS, READ_ONLY_PATHS
from autoscorer.executor.docker.seccomp import allowed_calls, profile, security_option
from tests.executor.docker.containers import BUSYBOX, container_plan, docker, run_container

PYTHON = "autoscorer-test/python:3"
# What frameworks do all day: threads, processes, sockets, shared memory, files of every kind.
WORK = """
import ctypes, multiprocessing, socket, subprocess, threading, tempfile, mmap, os, select
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
assert subprocess.run(["true"]).returncode == 0
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6): socket.socket(family).close()
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
left, right = socket.socketpair(); left.send(b"x"); assert right.recv(1) == b"x"
with select.epoll() as poll: poll.register(right)
with tempfile.TemporaryFile() as file: mmap.mmap(file.fileno(), os.truncate(file.fileno(), 9) or 9)
os.sched_setaffinity(0, os.sched_getaffinity(0)); os.memfd_create("x"); os.getrandom(9); os.nice(1)
os.statvfs("/")
os.posix_fallocate(os.open("output/x", os.O_RDWR | os.O_CREAT), 0, 9); os.link("output/x", "output/y")
print("done")
"""
OPEN_VSOCK = "import socket; socket.socket(40, socket.SOCK_STREAM)"


def python_plan(root: Path, source: str) -> AttemptPlan:
    return replace(container_plan(root, "", image=PYTHON), command=("python", "-c", source))


def test_what_the_sandbox_denies_is_denied_here_too() -> None:
    assert not set(allowed_calls()) & (DENIED.keys() | FILTERED.keys() - {"ioctl"})


def test_every_call_stands_once_and_exists() -> None:
    names = allowed_calls()
    assert len(names) == len(set(names)) > 250
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    arches = [machine.audit_arch for machine in MACHINES.values()]
    absent = [
        name
        for name in names
        if all(library.seccomp_syscall_resolve_name_arch(arch, name.encode()) < 0 for arch in arches)
    ]
    # Younger than the library of the oldest Debian that we run on.
    young = [
        "cachestat",
        "fchmodat2",
        "futex_requeue",
        "futex_wait",
        "futex_wake",
        "map_shadow_stack",
        "mseal",
    ]
    assert {name for name in absent if not name.endswith("xattrat")} <= set(young)


def test_the_filter_refuses_what_it_does_not_name() -> None:
    assert profile()["defaultAction"] == "SCMP_ACT_ERRNO"
    assert json.loads(security_option().removeprefix("seccomp=")) == profile()
    assert " " not in security_option()


@pytest.mark.docker
def test_under_the_filter_programs_work(tmp_path: Path) -> None:
    ran = run_container(python_plan(tmp_path, WORK))
    assert (ran.code, ran.log) == (None, b"done\n")


@pytest.mark.docker
def test_a_vsock_is_refused_whatever_the_engines_own_filter_says(tmp_path: Path) -> None:
    ran = run_container(python_plan(tmp_path, OPEN_VSOCK))
    assert ran.code == "CONTAINER_EXIT_NONZERO"
    assert b"PermissionError" in ran.log


@pytest.mark.docker
def test_control_with_the_operators_word_for_another_filter_it_opens(tmp_path: Path) -> None:
    ran = run_container(python_plan(tmp_path, OPEN_VSOCK), security_opts=("seccomp=unconfined",))
    assert b"PermissionError" not in ran.log
    assert "seccomp filter" in ran.outcome.isolation.not_enforced


@pytest.mark.docker
def test_the_filter_is_named_and_not_repeated_in_what_is_kept_of_a_failure(tmp_path: Path) -> None:
    ran = run_container(container_plan(tmp_path, "exit 3"))
    assert "seccomp=autoscorer" in ran.outcome.details["inspect"]["HostConfig"]["SecurityOpt"]


@pytest.mark.docker
def test_we_cover_of_proc_and_sys_at_least_what_the_engine_would() -> None:
    name = docker("create", BUSYBOX, "true")
    (told,) = json.loads(docker("inspect", name))
    docker("rm", name)
    thermal = {path for path in told["HostConfig"]["MaskedPaths"] if path.endswith("/thermal_throttle")}
    assert set(told["HostConfig"]["MaskedPaths"]) - thermal <= set(MASKED_PATHS)
    assert set(told["HostConfig"]["ReadonlyPaths"]) <= set(READ_ONLY_PATHS)
