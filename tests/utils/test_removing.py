"""What is removed is a folder of ours, whatever somebody else does in it meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscorer.utils import artifacts
from autoscorer.utils.artifacts import remove_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for folder in ("a/deep/deeper", "b/deep"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text("x")
    return root


def after_listing(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Do ``then`` once, between the first look at a folder and what is done about it."""
    listed = artifacts._listed
    done: list[bool] = []

    def listing(folder: int) -> list[tuple[str, bool]]:
        found = listed(folder)
        if not done:
            done.append(True)
            then()
        return found

    monkeypatch.setattr(artifacts, "_listed", listing)


def test_a_tree_is_removed_with_all_that_is_in_it(tree: Path) -> None:
    (tree / "a").chmod(0o000)
    remove_tree(tree)
    assert not os.path.lexists(tree)


@pytest.mark.parametrize("where", ["a", "a/deep"])
def test_what_a_link_leads_to_keeps_its_mode(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A folder that was listed is a link by the time it is its turn."""
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)

    def swap() -> None:
        (tree / where).rename(tmp_path / "moved")
        (tree / where).symlink_to(outside)

    after_listing(monkeypatch, swap)
    remove_tree(tree)
    assert not os.path.lexists(tree)
    assert (outside.read_text(), outside.stat().st_mode & 0o777) == ("x", 0o644)


def test_another_folder_under_its_name_is_left_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap() -> None:
        tree.rename(tmp_path / "moved")
        (tree / "others").mkdir(parents=True)

    after_listing(monkeypatch, swap)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        remove_tree(tree)
    assert (tree / "others").is_dir()
