"""What every test may rely on: a test marked `sandbox` has bubblewrap, or skips (fails in CI)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from autoscorer.utils.artifacts import remove_tree
from tests.workspaces import make_workspace

__all__ = ["make_workspace"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("sandbox") is None:
        return
    from autoscorer.confine.bubblewrap import usable_bubblewrap
    from autoscorer.utils.errors import AutoscorerError

    try:
        usable_bubblewrap()
    except AutoscorerError as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have the sandbox: {exc.message}")
        pytest.skip(exc.message)


@pytest.fixture(autouse=True)
def _leave_no_hostile_trees(request: pytest.FixtureRequest) -> Iterator[None]:
    """Trees thousands of folders deep would break pytest's own, recursive clean-up of a later run."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        remove_tree(folder)
