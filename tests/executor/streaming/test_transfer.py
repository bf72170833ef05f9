"""Output that comes by a sidecar is taken whole, or again, or not at all; whoever failed is to blame."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscorer.executor.streaming.transfer import TRIES, Command, Sidecar, take_output
from autoscorer.harvest import HarvestPolicy
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import make_plan

TEXT = b"id,label\n1,cat\n"
KILLED = 137


def archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo("./pred.csv")
        member.size = len(TEXT)
        tar.addfile(member, io.BytesIO(TEXT))
    return content.getvalue()


WHOLE = archive()
CUTS = {"nothing": b"", "half a header": WHOLE[:100], "no mark at its end": WHOLE[:1024]}


class LostError(Exception):
    pass


class Said:
    """A command that says this and ends so; with None the connection breaks where its words end."""

    stderr = b"tar: words"

    def __init__(self, output: bytes, code: int | None) -> None:
        self._output = io.BytesIO(output)
        self._code = code

    def write(self, chunks: object, /) -> None:
        raise AssertionError

    def read(self, size: int, /) -> bytes:
        piece = self._output.read(size)
        if not piece and self._code is None:
            raise LostError("broken pipe")
        return piece

    def exit_code(self) -> int:
        assert self._code is not None
        return self._code


def sidecar_of(*said: tuple[bytes, int | None]) -> tuple[Sidecar, list[Said]]:
    """A sidecar whose commands say these one after another, and those that have not been asked for."""
    left = [Said(*one) for one in said]

    @contextmanager
    def run(command: Sequence[str], /, *, takes_input: bool) -> Iterator[Command]:
        assert not takes_input
        yield left.pop(0)

    return Sidecar(run=run, lost=(LostError,), said=lambda text: text), left


def taken(sidecar: Sidecar, root: Path) -> AutoscorerError | None:
    target = root / "taken"
    try:
        take_output(sidecar, make_plan(root, ("true",)).limits, target, HarvestPolicy(max_bytes=10_000))
    except AutoscorerError as exc:
        return exc
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"pred.csv": TEXT}
    return None


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("code", [0, KILLED, None], ids=["all well", "killed", "no more"])
def test_a_tar_that_is_not_whole_is_asked_for_again(tmp_path: Path, cut: bytes, code: int | None) -> None:
    sidecar, left = sidecar_of((cut, code), (WHOLE, 0))
    assert taken(sidecar, tmp_path) is None
    assert left == []


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("code", [0, None], ids=["all well", "no more"])
def test_one_that_is_never_whole_is_the_platforms_fault(tmp_path: Path, cut: bytes, code: int | None) -> None:
    sidecar, left = sidecar_of(*[(cut, code)] * TRIES)
    error = taken(sidecar, tmp_path)
    assert error is not None
    assert (error.code, error.blame, left) == ("CONTAINER_WAIT_FAILED", "platform", [])


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_what_tar_cannot_read_is_the_participants_and_not_asked_for_again(tmp_path: Path, cut: bytes) -> None:
    sidecar, left = sidecar_of((cut, 1), (WHOLE, 0))
    error = taken(sidecar, tmp_path)
    assert error is not None
    assert (error.code, error.blame, len(left)) == ("OUTPUT_INVALID", "participant", 1)
    assert error.details["sidecar"] == "tar: words"


def test_a_writer_that_is_killed_every_time_is_killed_by_what_it_reads(tmp_path: Path) -> None:
    sidecar, left = sidecar_of(*[(CUTS["half a header"], KILLED)] * TRIES)
    error = taken(sidecar, tmp_path)
    assert error is not None
    assert (error.code, error.blame, left) == ("OUTPUT_INVALID", "participant", [])
