from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscorer.executor.docker.archive_layout import ArchivedImage
from autoscorer.executor.docker.image_archive import MAX_MEMBERS, open_archive
from autoscorer.unpacking.inflate import Meter, inflate
from autoscorer.unpacking.tar_stream import BrokenArchiveError, Kind, TarStream
from autoscorer.utils.errors import AutoscorerError, Blame
from tests.executor.docker.archives import (
    LAYER,
    SECOND,
    blob,
    config_of,
    digest_of,
    docker_members,
    member,
    oci_members,
    put_archive,
    tar_of,
)
from tests.imaging import write_archive

TWO = (LAYER, SECOND)


def inspect(folder: Path, meter: Meter | None = None) -> ArchivedImage:
    with open_archive(folder) as archive:
        assert archive is not None
        return archive.inspect(meter)


def handed_on(folder: Path) -> tarfile.TarFile:
    """What the engine would get, read by `tarfile`."""
    with open_archive(folder) as archive:
        assert archive is not None
        content = b"".join(archive.stream(archive.inspect()))
    return tarfile.open(fileobj=io.BytesIO(content))


def body(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def refusal(folder: Path, meter: Meter | None = None) -> AutoscorerError:
    with pytest.raises(AutoscorerError) as caught:
        inspect(folder, meter)
    assert caught.value.code == "IMAGE_INVALID"
    assert caught.value.blame is Blame.PARTICIPANT
    assert str(folder) not in json.dumps(caught.value.to_dict())
    return caught.value


def with_repeated_layer() -> list[tuple[str | tarfile.TarInfo, bytes]]:
    """As engines before 25 save a layer that comes twice: a link to the first."""
    config = config_of((LAYER, LAYER))
    layers = ["a/layer.tar", "b/layer.tar"]
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": layers}]
    return [
        (member("a", tarfile.DIRTYPE), b""),
        ("a/layer.tar", LAYER),
        (member("b/layer.tar", tarfile.SYMTYPE, link="../a/layer.tar"), b""),
        ("c.json", config),
        ("manifest.json", json.dumps(manifest).encode()),
    ]


HONEST: dict[str, tuple[bytes, tuple[bytes, ...]]] = {
    "docker save": (tar_of(docker_members(TWO)), TWO),
    "docker save, pax headers": (tar_of(docker_members(TWO), tarfile.PAX_FORMAT), TWO),
    "docker save, ustar": (tar_of(docker_members(TWO), tarfile.USTAR_FORMAT), TWO),
    "a layer twice": (tar_of(with_repeated_layer()), (LAYER, LAYER)),
    "no layers": (tar_of(docker_members(())), ()),
    "OCI layout": (tar_of(oci_members(TWO)), TWO),
    "OCI layout, layers packed": (tar_of(oci_members(TWO, packed=True)), TWO),
    "OCI layout with attestation": (tar_of(oci_members(TWO, nested=True)), TWO),
    "names that begin with ./": (tar_of({f"./{k}": v for k, v in docker_members(TWO).items()}), TWO),
    "gzip": (gzip.compress(tar_of(docker_members(TWO))), TWO),
    "gzip of two members": (
        gzip.compress(tar_of(docker_members(TWO))[:700]) + gzip.compress(tar_of(docker_members(TWO))[700:]),
        TWO,
    ),
    "gzip padded with zeros": (gzip.compress(tar_of(docker_members(TWO))) + bytes(512), TWO),
}


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_archive_is_read_and_handed_on_whole(case: str, tmp_path: Path) -> None:
    content, layers = HONEST[case]
    image = inspect(put_archive(tmp_path, content))
    assert image.image_id == digest_of(config_of(layers))
    assert image.facts.diff_ids == tuple(map(digest_of, layers))
    with handed_on(tmp_path) as tar:
        manifest = json.loads(body(tar, "manifest.json"))
        assert body(tar, manifest[0]["Config"]) == config_of(layers)
        stored = [body(tar, name) for name in manifest[0]["Layers"]]
        unpacked = [gzip.decompress(item) if item[:2] == b"\x1f\x8b" else item for item in stored]
        assert tuple(unpacked) == layers
        assert len(tar.getnames()) == len(set(tar.getnames()))


def test_the_archive_of_the_test_bed_is_read(tmp_path: Path) -> None:
    with (tmp_path / "image.tar").open("wb") as file:
        image_id = write_archive(file, [LAYER], tags=["autoscorer-test/x:1"])
    image = inspect(tmp_path)
    assert (image.image_id, image.tags) == (image_id, ("autoscorer-test/x:1",))


def test_no_tag_is_handed_on(tmp_path: Path) -> None:
    members = docker_members(tags=["victim:latest"])
    members["repositories"] = json.dumps({"victim": {"latest": "a" * 64}}).encode()
    put_archive(tmp_path, tar_of(members))
    with handed_on(tmp_path) as tar:
        assert json.loads(body(tar, "manifest.json"))[0]["RepoTags"] is None
        assert "repositories" not in tar.getnames()
        assert not any(b"victim" in body(tar, name) for name in tar.getnames())


def test_only_members_of_our_own_are_handed_on(tmp_path: Path) -> None:
    members = docker_members() | {"surprise/VERSION": b"1.0"}
    put_archive(tmp_path, tar_of(members))
    with handed_on(tmp_path) as tar:
        assert set(tar.getnames()) == {
            "oci-layout",
            "index.json",
            "manifest.json",
            blob(config_of((LAYER,))),
            blob(LAYER),
            *(name for name in tar.getnames() if json_kind(tar, name) == "manifest"),
        }
        assert all(item.isreg() for item in tar.getmembers())


def json_kind(tar: tarfile.TarFile, name: str) -> str:
    content = body(tar, name)
    if not name.startswith("blobs/") or not content.startswith(b"{"):
        return "other"
    return "manifest" if "schemaVersion" in json.loads(content) else "config"


def test_the_oci_part_names_what_is_there(tmp_path: Path) -> None:
    put_archive(tmp_path, tar_of(oci_members(TWO, packed=True)))
    with handed_on(tmp_path) as tar:
        listed = json.loads(body(tar, "index.json"))["manifests"]
        manifest = json.loads(body(tar, f"blobs/sha256/{listed[0]['digest'][7:]}"))
        for part in (*listed, manifest["config"], *manifest["layers"]):
            content = body(tar, f"blobs/sha256/{part['digest'][7:]}")
            assert (digest_of(content), len(content)) == (part["digest"], part["size"])
        assert manifest["layers"][0]["mediaType"].endswith("+gzip")


def stolen_layers() -> bytes:
    """A config that names layers of which the archive has only the names."""
    return tar_of(docker_members((b"nothing",), document=config_of((LAYER,))))


def manifest_of(value: Any) -> bytes:
    return tar_of(docker_members() | {"manifest.json": json.dumps(value).encode()})


def bad_checksum() -> bytes:
    content = bytearray(tar_of(docker_members()))
    content[0] ^= 1
    return bytes(content)


def two_oci_images() -> bytes:
    members = oci_members()
    index = json.loads(members["index.json"])
    members["index.json"] = json.dumps({**index, "manifests": index["manifests"] * 2}).encode()
    return tar_of(members)


def changed_blob() -> bytes:
    return tar_of({name: LAYER if value == SECOND else value for name, value in oci_members(TWO).items()})


def odd_size(field: bytes) -> bytes:
    header = bytearray(member("x").tobuf())
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def with_name(name: bytes) -> bytes:
    info = member("x" * len(name)).tobuf()
    header = bytearray(info)
    header[: len(name)] = name
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def linked(kind: bytes, target: str) -> bytes:
    return tar_of([*docker_members().items(), (member("d/x", kind, link=target), b"")])


MANIFEST: dict[str, Any] = {"Config": "c.json", "RepoTags": None, "Layers": []}
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "two images": (lambda: manifest_of([MANIFEST, MANIFEST]), "holds 2 images"),
    "two images, OCI": (two_oci_images, "holds 2 images"),
    "no image": (lambda: manifest_of([]), "holds 0 images"),
    "a manifest that is no list": (lambda: manifest_of({}), "no list"),
    "a manifest of numbers": (lambda: manifest_of([{**MANIFEST, "Layers": [1]}]), "as docker save does"),
    "a manifest without config": (lambda: manifest_of([{"Layers": []}]), "as docker save does"),
    "129 layers": (lambda: manifest_of([{**MANIFEST, "Layers": ["x"] * 129}]), "as docker save does"),
    "a config that is not there": (lambda: manifest_of([MANIFEST]), "lacks"),
    "manifest.json twice": (
        lambda: tar_of([*docker_members().items(), ("manifest.json", b"[]")]),
        "twice",
    ),
    "manifest.json twice, once spelled otherwise": (
        lambda: tar_of([*docker_members().items(), ("./manifest.json", b"[]")]),
        "twice",
    ),
    "broken JSON": (lambda: tar_of(docker_members() | {"manifest.json": b"[{"}), "not valid JSON"),
    "a key twice": (
        lambda: tar_of(docker_members() | {"manifest.json": b'[{"Config":"a","Config":"b"}]'}),
        "not valid JSON",
    ),
    "JSON nested deeply": (
        lambda: tar_of(docker_members() | {"manifest.json": b"[" * 200_000}),
        "not valid JSON",
    ),
    "JSON that is not UTF-8": (
        lambda: tar_of(docker_members() | {"manifest.json": b'["\xff"]'}),
        "not valid JSON",
    ),
    "a manifest of 5 MiB": (
        lambda: tar_of(docker_members() | {"manifest.json": b"[" + b" " * 5 * 2**20 + b"]"}),
        "reasonable size",
    ),
    "no manifest": (lambda: tar_of({"x": b"y"}), "neither manifest.json"),
    "a parent in a name": (lambda: tar_of(docker_members() | {"../etc/cron.d/x": b""}), "leads out"),
    "a parent within a name": (lambda: tar_of(docker_members() | {"a/../../x": b""}), "leads out"),
    "an absolute name": (lambda: with_name(b"/etc/passwd"), "leads out"),
    "a name that is not UTF-8": (lambda: with_name(b"\xff\xfe"), "not UTF-8"),
    "a link that leads out": (lambda: linked(tarfile.SYMTYPE, "../../x"), "leads out"),
    "an absolute link": (lambda: linked(tarfile.SYMTYPE, "/etc/passwd"), "leads out"),
    "a hard link that leads out": (lambda: linked(tarfile.LNKTYPE, "../x"), "leads out"),
    "a layer out of the archive": (
        lambda: manifest_of([{**MANIFEST, "Layers": ["../../../etc/passwd"]}]),
        "leads out",
    ),
    "a device": (
        lambda: tar_of([*docker_members().items(), (member("d", tarfile.BLKTYPE), b"")]),
        "special member",
    ),
    "a pipe": (
        lambda: tar_of([*docker_members().items(), (member("d", tarfile.FIFOTYPE), b"")]),
        "special member",
    ),
    "layers that are not there": (stolen_layers, "not those the image's config names"),
    "a blob of other content": (changed_blob, "SHA-256 that names it"),
    "a config without layers": (
        lambda: tar_of(docker_members(document=b'{"os":"linux","architecture":"amd64"}')),
        "does not name its layers",
    ),
    "a config without architecture": (
        lambda: tar_of(docker_members(architecture=None)),
        "does not name system and architecture",
    ),
    "no tar": (lambda: b"<html>Not Found</html>" * 100, "no tar"),
    "an empty file": (lambda: b"", "neither manifest.json"),
    "a damaged header": (bad_checksum, "no tar, or a header is damaged"),
    "cut in a member": (lambda: tar_of(docker_members())[:700], "ends in the middle"),
    "cut in a header": (lambda: tar_of(docker_members())[:200], "ends in the middle"),
    "a negative size": (lambda: odd_size(b"\xff" * 12), "impossible size"),
    "a size of 2^63": (lambda: odd_size(b"\x80\0\0\0\x80" + bytes(7)), "impossible size"),
    "a size that is no number": (lambda: odd_size(b"9zzzzzzzzzz\0"), "damaged"),
    "gzip cut off": (lambda: gzip.compress(tar_of(docker_members()))[:-20], "ends too early"),
    "gzip with rubbish behind": (lambda: gzip.compress(b"") + b"rubbish", "compression is damaged"),
    "gzip with a wrong check sum": (
        lambda: gzip.compress(tar_of(docker_members()))[:-8] + bytes(8),
        "compression is damaged",
    ),
    "zstd": (lambda: b"\x28\xb5\x2f\xfd" + bytes(2000), "no tar"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_with_its_reason(case: str, tmp_path: Path) -> None:
    make, reason = HOSTILE[case]
    error = refusal(put_archive(tmp_path, make()))
    assert reason in error.message
    assert error.details["file"] == "image.tar"
    assert "docker save" in error.details["example"]


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    members = {f"m/{number}": b"" for number in range(MAX_MEMBERS + 1)}
    assert "members" in refusal(put_archive(tmp_path, tar_of(members))).message


@pytest.mark.slow
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    zeros = b"".join(gzip_of_zeros(2**28))
    (tmp_path / "image.tar.gz").write_bytes(zeros)
    meter = Meter(ratio_free_bytes=2**24)
    error = refusal(tmp_path, meter)
    assert "more than an image may" in error.message
    assert meter.content_bytes < 2**26
    assert len(zeros) < 2**20


def gzip_of_zeros(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    yield packer.compress(member("layer.tar", size=size).tobuf())
    for _ in range(size // 2**20):
        yield packer.compress(bytes(2**20))
    yield packer.flush()


def test_the_bomb_is_a_bomb_without_the_meters_limits(tmp_path: Path) -> None:
    zeros = b"".join(gzip_of_zeros(2**26))
    meter = Meter(ratio_free_bytes=2**24)
    sizes = map(len, inflate(iter([zeros])))
    with pytest.raises(BrokenArchiveError, match="more than an image may"):
        list(map(meter.gave, sizes))
    assert sum(map(len, inflate(iter([zeros])))) > 2**26


def test_a_bomb_inside_a_layer_is_counted_too(tmp_path: Path) -> None:
    packed = b"".join(gzip_of_zeros(2**26))
    put_archive(tmp_path, tar_of({"layer.tar": packed}))
    error = refusal(tmp_path, Meter(ratio_free_bytes=2**24))
    assert "more than an image may" in error.message


def test_an_archive_larger_than_an_image_may_be_is_refused(tmp_path: Path) -> None:
    put_archive(tmp_path, tar_of({"layer.tar": bytes(2**20)}))
    assert "more than an image may" in refusal(tmp_path, Meter(max_content_bytes=2**19)).message


def test_an_archive_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    put_archive(tmp_path, tar_of(docker_members()))
    assert "too long" in refusal(tmp_path, Meter(max_seconds=-1)).message


def huge_extension(kind: bytes, size: int) -> Iterator[bytes]:
    """A header that promises ``size`` bytes of name or pax records, packed."""
    packer = zlib.compressobj(9, wbits=31)
    yield packer.compress(member("x", kind, size=size).tobuf())
    for _ in range(size // 2**20):
        yield packer.compress(b"x" * 2**20)  # of digits tarfile would search for hours
    yield packer.flush()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_huge_header_does_not_fill_memory(kind: bytes, tmp_path: Path) -> None:
    packed = b"".join(huge_extension(kind, 2**26))
    put_archive(tmp_path, packed)
    tracemalloc.start()
    assert "header is too long" in refusal(tmp_path).message
    ours = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    with suppress(tarfile.TarError, ValueError), tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.getnames()  # the control: tarfile reads it all
    theirs = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ours < 2**23
    assert theirs > 2**26


def test_a_row_of_headers_does_not_recurse(tmp_path: Path) -> None:
    row = (member("x", tarfile.XHDTYPE, size=11).tobuf() + b"11 path=ab\n".ljust(512, b"\0")) * 5000
    put_archive(tmp_path, row + tar_of(docker_members()))
    assert "lacks" in refusal(tmp_path).message  # the first member is now called otherwise


def test_memory_stays_flat_on_a_large_archive(tmp_path: Path) -> None:
    large = os.urandom(2**16) * 1024
    (tmp_path / "image.tar").write_bytes(tar_of(docker_members((large,))))
    with open_archive(tmp_path) as archive:
        assert archive is not None
        tracemalloc.start()
        image = archive.inspect()
        handed = sum(map(len, archive.stream(image)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert handed > len(large)
    assert peak < 8 * 2**20


@pytest.mark.parametrize("change", ["content", "size", "gone"])
def test_an_archive_that_changes_between_the_readings_is_noticed(change: str, tmp_path: Path) -> None:
    original = tar_of(docker_members((SECOND,)))
    put_archive(tmp_path, original)
    other = {
        "content": original.replace(b"twotwo", b"TWOTWO"),
        "size": tar_of({name: value + b"x" for name, value in docker_members((SECOND,)).items()}),
        "gone": tar_of({"x": b""}),
    }[change]
    with open_archive(tmp_path) as archive:
        assert archive is not None
        image = archive.inspect()
        (tmp_path / "image.tar").write_bytes(other)
        if change == "content":  # the bytes are the engine's to check: their name is the old content's
            with tarfile.open(fileobj=io.BytesIO(b"".join(archive.stream(image)))) as tar:
                assert digest_of(body(tar, blob(SECOND))) not in image.facts.diff_ids
            return
        with pytest.raises(AutoscorerError, match="was changed"):
            b"".join(archive.stream(image))


def test_an_archive_that_is_exchanged_is_still_the_one_that_was_opened(tmp_path: Path) -> None:
    put_archive(tmp_path, tar_of(docker_members()))
    with open_archive(tmp_path) as archive:
        assert archive is not None
        (tmp_path / "image.tar").unlink()
        put_archive(tmp_path, tar_of(docker_members((SECOND,))))
        assert archive.inspect().facts.diff_ids == (digest_of(LAYER),)


def make_link(path: Path) -> None:
    put_archive(path.parent, tar_of(docker_members()), "elsewhere.tar")
    path.symlink_to("elsewhere.tar")


@pytest.mark.parametrize(
    "make", [make_link, Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")]
)
def test_what_is_no_regular_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "image.tar")
    assert "not a readable regular file" in refusal(tmp_path).message


def test_two_archives_are_refused(tmp_path: Path) -> None:
    put_archive(tmp_path, tar_of(docker_members()))
    put_archive(tmp_path, tar_of(docker_members()), "image.tar.gz")
    assert "one archive is expected" in refusal(tmp_path).message


def test_no_archive_is_no_fault(tmp_path: Path) -> None:
    with open_archive(tmp_path) as archive:
        assert archive is None


names = st.text("abcäß/._-", min_size=1, max_size=150).filter(lambda name: name.strip("/.") != "")
contents = st.binary(max_size=1500)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    members=st.lists(st.tuples(names, contents), max_size=6),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_every_tar_is_read_as_tarfile_reads_it(members: list[tuple[str, bytes]], form: int) -> None:
    content = tar_of(members, form)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        expected = [(item.name, body(tar, name)) for item in tar.getmembers() if (name := item)]  # type: ignore[arg-type]
    stream = TarStream(io.BytesIO(content))
    found = [(item.name, b"".join(stream.chunks())) for item in stream if item.kind is Kind.FILE]
    assert [(name.rstrip("/"), value) for name, value in found] == [
        (name.rstrip("/"), value) for name, value in expected
    ]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutated_tar_never_gives_a_traceback(data: st.DataObject) -> None:
    content = bytearray(HONEST["docker save, pax headers"][0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content), 4096) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        stream = TarStream(io.BytesIO(bytes(content)))
        for _ in stream:
            b"".join(stream.chunks())
    except BrokenArchiveError:
        pass


@pytest.mark.parametrize("size", [2**33, 2**33 + 1])
def test_sizes_beyond_eight_gibibytes_are_read(size: int) -> None:
    binary = b"\x80" + bytes(3) + struct.pack(">Q", size)
    first = next(iter(TarStream(io.BytesIO(odd_size(binary)))))
    assert first.size_bytes == size
