"""When the memory of a tree of processes is looked at first."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import Any, cast

import psutil

from autoscorer.confine.cgroups import Cgroup
from autoscorer.confine.memory import MemoryMeter
from tests.worker.sites import until


def group(*, enforced: frozenset[str], in_use: int | None) -> Cgroup:
    made: Any = SimpleNamespace(enforced=enforced, memory_in_use_bytes=lambda: in_use)
    return cast(Cgroup, made)


def test_where_it_is_polled_whoever_is_there_is_known_at_once() -> None:
    """A program may kill its supervisor as its first deed; then only who was seen can still be killed."""
    command = ["sh", "-c", "sleep 60; echo $?"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as supervisor:
        until(psutil.Process(supervisor.pid).children)
        meter = MemoryMeter(supervisor.pid, group(enforced=frozenset(), in_use=None), cap_bytes=2**40)
        assert not meter.over_cap()
        assert meter.peak_bytes
        meter.kill_known()
        assert supervisor.communicate()[0] == b"137\n"  # by SIGKILL


def test_where_a_cgroup_counts_a_short_program_is_not_asked_for() -> None:
    meter = MemoryMeter(os.getpid(), group(enforced=frozenset({"memory"}), in_use=5), cap_bytes=10)
    assert not meter.over_cap()
    assert meter.peak_bytes is None
