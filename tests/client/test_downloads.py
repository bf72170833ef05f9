"""A download is the file with the hash that the result names, or no file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from autoscorer.client import Client
from autoscorer.schemas.service import ArtifactView
from autoscorer.utils.errors import AutoscorerError
from tests.client.stub import Reply, Stub, raw, refused, serving

CONTENT = bytes(range(256)) * 40
FILE = "GET /api/v1/jobs/t1/artifacts/a.bin"


def artifact(stub: Stub, content: bytes = CONTENT, host: str | None = None) -> ArtifactView:
    return ArtifactView(
        name="a.bin",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        media_type="application/octet-stream",
        shows_truth=False,
        url=f"{host or stub.url}/api/v1/jobs/t1/artifacts/a.bin",
    )


def whole(content: bytes = CONTENT) -> Reply:
    return raw(content, kind="application/octet-stream")


def rest(start: int, content: bytes = CONTENT) -> Reply:
    said = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return raw(content[start:], status=206, headers={"Content-Range": said})


def cut_off(at: int, content: bytes = CONTENT) -> Reply:
    return raw(content[:at], announced=len(content))


def test_a_file_arrives_whole(stub: Stub, client: Client, tmp_path: Path) -> None:
    stub.on(FILE, whole())
    target = tmp_path / "a.bin"
    target.write_text("the one of yesterday")
    assert client.download(artifact(stub), target).read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_broke_off_is_taken_up_where_it_was(stub: Stub, client: Client, tmp_path: Path) -> None:
    stub.on(FILE, cut_off(1000), rest(1000))
    client.download(artifact(stub), tmp_path / "a.bin")
    first, second = stub.requests(FILE)
    assert "range" not in first.headers
    assert second.headers["range"] == "bytes=1000-"
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_later_call_goes_on_where_an_earlier_one_failed(stub: Stub, client: Client, tmp_path: Path) -> None:
    stub.on(FILE, cut_off(3000), refused("FORBIDDEN", 403))
    with pytest.raises(AutoscorerError, match="FORBIDDEN"):
        client.download(artifact(stub), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    stub.on(FILE, rest(3000))
    client.download(artifact(stub), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_that_gives_no_ranges_gives_the_whole_again(
    stub: Stub, client: Client, tmp_path: Path
) -> None:
    stub.on(FILE, cut_off(1000), whole())
    assert client.download(artifact(stub), tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(whole(CONTENT[:-1] + b"!"), id="another content"),
        pytest.param(whole(CONTENT + b"more"), id="more than there is"),
        pytest.param(whole(CONTENT[:-7]), id="less than there is, as if whole"),
    ],
)
def test_a_file_with_another_hash_is_no_file(
    reply: Reply, stub: Stub, client: Client, tmp_path: Path
) -> None:
    stub.on(FILE, reply)
    target = tmp_path / "a.bin"
    target.write_text("the one of yesterday")
    with pytest.raises(AutoscorerError) as caught:
        client.download(artifact(stub), target)
    assert caught.value.code == "SERVICE_UNREACHABLE"
    assert target.read_text() == "the one of yesterday"
    assert len(stub.asked) < 20


def test_what_was_begun_with_another_file_is_begun_anew(stub: Stub, client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"of another file")
    stub.on(FILE, rest(15), whole())
    assert client.download(artifact(stub), tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_part_of_another_place_is_not_taken(stub: Stub, client: Client, tmp_path: Path) -> None:
    stub.on(FILE, cut_off(1000), rest(500), whole())
    assert client.download(artifact(stub), tmp_path / "a.bin").read_bytes() == CONTENT


def test_no_link_is_followed(stub: Stub, client: Client, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "a.bin.part").symlink_to(tmp_path / "mine")
    stub.on(FILE, whole())
    with pytest.raises(OSError, match=r"a\.bin\.part"):
        client.download(artifact(stub), tmp_path / "a.bin")
    assert (tmp_path / "mine").read_text() == "precious"


def test_our_token_goes_to_our_service_whatever_host_the_address_names(
    stub: Stub, client: Client, tmp_path: Path
) -> None:
    stub.on(FILE, whole())
    with serving() as elsewhere:
        elsewhere.on(FILE, whole())
        client.download(artifact(stub, host=elsewhere.url), tmp_path / "a.bin")
        assert elsewhere.asked == []
    assert len(stub.asked) == 1


def test_an_empty_file_is_a_file(stub: Stub, client: Client, tmp_path: Path) -> None:
    assert client.download(artifact(stub, b""), tmp_path / "a.bin").read_bytes() == b""
