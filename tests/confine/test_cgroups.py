"""Where a control group may stand, for the layouts that machines and containers have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoscorer.confine.caps import Caps, rlimits
from autoscorer.confine.cgroups import Cgroup, Home, find_homes, own_homes

V1_MOUNTS = """\
30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /proc rw - proc proc rw
33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V1_IN_CONTAINER = "30 25 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
V2_MOUNTS = "33 25 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


def directories(cgroup: str, mounts: str) -> list[tuple[int, str]]:
    return [(home.version, str(home.directory)) for home in find_homes(cgroup, mounts)]


@pytest.mark.parametrize(
    ("cgroup", "mounts", "expected"),
    [
        ("4:memory:/a\n", V1_MOUNTS, [(1, "/sys/fs/cgroup/memory/a")]),
        ("3:cpu,cpuacct:/\n", V1_MOUNTS, [(1, "/sys/fs/cgroup/cpu,cpuacct")]),
        ("4:memory:/docker/abc/x\n", V1_IN_CONTAINER, [(1, "/sys/fs/cgroup/memory/x")]),
        ("0::/user.slice/a.scope\n", V2_MOUNTS, [
            (2, "/sys/fs/cgroup/user.slice/a.scope"), (2, "/sys/fs/cgroup/user.slice")]),
        ("0::/\n", V2_MOUNTS, [(2, "/sys/fs/cgroup")]),
        ("9:name=systemd:/\n", V1_MOUNTS, []),
        ("", "", []),
    ],
)  # fmt: skip
def test_homes_are_found(cgroup: str, mounts: str, expected: list[tuple[int, str]]) -> None:
    assert directories(cgroup, mounts) == expected


def test_version_two_writes_its_own_files(tmp_path: Path) -> None:
    home = Home(version=2, controllers=frozenset({"memory", "pids", "cpu"}), directory=tmp_path)
    group = Cgroup.create(Caps(memory_bytes=1000, tasks=7, cpu_cores=1.5), [home])
    (directory,) = group.directories
    files = {path.name: path.read_text() for path in directory.iterdir()}
    assert group.enforced == {"memory", "pids", "cpu"}
    assert files == {
        "memory.max": "1000",
        "memory.swap.max": "0",
        "pids.max": "7",
        "cpu.max": "150000 100000",
    }


def test_version_two_counters_are_read(tmp_path: Path) -> None:
    home = Home(version=2, controllers=frozenset({"memory"}), directory=tmp_path)
    group = Cgroup.create(Caps(memory_bytes=1000), [home])
    (directory,) = group.directories
    (directory / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    (directory / "memory.stat").write_text("anon 100\nfile 5000\nshmem 20\n")
    (directory / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert group.oom_kills() == 2
    assert group.memory_in_use_bytes() == 120
    assert group.cpu_seconds() == 1.5


def test_a_controller_that_is_not_delegated_is_not_enforced(tmp_path: Path) -> None:
    home = Home(version=2, controllers=frozenset({"pids"}), directory=tmp_path)
    assert Cgroup.create(Caps(memory_bytes=1000, tasks=7), [home]).enforced == {"pids"}


def test_a_home_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    home = Home(version=2, controllers=frozenset({"memory"}), directory=tmp_path / "missing")
    group = Cgroup.create(Caps(memory_bytes=1000), [home])
    assert group.enforced == frozenset()
    assert group.memory_in_use_bytes() is None
    assert group.cpu_seconds() is None
    group.remove()


def test_only_a_group_that_a_dead_process_of_our_namespace_left_is_swept(tmp_path: Path) -> None:
    ours = f"autoscorer-n{os.stat('/proc/self/ns/pid').st_ino}"
    dead, living, elsewhere = f"{ours}-999999999-1", f"{ours}-1-1", "autoscorer-n7-999999999-1"
    for name in (dead, living, elsewhere):
        (tmp_path / name).mkdir()
    home = Home(version=2, controllers=frozenset({"memory"}), directory=tmp_path)
    Cgroup.create(Caps(memory_bytes=1000), [home])
    names = {path.name for path in tmp_path.iterdir()}
    assert dead not in names
    assert {living, elsewhere} <= names


def test_a_real_group_is_made_and_removed() -> None:
    group = Cgroup.create(Caps(memory_bytes=2**26, tasks=10), own_homes())
    if not group.directories:
        pytest.skip("this user may not make control groups here")
    directories_made = group.directories
    assert all(directory.is_dir() for directory in directories_made)
    group.remove()
    group.remove()
    assert not any(directory.exists() for directory in directories_made)


def test_address_space_is_never_limited() -> None:
    import resource

    kinds = [kind for kind, _ in rlimits(Caps(memory_bytes=1, tasks=1, file_bytes=1), tasks_in_use=1)]
    assert resource.RLIMIT_AS not in kinds
    assert resource.RLIMIT_CORE in kinds
