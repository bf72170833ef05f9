"""Archives become plain folders or nothing; each attack has a control that shows what it does unguarded."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscorer.unpacking.names import MAX_DEPTH, Parts
from autoscorer.unpacking.unpack import Rules, Unpacked, unpack
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.unpacking.archives import (
    Entry,
    forged_zip,
    opened,
    special,
    streamed_zip_of,
    tar_of,
    zip_of,
)

FILES = {
    "output/pred.csv": b"id,label\n1,cat\n",
    "output/deep/er/x.bin": bytes(5000),
    "image.tar": b"x" * 700,
}
RULES = Rules(max_bytes=2**20, max_entries=50)


def unpacked(folder: Path, content: bytes, rules: Rules | None = None) -> Unpacked:
    descriptor = opened(folder, content)
    (folder / "target").mkdir()
    try:
        return unpack(descriptor, folder / "target", rules or RULES)
    finally:
        os.close(descriptor)


def refusal(folder: Path, content: bytes, rules: Rules | None = None) -> AutoscorerError:
    before = set(folder.iterdir())
    with pytest.raises(AutoscorerError) as caught:
        unpacked(folder, content, rules)
    assert caught.value.code == "ARCHIVE_INVALID"
    assert caught.value.blame is Blame.PARTICIPANT
    assert set(folder.iterdir()) - before == {folder / "archive", folder / "target"}
    assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in modes(folder))
    return caught.value


def modes(folder: Path) -> list[int]:
    return [path.lstat().st_mode for path in folder.rglob("*")]


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


HONEST: dict[str, bytes] = {
    "tar": tar_of(FILES),
    "tar, GNU": tar_of(FILES, form=tarfile.GNU_FORMAT),
    "tar, ustar": tar_of(FILES, form=tarfile.USTAR_FORMAT),
    "tar.gz": tar_of(FILES, packed=True),
    "tar of `.`": tar_of(
        [(special(".", tarfile.DIRTYPE), b""), (special("./output", tarfile.DIRTYPE), b"")]
        + [(f"./{name}", content) for name, content in FILES.items()]
    ),
    "zip": zip_of(FILES),
    "zip, stored": zip_of(FILES, method=zipfile.ZIP_STORED),
    "zip, streamed": streamed_zip_of(FILES),
    "zip, streamed with wide sizes": streamed_zip_of(FILES, wide=True),
    "zip with folders": zip_of({"output/": b"", "output/deep/": b"", **FILES}),
    "zip with a comment": forged_zip(
        *(Entry(name=name.encode(), body=body) for name, body in FILES.items()), comment=b"by hand"
    ),
}


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_archive_becomes_its_files(case: str, tmp_path: Path) -> None:
    found = unpacked(tmp_path, HONEST[case])
    assert files_in(tmp_path / "target") == FILES
    assert (found.files, found.bytes) == (len(FILES), sum(map(len, FILES.values())))


def test_what_an_archive_says_of_modes_is_not_believed(tmp_path: Path) -> None:
    info = special("x", tarfile.REGTYPE)
    info.mode, info.uid = 0o6777, 4242
    unpacked(tmp_path, tar_of([(info, b"#!")]))
    status = (tmp_path / "target/x").stat()
    assert stat.S_IMODE(status.st_mode) & 0o7133 == 0
    assert status.st_uid == os.geteuid()


def test_names_in_any_script_are_kept(tmp_path: Path) -> None:
    files = {"输出/预测.csv": b"1", "emoji 🐈.txt": b"2", "o\u0308.txt": b"3"}
    unpacked(tmp_path, zip_of(files))
    assert files_in(tmp_path / "target") == files


ESCAPES: dict[str, Callable[[Path], bytes]] = {
    "a parent": lambda _folder: tar_of({"../escaped": b"!"}),
    "a parent within": lambda _folder: tar_of({"a/b": b"", "a/../../escaped": b"!"}),
    "an absolute name": lambda folder: tar_of({f"{folder}/escaped": b"!"}),
    "a link to a folder, then a file in it": lambda folder: tar_of(
        [(special("d", tarfile.SYMTYPE, str(folder)), b""), ("d/escaped", b"!")]
    ),
    "a link to a file": lambda _folder: tar_of([(special("escaped", tarfile.SYMTYPE, "../archive"), b"")]),
    "a hard link to a file outside": lambda folder: tar_of(
        [(special("escaped", tarfile.LNKTYPE, f"{folder}/archive"), b"")]
    ),
    "a pipe": lambda _folder: tar_of([(special("escaped", tarfile.FIFOTYPE), b"")]),
}


@pytest.mark.parametrize("case", ESCAPES)
@pytest.mark.fault("archive with traversal or links")
def test_a_member_that_would_escape_is_refused_and_named(case: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, ESCAPES[case](tmp_path))
    assert "member" in error.details
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("case", ESCAPES)
@pytest.mark.fault("archive with traversal or links", is_control=True)
def test_control_plain_tarfile_lets_it_escape(case: str, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "archive").write_bytes(content := ESCAPES[case](tmp_path))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(tmp_path / "target", filter="fully_trusted")
    found = tmp_path / "target/escaped"
    if not (tmp_path / "escaped").exists():
        status = found.lstat()
        assert not stat.S_ISREG(status.st_mode) or status.st_nlink > 1


def a_device() -> bytes:
    return tar_of([(special("sda", tarfile.BLKTYPE), b"")])


def two(one: str, other: str) -> bytes:
    return tar_of([(one, b"1"), (other, b"2")])


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a device": (a_device(), "device"),
    "a character device": (tar_of([(special("tty", tarfile.CHRTYPE), b"")]), "device"),
    "a name twice": (two("a", "a"), "twice"),
    "a name twice, spelled otherwise": (two("a", "./a"), "twice"),
    "names that differ in case": (two("a/Pred.csv", "a/pred.csv"), "only in case"),
    "folders that differ in case": (two("A/x", "a/y"), "only in case"),
    "names that differ in composition": (two("o\u0308", "ö"), "composed"),
    "names that differ in width": (two("Ａ.csv", "a.csv"), "only in case"),
    "a file in a file": (two("a", "a/b"), "is a file"),
    "a file over a folder": (two("a/b", "a"), "as well as a folder"),
    "a folder over a file": (
        tar_of([("a", b""), (special("a", tarfile.DIRTYPE), b"")]),
        "twice",
    ),
    "a backslash": (tar_of({"output\\pred.csv": b""}), "backslash"),
    "a control character": (tar_of({"a\x1b[2Jb": b""}), "not printable"),
    "a newline": (tar_of({"a\nb": b""}), "not printable"),
    "an override of the direction": (tar_of({"a\u202egnp.exe": b""}), "not printable"),
    "an inner dot": (tar_of({"a/./b": b""}), "not a plain path"),
    "an empty step": (tar_of({"a//b": b""}), "not a plain path"),
    "a name that is a dot": (tar_of({"./.": b""}), "no name of a file"),
    "a long name": (tar_of({"n" * 256: b""}), "longer than 255"),
    "a long path": (tar_of({"/".join(["n" * 200] * 6): b""}), "longer than 1024"),
    "a deep path": (tar_of({"/".join("d" * (MAX_DEPTH + 1)): b""}), "deeper than"),
    "a file called like a folder": (
        forged_zip(Entry(name=b"a/", body=b"x")),
        "a device, a pipe or the like",
    ),
    "an empty upload": (b"", "empty, or cut off"),
    "no archive": (b"<html>no</html>" * 100, "no tar"),
    "a tar cut in a member": (tar_of(FILES)[:900], "ends in the middle"),
    "a tar cut between members": (tar_of({"a": b""})[:512], "cut off"),
    "a tar with rubbish behind": (tar_of(FILES) + b"rubbish", "appended"),
    "a second tar behind the first": (tar_of(FILES) + tar_of({"b": b""}), "appended"),
    "gzip cut off": (tar_of(FILES, packed=True)[:-9], "ends too early"),
    "gzip with rubbish behind": (tar_of(FILES, packed=True) + b"rubbish", "damaged"),
    "xz": (b"\xfd7zXZ\0" + bytes(2000), "no tar"),
    "a zip that is encrypted": (forged_zip(Entry(name=b"a", body=b"x", flags=1)), "encrypted"),
    "a zip with a link": (forged_zip(Entry(name=b"a", body=b"/etc/passwd", mode=0o120777)), "symbolic link"),
    "a zip with a pipe": (forged_zip(Entry(name=b"a", mode=0o010644)), "pipe"),
    "a zip with a parent": (forged_zip(Entry(name=b"../a", body=b"x")), "leads out"),
    "a zip with an absolute name": (forged_zip(Entry(name=b"/etc/a", body=b"x")), "absolute"),
    "a zip with a name twice": (
        forged_zip(Entry(name=b"a", body=b"1"), Entry(name=b"a", body=b"2")),
        "twice",
    ),
    "a zip with a name in a code page": (forged_zip(Entry(name=b"\xc4\xe3.csv")), "not UTF-8"),
    "a zip with NUL in a name": (forged_zip(Entry(name=b"a\0.csv")), "not printable"),
    "a zip with no name": (forged_zip(Entry(name=b"")), "no name"),
    "a zip packed by another method": (forged_zip(Entry(name=b"a", body=b"x", method=12)), "another method"),
    "a zip that says less than it holds": (forged_zip(Entry(name=b"a", body=b"x" * 99, size=9)), "size"),
    "a zip that says more than it holds": (forged_zip(Entry(name=b"a", body=b"x" * 99, size=999)), "size"),
    "a zip with a wrong check sum": (forged_zip(Entry(name=b"a", body=b"x", crc=7)), "check sum"),
    "a zip whose member says another size": (
        forged_zip(Entry(name=b"a", body=b"xx", own_size=3)),
        "not what the archive's listing says",
    ),
    "a zip whose member says another name": (
        forged_zip(Entry(name=b"a", body=b"xx", own_name=b"b")),
        "not what the archive's listing says",
    ),
    "a zip with rubbish in a member": (
        forged_zip(Entry(name=b"a", body=b"xx", rubbish=b"yy")),
        "behind its compressed content",
    ),
    "a zip whose member leads behind the end": (
        forged_zip(Entry(name=b"a", body=b"xx", packed_size=9999)),
        "right behind its members",
    ),
    "a zip whose members overlap": (
        forged_zip(Entry(name=b"a", body=b"x"), Entry(name=b"a", body=b"x", at=0)),
        "shares its content",
    ),
    "a zip with something before it": (
        forged_zip(Entry(name=b"a", body=b"x", at=None), prefix=b"PK\3\4rubbish"),
        "before its first member",
    ),
    "a zip with something behind it": (zip_of(FILES) + b"rubbish", "appended"),
    "a zip with something before its end": (
        forged_zip(Entry(name=b"a", body=b"x"), gap=b"rubbish"),
        "between its listing and its end",
    ),
    "a zip with a listing too long": (
        forged_zip(Entry(name=b"a", body=b"x"), Entry(name=b"b", body=b"x"), count=1),
        "another length",
    ),
    "a zip with a listing too short": (
        forged_zip(Entry(name=b"a", body=b"x"), count=2),
        "outside itself",
    ),
    "a zip that is one of several": (forged_zip(Entry(name=b"a", body=b"x", disk=1)), "damaged"),
    "a zip cut off": (zip_of(FILES)[:-30], "cut off"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.fault("archive that is hostile in another way")
def test_a_hostile_archive_is_refused_with_its_reason(case: str, tmp_path: Path) -> None:
    content, reason = HOSTILE[case]
    with warnings.catch_warnings():
        error = refusal(tmp_path, content)
    assert reason in error.message
    assert str(tmp_path) not in error.message
    assert error.message.isprintable()


def test_what_may_not_come_is_refused_before_it_is_written(tmp_path: Path) -> None:
    def refused(parts: Parts) -> str | None:
        return "is not yours to bring" if parts[0] == "reference" else None

    rules = replace(RULES, refusal=refused)
    error = refusal(tmp_path, tar_of({"a": b"", "reference/gt.csv": b""}), rules)
    assert error.details["member"] == "'reference/gt.csv'"
    assert not (tmp_path / "target/reference").exists()


MANY: dict[str, Callable[[int], bytes]] = {
    "files, tar": lambda count: tar_of({f"f{number}": b"" for number in range(count)}),
    "files, zip": lambda count: zip_of({f"f{number}": b"" for number in range(count)}),
    "folders that only stand in paths": lambda count: tar_of(
        {"/".join(first * (count // 2 + 1)): b"" for first in "de"}
    ),
    "the same folder again and again": lambda count: tar_of([(special("./", tarfile.DIRTYPE), b"")] * count),
}


@pytest.mark.parametrize("case", MANY)
@pytest.mark.fault("archive of too many members")
def test_too_many_members_are_refused(case: str, tmp_path: Path) -> None:
    assert "more than 20" in refusal(tmp_path, MANY[case](24), Rules(max_bytes=9, max_entries=20)).message


@pytest.mark.parametrize("make", [tar_of, zip_of, streamed_zip_of])
def test_more_bytes_than_allowed_are_refused_before_they_are_written(
    make: Callable[[Mapping[str, bytes]], bytes], tmp_path: Path
) -> None:
    content = make({"a": os.urandom(600), "b": os.urandom(600)})
    error = refusal(tmp_path, content, Rules(max_bytes=1000, max_entries=9))
    assert error.details["member"] == "'b'"
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["a"]


def bomb_zip(size: int) -> bytes:
    return zip_of({"zeros": bytes(size)})


def bomb_tar(size: int) -> bytes:
    return tar_of({"zeros": bytes(size)}, packed=True)


@pytest.mark.slow
@pytest.mark.parametrize("make", [bomb_zip, bomb_tar])
@pytest.mark.fault("archive that is a bomb")
def test_a_bomb_is_refused_long_before_it_has_filled_the_disk(
    make: Callable[[int], bytes], tmp_path: Path
) -> None:
    size = 200 * 2**20
    content = make(size)
    error = refusal(tmp_path, content, Rules(max_bytes=2**30, max_entries=9))
    assert "unpacks to more" in error.message
    written = sum(path.stat().st_size for path in (tmp_path / "target").rglob("*"))
    assert written < 70 * 2**20
    with (
        zipfile.ZipFile(io.BytesIO(content))
        if make is bomb_zip
        else tarfile.open(  # the control
            fileobj=io.BytesIO(content)
        ) as archive
    ):
        archive.extractall(tmp_path / "control")
    assert (tmp_path / "control/zeros").stat().st_size == size


def overlapping(count: int) -> bytes:
    """Entries that all mean one kernel of content: 1 KiB stands for ``count`` MiB."""
    return forged_zip(
        Entry(name=b"a", body=bytes(2**20)),
        *(Entry(name=b"a", body=bytes(2**20), at=0) for _ in range(count - 1)),
    )


@pytest.mark.fault("archive that is a bomb")
def test_a_zip_whose_members_share_content_is_refused(tmp_path: Path) -> None:
    content = overlapping(30)
    assert "shares its content" in refusal(tmp_path, content, Rules(max_bytes=2**30, max_entries=99)).message
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # the control
        assert sum(info.file_size for info in archive.infolist()) > 1000 * len(content)


@pytest.mark.slow
def test_a_listing_of_a_million_members_does_not_fill_memory(tmp_path: Path) -> None:
    content = forged_zip(Entry(name=b"x"), *(Entry(name=b"x" * 1000, at=0) for _ in range(20_000)))
    descriptor = opened(tmp_path, content)
    (tmp_path / "target").mkdir()
    tracemalloc.start()
    with pytest.raises(AutoscorerError, match="more than 50"):
        unpack(descriptor, tmp_path / "target", RULES)
    ours = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    zipfile.ZipFile(tmp_path / "archive").close()  # the control
    theirs = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    os.close(descriptor)
    assert ours < 2**20 < 2**24 < theirs


@pytest.mark.slow
def test_memory_stays_flat_on_a_large_archive(tmp_path: Path) -> None:
    large = os.urandom(2**20) * 40
    for make in (tar_of, zip_of):
        (tmp_path / make.__name__).mkdir()
        descriptor = opened(tmp_path / make.__name__, make({"large": large}))
        (tmp_path / make.__name__ / "target").mkdir()
        tracemalloc.start()
        unpack(descriptor, tmp_path / make.__name__ / "target", Rules(max_bytes=2**30, max_entries=9))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        os.close(descriptor)
        assert peak < 8 * 2**20


def test_room_is_asked_for_before_anything_is_written(tmp_path: Path) -> None:
    descriptor = opened(tmp_path, tar_of({"a": bytes(600), "b": bytes(700)}))
    (tmp_path / "target").mkdir()
    asked: list[int] = []

    def no_room_for_the_second(size: int) -> None:
        asked.append(size)
        if len(asked) == 2:
            raise AutoscorerError("RESOURCE_UNAVAILABLE", "full", cause="disk")

    with pytest.raises(AutoscorerError, match="full"):
        unpack(descriptor, tmp_path / "target", RULES, check_room=no_room_for_the_second)
    os.close(descriptor)
    assert asked == [600, 700]
    assert files_in(tmp_path / "target") == {"a": bytes(600)}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_unpacked_or_refused_and_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(data.draw(st.sampled_from([zip_of(FILES), streamed_zip_of(FILES), tar_of(FILES)])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    try:
        unpacked(folder, bytes(content))
    except AutoscorerError as exc:
        assert exc.code == "ARCHIVE_INVALID"  # noqa: PT017 - both ends are right
    assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in modes(folder))
    assert set(folder.iterdir()) == {folder / "archive", folder / "target"}


def test_the_check_sum_of_a_member_is_its_content(tmp_path: Path) -> None:
    content = zip_of({"a": b"hello"}, method=zipfile.ZIP_STORED)
    assert zlib.crc32(b"hello") == zipfile.ZipFile(io.BytesIO(content)).infolist()[0].CRC
    assert "check sum" in refusal(tmp_path, content.replace(b"hello", b"jello")).message
