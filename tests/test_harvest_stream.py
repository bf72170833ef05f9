"""The harvest's second source takes what the first takes, and refuses what it refuses, by the same policy."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.harvest import HarvestPolicy, harvest
from autoscorer.harvest_stream import harvest_stream
from autoscorer.unpacking.tar_stream import CutOffError
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError

INVALID = "OUTPUT_INVALID of the participant"
CUT_OFF = "cut off"
POLICY = HarvestPolicy(max_bytes=10_000, max_entries=20, max_depth=4)


def packed(folder: Path) -> io.BytesIO:
    """As `tar -c .` makes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(folder, arcname=".")
    stream.seek(0)
    return stream


def code_of(take: Callable[[Path], object], target: Path) -> str | None:
    remove_tree(target)
    try:
        take(target)
    except AutoscorerError as exc:
        return f"{exc.code} of the {exc.blame}"
    except CutOffError:
        return CUT_OFF
    return None


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _deep(path: Path) -> None:
    for _ in range(6):
        path.mkdir()
        path = path / "d"


def _many(path: Path) -> None:
    path.mkdir()
    for number in range(30):
        (path / str(number)).touch()


def _hard_link(path: Path) -> None:
    path.write_text("x")
    os.link(path, path.with_name("b"))


def _unreadable(path: Path) -> None:
    path.write_text("x")
    path.chmod(0)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**13)


TREES: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("x"),
    "an empty folder": lambda path: path.mkdir(),
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a pipe": os.mkfifo,
    "a hard link": _hard_link,
    "a name with a line break": lambda path: path.with_name("a\nb").write_text("x"),
    "a name that is no UTF-8": lambda path: Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff")).touch(),
    "a file nobody may read": _unreadable,
    "a folder nobody may enter": lambda path: path.mkdir(mode=0o600),
    "too deep": _deep,
    "too many": _many,
    "too much": lambda path: path.write_bytes(bytes(20_000)),
    "a sparse file of 10 TB": _sparse,
    "a planted result": lambda path: path.with_name("result.json").write_text("mine"),
    "a link of a reserved name": lambda path: path.with_name("artifacts").symlink_to("/etc"),
}


@pytest.mark.parametrize("name", TREES)
def test_both_sources_come_to_the_same(tmp_path: Path, name: str) -> None:
    out, target = tmp_path / "out", tmp_path / "taken"
    out.mkdir()
    TREES[name](out / "pred.csv")
    if "10 TB" in name:  # what `tar` writes first of it
        header = tarfile.TarInfo("./pred.csv")
        header.size = 10**13
        stream = io.BytesIO(header.tobuf(tarfile.GNU_FORMAT))
    else:
        stream = packed(out)
    by_stream = code_of(lambda target: harvest_stream(stream, target, POLICY), target)
    by_folder = code_of(lambda target: harvest(out, target, POLICY), target)
    # A name that is both reserved and no file is left behind by the one and refused by the other: both safe.
    assert by_stream == by_folder or (name == "a link of a reserved name" and by_stream is None)


def test_the_harvest_of_a_folder_is_that_of_its_archive(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "a" / "b").mkdir(parents=True)
    (out / "a" / "b" / ("long" * 40)).write_bytes(b"abc")
    (out / "result.json").write_text("planted")
    (out / "artifacts").mkdir()
    (out / "artifacts" / "x").write_text("planted")
    first = harvest(out, tmp_path / "one", POLICY)
    second = harvest_stream(packed(out), tmp_path / "two", POLICY)
    assert (first.sha256, first.total_bytes, sorted(first.reserved)) == (
        second.sha256,
        second.total_bytes,
        sorted(second.reserved),
    )
    assert (tmp_path / "two" / "a" / "b" / ("long" * 40)).read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../../up", "./a//b", "a/./b", "missing/folder/file"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    header = tarfile.TarInfo(name)
    stream = io.BytesIO(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    target = tmp_path / "deep" / "taken"
    target.parent.mkdir()
    assert code_of(lambda target: harvest_stream(stream, target, POLICY), target) == INVALID
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "taken"]


def test_a_file_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("./pred.csv")
    stream = io.BytesIO(2 * header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(AutoscorerError, match="twice"):
        harvest_stream(stream, tmp_path / "taken", POLICY)


@given(
    cut=st.integers(0, 3000), flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), max_size=3)
)
def test_whatever_is_done_to_an_archive_ends_in_a_code_or_in_plain_files(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("mutant")
    (root / "out" / "a").mkdir(parents=True)
    (root / "out" / "a" / "pred.csv").write_text("id,label\n1,cat\n")
    content = bytearray(packed(root / "out").read()[: 3072 - cut or None])
    for at, by in flips:
        if at < len(content):
            content[at] ^= by
    code = code_of(lambda target: harvest_stream(io.BytesIO(content), target, POLICY), root / "taken")
    assert code in (None, INVALID, CUT_OFF, "OUTPUT_LIMIT of the participant")
    assert all(
        path.is_relative_to(root / "taken") and not path.is_symlink() for path in (root / "taken").rglob("*")
    )


def test_an_archive_that_stops_anywhere_is_cut_off_and_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "pred.csv").write_text("id,label\n1,cat\n")
    content = packed(tmp_path / "out").getvalue()
    mark = len(content.rstrip(b"\0")) // 512 * 512 + 512  # where the blocks of zeros begin

    def code_of_first(length: int) -> str | None:
        take = partial(harvest_stream, io.BytesIO(content[:length]), policy=POLICY)
        return code_of(take, tmp_path / "taken")

    assert {code_of_first(length) for length in range(mark + 1)} == {CUT_OFF}
    assert code_of_first(mark + 512) is None
