"""What is uploaded: a folder's plain files and nothing else, or an archive as it is."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from autoscorer.client import Client
from autoscorer.utils.errors import AutoscorerError
from tests.client.stub import Stub, ok

UPLOAD = "POST /api/v1/workspaces"
ANSWER = {"workspace": "default/uploads/w1", "files": 2, "bytes": 7}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for name in ("input/deep", ".attempts/1", "logs"):
        (root / name).mkdir(parents=True)
    (root / "meta.json").write_text("{}")
    (root / "input/deep/a.csv").write_text("a,b\n")
    (root / ".attempts/1/x").write_text("left")
    (root / "logs/job.jsonl").write_text("left")
    (root / "output/artifacts").mkdir(parents=True)
    (root / "output/result.json").write_text("left")
    (root / "output/artifacts/x").write_text("left")
    (root / ".autoscorer.lock").write_text("left")
    return root


def test_a_folder_is_sent_as_its_plain_files_that_nobody_owns(
    stub: Stub, client: Client, folder: Path
) -> None:
    stub.on(UPLOAD, ok(ANSWER, status=201))
    assert client.upload(folder).workspace == "default/uploads/w1"
    [asked] = stub.asked
    assert asked.headers["content-type"] == "application/gzip"
    with tarfile.open(fileobj=io.BytesIO(asked.body)) as archive:
        members = archive.getmembers()
    assert sorted(one.name for one in members) == [
        "input",
        "input/deep",
        "input/deep/a.csv",
        "meta.json",
        "output",
    ]
    assert {(one.uid, one.gid, one.uname, one.gname) for one in members} == {(0, 0, "", "")}


def test_an_archive_is_sent_as_it_is(stub: Stub, client: Client, tmp_path: Path) -> None:
    stub.on(UPLOAD, ok(ANSWER))
    (tmp_path / "w.zip").write_bytes(b"PK" + bytes(3_000_000))
    client.upload(tmp_path / "w.zip", base="tasks/a b")
    [asked] = stub.asked
    assert asked.headers["content-type"] == "application/zip"
    assert asked.target == "/api/v1/workspaces?base=tasks%2Fa%20b"
    assert asked.body == b"PK" + bytes(3_000_000)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_plain_file_is_named_and_not_sent(
    kind: str, stub: Stub, client: Client, folder: Path
) -> None:
    odd = folder / "input" / "odd"
    if kind == "link":
        odd.symlink_to("/etc/passwd")
    else:
        os.mkfifo(odd)
    with pytest.raises(AutoscorerError) as caught:
        client.upload(folder)
    assert caught.value.code == "ARCHIVE_INVALID"
    assert str(odd) in caught.value.message
    assert stub.asked == []


@pytest.mark.parametrize("name", ["w.rar", "missing.tar"])
def test_what_is_no_archive_is_named(name: str, client: Client, tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        client.upload(tmp_path / name)
    assert (caught.value.code, name in caught.value.message) == ("ARCHIVE_INVALID", True)
