"""Hostile `image.tar` files beside `meta.json`, end to end; each with what a plain load makes of it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound

from tests.attacks.arena import Arena, Contained
from tests.attacks.case import Attack, Plain
from tests.attacks.record import Record
from tests.imaging import busybox_layer, layer, write_archive

pytestmark = [pytest.mark.slow, pytest.mark.docker]
GROUP = "Image archives"
BOMB_BYTES = 2 * 2**30


@pytest.fixture
def fresh(arena: Arena) -> Iterator[Callable[[], str]]:
    """Image names nobody has; what got one of them is removed in the end."""
    names: list[str] = []

    def name() -> str:
        names.append(f"autoscorer-test/{uuid.uuid4().hex}:1")
        return names[-1]

    yield name
    remove(arena, names)


def identity(arena: Arena, name: str) -> str | None:
    try:
        return str(arena.engine.api.inspect_image(name)["Id"])
    except ImageNotFound:
        return None


def archive(*tags: str, note: str = "") -> bytes:
    content = io.BytesIO()
    layers = [busybox_layer(), layer({"note": (note or uuid.uuid4().hex).encode()})]
    write_archive(content, layers, tags=tags, config={"Cmd": ["/bin/sh"]})
    return content.getvalue()


def with_members(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The archive with its members changed."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    change(members)
    changed = io.BytesIO()
    with tarfile.open(fileobj=changed, mode="w") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return changed.getvalue()


def run_with(arena: Arena, image: str, content: bytes, *, name: str = "image.tar") -> Contained:
    attack = Attack(
        name="archive",
        program="cat /note",
        image=image,
        expected=(None,),
        control=Plain(),
        settings={"IMAGE_PULL_POLICY": "never"},
    )
    workspace = arena.workspace(attack)
    (workspace / name).write_bytes(content)
    ran = arena.run(attack, workspace=workspace)
    if ran.code is None:  # the engine keeps it by its id alone
        remove(arena, image_ids(content))
    return ran


def image_ids(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        manifest: Any = tar.extractfile("manifest.json")
        return [f"sha256:{entry['Config'].removesuffix('.json')}" for entry in json.loads(manifest.read())]


def remove(arena: Arena, names: list[str]) -> None:
    for name in names:
        if identity(arena, name):
            arena.engine.api.remove_image(name, force=True)


def check(record: Record, ran: Contained, code: str | None) -> None:
    assert ran.code == code, ran.error and (ran.error.message, ran.error.details)
    assert ran.error is None or ran.error.blame == "participant"
    record.left(ran.left)
    assert ran.left == []


def load(arena: Arena, content: bytes) -> None:
    for _ in arena.engine.api.load_image(content):
        pass


def test_an_archive_that_tags_another_image_changes_no_tag(
    arena: Arena, record: Record, fresh: Callable[[], str]
) -> None:
    record.tried(GROUP, "archive that re-tags an existing image", expected=(None,))
    wanted, victim = fresh(), fresh()
    load(arena, archive(victim))
    before = identity(arena, victim)
    ran = run_with(arena, wanted, archive(wanted, victim, note="brought"))
    check(record, ran, None)
    assert ran.seen.log == b"brought"
    assert identity(arena, victim) == before
    record.contained()


def test_control_a_plain_load_takes_the_tag_over(
    arena: Arena, record: Record, fresh: Callable[[], str]
) -> None:
    record.control(GROUP, "archive that re-tags an existing image")
    victim = fresh()
    load(arena, archive(victim))
    before = identity(arena, victim)
    load(arena, archive(fresh(), victim))
    assert before
    assert identity(arena, victim) != before
    remove(arena, [before])
    record.worked()


def two_images(first: str, second: str) -> bytes:
    def add(members: dict[str, bytes]) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive(second))) as tar:
            others = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
        both = json.loads(members["manifest.json"]) + json.loads(others["manifest.json"])
        members |= others | {"manifest.json": json.dumps(both).encode()}

    return with_members(archive(first), add)


def test_an_archive_of_two_images_is_refused(arena: Arena, record: Record, fresh: Callable[[], str]) -> None:
    record.tried(GROUP, "archive of two images", expected=("IMAGE_INVALID",), blame="participant")
    wanted, stowaway = fresh(), fresh()
    check(record, run_with(arena, wanted, two_images(wanted, stowaway)), "IMAGE_INVALID")
    assert identity(arena, stowaway) is None
    record.contained()


def test_control_a_plain_load_takes_both(arena: Arena, record: Record, fresh: Callable[[], str]) -> None:
    record.control(GROUP, "archive of two images")
    wanted, stowaway = fresh(), fresh()
    load(arena, two_images(wanted, stowaway))
    assert identity(arena, wanted)
    assert identity(arena, stowaway)
    record.worked()


def climbing(name: str) -> bytes:
    return with_members(archive(name), lambda members: members.update({"../../climbed": b"x"}))


def test_an_archive_with_members_outside_it_is_refused(
    arena: Arena, record: Record, fresh: Callable[[], str]
) -> None:
    record.tried(GROUP, "archive with ../ members", expected=("IMAGE_INVALID",), blame="participant")
    wanted = fresh()
    check(record, run_with(arena, wanted, climbing(wanted)), "IMAGE_INVALID")
    assert identity(arena, wanted) is None
    record.contained()


def test_control_a_plain_unpacking_writes_outside(tmp_path: Path, record: Record) -> None:
    record.control(GROUP, "archive with ../ members")
    target = tmp_path / "a" / "b"
    target.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(climbing("x:1"))) as tar:
        tar.extractall(target, filter="fully_trusted")
    assert (tmp_path / "climbed").exists()
    record.worked()


def bomb(name: str) -> bytes:
    """A layer of gigabytes of zeros in a few megabytes: one compressed piece, many times over."""
    info = tarfile.TarInfo(f"{'0' * 64}/layer.tar")
    info.size = BOMB_BYTES
    zeros = gzip.compress(bytes(2**24), compresslevel=1)
    head = tarfile.TarInfo("manifest.json")
    body = json.dumps([{"Config": "c.json", "RepoTags": [name], "Layers": [info.name]}]).encode()
    head.size = len(body)
    start = head.tobuf() + body.ljust(512, b"\0") + info.tobuf()
    return gzip.compress(start) + zeros * (BOMB_BYTES // 2**24) + gzip.compress(bytes(1024))


def test_an_archive_that_is_a_bomb_is_refused(arena: Arena, record: Record, fresh: Callable[[], str]) -> None:
    record.tried(GROUP, "archive that is a bomb", expected=("IMAGE_INVALID",), blame="participant")
    wanted = fresh()
    check(record, run_with(arena, wanted, bomb(wanted), name="image.tar.gz"), "IMAGE_INVALID")
    record.contained()


def test_control_a_plain_unpacking_of_the_bomb_writes_gigabytes(record: Record) -> None:
    record.control(GROUP, "archive that is a bomb")
    content, written = bomb("x:1"), 0
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        for member in tar:
            file: Any = tar.extractfile(member)
            while chunk := file.read(2**20):
                written += len(chunk)
    assert written > 100 * len(content)
    record.worked()
