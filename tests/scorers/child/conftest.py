"""One host for the tests of a module, and temporary files in a folder that nobody shares."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscorer.scorers.child.host import ChildHost
from tests.scorers.child import odd


@pytest.fixture(scope="module")
def host() -> Iterator[ChildHost]:
    with_limits = ChildHost(odd.settings())
    yield with_limits
    with_limits.close()


@pytest.fixture(autouse=True)
def _temporary_files_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
