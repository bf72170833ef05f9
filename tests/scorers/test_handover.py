"""Artifacts: what is listed is taken as it really is, within caps; odd names and links are refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscorer.schemas.result import Artifact
from autoscorer.scorers.handover import ArtifactCaps, media_type_of, take_artifacts
from autoscorer.utils.errors import AutoscorerError

LIE = {"size": 7, "sha256": "0" * 64, "media_type": "text/html"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "view" / "output"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "artifacts" / "curve.csv").write_bytes(b"x,y\n1,2\n")
    return folder


def listed(path: str = "artifacts/curve.csv", name: str = "curve") -> dict[str, Artifact]:
    return {name: Artifact.model_validate({"path": path, **LIE})}


def refusal(
    artifacts: dict[str, Artifact], source: Path, target: Path, caps: ArtifactCaps | None = None
) -> str:
    with pytest.raises(AutoscorerError) as caught:
        take_artifacts(artifacts, source, target, caps or ArtifactCaps())
    assert (caught.value.code, caught.value.blame) == ("SCORER_BAD_RESULT", "organiser")
    assert str(source) not in caught.value.message
    return caught.value.message


def test_size_hash_and_media_type_are_what_is_really_there(source: Path, tmp_path: Path) -> None:
    taken = take_artifacts(listed(), source, tmp_path / "taken")["curve"]
    content = b"x,y\n1,2\n"
    assert (tmp_path / "taken" / "curve.csv").read_bytes() == content
    assert (taken.size, taken.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert taken.media_type == "text/csv"
    assert taken.shows_truth


def test_what_is_not_listed_is_not_taken(source: Path, tmp_path: Path) -> None:
    (source / "artifacts" / "other.csv").write_bytes(b"")
    take_artifacts(listed(), source, tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["curve.csv"]


def test_a_page_or_a_program_is_served_as_plain_bytes() -> None:
    kinds = {media_type_of(name) for name in ("a.html", "a.js", "a", "a.csv.exe")}
    assert kinds == {"application/octet-stream"}


ODD_PATHS = [
    "curve.csv",
    "artifacts/",
    "artifacts/../pred.csv",
    "artifacts/../../reference/gt.csv",
    "artifacts/sub/curve.csv",
    "/etc/passwd",
    "artifacts/.hidden",
    "artifacts/a b.csv",
    "artifacts/a\n.csv",
    "artifacts/" + "a" * 101,
    "artifacts/gt.csv\0",
    "artifacts/曲线.csv",
]


@pytest.mark.parametrize("path", ODD_PATHS, ids=ascii)
def test_an_odd_path_is_refused(path: str, source: Path, tmp_path: Path) -> None:
    assert "plainly named" in refusal(listed(path), source, tmp_path / "taken")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\nb", "<script>", "a" * 101])
def test_an_odd_name_is_refused(name: str, source: Path, tmp_path: Path) -> None:
    assert "no plain name" in refusal(listed(name=name), source, tmp_path / "taken")


def _link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def _second_name(path: Path, secret: Path) -> None:
    path.hardlink_to(secret)


def _folder(path: Path, _secret: Path) -> None:
    path.mkdir()


def _pipe(path: Path, _secret: Path) -> None:
    os.mkfifo(path)


def _nothing(_path: Path, _secret: Path) -> None:
    return None


@pytest.mark.parametrize("make", [_link, _second_name, _folder, _pipe, _nothing])
def test_only_a_regular_file_of_its_own_is_taken(
    make: Callable[[Path, Path], None], source: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "gt.csv"
    secret.write_text("the truth")
    make(source / "artifacts" / "bad.csv", secret)
    if make in (_link, _second_name):  # the control: whoever just opens the name has the truth
        assert (source / "artifacts" / "bad.csv").read_text() == "the truth"
    refusal(listed("artifacts/bad.csv"), source, tmp_path / "taken")
    leaked = [path for path in (tmp_path / "taken").iterdir() if path.stat().st_size]
    assert leaked == []


def test_a_folder_of_artifacts_that_is_a_link_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "artifacts").rename(tmp_path / "elsewhere")
    (source / "artifacts").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refusal(listed(), source, tmp_path / "taken")


@pytest.mark.parametrize("caps", [{"most_files": 1}, {"most_bytes_each": 7}, {"most_bytes": 15}], ids=str)
def test_caps_hold_for_files_bytes_each_and_bytes_in_all(
    caps: dict[str, int], source: Path, tmp_path: Path
) -> None:
    (source / "artifacts" / "again.csv").write_bytes(b"x,y\n1,2\n")
    two = listed() | listed("artifacts/again.csv", "again")
    refusal(two, source, tmp_path / "taken", ArtifactCaps(**caps))
    exact = ArtifactCaps(most_files=2, most_bytes_each=8, most_bytes=16)
    assert len(take_artifacts(two, source, tmp_path / "fits", exact)) == 2


def test_a_file_that_never_ends_is_left_after_the_cap(source: Path, tmp_path: Path) -> None:
    with (source / "artifacts" / "curve.csv").open("wb") as file:
        file.truncate(2**40)  # sparse: a terabyte that takes no room
    refusal(listed(), source, tmp_path / "taken", ArtifactCaps(most_bytes_each=100))
    assert (tmp_path / "taken" / "curve.csv").stat().st_size <= 2**20
