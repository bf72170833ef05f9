"""Entries are found whole or not at all, the folder stays within its bound, and no stranger can fill it."""

from __future__ import annotations

import fcntl
import hashlib
import multiprocessing
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscorer.scorers import cache_folder
from autoscorer.scorers.cache_folder import BLOCK_BYTES, CacheFolder

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

GROUP = "ab" * 8
BLOCKS = 64


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "data", ("cache", "results"), BLOCKS * BLOCK_BYTES)


def entry_path(folder: CacheFolder, number: int = 0) -> Path:
    return folder.root / GROUP[:2] / f"{GROUP}-{key(number)}"


def test_what_was_written_is_read(folder: CacheFolder) -> None:
    assert folder.read(GROUP, key(0)) is None
    assert not folder.has_any(GROUP)
    folder.write(GROUP, key(0), b"one\ntwo")
    assert folder.read(GROUP, key(0)) == b"one\ntwo"
    assert folder.has_any(GROUP)
    assert not folder.has_any("ab" * 7 + "00")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b + b"x", lambda b: b"\0" + b[1:]]
)
def test_a_damaged_entry_is_none_and_is_removed(
    folder: CacheFolder, damage: Callable[[bytes], bytes]
) -> None:
    folder.write(GROUP, key(0), b"content")
    path = entry_path(folder)
    path.write_bytes(damage(path.read_bytes()))
    assert folder.read(GROUP, key(0)) is None
    assert not path.exists()


def test_every_changed_byte_is_noticed(folder: CacheFolder) -> None:
    for position in range(80):
        folder.write(GROUP, key(0), b"some content of it")
        path = entry_path(folder)
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)
        assert folder.read(GROUP, key(0)) is None, position


def test_an_entry_under_another_name_is_none(folder: CacheFolder) -> None:
    folder.write(GROUP, key(0), b"content")
    entry_path(folder).rename(entry_path(folder, 1))
    assert folder.read(GROUP, key(1)) is None


def test_an_entry_that_is_a_link_is_not_followed(folder: CacheFolder, tmp_path: Path) -> None:
    folder.write(GROUP, key(0), b"content")
    elsewhere = entry_path(folder).rename(tmp_path / "elsewhere")
    entry_path(folder).symlink_to(elsewhere)
    with pytest.raises(OSError, match="it is a link"):
        folder.read(GROUP, key(0))


def used_blocks(folder: CacheFolder) -> int:
    """Counted independently: a file takes its whole blocks."""
    sizes = [path.stat().st_size for path in folder.root.glob("*/*")]
    return sum(-(-size // BLOCK_BYTES) for size in sizes)


def test_the_folder_never_exceeds_its_bound(folder: CacheFolder) -> None:
    sizes = random.Random(0)
    for number in range(300):
        folder.write(GROUP, key(number), b"x" * sizes.randrange(5 * BLOCK_BYTES))
        assert used_blocks(folder) <= BLOCKS
    assert used_blocks(folder) > BLOCKS // 2


def test_what_was_not_used_for_longest_goes_first(folder: CacheFolder) -> None:
    for number in range(BLOCKS):
        folder.write(GROUP, key(number), b"x")
        os.utime(entry_path(folder, number), ns=(number, number))
    assert folder.read(GROUP, key(0)) == b"x"  # the oldest was used just now
    folder.write(GROUP, key(BLOCKS), b"x")
    left = [number for number in range(BLOCKS + 1) if entry_path(folder, number).exists()]
    assert left == [0, *range(BLOCKS + 2 - len(left), BLOCKS + 1)]
    assert BLOCKS // 2 < len(left) < BLOCKS


def test_an_entry_of_more_than_a_quarter_is_not_kept(folder: CacheFolder) -> None:
    folder.write(GROUP, key(0), b"x" * (folder.max_bytes // 4 + 1))
    assert folder.read(GROUP, key(0)) is None


@pytest.mark.parametrize("written", [b"", b"many", b"-5", b"9" * 32])
def test_a_count_that_is_lost_is_taken_anew(folder: CacheFolder, written: bytes) -> None:
    folder.write(GROUP, key(0), b"x")
    (folder.root / "usage").write_bytes(written)
    folder.write(GROUP, key(1), b"x")
    assert int((folder.root / "usage").read_text()) == 2 * BLOCK_BYTES


def test_a_temporary_file_of_a_killed_process_goes_in_time(
    folder: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(GROUP, key(0), b"x")
    left = entry_path(folder).with_name(".killed.part")
    left.write_bytes(b"half")
    (folder.root / "usage").write_bytes(b"")
    folder.write(GROUP, key(1), b"x")
    assert left.exists()  # it may be another process's, just now
    monkeypatch.setattr(cache_folder, "ABANDONED_S", -1.0)
    (folder.root / "usage").write_bytes(b"")
    folder.write(GROUP, key(2), b"x")
    assert not left.exists()


def test_a_process_that_holds_the_lock_only_prevents_keeping(
    folder: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_folder, "LOCK_TIMEOUT_S", 0.01)
    folder.write(GROUP, key(0), b"x")
    with (folder.root / "usage").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        folder.write(GROUP, key(1), b"x")
        assert folder.read(GROUP, key(1)) is None
        assert folder.read(GROUP, key(0)) == b"x"
    folder.write(GROUP, key(1), b"x")
    assert folder.read(GROUP, key(1)) == b"x"


@pytest.mark.parametrize(
    ("part", "mode", "is_used"),
    [
        ("", 0o755, True),
        ("", 0o775, False),
        ("", 0o757, False),
        ("cache", 0o700, True),
        ("cache", 0o755, False),
        ("cache/results", 0o770, False),
    ],
)
def test_a_folder_that_others_may_write_is_not_used(
    folder: CacheFolder, tmp_path: Path, part: str, mode: int, is_used: bool
) -> None:
    folder.write(GROUP, key(0), b"x")
    (tmp_path / "data" / part).chmod(mode)
    if is_used:
        assert folder.read(GROUP, key(0)) == b"x"
        return
    for use in (folder.read, lambda group, key: folder.write(group, key, b"y")):
        with pytest.raises(PermissionError, match="DATA_DIR"):
            use(GROUP, key(0))


def test_a_folder_of_another_user_is_not_used(folder: CacheFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(GROUP, key(0), b"x")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        folder.read(GROUP, key(0))


def test_a_link_in_place_of_a_folder_is_not_used(folder: CacheFolder, tmp_path: Path) -> None:
    folder.write(GROUP, key(0), b"x")
    folder.root.rename(tmp_path / "moved")
    folder.root.symlink_to(tmp_path / "moved")
    with pytest.raises(PermissionError, match="DATA_DIR/cache/results is no folder"):
        folder.read(GROUP, key(0))


def use_much(data_dir: Path, seed: int) -> None:
    folder = CacheFolder(data_dir, ("cache", "results"), BLOCKS * BLOCK_BYTES)
    chosen = random.Random(seed)
    for _ in range(200):
        number = chosen.randrange(100)
        content = folder.read(GROUP, key(number))
        assert content in (None, str(number).encode() * 2_000)
        folder.write(GROUP, key(number), str(number).encode() * 2_000)


def test_many_processes_share_it_without_harm(folder: CacheFolder, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=use_much, args=(tmp_path / "data", seed)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    # Each process may have renamed one entry into place that an eviction counted before it was there.
    assert used_blocks(folder) <= BLOCKS + 4
    assert not list(folder.root.glob("*/.*"))
