"""The brake on output: it counts what is there and survives what is hostile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoscorer.confine.watch import MAX_DEPTH, OutputWatch, Written, measure


def look(root: Path, *, max_bytes: int = 10**9, max_entries: int = 10**6) -> Written:
    return measure(root, max_bytes=max_bytes, max_entries=max_entries)


def test_sizes_and_entries_add_up(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "b").write_bytes(b"x" * 5)
    assert look(tmp_path) == Written(size_bytes=15, entries=4, depth=2)


def test_a_link_counts_as_an_entry_and_is_not_followed(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"x" * 1000)
    root = tmp_path / "out"
    root.mkdir()
    (root / "file").symlink_to(big)
    (root / "folder").symlink_to(tmp_path)
    (root / "self").symlink_to("self")
    os.mkfifo(root / "pipe")
    assert look(root) == Written(size_bytes=0, entries=4, depth=0)


def test_a_link_in_place_of_the_root_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path)
    assert look(tmp_path / "link").entries == 0


def test_a_sparse_file_counts_with_its_full_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**12)
    assert look(tmp_path).exceeds(max_bytes=10**9, max_entries=10)


def test_the_walk_stops_at_the_limit(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert look(tmp_path, max_entries=10).entries == 11


@pytest.mark.slow
def test_three_thousand_nested_folders_are_too_many(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    found = look(tmp_path)
    assert found.depth == MAX_DEPTH + 1
    assert found.exceeds(max_bytes=10**9, max_entries=10**6)


def test_a_missing_folder_holds_nothing(tmp_path: Path) -> None:
    assert look(tmp_path / "nothing") == Written(size_bytes=0, entries=0, depth=0)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = os.listdir("/proc/self/fd")
    look(tmp_path, max_entries=1)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(("size", "over"), [(100, False), (101, True)])
def test_the_limit_itself_is_allowed(tmp_path: Path, size: int, *, over: bool) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    watch = OutputWatch(tmp_path, max_bytes=100, max_entries=1)
    assert (watch.exceeded() is not None) is over


def test_a_watch_that_is_asked_too_soon_does_not_look(tmp_path: Path) -> None:
    watch = OutputWatch(tmp_path, max_bytes=100, max_entries=1)
    assert watch.exceeded() is None
    (tmp_path / "file").write_bytes(b"x" * 101)
    assert watch.exceeded() is None
    assert watch.exceeded(now=True) is not None
