"""What a container wrote is hostile: each trick ends in a named code, and its control shows it working."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscorer.harvest import HarvestPolicy, harvest
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError

POLICY = HarvestPolicy(max_bytes=10_000, max_entries=100, max_depth=8)
TRUTH = "id,label\n1,cat\n"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "gt.csv").write_text(TRUTH)
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def refused(out: Path, policy: HarvestPolicy = POLICY) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        harvest(out, out.parent / "taken", policy)
    assert caught.value.blame == "participant"
    return caught.value


def test_plain_files_and_folders_are_copied_and_hashed(out: Path) -> None:
    (out / "a" / "b").mkdir(parents=True)
    (out / "a" / "b" / "pred.csv").write_bytes(b"abc")
    (out / "empty").mkdir()
    taken = harvest(out, out.parent / "taken", POLICY)
    assert (out.parent / "taken" / "a" / "b" / "pred.csv").read_bytes() == b"abc"
    assert (out.parent / "taken" / "empty").is_dir()
    # SHA-256 of "abc", FIPS 180-2 appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert taken.sha256 == {"a/b/pred.csv": expected}
    assert taken.total_bytes == 3


def test_a_planted_result_and_artifacts_are_left_behind(out: Path) -> None:
    (out / "result.json").write_text('{"summary": {"score": 1.0}}')
    (out / "artifacts").mkdir()
    (out / "sub").mkdir()
    (out / "sub" / "result.json").write_text("mine")
    taken = harvest(out, out.parent / "taken", POLICY)
    assert sorted(taken.reserved) == ["artifacts", "result.json"]
    assert list(taken.sha256) == ["sub/result.json"]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _hard_link(path: Path) -> None:
    os.link(path.parent.parent / "reference" / "gt.csv", path)


def _mode_000(path: Path) -> None:
    path.write_text("x")
    path.chmod(0)


ODD: dict[str, Callable[[Path], None]] = {
    "link to the truth": lambda path: path.symlink_to("../reference/gt.csv"),
    "link to a host file": lambda path: path.symlink_to("/etc/hostname"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a folder": lambda path: path.symlink_to("../reference"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "pipe": _fifo,
    "socket": _socket,
    "hard link to the truth": _hard_link,
    "mode 000": _mode_000,
}


@pytest.mark.parametrize("kind", ODD)
def test_anything_but_a_plain_file_is_refused_and_named(out: Path, kind: str) -> None:
    ODD[kind](out / "pred.csv")
    error = refused(out)
    assert error.code == "OUTPUT_INVALID"
    assert error.details["path"] == "output/pred.csv"
    assert not (out.parent / "taken" / "pred.csv").exists()


def test_control_a_plain_read_follows_the_link_to_the_truth(out: Path) -> None:
    ODD["link to the truth"](out / "pred.csv")
    assert (out / "pred.csv").read_text() == TRUTH


@pytest.mark.parametrize("name", ["a\nb", "bell\x07", "\u202egnp.exe", os.fsdecode(b"\xff\xfe")])
def test_a_name_that_cannot_be_shown_is_refused(out: Path, name: str) -> None:
    (out / name).write_text("x")
    error = refused(out)
    assert error.code == "OUTPUT_INVALID"
    assert error.message.isascii()


def test_a_folder_without_permissions_is_refused(out: Path) -> None:
    (out / "closed").mkdir(mode=0)
    assert refused(out).code == "OUTPUT_INVALID"
    (out / "closed").chmod(0o700)


@pytest.mark.slow
def test_a_tree_too_deep_is_refused_quickly_and_removed_whole(out: Path) -> None:
    here = os.open(out, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert "deeper than 8" in refused(out).message
    remove_tree(out)
    assert not out.exists()


def test_too_many_entries_are_refused_without_listing_them_all(out: Path) -> None:
    for number in range(POLICY.max_entries + 1):
        (out / str(number)).touch()
    error = refused(out)
    assert (error.code, error.details["unit"]) == ("OUTPUT_LIMIT", "entries")


def test_a_sparse_file_beyond_the_limit_is_refused_unread(out: Path) -> None:
    with (out / "big").open("wb") as file:
        file.truncate(10 * 2**40)
    error = refused(out)
    assert (error.code, error.details["unit"]) == ("OUTPUT_LIMIT", "bytes")


def test_the_limit_counts_all_files_together(out: Path) -> None:
    for name in "ab":
        (out / name).write_bytes(bytes(6_000))
    assert refused(out).code == "OUTPUT_LIMIT"


def test_just_the_limit_is_fine(out: Path) -> None:
    (out / "a").write_bytes(bytes(POLICY.max_bytes))
    assert harvest(out, out.parent / "taken", POLICY).total_bytes == POLICY.max_bytes


def test_an_output_that_is_itself_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    (tmp_path / "out").symlink_to("reference")
    with pytest.raises(AutoscorerError, match="not a folder"):
        harvest(tmp_path / "out", tmp_path / "taken", POLICY)


def test_swapping_a_file_and_a_link_all_the_time_never_yields_the_truth(out: Path) -> None:
    target, stop = out / "pred.csv", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (out / ".a").symlink_to("../reference/gt.csv")
            (out / ".a").rename(target)
            (out / ".b").write_text("id,label\n1,dog\n")
            (out / ".b").rename(target)

    target.write_text("id,label\n1,dog\n")
    thread = threading.Thread(target=swap)
    thread.start()
    verdicts, followed = [], 0
    try:
        for number in range(300):
            taken = out.parent / f"taken{number}"
            try:
                harvest(out, taken, POLICY)
                copied = taken / "pred.csv"
                verdicts.append(copied.read_text() if copied.exists() else "")
            except AutoscorerError as exc:
                verdicts.append(exc.code)
            followed += target.read_text() == TRUTH
    finally:
        stop.set()
        thread.join()
    assert TRUTH not in verdicts
    assert followed > 0, "control: a plain read was led to the truth"


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "gone" / "sub").mkdir(parents=True)
    (tmp_path / "gone" / "sub" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "gone" / "closed").mkdir(mode=0)
    remove_tree(tmp_path / "gone")
    remove_tree(tmp_path / "gone")
    assert (tmp_path / "kept" / "file").exists()
    assert not (tmp_path / "gone").exists()
